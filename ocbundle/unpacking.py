"""The verb ``unpack``: wiring, and no logic of its own.

It never prints, prompts or reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ocbundle import limits, restore
from ocbundle.bundle import Bundle, IdentityLike, Readable
from ocbundle.errors import EntryMissing
from ocbundle.model import Entry, ProgressCallback, UnpackReport
from ocbundle.paths import display
from ocbundle.places import Owner


def unpack(
    source: Readable,
    to: str | bytes | os.PathLike[str],
    *,
    identities: Iterable[IdentityLike] = (),
    passphrase: str | None = None,
    owner: str = "self",
    profiles: Collection[str] = (),
    paths: Sequence[str | bytes] = (),
    dry_run: bool = False,
    max_work_factor: int = limits.SCRYPT_READ_WORK_FACTOR,
    progress: ProgressCallback | None = None,
) -> UnpackReport:
    """Lay each root of a bundle at ``to/<root>``: all of them, whole and authenticated, or nothing.

    *owner* is ``self`` (the files belong to whoever runs this), a user's name, or ``numeric`` (the numbers packed).
    *profiles* and *paths* (``root/path``) choose a part. *dry_run* makes every check, and writes nothing.

    Raises:
        TargetExists: a root is there already. Nothing is ever merged or replaced.
        EntryMissing: a path or a profile isn't in the bundle.
        NoSpace, TargetFailure: the destination can't take it.
        DamagedBundle, UnsupportedVersion, KeyFailure, OSError: as :meth:`Bundle.open`.
    """
    destination = os.path.abspath(os.fsencode(to))
    parent = next(place for place in _ancestors(destination) if os.path.isdir(place))
    with Bundle.open(
        source,
        identities=identities,
        passphrase=passphrase,
        max_work_factor=max_work_factor,
        spool=os.fsdecode(parent),
    ) as bundle:
        reader = bundle.reader
        chosen = _chosen(bundle, profiles, [os.fsencode(path) for path in paths])
        if dry_run:
            bundle.check(progress)
        files = reader.link_targets()
        done = restore.restore_tree(
            destination,
            reader.entries,
            reader.content,
            resolve=lambda link: files[link.root, link.target or b""],
            owner=_owner(owner),
            select=chosen,
            progress=None if dry_run else progress,
            before_publish=reader.check_rest,
            dry_run=dry_run,
        )
        info = bundle.info
        return UnpackReport(
            path=os.fsdecode(destination),
            digest=info.digest,
            bundle_id=info.bundle_id,
            created=bundle.manifest.created,
            roots=tuple(os.fsdecode(root) for root in done.roots),
            entries=done.entries,
            size=done.size,
            warnings=done.warnings,
            dry_run=dry_run,
        )


def _ancestors(path: bytes) -> Iterator[bytes]:
    while True:
        yield path
        if path == os.path.dirname(path):
            return
        path = os.path.dirname(path)


def _owner(name: str) -> Owner:
    if name == "self":
        return Owner.self()
    return Owner.numeric() if name == "numeric" else Owner.user(name)


def _chosen(bundle: Bundle, profiles: Collection[str], wanted: Sequence[bytes]) -> Callable[[Entry], bool] | None:
    """Whether an entry belongs to the chosen profiles and lies at or below one of the wanted paths."""
    manifest = bundle.manifest
    known = {profile.name for profile in manifest.profiles} | {root.profile for root in manifest.roots}
    for profile in profiles:
        if profile not in known:
            raise EntryMissing(
                f"the bundle holds no profile {display(profile)}", hint="ocbundle inspect shows which it holds"
            )
    roots = {root.name for root in manifest.roots if not profiles or root.profile in profiles}
    prefixes = tuple(dict.fromkeys(path.strip(b"/") for path in wanted))
    if not profiles and not prefixes:
        return None
    _demand(bundle, prefixes)

    def chosen(entry: Entry) -> bool:
        if entry.root not in roots:
            return False
        full = _full(entry)
        return not prefixes or any(full == prefix or full.startswith(prefix + b"/") for prefix in prefixes)

    return chosen


def _demand(bundle: Bundle, wanted: Sequence[bytes]) -> None:
    missing = set(wanted)
    if missing:
        for entry in bundle.entries():
            missing.discard(_full(entry))
    for path in sorted(missing):
        raise EntryMissing(
            f"the bundle holds no {display(path)}", path=display(path), hint="ocbundle list shows what it holds"
        )


def _full(entry: Entry) -> bytes:
    return f"{entry.root}/".encode() + entry.path if entry.path else entry.root.encode()
