"""Puts roots where they belong: built beside their places, exchanged with what is there, all of them or none.

Implements section 10 of the specification for places where something may be already. What is replaced is kept beside
its successor, and never deleted. Nothing here knows what the roots are to anybody.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ocbundle.errors import EntryMissing
from ocbundle.intentlog import Log, check_finished
from ocbundle.intents import PlacedRoot
from ocbundle.layout import Destination, Layout
from ocbundle.model import ProgressCallback
from ocbundle.places import Content, Entries, Need, Owner, Resolve, Select, check_space, survey
from ocbundle.plans import Plan
from ocbundle.settling import Immovable
from ocbundle.staging import Staging

Amend = Callable[[Mapping[str, bytes]], None]
"""Changes staged files: gets the path of each root's staged tree by name. What is on a file system that is mounted
inside of a root's place is staged elsewhere, and isn't in its tree. Symbolic links aren't there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What was placed."""

    roots: tuple[PlacedRoot, ...]
    entries: int
    size: int
    """Logical bytes written."""
    warnings: tuple[str, ...]


def place(
    destinations: Iterable[Destination],
    entries: Entries,
    content: Content,
    *,
    resolve: Resolve,
    owner: Owner,
    replace: bool,
    log_directory: str | bytes,
    bundle_id: str,
    select: Select | None = None,
    amend: Amend | None = None,
    before_publish: Callable[[], None] | None = None,
    progress: ProgressCallback | None = None,
    dry_run: bool = False,
    now: int | None = None,
) -> Placed:
    """Put each root at its destination; with *replace*, what is there is kept beside it.

    Directories missing above a destination are created (0700). A link at a destination is followed once. What is
    mounted at or below a destination stays mounted, and its content is exchanged. While things are exchanged, a log in
    *log_directory* tells what is done: see :mod:`ocbundle.intentlog`.

    Args:
        destinations: Where roots go; others in *entries* are left out.
        entries: All of the bundle's.
        content: Of its files.
        resolve: Of its hard links.
        owner: To whom all of it will belong.
        replace: Whether something may be there already.
        log_directory: Created if it's missing; not inside of a destination.
        bundle_id: For the log.
        select: Which entries are wanted. A destination is replaced as a whole even so.
        amend: Called when files are staged. If a directory turns out not to be movable, all is staged again, and it is
            called again.
        before_publish: Called before anything is exchanged; nothing is if it raises.
        progress: Told of the staging.
        dry_run: Make every check that can be made without writing, and write nothing.
        now: Seconds since the epoch, for the names of what is kept.

    Raises:
        EntryMissing: nothing is wanted.
        InvalidRequest: the destinations contradict one another or the bundle.
        TargetExists: something is there, and *replace* wasn't asked for; found before anything is written.
        NoSpace: there isn't enough room; found before anything is written, where it can be.
        TargetFailure: a place can't be written to, or an earlier run has to be finished first.
    """
    created = int(time.time()) if now is None else now
    needs = survey(entries, owner=owner, select=select)
    chosen = [destination for destination in destinations if destination.root in needs]
    if not chosen:
        raise EntryMissing("there is nothing of that name in the bundle")
    stuck: list[bytes] = []
    while True:
        with contextlib.ExitStack() as stack:
            log = Log(log_directory, owner=owner)
            check_finished(log.directory) if dry_run else stack.enter_context(log)
            layout = Layout(chosen, entries, select=select, stuck=stuck)
            plan = Plan(layout, stack, created=created)
            plan.check(log.directory, replace=replace)
            needed = needs if layout.is_plain else survey(layout.entries, owner=owner, select=layout.select)
            needed = {unit.name: needed[unit.name] for unit in layout.units if unit.name in needed}
            check_space(needed, plan.places)
            if dry_run:
                plan.check_writable()
                return _report(plan.rows(), needed)
            with Staging(plan.places, owner=owner) as staging:
                staging.fill(
                    layout.entries,
                    layout.content(content),
                    resolve=layout.resolve(resolve),
                    select=layout.select,
                    progress=progress,
                    needs=needed,
                )
                if amend is not None:
                    amend(plan.staged(staging))
                plan.make_asides(staging)
                staging.finish()
                if before_publish is not None:
                    before_publish()
                intent = plan.intent(staging, bundle_id, replace=replace)
                try:
                    kept = log.carry_out(intent)
                except Immovable as error:
                    path = error.spot.path
                    if not log.is_settled or path not in plan.movable:
                        raise
                    stuck.append(path)
                    continue
                finally:
                    if not log.is_settled:
                        staging.keep()
            warnings = (*log.warnings, *staging.warnings(), *plan.warnings, *kept)
            return Placed(roots=intent.roots, entries=staging.entries, size=staging.size, warnings=warnings)


def _report(rows: tuple[PlacedRoot, ...], needed: Mapping[str, Need]) -> Placed:
    return Placed(
        roots=rows,
        entries=sum(need.entries for need in needed.values()),
        size=sum(need.size for need in needed.values()),
        warnings=(),
    )
