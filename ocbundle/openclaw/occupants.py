"""What stands where roots go: which of it a gateway may be working on, and whether a root may replace it.

It trusts no manifest's word for what a root is, and reads names only. Leave to replace a gateway isn't leave to replace
whatever a manifest calls one: that is kept beside, but a home whose documents are gone from their place is a harm all
the same.
"""

from __future__ import annotations

import os
import shlex
from typing import Final

from ocbundle.errors import TargetExists
from ocbundle.model import Manifest, Role
from ocbundle.openclaw import files
from ocbundle.openclaw.placement import Placement
from ocbundle.paths import display

_SIGNS: Final = {
    Role.STATE: frozenset({b"openclaw.json", b"clawdbot.json", b"state", b"agents"}),
    Role.WORKSPACE: frozenset(
        {
            b"AGENTS.md",
            b"BOOTSTRAP.md",
            b"HEARTBEAT.md",
            b"IDENTITY.md",
            b"MEMORY.md",
            b"SOUL.md",
            b"TOOLS.md",
            b"USER.md",
        }
    ),
    Role.SKILL: frozenset({b"SKILL.md"}),
}
"""Names by which a directory is known for what it is: OpenClaw makes at least one of each."""
_NOTHING: Final = frozenset({b"lost+found"})


def states(manifest: Manifest, where: Placement, home: bytes) -> list[tuple[str, bytes, bytes]]:
    """The directories that may be a gateway's state: name of the profile, path, and path of the configuration.

    Each place is one, whatever the manifest calls its root; so is the directory of the home that it is in.
    """
    profiles = {root.name: root.profile or root.name for root in manifest.roots}
    found = {}
    for root, path in where.destinations.items():
        found[path] = profiles[root]
        inside = files.inside(path, home)
        if inside:
            found.setdefault(os.path.join(home, inside.split(b"/")[0]), profiles[root])
    return [(profile, path, os.path.join(path, b"openclaw.json")) for path, profile in found.items()]


def check(manifest: Manifest, where: Placement) -> None:
    """Refuse to replace a directory that doesn't look like the root which would take its place, unless it was named.

    Raises:
        TargetExists: there is one; nothing has been written.
    """
    strangers = [
        (root.source, path)
        for root in manifest.roots
        if (path := where.destinations.get(root.name)) is not None
        and root.name not in where.named
        and _is_strange(path, root.role)
    ]
    if strangers:
        shown = ", ".join(display(path) for _, path in strangers)
        maps = " ".join(f"--map {shlex.quote(display(old + b'=' + path))}" for old, path in strangers)
        raise TargetExists(
            f"what is there doesn't look like what would replace it: {shown}",
            path=display(strangers[0][1]),
            hint=f"move it away; or, if it is to be replaced, and kept beside: {maps}",
        )


def _is_strange(path: bytes, role: Role) -> bool:
    if not os.path.isdir(path):
        return False
    there = set(files.names(path)) - _NOTHING
    return bool(there) and not there & _SIGNS.get(role, frozenset())
