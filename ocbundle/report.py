"""Reports as words: lines of text for a person, and objects for JSON.

What each level of verification may claim (section 11 of the specification) is said here, in one place. Pure: nothing
here prints, or touches a file. Every name goes through :func:`ocbundle.paths.display` on its way to a person.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ocbundle import paths
from ocbundle.errors import BundleError
from ocbundle.model import Level, Manifest, Profile, Progress, Reason, Root, Skipped, Totals
from ocbundle.paths import one_line

if TYPE_CHECKING:
    from ocbundle.outcomes import Change, PackReport, RecoverReport, UnpackReport
    from ocbundle.verifying import VerifyReport

ROWS_SHOWN: Final = 20
"""How many losses are told one by one unless all are asked for."""

Fields = dict[str, Any]


# --- Words and numbers ---------------------------------------------------------------------------------------------


def size(count: int) -> str:
    """A number of bytes for a person: ``512 B``, ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # pragma: no branch - the last one takes whatever is left
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def moment(seconds: int) -> str:
    """Seconds since the epoch as UTC, ``2026-11-24 21:42:14``; a year that no calendar holds stays a number."""
    try:
        then = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return f"@{seconds}"
    return then.strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 entry``, ``1,234 entries``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def counts(numbers: Mapping[str, int]) -> str:
    """``12 regenerable, 1 socket``: the most frequent first."""
    return ", ".join(f"{number:,} {name}" for name, number in sorted(numbers.items(), key=lambda x: (-x[1], x[0])))


def path_fields(path: bytes, key: str = "path") -> Fields:
    """A path in JSON: as it is, or, where it isn't UTF-8, escaped and with its bytes in base64 beside it."""
    try:
        return {key: path.decode()}
    except UnicodeDecodeError:
        return {key: paths.display(path), f"{key}_b64": base64.b64encode(path).decode()}


def error_fields(error: BundleError, exit_code: int) -> Fields:
    """An error in JSON: what it is, what it says, and where."""
    message = error.message
    if error.path and error.path not in message:
        message = f"{paths.display(error.path)}: {message}"
    where = [] if error.offset is None else [f"at byte {error.offset}"]
    where += [error.rule] if error.rule else []
    return {
        "error": type(error).__name__,
        "message": f"{message} ({', '.join(where)})" if where else message,
        "path": error.path,
        "offset": error.offset,
        "rule": error.rule,
        "hint": error.hint,
        "exit_code": exit_code,
    }


# --- Progress ------------------------------------------------------------------------------------------------------


def progress_text(progress: Progress) -> str:
    """``34 %, 1.2 GiB of 3.4 GiB, 12,345 entries``."""
    parts = [size(progress.size), counted(progress.entries, "entry", "entries")]
    if progress.total_size:
        parts[0] += f" of {size(progress.total_size)}"
        parts.insert(0, f"{min(100, progress.size * 100 // progress.total_size)} %")
    return ", ".join(parts)


def progress_fields(progress: Progress) -> Fields:
    """Progress in JSON."""
    return {
        "status": "progress",
        "stage": progress.stage,
        "bytes_done": progress.size,
        "bytes_total": progress.total_size,
        "entries_done": progress.entries,
        "entries_total": progress.total_entries,
    }


# --- pack ----------------------------------------------------------------------------------------------------------


def pack_lines(report: PackReport, *, each: bool = False) -> list[str]:
    """What ``pack`` did. With *each*, also every path that was left out."""
    held = f"{counted(report.totals.entries, 'entry', 'entries')}, {size(report.totals.size)}"
    where = f" into {paths.display(report.path)}" if report.path else ""
    lines = [f"would pack {held}{where}" if report.dry_run else f"packed {held}{where} ({size(report.size)})"]
    lines += root_lines(report.roots, report.root_totals if report.dry_run else None)
    if report.dry_run:
        lines += _secret_lines(report.profiles)
    if report.recipients:
        lines.append(f"sealed to: {', '.join(map(paths.display, report.recipients))}")
    left_out = {reason: number for reason, number in report.skipped_counts.items() if number}
    if left_out:
        lines.append(f"left out: {counts(left_out)}" + ("" if each else " (-v names each)"))
        if report.dry_run:
            lines += _left_lines(report, each=each)
        elif each:
            lines += [f"  {skipped_line(row)}" for row in report.skipped]
            untold = sum(left_out.values()) - len(report.skipped)
            lines += [f"  and {untold:,} more, listed in the bundle"] if untold > 0 else []
    if report.digest:
        lines.append(f"digest: {report.digest}")
    return lines


def _secret_lines(profiles: Iterable[Profile]) -> list[str]:
    return [
        f"secrets in profile {paths.display(profile.name)}: {', '.join(map(paths.display, profile.secrets))}"
        for profile in profiles
        if profile.secrets
    ]


def _left_lines(report: PackReport, *, each: bool) -> list[str]:
    """What a dry run would leave out, the largest first; but not what the bundle has in another place."""
    groups: dict[object, list[Skipped]] = {}
    for row in report.skipped:
        if row.reason not in {Reason.NESTED, Reason.DATABASE_PART}:
            groups.setdefault(row if each else (row.reason, row.detail), []).append(row)
    told = [(sum(report.skipped_sizes.get(row, 0) for row in rows), rows) for rows in groups.values()]
    told.sort(key=lambda group: -group[0])
    return [f"  {_known(rows, report.skipped_sizes):>10}  {_group_line(rows)}" for _, rows in told]


def _known(rows: list[Skipped], sizes: Mapping[Skipped, int]) -> str:
    known = [sizes[row] for row in rows if row in sizes]
    return size(sum(known)) if known else ""


def _group_line(rows: list[Skipped]) -> str:
    first = rows[0]
    if len(rows) == 1:
        return skipped_line(first)
    return f"{counted(len(rows), 'path')}: {first.reason}" + (f" ({first.detail})" if first.detail else "")


def pack_fields(report: PackReport) -> Fields:
    """What ``pack`` did, in JSON."""
    return {
        "command": "pack",
        "path": report.path,
        "digest": report.digest,
        "bundle_id": report.bundle_id,
        "size": report.size,
        "entries": report.totals.entries,
        "bytes": report.totals.size,
        "roots": [root_fields(root) | _totals_fields(report.root_totals.get(root.name)) for root in report.roots],
        "profiles": [profile.name for profile in report.profiles],
        "secrets": {profile.name: list(profile.secrets) for profile in report.profiles},
        "needs": {profile.name: list(profile.needs) for profile in report.profiles},
        "recipients": list(report.recipients),
        "left_out": dict(report.skipped_counts),
        "left_out_bytes": sum(report.skipped_sizes.values()) if report.dry_run else None,
        "changed": list(report.changed),
        "losses": report.losses,
        "dry_run": report.dry_run,
    }


def loss_lines(report: PackReport, *, each: bool = False) -> list[str]:
    """What is missing from the bundle or torn in it, one line each: what exit code 3 stands for."""
    lines = [f"not packed: {skipped_line(row)}" for row in report.skipped if row.is_loss]
    lines += [f"{name} changed each time it was read: it may be torn" for name in report.changed]
    if not each:
        del lines[ROWS_SHOWN:]
    untold = report.losses - len(lines)
    return [*lines, f"and {untold:,} more missing or torn"] if untold > 0 else lines


def skipped_line(row: Skipped) -> str:
    """``default/run.sock: socket``."""
    detail = f" ({row.detail})" if row.detail else ""
    return f"{row.name}: {row.reason}{detail}"


def skipped_fields(row: Skipped) -> Fields:
    """A path that was left out, in JSON."""
    return {
        "status": "skipped",
        **path_fields(full_path(row.root, row.path)),
        "kind": row.kind,
        "reason": str(row.reason),
        "detail": row.detail,
    }


# --- verify --------------------------------------------------------------------------------------------------------


def verify_lines(report: VerifyReport, *, expected: bool) -> list[str]:
    """What ``verify`` found; the last line says exactly what is proven, and what isn't."""
    lines = [f"{size(report.size)} in {counted(report.sections, 'section')}, bundle {report.bundle_id}"]
    if report.manifest is not None:
        lines.append(packed(report.manifest))
        lines.append(held(report.manifest))
    return [*lines, f"digest: {report.digest}", claim(report, expected=expected)]


def claim(report: VerifyReport, *, expected: bool) -> str:
    """The one sentence that a verification ends with."""
    if report.level is Level.CHECKSUMS:
        return (
            "checksums verified: no accidental damage since it was written; without a key this says nothing about who "
            "wrote it, and nothing against an attacker"
        )
    if report.level is Level.EXPECTED:
        return (
            "checksums and digest verified: the content is the one packed under the expected digest, whoever has held "
            "the file since; nothing was decrypted"
        )
    matches = ", and the digest is the expected one" if expected else ""
    caveat = "" if expected else "; whether that is your own backup, and the newest, only its digest and date can tell"
    return (
        "fully verified: every byte of every file, and the framing, is what the holder of the bundle key packed"
        f"{matches}{caveat}"
    )


def verify_fields(report: VerifyReport, *, expected: bool) -> Fields:
    """What ``verify`` found, in JSON."""
    manifest = report.manifest
    return {
        "command": "verify",
        "level": str(report.level),
        "expected": expected,
        "claim": claim(report, expected=expected),
        "digest": report.digest,
        "bundle_id": report.bundle_id,
        "size": report.size,
        "sections": report.sections,
        "created": None if manifest is None else manifest.created,
        "entries": None if manifest is None else manifest.totals.entries,
        "bytes": None if manifest is None else manifest.totals.size,
    }


# --- unpack --------------------------------------------------------------------------------------------------------


def unpack_lines(report: UnpackReport) -> list[str]:
    """What ``unpack`` did, where everything is now, and what to do next."""
    held = f"{counted(report.entries, 'entry', 'entries')}, {size(report.size)}"
    lines = [f"{'would unpack' if report.dry_run else 'unpacked'} {held} (packed {moment(report.created)} UTC)"]
    lines += [f"  {paths.display(root)}" for root in report.roots]
    lines += _aside_lines(report)
    if report.path is None:
        lines += _change_lines(report)
    elif not report.dry_run:
        lines.append("every byte was authenticated before anything was put there; paths inside files are as they were")
    if report.next_steps and not report.dry_run:
        lines += ["", "what to do next:", *(f"  {one_line(step)}" for step in report.next_steps)]
    return lines


def _aside_lines(report: UnpackReport) -> list[str]:
    if not report.set_aside:
        return []
    kept = "would be kept" if report.dry_run else "is kept, in clear"
    lines = [f"what was there before {kept}; when all is well, remove it:"]
    lines += [f"  rm -rf {shlex.quote(paths.display(aside.path))}  # {size(aside.size)}" for aside in report.set_aside]
    return lines


def _change_lines(report: UnpackReport) -> list[str]:
    rewritten = [change for change in report.changes if not change.cleared]
    cleared = [change for change in report.changes if change.cleared]
    lines = []
    if rewritten:
        places = counted(len(rewritten), "place", "places")
        lines.append(f"rewrote {counted(_sum(rewritten), 'old path', 'old paths')} in {places}:")
        lines += [f"  {change.count:>4}  {one_line(change.where)}" for change in rewritten]
    if cleared:
        lines.append("removed, so that nothing is sent twice:")
        lines += [f"  {change.count:>4}  {one_line(change.where)}" for change in cleared]
    if report.notes:
        lines.append("left as they are:")
        lines += [f"  {one_line(note)}" for note in report.notes]
    return lines


def _sum(changes: Iterable[Change]) -> int:
    return sum(change.count for change in changes)


def unpack_fields(report: UnpackReport) -> Fields:
    """What ``unpack`` did, in JSON."""
    return {
        "command": "unpack",
        "path": report.path,
        "roots": list(report.roots),
        "digest": report.digest,
        "bundle_id": report.bundle_id,
        "created": report.created,
        "entries": report.entries,
        "bytes": report.size,
        "dry_run": report.dry_run,
        "set_aside": [{"path": aside.path, "bytes": aside.size} for aside in report.set_aside],
        "changes": [
            {"where": change.where, "count": change.count, "cleared": change.cleared} for change in report.changes
        ],
        "notes": list(report.notes),
        "next_steps": list(report.next_steps),
    }


def recover_lines(report: RecoverReport) -> list[str]:
    """What ``unpack --resume`` or ``--undo`` did."""
    if not report.roots:
        return ["nothing to do: no unpack was interrupted here"]
    done = "everything is as it was before" if report.undone else "everything is in place"
    return [f"{done}:", *(f"  {paths.display(root)}" for root in report.roots)]


def recover_fields(report: RecoverReport) -> Fields:
    """The same in JSON."""
    return {"command": "unpack", "undone": report.undone, "roots": list(report.roots)}


# --- What several of them say --------------------------------------------------------------------------------------


def root_lines(roots: Iterable[Root], totals: Mapping[str, Totals] | None = None) -> list[str]:
    """One line a root: its name, what it is, where it was taken from; with *totals*, what it holds."""
    rows = [(paths.display(root.name), str(root.role), paths.display(root.source), root.name) for root in roots]
    width = max((len(name) for name, *_ in rows), default=0)
    return [
        f"  {name:<{width}}  {role:<11}  {source}" + _holding((totals or {}).get(key))
        for name, role, source, key in rows
    ]


def _holding(totals: Totals | None) -> str:
    return "" if totals is None else f"  ({counted(totals.entries, 'entry', 'entries')}, {size(totals.size)})"


def _totals_fields(totals: Totals | None) -> Fields:
    return {} if totals is None else {"entries": totals.entries, "bytes": totals.size, "left_out": totals.skipped}


def root_fields(root: Root) -> Fields:
    """A root in JSON."""
    return {
        "name": root.name,
        "role": str(root.role),
        "profile": root.profile,
        **path_fields(root.source, "source"),
    }


def packed(manifest: Manifest) -> str:
    """When, where, by whom and with what a bundle was packed."""
    source = manifest.source
    return (
        f"packed {moment(manifest.created)} UTC on {paths.display(source.host or 'an unnamed host')}"
        f" by {paths.display(source.user or str(source.uid))} ({paths.display(source.os or 'unknown system')})"
        f" with {paths.display(manifest.generator)}"
    )


def held(manifest: Manifest) -> str:
    """How much a bundle holds."""
    return f"{counted(manifest.totals.entries, 'entry', 'entries')}, {size(manifest.totals.size)} unpacked"


def full_path(root: str, path: bytes) -> bytes:
    """``root/path``, as bytes."""
    return root.encode() + b"/" + path if path else root.encode()
