"""Where each root of a bundle belongs on this machine.

Pure: it reads the manifest, and touches nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle.errors import EntryMissing, InvalidRequest
from ocbundle.model import Manifest, Role, Root
from ocbundle.paths import display

_PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""OpenClaw's rule for the name of a profile."""
_USUAL_STATE: Final = re.compile(rb"\.openclaw(?:-[A-Za-z0-9][A-Za-z0-9_-]{0,63})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the roots go."""

    destinations: Mapping[str, bytes]
    """Absolute path by root name."""
    profiles: Mapping[str, str]
    """New name by old name, of the profiles that are restored."""


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
    goes back to the path that it was taken from.

    Args:
        manifest: The bundle's.
        home: The home directory of the user who will run the gateway.
        maps: New by old prefix, both absolute.
        profiles: Restore only these; all if it's empty.
        renames: New name by old name; a renamed profile is a chosen one.

    Raises:
        EntryMissing: a profile isn't in the bundle.
        InvalidRequest: a name or a path isn't one, or two roots would have one place.
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
    destinations: dict[str, bytes] = {}
    for root in manifest.roots:
        if root.profile is not None and root.profile not in chosen:
            continue
        destination = _destination(root, prefixes, home, renames)
        if destination in destinations.values():
            raise InvalidRequest(f"two roots would go to {display(destination)}", hint="map one of them elsewhere")
        destinations[root.name] = destination
    return Placement(
        destinations=destinations,
        profiles={name: renames.get(name, name) for name in sorted(chosen)},
    )


def _prefixes(manifest: Manifest, home: bytes, maps: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    for path in (home, *maps.keys(), *maps.values()):
        if not path.startswith(b"/") or os.path.normpath(path) == b"/":
            raise InvalidRequest(f"{display(path)} isn't the absolute path of a directory below the root")
    prefixes = {os.path.normpath(old): os.path.normpath(new) for old, new in maps.items()}
    old_home = os.path.normpath(manifest.source.home) if manifest.source.home else b""
    if old_home not in {b"", b"/", b"."}:
        prefixes.setdefault(old_home, os.path.normpath(home))
    return sorted(prefixes.items(), key=lambda item: -len(item[0]))


def _destination(root: Root, prefixes: list[tuple[bytes, bytes]], home: bytes, renames: Mapping[str, str]) -> bytes:
    if root.role is Role.STATE and root.profile is not None and root.profile in renames:
        new = renames[root.profile]
        if not _USUAL_STATE.fullmatch(os.path.basename(root.source)):
            raise InvalidRequest(
                f"the state of profile {display(root.profile)} was in {display(root.source)}, which no name decides",
                hint="say where it goes with --map OLD=NEW",
            )
        return os.path.join(os.path.normpath(home), b".openclaw" + (b"" if new == "default" else b"-" + new.encode()))
    for old, new_prefix in prefixes:
        if root.source == old or root.source.startswith(old + b"/"):
            return new_prefix + root.source[len(old) :]
    return root.source
