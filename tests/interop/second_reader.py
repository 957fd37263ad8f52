"""A second reader of ocbundle version 1, written from spec/ocbundle-v1.md alone; it needs Python, `age` and `zstd`.

With a key it verifies in full (section 11) and lists what the bundle holds; without, checksums alone, which prove
nothing against an attacker. Rules stand in the order of section 13.1; the word behind one is its class (section 15).
"""

import argparse
import hmac
import io
import os
import pty
import re
import struct
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run
from typing import Any
from urllib.parse import quote

Value = Any  # what MessagePack can hold: None, bool, int, str, bytes, a list or a Table
CLASSES = {"": "Malformed", "auth": "AuthenticationFailed", "checksum": "ChecksumMismatch", "limit": "LimitExceeded"}
CLASSES |= {"version": "UnsupportedVersion", "cut": "Truncated", "other": "NotABundle", "keyless": "KeyRequired"}
CLASSES |= {"stranger": "NoKeyFits", "passphrase": "WrongPassphrase"}
EXITS = {"UnsupportedVersion": 6, "KeyRequired": 5, "NoKeyFits": 5, "WrongPassphrase": 5}  # all others: 4
BODY = {b"KEYS": 64 << 10, b"SEGM": 32 << 20, b"ENTR": 8 << 20, b"MANI": 16 << 20}
MAGIC = b"\x89OCB\r\n\x1a\n"
RAW = {b"SEGM": 16 << 20, b"ENTR": 2 << 20, b"MANI": 2 << 20}


class Fault(Exception): ...


def need(rules: dict[str, Value]) -> None:
    for rule, holds in rules.items():
        if not holds:
            raise Fault(CLASSES[rule.partition(" ")[2]], rule.partition(" ")[0])


def ascending(items: list[Value]) -> bool:
    return all(first < second for first, second in pairwise(items))


def intact(fixed: bytes) -> bool:
    return sha256(fixed[:-8]).digest()[:8] == fixed[-8:]


# Section 6: age. In canonical base64, SALT is 16 bytes, KEY 32.
B = "[A-Za-z0-9+/]"
SALT, KEY, ARGUMENTS = f"{B * 21}[AQgw]", f"{B * 42}[AEIMQUYcgkosw048]", "->(?: [!-~]+)+\n"
STANZA = f"{ARGUMENTS}(?:{B * 64}\n){{0,63}}(?:{B * 4}){{0,15}}(?:{B}[AQgw]|{B * 2}[AEIMQUYcgkosw048])?\n"


def age_stanzas(body: bytes, most: int) -> list[str]:
    need({"R-6.1": body.startswith(b"age-encryption.org/v1\n")})
    _, stanzas, rest = re.split(f"^.*\n((?:{STANZA}){{0,128}})", body[:most].decode("latin-1"), maxsplit=1)
    found, lines = re.findall(STANZA, stanzas), f"{ARGUMENTS}(?:[^\n]{{64}}\n)"
    over = [lines + "{64}", *["-> "] * (len(found) == 128), *[rf"(?:{lines}*)?[^\n]*\Z"] * (len(body) > most)]
    need({"R-6.2 limit": not re.match("|".join(over), rest), "R-6.1": found and re.match(f"--- {KEY}\n", rest)})
    return found


def age(body: bytes, secret: bytes, *, typed: bool = False, sealed: bool = False) -> bytes | None:
    ends = keyboard, terminal, content, key = [*pty.openpty(), os.memfd_create("body"), os.memfd_create("key")]
    os.write(content, body)
    os.write(keyboard if typed else key, secret + b"\n")  # age reads a passphrase from nothing but a terminal
    command = ["age", "-d", *([] if typed else ["-i", f"/dev/fd/{key}"]), f"/dev/fd/{content}"]
    stdin = terminal if typed else DEVNULL
    done = run(command, stdin=stdin, capture_output=True, check=False, start_new_session=True, pass_fds=ends)
    for end in ends:
        os.close(end)
    stranger = re.search(b"no identity matched|incorrect passphrase", done.stderr)
    need({"R-6.3": not sealed or b"low order point" not in done.stderr, "R-6.3 auth": not (sealed and stranger)})
    need({"R-6.1 auth": done.returncode == 0 or stranger})
    return None if stranger else done.stdout


# Section 7: zstd frames. A journal tells its own size.
def frame(data: bytes, raw: int | None, rule: str) -> tuple[int, int]:
    need({rule: data[:4] == b"\x28\xb5\x2f\xfd" and len(data) > 4})
    mode, single = data[4], data[4] >> 5 & 1
    width = (single, 2, 4, 8)[mode >> 6]
    at = 6 - single + width
    need({"R-7.4": not mode & 0b1011, rule: width and len(data) >= at})  # the reserved bit, the dictionary id's length
    size = int.from_bytes(data[at - width : at], "little") + (256 if width == 2 else 0)
    window = size if single else 8 + (data[5] & 7) << (data[5] >> 3) + 7
    need({"R-7.4 limit": window <= 8 << 20, "R-7.8 limit": raw is not None or size <= 1 << 20})
    need({rule: raw in (None, size)})
    block = blocks = 0
    while not block & 1:
        blocks += 1
        need({"R-7.11 limit": blocks <= 1 << 16, rule: len(data) >= at + 3})
        block = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # run-length blocks store one byte
    need({rule: len(data) >= at + (mode & 4)})  # a checksum
    return at + (mode & 4), size


def decompressed(data: bytes, size: int) -> bytes:
    with open(os.memfd_create("frame"), "w+b", 0) as file:
        os.pwrite(file.fileno(), data, 0)
        with Popen(["zstd", "-dcq"], stdin=file, stdout=PIPE, stderr=DEVNULL) as zstd:
            content = zstd.stdout.read(size + 1) if zstd.stdout else b""  # no byte more than was promised
    need({"R-7.6": zstd.returncode == 0 and len(content) == size})
    return content


# Section 8: canonical MessagePack. By first byte: the type, and the width of the number or length behind it; or the
# rule that forbids it. LEAST needs a form, where that isn't the least that half its width can't hold.
FORMS = ("uint0 " * 128 + "map0 " * 16 + "array0 " * 16 + "str0 " * 32 + "nil0 R-8.6 false0 true0 bin1 bin2 ").split()
FORMS += ("bin4 " + "R-8.3 " * 5 + "uint1 uint2 uint4 uint8 int1 int2 int4 int8 " + "R-8.3 " * 5 + "str1 ").split()
FORMS += ("str2 str4 array2 array4 map2 map4 " + "int0 " * 32).split()
LEAST = {"bin1": 0, "uint1": 128, "int1": 64, "str1": 32, "array2": 16, "map2": 16}


class Table(dict[str, Value]):
    length = 0  # of its encoding


def value_in(stream: io.BytesIO, depth: int) -> Value:
    start, first = stream.tell(), stream.read(1)
    need({"R-8.4": depth <= 8, "R-8.6": first})
    form = FORMS[first[0]]
    kind, width = form[:-1], int(form[-1])
    digits = stream.read(width)
    number = int.from_bytes(digits or first, "big", signed=kind == "int")
    fits = (~number * 2 if kind == "int" else number) >= LEAST.get(form, width and 1 << 4 * width)
    need({form: "R" not in form, "R-8.6": len(digits) == width, "R-8.1" if "int" in kind else "R-8.5": fits})
    atoms = {"uint": number, "int": number, "nil": None, "false": False, "true": True}
    if kind in atoms:
        return atoms[kind]
    number &= {"map0": 15, "array0": 15, "str0": 31}.get(form, -1)
    if kind in ("bin", "str"):
        content = stream.read(number)
        text = content.decode(errors="ignore")
        need({"R-8.6": len(content) == number, "R-8.5": kind == "bin" or text.encode() == content})
        return content if kind == "bin" else text
    items: Value = [value_in(stream, depth + 1) for _ in range(number * 2 if kind == "map" else number)]
    if kind == "map":
        need({"R-8.2": all(isinstance(key, str) for key in items[::2]) and ascending(items[::2])})
        items = Table(zip(items[::2], items[1::2], strict=True))
        items.length = stream.tell() - start
    return items


def decode(data: bytes) -> Value:
    stream = io.BytesIO(data)
    value = value_in(stream, 1)
    need({"R-8.6": not stream.read(1), "R-8.9 limit": len(re.findall("[<{]", shape(value))) <= 1 << 18})
    return value


# Section 9: a letter is a type (nil, bool (t), int, str, bin; I is an int that breaks ), "<x>" an array, "{x}" a
# map. MAPS and KINDS hold regular expressions of these, in lower case; or "*" before the name of a map, for an array of
# it. "D" is a file's digest, which a journal leaves out.
LETTERS = {type(None): "n", bool: "t", int: "i", str: "s", bytes: "b"}
KINDS = {"directory": "b i i i i i n n n n", "file": r"b i i i i i i D <\S*> n", "symlink": "b i i i i i n n n b"}
KINDS |= {"hardlink": "b i n n n n n n n b"}
GRANTS = "1nn[0-7] (4nn[0-7] (16nn[0-7] )?|(2i[ns][0-7] )*4nn[0-7] (8i[ns][0-7] )*16nn[0-7] )32nn[0-7] "
MAPS = {
    "head": "bundle_id:b created:i generator:s groups:<(<is>)*> profiles:*profile roots:*root source:source "
    "totals:totals users:<(<is>)*>",
    "source": "gid:i home:b host:s os:s uid:i user:s",
    "totals": "batches:i bytes:i entries:i segments:i skipped:i",
    "root": "name:s profile:[sn]? role:s source:b",
    "profile": "agents:<s*> channels:<s*> config:[bn]? era:[sn]? mode:[sn]? name:s needs:(<s*>)? plugins:<s*> "
    "port:[in]? schemas:{i*} secrets:<s*> state:s version:[sn]? workspaces:*workspace",
    "workspace": "agent:s path:b root:s",
    "batch": r"entries:<\S*> skipped:<\S*>",
    "extra": "acl:(<(<i[in][sn]i>)+>)? capture:s? default_acl:(<(<i[in][sn]i>)+>)? xattrs:(<(<bb>)*>)?",
}


def shape(value: Value) -> str:
    if isinstance(value, list):
        return f"<{''.join(map(shape, value))}>"
    if isinstance(value, Table):
        return f"{{{''.join(map(shape, value.values()))}}}"
    return LETTERS[type(value)] if type(value) is not int or 0 <= value < 1 << 53 else "I"


def unknown(table: Table, kind: str) -> None:
    for key in [key for key in table if key not in re.findall(r"(\w+):", MAPS[kind])]:
        need({"R-8.7 version": not key.startswith("!"), "R-8.8": "I" not in shape(table[key])})


def check(table: Value, kind: str, rule: str = "R-9.0") -> None:
    need({rule: isinstance(table, Table) and (table or kind != "extra")})
    unknown(table if kind != "extra" else Table(), kind)
    for key, inner in re.findall(r"(\w+):(\S+)", MAPS[kind]):
        text = shape(table[key]) if key in table else ""
        if inner[0] == "*":
            need({rule: isinstance(table.get(key), list)})
            need({"R-9.4 limit": key != "roots" or len(table[key]) <= 65535})
            for item in table[key]:
                check(item, inner[1:])
        elif inner in MAPS:
            check(table.get(key), inner)
        else:
            need({rule: re.fullmatch(inner, text.lower()), "R-8.8": rule != "R-9.0" or "I" not in text or "S" in inner})
    if kind == "root":
        check_name(table["name"])
    if kind == "workspace":
        check_path(table["path"])


def check_name(name: str) -> None:
    need({"R-9.4": re.fullmatch(r"(?!\.\.?\Z)[^/\0-\x1f\x7f-\x9f]+", name) and len(name.encode()) <= 255})


def check_path(path: bytes) -> None:
    need({"R-9.7 limit": len(path) <= 4096 and path.count(b"/") < 255, "R-9.7": b"\0" not in path})
    for name in path.split(b"/") if path else ():
        need({"R-9.7": name not in (b"", b".", b".."), "R-9.7 limit": len(name) <= 255})


def check_entry(row: Value, roots: int | None) -> None:
    """13.1 F 1: the rules that one row can break; without a number of roots, of a journal."""
    text = " ".join(map(shape, row)) if isinstance(row, list) and len(row) == 12 else ""
    first, hashed = ("s ", "n") if roots is None else ("i ", "b")
    shapes = [first + items.replace("D", hashed) + r" (n|{\S*})" for items in KINDS.values()]
    need({"R-9.16": any(re.fullmatch(each, text.lower()) and row[2] == kind for kind, each in enumerate(shapes))})
    root, path, kind, mode, uid, gid, mtime, size, digest, extents, target, extra = row
    need({"R-9.16": (digest is None or len(digest) == 32) and (kind != 3 or extra is None)})
    need({"R-9.5": roots is None or 0 <= root < roots})
    check_name(root if roots is None else "-")
    need({"R-8.8": "I" not in shape([mode, uid, gid, size]) and (mtime or 0) < 1 << 63})
    if extra is not None:
        check(extra, "extra", "R-9.16")
        need({"R-9.15 limit": extra.length <= 64 << 10})
        unknown(extra, "extra")
        names = [name for name, _ in extra.get("xattrs", ())]
        sound = ascending(names) and all(re.fullmatch(rb"user\.[^\0]*", name) for name in names)
        need({"R-8.8": "I" not in shape([extra.get("acl"), extra.get("default_acl")]), "R-9.19": sound})
    for extent in extents or ():
        need({"R-9.16": re.fullmatch("<[in]ii>", shape(extent).lower()), "R-8.8": "I" not in shape(extent)})
        need({"R-9.10": extent[2] and (extent[0] is not None or not extent[1])})
    check_path(path)
    acl, inherited = [(extra or {}).get(key) for key in ("acl", "default_acl")]
    need({"R-9.9": (mode or 0) <= 0o7777, "R-9.21": not (acl and kind > 1) and not (inherited and kind)})
    for grants in filter(None, (acl, inherited)):
        text = "".join(f"{tag}{shape(number)}{shape(name)}{rights} " for tag, number, name, rights in grants)
        need({"R-9.21": re.fullmatch(GRANTS, text) and ascending([grant[:2] for grant in grants])})
    tags = [{2, 8, 16, 32} if len(acl or ()) > 4 else {32}] * 3 + [{2, 4, 16}] * 3 + [{1}] * 3  # for each bit, R-12.12
    bits = sum(all(grant[3] >> bit % 3 & 1 for grant in acl or () if grant[0] in tags[bit]) << bit for bit in range(9))
    total = sum(length for _, _, length in extents or ())
    need({"R-9.22": not acl or mode & 0o777 == bits, "R-9.10": total == (size or 0)})
    check_path(target if kind == 3 else b"")
    need({"R-9.12": kind != 3 or target, "R-9.13": kind != 2 or (target and b"\0" not in target)})
    need({"R-9.13 limit": kind != 2 or len(target) <= 4095})


class Reader:
    def __init__(self, data: bytes) -> None:
        """13.1 A."""
        pre, foot, self.bundle_id = data[:64], data[-128:], data[20:36]
        need({"R-3.1 other": pre and MAGIC.startswith(pre[:8]), "R-3.1 cut": len(pre) == 64})
        need({"R-3.2 checksum": intact(pre), "R-3.3 version": pre[8] <= 1, "R-3.3": pre[8]})
        reserved = pre[10:12] + pre[36:56]
        need({"R-3.4 version": not any(pre[12:16]), "R-3.5": not any(reserved), "R-3.6": pre[9] >= pre[8]})
        need({"R-5.1 cut": foot[120:] == MAGIC[::-1], "R-5.2 checksum": intact(foot[:120])})
        copied = foot[:18] + foot[20:24] == pre[20:36] + pre[8:10] + pre[12:16]
        need({"R-5.3": copied, "R-5.4": not any(foot[18:20])})
        offset, length, total = struct.unpack("<QQQ", foot[24:48])
        placed = length % 64 == 0 and offset >= 64 and offset + length + 128 == total
        need({"R-5.5 cut": total <= len(data), "R-5.5": total == len(data), "R-5.6": placed})
        need({"R-4.14 limit": length <= 64 << 16})
        self.framed, self.mac, self.index = pre, foot[80:112], data[offset : offset + length]
        self.framed += self.index + foot[:80]
        self.sections, end = list[tuple[bytes, bytes]](), 64  # headers in the index, and what stands in the body
        for header in [self.index[at : at + 64] for at in range(0, length, 64)]:
            kind, _, flags, size = struct.unpack("<4sIIQ", header[4:24])
            need({"R-4.1": header[:4] == b"OCBS", "R-4.2 checksum": intact(header)})
            need({"R-4.3": re.fullmatch(b"[A-Z0-9]{4}", kind), "R-4.4": flags <= 1, "R-4.5": flags or kind not in BODY})
            need({"R-4.6 version": not flags or kind in BODY, "R-4.11 limit": size <= BODY.get(kind, 32 << 20)})
            self.sections.append((header, data[end : end + 64 + size]))
            end += 64 + size
        self.kinds = [header[4:8] for header, _ in self.sections]
        run_length = [kind == b"KEYS" for kind in [*self.kinds, b""]].index(False)
        need({"R-5.6": end == offset, "R-4.9": 0 < 2 * run_length < len(self.kinds), "R-4.9 limit": run_length <= 16})
        need({"R-4.10": self.index[: 64 * run_length] == self.index[-64 * run_length :]})
        self.keys, counts = self.sections[:run_length], dict.fromkeys(self.kinds, 0)
        for place, kind in enumerate(self.kinds[:-run_length]):
            fits = place < run_length or kind not in BODY or (kind != b"KEYS" and not counts.get(b"MANI"))
            need({"R-4.9": fits, "R-4.8": self.sections[place][0][8:12] == struct.pack("<I", counts[kind])})
            counts[kind] += 1
        covered = b"".join(header for header, _ in self.sections if header[4:8] in RAW)
        self.root_digest = sha256(b"ocbundle v1 root digest\n" + self.bundle_id + covered).digest()
        need({"R-4.9": counts.get(b"MANI"), "R-5.8 checksum": self.root_digest == foot[48:80]})

    def body(self, section: tuple[bytes, bytes]) -> bytes:
        header, copy = section
        need({"R-5.7": copy[:64] == header, "R-4.12 checksum": sha256(copy[64:]).digest() == header[24:56]})
        return copy[64:]

    def key_headers(self) -> list[tuple[bytes, list[str]]]:
        return [(body, age_stanzas(body, 64 << 10)) for body in [self.body(section) for section in self.keys]]

    def unlock(self, identities: bytes | None, passphrase: bytes | None) -> None:
        """13.1 C and D."""
        headers, text = self.key_headers(), None
        locked = [each for each in headers if any(re.match("-> scrypt[ \n]", stanza) for stanza in each[1])]
        alone = len(locked) <= 1 and all(len(stanzas) == 1 for _, stanzas in locked)
        need({"R-6.4": alone, "R-6.12 keyless": identities is not None or passphrase is not None})
        tried = [(each, identities) for each in headers if each not in locked] + [(each, passphrase) for each in locked]
        for (body, stanzas), secret in tried:
            if secret is not None and text is None:
                typed = (body, stanzas) in locked
                factor = re.sub(f"-> scrypt {SALT} ([1-9][0-9]*)\n{KEY}\n", r"\1", stanzas[0]) if typed else "0"
                need({"R-6.4": factor.isdigit(), "R-6.4 limit": len(factor) <= 2 and int(factor) <= 20})
                text = age(body, secret, typed=typed)
        need({"R-6.12 passphrase": text is not None or identities is not None or not locked})
        need({"R-6.12 stranger": text is not None, "R-6.8 limit": len(text or b"") <= 48 << 10})
        line, text = b"# bundle: " + self.bundle_id.hex().encode(), text or b""
        keys = re.findall(rb"\A(?:(?:#.*)?\n)*(AGE-SECRET-KEY-1[0-9A-Z]{58})(?:\n(?:#.*)?)*\Z", text)
        need({"R-6.5": text.decode(errors="ignore").encode() == text})
        need({"R-6.5 auth": line in text.split(b"\n"), "R-6.5": keys})
        need({"R-6.5": run(["age-keygen", "-y"], input=keys[0], capture_output=True, check=False).returncode == 0})
        mac_key = hmac.digest(keys[0], b"ocbundle v1 frame mac\n" + self.bundle_id, "sha256")
        need({"R-5.9 auth": hmac.compare_digest(hmac.digest(mac_key, self.framed, "sha256"), self.mac)})
        self.key = keys[0]

    def content(self, section: tuple[bytes, bytes]) -> bytes:
        body, binding = self.body(section), b"ocbundle/v1/bind" + self.bundle_id + section[0][4:12]
        ours = [stanza for stanza in age_stanzas(body, 16 << 10) if not re.match("-> [!-~]*-grease[ \n]", stanza)]
        need({"R-6.3": len(ours) == 1 and re.fullmatch(f"-> X25519 {KEY}\n{KEY}\n", ours[0])})
        plain, kind = age(body, self.key, sealed=True) or b"", section[0][4:8]
        start, raw = 8 + int.from_bytes(plain[4:8], "little"), int.from_bytes(plain[48:56], "little")
        need({"R-7.1": plain[:4] == b"\x50\x2a\x4d\x18" and 56 <= start <= len(plain)})
        need({"R-7.2 auth": plain[8:48] == binding, "R-7.5 limit": raw <= RAW[kind]})
        end, journal = start + frame(plain[start:], raw, "R-7.3")[0], plain[56:start]
        zeros = bytes(max(0, len(plain) - end - 8))
        padded = plain[end:] in (b"", struct.pack("<II", 0x184D2A51, len(zeros)) + zeros)
        need({"R-7.7": padded, "R-7.8": not journal or kind == b"SEGM"})
        length, size = frame(journal, None, "R-7.8") if journal else (0, 0)
        need({"R-7.8": length == len(journal)})
        content = decompressed(plain[start:end], raw)
        rows = decode(decompressed(journal, size)) if journal else []
        need({"R-7.8": isinstance(rows, list)})
        for row in rows:
            check_entry(row, None)
        return content

    def read_manifest(self) -> None:
        """13.1 E and F."""
        head = decode(self.content(self.sections[self.kinds.index(b"MANI")]))
        need({"R-8.2": isinstance(head, Table)})
        need({"R-9.1 auth": not isinstance(head.get("bundle_id"), bytes) or head["bundle_id"] == self.bundle_id})
        check(head, "head")
        names, profiles, totals = [root["name"] for root in head["roots"]], head["profiles"], head["totals"]
        used = {place["root"] for each in profiles for place in [*each["workspaces"], {"root": each["state"]}]}
        distinct = ascending(sorted(profile["name"] for profile in profiles))
        need({"R-9.4": ascending(sorted(names)), "R-9.5": used <= set(names) and distinct})
        need({"R-9.3": all(ascending([number for number, _ in head[owners]]) for owners in ("users", "groups"))})
        counted = totals["segments"] == self.kinds.count(b"SEGM") and totals["batches"] == self.kinds.count(b"ENTR")
        few = max(totals["entries"], totals["skipped"]) <= 1 << 23 and totals["bytes"] <= 16 << 40
        need({"R-9.2": counted, "R-9.18 limit": few})
        self.roots, entries, skipped = [name.encode() for name in names], list[Value](), list[Value]()
        for section in [each for each in self.sections if each[0][4:8] == b"ENTR"]:
            batch = decode(self.content(section))
            need({"R-8.2": isinstance(batch, Table)})
            check(batch, "batch")
            for row in batch["entries"]:
                check_entry(row, len(names))
            for row in batch["skipped"]:
                need({"R-9.16": re.fullmatch("<ibss[sn]>", shape(row).lower())})
                need({"R-9.5": 0 <= row[0] < len(names)})
                check_path(row[1])
            before = self.kinds[: self.sections.index(section)].count(b"SEGM")
            entries += [[*row, before] for row in batch["entries"]]
            skipped += batch["skipped"]
            need({"R-9.18 limit": max(len(entries), len(skipped)) <= 1 << 23})
        for rows in (entries, skipped):
            need({"R-9.6": ascending([(row[0], row[1].replace(b"/", b"\0")) for row in rows])})
        folders = {(row[0], row[1]) for row in entries if row[2] == 0}
        inside = [(row[0], row[1].rpartition(b"/")[0]) in folders if row[1] else row[2] <= 1 for row in entries]
        links = [(row[10].replace(b"/", b"\0"), row[1].replace(b"/", b"\0")) for row in entries if row[2] == 3]
        size, parts = sum(row[7] or 0 for row in entries), [(part, row[12]) for row in entries for part in row[9] or ()]
        need({"R-9.8": all(inside), "R-9.12": all(target < path for target, path in links)})
        need({"R-9.18 limit": size <= 16 << 40})
        need({"R-9.10": all(part[0] is None or part[0] < before for part, before in parts)})
        need({"R-9.2": (totals["entries"], totals["skipped"], totals["bytes"]) == (len(entries), len(skipped), size)})
        self.entries, self.skipped = entries, skipped

    def verify(self, identities: bytes | None, passphrase: bytes | None) -> None:
        self.unlock(identities, passphrase)
        self.read_manifest()
        files = {(row[0], row[1]): row for row in self.entries if row[2] == 1}
        lists = {tuple(map(tuple, file[9])) for file in files.values()}  # equal lists may share bytes, and no others
        stored = sorted(extent for extents in lists for extent in extents if extent[0] is not None)
        segments = [section for section in self.sections if section[0][4:8] == b"SEGM"]
        contents = {number: self.content(segments[number]) for number in sorted({each[0] for each in stored})}
        need({"R-9.10": all(offset + length <= len(contents[number]) for number, offset, length in stored)})
        for file in files.values():
            digest = sha256()
            for segment, offset, length in file[9]:
                for at in range(offset, offset + length, 1 << 20):
                    part = min(1 << 20, offset + length - at)
                    digest.update(bytes(part) if segment is None else contents[segment][at : at + part])
            need({"R-9.14 checksum": digest.digest() == file[8]})
        skipped = {(row[0], row[1]) for row in self.skipped}
        need({"R-9.11": all(a[0] != b[0] or a[1] + a[2] <= b[1] for a, b in pairwise(stored))})
        need({"R-9.17": skipped.isdisjoint((row[0], row[1]) for row in self.entries)})
        need({"R-9.12": all((row[0], row[10]) in files for row in self.entries if row[2] == 3)})
        for number in sorted(set(range(len(segments))) - contents.keys()):
            self.content(segments[number])
        for section in self.sections:
            self.body(section)


def outcome(data: bytes, identities: bytes | None = None, passphrase: bytes | None = None) -> tuple[list[str], int]:
    try:
        reader = Reader(data)
        lines = [f"root-digest: {reader.root_digest.hex()}"]
        if identities is None and passphrase is None:
            reader.key_headers()
            for section in reader.sections:
                reader.body(section)
            return [*lines, "checksums only: nothing against an attacker"], 0
        reader.verify(identities, passphrase)
    except Fault as fault:
        return [" ".join(fault.args)], EXITS.get(fault.args[0], 4)
    for row in [*reader.entries, *reader.skipped]:
        name = quote(b"/".join(filter(None, (reader.roots[row[0]], row[1]))))
        words = ["skipped:", row[3], name]
        if len(row) > 5:
            words = [f"{list(KINDS)[row[2]]}:", row[8] and row[8].hex(), name, row[10] and quote(row[10])]
        lines.append(" ".join(filter(None, words)))
    return lines, 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option, name in (("-i", "IDENTITY_FILE"), ("-p", "PASSPHRASE_FILE"), ("bundle", "BUNDLE")):
        parser.add_argument(option, metavar=name, type=lambda path: Path(path).read_bytes())
    options = parser.parse_args()
    lines, status = outcome(options.bundle, options.i, options.p and options.p.removesuffix(b"\n"))
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.exit(status)
