"""Modes that are too open, closed on the way to their place: state directories 0700, secrets 0600 and 0700.

A copy by tar or by hand has often opened them on the old machine, and OpenClaw itself checks few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ocbundle.model import Entry, Kind, Manifest, Role
from ocbundle.openclaw import rules
from ocbundle.paths import display
from ocbundle.sources import Leave, Rules, Sensitivity

_OTHERS: Final = 0o077


class Closing:
    """Closes entries as they pass, and counts them."""

    def __init__(self, manifest: Manifest) -> None:
        self._rules = {root.name: _rules(root.role) for root in manifest.roots}
        self._states = {root.name for root in manifest.roots if root.role is Role.STATE}
        self._closed: dict[str, str] = {}

    def close(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """*entries*, none of whose secrets anybody but their owner may read."""
        for entry in entries:
            is_open = entry.mode & _OTHERS or entry.acl or entry.default_acl
            if is_open and entry.kind in {Kind.FILE, Kind.DIRECTORY} and self._is_private(entry):
                self._closed.setdefault(entry.root, display(entry.path or b"."))
                yield entry.replace(mode=entry.mode & ~_OTHERS, acl=(), default_acl=())
            else:
                yield entry

    @property
    def notes(self) -> tuple[str, ...]:
        """What was closed."""
        return tuple(
            f"closed modes of {display(root)} that let others read secrets, such as that of {path}"
            for root, path in self._closed.items()
        )

    def _is_private(self, entry: Entry) -> bool:
        if not entry.path and entry.root in self._states:
            return True
        decide = self._rules[entry.root]
        verdict = decide(entry.path, "directory" if entry.kind is Kind.DIRECTORY else "file") if decide else None
        if isinstance(verdict, Leave) or verdict is None:
            return False
        # A directory that merely may hold secrets stays as OpenClaw made it.
        return verdict is Sensitivity.SECRET or (verdict is Sensitivity.MIXED and entry.kind is Kind.FILE)


def _rules(role: Role) -> Rules | None:
    if role is Role.STATE:
        return rules.state(everything=True)
    return rules.secret() if role in {Role.CREDENTIALS, Role.CONFIG} else None
