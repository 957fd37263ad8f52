"""The verb ``unpack``: wiring, and no logic of its own.

It never prints, prompts or reads the environment. Clock and user are read here, and passed down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocbundle import limits, restore
from ocbundle.bundle import Bundle, BundleInfo, IdentityLike, Readable
from ocbundle.errors import EntryMissing, InvalidRequest
from ocbundle.model import Entry, Kind, ProgressCallback
from ocbundle.outcomes import RecoverReport, SetAside, UnpackReport
from ocbundle.paths import display
from ocbundle.places import Guard, Owner

if TYPE_CHECKING:
    from ocbundle.openclaw.logins import Kept
    from ocbundle.openclaw.moves import Moves
    from ocbundle.openclaw.placement import Placement
    from ocbundle.openclaw.relocation import Relocated

Path = str | bytes | os.PathLike[str]


def unpack(
    source: Readable,
    to: Path | None = None,
    *,
    identities: Iterable[IdentityLike] = (),
    passphrase: str | None = None,
    owner: str = "self",
    profiles: Collection[str] = (),
    paths: Sequence[str | bytes] = (),
    home: Path | None = None,
    maps: Mapping[Path, Path] | None = None,
    renames: Mapping[str, str] | None = None,
    replace: bool = False,
    keep_logins: bool = False,
    relocated: bool = True,
    environ: Mapping[str, str] | None = None,
    dry_run: bool = False,
    max_work_factor: int = limits.SCRYPT_READ_WORK_FACTOR,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.time,
) -> UnpackReport:
    """Put what a bundle holds where it belongs on this machine; with *to*, only lay it out for looking at.

    Nothing appears before the whole bundle has been authenticated, and then all of it does, or nothing.

    Args:
        source: A path, or a binary file object, a pipe too.
        to: Lay each root at ``to/<root>``, as it was packed. Nothing that is there is replaced.
        identities: Paths of identity files, or :class:`Identity` values.
        passphrase: What the bundle is sealed to.
        owner: ``self`` (whoever runs this; for root, the owner of *home*), a user's name, or ``numeric``.
        profiles: Only these; all if it's empty.
        paths: Only these, as ``root/path``; only with *to*.
        home: The home directory of the user who will run the gateway; this user's by default. What was in the old home
            goes there, and the rest where it was.
        maps: New by old prefix of absolute paths, for what goes elsewhere.
        renames: New by old name of profiles.
        replace: Let what is there already be replaced; it is kept beside its successor.
        keep_logins: Of what is replaced, take over the channel logins that are newer than the bundle's.
        relocated: Rewrite the paths that change, inside of configurations and databases too, and close the modes of
            secrets that were open to others.
        environ: The environment in which a running gateway and the installed OpenClaw are looked for.
        dry_run: Make every check, and write nothing.
        max_work_factor: Of the passphrase, at the most.
        progress: Called with :class:`Progress` as the work goes on.
        clock: Gives seconds since the epoch.

    Raises:
        TargetExists: something is there already, and *replace* wasn't asked for. Nothing is ever merged.
        GatewayRunning: a gateway works on what would be replaced.
        InstalledTooOld: the OpenClaw that is installed here can't read the state.
        EntryMissing: a path or a profile isn't in the bundle.
        InvalidRequest: the arguments contradict one another, or two roots would have one place.
        NoSpace, TargetFailure: a place can't take it.
        DamagedBundle, UnsupportedVersion, KeyFailure, OSError: as :meth:`Bundle.open`.
    """
    destination = None if to is None else os.path.abspath(os.fsencode(to))
    new_home = _home(home) if destination is None else b"/"
    wanted = [os.fsencode(path) for path in paths]
    if destination is None and wanted:
        raise InvalidRequest("single paths can only be laid out for looking at", hint="say where with --to DIR")
    if destination is not None and (maps or renames or replace or home is not None):
        raise InvalidRequest(
            "a plain tree is laid out as it was packed: home, maps, new names and replacing have no meaning there"
        )
    if keep_logins and not replace:
        raise InvalidRequest("there are logins to keep only where something is replaced", hint="add --replace")
    spool = next(place for place in _ancestors(destination or new_home) if os.path.isdir(place))
    with Bundle.open(
        source,
        identities=identities,
        passphrase=passphrase,
        max_work_factor=max_work_factor,
        spool=os.fsdecode(spool),
    ) as bundle:
        job = _Job(
            bundle=bundle,
            owner=_owner(owner, None if destination else new_home),
            environ=environ or {},
            dry_run=dry_run,
            progress=progress,
            now=int(clock()),
            info=bundle.info,
        )
        if dry_run:
            bundle.check(progress)
        if destination is not None:
            return job.lay_out(destination, _chosen(bundle, profiles, wanted))
        from ocbundle.openclaw import logins, placement  # noqa: PLC0415 - a plain tree does without OpenClaw
        from ocbundle.openclaw.moves import Moves  # noqa: PLC0415

        where = placement.place(
            bundle.manifest,
            home=new_home,
            maps={os.fsencode(old): os.fsencode(new) for old, new in (maps or {}).items()},
            profiles=profiles,
            renames=renames,
        )
        mapped = tuple((os.fsencode(old), os.fsencode(new)) for old, new in (maps or {}).items())
        moves = Moves.plan(bundle.manifest, where.destinations, home=new_home, mapped=mapped) if relocated else None
        kept = logins.choose(bundle.manifest, bundle.entries, where.destinations, keep=keep_logins)
        return job.put_in_place(where, new_home, moves, replace=replace, kept=kept)


def recover(home: Path | None = None, *, undo: bool = False) -> RecoverReport:
    """Bring what an unpack left half renamed, when it was killed, to one state: all of it new, or with *undo*, all old.

    Raises:
        TargetFailure: something that it needs is gone, or has been changed.
    """
    from ocbundle import intentlog  # noqa: PLC0415 - only after a kill

    found = intentlog.unfinished(log_directory(_home(home)))
    warnings: list[str] = []
    for each in found:
        warnings += (intentlog.undo if undo else intentlog.resume)(each)
    return RecoverReport(
        undone=undo,
        roots=tuple(os.fsdecode(root.path) for each in found for root in each.roots),
        warnings=tuple(warnings),
    )


def log_directory(home: bytes) -> bytes:
    """Where it is noted, while things are put in place, what has been done."""
    return os.path.join(home, b".local/state/ocbundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """An opened bundle, and how to unpack it."""

    bundle: Bundle
    owner: Owner
    environ: Mapping[str, str]
    dry_run: bool
    progress: ProgressCallback | None
    now: int
    info: BundleInfo
    """Read before anything is put in place: by then, nothing of the bundle is needed that could fail."""

    def lay_out(self, destination: bytes, chosen: Callable[[Entry], bool] | None) -> UnpackReport:
        """A plain tree."""
        reader = self.bundle.reader
        files = reader.link_targets()
        done = restore.restore_tree(
            destination,
            reader.entries,
            reader.content,
            resolve=lambda link: files[link.root, link.target or b""],
            owner=self.owner,
            select=chosen,
            progress=None if self.dry_run else self.progress,
            before_publish=reader.check_rest,
            dry_run=self.dry_run,
        )
        report = self._report(done.entries, done.size, done.warnings, done.roots)
        return dataclasses.replace(report, path=os.fsdecode(destination))

    def put_in_place(
        self, where: Placement, home: bytes, moves: Moves | None, *, replace: bool, kept: Kept
    ) -> UnpackReport:
        """Everything where it belongs."""
        from ocbundle import placing  # noqa: PLC0415 - a plain tree does without all of these
        from ocbundle.layout import Destination  # noqa: PLC0415
        from ocbundle.openclaw import advice, installed, occupants  # noqa: PLC0415
        from ocbundle.openclaw.closing import Closing  # noqa: PLC0415
        from ocbundle.openclaw.relocation import Relocated, relocate  # noqa: PLC0415

        manifest, reader = self.bundle.manifest, self.bundle.reader
        found = installed.find(self.environ)
        advice.check_version(manifest, where, found)
        self._demand_stopped(where, home)
        if replace:
            occupants.check(manifest, where)
        files = reader.link_targets()
        closing = Closing(manifest)
        amended: list[Relocated] = []

        def amend(trees: Mapping[str, bytes]) -> None:
            amended[:] = [relocate(trees, manifest, moves)] if moves is not None else []
            kept.copy(trees)

        done = placing.place(
            [Destination(root=root, path=path) for root, path in where.destinations.items()],
            lambda: kept.without(
                reader.entries() if moves is None else closing.close(_relinked(reader.entries(), moves))
            ),
            reader.content,
            resolve=lambda link: files[link.root, link.target or b""],
            owner=self.owner,
            replace=replace,
            log_directory=log_directory(home),
            bundle_id=manifest.bundle_id.hex(),
            amend=amend,
            before_publish=reader.check_rest,
            progress=None if self.dry_run else self.progress,
            dry_run=self.dry_run,
            now=self.now,
        )
        rewritten = amended[0] if amended else Relocated()
        warnings = (*rewritten.warnings, *done.warnings, *kept.warnings)
        report = self._report(done.entries, done.size, warnings, [root.path for root in done.roots])
        return dataclasses.replace(
            report,
            set_aside=tuple(
                SetAside(path=os.fsdecode(root.set_aside), size=root.size_aside)
                for root in done.roots
                if root.set_aside is not None
            ),
            changes=rewritten.changes,
            notes=(*closing.notes, *rewritten.notes, *kept.notes),
            next_steps=advice.next_steps(manifest, where, found, now=self.now),
        )

    def _demand_stopped(self, where: Placement, home: bytes) -> None:
        from ocbundle.openclaw import interlock, occupants  # noqa: PLC0415 - only for OpenClaw

        interlock.demand_stopped(
            occupants.states(self.bundle.manifest, where, home),
            uid=os.getuid(),
            environ=self.environ,
            otherwise="or lay the bundle out elsewhere with --to",
        )

    def _report(self, entries: int, size: int, warnings: Iterable[str], roots: Iterable[bytes]) -> UnpackReport:
        return UnpackReport(
            path=None,
            digest=self.info.digest,
            bundle_id=self.info.bundle_id,
            created=self.bundle.manifest.created,
            roots=tuple(os.fsdecode(root) for root in roots),
            entries=entries,
            size=size,
            warnings=tuple(warnings),
            dry_run=self.dry_run,
        )


def _relinked(entries: Iterable[Entry], moves: Moves) -> Iterator[Entry]:
    """*entries*, with symbolic links to where things are now."""
    for entry in entries:
        if entry.kind is Kind.SYMLINK and entry.target is not None:
            target = moves.link_target(entry.target)
            yield entry if target == entry.target else entry.replace(target=target)
        else:
            yield entry


def _home(home: Path | None) -> bytes:
    if home is not None:
        return os.path.abspath(os.fsencode(home))
    try:
        return os.fsencode(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:  # a container's user may have no name
        raise InvalidRequest("this user has no home directory", hint="name one with --home DIR") from error


def _ancestors(path: bytes) -> Iterator[bytes]:
    """*path* and the directories above it; the topmost without end."""
    while True:
        yield path
        path = os.path.dirname(path)


def _owner(name: str, home: bytes | None) -> Owner:
    if name == "self" and home is not None and os.geteuid() == 0:
        # Root prepares a machine for the user who will run the gateway: whoever the home belongs to.
        for place in _ancestors(home):  # pragma: no branch - the topmost directory is always there
            # Only what isn't there is passed over: another error must not make the files root's.
            with Guard(place, "look at the home directory"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.stat(place)
                if stat.S_ISDIR(status.st_mode):
                    return Owner(uid=status.st_uid, gid=status.st_gid) if status.st_uid != 0 else Owner.self()
    return Owner.named(name)


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
