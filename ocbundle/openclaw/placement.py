"""Where each root of a bundle belongs on this machine.

Whoever knows a recipient can make a bundle, and its manifest says where everything was: in ``~/.ssh``, it may say, or
in ``/etc``. So a root goes by itself only below the home, and only where no other program takes its orders from.
Everywhere else the user has to name the place. Pure: it reads the manifest, and touches nothing.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle.errors import EntryMissing, InvalidRequest
from ocbundle.model import Manifest, Role, Root
from ocbundle.openclaw import files
from ocbundle.paths import display

_PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""OpenClaw's rule for the name of a profile."""
_USUAL_STATE: Final = re.compile(rb"\.openclaw(?:-[A-Za-z0-9][A-Za-z0-9_-]{0,63})?")
_OWN: Final = re.compile(rb"\.(?:openclaw(?:-[^/]*)?|clawdbot|moltbot|agents|config/openclaw)(?:/|$)", re.DOTALL)
"""What OpenClaw has in a home under hidden names."""
_MAX_ROOTS: Final = 128
"""Each is compared with every other, and a few kilobytes can name thousands. A gateway has a few dozen."""
_MAX_DEPTH: Final = 32
"""Directories from the root of the file system down to a root's place: each that is missing is made, for each root."""
_OBEYED: Final = frozenset({b"bin", b"library"})
"""Names that aren't hidden in a home, of directories whose content is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the roots go."""

    destinations: Mapping[str, bytes]
    """Absolute path by root name."""
    profiles: Mapping[str, str]
    """New name by old name, of the profiles that are restored."""
    named: frozenset[str] = frozenset()
    """The roots whose own places the user named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where one root goes."""

    path: bytes
    is_named: bool = False
    """A map is about this root alone."""
    is_expected: bool = True


def place(
    manifest: Manifest,
    *,
    home: bytes,
    maps: Mapping[bytes, bytes] | None = None,
    profiles: Collection[str] = (),
    renames: Mapping[str, str] | None = None,
) -> Placement:
    """Decide where each root goes.

    What *maps* says goes first: the longest old prefix that fits. What was in the old home goes to *home*. The rest
    would go back to the path that it was taken from, and has to be mapped there.

    Args:
        manifest: The bundle's.
        home: The home directory of the user who will run the gateway.
        maps: New by old prefix, both absolute.
        profiles: Restore only these; all if it's empty.
        renames: New name by old name; a renamed profile is a chosen one.

    Raises:
        EntryMissing: a profile isn't in the bundle.
        InvalidRequest: a name or a path isn't one, or two roots would have one place, or one would go where only a
            user may send it or too deep, or they are too many.
    """
    renames = renames or {}
    known = {profile.name for profile in manifest.profiles} | {root.profile for root in manifest.roots}
    chosen = {*profiles, *renames} or {name for name in known if name is not None}
    for name in sorted(chosen):
        if name not in known:
            there = ", ".join(sorted(display(each) for each in known if each)) or "none"
            raise EntryMissing(f"the bundle holds no profile {display(name)}", hint=f"it holds {there}")
    for name in renames.values():
        if not _PROFILE_NAME.fullmatch(name):
            raise InvalidRequest(f"{display(name)} can't be the name of a profile")
    prefixes = _prefixes(manifest, home, maps or {})
    wanted = [root for root in manifest.roots if root.profile is None or root.profile in chosen]
    if len(wanted) > _MAX_ROOTS:
        raise InvalidRequest(
            f"{len(wanted)} roots would each go to a place of its own, and {_MAX_ROOTS} at most can",
            hint="take one profile at a time with --profile NAME, or lay it out for looking at with --to DIR",
        )
    spots: dict[str, _Spot] = {}
    for root in wanted:
        spot = _spot(root, prefixes, home, renames)
        depth = spot.path.count(b"/")
        if depth > _MAX_DEPTH:
            raise InvalidRequest(
                f"{display(root.name)} would go {depth} directories deep, and {_MAX_DEPTH} at most can be",
                hint="map it elsewhere with --map OLD=NEW, or lay it out for looking at with --to DIR",
            )
        if any(spot.path == other.path for other in spots.values()):
            raise InvalidRequest(f"two roots would go to {display(spot.path)}", hint="map one of them elsewhere")
        spots[root.name] = spot
    _demand_expected(manifest, spots, home)
    return Placement(
        destinations={name: spot.path for name, spot in spots.items()},
        profiles={name: renames.get(name, name) for name in sorted(chosen)},
        named=frozenset(name for name, spot in spots.items() if spot.is_named),
    )


def _demand_expected(manifest: Manifest, spots: Mapping[str, _Spot], home: bytes) -> None:
    sources = {root.name: root.source for root in manifest.roots}
    odd = {name: spot.path for name, spot in spots.items() if not spot.is_expected}
    if odd:
        where = ", ".join(f"{display(name)} to {display(path)}" for name, path in odd.items())
        maps = " ".join(f"--map {_quoted(sources[name] + b'=' + path)}" for name, path in odd.items())
        raise InvalidRequest(
            f"only you can send a root there: {where}",
            path=display(next(iter(odd.values()))),
            hint=f"without being told, nothing goes outside of {display(home)}, or to its hidden directories; if that "
            f"is where it belongs: {maps}",
        )


def _quoted(argument: bytes) -> str:
    return shlex.quote(display(argument))


def _prefixes(manifest: Manifest, home: bytes, maps: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    for path in (home, *maps.keys(), *maps.values()):
        if not path.startswith(b"/") or os.path.normpath(path) == b"/":
            raise InvalidRequest(f"{display(path)} isn't the absolute path of a directory below the root")
    prefixes = {os.path.normpath(old): os.path.normpath(new) for old, new in maps.items()}
    old_home = manifest.source.home
    if old_home != b"/" and _is_plain(old_home):
        prefixes.setdefault(old_home, os.path.normpath(home))
    return sorted(prefixes.items(), key=lambda item: -len(item[0]))


def _is_plain(path: bytes) -> bool:
    """Whether *path* is absolute, and says where it is without a detour."""
    return path.startswith(b"/") and b"\0" not in path and os.path.normpath(path) == path


def _spot(root: Root, prefixes: list[tuple[bytes, bytes]], home: bytes, renames: Mapping[str, str]) -> _Spot:
    source, home = root.source, os.path.normpath(home)
    if not _is_plain(source):
        raise InvalidRequest(
            f"the bundle says that {display(root.name)} was at {display(source)}, which is no place",
            hint="lay it out for looking at with --to DIR",
        )
    if root.role is Role.STATE and root.profile is not None and root.profile in renames:
        new = renames[root.profile]
        if not _USUAL_STATE.fullmatch(os.path.basename(source)):
            raise InvalidRequest(
                f"the state of profile {display(root.profile)} was in {display(source)}, which no name decides",
                hint="say where it goes with --map OLD=NEW",
            )
        return _Spot(path=os.path.join(home, b".openclaw" + (b"" if new == "default" else b"-" + new.encode())))
    for old, new_prefix in prefixes:
        inside = files.inside(source, old)
        if inside == b"":
            # The old home itself is no root that anybody would pack.
            is_home = new_prefix == home
            return _Spot(path=new_prefix, is_named=not is_home, is_expected=not is_home)
        if inside is not None:
            return _Spot(path=new_prefix + b"/" + inside, is_expected=_is_expected(inside))
    return _Spot(path=source, is_expected=False)


def _is_expected(inside: bytes) -> bool:
    """Whether a root belongs there by itself: what is hidden in a home tells shells and sessions what to do."""
    if _OWN.match(inside):
        return True
    return inside.split(b"/")[0].lower() not in _OBEYED and not re.search(rb"(?:^|/)\.", inside)
