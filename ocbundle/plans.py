"""What placing a layout will touch: the directories, opened once, what is in them, and each rename that it takes.

Until :meth:`Plan.make_asides` nothing is written, and then only in staging directories.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ocbundle import attributes, publish
from ocbundle.attributes import Attributes, Names
from ocbundle.errors import InvalidRequest, TargetExists
from ocbundle.intents import Dress, Identity, Intent, Move, PlacedRoot, Spot, Staying
from ocbundle.layout import Layout, Unit
from ocbundle.paths import display
from ocbundle.places import Guard, Place
from ocbundle.settling import dress_of, identity_of
from ocbundle.sites import is_in, reach
from ocbundle.staging import Staging

_ASIDE: Final = b".openclaw.%s.%s%s.replaced"
_STAYS: Final = re.compile(rb"lost\+found|\.openclaw\..+\.(staging|replaced)", re.DOTALL)
"""What stays in a directory that can't be moved: the file system's own, what killed runs left, what was set aside."""
_LONGEST_ROOT: Final = 180


class Plan:
    """A layout with the directories that it touches, opened once, and what is in them."""

    def __init__(self, layout: Layout, stack: contextlib.ExitStack, *, created: int) -> None:
        self._layout = layout
        self._created = created
        self._opened = stack
        self.places: dict[str, Place] = {}
        """Where each tree is staged: beside its place, or in it."""
        self.warnings: list[str] = []
        self._asides: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._dresses: dict[bytes, Dress] = {}
        self._inside: dict[bytes, int] = {}
        """Descriptors of the directories that stay."""
        self._fixed = {unit.path for unit in layout.units}
        self._fixed |= {_join(unit.path, path) for unit in layout.units for path in unit.staying}
        self._occupied: set[str] = set()
        by_path: dict[bytes, Place] = {}
        for unit in layout.units:
            where = unit.path if unit.in_place else os.path.dirname(unit.path)
            if where not in by_path:
                by_path[where] = Place(path=where, fd=self._open(where))
            place = self.places[unit.name] = by_path[where]
            self._asides[unit.name] = self._aside_name(place, unit.root)
            with Guard(unit.path, "look at what is there"):
                self._look(unit, place)
        self.movable = {unit.path for unit in layout.units if not unit.in_place and _is_directory(unit.path)}

    def check(self, log_directory: bytes, *, replace: bool) -> None:
        """Refuse to replace the log's directory; or anything, if that isn't wanted."""
        for unit in self._layout.units:
            if is_in(log_directory, unit.path):
                raise InvalidRequest(
                    f"the log can't be in {display(unit.path)}, which would be replaced", path=display(log_directory)
                )
        there = [unit.path for unit in self._layout.units if unit.name in self._occupied]
        if there and not replace:
            raise TargetExists(
                f"something is there already: {', '.join(map(display, there))}",
                path=display(there[0]),
                hint="replace it with --replace (it is kept beside), as a fresh onboarding's; or choose another place",
            )

    def check_writable(self) -> None:
        """Refuse a place that this user may not write to."""
        for place in self.places.values():
            if not os.access(place.path, os.W_OK | os.X_OK):
                raise publish.failure(PermissionError(errno.EACCES, ""), place.path, "write to the directory")

    def staged(self, staging: Staging) -> dict[str, bytes]:
        """Where each root is staged."""
        layout = self._layout
        found = {}
        for root in layout.roots:
            unit, path = layout.unit_of(root), layout.path_of(root)
            found[root] = staging.path(unit.name) + path[len(unit.path) :]
        return found

    def make_asides(self, staging: Staging) -> None:
        """Make the directories for what is replaced where only the content can be."""
        for unit in self._layout.units:
            if not unit.in_place or unit.name not in self._occupied:
                continue
            stage, dress = staging.directory(unit.name), self._dresses[unit.path]
            with Guard(staging.path(unit.name), "create a directory"):
                for path in unit.staying:
                    name = _join(self._asides[unit.name], path)
                    os.mkdir(name, 0o700, dir_fd=stage)
                    os.chmod(name, 0o700, dir_fd=stage)
                    if os.geteuid() == 0:
                        os.chown(name, dress.uid, dress.gid, dir_fd=stage)

    def rows(self) -> tuple[PlacedRoot, ...]:
        """How it will be."""
        layout = self._layout
        rows = []
        for root in layout.roots:
            unit = layout.unit_of(root)
            path = layout.path_of(root)
            rows.append(self._row(root, path, unit if unit.path == path else None))
        known = {row.path for row in rows}
        rows += [
            self._row(unit.root, unit.path, unit) for unit in layout.units if unit.exists and unit.path not in known
        ]
        return tuple(rows)

    def _row(self, root: str, path: bytes, unit: Unit | None) -> PlacedRoot:
        if unit is None or unit.name not in self._occupied:
            return PlacedRoot(root=root, path=path, set_aside=None, size_aside=0)
        aside = os.path.join(self.places[unit.name].path, self._asides[unit.name])
        return PlacedRoot(root=root, path=path, set_aside=aside, size_aside=self._sizes[unit.name])

    # --- what is there ------------------------------------------------------------------------------------------------

    def _open(self, path: bytes) -> int:
        with Guard(path, "open the directory"):
            fd = reach(path)
        self._opened.callback(os.close, fd)
        return fd

    def _look(self, unit: Unit, place: Place) -> None:
        size = 0
        for path in unit.staying:
            directory = _join(unit.path, path)
            fd = self._inside[directory] = self._open(directory)
            self._dresses[directory] = dress_of(os.fstat(fd))
            names = {name for name in self._children(directory, fd) if not _STAYS.fullmatch(name)}
            size += _size(fd, names)
            if names:
                self._occupied.add(unit.name)
        if unit.exists and not unit.in_place:
            size = _size(place.fd, [os.path.basename(unit.path)])
            self._occupied.add(unit.name)
        self._sizes[unit.name] = size

    def _children(self, directory: bytes, fd: int) -> set[bytes]:
        """The names in a directory that stays, without those of what stays itself."""
        found = {os.fsencode(name) for name in os.listdir(fd)}
        return {name for name in found if os.path.join(directory, name) not in self._fixed}

    def _aside_name(self, place: Place, root: str) -> bytes:
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._created)).encode()
        name = _ASIDE % (root.encode()[:_LONGEST_ROOT], when, b"")
        number = 1
        while place.holds(name):
            number += 1
            name = _ASIDE % (root.encode()[:_LONGEST_ROOT], when, b"-%d" % number)
        return name

    # --- what is to be done -------------------------------------------------------------------------------------------

    def intent(self, staging: Staging, bundle_id: str, *, replace: bool) -> Intent:
        """Everything that has to be renamed, now that all is staged.

        Raises:
            TargetExists: something has appeared meanwhile.
        """
        moves: list[Move] = []
        staying: list[Staying] = []
        inodes: dict[bytes, int] = {}
        for unit in self._layout.units:
            with Guard(unit.path, "look at what is there"):
                if unit.in_place:
                    found = self._inner_moves(unit, staging, inodes, staying)
                else:
                    found = [self._whole_move(unit, staging, inodes)]
            is_new = unit.name not in self._occupied
            if any(move.old for move in found) and (is_new or not replace):
                raise publish.failure(FileExistsError(errno.EEXIST, ""), unit.path, "publish")
            moves += found
        return Intent(
            bundle_id=bundle_id,
            created=self._created,
            roots=self.rows(),
            moves=tuple(moves),
            staying=tuple(staying),
            stages=tuple(dict.fromkeys(os.path.dirname(staging.path(unit.name)) for unit in self._layout.units)),
            inodes=inodes,
        )

    def _whole_move(self, unit: Unit, staging: Staging, inodes: dict[bytes, int]) -> Move:
        place, stage = self.places[unit.name], staging.directory(unit.name)
        stage_path, name = os.path.split(staging.path(unit.name))
        parent, final = os.path.split(unit.path)
        inodes[stage_path] = os.fstat(stage).st_ino
        inodes[parent] = os.fstat(place.fd).st_ino
        old = _identity(place.fd, final)
        if old is None:
            self._occupied.discard(unit.name)
        return Move(
            stage=Spot(stage_path, name),
            final=Spot(parent, final),
            aside=None if old is None else Spot(parent, self._asides[unit.name]),
            new=_identity(stage, name),
            old=old,
        )

    def _inner_moves(
        self, unit: Unit, staging: Staging, inodes: dict[bytes, int], staying: list[Staying]
    ) -> list[Move]:
        stage_path, name = os.path.split(staging.path(unit.name))
        stage = staging.directory(unit.name)
        inodes[stage_path] = os.fstat(stage).st_ino
        moves: list[Move] = []
        for path in unit.staying:
            directory = _join(unit.path, path)
            inodes[directory] = os.fstat(self._inside[directory]).st_ino
            with _opened(stage, _join(name, path)) as staged:
                if staged is not None:
                    inodes[_join(staging.path(unit.name), path)] = os.fstat(staged.fd).st_ino
                    if staged.found.xattrs:
                        self.warnings.append(f"{display(directory)} doesn't get its extended attributes")
                    if staged.found.acl or staged.found.default_acl:
                        self.warnings.append(f"{display(directory)} doesn't get its access control lists")
                moves += self._exchanges(unit, path, staged, _join(staging.path(unit.name), path))
            old = self._dresses[directory]
            staying.append(Staying(path=directory, old=old, new=old if staged is None else staged.dress))
        if not any(move.old for move in moves):
            self._occupied.discard(unit.name)
        elif unit.name in self._occupied:
            aside = self._asides[unit.name]
            for path in unit.staying:
                with _opened(stage, _join(aside, path)) as made:
                    if made is not None:  # pragma: no branch - make_asides made it
                        inodes[_join(os.path.join(unit.path, aside), path)] = os.fstat(made.fd).st_ino
            first = Move(
                stage=Spot(stage_path, aside),
                final=Spot(unit.path, aside),
                aside=None,
                new=_identity(stage, aside),
                old=None,
            )
            moves.insert(0, first)
        return moves

    def _exchanges(self, unit: Unit, path: bytes, staged: _Staged | None, staged_path: bytes) -> Iterator[Move]:
        """The moves of what is in one directory that stays."""
        directory = _join(unit.path, path)
        aside = _join(os.path.join(unit.path, self._asides[unit.name]), path)
        fd = self._inside[directory]
        new = set() if staged is None else self._children(directory, staged.fd)
        old = self._children(directory, fd)
        old -= {name for name in old - new if _STAYS.fullmatch(name)}
        for name in sorted(old | new):
            yield Move(
                stage=Spot(staged_path, name) if name in new else None,
                final=Spot(directory, name),
                aside=Spot(aside, name) if name in old else None,
                new=_identity(staged.fd, name) if staged is not None and name in new else None,
                old=_identity(fd, name) if name in old else None,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A staged directory, opened."""

    fd: int
    dress: Dress
    found: Attributes
    """What a directory that stays doesn't get, but for the mode."""


@contextlib.contextmanager
def _opened(fd: int, path: bytes) -> Iterator[_Staged | None]:
    """The directory *path* below the one of *fd*, made writable for its owner; ``None`` if it isn't there."""
    with contextlib.ExitStack() as stack:
        status = None
        try:
            for name in path.split(b"/"):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                fd = publish.open_directory(fd, name)
                stack.callback(os.close, fd)
        except FileNotFoundError:
            status = None
        if status is None:
            yield None
            return
        # Without its access list the mode would be a wider one.
        found = attributes.read(fd, status, Names())
        os.fchmod(fd, 0o700)
        yield _Staged(fd=fd, dress=dataclasses.replace(dress_of(status), mode=found.mode), found=found)


def _identity(fd: int, name: bytes) -> Identity | None:
    try:
        return identity_of(os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _size(fd: int, names: Iterable[bytes]) -> int:
    """Logical bytes of what has these *names* in a directory, as far as this user may look."""
    total = 0
    for name in names:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            total += status.st_size
            continue
        for _, _, files, directory in os.fwalk(name, dir_fd=fd):
            for file in files:
                with contextlib.suppress(OSError):
                    total += os.stat(file, dir_fd=directory, follow_symlinks=False).st_size
    return total


def _is_directory(path: bytes) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def _join(top: bytes, path: bytes) -> bytes:
    return top + b"/" + path if path else top
