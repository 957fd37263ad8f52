"""Whether a state is whole: what a copy of some files only leaves out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Final

from ocbundle.openclaw import config, files, needs, services
from ocbundle.openclaw.checks.access import agent_directories
from ocbundle.openclaw.findings import AGENT_DATABASE, STATE_DATABASE, Finding, Severity, Subject, shell, substitute
from ocbundle.openclaw.installed import ordered, release
from ocbundle.paths import display

_SPARE: Final = (b"openclaw.json.last-good", b"openclaw.json.bak")
_MAX_INDEX_BYTES: Final = 64 << 20
_SQLITE_ERA: Final = (2026, 7, 2)
_HYBRID_ERA: Final = (2026, 6)
_TOKENS: Final = {
    "telegram": ("TELEGRAM_BOT_TOKEN", ("botToken", "tokenFile")),
    "discord": ("DISCORD_BOT_TOKEN", ("token", "botToken")),
    "slack": ("SLACK_BOT_TOKEN", ("botToken",)),
}
"""Channels that log in with a token: the variable, and the keys of the configuration, that may hold it."""
_RESTORE: Final = "copy it from the old machine, with everything else: best pack it there again"


def configuration(subject: Subject) -> Iterator[Finding]:
    """No configuration, or one that can't be read."""
    for problem in subject.config.problems:
        yield Finding(
            what=f"profile {subject.shown}: {problem}",
            why="the gateway may refuse to start, or use another file or place than was meant",
            command=subject.openclaw("doctor"),
            severity=Severity.ERROR,
            path=subject.config.path,
        )
    if subject.state.config is None:
        spare = next((path for name in _SPARE if os.path.isfile(path := subject.path(name))), None)
        yield Finding(
            what=f"profile {subject.shown} has no configuration",
            why="without one the gateway doesn't know its channels, models and agents",
            command=shell(b"cp", b"-p", b"--", spare, subject.path(b"openclaw.json"))
            if spare
            else subject.openclaw("onboard"),
            severity=Severity.ERROR,
            path=subject.state.path,
        )


def databases(subject: Subject) -> Iterator[Finding]:
    """Databases that are missing, empty, or can't be read."""
    store = subject.store
    path = subject.path(STATE_DATABASE)
    if store is None:
        if os.path.lexists(path + b"-wal"):
            yield _missing(f"the state database of profile {subject.shown} is missing, though its log is there", path)
        elif subject.state.config is not None and _era(subject) != "A":
            yield _missing(f"profile {subject.shown} has a configuration, but no state database", path)
    elif store.problem is not None:
        yield Finding(
            what=f"the state database of profile {subject.shown} can't be read: {store.problem}",
            why="cron jobs, logins and paired devices are in it",
            command=None,
            severity=Severity.ERROR,
            path=path,
        )
    elif store.tables == 0:
        yield _empty(f"the state database of profile {subject.shown} is empty", path)
    else:
        yield from _agents(subject, store.agents)
    for directory in agent_directories(subject):
        database = os.path.join(directory, AGENT_DATABASE)
        if files.schema_version(database) == 0 and not _size(database + b"-wal"):
            yield _empty(f"the database of an agent of profile {subject.shown} is empty", database)


def _agents(subject: Subject, agents: object) -> Iterator[Finding]:
    known = agents.items() if isinstance(agents, dict) else ()
    directories = {agent.id: agent.directory for agent in subject.config.agents}
    for agent, named in known:
        listed = os.path.join(subject.state.path, os.fsencode(named))
        usual = subject.path(b"agents", os.fsencode(agent), b"agent")
        # OpenClaw falls back to the usual place, so a stale row alone loses nothing.
        places = (listed, *(os.path.join(place, AGENT_DATABASE) for place in (usual, directories.get(agent)) if place))
        if not any(os.path.lexists(place) for place in places):
            yield _missing(f"the database of agent {display(agent)} of profile {subject.shown} is missing", listed)


def _missing(what: str, path: bytes) -> Finding:
    why = f"sessions, cron jobs, logins or paired devices aren't here; {_RESTORE}"
    return Finding(what=what, why=why, command=_again(), severity=Severity.ERROR, path=path)


def _empty(what: str, path: bytes) -> Finding:
    why = f"it was copied without its log ({display(os.path.basename(path))}-wal), where its rows were; {_RESTORE}"
    return Finding(what=what, why=why, command=_again(), severity=Severity.ERROR, path=path)


def _again() -> str:
    return "ssh OLD-MACHINE ocbundle pack -r RECIPIENT -o - | ocbundle unpack -i IDENTITY-FILE --replace -"


def sessions(subject: Subject) -> Iterator[Finding]:
    """Conversations of the file era: an index without the transcripts that it names, or with paths of elsewhere."""
    for name in files.directories(subject.path(b"agents")):
        directory = subject.path(b"agents", name, b"sessions")
        index = os.path.join(directory, b"sessions.json")
        entries = _index(index)
        lost = []
        away: dict[bytes, None] = {}
        for entry in entries:
            named, identity = config.text(entry.get("sessionFile")), config.text(entry.get("sessionId"))
            base = os.path.basename(os.fsencode(named)) if named else os.fsencode(f"{identity}.jsonl")
            if identity is None or not _has_transcript(directory, base):
                lost.append(base)
            elif named and os.path.isabs(named) and not _is_same(os.path.dirname(os.fsencode(named)), directory):
                away[os.path.dirname(os.fsencode(named))] = None
        if lost:
            yield Finding(
                what=f"{len(lost)} of {len(entries)} conversations of agent {display(name)} of profile "
                f"{subject.shown} have no transcript",
                why=f"the agent forgets them: OpenClaw's own backups leave *.jsonl out; {_RESTORE}",
                command=_again(),
                severity=Severity.ERROR,
                path=index,
            )
        for place in away:
            yield Finding(
                what=f"conversations of agent {display(name)} of profile {subject.shown} are looked for in "
                f"{display(place)}",
                why="the next turn begins a new conversation, and makes that directory again",
                command=substitute(b'"%s/' % place, b'"%s/' % directory, index),
                severity=Severity.ERROR,
                path=index,
            )


def _index(path: bytes) -> list[config.Tree]:
    try:
        tree = json.loads(files.read(path, _MAX_INDEX_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in config.table(tree).values() if isinstance(entry, dict) and entry.get("sessionId")]


def _has_transcript(directory: bytes, base: bytes) -> bool:
    return os.path.lexists(os.path.join(directory, base))


def _is_same(one: bytes, other: bytes) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def secrets(subject: Subject) -> Iterator[Finding]:
    """Secrets that the configuration counts on, and that are nowhere."""
    known = _variables(subject)
    for name in sorted(needs.references(subject.config.tree).variables - known):
        yield Finding(
            what=f"the configuration of profile {subject.shown} counts on the variable {name}, which is set nowhere",
            why="the .env file wasn't copied, or the variable was set for the old machine's service",
            command=shell(b"sh", b"-c", b'printf "%s=%s\\n" "$0" "$1" >> "$2"', name, "VALUE", subject.path(b".env")),
            severity=Severity.ERROR,
            path=subject.path(b".env"),
        )
    for channel in subject.config.channels:
        settings = config.table(config.table(subject.config.tree.get("channels")).get(channel))
        if settings.get("enabled") is not False and not _can_log_in(subject, channel, settings, known):
            yield Finding(
                what=f"channel {display(channel)} of profile {subject.shown} has no login on this machine",
                why="its credentials weren't copied, or it never was logged in",
                command=subject.openclaw("channels", "login", "--channel", channel)
                if channel == "whatsapp"
                else subject.openclaw("channels", "add", "--channel", channel),
                severity=Severity.ERROR,
                path=subject.path(b"credentials"),
            )


def _can_log_in(subject: Subject, channel: str, settings: config.Tree, known: set[str]) -> bool:
    """Whether there is a login for a channel; of channels unknown here that can't be told."""
    if channel == "whatsapp":
        own = [os.fsencode(str(each)) for each in config.find(settings, ("accounts", "*", "authDir"))]
        accounts = subject.path(b"credentials", b"whatsapp")
        places = [*own, *(os.path.join(accounts, name) for name in files.names(accounts)), subject.path(b"credentials")]
        return any(os.path.lexists(os.path.join(place, b"creds.json")) for place in places)
    if channel not in _TOKENS:
        return True
    variable, keys = _TOKENS[channel]
    held = (config.find(settings, path) for key in keys for path in ((key,), ("accounts", "*", key)))
    return variable in known or any(value not in (None, "") for values in held for value in values)


def _variables(subject: Subject) -> set[str]:
    """Names of the variables that a gateway of this state would see."""
    known = set(subject.environ) | services.variables(subject.path(b".env"))
    known |= services.variables(os.path.join(subject.home, b".config/openclaw/gateway.env"))
    for service in subject.services:
        if _is_same(service.state(subject.home), subject.state.path):
            known |= service.variables
    return known | needs.defined(subject.config.tree)


def plugins(subject: Subject) -> Iterator[Finding]:
    """Plugins that the configuration counts on, and that aren't installed."""
    entries = config.table(config.table(subject.config.tree.get("plugins")).get("entries"))
    wanted = {name for name, entry in entries.items() if config.table(entry).get("enabled") is True}
    there = set(map(os.fsdecode, files.directories(subject.path(b"extensions"))))
    # Where plugins from the registry are installed at all, which ones can't be told by names.
    if subject.installed is not None and subject.installed.plugins and not files.names(subject.path(b"npm")):
        loaded = config.find(subject.config.tree, ("plugins", "load", "paths", "*"))
        there |= subject.installed.plugins | {os.path.basename(str(path).rstrip("/")) for path in loaded}
        for name in sorted(wanted - there):
            yield Finding(
                what=f"plugin {display(name)} of profile {subject.shown} isn't installed",
                why="plugins are installed again after a move; until then what it does is missing",
                command=subject.openclaw("plugins", "install", f"@openclaw/{name}"),
                severity=Severity.WARNING,
                path=subject.path(b"npm"),
            )
    for installed in files.directories(subject.path(b"extensions")):
        directory = subject.path(b"extensions", installed)
        if _needs_packages(directory):
            yield Finding(
                what=f"the packages of plugin {display(installed)} of profile {subject.shown} aren't installed",
                why="it can't be loaded without them",
                command=shell(b"npm", b"install", b"--omit=dev", b"--prefix", directory),
                severity=Severity.WARNING,
                path=directory,
            )


def _needs_packages(directory: bytes) -> bool:
    try:
        package = json.loads(files.read(os.path.join(directory, b"package.json"), _MAX_INDEX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    needs = config.table(config.table(package).get("dependencies"))
    return bool(needs) and not os.path.isdir(os.path.join(directory, b"node_modules"))


def versions(subject: Subject) -> Iterator[Finding]:
    """A state that a newer OpenClaw wrote than the one installed here."""
    installed, store = subject.installed, subject.store
    if installed is None:
        return
    wrote = subject.config.version
    newest = max(filter(None, map(files.schema_version, _agent_databases(subject))), default=0)
    newer = [
        f"{what} schema {found}, and {installed.version} reads up to {reads}"
        for what, found, reads in (
            ("state", store.version if store else 0, installed.schemas.get("state")),
            ("agent", newest, installed.schemas.get("agent")),
        )
        if reads is not None and found > reads
    ]
    if wrote and ordered(wrote) > ordered(installed.version):
        newer.append(f"{display(wrote)} wrote its configuration, and {display(installed.version)} is installed")
    if newer:
        yield Finding(
            what=f"profile {subject.shown} is of a newer OpenClaw than this machine's: {'; '.join(newer)}",
            why="an older OpenClaw refuses it; there is no way back",
            command=shell("npm", "install", "-g", f"openclaw@{release(wrote)}"),
            severity=Severity.ERROR,
            path=installed.path,
        )


def _agent_databases(subject: Subject) -> list[bytes]:
    return [os.path.join(directory, AGENT_DATABASE) for directory in agent_directories(subject)]


def _era(subject: Subject) -> str:
    version = ordered(subject.config.version or "")
    if subject.config.entries or version >= _SQLITE_ERA:
        return "C"
    return "B" if version >= _HYBRID_ERA else "A"


def _size(path: bytes) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
