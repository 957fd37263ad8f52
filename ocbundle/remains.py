"""What is left of a damaged bundle: its sections, found by their marks wherever they are now.

Implements steps 1 to 4 of section 13.4 of the specification. It trusts no length, no order and no index: what counts is
what the bundle key opens, and the place that it is bound to. Nothing is decompressed before it is authenticated.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from ocbundle import agefile, compression, limits, memory, sealing, wire
from ocbundle.container import Container
from ocbundle.errors import (
    AuthenticationFailed,
    BundleError,
    ChecksumMismatch,
    DamagedBundle,
    KeyFailure,
    LimitExceeded,
    NoKeyFits,
    Truncated,
    WrongPassphrase,
)
from ocbundle.keyholders import Identity
from ocbundle.sealing import BundleKey

_WINDOW: Final = 4 * limits.MIB
_BLOCK: Final = 4 * limits.KIB
_FLAGS: Final = {bytes(4), wire.CRITICAL.to_bytes(4, "little")}
_MOST_MARKS: Final = 3 * limits.MAX_SECTIONS
"""The sections of one bundle and their copies in the index, and half as many again: held in memory."""
_LAST_HINT: Final = "only another copy of the bundle can help"
_PASSPHRASES: Final = 2
"""A bundle has one KEYS body for a passphrase (R-6.4); another one's may have come to it. Each costs a second."""
_SEALED: Final = frozenset({wire.SEGM, wire.ENTR, wire.MANI})


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes that may be a section's body."""

    offset: int
    length: int
    header: wire.Section | None
    """``None`` where it is lost: the binding inside tells what the section is."""

    @property
    def type(self) -> bytes | None:
        """The type that the header tells."""
        return None if self.header is None else self.header.type


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A section that is whole: what it is by its binding, and what is in it."""

    type: bytes
    number: int
    raw: memoryview
    journal: bytes


class Remains:
    """The pieces of a damaged bundle."""

    def __init__(self, file: BinaryIO) -> None:
        """Find them in *file*, which must be seekable.

        Raises:
            NotABundle, Truncated, ChecksumMismatch: there is nothing of a bundle in it.
            UnsupportedVersion: a newer reader is needed.
            LimitExceeded: more section headers than a bundle can have.
        """
        self._file = file
        self.length = file.seek(0, os.SEEK_END)
        self.bundle_id: bytes | None = None
        """As the first section that opened has it."""
        self.counts: Counter[bytes] = Counter()
        """How many sections of each type there were, at least, by the headers that are left."""
        self._vouched: frozenset[bytes] | None = None
        """Digests of the sections of a frame that is authentic."""
        self._named: bytes | None = None
        flaw: DamagedBundle = Truncated(
            "nothing of the bundle is left but its beginning", rule="R-5.1", hint=_LAST_HINT
        )
        try:
            self._named = wire.Preamble.decode(self._read(0, wire.PREAMBLE_LENGTH)).bundle_id
        except DamagedBundle as error:
            flaw = error
        self.pieces: tuple[Piece, ...] = tuple(self._pieces())
        if not self.pieces:
            raise flaw

    # --- finding ----------------------------------------------------------------------------------------------------

    def _pieces(self) -> Iterator[Piece]:
        """What may be bodies, in file order; they don't overlap, so reading all of them takes one pass."""
        marks = self._marks()
        starts = sorted(marks)
        for start, following in itertools.pairwise([*starts, self.length]):
            header = marks[start]
            if header is not None:
                self.counts[header.type] = max(self.counts[header.type], header.number + 1)
            offset = start + wire.HEADER_LENGTH
            length = following - offset if header is None else header.body_length
            # A body that another section begins in has lost bytes. In the index, every header is of this kind.
            if 0 < length <= min(following - offset, limits.MAX_SEGM_BODY):
                yield Piece(offset, length, header)

    def _marks(self) -> dict[int, wire.Section | None]:
        """Where sections begin: by their headers, and, where one is damaged, by the first line of its age file."""
        marks: dict[int, wire.Section | None] = {}
        overlap = wire.HEADER_LENGTH - 1
        for start in range(0, self.length, _WINDOW):
            window = self._read(start, _WINDOW + overlap)
            for at in _all(window, wire.HEADER_MAGIC, _WINDOW):
                # Garbage that repeats the mark is told by its flags, before anything is computed for it.
                if window[at + 12 : at + 16] in _FLAGS:
                    with contextlib.suppress(BundleError):
                        data = window[at : at + wire.HEADER_LENGTH]
                        marks[start + at] = wire.Section.decode(data, offset=start + at)
            for at in _all(window, agefile.MAGIC, _WINDOW):
                marks.setdefault(start + at - wire.HEADER_LENGTH, None)
            if len(marks) > _MOST_MARKS:
                raise LimitExceeded(f"more than {_MOST_MARKS} section headers", rule="R-4.14")
        return marks

    def body(self, piece: Piece) -> bytes:
        """The bytes of *piece*.

        Raises:
            ChecksumMismatch: they aren't those that its header tells of (R-4.12).
            AuthenticationFailed: the frame is authentic, and they are no part of it.
        """
        body = self._read(piece.offset, piece.length)
        digest = hashlib.sha256(body).digest()
        if piece.header is not None and digest != piece.header.sha256:
            raise ChecksumMismatch(f"section {piece.header.label} is damaged", offset=piece.offset, rule="R-4.12")
        if self._vouched is not None and digest not in self._vouched:
            raise AuthenticationFailed("a section is no part of the frame", offset=piece.offset, rule="R-5.9")
        return body

    def _read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.length - offset))
        try:
            return self._read_all(offset, length)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        # A failing disk gives what it can, block by block, and zeros stand for the rest.
        if length <= _BLOCK:
            return bytes(length)
        return b"".join(
            self._read(at, min(_BLOCK, offset + length - at)) for at in range(offset, offset + length, _BLOCK)
        )

    def _read_all(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        parts = []
        while length and (part := self._file.read(length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    # --- opening ----------------------------------------------------------------------------------------------------

    def unlock(self, identities: Sequence[Identity], passphrase: str | None, *, max_work_factor: int) -> BundleKey:
        """The bundle key, from any KEYS section that is whole and opens.

        Raises:
            KeyFailure: what was given opens none of them.
            DamagedBundle: none of them is whole.
        """
        bodies, is_damaged = self._key_bodies()
        failure: KeyFailure | None = None
        flaw: DamagedBundle = ChecksumMismatch(
            "nothing can be opened: no copy of the bundle's keys is whole", rule="R-4.12"
        )
        foreign = []
        for body in bodies:
            try:
                return sealing.unwrap([body], self._named, identities, passphrase, max_work_factor=max_work_factor)
            except KeyFailure as error:
                failure = error if failure is None or isinstance(error, WrongPassphrase) else failure
            except DamagedBundle as error:
                flaw = error
                if error.rule == "R-6.5":
                    foreign.append(body)
        # The beginning names another bundle than the keys: it is another one's, such as when two were put together.
        for body in foreign:
            with contextlib.suppress(DamagedBundle, KeyFailure):
                return sealing.unwrap([body], None, identities, passphrase, max_work_factor=max_work_factor)
        if isinstance(failure, NoKeyFits) and is_damaged:
            failure.hint = "a part of its keys is damaged: another recipient's identity may still open it"
        flaw.hint = flaw.hint or _LAST_HINT
        raise failure or flaw

    def _key_bodies(self) -> tuple[list[bytes], bool]:
        """The different KEYS bodies that can be tried, those for a passphrase last; and whether others are damaged."""
        found: dict[bytes, bool] = {}
        is_damaged = False
        for piece in self.pieces:
            if piece.type not in {wire.KEYS, None} or piece.length > limits.MAX_KEYS_BODY:
                continue
            try:
                body = self.body(piece)
                by_passphrase = "scrypt" in sealing.recipient_kinds(body)
                if not by_passphrase or sum(found.values()) < _PASSPHRASES:
                    found.setdefault(body, by_passphrase)
            except DamagedBundle:
                is_damaged = True
            if len(found) == limits.MAX_KEYS_SECTIONS:
                break
        return sorted(found, key=lambda body: found[body]), is_damaged

    def authenticate(self, key: BundleKey) -> str | None:
        """Why the framing isn't authentic (R-5.9), ``None`` if it is.

        If it is, nothing that isn't a part of it is opened from here on.
        """
        try:
            frame = Container(self._file).frame
            frame.authenticate(key.text)
        except BundleError as error:
            return error.message
        except OSError as error:
            return f"it can't be read: {os.strerror(error.errno or 0).lower()}"
        self._vouched = frozenset(section.sha256 for section in frame.sections)
        return None

    def open(self, piece: Piece, key: BundleKey) -> Opened:
        """What *piece* holds.

        Raises:
            DamagedBundle: it isn't whole, or no section of this bundle.
        """
        plaintext = key.open(self.body(piece), memory.fresh)
        place = compression.place_of(plaintext)
        if place.type not in _SEALED or self.bundle_id not in {None, place.bundle_id}:
            raise AuthenticationFailed("a section belongs to another bundle", offset=piece.offset, rule="R-7.2")
        raw, journal = compression.decode_into(memory.fresh, place, plaintext)
        self.bundle_id = place.bundle_id
        return Opened(type=place.type, number=place.number, raw=raw, journal=journal)


def _all(window: bytes, mark: bytes, end: int) -> Iterator[int]:
    """Where *mark* stands in *window*, beginning before *end*."""
    at = window.find(mark)
    while 0 <= at < end:
        yield at
        at = window.find(mark, at + 1)
