"""The framing of a bundle: bytes in, values out, and no I/O anywhere.

Implements sections 3 to 5 of the specification: preamble, section headers, their order, index, footer, root digest and
frame MAC. It never looks inside a body.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ocbundle import limits
from ocbundle.errors import (
    AuthenticationFailed,
    ChecksumMismatch,
    LimitExceeded,
    Malformed,
    NotABundle,
    Truncated,
    UnsupportedVersion,
)

MAGIC: Final = b"\x89OCB\r\n\x1a\n"
PREAMBLE_LENGTH: Final = 64
HEADER_LENGTH: Final = 64
FOOTER_LENGTH: Final = 128
HEADER_MAGIC: Final = b"OCBS"
CRITICAL: Final = 1

KEYS: Final = b"KEYS"
SEGM: Final = b"SEGM"
ENTR: Final = b"ENTR"
MANI: Final = b"MANI"

BODY_LIMITS: Final = {
    KEYS: limits.MAX_KEYS_BODY,
    SEGM: limits.MAX_SEGM_BODY,
    ENTR: limits.MAX_ENTR_BODY,
    MANI: limits.MAX_MANI_BODY,
}
"""The known section types, all critical, and the longest body of each."""

_PREAMBLE: Final = struct.Struct("<8sBBHII16s20s8s")
_HEADER: Final = struct.Struct("<4s4sIIQ32s8s")
_FOOTER: Final = struct.Struct("<16sBBHIQQQ32s32s8s8s")
_TYPE_BYTES: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_MAC_DOMAIN: Final = b"ocbundle v1 frame mac\n"
_ROOT_DOMAIN: Final = b"ocbundle v1 root digest\n"
_KNOWN_INCOMPAT: Final = 0


def check(data: bytes) -> bytes:
    """The eight bytes that guard a fixed structure against accidents."""
    return hashlib.sha256(data).digest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preamble:
    """The fixed first 64 bytes of a bundle (section 3)."""

    bundle_id: bytes
    read_version: int = limits.READ_VERSION
    write_version: int = limits.WRITE_VERSION
    incompat: int = 0
    compat: int = 0

    def encode(self) -> bytes:
        """The 64 bytes."""
        body = _PREAMBLE.pack(
            MAGIC,
            self.read_version,
            self.write_version,
            0,
            self.incompat,
            self.compat,
            self.bundle_id,
            bytes(20),
            b"",
        )[:-8]
        return body + check(body)

    @classmethod
    def decode(cls, data: bytes) -> Preamble:
        """Read the preamble at the start of *data*.

        Raises:
            NotABundle: *data* doesn't begin with the magic.
            Truncated: *data* is shorter than a preamble.
            ChecksumMismatch: the check disagrees.
            UnsupportedVersion: a newer writer asks for a newer reader.
            Malformed: a reserved byte isn't zero, or the versions contradict each other.
        """
        # The magic is checked first: a short PNG is not a truncated bundle.
        if not data or not MAGIC.startswith(data[:8]):
            what = "the file is empty" if not data else "the file doesn't begin as a bundle does"
            raise NotABundle(f"not a bundle: {what}", offset=0, rule="R-3.1")
        if len(data) < PREAMBLE_LENGTH:
            raise Truncated(f"the file ends after {len(data)} bytes", offset=len(data), rule="R-3.1")
        data = data[:PREAMBLE_LENGTH]
        _, read_version, write_version, zero, incompat, compat, bundle_id, zeros, guard = _PREAMBLE.unpack(data)
        if guard != check(data[:-8]):
            raise ChecksumMismatch("the preamble is damaged", offset=0, rule="R-3.2")
        if read_version > limits.READ_VERSION:
            raise UnsupportedVersion(
                f"the bundle needs a reader of format version {read_version}, this one reads {limits.READ_VERSION}",
                offset=8,
                rule="R-3.3",
                hint="install a newer ocbundle",
            )
        if read_version == 0:
            raise Malformed("format version 0", offset=8, rule="R-3.3")
        if incompat & ~_KNOWN_INCOMPAT:
            raise UnsupportedVersion(
                f"the bundle uses features that this reader doesn't know (incompat {incompat:#x})",
                offset=12,
                rule="R-3.4",
                hint="install a newer ocbundle",
            )
        if zero or any(zeros):
            raise Malformed("reserved bytes of the preamble aren't zero", offset=10, rule="R-3.5")
        if write_version < read_version:
            raise Malformed("the write version is below the read version", offset=9, rule="R-3.6")
        return cls(
            bundle_id=bundle_id,
            read_version=read_version,
            write_version=write_version,
            incompat=incompat,
            compat=compat,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section's header (section 4), and where the section stands.

    *offset* is that of the header in the file; the body follows it.
    """

    type: bytes
    number: int
    body_length: int
    sha256: bytes
    flags: int = CRITICAL
    offset: int = field(default=0, compare=False)

    @property
    def body_offset(self) -> int:
        """Offset of the body in the file."""
        return self.offset + HEADER_LENGTH

    @property
    def end(self) -> int:
        """Offset of the first byte behind the body."""
        return self.body_offset + self.body_length

    @property
    def label(self) -> str:
        """Type and number, for messages: ``SEGM 3``."""
        return f"{self.type.decode('ascii')} {self.number}"

    def encode(self) -> bytes:
        """The 64 bytes."""
        body = _HEADER.pack(HEADER_MAGIC, self.type, self.number, self.flags, self.body_length, self.sha256, b"")[:-8]
        return body + check(body)

    @classmethod
    def decode(cls, data: bytes, *, offset: int) -> Section:
        """Read the 64 bytes *data*, the header of the section at *offset*.

        Raises:
            Malformed: it doesn't begin as a header does, or a type or flag is none.
            ChecksumMismatch: the check disagrees.
            UnsupportedVersion: a critical section of an unknown type.
            LimitExceeded: the body is longer than its type allows.
        """
        if len(data) != HEADER_LENGTH:
            raise Truncated("a section header is cut off", offset=offset, rule="R-4.1")
        magic, kind, number, flags, body_length, sha256, guard = _HEADER.unpack(data)
        if magic != HEADER_MAGIC:
            raise Malformed("no section header where one should be", offset=offset, rule="R-4.1")
        if guard != check(data[:-8]):
            raise ChecksumMismatch("a section header is damaged", offset=offset, rule="R-4.2")
        if not _TYPE_BYTES.issuperset(kind):
            raise Malformed("a section's type isn't four capitals or digits", offset=offset + 4, rule="R-4.3")
        if flags & ~CRITICAL:
            raise Malformed("a reserved section flag is set", offset=offset + 12, rule="R-4.4")
        if kind in BODY_LIMITS:
            if not flags & CRITICAL:
                raise Malformed("a known section isn't marked critical", offset=offset + 12, rule="R-4.5")
        elif flags & CRITICAL:
            raise UnsupportedVersion(
                f"the bundle has a section that this reader doesn't know ({kind.decode('ascii')})",
                offset=offset,
                rule="R-4.6",
                hint="install a newer ocbundle",
            )
        if body_length > BODY_LIMITS.get(kind, limits.MAX_UNKNOWN_BODY):
            raise LimitExceeded(f"a section of {body_length} bytes", offset=offset + 16, rule="R-4.11")
        return cls(type=kind, number=number, body_length=body_length, sha256=sha256, flags=flags, offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The fixed last 128 bytes of a bundle (section 5)."""

    bundle_id: bytes
    index_offset: int
    index_length: int
    total_length: int
    root_digest: bytes
    frame_mac: bytes = bytes(32)
    read_version: int = limits.READ_VERSION
    write_version: int = limits.WRITE_VERSION
    incompat: int = 0

    def encode(self) -> bytes:
        """The 128 bytes."""
        body = self.authenticated() + self.frame_mac
        return body + check(body) + MAGIC[::-1]

    def authenticated(self) -> bytes:
        """The first 80 bytes: what the frame MAC covers of the footer."""
        return _FOOTER.pack(
            self.bundle_id,
            self.read_version,
            self.write_version,
            0,
            self.incompat,
            self.index_offset,
            self.index_length,
            self.total_length,
            self.root_digest,
            b"",
            b"",
            b"",
        )[:80]

    @classmethod
    def decode(cls, data: bytes, *, preamble: Preamble, file_length: int) -> Footer:
        """Read the last 128 bytes of a file of *file_length* bytes that begins with *preamble*.

        Raises:
            Truncated: the file doesn't end as a bundle does.
            ChecksumMismatch: the check disagrees.
            Malformed: it contradicts the preamble, or its own lengths.
            LimitExceeded: more sections than the format allows.
        """
        if len(data) != FOOTER_LENGTH or data[-8:] != MAGIC[::-1]:
            raise Truncated(
                "the end of the bundle is missing",
                offset=file_length,
                rule="R-5.1",
                hint="copy it again: the transfer or the disk may have cut it short",
            )
        start = file_length - FOOTER_LENGTH
        bundle_id, read_version, write_version, zero, incompat, *rest = _FOOTER.unpack(data)
        index_offset, index_length, total_length, root_digest, frame_mac, guard, _ = rest
        if guard != check(data[:-16]):
            raise ChecksumMismatch("the footer is damaged", offset=start, rule="R-5.2")
        if (bundle_id, read_version, write_version, incompat) != (
            preamble.bundle_id,
            preamble.read_version,
            preamble.write_version,
            preamble.incompat,
        ):
            raise Malformed("the footer contradicts the preamble", offset=start, rule="R-5.3")
        if zero:
            raise Malformed("reserved bytes of the footer aren't zero", offset=start + 18, rule="R-5.4")
        if total_length > file_length:
            raise Truncated(
                f"{total_length - file_length} bytes are missing from the middle", offset=start, rule="R-5.5"
            )
        if total_length < file_length:
            raise Malformed("the file is longer than the bundle", offset=start + 40, rule="R-5.5")
        if index_length % HEADER_LENGTH or index_offset + index_length + FOOTER_LENGTH != total_length:
            raise Malformed("the index isn't where the footer says", offset=start + 24, rule="R-5.6")
        if index_offset < PREAMBLE_LENGTH:
            raise Malformed("the index overlaps the preamble", offset=start + 24, rule="R-5.6")
        if index_length // HEADER_LENGTH > limits.MAX_SECTIONS:
            raise LimitExceeded(f"{index_length // HEADER_LENGTH} sections", offset=start + 32, rule="R-4.14")
        return cls(
            bundle_id=bundle_id,
            index_offset=index_offset,
            index_length=index_length,
            total_length=total_length,
            root_digest=root_digest,
            frame_mac=frame_mac,
            read_version=read_version,
            write_version=write_version,
            incompat=incompat,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The whole framing of a bundle, checked as far as it can be without a key."""

    preamble: Preamble
    sections: tuple[Section, ...]
    footer: Footer

    @classmethod
    def decode(cls, preamble: Preamble, index: bytes, footer: Footer) -> Frame:
        """Join the parts, and check what they say of one another.

        Raises:
            DamagedBundle: any rule of sections 4 and 5 that needs no body is broken.
        """
        sections = decode_index(index, index_offset=footer.index_offset)
        check_order(sections)
        if root_digest(preamble.bundle_id, sections) != footer.root_digest:
            raise ChecksumMismatch(
                "the root digest doesn't match the sections",
                offset=footer.index_offset + footer.index_length + 48,
                rule="R-5.8",
            )
        return cls(preamble=preamble, sections=sections, footer=footer)

    def of_type(self, kind: bytes) -> tuple[Section, ...]:
        """The sections of one type, in file order; of KEYS, those of the first run."""
        found = tuple(section for section in self.sections if section.type == kind)
        return found[: len(found) // 2] if kind == KEYS else found

    def authenticate(self, key_text: bytes) -> None:
        """Demand that the holder of the bundle key vouches for every byte of the framing (R-5.9).

        Without this, whoever can write the file could flip a version or a flag, drop a recipient's KEYS, add a section
        or strip a signature.

        Raises:
            AuthenticationFailed: the frame MAC isn't the bundle key's.
        """
        mac = frame_mac(key_text, self.preamble, self.sections, self.footer)
        if not hmac.compare_digest(mac, self.footer.frame_mac):
            raise AuthenticationFailed(
                "the framing of the bundle was changed by somebody without its key",
                offset=self.footer.total_length - 48,
                rule="R-5.9",
            )


def decode_index(index: bytes, *, index_offset: int) -> tuple[Section, ...]:
    """The section headers of the index, each with the offset that follows from the lengths before it.

    Raises:
        Malformed: the sections don't end where the index begins (R-5.6); and as :meth:`Section.decode`.
    """
    sections = []
    offset = PREAMBLE_LENGTH
    for position in range(0, len(index), HEADER_LENGTH):
        try:
            section = Section.decode(index[position : position + HEADER_LENGTH], offset=offset)
        except (Malformed, ChecksumMismatch, LimitExceeded, UnsupportedVersion) as error:
            error.offset = index_offset + position
            raise
        sections.append(section)
        offset = section.end
    if offset != index_offset:
        raise Malformed("the sections don't end where the index begins", offset=index_offset, rule="R-5.6")
    return tuple(sections)


def check_order(sections: Sequence[Section]) -> None:
    """Demand the order of section 4: KEYS, then SEGM and ENTR, one MANI, the same KEYS again.

    Raises:
        Malformed: a section stands, or is numbered, where it may not.
        LimitExceeded: too many KEYS.
    """
    run = next((i for i, section in enumerate(sections) if section.type != KEYS), len(sections))
    tail = sections[len(sections) - run :]
    middle = sections[run : len(sections) - run]
    if run == 0 or not middle:
        raise Malformed("the bundle doesn't begin with its KEYS", offset=PREAMBLE_LENGTH, rule="R-4.9")
    if run > limits.MAX_KEYS_SECTIONS:
        raise LimitExceeded(f"{run} KEYS sections", offset=PREAMBLE_LENGTH, rule="R-4.9")
    if tuple(tail) != tuple(sections[:run]):
        raise Malformed("the KEYS at the end aren't those at the beginning", offset=tail[0].offset, rule="R-4.10")
    numbers: dict[bytes, int] = {}
    for section in (*sections[:run], *middle):
        if section.type == KEYS and numbers.get(KEYS, 0) == run:
            raise Malformed("KEYS stand between other sections", offset=section.offset, rule="R-4.9")
        expected = numbers.get(section.type, 0)
        if section.number != expected:
            raise Malformed(
                f"section {section.label} stands where number {expected} should", offset=section.offset, rule="R-4.8"
            )
        numbers[section.type] = expected + 1
        if (MANI in numbers and section.type in {SEGM, ENTR}) or numbers.get(MANI, 0) > 1:
            raise Malformed("content stands behind the manifest", offset=section.offset, rule="R-4.9")
    if MANI not in numbers:
        raise Malformed("the bundle has no manifest", offset=tail[0].offset, rule="R-4.9")


def root_digest(bundle_id: bytes, sections: Sequence[Section]) -> bytes:
    """The name of the content: 32 bytes that rekeying, parity and signing leave as they are (R-5.8)."""
    digest = hashlib.sha256(_ROOT_DOMAIN + bundle_id)
    for section in sections:
        if section.type in {SEGM, ENTR, MANI}:
            digest.update(section.encode())
    return digest.digest()


def frame_mac(key_text: bytes, preamble: Preamble, sections: Sequence[Section], footer: Footer) -> bytes:
    """The 32-byte MAC of the framing, keyed from the bundle key's text (R-5.9)."""
    key = hmac.digest(key_text, _MAC_DOMAIN + preamble.bundle_id, "sha256")
    mac = hmac.new(key, preamble.encode(), "sha256")
    for section in sections:
        mac.update(section.encode())
    mac.update(footer.authenticated())
    return mac.digest()
