"""A second reader of ocbundle version 1, written from spec/ocbundle-v1.md alone: it shares no code with the library.

    second_reader.py [-i IDENTITY_FILE] [-p PASSPHRASE_FILE] BUNDLE

With an identity or a passphrase it verifies in full (section 11) and lists what the bundle holds; without, it verifies
checksums, which proves nothing against an attacker. Rules are checked in the order of section 13.1. It needs Python,
`age` and `zstd`, holds the whole bundle in memory, and writes nothing to disk: secrets pass through pipes, memory files
and, as age reads a passphrase from nothing else, a terminal of its own.
"""

import argparse
import base64
import binascii
import contextlib
import hashlib
import hmac
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

Value = Any  # what MessagePack can hold: None, bool, int, str, bytes, a list or a Table
Stanza = tuple[list[bytes], bytes]  # of an age header: its arguments, the type first, and its body
AUTH, CHECKSUM, LIMIT, MALFORMED = "AuthenticationFailed", "ChecksumMismatch", "LimitExceeded", "Malformed"
UNSUPPORTED = "UnsupportedVersion"
EXITS = {UNSUPPORTED: 6, "KeyRequired": 5, "NoKeyFits": 5, "WrongPassphrase": 5}  # all others: 4
MAGIC = b"\x89OCB\r\n\x1a\n"
BODY_LIMITS = {b"KEYS": 64 << 10, b"SEGM": 32 << 20, b"ENTR": 8 << 20, b"MANI": 16 << 20}
RAW_LIMITS = {b"SEGM": 16 << 20, b"ENTR": 2 << 20, b"MANI": 2 << 20}


class Fault(Exception):
    """A rule that the bundle breaks, and the class of the error."""


def need(holds: object, rule: str, kind: str = MALFORMED) -> None:
    if not holds:
        raise Fault(kind, rule)


# --- section 6: age ---------------------------------------------------------------------------------------------------


def base64_bytes(text: bytes, rule: str) -> bytes:
    with contextlib.suppress(binascii.Error):
        value = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        if base64.b64encode(value).rstrip(b"=") == text:
            return value
    raise Fault(MALFORMED, rule)


def age_header(body: bytes, most: int) -> list[Stanza]:
    """R-6.1, the grammar, and R-6.2, which goes first where one line breaks both."""
    at, stanzas = 0, list[Stanza]()

    def line() -> bytes:
        nonlocal at
        start, at = at, body.find(b"\n", at, most) + 1
        need(at or len(body) > most, "R-6.1")
        need(at, "R-6.2", LIMIT)
        return body[start : at - 1]

    need(body.startswith(b"age-encryption.org/v1\n"), "R-6.1")
    line()
    while not (text := line()).startswith(b"---"):
        need(len(stanzas) < 128 or not text.startswith(b"-> "), "R-6.2", LIMIT)
        need(re.fullmatch(rb"->( [!-~]+)+", text), "R-6.1")
        rows = [line()]
        while len(rows[-1]) == 64:
            need(len(rows) < 64, "R-6.2", LIMIT)
            rows.append(line())
        need(len(rows[-1]) < 64, "R-6.1")
        stanzas.append((text.split(b" ")[1:], b"".join(base64_bytes(row, "R-6.1") for row in rows)))
    need(stanzas and re.fullmatch(rb"--- .{43}", text) and base64_bytes(text[4:], "R-6.1"), "R-6.1")
    return stanzas


def check_sealed_stanzas(stanzas: list[Stanza]) -> None:
    """R-6.3, as far as it needs no key."""
    ours = [stanza for stanza in stanzas if stanza[0][0] == b"X25519"]
    others = [stanza for stanza in stanzas if stanza[0][0] != b"X25519"]
    need(len(ours) == 1 and all(arguments[0].endswith(b"-grease") for arguments, _ in others), "R-6.3")
    arguments, wrapped = ours[0]
    need(len(arguments) == 2 and len(wrapped) == 32, "R-6.3")
    share = base64_bytes(arguments[1], "R-6.3")
    need(len(share) == 32, "R-6.3")
    p, x, z = 2**255 - 19, int.from_bytes(share, "little") % 2**255, 1
    for _ in range(3):  # a point whose eightfold is the point at infinity has a low order
        x, z = (x * x - z * z) ** 2 % p, 4 * x * z * (x * x + 486662 * x * z + z * z) % p
    need(z, "R-6.3")


def check_scrypt_stanza(arguments: list[bytes], wrapped: bytes) -> None:
    need(len(arguments) == 3 and len(wrapped) == 32, "R-6.4")
    need(len(base64_bytes(arguments[1], "R-6.4")) == 16, "R-6.4")
    need(re.fullmatch(rb"[1-9][0-9]*", arguments[2]), "R-6.4")
    need(len(arguments[2]) <= 2 and int(arguments[2]) <= 20, "R-6.4", LIMIT)


@contextlib.contextmanager
def memory_file(content: bytes) -> Iterator[int]:
    with open(os.memfd_create("second_reader"), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


def age(body: bytes, identities: bytes, passphrase: bytes | None = None) -> bytes | None:
    """What identities, or a passphrase in their place, open in an age file; nothing if no stanza is theirs."""
    with contextlib.ExitStack() as stack:
        sealed, stdin = stack.enter_context(memory_file(body)), stack.enter_context(memory_file(identities))
        command = ["age", "-d", "-i", "/dev/stdin", f"/dev/fd/{sealed}"]
        if passphrase is not None:  # age has no controlling terminal, and takes standard input for one
            command[2:4] = []
            terminal, stdin = pty.openpty()
            stack.callback(os.close, terminal)
            stack.callback(os.close, stdin)
            os.write(terminal, passphrase + b"\n")
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, check=False, start_new_session=True, pass_fds=[sealed]
        )
    opened = done.returncode == 0
    need(opened or re.search(b"no identity matched|incorrect passphrase", done.stderr), "R-6.1", AUTH)
    return done.stdout if opened else None


def is_key(line: bytes) -> bool:
    """Whether it is a canonical KEYSTR: Bech32 in capitals of 32 bytes, its four spare bits zero."""
    letters = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
    if not re.fullmatch(rb"AGE-SECRET-KEY-1[" + letters + rb"]{58}", line):
        return False
    prefix, symbols = b"age-secret-key-", [letters.index(letter) for letter in line[16:]]
    check = 1
    for symbol in [*(byte >> 5 for byte in prefix), 0, *(byte & 31 for byte in prefix), *symbols]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ symbol
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check == 1 and symbols[51] & 15 == 0


def key_in(text: bytes, bundle_id: bytes) -> bytes:
    """The bundle key in the plaintext of KEYS: R-6.8, R-6.5."""
    need(len(text) <= 48 << 10, "R-6.8", LIMIT)
    with contextlib.suppress(UnicodeDecodeError):
        lines = text.decode().encode().split(b"\n")
        need(b"# bundle: " + bundle_id.hex().encode() in lines, "R-6.5", AUTH)
        keys = [line for line in lines if line and not line.startswith(b"#")]
        need(len(keys) == 1 and is_key(keys[0]), "R-6.5")
        return keys[0]
    raise Fault(MALFORMED, "R-6.5")


# --- section 7: zstd frames -------------------------------------------------------------------------------------------


def zstd_frame(data: bytes, at: int, raw: int | None, rule: str = "R-7.3") -> tuple[int, int]:
    """The end and the content size of a frame that keeps R-7.3, R-7.4 and R-7.11; a journal's tells its own size."""
    need(data[at : at + 4] == b"\x28\xb5\x2f\xfd" and len(data) > at + 4, rule)
    mode, at = data[at + 4], at + 5
    single = mode >> 5 & 1
    need(not mode & 0b1011, "R-7.4")  # the reserved bit, and how long the dictionary's id is
    sizes = (single, 2, 4, 8)[mode >> 6]
    need(sizes and len(data) >= at + 1 - single + sizes, rule)
    window = 0 if single else (8 + (data[at] & 7)) << (data[at] >> 3) + 7
    at += 1 - single
    size = int.from_bytes(data[at : at + sizes], "little") + (256 if sizes == 2 else 0)
    need(max(window, size * single) <= 8 << 20, "R-7.4", LIMIT)
    need(raw is not None or size <= 1 << 20, "R-7.8", LIMIT)
    need(raw in (None, size), rule)
    at, block, blocks = at + sizes, 0, 0
    while not block & 1:
        blocks += 1
        need(blocks <= 1 << 16, "R-7.11", LIMIT)
        need(len(data) >= at + 3, rule)
        block = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # run-length blocks store one byte
    at += 4 if mode & 4 else 0
    need(len(data) >= at, rule)
    return at, size


def decompressed(frame: bytes, size: int) -> bytes:
    """R-7.6, and no byte more than was promised."""
    command = ["zstd", "-d", "-c", "-q"]
    with (
        memory_file(frame) as stdin,
        subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as zstd,
    ):
        content = zstd.stdout.read(size + 1) if zstd.stdout else b""
        if len(content) > size:
            zstd.kill()
    need(zstd.returncode == 0 and len(content) == size, "R-7.6")
    return content


# --- section 8: canonical MessagePack ---------------------------------------------------------------------------------


class Table(dict[str, Value]):
    """A map, and the length of its encoding."""

    length = 0


LONG_FORMS = {  # by the first byte: the type, the width of the number behind it, the least that needs this form
    first + step: (kind, width, least)
    for first, kind, forms in (
        (0xC4, "bin", ((1, 0), (2, 1 << 8), (4, 1 << 16))),
        (0xCC, "int", ((1, 1 << 7), (2, 1 << 8), (4, 1 << 16), (8, 1 << 32))),
        (0xD9, "str", ((1, 32), (2, 1 << 8), (4, 1 << 16))),
        (0xDC, "array", ((2, 16), (4, 1 << 16))),
        (0xDE, "map", ((2, 16), (4, 1 << 16))),
    )
    for step, (width, least) in enumerate(forms)
}


def whole(data: bytes) -> Value:
    value, end = decoded(data, 0, 1)
    need(end == len(data), "R-8.6")
    need(containers(value) <= 1 << 18, "R-8.9", LIMIT)
    return value


def containers(value: Value) -> int:
    """How many arrays and maps it is, and holds."""
    if not isinstance(value, list | Table):
        return 0
    return 1 + sum(map(containers, value.values() if isinstance(value, Table) else value))


def decoded(data: bytes, start: int, depth: int) -> tuple[Value, int]:
    """The value at an offset, and the offset behind it: R-8.1 to R-8.6."""
    need(depth <= 8, "R-8.4")
    need(start < len(data) and data[start] != 0xC1, "R-8.6")
    first, at = data[start], start + 1
    need(first not in b"\xc7\xc8\xc9\xca\xcb\xd4\xd5\xd6\xd7\xd8", "R-8.3")
    if first < 0x80 or first >= 0xE0:
        return (first if first < 0x80 else first - 0x100), at
    if first in (0xC0, 0xC2, 0xC3):
        return (None, None, False, True)[first & 3], at
    if first < 0xC0:
        kind = ("map", "array", "str", "str")[first - 0x80 >> 4]
        return sized(kind, first & (31 if kind == "str" else 15), (data, start, at), depth)
    kind, width, least = LONG_FORMS.get(first, ("int", 1 << (first & 3), 0))
    at += width
    need(at <= len(data), "R-8.6")
    number = int.from_bytes(data[at - width : at], "big", signed=first not in LONG_FORMS)
    most = -(1 << width * 4 - 1) - 1 if width > 1 else -33  # of the negative numbers that need this form
    need(number >= least if first in LONG_FORMS else number <= most, "R-8.1" if kind == "int" else "R-8.5")
    return (number, at) if kind == "int" else sized(kind, number, (data, start, at), depth)


def sized(kind: str, size: int, place: tuple[bytes, int, int], depth: int) -> tuple[Value, int]:
    data, start, at = place
    if kind in ("bin", "str"):
        need(at + size <= len(data), "R-8.6")
        try:
            return (data[at : at + size] if kind == "bin" else data[at : at + size].decode()), at + size
        except UnicodeDecodeError:
            raise Fault(MALFORMED, "R-8.5") from None
    items, table = list[Value](), Table()
    for _ in range(size):
        item, at = decoded(data, at, depth + 1)
        items.append(item)
        if kind == "map":
            need(isinstance(item, str) and (not table or item > next(reversed(table))), "R-8.2")  # as UTF-8 sorts
            table[item], at = decoded(data, at, depth + 1)
    table.length = at - start
    return (table if kind == "map" else items), at


# --- section 9: the manifest ------------------------------------------------------------------------------------------

# The types of the text's tables. "?": or nil, which a missing key means, too; "-": may be missing; "[]" and "{}": an
# array, a map, of.
PLAIN: dict[str, type] = {"array": list, "bin": bytes, "int": int, "map": Table, "nil": type(None), "str": str}
PLAIN |= {"digest": bytes, "uint": int}
MAPS = {
    word: dict(field.split(":") for field in fields.split())
    for word, fields in {
        "head": "bundle_id:bin created:uint generator:str groups:[owner] profiles:[profile] roots:[root] source:source "
        "totals:totals users:[owner]",
        "source": "gid:uint home:bin host:str os:str uid:uint user:str",
        "totals": "batches:uint bytes:uint entries:uint segments:uint skipped:uint",
        "root": "name:str profile:str? role:str source:bin",
        "profile": "agents:[str] channels:[str] config:bin? era:str? mode:str? name:str needs:[str]- plugins:[str] "
        "port:uint? schemas:{uint} secrets:[str] state:str version:str? workspaces:[workspace]",
        "workspace": "agent:str path:bin root:str",
        "batch": "entries:array skipped:array",
        "extra": "acl:[grant]- capture:str- default_acl:[grant]- xattrs:[xattr]-",
    }.items()
}
ROWS = {
    "owner": "int str",
    "skipped": "uint bin str str str?",
    "extent": "uint? uint uint",
    "grant": "uint uint? str? uint",
    "xattr": "bin bin",
    "directory": "uint bin uint uint uint uint int nil nil nil nil map?",
    "file": "uint bin uint uint uint uint int uint digest array nil map?",
    "symlink": "uint bin uint uint uint uint int nil nil nil bin map?",
    "hardlink": "uint bin uint nil nil nil nil nil nil nil bin nil",
}
KINDS = DIRECTORY, FILE, SYMLINK, HARD_LINK = "directory", "file", "symlink", "hardlink"
ROWS |= {"journal-" + kind: "str" + ROWS[kind][4:].replace("digest", "nil") for kind in KINDS}


def check(value: Value, word: str, rule: str) -> None:
    """Hold a value to a type: R-9.16; or R-9.0 and with it, key by key, R-8.7, R-8.8, R-9.4 and R-9.7."""
    if value is None and word.endswith("?"):
        return
    word = word.rstrip("?-")
    if word in PLAIN:
        need(type(value) is PLAIN[word], rule)
        need(word != "digest" or len(value) == 32, rule)
        need(word != "uint" or rule == "R-9.16" or 0 <= value < 1 << 53, "R-8.8")
    elif word[0] in "[{":
        need(isinstance(value, list if word[0] == "[" else Table) and (value or word != "[grant]"), rule)
        need(word != "[root]" or len(value) <= 65535, "R-9.4", LIMIT)
        for item in value if word[0] == "[" else value.values():
            check(item, word[1:-1], rule)
    elif word in ROWS:
        types = ROWS[word].split()
        need(isinstance(value, list) and len(value) == len(types), rule)
        for item, inner in zip(value, types, strict=True):
            check(item, inner, rule)
        need(word != "owner" or 0 <= value[0] < 1 << 53, "R-8.8")
    else:
        need(isinstance(value, Table), rule)
        check_map(value, word, rule)


def check_map(table: Table, word: str, rule: str) -> None:
    if rule == "R-9.0":
        check_unknown(table, word)
    for key, inner in MAPS[word].items():
        if key in table or not inner.endswith("-"):
            check(table.get(key), inner, rule)
    if word == "root":
        check_root_name(table["name"])
    elif word == "workspace":
        check_path(table["path"])


def check_unknown(table: Table, word: str) -> None:
    for key in table:
        if key not in MAPS[word]:
            need(not key.startswith("!"), "R-8.7", UNSUPPORTED)
            check_numbers(table[key])


def check_root_name(name: str) -> None:
    need(1 <= len(name.encode()) <= 255 and name not in (".", "..") and "/" not in name, "R-9.4")
    need(all(unicodedata.category(letter) != "Cc" for letter in name), "R-9.4")


def check_numbers(value: Value) -> None:
    need(type(value) is not int or 0 <= value < 1 << 53, "R-8.8")
    for item in value.values() if isinstance(value, Table) else value if isinstance(value, list) else ():
        check_numbers(item)


def check_path(path: bytes) -> None:
    names = path.split(b"/") if path else []
    need(len(path) <= 4096 and len(names) <= 255, "R-9.7", LIMIT)
    need(b"\0" not in path, "R-9.7")
    for name in names:
        need(name not in (b"", b".", b".."), "R-9.7")
        need(len(name) <= 255, "R-9.7", LIMIT)


class Entry(NamedTuple):
    """A row; fields that its kind doesn't have are None."""

    root: Value  # its index; in a journal, its name
    path: bytes
    kind: str
    mode: int | None
    uid: int | None
    gid: int | None
    mtime_ns: int | None
    size: int | None
    sha256: bytes
    extents: list[list[Value]]
    target: bytes
    extra: Table | None


def entry_of(row: Value, roots: int | None) -> Entry:
    """A row that keeps the rules that one row can break; without a number of roots, a journal's."""
    need(isinstance(row, list) and len(row) == 12 and type(row[2]) is int and 0 <= row[2] <= 3, "R-9.16")
    check(row, ("journal-" if roots is None else "") + KINDS[row[2]], "R-9.16")
    entry = Entry._make([*row[:2], KINDS[row[2]], *row[3:]])
    if roots is None:
        check_root_name(entry.root)
    need(roots is None or 0 <= entry.root < roots, "R-9.5")
    check_numbers([entry.mode, entry.uid, entry.gid, entry.size])
    need(-(1 << 63) <= (entry.mtime_ns or 0) < 1 << 63, "R-8.8")
    if entry.extra is not None:
        check_extra(entry.extra)
    for extent in entry.extents or ():
        check(extent, "extent", "R-9.16")
        check_numbers(extent)
        need(extent[2] and (extent[0] is not None or not extent[1]), "R-9.10")
    check_path(entry.path)
    need((entry.mode or 0) <= 0o7777, "R-9.9")
    check_lists(entry, entry.extra or Table())
    need(sum(length for _, _, length in entry.extents or ()) == (entry.size or 0), "R-9.10")
    if entry.kind == HARD_LINK:
        check_path(entry.target)
        need(entry.target, "R-9.12")
    elif entry.kind == SYMLINK:
        need(entry.target and b"\0" not in entry.target, "R-9.13")
        need(len(entry.target) <= 4095, "R-9.13", LIMIT)
    return entry


def check_extra(extra: Table) -> None:
    need(extra, "R-9.16")
    check(extra, "extra", "R-9.16")
    need(extra.length <= 64 << 10, "R-9.15", LIMIT)
    check_unknown(extra, "extra")
    check_numbers([extra.get("acl"), extra.get("default_acl")])
    names = [name for name, _ in extra.get("xattrs", ())]
    need(all(name.startswith(b"user.") and b"\0" not in name for name in names), "R-9.19")
    need(all(first < second for first, second in itertools.pairwise(names)), "R-9.19")


def check_lists(entry: Entry, extra: Table) -> None:
    """R-9.21 and R-9.22."""
    need("acl" not in extra or entry.kind in (DIRECTORY, FILE), "R-9.21")
    need("default_acl" not in extra or entry.kind == DIRECTORY, "R-9.21")
    for grants in (extra[key] for key in ("acl", "default_acl") if key in extra):
        count, named = Counter(tag for tag, _, _, _ in grants), [grant for grant in grants if grant[0] in (2, 8)]
        need(count.keys() <= {1, 2, 4, 8, 16, 32} and count[1] == count[4] == count[32] == 1, "R-9.21")
        need(bool(named) <= count[16] <= 1, "R-9.21")
        need(all((number is not None) == (tag in (2, 8)) for tag, number, _, _ in grants), "R-9.21")
        need(all(name is None or tag in (2, 8) for tag, _, name, _ in grants), "R-9.21")
        need(all(rights <= 7 for _, _, _, rights in grants), "R-9.21")
        order = [(tag, number or 0) for tag, number, _, _ in grants]
        need(all(first < second for first, second in itertools.pairwise(order)), "R-9.21")
    if "acl" in extra:
        need((entry.mode or 0) & 0o777 == mode_of(extra["acl"]), "R-9.22")


def mode_of(grants: list[list[Value]]) -> int:
    """The low nine bits of R-12.12."""

    def common(*tags: int) -> int:
        rights = 7
        for grant in grants:
            rights &= grant[3] if grant[0] in tags else 7
        return rights

    named = any(grant[0] in (2, 8) for grant in grants)
    return common(1) << 6 | common(4, 16, 2) << 3 | (common(32, 16, 2, 8) if named else common(32))


def check_totals(entries: int, skipped: int, size: int) -> None:
    need(entries <= 1 << 23 and skipped <= 1 << 23 and size <= 16 << 40, "R-9.18", LIMIT)


def walk_order(root: int, path: bytes) -> tuple[int, bytes]:
    return root, path.replace(b"/", b"\0")


# --- sections 3 to 5, and the order of checks (section 13.1) ----------------------------------------------------------


class Section(NamedTuple):
    header: bytes
    kind: bytes
    number: int
    length: int
    digest: bytes
    at: int


def short(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]


class Reader:
    """One verification of one bundle; making it checks the structure (13.1 A)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.preamble, self.footer = data, data[:64], data[-128:]
        self.check_preamble()
        self.bundle_id, self.index = data[20:36], self.check_footer()
        self.sections, end = list[Section](), 64
        for at in range(0, len(self.index), 64):
            self.sections.append(self.section(self.index[at : at + 64], end))
            end += 64 + self.sections[-1].length
        need(end == int.from_bytes(self.footer[24:32], "little"), "R-5.6")
        self.keys = list(itertools.takewhile(lambda section: section.kind == b"KEYS", self.sections))
        self.check_order()
        self.by_kind = {kind: [each for each in self.sections if each.kind == kind] for kind in BODY_LIMITS}
        covered = b"".join(section.header for section in self.sections if section.kind in RAW_LIMITS)
        self.root_digest = hashlib.sha256(b"ocbundle v1 root digest\n" + self.bundle_id + covered).digest()
        need(self.root_digest == self.footer[48:80], "R-5.8", CHECKSUM)

    def check_preamble(self) -> None:
        preamble = self.preamble
        need(preamble and preamble[:8] == MAGIC[: len(preamble)], "R-3.1", "NotABundle")
        need(len(preamble) == 64, "R-3.1", "Truncated")
        need(short(preamble[:56]) == preamble[56:], "R-3.2", CHECKSUM)
        need(preamble[8] <= 1, "R-3.3", UNSUPPORTED)
        need(preamble[8], "R-3.3")
        need(not any(preamble[12:16]), "R-3.4", UNSUPPORTED)
        need(not any(preamble[10:12] + preamble[36:56]), "R-3.5")
        need(preamble[9] >= preamble[8], "R-3.6")

    def check_footer(self) -> bytes:
        footer, preamble, size = self.footer, self.preamble, len(self.data)
        need(len(footer) == 128 and footer[120:] == MAGIC[::-1], "R-5.1", "Truncated")
        need(short(footer[:112]) == footer[112:120], "R-5.2", CHECKSUM)
        need(footer[:18] + footer[20:24] == preamble[20:36] + preamble[8:10] + preamble[12:16], "R-5.3")
        need(not any(footer[18:20]), "R-5.4")
        offset, length, total = struct.unpack("<QQQ", footer[24:48])
        need(total <= size, "R-5.5", "Truncated")
        need(total == size, "R-5.5")
        need(length % 64 == 0 and offset + length + 128 == total and offset >= 64, "R-5.6")
        need(length // 64 <= 65536, "R-4.14", LIMIT)
        return self.data[offset : offset + length]

    def section(self, header: bytes, at: int) -> Section:
        need(header[:4] == b"OCBS", "R-4.1")
        need(short(header[:56]) == header[56:], "R-4.2", CHECKSUM)
        kind, number, flags, length, digest = struct.unpack("<4sIIQ32s", header[4:56])
        need(re.fullmatch(rb"[A-Z0-9]{4}", kind), "R-4.3")
        need(flags <= 1, "R-4.4")
        need(flags or kind not in BODY_LIMITS, "R-4.5")
        need(not flags or kind in BODY_LIMITS, "R-4.6", UNSUPPORTED)
        need(length <= BODY_LIMITS.get(kind, 32 << 20), "R-4.11", LIMIT)
        return Section(header, kind, number, length, digest, at)

    def check_order(self) -> None:
        run, counts = len(self.keys), Counter[bytes]()
        need(run and len(self.sections) > 2 * run, "R-4.9")
        need(run <= 16, "R-4.9", LIMIT)
        need(self.index[: 64 * run] == self.index[-64 * run :], "R-4.10")
        for place, section in enumerate(self.sections[:-run]):
            known = place >= run and section.kind in BODY_LIMITS
            need(not known or (section.kind != b"KEYS" and not counts[b"MANI"]), "R-4.9")
            need(section.number == counts[section.kind], "R-4.8")
            counts[section.kind] += 1
        need(counts[b"MANI"], "R-4.9")

    def body(self, section: Section) -> bytes:
        """13.1 B."""
        start = section.at + 64
        need(self.data[section.at : start] == section.header, "R-5.7")
        body = self.data[start : start + section.length]
        need(hashlib.sha256(body).digest() == section.digest, "R-4.12", CHECKSUM)
        return body

    def verify_checksums(self) -> None:
        for body in [self.body(section) for section in self.keys]:
            age_header(body, 64 << 10)
        for section in self.sections:
            self.body(section)

    def bundle_key(self, identities: bytes | None, passphrase: bytes | None) -> bytes:
        """13.1 C."""
        bodies = [self.body(section) for section in self.keys]
        headers = [(body, age_header(body, 64 << 10)) for body in bodies]
        locked = [each for each in headers if any(arguments[0] == b"scrypt" for arguments, _ in each[1])]
        need(len(locked) <= 1 and all(len(stanzas) == 1 for _, stanzas in locked), "R-6.4")
        need(identities is not None or passphrase is not None, "R-6.12", "KeyRequired")
        tried = [(each, None) for each in headers if each not in locked] if identities is not None else []
        for (body, stanzas), secret in [*tried, *((each, passphrase) for each in locked if passphrase is not None)]:
            if secret is not None:
                check_scrypt_stanza(*stanzas[0])
            text = age(body, identities or b"", secret)
            if text is not None:
                return key_in(text, self.bundle_id)
        need(identities is not None or not locked, "R-6.12", "WrongPassphrase")
        raise Fault("NoKeyFits", "R-6.12")

    def verify_frame(self) -> None:
        """13.1 D."""
        mac_key = hmac.digest(self.key, b"ocbundle v1 frame mac\n" + self.bundle_id, "sha256")
        mac = hmac.digest(mac_key, self.preamble + self.index + self.footer[:80], "sha256")
        need(hmac.compare_digest(mac, self.footer[80:112]), "R-5.9", AUTH)

    def content(self, section: Section) -> bytes:
        """The content of a sealed section: 13.1 B, R-6.1 to R-6.3, and section 7."""
        body = self.body(section)
        check_sealed_stanzas(age_header(body, 16 << 10))
        plain = age(body, self.key)
        if plain is None:
            raise Fault(AUTH, "R-6.3")
        start = 8 + int.from_bytes(plain[4:8], "little")
        need(plain[:4] == b"\x50\x2a\x4d\x18" and 56 <= start <= len(plain), "R-7.1")
        need(plain[8:48] == b"ocbundle/v1/bind" + self.bundle_id + section.header[4:12], "R-7.2", AUTH)
        raw = int.from_bytes(plain[48:56], "little")
        need(raw <= RAW_LIMITS[section.kind], "R-7.5", LIMIT)
        end, _ = zstd_frame(plain, start, raw)
        padding = plain[end:]
        zeros = struct.pack("<II", 0x184D2A51, max(0, len(padding) - 8)) + bytes(max(0, len(padding) - 8))
        need(padding in (b"", zeros), "R-7.7")
        journal, size = plain[56:start], 0
        if journal:
            need(section.kind == b"SEGM", "R-7.8")
            journal_end, size = zstd_frame(journal, 0, None, "R-7.8")
            need(journal_end == len(journal), "R-7.8")
        content = decompressed(plain[start:end], raw)
        rows = whole(decompressed(journal, size)) if journal else []
        need(isinstance(rows, list), "R-7.8")
        for row in rows:
            entry_of(row, None)
        return content

    def verify(self, identities: bytes | None, passphrase: bytes | None) -> None:
        self.key = self.bundle_key(identities, passphrase)
        self.verify_frame()
        self.read_head()
        check_totals(*(self.head["totals"][key] for key in ("entries", "skipped", "bytes")))
        self.entries, self.skipped, self.total = list[Entry](), list[list[Value]](), 0
        self.directories = set[tuple[int, bytes]]()
        for section in self.by_kind[b"ENTR"]:
            self.read_batch(section)
        counted = {"entries": len(self.entries), "skipped": len(self.skipped), "bytes": self.total}
        need(counted.items() <= self.head["totals"].items(), "R-9.2")
        self.verify_contents()
        for section in self.sections:
            if section.kind not in RAW_LIMITS:
                self.body(section)

    def read_head(self) -> None:
        """13.1 E."""
        head = whole(self.content(self.by_kind[b"MANI"][0]))
        need(isinstance(head, Table), "R-8.2")
        need(not isinstance(head.get("bundle_id"), bytes) or head["bundle_id"] == self.bundle_id, "R-9.1", AUTH)
        check(head, "head", "R-9.0")
        roots, profiles, totals = [root["name"] for root in head["roots"]], head["profiles"], head["totals"]
        need(len(set(roots)) == len(roots), "R-9.4")
        named = {profile["state"] for profile in profiles}
        named |= {place["root"] for profile in profiles for place in profile["workspaces"]}
        need(named <= set(roots) and len({profile["name"] for profile in profiles}) == len(profiles), "R-9.5")
        for owners in (head["users"], head["groups"]):
            need(all(first[0] < second[0] for first, second in itertools.pairwise(owners)), "R-9.3")
        need(totals["segments"] == len(self.by_kind[b"SEGM"]), "R-9.2")
        need(totals["batches"] == len(self.by_kind[b"ENTR"]), "R-9.2")
        self.head, self.roots = head, [root.encode() for root in roots]

    def read_batch(self, section: Section) -> None:
        """13.1 F."""
        batch = whole(self.content(section))
        need(isinstance(batch, Table), "R-8.2")
        check(batch, "batch", "R-9.0")
        before = {place.number for place in self.by_kind[b"SEGM"] if place.at < section.at}
        for row in batch["entries"]:
            entry = entry_of(row, len(self.roots))
            self.check_place(entry)
            self.entries.append(entry)
            self.total += entry.size or 0
            check_totals(len(self.entries), 0, self.total)
            need(all(segment is None or segment in before for segment, _, _ in entry.extents or ()), "R-9.10")
        for row in batch["skipped"]:
            check(row, "skipped", "R-9.16")
            need(0 <= row[0] < len(self.roots), "R-9.5")
            check_path(row[1])
            last = self.skipped[-1] if self.skipped else None
            need(last is None or walk_order(last[0], last[1]) < walk_order(row[0], row[1]), "R-9.6")
            self.skipped.append(row)
            check_totals(0, len(self.skipped), 0)

    def check_place(self, entry: Entry) -> None:
        """R-9.6, R-9.8, and of R-9.12 that the target stands before the link."""
        order, last = walk_order(entry.root, entry.path), self.entries[-1] if self.entries else None
        need(last is None or walk_order(last.root, last.path) < order, "R-9.6")
        if entry.path:
            need((entry.root, entry.path.rpartition(b"/")[0]) in self.directories, "R-9.8")
        else:
            need(entry.kind in (DIRECTORY, FILE), "R-9.8")
        if entry.kind == DIRECTORY:
            self.directories.add((entry.root, entry.path))
        need(entry.kind != HARD_LINK or walk_order(entry.root, entry.target) < order, "R-9.12")

    def verify_contents(self) -> None:
        """13.1 G, but for the bodies of other sections."""
        files = [entry for entry in self.entries if entry.kind == FILE]
        extents = [extent for file in files for extent in file.extents if extent[0] is not None]
        used, contents = {extent[0] for extent in extents}, dict[int, bytes]()
        for number in sorted(used):
            contents[number] = self.content(self.by_kind[b"SEGM"][number])
        need(all(offset + length <= len(contents[segment]) for segment, offset, length in extents), "R-9.10")
        for file in files:
            digest = hashlib.sha256()
            for segment, offset, length in file.extents:
                if segment is not None:
                    digest.update(contents[segment][offset : offset + length])
                for at in range(0, length if segment is None else 0, 1 << 20):
                    digest.update(bytes(min(length - at, 1 << 20)))
            need(digest.digest() == file.sha256, "R-9.14", CHECKSUM)
        lists = {tuple(map(tuple, file.extents)) for file in files}  # equal lists may share bytes, and no others
        stored = sorted(extent for extents in lists for extent in extents if extent[0] is not None)
        need(all(a[0] != b[0] or a[1] + a[2] <= b[1] for a, b in itertools.pairwise(stored)), "R-9.11")
        need({(e.root, e.path) for e in self.entries}.isdisjoint((row[0], row[1]) for row in self.skipped), "R-9.17")
        names = {(file.root, file.path) for file in files}
        need(all((e.root, e.target) in names for e in self.entries if e.kind == HARD_LINK), "R-9.12")
        for section in self.by_kind[b"SEGM"]:
            if section.number not in used:
                self.content(section)

    def listing(self) -> list[str]:
        """What the header of a vector says of a sound bundle."""
        lines = [f"root-digest: {self.root_digest.hex()}"]
        for entry in self.entries:
            digest = f"{entry.sha256.hex()} " if entry.kind == FILE else ""
            target = f" {quote(entry.target)}" if entry.target is not None else ""
            lines.append(f"{entry.kind}: {digest}{self.name(entry.root, entry.path)}{target}")
        return lines + [f"skipped: {row[3]} {self.name(row[0], row[1])}" for row in self.skipped]

    def name(self, root: int, path: bytes) -> str:
        return quote(self.roots[root] + (b"/" + path if path else b""))


def outcome(data: bytes, identities: bytes | None = None, passphrase: bytes | None = None) -> tuple[list[str], int]:
    """The lines that say how a verification ended, and the exit code."""
    try:
        reader = Reader(data)
        if identities is None and passphrase is None:
            reader.verify_checksums()
            return [f"root-digest: {reader.root_digest.hex()}", "checksums only: nothing against an attacker"], 0
        reader.verify(identities, passphrase)
    except Fault as fault:
        return [" ".join(fault.args)], EXITS.get(fault.args[0], 4)
    return reader.listing(), 0


def load(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", dest="identities", metavar="IDENTITY_FILE", type=load)
    parser.add_argument("-p", dest="passphrase", metavar="PASSPHRASE_FILE", type=load)
    parser.add_argument("bundle", metavar="BUNDLE", type=load)
    options = parser.parse_args()
    passphrase = options.passphrase and options.passphrase.removesuffix(b"\n")
    lines, status = outcome(options.bundle, options.identities, passphrase)
    sys.stdout.write("".join(line + "\n" for line in lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
