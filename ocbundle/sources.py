"""What there is to pack, and how it is to be taken: what a source hands over to the writer.

Values alone: nothing here touches a file system.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ocbundle.acl import AccessList
from ocbundle.model import Reason, Role


class Sensitivity(enum.Enum):
    """In which kind of segment a file's bytes go (section 7.4).

    Text that strangers can write never shares a zstd frame with secrets: the compressed length would tell of them
    (CRIME, CVE-2012-4929).
    """

    CONTENT = enum.auto()
    SECRET = enum.auto()
    MIXED = enum.auto()
    """Databases that hold both: segments of their own."""


@dataclass(frozen=True, slots=True)
class Leave:
    """A rule's verdict: don't take it, for this reason."""

    reason: Reason
    detail: str | None = None


Verdict = Sensitivity | Leave
Rules = Callable[[bytes, str], Verdict]
"""``rules(path, kind)``: *path* inside the root, *kind* one of file, directory, symlink, socket, fifo, device.

For a directory :class:`Leave` leaves out all below it, and any other verdict means: descend.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A directory (or a single file) to pack, as the root called *name*."""

    path: bytes
    """Absolute."""
    name: str
    role: Role = Role.EXTRA
    profile: str | None = None
    rules: Rules | None = None
    """``None`` takes everything, as content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a file system says of one path, before its content is read."""

    root: str
    path: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    acl: AccessList = ()
