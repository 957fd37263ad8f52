"""A bundle under construction: every layer can be changed before the layers around it are made.

Written from sections 3 to 9 of the specification, without the library. A fault put into one layer is sealed, hashed and
authenticated by all the layers around it, so it is the only fault. Every byte follows from the vector's name; zstd
frames are of stored blocks, since a compressor's output changes from version to version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from spec.vectors import age

MAGIC = b"\x89OCB\r\n\x1a\n"
KEYS, SEGM, ENTR, MANI = b"KEYS", b"SEGM", b"ENTR", b"MANI"
PATH, KIND, MODE, UID, GID, MTIME, SIZE, SHA256, EXTENTS, TARGET, EXTRA = range(1, 12)
"""Where the fields of an entry's row stand."""
PASSPHRASE = "correct horse battery staple"  # noqa: S105 - published with the vectors
WORK_FACTOR = 10
MTIME_NS = 1_700_000_000_123_456_789

Row = list[Any]
Map = dict[str, Any]


def seeded(name: str) -> age.Random:
    """Bytes that follow from *name*: SHA-256 in counter mode."""
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        first, position = position, position + count
        blocks = range(first // 32, (first + count) // 32 + 1)
        data = b"".join(hashlib.sha256(f"ocbundle vector {name} {block}".encode()).digest() for block in blocks)
        return data[first % 32 : first % 32 + count]

    return take


IDENTITY = seeded("identity")(32)
STRANGER = seeded("stranger")(32)
"""An identity that no vector is sealed to."""


def check(data: bytes) -> bytes:
    """The eight bytes that guard a fixed structure."""
    return hashlib.sha256(data).digest()[:8]


def pack(value: object) -> bytes:
    """MessagePack, canonical for what the vectors hold as long as the keys of maps are in order."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def block(data: bytes, *, last: bool = True, kind: int = 0, size: int | None = None) -> bytes:
    """A zstd block: of *kind* 0 (stored) or 1 (one byte, *size* times)."""
    length = len(data) if size is None else size
    return (length << 3 | kind << 1 | last).to_bytes(3, "little") + data


def frame(data: bytes, *, size: int | None = None, blocks: bytes | None = None, head: bytes | None = None) -> bytes:
    """A zstd frame that declares *size* bytes in one segment. *head* replaces what stands before the blocks."""
    if head is None:
        head = b"\xa0" + (len(data) if size is None else size).to_bytes(4, "little")
    if blocks is None:
        starts = range(0, max(1, len(data)), 1 << 17)
        blocks = b"".join(block(data[i : i + (1 << 17)], last=i == starts[-1]) for i in starts)
    return b"\x28\xb5\x2f\xfd" + head + blocks


def skippable(nibble: int, content: bytes, *, length: int | None = None) -> bytes:
    """A skippable zstd frame."""
    return struct.pack("<II", 0x184D2A50 + nibble, len(content) if length is None else length) + content


@dataclass(slots=True, kw_only=True)
class Sealed:
    """The inside of a SEGM, ENTR or MANI section. Each field but the first three replaces what would be made."""

    type: bytes
    number: int
    raw: bytes
    domain: bytes = b"ocbundle/v1/bind"
    bound_id: bytes | None = None
    bound_type: bytes | None = None
    bound_number: int | None = None
    raw_length: int | None = None
    journal: bytes = b""
    """As it stands in the section: compressed."""
    frame: bytes | None = None
    padding: bytes = b""
    plaintext: bytes | None = None
    stanzas: age.Stanzas | None = None
    split: list[tuple[bytes, bool]] | None = None
    body: bytes | None = None

    def seal(self, draft: Draft) -> bytes:
        """The body of the section."""
        if self.body is not None:
            return self.body
        binding = self.domain + struct.pack(
            "<16s4sIQ",
            draft.bundle_id if self.bound_id is None else self.bound_id,
            self.bound_type or self.type,
            self.number if self.bound_number is None else self.bound_number,
            len(self.raw) if self.raw_length is None else self.raw_length,
        )
        packed = frame(self.raw) if self.frame is None else self.frame
        plaintext = skippable(0, binding + self.journal) + packed + self.padding
        return age.seal(
            plaintext if self.plaintext is None else self.plaintext,
            self.stanzas or age.x25519(draft.random, age.public(draft.secret)),
            draft.random,
            split=self.split,
        )


@dataclass(slots=True, kw_only=True)
class Section:
    """A section's header and body, before they are bytes."""

    type: bytes
    number: int
    body: bytes
    flags: int = 1
    length: int | None = None
    digest: bytes | None = None
    magic: bytes = b"OCBS"
    check: bytes | None = None

    def header(self) -> bytes:
        """The 64 bytes."""
        data = struct.pack(
            "<4s4sIIQ32s",
            self.magic,
            self.type,
            self.number,
            self.flags,
            len(self.body) if self.length is None else self.length,
            hashlib.sha256(self.body).digest() if self.digest is None else self.digest,
        )
        return data + (check(data) if self.check is None else self.check)


@dataclass(slots=True)
class Draft:
    """A bundle. It begins with one root, ``default``, and no entries."""

    name: str
    random: age.Random = field(init=False)
    bundle_id: bytes = field(init=False)
    secret: bytes = field(init=False)
    """The bundle key."""
    identity: bytes | None = IDENTITY
    """What the vector's header gives to open it with; ``None`` for nothing."""
    passphrase: str | None = None
    keys: list[bytes] = field(default_factory=list)
    """Bodies of the KEYS sections; none: one that is sealed to the identity."""
    segments: list[bytes] = field(default_factory=list)
    batches: list[Map] = field(default_factory=list)
    head: Map = field(default_factory=dict)
    totals: Map = field(default_factory=dict)
    """What replaces the counts of the manifest's totals."""
    changes: dict[tuple[bytes, int], Map] = field(default_factory=dict)
    preamble: Map = field(default_factory=dict)
    root_digest: bytes = b""
    """Set when the bytes are made."""

    def __post_init__(self) -> None:
        """Derive the keys from the name."""
        self.random = seeded(self.name)
        self.bundle_id = self.random(16)
        self.secret = self.random(32)
        source = {"gid": 1000, "home": b"/home/ada", "host": "example", "os": "linux", "uid": 1000, "user": "ada"}
        self.head = {
            "bundle_id": self.bundle_id,
            "created": 1_700_000_000,
            "generator": "ocbundle vectors",
            "groups": [],
            "profiles": [],
            "roots": [root("default")],
            "source": source,
            "totals": {},
            "users": [],
        }

    # --- content ----------------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """A root of two files, ``a`` and ``b``, in one segment."""
        self.directory(b"")
        self.file(b"a", b"alpha\n")
        self.file(b"b", b"beta\n")

    @property
    def entries(self) -> list[Row]:
        """The rows of the last batch."""
        if not self.batches:
            self.batches.append({"entries": [], "skipped": []})
        rows: list[Row] = self.batches[-1]["entries"]
        return rows

    def new_batch(self) -> None:
        """Begin another ENTR section."""
        self.batches.append({"entries": [], "skipped": []})

    def row(self, path: bytes) -> Row:
        """The row of an entry of the last batch."""
        return next(row for row in self.entries if row[PATH] == path)

    def directory(self, path: bytes, *, root: int = 0, mode: int = 0o700) -> Row:
        """Add a directory."""
        self.entries.append([root, path, 0, mode, 1000, 1000, MTIME_NS, None, None, None, None, None])
        return self.entries[-1]

    def file(
        self,
        path: bytes,
        data: bytes,
        *,
        root: int = 0,
        segment: int = 0,
        extents: list[Row] | None = None,
        extra: Map | None = None,
    ) -> Row:
        """Add a file whose bytes go to the end of a segment, or are where *extents* say."""
        if extents is None:
            while data and len(self.segments) <= segment:
                self.segments.append(b"")
            extents = [[segment, len(self.segments[segment]), len(data)]] if data else []
            if data:
                self.segments[segment] += data
        digest = hashlib.sha256(data).digest()
        self.entries.append([root, path, 1, 0o600, 1000, 1000, MTIME_NS, len(data), digest, extents, None, extra])
        return self.entries[-1]

    def symlink(self, path: bytes, target: bytes, *, root: int = 0) -> Row:
        """Add a symbolic link."""
        self.entries.append([root, path, 2, 0o777, 1000, 1000, MTIME_NS, None, None, None, target, None])
        return self.entries[-1]

    def hardlink(self, path: bytes, target: bytes, *, root: int = 0) -> Row:
        """Add a hard link."""
        self.entries.append([root, path, 3, *[None] * 7, target, None])
        return self.entries[-1]

    def skip(self, path: bytes, kind: str, reason: str, *, detail: str | None = None, root: int = 0) -> Row:
        """Add a row of what was left out."""
        assert self.entries is not None  # noqa: S101 - there is a batch now
        self.batches[-1]["skipped"].append([root, path, kind, reason, detail])
        row: Row = self.batches[-1]["skipped"][-1]
        return row

    # --- layers -----------------------------------------------------------------------------------------------------

    def change(self, kind: bytes, number: int = 0, **fields: Any) -> None:  # noqa: ANN401 - fields of Sealed
        """Replace layers of one sealed section."""
        self.changes.setdefault((kind, number), {}).update(fields)

    def head_bytes(self) -> bytes:
        """The raw bytes of MANI."""
        rows = [row for batch in self.batches for row in batch["entries"]]
        totals = {
            "batches": len(self.batches),
            "bytes": sum(row[SIZE] or 0 for row in rows if len(row) == 12 and type(row[SIZE]) is int),
            "entries": len(rows),
            "segments": len(self.segments),
            "skipped": sum(len(batch["skipped"]) for batch in self.batches),
        }
        return pack({**self.head, "totals": {**totals, **self.totals}})

    def batch_bytes(self, number: int = 0) -> bytes:
        """The raw bytes of an ENTR section."""
        return pack(self.batches[number])

    def keys_text(self, *recipients: str, bundle_id: bytes | None = None, key: str | None = None) -> bytes:
        """The plaintext of a KEYS section."""
        lines = [
            f"# bundle: {(bundle_id or self.bundle_id).hex()}",
            *(f"# recipient: {text}" for text in recipients or [age.recipient(IDENTITY)]),
            age.identity(self.secret) if key is None else key,
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    def keys_body(self, text: bytes | None = None, stanzas: age.Stanzas | None = None) -> bytes:
        """The body of a KEYS section, sealed to the identity unless *stanzas* say otherwise."""
        stanzas = stanzas or age.x25519(self.random, age.public(IDENTITY))
        return age.seal(self.keys_text() if text is None else text, stanzas, self.random)

    def passphrase_body(self) -> bytes:
        """The body of a KEYS section that is sealed to the passphrase."""
        return self.keys_body(self.keys_text("passphrase"), age.scrypt(self.random, PASSPHRASE, WORK_FACTOR))

    def sections(self) -> list[Section]:
        """All sections in file order, sealed."""
        keys = [Section(type=KEYS, number=i, body=body) for i, body in enumerate(self.keys or [self.keys_body()])]
        inner = [Sealed(type=SEGM, number=i, raw=raw) for i, raw in enumerate(self.segments)]
        inner += [Sealed(type=ENTR, number=i, raw=self.batch_bytes(i)) for i in range(len(self.batches))]
        inner.append(Sealed(type=MANI, number=0, raw=self.head_bytes()))
        inner = [dataclasses.replace(part, **self.changes.get((part.type, part.number), {})) for part in inner]
        middle = [Section(type=part.type, number=part.number, body=part.seal(self)) for part in inner]
        return [*keys, *middle, *(dataclasses.replace(section) for section in keys)]

    def preamble_bytes(self) -> bytes:
        """The 64 bytes of the preamble."""
        fields: Map = {
            "read": 1,
            "write": 1,
            "zero": 0,
            "incompat": 0,
            "compat": 0,
            "zeros": bytes(20),
            **self.preamble,
        }
        numbers = (fields[name] for name in ("read", "write", "zero", "incompat", "compat"))
        data = MAGIC + struct.pack("<BBHII16s20s", *numbers, self.bundle_id, fields["zeros"])
        return data + bytes(fields.get("check", check(data)))

    def frame(
        self,
        sections: Sequence[Section],
        *,
        index: bytes | None = None,
        gap: bytes = b"",
        footer: Map | None = None,
        mac_key: bytes | None = None,
    ) -> bytes:
        """The whole file. *gap* stands before the index; *footer* replaces fields; *mac_key* makes another MAC."""
        preamble = self.preamble_bytes()
        body = preamble + b"".join(section.header() + section.body for section in sections) + gap
        index = b"".join(section.header() for section in sections) if index is None else index
        content = [index[i : i + 64] for i in range(0, len(index), 64)]
        content = [header for header in content if header[4:8] in {SEGM, ENTR, MANI}]
        fields: Map = {
            "bundle_id": self.bundle_id,
            "versions": preamble[8:10],
            "zero": 0,
            "incompat": self.preamble.get("incompat", 0),
            "index_offset": len(body),
            "index_length": len(index),
            "total_length": len(body) + len(index) + 128,
            "root_digest": hashlib.sha256(b"ocbundle v1 root digest\n" + self.bundle_id + b"".join(content)).digest(),
            **(footer or {}),
        }
        names = ("bundle_id", "versions", "zero", "incompat", "index_offset", "index_length", "total_length")
        signed = struct.pack("<16s2sHIQQQ32s", *(fields[name] for name in names), fields["root_digest"])
        text = age.identity(mac_key or self.secret).encode()
        key = hmac.digest(text, b"ocbundle v1 frame mac\n" + self.bundle_id, "sha256")
        data = signed + bytes(fields.get("frame_mac", hmac.digest(key, preamble + index + signed, "sha256")))
        self.root_digest = fields["root_digest"]
        return body + index + data + bytes(fields.get("check", check(data))) + MAGIC[::-1]

    def build(self) -> bytes:
        """The file with all the changes so far."""
        return self.frame(self.sections())


def root(name: str, **fields: Any) -> Map:  # noqa: ANN401 - fields of a record
    """A root's record."""
    record = {
        "name": name,
        "profile": None,
        "role": "extra",
        "source": b"/srv/" + name.encode("utf-8", "surrogatepass"),
    }
    return {**record, **fields}


def profile(name: str, state: str, **fields: Any) -> Map:  # noqa: ANN401 - fields of a record
    """A profile's record."""
    record: Map = {
        "agents": [],
        "channels": [],
        "config": None,
        "era": None,
        "mode": None,
        "name": name,
        "plugins": [],
        "port": None,
        "schemas": {},
        "secrets": [],
        "state": state,
        "version": None,
        "workspaces": [],
    }
    return {**record, **fields}


def flip(data: bytes, position: int, bit: int = 0x01) -> bytes:
    """*data* with one bit changed."""
    changed = bytearray(data)
    changed[position] ^= bit
    return bytes(changed)
