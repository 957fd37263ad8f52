"""A second reader of ocbundle version 1, written from spec/ocbundle-v1.md alone; it needs Python, `age` and `zstd`.
With a key it verifies in full and lists what is there; without, checksums alone. Behind a rule stands its class."""

import hmac
import os
import re
import struct
import sys
from collections import Counter, OrderedDict
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run
from typing import Any
from urllib.parse import quote

Value = Any  # what MessagePack can hold: None, bool, int, str, bytes, a list or an OrderedDict
CLASSES = {"": "Malformed", "auth": "AuthenticationFailed", "hash": "ChecksumMismatch", "limit": "LimitExceeded"}
CLASSES |= {"newer": "UnsupportedVersion", "cut": "Truncated", "nokey": "NoKeyFits", "passphrase": "WrongPassphrase"}
BODY = {b"KEYS": 64 << 10, b"SEGM": 20 << 20, b"ENTR": 8 << 20, b"MANI": 16 << 20}
LABELS = {0: "directory:", 1: "file:", 2: "symlink:", 3: "hardlink:"}
B = "[A-Za-z0-9+/]"
SALT, KEY, ARGUMENTS = f"{B * 21}[AQgw]", f"{B * 42}[AEIMQUYcgkosw048]", "->(?: [!-~]+)+\n"  # base64 of 16 and 32 bytes
STANZA = f"{ARGUMENTS}(?:{B * 64}\n){{0,63}}(?:{B * 4}){{0,15}}(?:{B}[AQgw]|{B * 2}[AEIMQUYcgkosw048])?\n"
FORMS = ("uint0 " * 128 + "map0 " * 16 + "array0 " * 16 + "str0 " * 32 + "nil0 R-8.6 false0 true0 bin1 bin2 ").split()
FORMS += ("bin4 " + "R-8.3 " * 5 + "uint1 uint2 uint4 uint8 int1 int2 int4 int8 " + "R-8.3 " * 5 + "str1 ").split()
FORMS += ("str2 str4 array2 array4 map2 map4 " + "int0 " * 32).split()  # by first byte: type and width; or a rule
LEAST = {"bin1": 0, "uint1": 128, "int1": 64, "str1": 32, "array2": 16, "map2": 16}  # of others 16 ** width
# Section 9. A letter is a type (nil, bool (t), int, str, bin; I: an int against ), "<x>" an array, "{x}" a map.
# Before a row stands its kind, if that is an int; behind "/" what each item, or the value, is, to be checked by itself.
ENTRY = r"0 i b i i i i i n n n n (n|{\S*})|1 i b i i i i i i b <\S*> n (n|{\S*})|"
ENTRY += r"2 i b i i i i i n n n b (n|{\S*})|3 i b i n n n n n n n b n"
ROWS = {"entries": ENTRY, "skipped": " i b s s [ns]", "journal": ENTRY.replace("b <", "n <").replace("i b i", "s b i")}
GRANTS = "1nn[0-7] (4nn[0-7] (16nn[0-7] )?|(2i[ns][0-7] )*4nn[0-7] (8i[ns][0-7] )*16nn[0-7] )32nn[0-7] "
MAPS = {"source": "gid:i home:b host:s os:s uid:i user:s", "root": "name:s profile:[sn]? role:s source:b"}
MAPS |= {"totals": "batches:i bytes:i entries:i segments:i skipped:i", "workspace": "agent:s path:b root:s"}
MAPS["batch"] = r"entries:<\S*>/rows skipped:<\S*>/rows"
MAPS["extra"] = "acl:(<(<i[in][sn]i>)+>)? capture:s? default_acl:(<(<i[in][sn]i>)+>)? xattrs:(<(<bb>)*>)?"
MAPS["head"] = r"bundle_id:b created:i generator:s groups:<(<is>)*> profiles:<\S*>/profile roots:<\S*>/root "
MAPS["head"] += r"source:{\S*}/source totals:{\S*}/totals users:<(<is>)*>"
MAPS["profile"] = "agents:<s*> channels:<s*> config:[bn]? era:[sn]? mode:[sn]? name:s needs:(<s*>)? plugins:<s*> "
MAPS["profile"] += r"port:[in]? schemas:{i*} secrets:<s*> state:s version:[sn]? workspaces:<\S*>/workspace"
NAME = re.compile(rb"(?s)(?!\.\.?\Z)(?=.{1,255}\Z)([^/\0-\x1f\x7f\xc2]|\xc2[^\x80-\x9f])*")  # of a root: UTF-8, R-9.4
PATH = re.compile(rb"((?!\.\.?(/|\Z))[^/\0]{1,255}(/(?!\Z)|\Z))*")  # and what is too long in it
LONG = re.compile(rb"(?s).{4097}|([^/]*/){255}|(?!.*\0)((?!\.\.?/)[^/]{1,255}/)*[^/]{256}")


class Fault(Exception): ...


def need(rules: dict[str, Value]) -> None:
    for rule, _, word in [rule.partition(" ") for rule, holds in rules.items() if not holds]:
        raise Fault(CLASSES.get(word, word), rule)


def shape(value: Value) -> str:
    if isinstance(value, list | OrderedDict):
        inner = "".join(map(shape, value if isinstance(value, list) else value.values()))
        return f"<{inner}>" if isinstance(value, list) else f"{{{inner}}}"
    letters = {type(None): "n", bool: "t", str: "s", bytes: "b"}
    return letters.get(type(value)) or ("i" if 0 <= value < 1 << 53 else "I")


def check(table: Value, kind: str, rule: str = "R-9.0") -> None:
    need({rule: isinstance(table, OrderedDict) and (table or kind != "extra")})
    fields = re.findall(r"(\w+):([^\s/]+)/?(\w*)", MAPS[kind])
    for key in sorted(table.keys() - {field[0] for field in fields} if rule == "R-9.0" else ()):
        need({"R-8.7 newer": not key.startswith("!"), "R-8.8": "I" not in shape(table[key])})
    for key, types, inner in fields:
        value, text = table.get(key), shape(table[key]) if key in table else ""
        need({rule: re.fullmatch(types, text.lower()), "R-8.8": inner or rule != "R-9.0" or "I" not in text})
        need({"R-9.4 limit": key != "roots" or not value[65535:], "R-9.18 limit": kind != "batch" or not value[65536:]})
        for item in (value if isinstance(value, list) else [value]) if inner in MAPS else ():
            check(item, inner)
    name, path = table["name"] if kind == "root" else "-", table["path"] if kind == "workspace" else b""
    need({"R-9.4": NAME.fullmatch(name.encode()), "R-9.7 limit": not LONG.match(path), "R-9.7": PATH.fullmatch(path)})


def check_row(row: Value, rows: str, roots: int) -> Value:
    text = " ".join(map(shape, row)) if isinstance(row, list) and len(row) > 2 else ""
    need({"R-9.16": text and re.fullmatch(ROWS[rows], f"{row[2] if isinstance(row[2], int) else ''} {text.lower()}")})
    root, path, kind, *own, time, size, digest, extents, target, extra = row if row[5:] else row[:2] + [None] * 10
    need({"R-9.16": digest is None or len(digest) == 32, "R-9.5": rows == "journal" or 0 <= root < roots})
    need({"R-9.4": NAME.fullmatch(str(root).encode()), "R-8.8": "I" not in shape([*own, size]) and (time or 0) < 2**63})
    if extra is not None:
        check(extra, "extra", "R-9.16")
        need({"R-9.15 limit": extra.length <= 64 << 10})
        check(extra, "extra")
    acl, default, pairs = [(extra or {}).get(key) or [] for key in ("acl", "default_acl", "xattrs")]
    need({"R-9.19": [name for name, _ in pairs] == sorted(filter(re.compile(rb"user\.[^\0]*").fullmatch, dict(pairs)))})
    for extent in extents or ():
        need({"R-9.16": re.fullmatch("<[in]ii>", shape(extent).lower()), "R-8.8": "I" not in shape(extent)})
        need({"R-9.10": extent[2] and (extent[0] is not None or not extent[1])})
    need({"R-9.7 limit": not LONG.match(path), "R-9.7": PATH.fullmatch(path), "R-9.9": (own[0] or 0) <= 0o7777})
    for last, grants in [each for each in ((1, acl), (0, default)) if each[1]]:  # the last kind that may have them
        lines = {(tag, who): f"{tag}{shape(who)}{shape(name)}{rights} " for tag, who, name, rights in grants}
        fits = kind <= last and re.fullmatch(GRANTS, "".join(lines.values())) and list(lines) == sorted(lines)
        need({"R-9.21": fits and len(lines) == len(grants)})
    tags = [{2, 8, 16, 32} if len(acl) > 4 else {32}] * 3 + [{2, 4, 16}] * 3 + [{1}] * 3  # for each bit, R-12.12
    bits = sum(all(grant[3] >> bit % 3 & 1 for grant in acl if grant[0] in tags[bit]) << bit for bit in range(9))
    need({"R-9.22": not acl or own[0] & 511 == bits, "R-9.10": sum(part[2] for part in extents or ()) == (size or 0)})
    link, used = target if kind == 3 else b"-", [part[0] for part in extents or () if part[0] is not None]
    need({"R-9.23": used == sorted(used) and max(len({*used}) - 2 << 20, len(extents or ()) - 16 << 11) <= (size or 0)})
    need({"R-9.7 limit": not LONG.match(link), "R-9.7": PATH.fullmatch(link), "R-9.12": link})
    need({"R-9.13": kind != 2 or (target and b"\0" not in target), "R-9.13 limit": kind != 2 or len(target) <= 4095})
    return root, path, kind, size, digest, extents, target


class Reader:
    def __init__(self, data: bytes) -> None:  # 13.1 A, and B for the keys
        pre, foot, self.bundle_id = data[:64], data[-128:], data[20:36]
        need({"R-3.1 NotABundle": pre and b"\x89OCB\r\n\x1a\n".startswith(pre[:8]), "R-3.1 cut": len(pre) == 64})
        need({"R-3.2 hash": sha256(pre[:56]).digest()[:8] == pre[56:], "R-3.3 newer": pre[8] <= 1, "R-3.3": pre[8]})
        need({"R-3.4 newer": not any(pre[12:16]), "R-3.5": not any(pre[10:12] + pre[36:56]), "R-3.6": pre[9] >= pre[8]})
        need({"R-5.1 cut": foot[120:] == pre[7::-1], "R-5.2 hash": sha256(foot[:112]).digest()[:8] == foot[112:120]})
        need({"R-5.3": foot[:18] + foot[20:24] == pre[20:36] + pre[8:10] + pre[12:16], "R-5.4": not any(foot[18:20])})
        offset, length, total = struct.unpack("<QQQ", foot[24:48])
        need({"R-5.5 cut": total <= len(data), "R-5.5": total == len(data)})
        need({"R-5.6": length % 64 == 0 and 64 <= offset == total - length - 128, "R-4.14 limit": length <= 64 << 16})
        index, end, self.sections = data[offset : offset + length], 64, list[tuple[bytes, bytes, bytes]]()
        for header in [index[at : at + 64] for at in range(0, length, 64)]:
            magic, kind, _, flags, size = struct.unpack("<4s4sIIQ", header[:24])
            need({"R-4.1": magic == b"OCBS", "R-4.2 hash": sha256(header[:56]).digest()[:8] == header[56:]})
            need({"R-4.3": re.fullmatch(b"[A-Z0-9]{4}", kind), "R-4.4": flags <= 1, "R-4.5": flags or kind not in BODY})
            need({"R-4.6 newer": not flags or kind in BODY, "R-4.11 limit": size <= BODY.get(kind, 32 << 20)})
            self.sections.append((kind, header, data[end : end + 64 + size]))
            end += 64 + size
        keys = [*(kind == b"KEYS" for kind, _, _ in self.sections), False].index(False)  # how many, in a run
        need({"R-5.6": end == offset, "R-4.9": 0 < 2 * keys < len(self.sections), "R-4.9 limit": keys <= 16})
        need({"R-4.10": index[: 64 * keys] == index[-64 * keys :]})
        self.counts, self.boxes, root = Counter[bytes](), 0, sha256(b"ocbundle v1 root digest\n" + self.bundle_id)
        for place, (kind, header, _) in enumerate(self.sections[:-keys]):
            fits = place < keys or kind not in BODY or (kind != b"KEYS" and not self.counts[b"MANI"])
            need({"R-4.9": fits, "R-4.8": header[8:12] == struct.pack("<I", self.counts[kind])})
            self.counts[kind] += 1
            root.update(header if kind in BODY and kind != b"KEYS" else b"")
        need({"R-4.9": self.counts[b"MANI"], "R-5.8 hash": root.digest() == foot[48:80]})
        self.framed, self.mac = pre + index + foot[:80], foot[80:112]
        self.headers = [(body, self.stanzas(body, 16 << 10)) for body in list(map(self.body, self.sections[:keys]))]
        self.lines = [f"root-digest: {root.hexdigest()}", "checksums only: nothing against an attacker"]

    def body(self, part: tuple[bytes, bytes, bytes]) -> bytes:
        need({"R-5.7": part[2][:64] == part[1], "R-4.12 hash": sha256(part[2][64:]).digest() == part[1][24:56]})
        return part[2][64:]

    def stanzas(self, body: bytes, most: int) -> list[str]:
        need({"R-6.1": body.startswith(b"age-encryption.org/v1\n")})
        _, stanzas, rest = re.split(f"^.*\n((?:{STANZA}){{0,128}})", body[:most].decode("latin-1"), maxsplit=1)
        found, lines = re.findall(STANZA, stanzas), f"{ARGUMENTS}(?:[^\n]{{64}}\n)"
        over = [lines + "{64}", *["-> "] * (len(found) == 128), *[rf"(?:{lines}*)?[^\n]*\Z"] * (len(body) > most)]
        need({"R-6.2 limit": not re.match("|".join(over), rest), "R-6.1": found and re.match(f"--- {KEY}\n", rest)})
        return found

    def age(self, body: bytes, secret: bytes, *, typed: bool = False) -> tuple[bytes, bytes]:
        ends = keyboard, terminal, content, key = [*os.openpty(), os.memfd_create("body"), os.memfd_create("key")]
        list(map(os.write, (keyboard, content, key), (secret * typed + b"\n", body, secret)))  # age asks a terminal
        command = ["age", "-d", *["-i", f"/dev/fd/{key}"][2 * typed :], f"/dev/fd/{content}"]
        done = run(command, stdin=terminal, capture_output=True, check=False, start_new_session=True, pass_fds=ends)
        list(map(os.close, ends))
        return done.stdout, b"" if done.returncode == 0 else b"refused: " + done.stderr

    def unlock(self, identities: bytes | None, passphrase: bytes | None) -> None:  # 13.1 C and D
        locked = [each for each in self.headers if any(stanza.split()[1] == "scrypt" for stanza in each[1])]
        alone, text, refused = len(locked) <= 1 and all(len(stanzas) == 1 for _, stanzas in locked), b"", b"no key"
        need({"R-6.4": alone, "R-6.12 KeyRequired": identities is not None or passphrase is not None})
        for body, stanzas in sorted(self.headers, key=locked.__contains__):
            secret = passphrase if (typed := (body, stanzas) in locked) else identities
            if secret is not None and refused:
                factor = re.sub(f"-> scrypt {SALT} ([1-9][0-9]*)\n{KEY}\n", r"\1", stanzas[0]) if typed else "0"
                need({"R-6.4": factor.isdigit(), "R-6.4 limit": len(factor) <= 2 and int(factor) <= 20})
                text, refused = self.age(body, secret, typed=typed)
                need({"R-6.1 auth": re.search(b"^$|no identity matched|incorrect passphrase", refused)})
        need({"R-6.12 passphrase": not (refused and locked and identities is None), "R-6.12 nokey": not refused})
        need({"R-6.8 limit": len(text) <= 48 << 10, "R-6.5": text.decode(errors="ignore").encode() == text})
        self.key = b"".join(re.findall(rb"\A(?:(?:#.*)?\n)*(AGE-SECRET-KEY-1[0-9A-Z]{58})(?:\n(?:#.*)?)*\Z", text))
        need({"R-6.5 auth": b"# bundle: %b" % self.bundle_id.hex().encode() in text.split(b"\n"), "R-6.5": self.key})
        need({"R-6.5": run(["age-keygen", "-y"], input=self.key, capture_output=True, check=False).returncode == 0})
        mac_key = hmac.digest(self.key, b"ocbundle v1 frame mac\n" + self.bundle_id, "sha256")
        need({"R-5.9 auth": hmac.compare_digest(hmac.digest(mac_key, self.framed, "sha256"), self.mac)})

    def content(self, section: tuple[bytes, bytes, bytes]) -> Value:  # of a segment its bytes, of others the map
        body, segment, binding = self.body(section), section[0] == b"SEGM", self.bundle_id + section[1][4:12]
        ours = [stanza for stanza in self.stanzas(body, 16 << 10) if not stanza.split()[1].endswith("-grease")]
        need({"R-6.3": len(ours) == 1 and re.fullmatch(f"-> X25519 {KEY}\n{KEY}\n", ours[0])})
        plain, refused = self.age(body, self.key)
        need({"R-6.3": b"low order point" not in refused, "R-6.3 auth": b"no identity matched" not in refused})
        start, number, raw = (int.from_bytes(plain[at:end], "little") for at, end in ((4, 8), (44, 48), (48, 56)))
        start, room = start + 8, 1 << 20 + min(number >> 13, 4) if segment else min(2 << 20, 1024 + len(plain) << 6)
        need({"R-6.1 auth": not refused, "R-7.1": plain[:4] == b"\x50\x2a\x4d\x18" and 56 <= start <= len(plain)})
        need({"R-7.2 auth": plain[8:48] == b"ocbundle/v1/bind" + binding, "R-7.5 limit": raw <= room})
        end, journal = start + self.frame(plain[start:], "R-7.3", raw)[0], plain[56:start]
        pad, n = plain[end:], len(plain[end + 8 :])
        need({"R-7.7": pad in (b"", struct.pack("<II", 0x184D2A51, n) + bytes(n)), "R-7.8": segment or not journal})
        total = raw + (self.frame(journal, "R-7.8", -len(plain))[1] if journal else 0)
        with open(os.memfd_create("frames"), "w+b", 0) as file:
            os.pwrite(file.fileno(), plain[start:end] + journal, 0)
            with Popen(["zstd", "-dcq"], stdin=file, stdout=PIPE, stderr=DEVNULL) as zstd:
                content = zstd.stdout.read(total + 1) if zstd.stdout else b""  # no byte more than was promised
        need({"R-7.6": zstd.returncode == 0 and len(content) == total})
        value = self.decode(stream := BytesIO((content[raw:] if journal else b"\x90") if segment else content))
        need({"R-8.6": not stream.read(1)})
        need({"R-8.2": segment or isinstance(value, OrderedDict), "R-7.8": not segment or isinstance(value, list)})
        for row in value if segment else ():
            check_row(row, "journal", 0)
        return content[:raw] if segment else value

    def frame(self, data: bytes, rule: str, raw: int) -> tuple[int, int]:  # its end and size; of a journal raw is < 0
        need({rule: data[:4] == b"\x28\xb5\x2f\xfd" and len(data) > 4})
        mode, single = data[4], data[4] >> 5 & 1
        width, at = (single, 2, 4, 8)[mode >> 6], 6 - single
        need({"R-7.4": not mode & 0b1011, rule: width and len(data) >= at + width})  # reserved, dictionary id
        size = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
        window = size if single else 8 + (data[5] & 7) << (data[5] >> 3) + 7
        fits = raw >= 0 or size <= min(1 << 20, 1024 - raw << 6)
        need({"R-7.4 limit": window <= 8 << 20, "R-7.8 limit": fits, rule: raw < 0 or raw == size})
        at, block, blocks = at + width, 0, 0
        while not block & 1:
            need({"R-7.11 limit": blocks < 1 << 16, rule: len(data) >= at + 3})
            block, blocks = int.from_bytes(data[at : at + 3], "little"), blocks + 1
            at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # run-length blocks store one byte
        at += mode & 4  # a checksum
        need({rule: at == len(data) or (raw >= 0 and at < len(data))})
        return at, size

    def decode(self, stream: BytesIO, depth: int = 1) -> Value:
        start, first = stream.tell(), stream.read(1)
        form = "R-8.4" if depth > 8 else FORMS[first[0]] if first else "R-8.6"
        kind, width, digits = form[:-1], int(form[-1]), stream.read(int(form[-1]))  # 6: a rule
        number = int.from_bytes(digits or first, "big", signed=kind == "int")
        fits = (~number * 2 if kind == "int" else number) >= LEAST.get(form, width and 16**width)
        need({form: "R" not in form, "R-8.6": len(digits) == width != 6, "R-8.1" if "int" in kind else "R-8.5": fits})
        self.boxes = (self.boxes if depth > 1 else 0) + (kind in ("array", "map"))
        length = number & {"map0": 15, "array0": 15, "str0": 31}.get(form, -1)
        size, count = {"bin": length, "str": length}.get(kind, 0), {"array": length, "map": 2 * length}.get(kind, 0)
        content, items = stream.read(size), [self.decode(stream, depth + 1) for _ in range(count)]
        text, keys = content.decode(errors="ignore"), items[::2] if kind == "map" else []
        need({"R-8.6": len(content) == size, "R-8.5": kind == "bin" or text.encode() == content})
        need({"R-8.9 limit": self.boxes <= 1 << 18, "R-8.2": keys == sorted({key for key in keys if type(key) is str})})
        table: Value = OrderedDict(zip(keys, items[1::2], strict=False))
        table.length = stream.tell() - start  # of its encoding
        values = {"nil": None, "false": False, "true": True, "bin": content, "str": text, "array": items, "map": table}
        return values.get(kind, number)

    def verify(self, identities: bytes | None, passphrase: bytes | None) -> None:  # 13.1 C to G
        self.unlock(identities, passphrase)
        head = self.content(next(section for section in self.sections if section[0] == b"MANI"))
        need({"R-9.1 auth": not isinstance(head.get("bundle_id"), bytes) or head["bundle_id"] == self.bundle_id})
        check(head, "head")
        names, profiles, totals = [root["name"] for root in head["roots"]], head["profiles"], head["totals"]
        used = {place["root"] for each in profiles for place in [*each["workspaces"], {"root": each["state"]}]}
        distinct = len({each["name"] for each in profiles}) == len(profiles)
        need({"R-9.4": len(set(names)) == len(names), "R-9.5": used <= set(names) and distinct})
        need({"R-9.3": all([each[0] for each in head[key]] == sorted(dict(head[key])) for key in ("users", "groups"))})
        need({"R-9.2": [totals["segments"], totals["batches"]] == [self.counts[b"SEGM"], self.counts[b"ENTR"]]})
        need({"R-9.18 limit": max(totals["entries"], totals["skipped"]) <= 1 << 23 and totals["bytes"] <= 16 << 40})
        entries, skipped = dict[Value, Value](), dict[Value, Value]()  # by root and components of the path
        contents, lists, total, found = list[bytes](), set[Value](), 0, {"entries": entries, "skipped": skipped}
        for section in self.sections:  # F and G, interleaved
            contents += [self.content(section)] if section[0] == b"SEGM" else []
            batch = self.content(section) if section[0] == b"ENTR" else OrderedDict(entries=[], skipped=[])
            check(batch, "batch")
            for what, rows, row in [(key, rows, row) for key, rows in found.items() for row in batch[key]]:
                root, path, kind, size, digest, extents, target = check_row(row, what, len(names))
                place, sha, total = (root, *filter(None, path.split(b"/"))), sha256(), total + (size or 0)
                above, linked = [entries.get(key, "-")[0] for key in (place[:-1], (root, *(target or b"").split(b"/")))]
                fits = kind is None or (above == 0 if path else kind <= 1)
                need({"R-9.6": place > next(reversed(rows), ()), "R-9.8": fits, "R-9.12": kind != 3 or linked == 1})
                need({"R-9.18 limit": total <= 16 << 40 and len(rows) < 1 << 23})
                for number, at, length in extents or ():
                    need({"R-9.10": number is None or (contents[number:] and at + length <= len(contents[number]))})
                    for left in range(length, 0, -16 << 20):  # a hole may be long
                        sha.update(bytes(min(left, 16 << 20)) if number is None else contents[number][at : at + length])
                need({"R-9.14 hash": kind != 1 or sha.digest() == digest})
                lists.add(tuple(map(tuple, extents or ())))  # equal lists may share bytes, and no others
                words = [LABELS.get(kind, "skipped:"), row[3] if kind is None else (digest or b"").hex()]
                words += [quote(names[root].encode() + b"/" + path).removesuffix("/"), quote(target or b"")]
                rows[place] = kind, " ".join(filter(None, words))
        need({"R-9.2": [totals["entries"], totals["skipped"], totals["bytes"]] == [len(entries), len(skipped), total]})
        stored = sorted(extent for extents in lists for extent in extents if extent[0] is not None)
        ends = [end for number, at, length in stored for end in ((number, at), (number, at + length))]
        need({"R-9.11": ends == sorted(ends), "R-9.17": entries.keys().isdisjoint(skipped)})
        self.lines[1:] = [line for _, line in [*entries.values(), *skipped.values()]]


def outcome(data: bytes, identities: bytes | None = None, passphrase: bytes | None = None) -> tuple[list[str], int]:
    try:
        reader = Reader(data)
        if identities is not None or passphrase is not None:
            reader.verify(identities, passphrase)
        list(map(reader.body, reader.sections))
    except Fault as fault:
        return [" ".join(fault.args)], 5 if "R-6.12" in fault.args else 6 if "UnsupportedVersion" in fault.args else 4
    return reader.lines, 0


if __name__ == "__main__":
    keys = {option: Path(path).read_bytes() for option, path in zip(sys.argv[1:-1:2], sys.argv[2:-1:2], strict=True)}
    lines, status = outcome(Path(sys.argv[-1]).read_bytes(), *({"-i": None, "-p": None} | keys).values())
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.exit(status)
