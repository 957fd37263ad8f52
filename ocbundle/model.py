"""The frozen values that the rest of the library passes around (section 9 of the specification).

A value that exists is valid: invariants are checked at construction. Nothing here knows bytes on disk or touches a
file system.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from ocbundle import acl as access_lists
from ocbundle import limits, paths
from ocbundle.acl import AccessList
from ocbundle.errors import LimitExceeded, Malformed


class Kind(enum.IntEnum):
    """What an entry is. Devices, FIFOs and sockets can't be expressed."""

    DIRECTORY = 0
    FILE = 1
    SYMLINK = 2
    HARDLINK = 3


class Role(enum.StrEnum):
    """What a root is to its gateway."""

    STATE = "state"
    WORKSPACE = "workspace"
    CONFIG = "config"
    CREDENTIALS = "credentials"
    SKILL = "skill"
    EXTRA = "extra"


class Capture(enum.StrEnum):
    """How the content of a file was taken, where there is something to say of it."""

    PLAIN = ""
    SQLITE = "sqlite"
    """Through SQLite, in one consistent step, with the rows of its WAL."""
    SQLITE_RAW = "sqlite-raw"
    """It begins like a database, but SQLite can't read it: its bytes as they are."""
    CHANGED = "changed"
    """It changed each time it was read: it may be torn."""
    GREW = "grew"
    """It grew while it was read: the prefix that was there at first."""


class Reason(enum.StrEnum):
    """Why something was left out."""

    SOCKET = "socket"
    FIFO = "fifo"
    DEVICE = "device"
    EXCLUDED = "excluded"
    HOST_BOUND = "host-bound"
    TRANSIENT = "transient"
    REGENERABLE = "regenerable"
    DATABASE_PART = "database-part"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    LIMIT = "limit"
    SELF = "self"
    NESTED = "nested"

    @property
    def is_loss(self) -> bool:
        """Whether something that was asked for is missing from the bundle (exit code 3)."""
        return self in {Reason.UNREADABLE, Reason.VANISHED, Reason.LIMIT}


class Extent(NamedTuple):
    """A run of a file's bytes: *length* bytes at *offset* of segment number *segment*, or a hole (``None``)."""

    segment: int | None
    offset: int
    length: int


class _Fields(NamedTuple):
    """The fields of an :class:`Entry`: a tuple, since a decoder makes a million of them without a call for each."""

    root: str
    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    sha256: bytes | None
    extents: tuple[Extent, ...]
    target: bytes | None
    capture: Capture
    xattrs: tuple[tuple[bytes, bytes], ...]
    acl: AccessList
    default_acl: AccessList
    """What is created in this directory inherits."""


class Entry(_Fields):
    """One file, directory, symbolic link or hard link of a root.

    For a hard link only *root*, *path* and *target* mean anything; the rest is that of its target (section 9.4).
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        root: str,
        path: bytes,
        kind: Kind,
        mode: int = 0,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        size: int = 0,
        sha256: bytes | None = None,
        extents: tuple[Extent, ...] = (),
        target: bytes | None = None,
        capture: Capture = Capture.PLAIN,
        xattrs: tuple[tuple[bytes, bytes], ...] = (),
        acl: AccessList = (),
        default_acl: AccessList = (),
    ) -> Self:
        """Check what one entry can break by itself (R-9.7, R-9.9, R-9.10, R-9.13, R-9.21 to R-9.23).

        Raises:
            Malformed, LimitExceeded: one of these rules is broken.
        """
        entry = super().__new__(
            cls,
            root,
            path,
            kind,
            mode,
            uid,
            gid,
            mtime_ns,
            size,
            sha256,
            extents,
            target,
            capture,
            xattrs,
            acl,
            default_acl,
        )
        entry._check()
        return entry

    def replace(self, **changes: Any) -> Entry:  # noqa: ANN401 - as dataclasses.replace
        """The same but for *changes*, and checked anew."""
        return Entry(**{**self._asdict(), **changes})

    def _check(self) -> None:
        paths.check(self.path)
        if not 0 <= self.mode <= limits.MAX_MODE:
            raise Malformed("a mode beyond 07777", path=self.name, rule="R-9.9")
        if self.acl or self.default_acl:
            self._check_lists()
        if self.kind is Kind.FILE:
            if sum([extent.length for extent in self.extents]) != self.size:
                raise Malformed("extents don't cover the file", path=self.name, rule="R-9.10")
            if len(self.extents) > 1:
                self._check_segments()
        elif self.kind is not Kind.DIRECTORY:
            self._check_target()

    def _check_segments(self) -> None:
        """Hold the extents to R-9.23, so that a few rows can't make a reader open segments over and over."""
        numbers = [extent.segment for extent in self.extents if extent.segment is not None]
        if numbers != sorted(numbers):
            raise Malformed("a file's extents go back to an earlier segment", path=self.name, rule="R-9.23")
        if len(set(numbers)) > 2 + self.size // limits.FIRST_SEGMENT:
            raise Malformed("a file lies in more segments than it fills", path=self.name, rule="R-9.23")
        if len(self.extents) > limits.FREE_RUNS + self.size // limits.LEAST_RUN:
            raise Malformed("a file is in more pieces than its size allows", path=self.name, rule="R-9.23")

    def _check_lists(self) -> None:
        if self.kind not in {Kind.DIRECTORY, Kind.FILE} or (self.default_acl and self.kind is Kind.FILE):
            raise Malformed("an access control list on what has none", path=self.name, rule="R-9.21")
        for grants in filter(None, (self.acl, self.default_acl)):
            flaw = access_lists.flaw(grants)
            if flaw is not None:
                raise Malformed(f"an access control list has {flaw}", path=self.name, rule="R-9.21")
        # A reader that doesn't know of lists, or can't set one, goes by the mode.
        if self.acl and self.mode & 0o777 != access_lists.mode_bits(self.acl):
            raise Malformed("a mode isn't the one of its access control list", path=self.name, rule="R-9.22")

    def _check_target(self) -> None:
        target = self.target or b""
        if self.kind is Kind.HARDLINK:
            paths.check(target)
            if not target:  # the root itself, which is no file beside others
                raise Malformed("a hard link without a target", path=self.name, rule="R-9.12")
            return
        if not target or b"\0" in target:
            raise Malformed("a symbolic link without a target, or with NUL in it", path=self.name, rule="R-9.13")
        if len(target) > limits.MAX_SYMLINK:
            raise LimitExceeded("a symbolic link's target is too long", path=self.name, rule="R-9.13")

    @property
    def name(self) -> str:
        """``root/path``, escaped for display."""
        return paths.display(f"{self.root}/".encode() + self.path) if self.path else paths.display(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """One path that was left out, and why. A directory stands for all below it."""

    root: str
    path: bytes
    kind: str
    reason: Reason | str
    """A :class:`Reason`; another word if a newer writer left it out for a reason of its own."""
    detail: str | None = None

    @property
    def name(self) -> str:
        """``root/path``, escaped for display."""
        return paths.display(f"{self.root}/".encode() + self.path) if self.path else paths.display(self.root)

    @property
    def is_loss(self) -> bool:
        """Whether it was meant to be packed."""
        return isinstance(self.reason, Reason) and self.reason.is_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One captured tree: *source* is the absolute path it was taken from."""

    name: str
    role: Role
    source: bytes
    profile: str | None = None

    def __post_init__(self) -> None:
        """Check the name (R-9.4)."""
        paths.check_root_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where an agent's workspace is inside the bundle: *path* (``b""`` for all of it) of root *root*."""

    agent: str
    root: str
    path: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One OpenClaw installation: what a reader may want to know before restoring it. Never a secret's value."""

    name: str
    state: str
    """Name of the root that holds the state directory."""
    config: bytes | None = None
    """Absolute path of the configuration file on the old machine."""
    workspaces: tuple[Workspace, ...] = ()
    mode: str | None = None
    """``gateway.mode``: ``local`` or ``remote``."""
    port: int | None = None
    version: str | None = None
    """The OpenClaw that last wrote the configuration."""
    era: str | None = None
    """``A`` (files), ``B`` (hybrid) or ``C`` (SQLite)."""
    schemas: Mapping[str, int] = field(default_factory=dict)
    """Schema version by database path."""
    agents: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    """Plugins whose installed files are regenerable: to be installed again."""
    secrets: tuple[str, ...] = ()
    """The kinds of secret inside."""
    needs: tuple[str, ...] = ()
    """What its secrets are read from and the bundle doesn't hold: names of environment variables, or of providers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine and user that a bundle was packed on."""

    host: str = ""
    os: str = ""
    user: str = ""
    uid: int = 0
    gid: int = 0
    home: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the batches of a bundle hold altogether.

    *size* is logical bytes: holes count in full, hard links not at all.
    """

    entries: int = 0
    skipped: int = 0
    size: int = 0
    segments: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The head of the manifest (section 9.1). Entries are read in batches, from the bundle."""

    bundle_id: bytes
    created: int
    """Seconds since the epoch, UTC."""
    generator: str
    source: Host
    roots: tuple[Root, ...]
    profiles: tuple[Profile, ...] = ()
    users: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a verb is. Totals are ``None`` while they aren't known."""

    stage: str
    """``scan``, ``pack``, ``verify`` or ``unpack``."""
    size: int
    """Logical bytes done."""
    total_size: int | None
    entries: int
    total_entries: int | None


ProgressCallback = Callable[[Progress], None]


class Level(enum.StrEnum):
    """What a verification may claim (section 11)."""

    CHECKSUMS = "checksums"
    """No accidental damage; nothing about who wrote it."""
    EXPECTED = "expected"
    """Checksums, and the content is the one whose digest the caller holds."""
    FULL = "full"
    """Every byte is what the holder of the bundle key packed."""


REPORT_ROWS: Final = 10_000
"""How many rows of one kind a report holds at the most; the manifest, or a list that is written, has all of them."""
