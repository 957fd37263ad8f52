"""Extended attributes and access control lists of an open file: read for an entry, set as an entry has them.

Implements R-12.5 and R-12.12 of the specification, and what its section 10 says of both. Of attributes it knows
``user.*`` and the POSIX lists of Linux, and neither reads nor sets any other. What can't be kept is counted, and never
makes a file open to more users.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import stat
from dataclasses import dataclass, replace
from typing import Final

from ocbundle import acl, limits
from ocbundle.acl import AccessList, Grant, Tag
from ocbundle.errors import Malformed
from ocbundle.model import Entry

_USER: Final = "user."
_ACCESS: Final = "system.posix_acl_access"
_DEFAULT: Final = "system.posix_acl_default"
_SPECIAL: Final = 0o7000
_REFUSED: Final = (OSError, AttributeError)
"""By the file system, or by a Python that has no such call on this system."""

_REST_OF_EXTRA: Final = 64
"""More than an entry's ``extra`` takes beside the items of its attributes and lists."""
_ATTRIBUTE: Final = 16
_GRANT: Final = 24
"""More than an attribute or an entry of a list takes beside its texts."""

_CAN_READ: Final = hasattr(os, "listxattr")
"""Windows and macOS have other calls, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What an open file or directory has beside its times and owner, as far as an entry can hold it."""

    mode: int
    """Beside a list: the bits that stand for it (R-12.12)."""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    acl: AccessList = ()
    default_acl: AccessList = ()
    lost_lists: int = 0
    """Lists that can't be stored."""
    has_lost_xattrs: bool = False
    """Whether there are more ``user.*`` attributes than an entry holds."""


@dataclass(frozen=True, slots=True)
class Unset:
    """How much of an entry's could not be set."""

    xattrs: int = 0
    lists: int = 0
    grants: int = 0
    """Entries of lists whose users or groups aren't known here."""


class Names:
    """Names and numbers of this machine's users and groups; each is looked up once."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, int | None], str | None] = {}
        self._numbers: dict[tuple[int, str | None], int | None] = {}

    def name_of(self, grant: Grant) -> str | None:
        """The name of the user or group of *grant*, by its number."""
        key = grant.tag, grant.id
        if key not in self._names:
            self._names[key] = _name(grant)
        return self._names[key]

    def number_of(self, grant: Grant) -> int | None:
        """The number of the user or group of *grant*, by its name."""
        key = grant.tag, grant.name
        if key not in self._numbers:
            self._numbers[key] = _number(grant)
        return self._numbers[key]


def read(fd: int, status: os.stat_result, names: Names) -> Attributes:
    """What the open file or directory *fd*, of which *status* was told, has."""
    mode = stat.S_IMODE(status.st_mode)
    try:
        present = os.listxattr(fd) if _CAN_READ else None
    except OSError:  # a file system without attributes
        present = None
    if not present:
        return _mode_alone(mode)
    lists: list[AccessList] = []
    lost_lists = 0
    room = limits.MAX_EXTRA - _REST_OF_EXTRA
    for name in (_ACCESS, _DEFAULT):
        grants = _read_list(fd, name, names) if name in present else ()
        if name == _ACCESS and grants != ():
            bits = 0o700 & mode if grants is None else acl.mode_bits(grants)
            mode = mode & _SPECIAL | bits
        length = sum(_GRANT + len((grant.name or "").encode()) for grant in grants or ())
        if grants is None or length > room:
            lost_lists += 1
            grants, length = (), 0
        room -= length
        lists.append(grants)
    xattrs = []
    for name in present:
        if name.startswith(_USER):
            with contextlib.suppress(OSError):  # removed just now
                xattrs.append((os.fsencode(name), os.getxattr(fd, name)))
    fits = sum(_ATTRIBUTE + len(name) + len(value) for name, value in xattrs) <= room
    return Attributes(
        mode=mode,
        xattrs=tuple(sorted(xattrs)) if fits else (),
        acl=lists[0],
        default_acl=lists[1],
        lost_lists=lost_lists,
        has_lost_xattrs=not fits,
    )


@functools.cache
def _mode_alone(mode: int) -> Attributes:
    return Attributes(mode=mode)


def set_all(fd: int, entry: Entry, mode: int, *, names: Names | None) -> Unset:
    """Give the open file or directory *fd* the attributes of *entry*, the mode *mode*, and then its lists.

    The lists go by the numbers in the bundle, or by the names of *names*, if there are any.

    Raises:
        Malformed: an attribute is none of the user's (R-10.9).
        OSError: the mode can't be set.
    """
    lost_xattrs = lost_lists = lost_grants = 0
    for name, value in entry.xattrs:
        if not name.startswith(_USER.encode()):
            raise Malformed("an extended attribute outside of user.*", path=entry.name)
        try:
            os.setxattr(fd, name, value)
        except _REFUSED:  # no such attributes here, or no room for this one: the content matters more
            lost_xattrs += 1
    # Before the lists: a mode that is set later would be taken for a list's mask.
    os.fchmod(fd, mode)
    for attribute, grants in ((_ACCESS, entry.acl), (_DEFAULT, entry.default_acl)):
        if not grants:
            continue
        here, unknown = (grants, 0) if names is None else acl.known_only(grants, names.number_of)
        try:
            os.setxattr(fd, attribute, acl.encode(here))
        except (*_REFUSED, ValueError):  # the mode gives nobody more than the list would have
            lost_lists += 1
        else:
            lost_grants += unknown
    return Unset(xattrs=lost_xattrs, lists=lost_lists, grants=lost_grants)


def _read_list(fd: int, name: str, names: Names) -> AccessList | None:
    """A list, with names; ``None`` if it can't be read, or be stored."""
    try:
        grants = acl.decode(os.getxattr(fd, name))
    except (OSError, ValueError):
        return None
    if acl.flaw(grants):  # such as somebody twice, or somebody who has no number in this user namespace
        return None
    return tuple(replace(grant, name=names.name_of(grant)) if grant.tag in acl.NAMED else grant for grant in grants)


def _name(grant: Grant) -> str | None:
    number = grant.id or 0
    try:
        name = pwd.getpwuid(number).pw_name if grant.tag == Tag.USER else grp.getgrgid(number).gr_name
        name.encode()
    except (KeyError, ValueError):  # nobody's, or not UTF-8
        return None
    return name


def _number(grant: Grant) -> int | None:
    if grant.name is None:
        return None
    try:
        return pwd.getpwnam(grant.name).pw_uid if grant.tag == Tag.USER else grp.getgrnam(grant.name).gr_gid
    except (KeyError, ValueError):
        return None
