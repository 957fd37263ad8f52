"""After a move: every absolute path that OpenClaw reads, rewritten in the staged trees before they take their place.

Without it a gateway in a new home starts as if nothing were wrong, and has lost its cron jobs, its conversations (era A
even recreates the old home) and its workspaces. What is rewritten:

==========================================  =========================================================================
the configuration, its copies and includes  strings that are a path, in every field; OpenClaw falls back on the copies
``.env``, ``gateway.env``                   values that are a path
session stores, cron, approvals (files)     strings that are a path, but for the record of a session's last turn
transcripts                                 the working directory in the first line, and nothing of what was said
the state's and the agents' databases       the columns of :mod:`ocbundle.openclaw.columns`
==========================================  =========================================================================

Workspaces, skills, credentials, media and logs are the user's own or history, and stay as they are. Leases and queues
of the old machine are cleared even where nothing has moved. Never touches anything outside of the staged trees.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ocbundle.model import Manifest, Role, Root
from ocbundle.openclaw import documents, files, staged
from ocbundle.openclaw.config import MAX_INCLUDES
from ocbundle.openclaw.documents import Edited, NotEdited
from ocbundle.openclaw.moves import Moves
from ocbundle.openclaw.staged import Place, Tree
from ocbundle.outcomes import Change
from ocbundle.paths import display

__all__ = ["Change", "Moves", "Relocated", "relocate"]

_MAX_CONFIG: Final = 16 << 20
_MAX_DOCUMENT: Final = 64 << 20
"""A store of sessions grows for years: some tens of kilobytes each."""
_MAX_ENVIRONMENT: Final = 1 << 20
_MAX_LINE: Final = 1 << 20

_CONFIGS: Final = (b"openclaw.json", b"openclaw.json.*", b"clawdbot.json", b"clawdbot.json.*")
_ENVIRONMENTS: Final = (b".env", b".env.*", b"gateway.env")
_DOCUMENTS: Final = (
    (b"agents/*/sessions/sessions.json", documents.but_history),
    (b"agents/*/sessions/*.trajectory-path.json", documents.everywhere),
    (b"cron/*.json", documents.everywhere),
    (b"exec-approvals.json", documents.everywhere),
    (b"plugins/installs.json", documents.everywhere),
    (b"subagents/runs.json", documents.everywhere),
)
_TRANSCRIPTS: Final = b"agents/*/sessions/*.jsonl"
_TRAJECTORY: Final = b".trajectory.jsonl"
_ATTESTED: Final = b".attested"
_DATABASES: Final = (b"state/openclaw.sqlite", b"agents/*/agent/openclaw-agent.sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocated:
    """What a relocation did."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    """What names an old place and was left so on purpose."""
    warnings: tuple[str, ...] = ()
    """What may not work, and wants a look."""


def relocate(trees: Mapping[str, bytes], manifest: Manifest, moves: Moves) -> Relocated:
    """Rewrite the staged *trees*, by root name, for the places that *moves* says.

    Raises:
        NoSpace: a file system is full.
        TargetFailure: the system refuses to change a staged file. The trees are then of no more use.
    """
    roots = tuple(root for root in manifest.roots if root.name in trees)
    run = _Relocation(
        moves=moves, roots=roots, trees={name: Tree(root=name, path=path) for name, path in trees.items()}
    )
    if moves.changed():
        run.configurations([profile.config for profile in manifest.profiles if profile.config])
        for root in roots:
            run.texts(root)
        run.attestations(_workspaces(manifest))
    for root in roots:
        run.databases(root, _workspaces(manifest))
    return Relocated(
        changes=tuple(run.changes), notes=tuple(dict.fromkeys(run.notes)), warnings=tuple(dict.fromkeys(run.warnings))
    )


def _workspaces(manifest: Manifest) -> frozenset[bytes]:
    """The paths of all workspaces on the old machine."""
    sources = {root.name: root.source for root in manifest.roots}
    return frozenset(
        os.path.join(sources[workspace.root], workspace.path).rstrip(b"/")
        for profile in manifest.profiles
        for workspace in profile.workspaces
    )


@dataclass(slots=True, kw_only=True)
class _Relocation:
    """One run, and what it has done so far."""

    moves: Moves
    roots: tuple[Root, ...]
    trees: Mapping[str, Tree]
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def configurations(self, named: list[bytes]) -> None:
        """The configurations that *named* says, those in the usual places, and all that they include."""
        waiting = dict.fromkeys([*named, *self._usual_configurations()])
        done: set[bytes] = set()
        while waiting and len(done) < MAX_INCLUDES:
            path = next(iter(waiting))
            del waiting[path]
            done.add(path)
            for place in self._places(path):
                content = staged.read(place, _MAX_CONFIG)
                included = [] if content is None else _includes(content, os.path.dirname(path))
                waiting |= dict.fromkeys(name for name in included if name not in done)
                self._edit(place, _MAX_CONFIG, documents.config)

    def texts(self, root: Root) -> None:
        """The other files of one root: by their names in a state directory."""
        tree = self.trees[root.name]
        if root.role is Role.CREDENTIALS and os.path.basename(root.source) in _ENVIRONMENTS:
            for place in tree.find(b""):
                self._edit(place, _MAX_ENVIRONMENT, documents.environment)
        for pattern in _ENVIRONMENTS:
            for place in _found(root, tree, pattern):
                self._edit(place, _MAX_ENVIRONMENT, documents.environment)
        for pattern, scope in _DOCUMENTS:
            for place in _found(root, tree, pattern):
                self._edit(place, _MAX_DOCUMENT, partial(documents.plain, scope=scope))
        for place in _found(root, tree, _TRANSCRIPTS):
            if not place.name.endswith(_TRAJECTORY):
                staged.edit_first_line(place, _MAX_LINE, self._recording(place, documents.transcript_header))

    def attestations(self, workspaces: frozenset[bytes]) -> None:
        """Files of era B that vouch for a workspace: each is named by the SHA-256 of the workspace's path."""
        names = {_hash(path) + _ATTESTED: _hash(self.moves.path(path)) + _ATTESTED for path in workspaces}
        for root in self.roots:
            if root.role is not Role.STATE:
                continue
            for place in self.trees[root.name].find(b"workspace-attestations/*" + _ATTESTED):
                new = names.get(place.name, place.name)
                if new != place.name and staged.rename(place, new):
                    self.changes.append(Change(where=place.shown, count=1))

    def databases(self, root: Root, workspaces: frozenset[bytes]) -> None:
        """The databases of one root."""
        from ocbundle.openclaw import rows  # noqa: PLC0415 - most uses of the library open no database

        for pattern in _DATABASES:
            for place in _found(root, self.trees[root.name], pattern):
                outcome = rows.rewrite(place, self.moves, workspaces)
                self.changes += [
                    *(Change(where=f"{place.shown}:{where}", count=count) for where, count in outcome.rewritten),
                    *(Change(where=f"{place.shown}:{where}", count=n, cleared=True) for where, n in outcome.cleared),
                ]
                self.notes += [f"{place.shown}: {note}" for note in outcome.notes]
                self.warnings += [f"{place.shown}: {warning}" for warning in outcome.warnings]

    def _usual_configurations(self) -> Iterator[bytes]:
        for root in self.roots:
            tree = self.trees[root.name]
            if root.role is Role.CONFIG:
                yield from (root.source for _ in tree.find(b""))
            if root.role is Role.STATE:
                for pattern in _CONFIGS:
                    yield from (os.path.join(root.source, place.path) for place in tree.find(pattern))

    def _places(self, path: bytes) -> Iterator[Place]:
        """Where the file that was *path* on the old machine is staged; nowhere, if it isn't."""
        inside = [(files.inside(path, root.source), root) for root in self.roots]
        holders = [(len(root.source), root.name, rest) for rest, root in inside if rest is not None]
        if holders:
            _, name, rest = max(holders)
            if b"*" not in rest:
                yield from self.trees[name].find(rest)

    def _edit(self, place: Place, limit: int, rewrite: Callable[[bytes, Moves], Edited]) -> None:
        if not staged.edit(place, limit, self._recording(place, rewrite)):
            self.warnings.append(f"{place.shown} is too large to rewrite: its paths are those of before")

    def _recording(self, place: Place, rewrite: Callable[[bytes, Moves], Edited]) -> Callable[[bytes], bytes]:
        def record(data: bytes) -> bytes:
            try:
                edited = rewrite(data, self.moves)
            except NotEdited as error:
                if self.moves.mentions(data.decode("utf-8", "replace")):
                    self.warnings.append(f"{place.shown} names an old path, but {error}: left as it is")
                return data
            if edited.count:
                self.changes.append(Change(where=place.shown, count=edited.count))
            self.notes += [f"{place.shown}: {display(key)} holds an old path: left as it is" for key in edited.left]
            return edited.data

        return record


def _found(root: Root, tree: Tree, pattern: bytes) -> Iterator[Place]:
    """The files of a state directory that *pattern* fits, or those of a part of one that stands elsewhere."""
    if root.role is Role.STATE:
        yield from tree.find(pattern)
    elif root.role is Role.EXTRA and root.profile is not None:
        # ``agents`` or ``agents/main`` may be a link, and an agent's own directory anywhere.
        parts = pattern.split(b"/")
        for rest in (parts[depth:] for depth in range(1, len(parts))):
            if not rest[0].startswith(b"*."):
                yield from tree.find(b"/".join(rest))


def _includes(content: bytes, directory: bytes) -> list[bytes]:
    """What a configuration in *directory* includes, by OpenClaw's ``$include``."""
    try:
        tree = documents.parse_json5(content.decode())
    except (NotEdited, UnicodeDecodeError):
        return []
    found: list[bytes] = []
    values = [tree]
    while values:
        value = values.pop()
        if isinstance(value, list):
            values += value
        elif isinstance(value, dict):
            named = value.get("$include")
            names = named if isinstance(named, list) else [named]
            found += [
                files.absolute(os.path.join(directory, name.encode("utf-8", "replace")))
                for name in names
                if isinstance(name, str)
            ]
            values += value.values()
    return found


def _hash(path: bytes) -> bytes:
    return hashlib.sha256(path).hexdigest().encode()
