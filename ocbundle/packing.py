"""The verb ``pack``: wiring, and no logic of its own.

It never prints, prompts or reads the environment. Clock, randomness and user are read here, and passed down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from ocbundle import keyholders, limits, publish, scan, sealing, selection, weighing
from ocbundle._version import __version__
from ocbundle.errors import InvalidRequest, NoSpace
from ocbundle.keyholders import Recipient
from ocbundle.model import Host, Manifest, Profile, ProgressCallback, Root, Totals
from ocbundle.outcomes import PackReport
from ocbundle.paths import display
from ocbundle.sealing import BundleKey
from ocbundle.sources import Source
from ocbundle.writer import Output, Writer

Writable = str | bytes | os.PathLike[str] | BinaryIO
RecipientLike = str | os.PathLike[str] | Recipient

_GENERATOR: Final = f"ocbundle {__version__}"
_LEVELS: Final = range(1, 23)


def pack(
    target: Writable | None,
    sources: Iterable[selection.SourceLike] | None = None,
    *,
    profiles: Sequence[Profile] = (),
    recipients: Iterable[RecipientLike] = (),
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
    exclude: Sequence[str] = (),
    level: int = 3,
    overwrite: bool = False,
    live: bool = False,
    dry_run: bool = False,
    scratch: str | os.PathLike[str] | None = None,
    warnings: Sequence[str] = (),
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> PackReport:
    """Pack *sources* into one encrypted file.

    Args:
        target: A path, where the bundle appears whole or not at all, mode 0600; or a binary file object, a pipe too.
            ``None`` only with *dry_run*.
        sources: Directories or files: paths, or :class:`Source` values. Without them, everything of OpenClaw that
            *environ* leads to.
        profiles: What the manifest says of the installations among the sources; discovery finds it.
        recipients: Recipients as text, paths of recipients files (``os.PathLike``), or :class:`Recipient` values.
        passphrase: Seal it to this passphrase too.
        environ: The environment by which OpenClaw and the user's home are found.
        exclude: Gitignore patterns, matched inside each source.
        level: zstd's, 1 to 22.
        overwrite: Replace *target* if it is there.
        live: Pack although a gateway works on it: databases through SQLite, files read again if they change.
        dry_run: Make every check, and write nothing.
        scratch: A directory for private copies of databases while they are read; by default that of *target*, or the
            system's for temporary files if *target* is a file object.
        warnings: What the caller noticed while choosing the sources; repeated in the report.
        progress: Called with :class:`Progress` as the work goes on.
        clock: Gives seconds since the epoch.
        random: Gives bytes fit for keys.

    Raises:
        SourceMissing: a source, or OpenClaw, isn't there.
        SourceFailure: nothing of what was asked for can be read.
        GatewayRunning: a gateway works on one of *profiles*, and *live* isn't set.
        InvalidRequest: no recipient, no source, or something that isn't one.
        TargetExists, NoSpace, TargetFailure: *target* can't be written.
    """
    if sources is None:
        from ocbundle.openclaw import discover  # noqa: PLC0415 - whoever names sources doesn't wait for it

        with publish.private_directory(_scratch(target, scratch)) as private:
            found = discover(environ or {}, scratch=os.fsdecode(private))
        sources, profiles, warnings = found.sources, found.profiles, (*warnings, *found.warnings)
        warnings = (*warnings, *map(str, found.left))
    chosen = selection.resolve(sources, exclude)
    _demand_kept(target, chosen)
    if profiles and not live:
        _demand_stopped(chosen, profiles, environ or {})
    job = _Job(
        sources=chosen,
        profiles=tuple(profiles),
        recipients=_recipients(recipients),
        passphrase=passphrase,
        level=_level(level),
        warnings=tuple(warnings),
        host=_host(environ or {}),
        created=int(clock()),
        random=random,
        progress=progress,
    )
    if target is None and not dry_run:
        raise InvalidRequest("no target to pack into")
    if not isinstance(target, str | bytes | os.PathLike):
        place = _Place(scratch=_scratch(target, scratch))
        if target is None or dry_run:
            return job.rehearse(place)
        report = job.run(target, place)
        target.flush()
        return report
    with publish.Output(target, replace=overwrite) as file:
        place = _Place(
            scratch=_scratch(target, scratch),
            target=_directory(target),
            own=frozenset({file.identity}),
            replaced=_replaced(target),
        )
        if dry_run:
            return job.rehearse(place)
        report = job.run(file, place)
        file.commit()
        return dataclasses.replace(report, path=os.fsdecode(target))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a bundle is made."""

    scratch: bytes
    """Where private copies of databases are made."""
    target: bytes | None = None
    """The bundle's directory; ``None`` if it goes to a stream."""
    own: frozenset[tuple[int, int]] = frozenset()
    replaced: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """All that is known before the first file is read."""

    sources: tuple[Source, ...]
    profiles: tuple[Profile, ...]
    recipients: tuple[Recipient, ...]
    passphrase: str | None
    level: int
    warnings: tuple[str, ...]
    host: Host
    created: int
    random: Callable[[int], bytes]
    progress: ProgressCallback | None

    @property
    def roots(self) -> tuple[Root, ...]:
        return tuple(
            Root(name=source.name, role=source.role, source=source.path, profile=source.profile)
            for source in self.sources
        )

    def rehearse(self, place: _Place) -> PackReport:
        """Everything but reading the content and writing the bundle."""
        notes = [*self.warnings, *_leftovers(place.scratch)]
        with publish.private_directory(place.scratch) as private:
            own = place.own | {_identity(os.stat(private))}
            measured = scan.measure(
                self.sources, own=own, replaced=place.replaced, progress=self.progress, thorough=True
            )
            notes += _check_space(measured, place)
        return self._report(measured, notes, dry_run=True)

    def run(self, output: Output, place: _Place) -> PackReport:
        """Write the bundle to *output*."""
        key, bundle_id = BundleKey.generate(self.random), self.random(16)
        keys = sealing.wrap(key, bundle_id, self.recipients, self.passphrase, self.random)
        notes = [*self.warnings, *_leftovers(place.scratch)]
        with publish.private_directory(place.scratch) as private:
            own = place.own | {_identity(os.stat(private))}
            measured = None
            if self.progress is not None or not _is_roomy(self.sources, place):
                measured = scan.measure(self.sources, own=own, replaced=place.replaced, progress=self.progress)
                notes += _check_space(measured, place)
            with Writer(
                output,
                bundle_id=bundle_id,
                key=key,
                keys=keys,
                roots=self.roots,
                random=self.random,
                level=self.level,
            ) as writer:
                scanned = scan.scan(
                    self.sources,
                    writer,
                    scratch=os.fsdecode(private),
                    own=own,
                    replaced=place.replaced,
                    progress=self.progress,
                    totals=measured,
                )
                written = writer.finish(self._manifest(bundle_id, writer))
        return dataclasses.replace(
            self._report(scanned, notes),
            digest=written.digest.hex(),
            bundle_id=bundle_id.hex(),
            size=written.length,
            totals=written.totals,
        )

    def _manifest(self, bundle_id: bytes, writer: Writer) -> Manifest:
        return Manifest(
            bundle_id=bundle_id,
            created=self.created,
            generator=_GENERATOR,
            source=self.host,
            roots=self.roots,
            profiles=self.profiles,
            users=_names(writer.uids, lambda number: pwd.getpwuid(number).pw_name),
            groups=_names(writer.gids, lambda number: grp.getgrgid(number).gr_name),
        )

    def _report(self, result: scan.ScanResult, notes: Sequence[str], *, dry_run: bool = False) -> PackReport:
        kinds = [recipient.kind for recipient in self.recipients]
        return PackReport(
            path=None,
            digest="",
            bundle_id="",
            size=0,
            totals=Totals(entries=result.entries, skipped=sum(result.skipped_counts.values()), size=result.size),
            roots=self.roots,
            profiles=self.profiles,
            skipped=result.skipped,
            skipped_counts=result.skipped_counts,
            changed=result.changed,
            losses=result.losses,
            warnings=(*notes, *result.warnings),
            recipients=(*kinds, *(["passphrase"] if self.passphrase is not None else [])),
            dry_run=dry_run,
            root_totals=result.roots,
            skipped_sizes=weighing.weigh(self.sources, result.skipped) if dry_run else {},
        )


def _demand_stopped(sources: Sequence[Source], profiles: Sequence[Profile], environ: Mapping[str, str]) -> None:
    from ocbundle.openclaw import interlock  # noqa: PLC0415 - only for OpenClaw

    states = {source.name: source.path for source in sources}
    interlock.demand_stopped(
        [(profile.name, states[profile.state], profile.config) for profile in profiles if profile.state in states],
        uid=os.getuid(),
        environ=environ,
        otherwise="or pack with --live",
    )


def _recipients(recipients: Iterable[RecipientLike]) -> tuple[Recipient, ...]:
    known: list[Recipient] = []
    for item in recipients:
        if isinstance(item, Recipient):
            known.append(item)
        elif isinstance(item, str):
            known.append(keyholders.parse_recipient(item))
        else:
            known += keyholders.read_recipients(item)
    return tuple(dict.fromkeys(known))


def _level(level: int) -> int:
    if level not in _LEVELS:
        raise InvalidRequest(f"zstd has levels {_LEVELS.start} to {_LEVELS.stop - 1}, not {level}")
    return level


def _host(environ: Mapping[str, str]) -> Host:
    name = os.uname()
    uid = os.getuid()
    try:
        record = pwd.getpwuid(uid)
        user, home = record.pw_name, record.pw_dir
    except KeyError:  # a container's user may have no name
        user, home = str(uid), ""
    return Host(
        host=name.nodename,
        os=f"{name.sysname} {name.release} {name.machine}",
        user=user,
        uid=uid,
        gid=os.getgid(),
        home=os.fsencode(environ.get("HOME") or home),
    )


def _scratch(target: Writable | None, scratch: str | os.PathLike[str] | None) -> bytes:
    """Where private copies of databases are made."""
    if scratch is not None:
        return os.fsencode(scratch)
    if isinstance(target, str | bytes | os.PathLike):
        return _directory(target)
    import tempfile  # noqa: PLC0415 - only a stream has no place of its own

    return os.fsencode(tempfile.gettempdir())


def _directory(target: str | bytes | os.PathLike[str]) -> bytes:
    return os.path.dirname(os.path.abspath(os.fsencode(target)))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _replaced(target: str | bytes | os.PathLike[str]) -> frozenset[tuple[int, int]]:
    """Device and inode of the file that the bundle will replace, if there is one: it isn't packed."""
    with contextlib.suppress(OSError):
        status = os.lstat(target)  # a link is replaced itself: what it points to stays, and is packed
        if status.st_nlink == 1:  # under its other names it stays, too
            return frozenset({_identity(status)})
    return frozenset()


def _demand_kept(target: Writable | None, sources: Sequence[Source]) -> None:
    """Refuse to replace a source by a bundle that can't hold it."""
    if not isinstance(target, str | bytes | os.PathLike):
        return
    with contextlib.suppress(OSError):
        status = os.lstat(target)
        if stat.S_ISREG(status.st_mode):
            for source in sources:
                if os.path.samestat(status, os.stat(source.path)):
                    raise InvalidRequest(
                        "the bundle would replace what it should hold",
                        path=display(os.fsencode(target)),
                        hint="choose another name for it",
                    )


def _leftovers(place: bytes) -> list[str]:
    return [f"{display(path)} was left behind by a run that was killed: remove it" for path in publish.leftovers(place)]


def _is_roomy(sources: Sequence[Source], place: _Place) -> bool:
    """Whether all that the sources' file systems hold would fit twice, so that nothing has to be measured first."""
    try:
        used = {os.stat(source.path).st_dev: publish.used_space(source.path) for source in sources}
    except OSError:  # the walk will say what is wrong with it
        return False
    free = min(map(publish.free_space, {place.scratch, place.target or place.scratch}))
    return 2 * sum(used.values()) <= free


def _check_space(measured: scan.ScanResult, place: _Place) -> list[str]:
    """Refuse what can't fit, and warn of what may not: how well the content compresses isn't known beforehand."""
    free = publish.free_space(place.scratch)
    if measured.largest_database > free:
        raise NoSpace(
            f"{measured.largest_database / limits.MIB:,.1f} MiB needed for a private copy of the largest database, "
            f"{free / limits.MIB:,.1f} MiB free",
            path=display(place.scratch),
            hint="free some space there, or pack to another file system",
        )
    if place.target is None or measured.size + measured.largest_database <= (free := publish.free_space(place.target)):
        return []
    sizes = f"{measured.size / limits.MIB:,.1f} MiB before compression, {free / limits.MIB:,.1f} MiB free"
    return [f"the bundle may not fit in {display(place.target)}: {sizes}"]


def _names(numbers: Collection[int], name_of: Callable[[int], str]) -> dict[int, str]:
    names = {}
    for number in numbers:
        with contextlib.suppress(KeyError, OverflowError):
            names[number] = name_of(number)
    return names
