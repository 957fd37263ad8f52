"""What a run is about to rename, as values and as the JSON of an intent log.

Everything needed to finish it or to take it back is in here: where each tree may be, and the inode by which it is
known. Nothing here touches a file system.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ocbundle.errors import TargetFailure

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Spot:
    """A name in a directory; *directory* is absolute, without a link on the way."""

    directory: bytes
    name: bytes

    @property
    def path(self) -> bytes:
        """Both together."""
        return os.path.join(self.directory, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """By what a file or directory is known whatever its name.

    The inode's number only: a device's isn't the same after every start of a machine, and a name is looked up on one
    file system.
    """

    inode: int
    mode: int | None = None
    """Of a read-only directory of this user's: it is made writable while it moves, so a kill could leave it so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One exchange: *new* leaves *stage* for *final*, and *old*, if there is one, leaves *final* for *aside*."""

    stage: Spot | None
    final: Spot
    aside: Spot | None
    new: Identity | None
    old: Identity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dress:
    """Owner, mode and time of a directory."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying:
    """A directory that can't be moved: it changes its dress, and what is in it."""

    path: bytes
    old: Dress
    new: Dress


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRoot:
    """Where a root, or the part of it on a file system mounted inside, is now."""

    root: str
    path: bytes
    set_aside: bytes | None
    """Where what was there before is: in plain text, and kept."""
    size_aside: int
    """Bytes of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All that one run renames."""

    bundle_id: str
    created: int
    """Seconds since the epoch, UTC."""
    roots: tuple[PlacedRoot, ...]
    """How it will be."""
    moves: tuple[Move, ...]
    """In their order; taken back in the reverse one."""
    staying: tuple[Staying, ...]
    stages: tuple[bytes, ...]
    """The staging directories."""
    inodes: Mapping[bytes, int]
    """Of every directory that is worked in, by path: another one in its place isn't touched."""

    def encode(self) -> bytes:
        """The content of an intent log."""
        document = {
            "version": _VERSION,
            "bundle_id": self.bundle_id,
            "created": self.created,
            "roots": [[row.root, _text(row.path), _text(row.set_aside), row.size_aside] for row in self.roots],
            "moves": [
                {
                    "stage": _spot(move.stage),
                    "final": _spot(move.final),
                    "aside": _spot(move.aside),
                    "new": _identity(move.new),
                    "old": _identity(move.old),
                }
                for move in self.moves
            ],
            "staying": [
                {"path": _text(row.path), "old": _dress(row.old), "new": _dress(row.new)} for row in self.staying
            ],
            "stages": [_text(path) for path in self.stages],
            "inodes": {os.fsdecode(path): inode for path, inode in self.inodes.items()},
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Intent:
        """Read an intent log.

        Raises:
            TargetFailure: it isn't one, or a newer ocbundle wrote it.
        """
        try:
            document: dict[str, Any] = json.loads(data)
            if document["version"] != _VERSION:
                raise TargetFailure("a newer ocbundle wrote this log", hint="finish it with that one")
            return cls(
                bundle_id=str(document["bundle_id"]),
                created=int(document["created"]),
                roots=tuple(
                    PlacedRoot(
                        root=root,
                        path=os.fsencode(path),
                        set_aside=None if aside is None else os.fsencode(aside),
                        size_aside=size,
                    )
                    for root, path, aside, size in document["roots"]
                ),
                moves=tuple(
                    Move(
                        stage=row["stage"] and Spot(*map(os.fsencode, row["stage"])),
                        final=Spot(*map(os.fsencode, row["final"])),
                        aside=row["aside"] and Spot(*map(os.fsencode, row["aside"])),
                        new=row["new"] and Identity(**row["new"]),
                        old=row["old"] and Identity(**row["old"]),
                    )
                    for row in document["moves"]
                ),
                staying=tuple(
                    Staying(path=os.fsencode(row["path"]), old=Dress(**row["old"]), new=Dress(**row["new"]))
                    for row in document["staying"]
                ),
                stages=tuple(map(os.fsencode, document["stages"])),
                inodes={os.fsencode(path): int(inode) for path, inode in document["inodes"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TargetFailure("this is no log of an unpack") from error


def _text(path: bytes | None) -> str | None:
    return None if path is None else os.fsdecode(path)


def _spot(spot: Spot | None) -> list[str] | None:
    return None if spot is None else [os.fsdecode(spot.directory), os.fsdecode(spot.name)]


def _identity(identity: Identity | None) -> dict[str, int | None] | None:
    return None if identity is None else {"inode": identity.inode, "mode": identity.mode}


def _dress(dress: Dress) -> dict[str, int]:
    return {"mode": dress.mode, "uid": dress.uid, "gid": dress.gid, "mtime_ns": dress.mtime_ns}
