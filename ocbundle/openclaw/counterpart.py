"""What on this machine stands for the roots of a bundle: where to look for what has changed since.

Names of files and configurations are read, and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ocbundle.errors import SourceMissing
from ocbundle.model import Entry, Kind, Manifest, Reason, Role, Skipped
from ocbundle.openclaw import rules
from ocbundle.openclaw.discovery import Discovery, discover
from ocbundle.sources import Leave, Source

_KINDS = {Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink"}


def live(
    manifest: Manifest, entries: Iterable[Entry], skipped: Iterable[Skipped], environ: Mapping[str, str]
) -> tuple[Source, ...]:
    """This user's OpenClaw, root by root in the bundle's order; what the bundle has no root for comes last.

    What was packed tells how it was asked for, and so what to compare: whether with workspaces, whether with what can
    be made again, or only the configurations. A root that is no part of OpenClaw stands where it was packed.

    Raises:
        SourceMissing: the bundle holds OpenClaw's state, and there is none here.
    """
    found = _discover(manifest, entries, skipped, environ) if manifest.profiles else ()
    known = {source.name: source for source in found}
    ordered = []
    for root in manifest.roots:
        source = known.pop(root.name, None)
        if source is None and root.profile is None:
            source = Source(path=root.source, name=root.name, role=root.role)
        if source is not None:
            ordered.append(source)
    return (*ordered, *known.values())


def below(manifest: Manifest, entries: Iterable[Entry], directory: bytes) -> tuple[Source, ...]:
    """What stands in *directory*, as unpacking puts it there; a bundle's only root may also be *directory* itself."""
    everything = _holds_everything(manifest, entries)
    whole = len(manifest.roots) == 1 and not os.path.lexists(os.path.join(directory, manifest.roots[0].name.encode()))
    return tuple(
        Source(
            path=directory if whole else os.path.join(directory, root.name.encode()),
            name=root.name,
            role=root.role,
            profile=root.profile,
            rules=rules.state(everything=everything) if root.role is Role.STATE else None,
        )
        for root in manifest.roots
    )


def _discover(
    manifest: Manifest, entries: Iterable[Entry], skipped: Iterable[Skipped], environ: Mapping[str, str]
) -> tuple[Source, ...]:
    names = {profile.name for profile in manifest.profiles}
    workspaces = any(profile.workspaces for profile in manifest.profiles)
    only_config = any(row.detail == rules.ONLY_CONFIG for row in skipped)
    everything = _holds_everything(manifest, entries)

    def look(profiles: set[str] | None) -> Discovery:
        return discover(
            environ, profiles=profiles, workspaces=workspaces, only_config=only_config, everything=everything
        )

    try:
        return look(names).sources
    except SourceMissing:  # one of the profiles is no longer there: that is a difference, and no error
        return tuple(source for source in look(None).sources if source.profile in names)


def _holds_everything(manifest: Manifest, entries: Iterable[Entry]) -> bool:
    """Whether the bundle holds what is usually left out because it can be made again."""
    states = {root.name for root in manifest.roots if root.role is Role.STATE}
    decide = rules.state()
    for entry in entries:
        if entry.root in states:
            verdict = decide(entry.path, _KINDS.get(entry.kind, "file"))
            if isinstance(verdict, Leave) and verdict.reason is Reason.REGENERABLE:
                return True
    return False
