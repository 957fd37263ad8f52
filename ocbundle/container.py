"""A bundle as far as it can be read without a key: its framing, and the bodies of its sections.

Implements steps A and B of section 13.1 of the specification. What is in a body it doesn't know.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from ocbundle import limits, memory, wire
from ocbundle.errors import ChecksumMismatch, Malformed, Truncated

if TYPE_CHECKING:
    from ocbundle.memory import Take

_CHUNK: Final = limits.MIB

Advance = Callable[[int, int], None]
"""``advance(bytes, entries)``, called as the work goes on."""


class Container:
    """The framing of a bundle, and its bodies, as far as they can be checked without a key."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the framing of the bundle in *file*, which must be seekable.

        Raises:
            DamagedBundle: any of the rules of sections 3 to 5 that need no key is broken.
            UnsupportedVersion: a newer reader is needed.
        """
        self._file = file
        self._lock = threading.Lock()
        self.length = file.seek(0, os.SEEK_END)
        preamble = wire.Preamble.decode(self._read_at(0, wire.PREAMBLE_LENGTH))
        start = max(0, self.length - wire.FOOTER_LENGTH)
        footer = wire.Footer.decode(
            self._read_at(start, wire.FOOTER_LENGTH), preamble=preamble, file_length=self.length
        )
        index = self._read_at(footer.index_offset, footer.index_length)
        self.frame = wire.Frame.decode(preamble, index, footer)

    def _read_at(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return b"".join(self._parts(length))

    def _parts(self, length: int) -> Iterator[bytes]:
        while length and (part := self._file.read(min(length, _CHUNK))):
            yield part
            length -= len(part)

    def _read_into(self, take: Take, offset: int, length: int) -> memoryview:
        """At most *length* bytes: fewer, if the file ends."""
        view = memoryview(take(length))
        end = 0
        with self._lock:
            self._file.seek(offset)
            for part in self._parts(length):
                view[end : end + len(part)] = part
                end += len(part)
        return view[:end]

    def body(self, section: wire.Section, take: Take = memory.fresh) -> memoryview:
        """The body of *section*, its digest checked, in memory of which *take* gives as much as it is asked for.

        Raises:
            Truncated: the file became shorter.
            Malformed: the header before the body isn't the one in the index (R-5.7).
            ChecksumMismatch: the body is damaged (R-4.12).
        """
        whole = self._read_into(take, section.offset, wire.HEADER_LENGTH + section.body_length)
        if len(whole) < wire.HEADER_LENGTH + section.body_length:
            raise Truncated("the file became shorter while it was read", offset=section.offset, rule="R-5.5")
        header, body = whole[: wire.HEADER_LENGTH], whole[wire.HEADER_LENGTH :]
        if header != section.encode():
            raise Malformed("a section header differs from its copy in the index", offset=section.offset, rule="R-5.7")
        if hashlib.sha256(body).digest() != section.sha256:
            raise ChecksumMismatch(f"section {section.label} is damaged", offset=section.body_offset, rule="R-4.12")
        return body

    def check_bodies(self, advance: Advance | None = None) -> None:
        """Hold every section to its digest, the repeated KEYS too.

        Raises:
            DamagedBundle: as :meth:`body`; the offset tells where.
        """
        for section in self.frame.sections:
            self.body(section)
            if advance:
                advance(wire.HEADER_LENGTH + section.body_length, 0)

    def key_bodies(self) -> list[bytes]:
        """The bodies of the KEYS sections."""
        return [bytes(self.body(section)) for section in self.frame.of_type(wire.KEYS)]
