"""Which trees have to be built when roots go to places of their own, and which of them takes which entry.

A root usually is a tree by itself. One whose destination lies inside another root's is built into that; directories
missing above a destination are built with it; and whatever is mounted below a destination can't be moved, so that part
is a tree of its own. Nothing here writes, or knows what the roots are to anybody.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle import paths
from ocbundle.errors import InvalidRequest, Malformed, TargetFailure
from ocbundle.model import Entry, Kind
from ocbundle.paths import display
from ocbundle.places import Content, Entries, Guard, Resolve, Select
from ocbundle.sites import ancestors, check_links, is_in, is_mounted, mounts, resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a root goes: an absolute path."""

    root: str
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A tree that is built in one piece."""

    name: str
    """The root's under which it is staged."""
    root: str
    """The root that it is, or is a part of."""
    path: bytes
    """Where it goes, without a link on the way."""
    exists: bool
    in_place: bool
    """Its directory stays, because it can't be moved; what is in it is replaced."""
    staying: tuple[bytes, ...] = ()
    """The directories inside, relative, that stay too: those above other mount points; ``b""`` first."""


class _Moved(Entry):
    """An entry under another root and path."""

    origin: Entry


class Layout:
    """Where roots go, and the entries under the names that they are staged by."""

    def __init__(
        self,
        destinations: Iterable[Destination],
        entries: Entries,
        *,
        select: Select | None = None,
        stuck: Collection[bytes] = (),
    ) -> None:
        """Look at what is there, and at all entries once.

        Args:
            destinations: Of the roots to place; no other root's entries count.
            entries: All of the bundle's.
            select: Which are wanted.
            stuck: Paths that turned out not to be movable, though nothing told.

        Raises:
            InvalidRequest: two roots would have one place, or one would lie where another has an entry.
            TargetFailure: something that is mounted is in the way, or a destination can't be looked at.
        """
        self._entries = entries
        self._select = select
        given = _checked(destinations)
        makes_room = {resolve(path, ())[0] for path in given.values()}
        resolved = {root: resolve(path, makes_room) for root, path in given.items()}
        self._paths = {root: path for root, (path, _) in resolved.items()}
        """Where each root goes."""
        _check_distinct(self._paths)
        tops = self._tops()
        there = mounts()
        inside = {mount for mount in there if _top_of(mount, tops) not in {None, mount} and os.path.lexists(mount)}
        found = self._look({*inside, *self._paths.values(), *self._above(tops)})
        for mount in sorted(inside):
            if mount not in found or found[mount].kind is not Kind.DIRECTORY:
                raise TargetFailure(
                    "it is mounted inside of what would be replaced", path=display(mount), hint="unmount it first"
                )
        self.units = self._units(tops, inside, there | set(stuck), found)
        self._by_length = sorted(self.units, key=lambda unit: -len(unit.path))
        self._made_up = {unit.name: self._missing(unit, found) for unit in self.units}
        self.is_plain = all(self._is_root(unit) for unit in self.units)
        """Whether each root is a tree, so that its entries stay as they are."""
        for root, (_, link_owners) in resolved.items():
            unit = self.unit_of(root)
            check_links(unit.path if unit.in_place else os.path.dirname(unit.path), link_owners)

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots that are placed."""
        return tuple(self._paths)

    def path_of(self, root: str) -> bytes:
        """Where *root* goes, without a link on the way."""
        return self._paths[root]

    def unit_of(self, root: str) -> Unit:
        """The tree that *root* is in: what is mounted inside of it aside."""
        return self._holder(self._paths[root])

    # --- the entries, as a staging wants them -------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """All entries of the roots, under the names of the trees, in an order that a staging takes."""
        if self.is_plain:
            return (entry for entry in self._entries() if entry.root in self._paths)
        return (entry for unit in self.units for entry in self._entries_of(unit))

    def select(self, entry: Entry) -> bool:
        """Whether an entry of :meth:`entries` is wanted; directories that were made up only come along."""
        if isinstance(entry, _Moved):
            entry = entry.origin
        elif not self.is_plain:
            return False
        return self._select is None or self._select(entry)

    def content(self, content: Content) -> Content:
        """*content*, for entries of :meth:`entries`."""
        return lambda entry: content(entry.origin if isinstance(entry, _Moved) else entry)

    def resolve(self, resolve: Resolve) -> Resolve:
        """*resolve*, for entries of :meth:`entries`."""
        return lambda entry: resolve(entry.origin if isinstance(entry, _Moved) else entry)

    def _entries_of(self, unit: Unit) -> Iterator[Entry]:
        streams = [self._moved(unit, root) for root, path in self._paths.items() if _related(path, unit.path)]
        return heapq.merge(self._made_up[unit.name], *streams, key=lambda entry: paths.sort_key(entry.path))

    def _moved(self, unit: Unit, root: str) -> Iterator[Entry]:
        base = self._paths[root]
        for entry in self._entries():
            if entry.root != root or self._holder(_join(base, entry.path)) is not unit:
                continue
            path, target = _below(unit.path, _join(base, entry.path)), entry.target
            if entry.kind is Kind.HARDLINK:
                linked = _join(base, entry.target or b"")
                # A link to a file of another tree names itself: nothing is there yet, so it gets the content.
                target = _below(unit.path, linked) if self._holder(linked) is unit else path
            moved = _Moved(**{**entry._asdict(), "root": unit.name, "path": path, "target": target})
            moved.origin = entry
            yield moved

    # --- the look around ----------------------------------------------------------------------------------------------

    def _tops(self) -> dict[bytes, bool]:
        """The paths of the trees, mount points aside, and whether something is there."""
        found: dict[bytes, bool] = {}
        for path in sorted(self._paths.values(), key=len):
            if _top_of(path, found) is not None:
                continue
            top, there = path, os.path.lexists(path)
            while not there and not os.path.lexists(os.path.dirname(top)):
                top = os.path.dirname(top)
            found[top] = there
        return found

    def _above(self, tops: Collection[bytes]) -> set[bytes]:
        """The directories between a tree's top and the destinations inside."""
        return {
            above
            for path in self._paths.values()
            for top in [_top_of(path, tops) or path]
            for above in ancestors(path)
            if above == top or above.startswith(top + b"/")
        }

    def _look(self, watched: Collection[bytes]) -> dict[bytes, Entry]:
        """The entries that go to *watched* paths; refuses one that would lie where another root goes."""
        inner = {
            root: {other for other in self._paths.values() if other != path and other.startswith(path + b"/")}
            for root, path in self._paths.items()
        }
        found: dict[bytes, Entry] = {}
        for entry in self._entries():
            base = self._paths.get(entry.root)
            if base is None:
                continue
            final = _join(base, entry.path)
            for other in inner[entry.root]:
                in_the_way = entry.kind is not Kind.DIRECTORY and other.startswith(final + b"/")
                if final == other or final.startswith(other + b"/") or in_the_way:
                    raise InvalidRequest(
                        f"another root would go to {display(other)}, where {entry.name} goes",
                        path=display(final),
                        hint="choose another place for one of them",
                    )
            if final in watched:
                found[final] = entry
        for root, path in self._paths.items():
            if path not in found:
                raise Malformed("a root without an entry of its own", path=display(root), rule="R-9.8")
        return found

    def _units(
        self,
        tops: Mapping[bytes, bool],
        inside: Collection[bytes],
        immovable: Collection[bytes],
        found: Mapping[bytes, Entry],
    ) -> tuple[Unit, ...]:
        by_path = {path: root for root, path in reversed(self._paths.items())}
        first = {_top_of(path, tops): root for root, path in reversed(self._paths.items())}
        units: list[Unit] = []
        taken: set[str] = set()
        for path in [*tops, *sorted(inside)]:
            exists = tops.get(path, True)
            within = [mount for mount in inside if mount.startswith(path + b"/")]
            stays = path in inside or (exists and (bool(within) or path in immovable or is_mounted(path)))
            root = by_path.get(path) or (found[path].root if path in inside else first[path])
            if stays:
                _check_directory(path, found[path].kind)
            name = root
            while name in taken or (name != root and name in self._paths):
                name += "~"
            taken.add(name)
            units.append(
                Unit(
                    name=name,
                    root=root,
                    path=path,
                    exists=exists,
                    in_place=stays,
                    staying=_staying(path, within) if stays else (),
                )
            )
        return tuple(units)

    def _missing(self, unit: Unit, found: Mapping[bytes, Entry]) -> list[Entry]:
        """Directories (0700) that no root has, above roots inside of *unit*; they are owned as the root is."""
        made: dict[bytes, Entry] = {}
        for path in self._paths.values():
            if self._holder(path) is not unit:
                continue
            for above in ancestors(path):
                if self._holder(above) is unit and above not in found:
                    made[above] = Entry(
                        root=unit.name,
                        path=_below(unit.path, above),
                        kind=Kind.DIRECTORY,
                        mode=0o700,
                        uid=found[path].uid,
                        gid=found[path].gid,
                        mtime_ns=found[path].mtime_ns,
                    )
        return sorted(made.values(), key=lambda entry: paths.sort_key(entry.path))

    def _is_root(self, unit: Unit) -> bool:
        roots = [root for root, path in self._paths.items() if _related(path, unit.path)]
        return roots == [unit.name] and self._paths[unit.name] == unit.path

    def _holder(self, path: bytes) -> Unit:
        return next((unit for unit in self._by_length if is_in(path, unit.path)), _NOWHERE)


_NOWHERE: Final = Unit(name="", root="", path=b"", exists=False, in_place=False)


def _check_distinct(places: Mapping[str, bytes]) -> None:
    seen: dict[bytes, str] = {}
    for root, path in places.items():
        if path == b"/":
            raise InvalidRequest(f"{display(root)} would replace the root of the file system")
        if path in seen:
            raise InvalidRequest(
                f"{display(seen[path])} and {display(root)} would both go to {display(path)}",
                hint="choose another place for one of them",
            )
        seen[path] = root


def _checked(destinations: Iterable[Destination]) -> dict[str, bytes]:
    given: dict[str, bytes] = {}
    for destination in destinations:
        path = destination.path
        if not path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/") or not path.strip(b"/."):
            raise InvalidRequest(f"{display(path)} isn't the absolute path of a directory below the root")
        given[destination.root] = path
    return given


def _check_directory(path: bytes, kind: Kind) -> None:
    with Guard(path, "look at the destination"):
        there = stat.S_ISDIR(os.lstat(path).st_mode)
    if not there or kind is not Kind.DIRECTORY:
        raise TargetFailure(
            "it is mounted, and only a directory's content can be replaced there",
            path=display(path),
            hint="unmount it first",
        )


def _staying(top: bytes, mounts_inside: Collection[bytes]) -> tuple[bytes, ...]:
    above = {
        _below(top, path)
        for mount in mounts_inside
        for path in ancestors(mount)
        if is_in(path, top) and _top_of(path, mounts_inside) is None
    }
    return tuple(sorted({b"", *above}, key=paths.sort_key))


def _top_of(path: bytes, tops: Iterable[bytes]) -> bytes | None:
    return next((top for top in tops if is_in(path, top)), None)


def _related(one: bytes, other: bytes) -> bool:
    return is_in(one, other) or is_in(other, one)


def _join(base: bytes, path: bytes) -> bytes:
    return base + b"/" + path if path else base


def _below(top: bytes, path: bytes) -> bytes:
    return path[len(top) + 1 :]
