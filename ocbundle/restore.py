"""Whole trees into one directory: staged first, published when the caller says so.

Implements section 10 of the specification. Never merges into what is there, never replaces it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from ocbundle import publish, sites
from ocbundle.errors import EntryMissing
from ocbundle.model import ProgressCallback
from ocbundle.places import Content, Entries, Owner, Resolve, Select, check_space, survey
from ocbundle.staging import Staging


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored."""

    roots: tuple[bytes, ...]
    """Where each root now is."""
    entries: int
    size: int
    """Logical bytes written."""
    warnings: tuple[str, ...]


def restore_tree(
    destination: str | bytes,
    entries: Entries,
    content: Content,
    *,
    resolve: Resolve,
    owner: Owner,
    select: Select | None = None,
    progress: ProgressCallback | None = None,
    before_publish: Callable[[], None] | None = None,
    dry_run: bool = False,
) -> Restored:
    """Restore each root at ``destination/<root>``, all of them or none.

    *destination* is created (0700), or is a directory that has none of the roots yet. Links on the way to it are
    followed once. *before_publish* is called when everything is staged; nothing appears if it raises. With *dry_run*
    nothing is written.

    Raises:
        EntryMissing: nothing is wanted.
        TargetExists: one of the roots is there already.
        NoSpace: there isn't enough room; found before anything is written, where it can be.
        TargetFailure: *destination* can't be written to, or can't hold the entries.
        Malformed: an entry's parent isn't a directory before it.
    """
    where = os.fsencode(destination)
    needs = survey(entries, owner=owner, select=select)
    if not needs:
        raise EntryMissing("there is nothing of that name in the bundle")
    # A dangling link counts as there, and fails to open.
    whole = not os.path.lexists(where.rstrip(b"/"))
    resolved, link_owners = sites.resolve(os.path.join(os.getcwdb(), where), ())
    directory, name = os.path.split(resolved) if whole else (resolved, b"")
    with sites.opened(directory) as place:
        sites.check_links(directory, link_owners)
        for root in needs:
            if not whole and place.holds(root.encode()):
                raise publish.failure(FileExistsError(errno.EEXIST, ""), os.path.join(where, root.encode()), "restore")
        places = dict.fromkeys(needs, place)
        check_space(needs, places)
        where_to = tuple(os.path.join(where, root.encode()) for root in needs)
        if dry_run:
            if not os.access(place.path, os.W_OK | os.X_OK):
                raise publish.failure(PermissionError(errno.EACCES, ""), place.path, "write to the directory")
            sizes = [(need.entries, need.size) for need in needs.values()]
            entries_in_all, size = (sum(column) for column in zip(*sizes, strict=True))
            return Restored(roots=where_to, entries=entries_in_all, size=size, warnings=())
        with Staging(places, owner=owner) as staging:
            staging.fill(entries, content, resolve=resolve, select=select, progress=progress, needs=needs)
            staging.finish()
            if before_publish is not None:
                before_publish()
            if whole:
                staging.publish_whole(name)
            else:
                staging.publish({root: root.encode() for root in needs})
        return Restored(
            roots=where_to,
            entries=staging.entries,
            size=staging.size,
            warnings=staging.warnings(),
        )
