"""POSIX access control lists: what makes one, what it allows, and how Linux writes it down.

Implements what section 9.4 of the specification says of ``acl`` and ``default_acl``, and the mode of R-12.12. Values
in, values out: nothing here touches a file system or looks up a name.
"""

from __future__ import annotations

import enum
import itertools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final


class Tag(enum.IntEnum):
    """To whom an entry applies; the numbers are Linux's, and the order is that of a list."""

    OWNER = 1
    USER = 2
    OWNING_GROUP = 4
    GROUP = 8
    MASK = 16
    OTHERS = 32


NAMED: Final = frozenset({Tag.USER, Tag.GROUP})
"""The tags of entries that name somebody."""

_CLASSES: Final = (Tag.OWNER, Tag.OWNING_GROUP, Tag.OTHERS)
_ALL: Final = 0o7
_VERSION: Final = struct.pack("<I", 2)
_ENTRY: Final = "<HHI"
_NO_ID: Final = (1 << 32) - 1
"""In place of the number of somebody whom the tag tells, or who has none in this user namespace."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of a list. *id* and *name* are a user's or a group's where the tag is :data:`NAMED`, else ``None``."""

    tag: int
    id: int | None
    name: str | None
    rights: int
    """4 read, 2 write, 1 execute."""


AccessList = tuple[Grant, ...]
"""All entries, in canonical order. The empty tuple is no list."""


def flaw(grants: AccessList) -> str | None:
    """What keeps *grants* from being a list (R-9.21)."""
    tags = [grant.tag for grant in grants]
    order = [_order(grant) for grant in grants]
    is_named = [grant.tag in NAMED for grant in grants]
    flaws = (
        ("an unknown tag", not set(tags) <= set(Tag)),
        ("an unknown right", any(grant.rights > _ALL for grant in grants)),
        ("a number where none belongs, or none", [grant.id is not None for grant in grants] != is_named),
        ("a name where none belongs", any(grant.name is not None for grant in grants if grant.tag not in NAMED)),
        ("not one entry for each class of a mode", any(tags.count(tag) != 1 for tag in _CLASSES)),
        ("not one mask", tags.count(Tag.MASK) > 1 or (any(is_named) and Tag.MASK not in tags)),
        ("entries out of order", any(one >= other for one, other in itertools.pairwise(order))),
    )
    return next((text for text, is_found in flaws if is_found), None)


def mode_bits(grants: Iterable[Grant]) -> int:
    """The nine bits of a mode that, in place of the list, gives nobody more than the list does (R-12.12).

    The bits that the kernel shows beside a list won't do: those of the group are its mask, and somebody whom an entry
    of their own denies what all others may would be one of the others.
    """
    rights = dict.fromkeys(Tag, _ALL)
    for grant in grants:
        # Of several users or groups, what all of them may.
        rights[Tag(grant.tag)] &= grant.rights
    group = rights[Tag.OWNING_GROUP] & rights[Tag.MASK] & rights[Tag.USER]
    others = rights[Tag.OTHERS]
    if any(grant.tag in NAMED for grant in grants):
        others &= rights[Tag.MASK] & rights[Tag.USER] & rights[Tag.GROUP]
    return rights[Tag.OWNER] << 6 | group << 3 | others


def known_only(grants: AccessList, find: Callable[[Grant], int | None]) -> tuple[AccessList, int]:
    """The list for another machine, and how many entries are left out of it.

    *find* gives the number that somebody has there, ``None`` if there is no such user or group.
    """
    kept: dict[tuple[int, int], Grant] = {}
    lost = 0
    for grant in grants:
        moved = grant
        if grant.tag in NAMED:
            number = find(grant)
            if number is None:
                lost += 1
                continue
            moved = replace(grant, id=number)
        # Where two names are one user's, nobody gets more than either had.
        twin = kept.get(_order(moved), moved)
        kept[_order(moved)] = replace(moved, rights=moved.rights & twin.rights)
    found = tuple(kept[key] for key in sorted(kept))
    if lost and not any(grant.tag in NAMED for grant in found):
        mask = next(grant.rights for grant in found if grant.tag == Tag.MASK)
        # A mask alone would only make the mode look wider than it is.
        found = tuple(
            replace(grant, rights=grant.rights & mask) if grant.tag == Tag.OWNING_GROUP else grant
            for grant in found
            if grant.tag != Tag.MASK
        )
    return found, lost


def decode(value: bytes) -> AccessList:
    """Read the value of one of Linux's attributes; the result has no names, and may have a :func:`flaw`.

    Raises:
        ValueError: it is written in another way than Linux's.
    """
    if value[:4] != _VERSION or len(value) % 8 != 4:
        raise ValueError("an access control list of an unknown form")
    rows = struct.iter_unpack(_ENTRY, value[4:])
    grants = [Grant(tag, None if number == _NO_ID else number, None, rights) for tag, rights, number in rows]
    return tuple(sorted(grants, key=_order))


def encode(grants: AccessList) -> bytes:
    """The value of Linux's attribute.

    Raises:
        ValueError: a number is greater than those of Linux.
    """
    if any(grant.id is not None and grant.id >= _NO_ID for grant in grants):
        raise ValueError("a number that no user or group can have")
    rows = [(grant.tag, grant.rights, _NO_ID if grant.id is None else grant.id) for grant in grants]
    return _VERSION + b"".join(struct.pack(_ENTRY, *row) for row in rows)


def _order(grant: Grant) -> tuple[int, int]:
    return grant.tag, grant.id or 0
