"""What a reader may want to know of an installation before restoring it: the profile in a bundle's manifest.

By names of files and keys of the configuration, and by the headers of databases. Never a secret's value; nothing is
written, and no database is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ocbundle.model import Profile, Workspace
from ocbundle.openclaw import files
from ocbundle.openclaw.config import Config, find
from ocbundle.openclaw.states import StateDirectory

_STATE_DATABASE: Final = "state/openclaw.sqlite"
_AGENT_DATABASE: Final = b"openclaw-agent.sqlite"

_SECRET_FILES: Final = (
    (".env", "env file"),
    ("secrets.json", "secret store"),
    ("secrets", "secret store"),
    ("gateway.token", "gateway token"),
    ("gateway.password", "gateway password"),
    ("identity/device.json", "device identity"),
    ("devices/paired.json", "paired devices"),
    ("credentials/oauth.json", "provider logins"),
    ("browser", "browser profile"),
    ("matrix", "channel logins"),
)
_SECRET_KEYS: Final = (
    (("gateway", "auth", "token"), "gateway token"),
    (("gateway", "auth", "password"), "gateway password"),
    (("gateway", "remote", "token"), "gateway token"),
    (("gateway", "remote", "password"), "gateway password"),
    (("models", "providers", "*", "apiKey"), "provider keys"),
    (("env", "*"), "provider keys"),
    (("auth", "profiles", "*"), "auth profiles"),
    (("hooks", "token"), "hook token"),
    (("channels", "*", "token"), "channel tokens"),
    (("channels", "*", "botToken"), "channel tokens"),
    (("channels", "*", "appToken"), "channel tokens"),
    (("channels", "*", "accounts", "*", "token"), "channel tokens"),
    (("channels", "*", "accounts", "*", "botToken"), "channel tokens"),
)
_IN_STATE_DATABASE: Final = ("auth profiles", "device identity", "paired devices", "secret store")
"""What the state database of the SQLite era holds."""


def profile(state: StateDirectory, config: Config, workspaces: Sequence[Workspace]) -> Profile:
    """Describe *state*; its root has the profile's name."""
    directories = _agent_directories(state.path, config)
    schemas = dict(_schemas(state.path, directories))
    era = _era(state, config, schemas)
    return Profile(
        name=state.profile,
        state=state.profile,
        config=config.path,
        workspaces=tuple(workspaces),
        mode=config.mode,
        port=config.port,
        version=config.version,
        era=era,
        schemas=schemas,
        agents=tuple(sorted(directories)),
        channels=tuple(sorted({*config.channels, *_logged_in(state.path)})),
        plugins=tuple(sorted({*config.plugins, *_texts(files.directories(state.path + b"/extensions"))})),
        secrets=tuple(sorted(set(_secrets(state.path, config, directories, era)))),
    )


def _agent_directories(state: bytes, config: Config) -> dict[str, bytes]:
    """Each agent's directory: of those in the configuration, and of those that only have left a directory."""
    on_disk = dict.fromkeys(_texts(files.directories(state + b"/agents")))
    # OpenClaw falls back to the usual place too when the named one is gone.
    named = {a.id: a.directory if a.directory and os.path.isdir(a.directory) else None for a in config.agents}
    usual = {name: os.path.join(state, b"agents", os.fsencode(name), b"agent") for name in {**on_disk, **named}}
    return {name: named.get(name) or path for name, path in usual.items()}


def _schemas(state: bytes, directories: Mapping[str, bytes]) -> Iterator[tuple[str, int]]:
    databases = [os.path.join(state, _STATE_DATABASE.encode())]
    databases += [os.path.join(directory, _AGENT_DATABASE) for _, directory in sorted(directories.items())]
    for database in databases:
        inside = files.inside(database, state)
        version = files.schema_version(database) if inside is not None else None
        if version is not None:
            yield os.fsdecode(inside or b""), version


def _era(state: StateDirectory, config: Config, schemas: Mapping[str, int]) -> str | None:
    """The storage era: by the state database's schema; where that doesn't tell, by the shape of the configuration."""
    schema = schemas.get(_STATE_DATABASE)
    if schema is not None and schema > 0:
        return "B" if schema == 1 else "C"
    if config.entries:
        return "C"
    if schema is not None:  # its schema is still in the WAL
        return "B"
    return "A" if state.config is not None or files.names(state.path + b"/agents") else None


def _logged_in(state: bytes) -> tuple[str, ...]:
    return _texts(files.directories(state + b"/credentials"))


def _secrets(state: bytes, config: Config, directories: Mapping[str, bytes], era: str | None) -> Iterator[str]:
    for name, kind in _SECRET_FILES:
        if os.path.exists(os.path.join(state, name.encode())):
            yield kind
    for pattern, kind in _SECRET_KEYS:
        if any(value not in (None, "") for value in find(config.tree, pattern)):
            yield kind
    if _logged_in(state):
        yield "channel logins"
    if any(os.path.exists(os.path.join(path, b"auth-profiles.json")) for path in directories.values()):
        yield "auth profiles"
    if era == "C" and os.path.exists(os.path.join(state, _STATE_DATABASE.encode())):
        yield from _IN_STATE_DATABASE


def _texts(names: Sequence[bytes]) -> tuple[str, ...]:
    """*names* as text; one that isn't UTF-8 names no agent, channel or plugin of OpenClaw's."""
    return tuple(name.decode() for name in names if _is_text(name))


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return not name.startswith(b".")
