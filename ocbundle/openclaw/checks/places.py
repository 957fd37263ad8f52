"""Paths that the configuration and the state database name, and that aren't there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from ocbundle.openclaw import config, files
from ocbundle.openclaw.findings import STATE_DATABASE, Finding, Severity, Subject, shell, substitute
from ocbundle.paths import display

_IN_A_HOME: Final = re.compile(r"/(?:home|Users|root)(?:/|$)|~/")
"""How a path of somebody's begins; other strings that begin with a slash may be anything."""
_NAMES_A_FILE: Final = re.compile(
    r"(?:^|\.)(?:workspace|agentDir|repoRoot|workspaceRoot|worktreeRoot|userDataDir|transformsDir|identityFile|tokenFile"
    r"|passwordFile|caFile|certPath|keyPath|caPath|modelPath|executablePath|extraDirs\[\d+\]|load\.paths\[\d+\]"
    r"|extraPaths\[\d+\](?:\.path)?|secrets\.providers\.[^.]+\.path)$"
)
"""Fields whose paths may begin in any way; others, such as ``hooks.path``, may be parts of URLs."""
_OWN: Final = (".workspace", ".agentDir")
_SECRET_PLACES: Final = re.compile(r"token|password|secret|apikey", re.IGNORECASE)


def named_by_configuration(subject: Subject) -> Iterator[Finding]:
    """What the configuration names."""
    missing: dict[bytes, list[str]] = {}
    for key, written in _strings(subject.config.tree, ""):
        path = _path(written, subject.home)
        if path is None or _is_usual(subject, key, path):
            continue
        if not os.path.lexists(path) or (key.endswith(_OWN) and _is_anothers(path, subject)):
            missing.setdefault(path, []).append(key)
    for path, keys in missing.items():
        now = _moved(path, subject.home)
        is_workspace = any(key.endswith(".workspace") for key in keys)
        state = "belongs to another user" if os.path.lexists(path) else "isn't there"
        yield Finding(
            what=f"{' and '.join(keys)} of profile {subject.shown} names {display(path)}, which {state}",
            why="the agent refuses to work, or starts afresh in a directory that is made there"
            if is_workspace
            else "the gateway does without what it names, falls back to the usual place, or fails",
            command=_mend(subject, path, now or b"WHERE-IT-IS-NOW", keys),
            severity=Severity.ERROR if is_workspace else Severity.WARNING,
            path=path,
        )


def _is_anothers(path: bytes, subject: Subject) -> bool:
    """Whether *path* stands in another home and is its user's: that of the old user, on a machine that has both."""
    if files.inside(path, subject.home) is not None or files.inside(path, subject.state.path) is not None:
        return False
    try:
        return os.stat(path).st_uid != subject.owner
    except OSError:
        return True


def _mend(subject: Subject, old: bytes, new: bytes, keys: list[str]) -> str:
    # OpenClaw itself refuses to change the directory of an agent that others inherit logins from.
    if any(key.endswith(".agentDir") for key in keys):
        return substitute(b'"%s"' % old, b'"%s"' % new, *subject.config.files)
    return " && ".join(subject.openclaw("config", "set", key, new) for key in keys)


def _strings(tree: object, key: str) -> Iterator[tuple[str, str]]:
    """The strings of a configuration that are paths, by how they begin or where they stand."""
    if isinstance(tree, str):
        if _IN_A_HOME.match(tree) or (tree.startswith("/") and _NAMES_A_FILE.search(key)):
            yield key, tree
    elif isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from _strings(item, f"{key}[{number}]")
    else:
        for name, item in config.table(tree).items():
            plain = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'["{name}"]'
            if not _SECRET_PLACES.search(name) or name.endswith(("File", "Path")):
                yield from _strings(item, f"{key}.{plain}" if key and not plain.startswith("[") else key + plain)


def _path(written: str, home: bytes) -> bytes | None:
    """The path that a string means, if it means one that can be looked for."""
    if re.search(r"[\0\n*?{}<>|]|\$", written) or " -" in written:
        return None  # a pattern, a template or a command line
    encoded = written.encode("utf-8", "surrogatepass")
    return files.absolute(home + encoded[1:] if encoded.startswith(b"~/") else encoded)


def _is_usual(subject: Subject, key: str, path: bytes) -> bool:
    """Whether a path is one that OpenClaw writes before it makes the directory, or a file it writes itself."""
    if key in {"session.store", "logging.file", "cron.store"} or key.endswith("Socket"):
        return True
    return key.endswith(".agentDir") and files.inside(path, subject.path(b"agents")) is not None


def _moved(path: bytes, home: bytes) -> bytes | None:
    """Where *path* may be in the home of today: where the longest end of it is, or at least would have its place."""
    parts = path.strip(b"/").split(b"/")
    candidates = [os.path.join(home, *parts[start:]) for start in range(1, len(parts))]
    there = [candidate for candidate in candidates if os.path.lexists(candidate)]
    # An agent's directory is made at its first turn, but a lone last name fits anywhere.
    there += [candidate for candidate in candidates[:-1] if os.path.isdir(os.path.dirname(candidate))]
    return there[0] if there else None


def jobs(subject: Subject) -> Iterator[Finding]:
    """Cron jobs that are filed under another state directory's path."""
    store = subject.store
    if store is None or not store.jobs:
        return
    own = subject.path(b"cron/jobs.json")
    chosen = config.text(config.table(subject.config.tree.get("cron")).get("store"))
    right = {os.path.realpath(path) for path in (own, _path(chosen, subject.home) if chosen else None) if path}
    for key, count in store.jobs.items():
        if os.path.realpath(os.fsencode(key)) in right:
            continue
        many = f"{count} cron jobs" if count > 1 else "a cron job"
        yield Finding(
            what=f"{many} of profile {subject.shown} {'are' if count > 1 else 'is'} filed under {display(key)}",
            why="OpenClaw neither shows nor runs them: it looks under the path of its own state directory. "
            "The gateway must be stopped before they are moved",
            command=shell(b"sqlite3", subject.path(STATE_DATABASE), _update(store.job_tables, key, own)),
            severity=Severity.ERROR,
            path=os.fsencode(key),
        )


def _update(tables: tuple[str, ...], old: str, new: bytes) -> bytes:
    before, after = (value.replace(b"'", b"''") for value in (os.fsencode(old), new))
    statement = b"UPDATE OR IGNORE %s SET store_key='%s' WHERE store_key='%s';"
    return b" ".join(statement % (table.encode(), after, before) for table in tables)
