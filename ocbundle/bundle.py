"""A bundle to look into, opened with or without a key: wiring, and no logic of its own.

None of them prints, prompts or reads the environment.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Self

from ocbundle import keyholders, limits, sealing, wire
from ocbundle.container import Container
from ocbundle.errors import EntryMissing, KeyRequired, NoSpace
from ocbundle.keyholders import Identity
from ocbundle.model import Entry, Kind, Level, Manifest, Progress, ProgressCallback, Skipped
from ocbundle.reader import Reader

Readable = str | bytes | os.PathLike[str] | BinaryIO
IdentityLike = str | os.PathLike[str] | Identity

_SPOOL_CHUNK: Final = limits.MIB
_PROGRESS_INTERVAL_S: Final = 0.05


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo:
    """What anyone can tell of a bundle, without a key."""

    read_version: int
    write_version: int
    bundle_id: str
    size: int
    digest: str
    sections: tuple[wire.Section, ...]
    recipients: tuple[str, ...]
    """Types of the stanzas that wrap the bundle key, such as ``X25519`` or ``scrypt``."""


class Bundle:
    """A bundle to look into. A context manager.

    Without a key only :attr:`info` and :meth:`check` work; the rest raises :class:`KeyRequired`.
    """

    def __init__(self, container: Container, reader: Reader | None, close: Callable[[], None]) -> None:
        self._container = container
        self._reader = reader
        self._close = close

    @classmethod
    def open(
        cls,
        source: Readable,
        *,
        identities: Iterable[IdentityLike] = (),
        passphrase: str | None = None,
        max_work_factor: int = limits.SCRYPT_READ_WORK_FACTOR,
        max_total: int = limits.DEFAULT_MAX_TOTAL,
        spool: str | os.PathLike[str] | None = None,
    ) -> Bundle:
        """Open *source*: a path, or a binary file object, which stays open when the bundle is closed.

        *identities* are paths of identity files, or :class:`Identity` values. A pipe is copied, still encrypted, to an
        unlinked file in the directory *spool* first. At most *max_total* logical bytes are accepted.

        Raises:
            DamagedBundle: it is damaged, or no bundle; whatever can be told without reading the content.
            UnsupportedVersion: a newer ocbundle wrote it.
            KeyFailure: the identities or the passphrase don't open it.
            OSError: it can't be read.
        """
        with contextlib.ExitStack() as stack:
            container = Container(stack.enter_context(seekable(source, spool)))
            known = known_identities(identities)
            reader = None
            if known or passphrase is not None:
                bundle_id = container.frame.preamble.bundle_id
                key = sealing.unwrap(
                    container.key_bodies(), bundle_id, known, passphrase, max_work_factor=max_work_factor
                )
                reader = stack.enter_context(Reader(container, key, max_total=max_total))
            return cls(container, reader, stack.pop_all().close)

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the file and the key."""
        self._close()

    @property
    def info(self) -> BundleInfo:
        """What anyone can tell."""
        frame = self._container.frame
        kinds = [kind for body in self._container.key_bodies() for kind in sealing.recipient_kinds(body)]
        return BundleInfo(
            read_version=frame.preamble.read_version,
            write_version=frame.preamble.write_version,
            bundle_id=frame.preamble.bundle_id.hex(),
            size=self._container.length,
            digest=frame.footer.root_digest.hex(),
            sections=frame.sections,
            recipients=tuple(kinds),
        )

    @property
    def reader(self) -> Reader:
        """The opened bundle.

        Raises:
            KeyRequired: it was opened without a key.
        """
        if self._reader is None:
            raise KeyRequired("the bundle is encrypted, and no key was given", hint="give an identity, or a passphrase")
        return self._reader

    @property
    def manifest(self) -> Manifest:
        """The head of the manifest: where it was packed, profiles, roots, totals."""
        return self.reader.manifest

    def entries(self) -> Iterator[Entry]:
        """Every entry, ascending by root and path; read from the bundle as they are asked for."""
        return self.reader.entries()

    def skipped(self) -> Iterator[Skipped]:
        """Every path that was left out, and why."""
        return self.reader.skipped()

    def entry(self, root: str, path: str | bytes) -> Entry:
        """The entry at *path* of *root*; of a hard link, the file it is a link to.

        Raises:
            EntryMissing: there is none.
        """
        entry = self.reader.entry(root, os.fsencode(path))
        return self.reader.entry(root, entry.target or b"") if entry.kind is Kind.HARDLINK else entry

    def stream(self, root: str, path: str | bytes) -> Iterator[bytes]:
        """The bytes of a file in pieces of at most 1 MiB, each authenticated before it is handed out.

        Raises:
            EntryMissing: there is no such file.
            ChecksumMismatch: behind the last piece, if they aren't what the manifest says.
        """
        entry = self.entry(root, path)
        if entry.kind is not Kind.FILE:
            raise EntryMissing(f"{entry.name} is a {entry.kind.name.lower()}, not a file", path=entry.name)
        return self.reader.content(entry)

    def read(self, root: str, path: str | bytes) -> bytes:
        """The bytes of a file, all at once.

        Raises:
            EntryMissing: there is no such file.
        """
        return b"".join(self.stream(root, path))

    def check(self, progress: ProgressCallback | None = None) -> Level:
        """Verify it as far as the key allows: see :func:`ocbundle.verify`."""
        if self._reader is None:
            self._container.check_bodies(_Meter(progress, "verify", self._container.length, None))
            return Level.CHECKSUMS
        from ocbundle import verification  # noqa: PLC0415 - who only looks into a bundle doesn't wait for it

        totals = self._reader.manifest.totals
        verification.check(self._reader, _Meter(progress, "verify", totals.size, totals.entries))
        return Level.FULL


@contextlib.contextmanager
def seekable(source: Readable, spool: str | os.PathLike[str] | None) -> Iterator[BinaryIO]:
    """*source* as a file that can be read anywhere; a pipe is copied, still encrypted, into the directory *spool*."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | bytes | os.PathLike):
            source = stack.enter_context(open(source, "rb", buffering=0))
        yield source if source.seekable() else stack.enter_context(_spooled(source, spool))


@contextlib.contextmanager
def _spooled(source: BinaryIO, spool: str | os.PathLike[str] | None) -> Iterator[BinaryIO]:
    """A copy of what can be read only once. What goes wrong with *source* is its own error."""
    import tempfile  # noqa: PLC0415 - only a pipe waits for them

    from ocbundle import publish  # noqa: PLC0415

    place = os.fsencode(spool or tempfile.gettempdir())
    # Only ciphertext reaches this file, and it has no name: nothing is left of it whatever happens.
    with contextlib.ExitStack() as stack:
        with _spooling(place):
            file = stack.enter_context(tempfile.TemporaryFile(dir=place, buffering=0))
        while chunk := source.read(_SPOOL_CHUNK):
            with _spooling(place):
                publish.write_all(file.fileno(), chunk)
        yield file


@contextlib.contextmanager
def _spooling(place: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        from ocbundle import publish  # noqa: PLC0415

        found = publish.failure(error, place, "copy the bundle into the directory")
        found.hint = "make room there, or save the bundle as a file first" if isinstance(found, NoSpace) else found.hint
        raise found from error


def known_identities(identities: Iterable[IdentityLike]) -> list[Identity]:
    """*identities*, read from their files where they are paths."""
    known: list[Identity] = []
    for item in identities:
        known += [item] if isinstance(item, Identity) else keyholders.read_identities(item)
    return known


class _Meter:
    """Adds up what was done, and tells a progress callback of it, though not of every file."""

    def __init__(self, progress: ProgressCallback | None, stage: str, size: int, entries: int | None) -> None:
        self._progress = progress
        self._stage = stage
        self._total_size = size
        self._total_entries = entries
        self._size = self._entries = 0
        self._next_s = 0.0

    def __call__(self, size: int, entries: int) -> None:
        self._size += size
        self._entries += entries
        if self._progress is None:
            return
        now_s = time.monotonic()
        if now_s >= self._next_s or self._size >= self._total_size:
            self._next_s = now_s + _PROGRESS_INTERVAL_S
            self._progress(
                Progress(
                    stage=self._stage,
                    size=self._size,
                    total_size=self._total_size,
                    entries=self._entries,
                    total_entries=self._total_entries,
                )
            )
