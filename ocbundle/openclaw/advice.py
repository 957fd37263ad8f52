"""What to do after a move: the next commands, and what no bundle can carry.

Pure: it reads the manifest and what is known of this machine, and writes sentences.
"""

from __future__ import annotations

import shlex
from typing import Final

from ocbundle.errors import InstalledTooOld
from ocbundle.model import Manifest, Profile
from ocbundle.openclaw import needs
from ocbundle.openclaw.installed import Installed, ordered, release
from ocbundle.openclaw.placement import Placement
from ocbundle.paths import display

_DAY_S: Final = 86_400
_RATCHETING: Final = frozenset({"whatsapp", "signal", "matrix"})
"""Channels whose keys change with each message: an old copy is out of step, and two live copies break both."""
_CURRENT_ERA: Final = "C"


def check_version(manifest: Manifest, placement: Placement, installed: Installed | None) -> None:
    """Refuse to hand a state to an OpenClaw that is older: it can't read it, and says so only when it is too late.

    Raises:
        InstalledTooOld: it is; nothing has been written.
    """
    if installed is None:
        return
    for profile in _restored(manifest, placement):
        newest = max((number for path, number in profile.schemas.items() if path.startswith("state/")), default=0)
        known = installed.schemas.get("state")
        too_new = known is not None and newest > known
        if too_new or (profile.version and ordered(profile.version) > ordered(installed.version)):
            raise InstalledTooOld(
                f"profile {display(profile.name)} is of OpenClaw {display(profile.version or 'unknown')}, and "
                f"{display(installed.version)} is installed here, which can't read it",
                path=display(installed.path),
                hint=f"install it first: npm install -g openclaw@{release(profile.version)}",
            )


def next_steps(manifest: Manifest, placement: Placement, installed: Installed | None, *, now: int) -> tuple[str, ...]:
    """What to do now, in order, each in a line; commands stand behind ``$``."""
    steps = []
    profiles = _restored(manifest, placement)
    if installed is None and profiles:
        profile = next((profile for profile in profiles if profile.version), profiles[0])
        steps.append(f"install OpenClaw: $ npm install -g openclaw@{release(profile.version)}")
    for profile in profiles:
        steps += _commands(profile, placement.profiles[profile.name], installed)
    for profile in profiles:
        steps += _by_hand(profile, installed, age_s=max(0, now - manifest.created))
    if any(profile.mode != "remote" for profile in profiles):
        steps.append(
            f"don't start the old gateway on {display(manifest.source.host or 'the old machine')} again: there, "
            "$ openclaw gateway stop; openclaw gateway uninstall"
        )
    kinds = sorted({kind for profile in profiles for kind in profile.secrets})
    if kinds:
        steps.append(f"if the bundle or its key may have leaked, change: {', '.join(map(display, kinds))}")
    return tuple(steps)


def _restored(manifest: Manifest, placement: Placement) -> list[Profile]:
    return [profile for profile in manifest.profiles if profile.name in placement.profiles]


def _commands(profile: Profile, name: str, installed: Installed | None) -> list[str]:
    program = "openclaw" if name == "default" else f"openclaw --profile {shlex.quote(name)}"
    is_older = installed is not None and ordered(profile.version or "0") < ordered(installed.version)
    migrates = (profile.era or _CURRENT_ERA) != _CURRENT_ERA or is_older
    return [
        f"$ {program} doctor{' --fix' if migrates else ''}",
        f"$ {program} gateway install",
        f"$ {program} gateway restart",
        f"$ {program} status",
    ]


def _name(plugin: str) -> str:
    """The plugin's name in what installs it: ``whatsapp`` of ``npm:@openclaw/whatsapp@2026.9.6``."""
    return plugin.rpartition("/")[2].rpartition(":")[2].partition("@")[0]


def _by_hand(profile: Profile, installed: Installed | None, *, age_s: int) -> list[str]:
    steps = []
    brought = installed.plugins if installed else frozenset()
    missing = [plugin for plugin in sorted(set(profile.plugins)) if _name(plugin) not in brought]
    if missing:
        steps.append(f"install again, for profile {display(profile.name)}: plugins {', '.join(map(display, missing))}")
    if profile.needs:
        steps.append(needs.told(profile))
    ratcheting = sorted(_RATCHETING & set(profile.channels))
    if ratcheting:
        days = age_s // _DAY_S
        age = "less than a day" if days == 0 else f"{days} day{'' if days == 1 else 's'}"
        steps.append(
            f"{', '.join(ratcheting)} may ask to be linked again: the bundle is {age} old, and these logins move on"
        )
    return steps
