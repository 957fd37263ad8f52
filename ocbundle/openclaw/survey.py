"""What a reader may want to know of an installation before restoring it: the profile in a bundle's manifest.

By names of files and keys of the configuration, by the headers of databases, and by what private copies of them hold.
Never a secret's value. Which secrets are inside is never told as fewer than there are: where that can't be told, each
kind that may be there counts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ocbundle.model import Profile, Workspace
from ocbundle.openclaw import config as configuration
from ocbundle.openclaw import files, holdings, needs
from ocbundle.openclaw.config import Config
from ocbundle.openclaw.holdings import Holdings
from ocbundle.openclaw.needs import References
from ocbundle.openclaw.services import Service
from ocbundle.openclaw.states import StateDirectory
from ocbundle.paths import display

_STATE_DATABASE: Final = "state/openclaw.sqlite"
_AGENT_DATABASE: Final = b"openclaw-agent.sqlite"
_AUTH_FILE: Final = b"auth-profiles.json"
_MAX_AUTH_BYTES: Final = 4 << 20

_SECRET_PLACES: Final = (
    (".env", "env file"),
    ("gateway.systemd.env", "env file"),
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
"""Files, and directories with something in them."""
_SECRET_KEY: Final = re.compile(
    r"(?:.*[a-z0-9_-])?(?:api_?key|private_?key|access_?key|signing_?key|token|secret|password|passphrase|authorization)",
    re.IGNORECASE | re.DOTALL,
)
"""Keys of the configuration whose strings are secrets."""
_SECRET_SECTIONS: Final = {"channels": "channel tokens", "hooks": "hook token", "gateway": "gateway token"}
"""Their kinds, by section; ``provider keys`` elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a survey has to know beside the installation itself."""

    takes: Callable[[bytes], bool]
    """Whether an absolute path goes into the bundle."""
    scratch: str | None
    """A private directory for copies of databases; without one none is looked into."""
    everything: bool
    """Whether installed plugins go into the bundle too."""
    env_files: tuple[bytes, ...]
    """Files with variables that OpenClaw reads by itself."""
    units: tuple[Service, ...]
    """The services that start this installation's gateway."""
    beside: tuple[str, ...] = ()
    """Kinds of secret in files that it shares with others."""


def profile(
    state: StateDirectory, config: Config, workspaces: Sequence[Workspace], around: Surroundings
) -> tuple[Profile, tuple[str, ...]]:
    """Describe *state*, whose root has the profile's name; and say what couldn't be looked into."""
    directories = _agent_directories(state.path, config)
    schemas = dict(_schemas(state.path, directories))
    stored = _read(os.path.join(state.path, _STATE_DATABASE.encode()), around, holdings.STATE_LIMIT)
    held = [stored]
    for directory in directories.values():
        held.append(_read(os.path.join(directory, _AGENT_DATABASE), around, holdings.AGENT_LIMIT))
        held.append(_read_auth_file(os.path.join(directory, _AUTH_FILE), around))
    referred = References()
    for each in held:
        referred |= each.references
    kinds = {kind for each in held for kind in each.secrets} | {*_secrets(state.path, config, around)}
    warnings = []
    if stored.problem is not None:
        warnings.append(
            f"the state database of profile {display(state.profile)} couldn't be looked into ({stored.problem}): "
            "which plugins to install again isn't known"
        )
    described = Profile(
        name=state.profile,
        state=state.profile,
        config=config.path,
        workspaces=tuple(workspaces),
        mode=config.mode,
        port=config.port,
        version=config.version,
        era=_era(state, config, schemas),
        schemas=schemas,
        agents=tuple(sorted(directories)),
        channels=tuple(sorted({*config.channels, *_logged_in(state.path)})),
        plugins=() if around.everything else tuple(sorted(_plugins(state.path, config, stored))),
        secrets=tuple(sorted(kinds)),
        needs=needs.find(config, referred, env_files=around.env_files, units=around.units, is_packed=around.takes),
    )
    return described, tuple(warnings)


def _read(path: bytes, around: Surroundings, limit: int) -> Holdings:
    at_most = holdings.OF_AN_AGENT if path.endswith(_AGENT_DATABASE) else holdings.OF_A_STATE
    if not around.takes(path):
        return Holdings()
    return holdings.read(path, around.scratch, limit=limit, at_most=at_most)


def _read_auth_file(path: bytes, around: Surroundings) -> Holdings:
    """The logins of an agent before the SQLite era."""
    if not os.path.exists(path) or not around.takes(path):
        return Holdings()
    try:
        tree = json.loads(files.read(path, _MAX_AUTH_BYTES))
    except (OSError, ValueError, RecursionError):
        tree = None
    return Holdings(secrets=frozenset({holdings.AUTH}), references=needs.references(tree))


def _plugins(state: bytes, config: Config, stored: Holdings) -> set[str]:
    """Plugins whose files, or parts of them, are left behind: what is recorded as installed, and what has modules."""
    recorded = stored.plugins
    if recorded is None:
        # Earlier releases kept their records in the configuration.
        (*_, found) = ({}, *configuration.find(config.tree, ("plugins", "installs")))
        recorded = holdings.installed(found)
    extensions = os.path.join(state, b"extensions")
    built = [
        name for name in files.directories(extensions) if files.names(os.path.join(extensions, name, b"node_modules"))
    ]
    return {spec for spec in recorded.values() if spec is not None} | ({*_texts(built)} - recorded.keys())


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


def _secrets(state: bytes, config: Config, around: Surroundings) -> Iterator[str]:
    """Kinds of secret in files and in the configuration."""
    for name, kind in _SECRET_PLACES:
        path = os.path.join(state, name.encode())
        if (os.path.isfile(path) or files.names(path)) and around.takes(path):
            yield kind
    for key, path in config.elsewhere:
        if key in configuration.SECRET_FILES and os.path.exists(path) and around.takes(path):
            yield "secret store" if key.startswith("secrets.") else "channel tokens"
    if _logged_in(state) and around.takes(os.path.join(state, b"credentials")):
        yield "channel logins"
    yield from _configured(config)
    yield from around.beside


def _configured(config: Config) -> Iterator[str]:
    """Kinds of secret that the configuration itself holds, and doesn't only refer to."""
    if needs.defined(config.tree):
        yield "provider keys"
    for section, value in config.tree.items():
        for key, text in _at_secret_keys({section: value}):
            if text.strip() and not needs.references(text).variables:
                is_password = section == "gateway" and key.lower().endswith("password")
                yield "gateway password" if is_password else _SECRET_SECTIONS.get(section, "provider keys")


def _at_secret_keys(tree: object) -> Iterator[tuple[str, str]]:
    todo = [tree]
    while todo:
        value = todo.pop()
        for key, item in configuration.table(value).items():
            if isinstance(item, str) and _SECRET_KEY.fullmatch(key):
                yield key, item
        todo += value if isinstance(value, list) else configuration.table(value).values()


def _texts(names: Sequence[bytes]) -> tuple[str, ...]:
    """*names* as text; one that isn't UTF-8 names no agent, channel or plugin of OpenClaw's."""
    return tuple(name.decode() for name in names if _is_text(name))


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return not name.startswith(b".")
