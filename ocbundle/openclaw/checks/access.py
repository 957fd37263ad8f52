"""Who owns a state, who can read it, and what killed programs left in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from ocbundle import publish
from ocbundle.openclaw import files, gateway
from ocbundle.openclaw.findings import AGENT_DATABASE, STATE_DATABASE, Finding, Severity, Subject, shell
from ocbundle.paths import display

_CONFIGS: Final = (b"openclaw.json", b"clawdbot.json")
_SECRETS: Final = (
    b".env", b"secrets.json", b"gateway.token", b"gateway.password", b"config-journal-fingerprint.key",
    b"identity/device.json", b"identity/device-auth.json", b"devices/paired.json",
)  # fmt: skip
_PARTS: Final = (b"", b"-wal", b"-shm", b"-journal")
_PASSING: Final = frozenset({b"tmp", b"plugin-skills"})
"""Directories of a state that OpenClaw makes anew: whose they are doesn't matter."""


def owners(subject: Subject) -> Iterator[Finding]:
    """Files that the gateway's user doesn't own, or can't read."""
    foreign, locked = _walk(subject.state.path, subject.owner)
    workspaces = [agent.workspace for agent in subject.config.agents if agent.workspace]
    for path in dict.fromkeys(workspaces):
        status = _status(path)
        is_own = files.inside(path, subject.home) is not None and files.inside(path, subject.state.path) is None
        if status is not None and status.st_uid != subject.owner and is_own:
            foreign.append(path)
    if foreign:
        tops = _tops(foreign, subject.state.path)
        yield Finding(
            what=f"{_some(foreign)} in profile {subject.shown} belong to another user than the gateway's "
            f"({subject.owner})",
            why="the gateway can't read them, or can't write what it must: it reports a damaged state, or stays silent",
            command=shell(b"sudo", b"chown", b"-R", b"%d:" % subject.owner, b"--", *tops),
            severity=Severity.ERROR,
            path=foreign[0],
        )
    if locked:
        yield Finding(
            what=f"{_some(locked)} in profile {subject.shown} can't be read by their own user",
            why="the gateway can't read them either",
            command=shell(b"chmod", b"u+rwX", b"--", *locked[:_SHOWN]),
            severity=Severity.ERROR,
            path=locked[0],
        )


_SHOWN: Final = 20


def _walk(top: bytes, owner: int) -> tuple[list[bytes], list[bytes]]:
    """Paths at or below *top* that aren't *owner*'s, and those that their owner can't read."""
    foreign: list[bytes] = []
    locked: list[bytes] = []
    stack = [top]
    while stack:
        path = stack.pop()
        status = _status(path, follow=path == top)
        if status is None:
            continue
        is_directory = stat.S_ISDIR(status.st_mode)
        wanted = 0o500 if is_directory else 0o400
        if status.st_uid != owner:
            foreign.append(path)
        elif status.st_mode & wanted != wanted and (is_directory or stat.S_ISREG(status.st_mode)):
            locked.append(path)
        if is_directory:
            stack += [os.path.join(path, name) for name in files.names(path) if path != top or name not in _PASSING]
    return sorted(foreign), sorted(locked)


def _tops(paths: list[bytes], state: bytes) -> list[bytes]:
    """Few directories that hold all of *paths*."""
    inside = [path for path in paths if files.inside(path, state) is not None]
    return [*([state] if len(inside) > 1 else inside), *(path for path in paths if path not in inside)]


def _some(paths: list[bytes]) -> str:
    return display(paths[0]) if len(paths) == 1 else f"{len(paths):,} paths ({display(paths[0])} is one)"


def modes(subject: Subject) -> Iterator[Finding]:
    """What others on this machine can read, though it's secret."""
    groups = (
        ("the state directory", [subject.state.path], ()),
        ("the configuration and secrets", [*_configs(subject), *(subject.path(name) for name in _SECRETS)], ()),
        ("credentials", _below(subject.path(b"credentials")), (b"-R",)),
        ("databases and logins", _databases(subject), ()),
    )
    for what, paths, options in groups:
        open_ = [path for path in dict.fromkeys(paths) if (found := _status(path)) and found.st_mode & 0o077]
        if open_:
            mended = [subject.path(b"credentials")] if options else open_
            yield Finding(
                what=f"others can read or change {what} of profile {subject.shown}: {_some(open_)}",
                why="keys, logins and conversations are in there, in clear",
                command=shell(b"chmod", *options, b"go=", b"--", *mended),
                severity=Severity.WARNING,
                path=open_[0],
            )


def _configs(subject: Subject) -> list[bytes]:
    copies = (name for name in files.names(subject.state.path) if name.startswith(tuple(c + b"." for c in _CONFIGS)))
    return [*subject.config.files, *(subject.path(name) for name in copies)]


def _below(top: bytes) -> list[bytes]:
    found = [top]
    for directory, directories, names in os.walk(top):
        found += [os.path.join(directory, name) for name in sorted((*directories, *names))]
    return [path for path in found if not os.path.islink(path)]


def _databases(subject: Subject) -> list[bytes]:
    found = [subject.path(STATE_DATABASE + part) for part in _PARTS]
    for directory in agent_directories(subject):
        found += [os.path.join(directory, AGENT_DATABASE + part) for part in _PARTS]
        found.append(os.path.join(directory, b"auth-profiles.json"))
    return found


def agent_directories(subject: Subject) -> list[bytes]:
    """Where agents keep their own state: in the usual places, and where the configuration says."""
    names = files.directories(subject.path(b"agents"))
    usual = [subject.path(b"agents", name, b"agent") for name in names]
    return list(dict.fromkeys([*usual, *(agent.directory for agent in subject.config.agents if agent.directory)]))


def leftovers(subject: Subject, host: str) -> Iterator[Finding]:
    """What programs that were killed, or another host, left in the state."""
    locks = gateway.stale_locks(subject.state.path)
    if locks:
        yield Finding(
            what=f"a lock of profile {subject.shown} names a process that is gone",
            why="a gateway was killed, or the lock came along from another machine",
            command=shell(b"rm", b"--", *locks),
            severity=Severity.NOTE,
            path=locks[0],
        )
    for name in files.directories(subject.path(b"browser")):
        profile = subject.path(b"browser", name, b"user-data")
        lock = os.path.join(profile, b"SingletonLock")
        try:
            holder = os.readlink(lock).rpartition(b"-")[0]
        except OSError:
            continue
        if holder != host.encode():
            links = [os.path.join(profile, b"Singleton" + end) for end in (b"Lock", b"Cookie", b"Socket")]
            yield Finding(
                what=f"a browser of profile {subject.shown} is locked by another host, {display(holder)}",
                why="the browser refuses to start while the lock is there",
                command=shell(b"rm", b"-f", b"--", *links),
                severity=Severity.WARNING,
                path=lock,
            )


def set_aside(places: list[bytes]) -> Iterator[Finding]:
    """Old states that were kept when others took their place, and what killed runs left beside them."""
    for place in places:
        for name in files.names(place):
            if name.startswith(b".openclaw.") and name.endswith(b".replaced"):
                path = os.path.join(place, name)
                yield Finding(
                    what=f"an old state is kept at {display(path)}",
                    why="it holds secrets in clear; once the new one works, nobody needs it",
                    command=shell(b"rm", b"-r", b"--", path),
                    severity=Severity.NOTE,
                    path=path,
                )
        for path in publish.leftovers(place):
            yield Finding(
                what=f"{display(path)} was left behind by a run that was killed",
                why="it may hold secrets in clear",
                command=shell(b"rm", b"-r", b"--", path),
                severity=Severity.NOTE,
                path=path,
            )


def _status(path: bytes, *, follow: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
