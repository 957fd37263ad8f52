"""Where a user's OpenClaw state directories are, and which profile each one is.

By OpenClaw's own rules for its environment variables and directory names. Reads names only; the environment is handed
in.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle import paths
from ocbundle.errors import SourceFailure, SourceMissing
from ocbundle.openclaw import files
from ocbundle.paths import display

_PROFILE: Final = re.compile(rb"\.openclaw-([A-Za-z0-9][A-Za-z0-9_-]{0,63})")
_CONFIGS: Final = (b"openclaw.json", b"clawdbot.json")
_LEGACY: Final = (b".clawdbot", b".moltbot")
_OAUTH_KEYS: Final = b".openclaw-auth-profile-secrets"
"""Not a profile: keys of old OAuth sidecars, which discovery takes by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDirectory:
    """One OpenClaw installation's state directory."""

    path: bytes
    """Absolute, as it is named: it may be a symbolic link, or lead through one."""
    profile: str
    config: bytes | None
    """The configuration file, absolute; ``None`` if there is none."""
    selected: bool
    """Whether the environment's ``OPENCLAW_*`` variables speak of this one."""

    @property
    def real(self) -> bytes:
        """The same without symbolic links."""
        return os.path.realpath(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Something found and knowingly not taken, for the caller to show."""

    path: bytes
    detail: str
    """Why, and what to do about it."""

    def __str__(self) -> str:
        """For a person."""
        return f"not taken: {display(self.path)}: {self.detail}"


class Names:
    """Hands out names, each once: the second ``work`` is ``work~2``."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, wanted: str) -> str:
        """*wanted*, or the first of ``wanted~2``, ``wanted~3``, … that is free."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}~{count}"
        self._taken.add(name)
        return name


def variable(environ: Mapping[str, str], name: str) -> str | None:
    """The value of an environment variable as OpenClaw sees it: blank, "undefined" and "null" are unset."""
    value = environ.get(name, "").strip()
    return None if value in {"", "undefined", "null"} else value


def home(environ: Mapping[str, str]) -> bytes:
    """The home directory that OpenClaw would use.

    Raises:
        SourceMissing: the environment names none.
    """
    plain = variable(environ, "HOME") or variable(environ, "USERPROFILE")
    chosen = variable(environ, "OPENCLAW_HOME") or plain
    if chosen is None or (plain is None and chosen.startswith("~")):
        raise SourceMissing("the environment names no home directory", hint="set HOME, or OPENCLAW_HOME")
    return expand(chosen, os.fsencode(plain or ""))


def expand(path: str, home_directory: bytes) -> bytes:
    """*path*, absolute, with a leading ``~`` standing for *home_directory*."""
    encoded = os.fsencode(path)
    if encoded == b"~" or encoded.startswith(b"~/"):
        encoded = home_directory + encoded[1:]
    return files.absolute(encoded)


def find(
    environ: Mapping[str, str], home_directory: bytes, *, state_dir: str | None, names: Names
) -> tuple[list[StateDirectory], list[str], list[Left]]:
    """All state directories of this user, or just *state_dir*; warnings; and what looks like one but is none.

    Raises:
        SourceMissing: *state_dir* isn't a directory.
        SourceFailure: the system doesn't let the home be searched.
    """
    warnings: list[str] = []
    left: list[Left] = []
    candidates: list[tuple[str, bytes]] = []
    named = state_dir or variable(environ, "OPENCLAW_STATE_DIR")
    if state_dir is None:
        candidates += _usual(home_directory, left, warnings)
    selected = os.path.realpath(candidates[0][1]) if candidates and candidates[0][0] == "default" else None
    if named is not None:
        directory = expand(named, home_directory)
        selected = os.path.realpath(directory)
        if os.path.isdir(directory):
            candidates.append((_name_of(directory, home_directory), directory))
        elif state_dir is not None:
            raise SourceMissing("the state directory isn't there", path=display(directory))
        else:
            warnings.append(f"OPENCLAW_STATE_DIR names {display(directory)}, which isn't there")
    found: list[StateDirectory] = []
    seen: set[bytes] = set()
    for name, path in candidates:
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        config = _config(path, environ, home_directory, selected=real == selected)
        found.append(StateDirectory(path=path, profile=names.unique(name), config=config, selected=real == selected))
        left += _captures(path)
    return found, warnings, left


def choose(
    found: Collection[StateDirectory], profiles: Collection[str] | None, home_directory: bytes
) -> list[StateDirectory]:
    """Those of *found* that are asked for.

    Raises:
        SourceMissing: there is none, or one that is asked for isn't among them.
    """
    if not found:
        raise SourceMissing(
            "no OpenClaw state found",
            hint=f"looked for .openclaw, .clawdbot and .openclaw-PROFILE in {display(home_directory)}, "
            "and for what OPENCLAW_STATE_DIR names; name a state directory to pack another",
        )
    if profiles is None:
        return list(found)
    there = {state.profile: state for state in found}
    for name in profiles:
        if name not in there:
            raise SourceMissing(
                f"no profile {display(name)}", hint=f"found: {', '.join(display(profile) for profile in there)}"
            )
    return [state for state in found if state.profile in profiles]


def _usual(home_directory: bytes, left: list[Left], warnings: list[str]) -> Iterator[tuple[str, bytes]]:
    """The state directories with names that OpenClaw looks for: the default one first."""
    current = os.path.join(home_directory, b".openclaw")
    has_current = _is_directory(current)
    if has_current:
        yield "default", current
    for name in _LEGACY:
        legacy = os.path.join(home_directory, name)
        if not _is_directory(legacy) or os.path.realpath(legacy) == os.path.realpath(current):
            continue
        if name == b".clawdbot" and not has_current:
            yield "default", legacy
        else:
            left.append(Left(path=legacy, detail="OpenClaw no longer reads it; name it to pack it"))
    for name in _names(home_directory, warnings):
        path = os.path.join(home_directory, name)
        if not name.startswith(b".openclaw-") or name == _OAUTH_KEYS or not _is_directory(path):
            continue
        match = _PROFILE.fullmatch(name)
        if match is None or match[1] == b"default":
            if not name.endswith(b".update-captures"):
                left.append(Left(path=path, detail="not a profile's name; name it to pack it"))
        elif _looks_like_state(path):
            yield match[1].decode(), path
        else:
            left.append(Left(path=path, detail="neither a configuration nor a state directory in it"))


def _names(home_directory: bytes, warnings: list[str]) -> list[bytes]:
    """What is in the home. A profile that can't be seen must not be missed in silence."""
    try:
        return sorted(os.listdir(home_directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        warnings.append(f"{display(home_directory)} can't be listed: there may be profiles that aren't found")
        return []
    except OSError as error:
        raise _unseen(home_directory, error) from error


def _is_directory(path: bytes) -> bool:
    """Whether there is a directory. Only what isn't there, or isn't for this user, counts as none."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise _unseen(path, error) from error


def _unseen(path: bytes, error: OSError) -> SourceFailure:
    reason = (error.strerror or str(error)).lower()
    return SourceFailure(f"can't look for OpenClaw's state: {reason}", path=display(path))


def _looks_like_state(path: bytes) -> bool:
    return os.path.isdir(os.path.join(path, b"state")) or any(
        os.path.lexists(os.path.join(path, name)) for name in _CONFIGS
    )


def _name_of(directory: bytes, home_directory: bytes) -> str:
    """The profile's name for a directory that was named: OpenClaw's own where it has one, else from its base name."""
    parent, base = os.path.split(directory)
    if os.path.realpath(parent) == os.path.realpath(home_directory):
        if base in {b".openclaw", b".clawdbot"}:
            return "default"
        match = _PROFILE.fullmatch(base)
        if match and match[1] != b"default":
            return match[1].decode()
    return paths.root_name(base.removeprefix(b"."))


def _config(path: bytes, environ: Mapping[str, str], home_directory: bytes, *, selected: bool) -> bytes | None:
    named = variable(environ, "OPENCLAW_CONFIG_PATH") if selected else None
    if named is not None:
        return expand(named, home_directory)  # reading it tells when it isn't there
    there = (os.path.join(path, name) for name in _CONFIGS)
    return next((candidate for candidate in there if os.path.lexists(candidate)), None)


def _captures(path: bytes) -> Iterator[Left]:
    captures = path + b".update-captures"
    if os.path.isdir(captures):
        yield Left(path=captures, detail="private captures of an update, which OpenClaw forbids exporting")
