"""What tests of several modules share: seeded randomness, small bundles, and bundles put together from parts."""

from __future__ import annotations

import base64
import hashlib
import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ocbundle import agefile, agetext, compression, keyholders, wire
from ocbundle.agefile import Random
from ocbundle.container import Container
from ocbundle.keyholders import Identity
from ocbundle.model import Entry, Host, Kind, Manifest, Reason, Role, Root, Skipped
from ocbundle.reader import Reader
from ocbundle.sealing import BundleKey
from ocbundle.sources import Metadata, Sensitivity
from ocbundle.writer import Writer, Written

ROOT = Root(name="default", role=Role.STATE, source=b"/home/alice/.openclaw")
SECRET = bytes(range(32))
"""The secret of the identity that bundles made here are sealed to."""
BUNDLE_ID = bytes(range(16))


def seeded(seed: int = 0) -> Random:
    """The same bytes in every run."""
    return random.Random(seed).randbytes  # noqa: S311 - tests repeat themselves


def identity(secret: bytes = SECRET) -> tuple[Identity, ...]:
    """What opens bundles made here."""
    return keyholders.parse_identities(agetext.encode_identity(secret).encode(), "key.txt")


def recipient(secret: bytes = SECRET) -> str:
    """The recipient that belongs to *secret*."""
    return agetext.encode_recipient(agefile.x25519_public(secret))


def armor(data: bytes) -> bytes:
    """*data* as ``age --armor`` writes it."""
    text = base64.b64encode(data)
    lines = b"".join(text[i : i + 64] + b"\n" for i in range(0, len(text), 64))
    return b"-----BEGIN AGE ENCRYPTED FILE-----\n" + lines + b"-----END AGE ENCRYPTED FILE-----\n"


def keys_body(key: BundleKey, bundle_id: bytes, rng: Random, secret: bytes = SECRET) -> bytes:
    """A KEYS body without grease, so that the same seed gives the same bytes."""
    public = agefile.x25519_public(secret)
    text = f"# bundle: {bundle_id.hex()}\n# recipient: {recipient(secret)}\n{key.text.decode()}\n"
    return agefile.seal(text.encode(), lambda file_key: agefile.wrap_x25519(file_key, public, rng), rng)


def metadata(path: bytes, *, root: str = ROOT.name, **changes: int) -> Metadata:
    """A file's, as a scan would find it."""
    described = Metadata(root=root, path=path, mode=0o600, uid=1000, gid=1000, mtime_ns=1_764_020_534_000_000_001)
    return replace(described, **changes)  # type: ignore[arg-type]  # numbers only


def directory(path: bytes = b"", *, root: str = ROOT.name) -> Entry:
    """A directory's entry."""
    return Entry(root=root, path=path, kind=Kind.DIRECTORY, mode=0o700, uid=1000, gid=1000, mtime_ns=1)


def manifest(bundle_id: bytes = BUNDLE_ID, roots: Sequence[Root] = (ROOT,)) -> Manifest:
    """A head that says little."""
    return Manifest(bundle_id=bundle_id, created=1_764_020_534, generator="test", source=Host(), roots=tuple(roots))


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A bundle, and what its writer knows of it."""

    data: bytes
    key: BundleKey
    bundle_id: bytes
    written: Written

    @property
    def container(self) -> Container:
        return Container(io.BytesIO(self.data))

    def reader(self, **options: int) -> Reader:
        return Reader(self.container, self.key, **options)


def packed(
    fill: Callable[[Writer], None],
    *,
    seed: int = 0,
    roots: Sequence[Root] = (ROOT,),
    recipients: Sequence[bytes] = (SECRET,),
    level: int = 3,
    workers: int = 1,
) -> Packed:
    """The bundle of what *fill* gives to its writer, with a KEYS section for each of *recipients*' secrets.

    With more than one of *workers*, it isn't the same bytes each time.
    """
    rng = seeded(seed)
    bundle_id, key = rng(16), BundleKey.generate(rng)
    keys = [keys_body(key, bundle_id, rng, secret) for secret in recipients]
    output = io.BytesIO()
    with Writer(
        output, bundle_id=bundle_id, key=key, keys=keys, roots=roots, random=rng, level=level, workers=workers
    ) as writer:
        fill(writer)
        written = writer.finish(manifest(bundle_id, roots))
    return Packed(data=output.getvalue(), key=key, bundle_id=bundle_id, written=written)


def fill_small(writer: Writer) -> None:
    """One of each kind of entry, in segments of both kinds."""
    writer.add(directory())
    writer.add_file(metadata(b".env"), b"TOKEN=hush", sensitivity=Sensitivity.SECRET)
    writer.add_file(metadata(b"SOUL.md"), b"be kind\n", sensitivity=Sensitivity.CONTENT)
    writer.add(Entry(root=ROOT.name, path=b"hard", kind=Kind.HARDLINK, target=b"SOUL.md"))
    writer.add(Entry(root=ROOT.name, path=b"link", kind=Kind.SYMLINK, target=b"SOUL.md"))
    writer.skip(Skipped(root=ROOT.name, path=b"sock", kind="socket", reason=Reason.SOCKET))


# --- bundles put together by hand -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section to be: its checksums are made when the file is."""

    type: bytes
    number: int
    body: bytes
    flags: int = wire.CRITICAL


def parts_of(data: bytes) -> list[Part]:
    """The sections of the bundle *data*, in file order."""
    container = Container(io.BytesIO(data))
    return [
        Part(type=section.type, number=section.number, body=bytes(container.body(section)), flags=section.flags)
        for section in container.frame.sections
    ]


def renumbered(parts: Sequence[Part]) -> list[Part]:
    """*parts* numbered by type as their order demands."""
    counts: dict[bytes, int] = {}
    numbered = []
    run = next((i for i, part in enumerate(parts) if part.type != wire.KEYS), len(parts))
    for part in parts:
        number = counts.get(part.type, 0)
        counts[part.type] = number + 1
        numbered.append(replace(part, number=number % run if part.type == wire.KEYS else number))
    return numbered


def assembled(
    parts: Sequence[Part], *, preamble: wire.Preamble, mac: bytes = bytes(32), key: BundleKey | None = None
) -> bytes:
    """A bundle of *parts*, with every length, checksum and digest as it must be.

    Its frame MAC is *mac*, as for somebody without the key; or, with *key*, the right one.
    """
    sections = []
    offset = wire.PREAMBLE_LENGTH
    for part in parts:
        section = wire.Section(
            type=part.type,
            number=part.number,
            body_length=len(part.body),
            sha256=hashlib.sha256(part.body).digest(),
            flags=part.flags,
            offset=offset,
        )
        sections.append(section)
        offset = section.end
    index = b"".join(section.encode() for section in sections)
    footer = wire.Footer(
        bundle_id=preamble.bundle_id,
        read_version=preamble.read_version,
        write_version=preamble.write_version,
        incompat=preamble.incompat,
        index_offset=offset,
        index_length=len(index),
        total_length=offset + len(index) + wire.FOOTER_LENGTH,
        root_digest=wire.root_digest(preamble.bundle_id, sections),
        frame_mac=mac,
    )
    if key is not None:
        footer = replace(footer, frame_mac=wire.frame_mac(key.text, preamble, sections, footer))
    bodies = [section.encode() + part.body for section, part in zip(sections, parts, strict=True)]
    return b"".join([preamble.encode(), *bodies, index, footer.encode()])


def crafted(*sections: tuple[bytes, bytes], journal: bytes = b"") -> Reader:
    """A reader of a bundle whose sections are given as type and raw content; all else about it is in order.

    Each segment has *journal*.
    """
    rng = seeded()
    key = BundleKey.generate(rng)
    keys = Part(type=wire.KEYS, number=0, body=keys_body(key, BUNDLE_ID, rng))
    parts: list[Part] = []
    for kind, raw in sections:
        number = sum(part.type == kind for part in parts)
        place = compression.Place(bundle_id=BUNDLE_ID, type=kind, number=number)
        plaintext = compression.encode(place, raw, level=1, journal=journal if kind == wire.SEGM else b"")
        parts.append(Part(type=kind, number=number, body=key.seal(plaintext, rng)))
    data = assembled([keys, *parts, keys], preamble=wire.Preamble(bundle_id=BUNDLE_ID), key=key)
    return Reader(Container(io.BytesIO(data)), key)


def recheck(data: bytes, start: int, end: int) -> bytes:
    """*data* with the check of the structure at ``[start, end)`` made anew; it is the structure's last eight bytes."""
    return data[: end - 8] + wire.check(data[start : end - 8]) + data[end:]


def every_bit(data: bytes) -> Iterator[bytes]:
    """*data* with each of its bits flipped in turn."""
    damaged = bytearray(data)
    for position in range(len(data)):
        for bit in range(8):
            damaged[position] ^= 1 << bit
            yield bytes(damaged)
            damaged[position] ^= 1 << bit
