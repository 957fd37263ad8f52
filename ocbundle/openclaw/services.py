"""The services that start gateways: systemd's user units and launchd's agents, as OpenClaw writes them.

Their files are read, and nothing is asked of systemd or launchd. Values of variables are kept out of every ``repr``:
some are secrets.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ocbundle.openclaw import files, states

_MAX_BYTES: Final = 1 << 20
_UNITS: Final = b".config/systemd/user"
_AGENTS: Final = b"Library/LaunchAgents"
_UNIT: Final = re.compile(rb"(?:openclaw|clawdbot)-gateway(?:-.+)?\.service", re.DOTALL)
_AGENT: Final = re.compile(rb"ai\.openclaw\.(?!node\.plist$).+\.plist", re.DOTALL)
_VARIABLE: Final = re.compile(
    r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*+(?!\s*$|#|(?:\"\"|'')\s*$)", re.MULTILINE
)
"""One with a value: OpenClaw takes an empty one for unset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service that starts a gateway."""

    name: str
    path: bytes
    program: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    files: tuple[bytes, ...] = ()
    """The environment files that it reads."""

    @property
    def variables(self) -> frozenset[str]:
        """Names of all the variables that it gives a value, from files too."""
        own = (name for name, value in self.environment.items() if value.strip())
        return frozenset(own).union(*map(variables, self.files))

    @property
    def profile(self) -> str | None:
        """The profile that it is meant for."""
        return self._selected or states.variable(self.environment, "OPENCLAW_PROFILE")

    @property
    def _selected(self) -> str | None:
        for word, following in zip(self.program, (*self.program[1:], ""), strict=False):
            if word.startswith("--profile="):
                return word.partition("=")[2] or None
            if word == "--profile":
                return following or None
        return None

    def state(self, home: bytes) -> bytes:
        """The state directory that its gateway works on: the profile's variable alone doesn't choose one."""
        named = states.variable(self.environment, "OPENCLAW_STATE_DIR")
        if named is not None:
            return states.expand(named, home)
        selected = self._selected
        suffix = "" if selected is None or selected.lower() == "default" else f"-{selected}"
        return os.path.join(home, os.fsencode(f".openclaw{suffix}"))


def find(home: bytes) -> tuple[Service, ...]:
    """The services of the user whose home is *home*."""
    return (*_units(os.path.join(home, _UNITS), home), *_agents(os.path.join(home, _AGENTS)))


def variables(path: bytes) -> frozenset[str]:
    """Names of the variables that an environment file gives a value; none if it can't be read."""
    return frozenset(_VARIABLE.findall(_text(path)))


def _text(path: bytes) -> str:
    try:
        return files.read(path, _MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _units(directory: bytes, home: bytes) -> Iterator[Service]:
    for name in files.names(directory):
        if not _UNIT.fullmatch(name):
            continue
        path = os.path.join(directory, name)
        program: tuple[str, ...] = ()
        environment: dict[str, str] = {}
        named: list[bytes] = []
        added = path + b".d"
        parts = [path, *(os.path.join(added, part) for part in files.names(added) if part.endswith(b".conf"))]
        for line in "\n".join(map(_text, parts)).replace("\\\n", " ").splitlines():
            key, _, value = line.strip().partition("=")
            if key == "ExecStart":
                program = _words(value) or program  # an empty one only makes room for another
            elif key == "Environment":
                environment |= dict(word.split("=", 1) for word in _words(value) if "=" in word)
            elif key == "EnvironmentFile":
                file = value.strip().removeprefix("-").replace("%h", os.fsdecode(home)).replace("%%", "%")
                named.append(os.fsencode(file))
        yield Service(
            name=os.fsdecode(name),
            path=path,
            program=program,
            environment=environment,
            files=tuple(filter(None, named)),
        )


def _words(value: str) -> tuple[str, ...]:
    try:
        return tuple(word.replace("%%", "%") for word in shlex.split(value))
    except ValueError:
        return ()


def _agents(directory: bytes) -> Iterator[Service]:
    import plistlib  # noqa: PLC0415 - brings an XML parser, which only macOS needs

    for name in files.names(directory):
        if not _AGENT.fullmatch(name):
            continue
        path = os.path.join(directory, name)
        try:
            agent = plistlib.loads(files.read(path, _MAX_BYTES))
        except Exception:  # noqa: BLE001, S112 - plistlib raises whatever its parsers do
            continue
        arguments = agent.get("ProgramArguments") if isinstance(agent, dict) else None
        program = tuple(map(str, arguments if isinstance(arguments, list) else ()))
        environment = agent.get("EnvironmentVariables") if isinstance(agent, dict) else None
        yield Service(
            name=os.fsdecode(name).removesuffix(".plist"),
            path=path,
            program=program,
            environment={str(k): str(v) for k, v in (environment if isinstance(environment, dict) else {}).items()},
            # launchd reads no such files: OpenClaw's wrapper gets its own as an argument.
            files=tuple(os.fsencode(word) for word in program if word.startswith("/") and word.endswith(".env")),
        )
