"""An OpenClaw configuration, as far as a backup needs it: JSON5 with ``$include``, both shapes of ``agents``.

Reading never fails: what is wrong with a configuration is a sentence in :attr:`Config.problems`, and the rest of it is
used. The tree holds secrets, so no ``repr`` and no sentence shows any of it but file names and agents' names.
Never writes, and never runs anything (an ``exec`` secret stays what it is).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

from ocbundle.openclaw import files
from ocbundle.paths import display

MAX_BYTES: Final = 2 << 20
"""OpenClaw's limit for an included file; the configuration itself is held to eight times that."""
MAX_INCLUDE_DEPTH: Final = 10
MAX_INCLUDES: Final = 256
"""Ours: includes that include one another in lists would otherwise multiply without end."""
MAX_NESTING: Final = 64

Tree = Mapping[str, object]

_VARIABLE: Final = re.compile(r"\$?\$\{([A-Z_][A-Z0-9_]*)\}")
"""A variable's value, or with one more ``$`` the text itself."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_NOT_CHANNELS: Final = frozenset({"defaults", "modelByChannel"})
_ELSEWHERE: Final = (
    ("secrets", "providers", "*", "path"),
    ("session", "store"),
    ("gateway", "tls", "certPath"),
    ("gateway", "tls", "keyPath"),
    ("gateway", "tls", "caPath"),
    ("channels", "*", "tokenFile"),
    ("channels", "*", "accounts", "*", "tokenFile"),
    ("hooks", "transformsDir"),
    ("skills", "load", "extraDirs", "*"),
    ("plugins", "load", "paths", "*"),
    ("agents", "defaults", "memory", "search", "store", "path"),
    ("agents", "defaults", "memorySearch", "store", "path"),
)
"""Fields that name files a gateway needs and that may stand anywhere."""
SECRET_FILES: Final = frozenset({"secrets.providers.*.path", "channels.*.tokenFile", "channels.*.accounts.*.tokenFile"})
"""Those of them that hold secrets made for OpenClaw, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent: where it works, and where it keeps its own state."""

    id: str
    workspace: bytes | None
    """Absolute; ``None`` when the configuration names it in a way that can't be resolved."""
    workspace_named: bool
    """Whether the configuration names it; otherwise it's OpenClaw's default, and may never have been made."""
    directory: bytes | None
    """``agentDir``, absolute, when the configuration names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a configuration says, and what is wrong with it."""

    path: bytes | None
    files: tuple[bytes, ...] = ()
    """It, and all it includes, also what can't be read; absolute."""
    agents: tuple[Agent, ...] = ()
    entries: bool = False
    """Whether agents stand in ``agents.entries``, as they do since the SQLite era."""
    mode: str | None = None
    port: int | None = None
    remote_url: str | None = None
    """Where the gateway is that this one is a client of, without user, password, query and fragment."""
    channels: tuple[str, ...] = ()
    version: str | None = None
    elsewhere: tuple[tuple[str, bytes], ...] = ()
    """Fields that name a file or directory the gateway needs, with the absolute path."""
    problems: tuple[str, ...] = ()
    tree: Tree = field(default_factory=dict, repr=False)
    """All of it, includes merged in. It holds secrets."""


def read(path: bytes | None, *, home: bytes, state: bytes, environ: Mapping[str, str]) -> Config:
    """Read the configuration *path* of the state directory *state*; ``None`` stands for an empty one.

    *environ* is what ``${NAME}`` in a path, ``OPENCLAW_INCLUDE_ROOTS`` and ``OPENCLAW_WORKSPACE_DIR`` are looked up in.
    """
    loader = _Loader(path, environ)
    tree = loader.load() if path is not None else {}
    resolver = _Resolver(home=home, environ=environ, problems=loader.problems)
    gateway = table(tree.get("gateway"))
    agents = table(tree.get("agents"))
    return Config(
        path=path,
        files=tuple(loader.files),
        agents=_agents(agents, resolver, state),
        entries="entries" in agents,
        mode=text(gateway.get("mode")),
        port=_port(gateway.get("port")),
        remote_url=_remote(table(gateway.get("remote"))),
        channels=tuple(sorted(name for name in table(tree.get("channels")) if name not in _NOT_CHANNELS)),
        version=text(table(tree.get("meta")).get("lastTouchedVersion")),
        elsewhere=tuple(_elsewhere(tree, resolver)),
        problems=tuple(loader.problems),
        tree=tree,
    )


def table(value: object) -> Tree:
    """*value* if it's an object of the configuration, else an empty one."""
    return cast("Tree", value) if isinstance(value, dict) else {}


def text(value: object) -> str | None:
    """*value* if it's a string that isn't blank, else ``None``."""
    return value.strip() if isinstance(value, str) and value.strip() else None


def variables(written: str) -> frozenset[str]:
    """Names of the variables whose values *written*, a string of the configuration, stands for."""
    return frozenset(match[1] for match in _VARIABLE.finditer(written) if match[0][1] != "$")


def find(tree: object, pattern: tuple[str, ...]) -> list[object]:
    """The values at *pattern*, a path of keys where ``*`` is any key or any item of a list."""
    if not pattern:
        return [tree]
    key, rest = pattern[0], pattern[1:]
    if key != "*":
        return find(table(tree)[key], rest) if key in table(tree) else []
    below = tree if isinstance(tree, list) else table(tree).values()
    return [value for item in below for value in find(item, rest)]


# --- Files -----------------------------------------------------------------------------------------------------------


class _Broken(Exception):
    """This file, or this ``$include``, can't be used; the message says why."""


class _Loader:
    """Reads a configuration with all that it includes, by OpenClaw's rules."""

    def __init__(self, path: bytes | None, environ: Mapping[str, str]) -> None:
        self.files: list[bytes] = []
        self.problems: list[str] = []
        self._path = path or b""
        extra = text(environ.get("OPENCLAW_INCLUDE_ROOTS")) or ""
        roots = [os.path.dirname(self._path), *(os.fsencode(r) for r in extra.split(os.pathsep) if os.path.isabs(r))]
        self._roots = [(root, os.path.realpath(root)) for root in roots]
        self._includes = 0

    def load(self) -> Tree:
        try:
            tree = self._resolve(self._parse(self._path, 8 * MAX_BYTES), (self._path,))
        except _Broken as broken:
            self.problems.append(str(broken))
            return {}
        except RecursionError:
            self.problems.append(f"the configuration {display(self._path)} is nested too deeply")
            return {}
        if not isinstance(tree, dict):
            self.problems.append(f"the configuration {display(self._path)} isn't an object")
        return table(tree)

    def _parse(self, path: bytes, limit: int) -> object:
        import pyjson5  # noqa: PLC0415 - most uses of the library read no configuration

        if path not in self.files and os.path.lexists(path):
            self.files.append(path)  # also when it turns out to be broken: it's the user's configuration
        try:
            data = files.read(path, limit)
        except OSError as error:
            raise _Broken(f"can't read the configuration {display(path)}: {error.strerror or error}") from error
        try:
            return pyjson5.decode(data.decode(), maxdepth=MAX_NESTING)
        except (pyjson5.Json5Exception, ValueError):
            # Not chained: the parser's exception carries what it had read so far, secrets and all.
            raise _Broken(f"the configuration {display(path)} isn't valid JSON5") from None

    def _resolve(self, value: object, chain: tuple[bytes, ...]) -> object:
        if isinstance(value, list):
            return [self._resolve(item, chain) for item in value]
        if not isinstance(value, dict):
            return value
        own = {key: self._resolve(item, chain) for key, item in value.items() if key != "$include"}
        if "$include" not in value:
            return own
        named = value["$include"]
        if isinstance(named, str):
            included = self._include(named, chain)
            return _merge(included, own) if own else included
        merged: object = {}
        for name in named if isinstance(named, list) else [named]:
            merged = _merge(merged, self._include(name, chain))
        return _merge(merged, own)

    def _include(self, name: object, chain: tuple[bytes, ...]) -> object:
        try:
            path = self._included_path(name, chain)
            return self._resolve(self._parse(path, MAX_BYTES), (*chain, path))
        except _Broken as broken:
            self.problems.append(str(broken))
            return {}

    def _included_path(self, name: object, chain: tuple[bytes, ...]) -> bytes:
        where = display(chain[-1])
        if not isinstance(name, str) or "\0" in name:
            raise _Broken(f"an $include of {where} is neither a file name nor a list of them")
        self._includes += 1
        if self._includes > MAX_INCLUDES or len(chain) > MAX_INCLUDE_DEPTH:
            raise _Broken(f"{where} includes too many files, or too deeply")
        path = files.absolute(os.path.join(os.path.dirname(chain[-1]), name.encode("utf-8", "replace")))
        if path in chain:
            raise _Broken(f"{where} includes {display(path)}, which includes it in turn")
        real = os.path.realpath(path)
        if not any(
            files.inside(path, root) is not None and files.inside(real, real_root) is not None
            for root, real_root in self._roots
        ):
            raise _Broken(f"{where} includes {display(path)}, which is outside of the configuration's directory")
        return path


def _merge(below: object, above: object) -> object:
    """OpenClaw's merge: objects by key, lists one after the other, anything else replaced."""
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merge(below[key], item) if key in below else item for key, item in above.items()}}
    return above


# --- Meaning ---------------------------------------------------------------------------------------------------------


class _Resolver:
    """Turns paths as a configuration writes them into absolute ones."""

    def __init__(self, *, home: bytes, environ: Mapping[str, str], problems: list[str]) -> None:
        self.environ = environ
        self._home = home
        self._problems = problems

    def path(self, value: object, what: str) -> bytes | None:
        """The absolute path that *value* means; ``None``, and a problem noted, if that can't be told."""
        written = text(value)
        if written is None:
            return None
        missing = sorted(variables(written) - self.environ.keys())
        if missing:
            self._problems.append(f"{what} is named with ${{{missing[0]}}}, which isn't set here")
            return None
        expanded = _VARIABLE.sub(lambda m: m[0][1:] if m[0][1] == "$" else self.environ[m[1]], written)
        try:
            path = os.fsencode(expanded.replace("\0", ""))
        except UnicodeEncodeError:
            self._problems.append(f"{what} is named by half a character, so where it is can't be told")
            return None
        if path == b"~" or path.startswith(b"~/"):
            path = self._home + path[1:]
        if not path.startswith(b"/"):
            self._problems.append(f"{what} is named by a relative path, {display(path)}, so where it is can't be told")
            return None
        return files.absolute(path)


def _agents(agents: Tree, resolver: _Resolver, state: bytes) -> tuple[Agent, ...]:
    """Each agent once, with the workspace that OpenClaw would use for it."""
    entries = _agent_entries(agents)
    default = _default_agent(entries)
    shared = resolver.path(table(agents.get("defaults")).get("workspace"), "the default workspace")
    found = []
    for name, entry in entries.items():
        workspace = resolver.path(entry.get("workspace"), f"the workspace of agent {name}")
        named = text(entry.get("workspace")) is not None
        if not named:
            workspace, named = _usual_workspace(name, default, shared, resolver, state)
        directory = resolver.path(entry.get("agentDir"), f"the directory of agent {name}")
        found.append(Agent(id=name, workspace=workspace, workspace_named=named, directory=directory))
    return tuple(found)


def _agent_entries(agents: Tree) -> dict[str, Tree]:
    found: dict[str, Tree] = {}
    listed = agents.get("list")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict):
            found.setdefault(_agent_id(item.get("id")), item)
    for name, item in table(agents.get("entries")).items():
        found.setdefault(_agent_id(name), table(item))
    return found or {"main": {}}


def _agent_id(value: object) -> str:
    """An agent's id as OpenClaw makes it safe for a path."""
    name = re.sub(r"[^a-z0-9_-]+", "-", (text(value) or "").lower())
    return (name if re.match(r"[a-z0-9]", name) else name.strip("-"))[:64] or "main"


def _default_agent(entries: Mapping[str, Tree]) -> str:
    marked = [name for name, entry in entries.items() if entry.get("default") is True]
    return marked[0] if marked else "main" if "main" in entries else next(iter(entries))


def _usual_workspace(
    name: str, default: str, shared: bytes | None, resolver: _Resolver, state: bytes
) -> tuple[bytes, bool]:
    """Where an agent works whose entry names no workspace, and whether the configuration says so after all."""
    if name == default:
        if shared is not None:
            return shared, True
        elsewhere = text(resolver.environ.get("OPENCLAW_WORKSPACE_DIR"))
        if elsewhere is not None:
            return files.absolute(os.fsencode(elsewhere)), True
        return os.path.join(state, b"workspace"), False
    own = os.path.join(state, b"workspace-" + name.encode())
    if shared is not None:
        below = os.path.join(shared, name.encode())
        # Releases before the shared directory's children were used kept it in the state.
        return (own if os.path.isdir(own) and not os.path.isdir(below) else below), False
    return own, False


def _elsewhere(tree: Tree, resolver: _Resolver) -> list[tuple[str, bytes]]:
    found = []
    for pattern in _ELSEWHERE:
        for value in find(tree, pattern):
            path = resolver.path(value, ".".join(pattern))
            if path is not None:
                found.append((".".join(pattern), path))
    return found


def _port(value: object) -> int | None:
    # JSON5 has one kind of number; True is an int in Python, and no port.
    return int(value) if isinstance(value, (int, float)) and value is not True and 0 < value < 1 << 16 else None


def _remote(remote: Tree) -> str | None:
    url = _bare_url(text(remote.get("url")))
    tunnel = text(remote.get("sshTarget"))
    # Behind a tunnel the URL names this machine.
    if tunnel is not None and (url is None or urlsplit(url).hostname in _LOOPBACK):
        return tunnel.rpartition("@")[2]
    return url


def _bare_url(url: str | None) -> str | None:
    """*url* as it may be shown: some write a token into it."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}" if parts.scheme and host else None
