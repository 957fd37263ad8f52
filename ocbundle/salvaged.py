"""A salvage as words: lines of text for a person, and objects for JSON.

Says what rules R-5.10 and R-13.7 of the specification want said. Pure: nothing here prints, or touches a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ocbundle import paths
from ocbundle.outcomes import Casualty, Condition, SalvageReport
from ocbundle.report import ROWS_SHOWN, Fields, counted, full_path, packed, path_fields, size

_WHAT: Final = {
    Condition.LOST: "lost, all but the name:",
    Condition.DAMAGED: "damaged, with zeros for what is lost, in directories of their own:",
    Condition.UNCONFIRMED: "not confirmed: every byte is authentic, but the digest of the whole is lost",
}


def lines(report: SalvageReport) -> list[str]:
    """What was salvaged and what wasn't; the last line says exactly what is proven."""
    done = "can be salvaged" if report.dry_run else "salvaged"
    of_all = f" of {report.manifest.totals.entries:,}" if report.manifest else ""
    damaged = report.conditions.get(Condition.DAMAGED, 0)
    some = f", {damaged:,} of them damaged" if damaged else ""
    found = [f"{done}: {report.entries:,}{of_all} entries{some}, {size(report.size)}"]
    found += [] if report.manifest is None else [packed(report.manifest)]
    found += [] if report.dry_run else [f"  {paths.display(root)}" for root in report.roots]
    found.append(_sections(report))
    if report.journaled:
        found.append(f"{counted(report.journaled, 'entry is', 'entries are')} known from journals alone")
    if report.remade:
        found.append(f"{counted(report.remade, 'directory', 'directories')} made anew, closed to others")
    return [*found, *_casualty_lines(report), claim(report)]


def _sections(report: SalvageReport) -> str:
    """How much of the bundle itself is whole."""
    exact = report.manifest is not None
    parts = [
        _of(report.segments.whole, report.segments.total, "segments of content", exact=exact),
        _of(report.batches.whole, report.batches.total, "lists of entries", exact=exact),
        "the head of the manifest" if exact else "not the head of the manifest",
    ]
    return f"whole are {', '.join(parts)}"


def _of(whole: int, total: int, what: str, *, exact: bool) -> str:
    if not whole:
        return f"none of the {what}"
    return f"{whole:,} of {'' if exact else 'at least '}{total:,} {what}"


def _casualty_lines(report: SalvageReport) -> Iterator[str]:
    left = ROWS_SHOWN
    for condition, what in _WHAT.items():
        number = report.conditions.get(condition, 0)
        if not number:
            continue
        yield f"{number:,} {what}"
        if condition is Condition.UNCONFIRMED:  # there may be nothing wrong with any of them
            continue
        shown = [casualty for casualty in report.casualties if casualty.condition is condition][:left]
        left -= len(shown)
        yield from (f"  {casualty_line(casualty)}" for casualty in shown)
        if number > len(shown):
            yield f"  and {number - len(shown):,} more"
    if report.list_path:
        yield f"each of them is named in {paths.display(report.list_path)}"


def casualty_line(casualty: Casualty) -> str:
    """``default/notes.md: its digest is lost``."""
    return f"{casualty.name}: {casualty.note}"


def warnings(report: SalvageReport) -> list[str]:
    """What must not be overlooked, however quiet the run is."""
    found = []
    for condition, words in (
        (Condition.LOST, "lost"),
        (Condition.DAMAGED, "damaged"),
        (Condition.UNCONFIRMED, "not confirmed, since digests are lost"),
    ):
        number = report.conditions.get(condition, 0)
        if number:
            found.append(f"{counted(number, 'file or link is', 'files or links are')} {words}")
    if report.unnamed:
        found.append(f"of {counted(report.unnamed, 'entry', 'entries')} not even the name is left")
    elif report.unnamed is None:
        found.append("the head of the manifest is lost: nobody can tell how much is missing")
    if report.framing is not None:
        found.append(f"the framing isn't authenticated ({report.framing}): parts may have been dropped or moved")
    return [*found, *report.warnings]


def claim(report: SalvageReport) -> str:
    """The one sentence that a salvage ends with."""
    if not report.is_complete:
        return (
            "each byte that is laid out was sealed by a holder of the bundle key for its place in this bundle, or is a "
            "zero where one is lost; for the rest, look for another copy"
        )
    if report.framing is not None:
        return "every entry that the manifest counts is whole and confirmed; pack anew, since the bundle itself isn't"
    return "the bundle is whole: every file is as it was packed, and unpack and verify can be used"


def fields(report: SalvageReport) -> Fields:
    """The same in JSON."""
    manifest = report.manifest
    return {
        "command": "salvage",
        "path": report.path,
        "bundle_id": report.bundle_id,
        "created": None if manifest is None else manifest.created,
        "roots": list(report.roots),
        "entries": report.entries,
        "entries_packed": None if manifest is None else manifest.totals.entries,
        "bytes": report.size,
        "bytes_packed": None if manifest is None else manifest.totals.size,
        "complete": report.is_complete,
        "framing_authenticated": report.framing is None,
        "framing": report.framing,
        "conditions": {condition.name.lower(): report.conditions.get(condition, 0) for condition in Condition},
        "unnamed": report.unnamed,
        "journaled": report.journaled,
        "remade": report.remade,
        "segments": {"whole": report.segments.whole, "total": report.segments.total},
        "batches": {"whole": report.batches.whole, "total": report.batches.total},
        "list": report.list_path,
        "claim": claim(report),
        "dry_run": report.dry_run,
    }


def casualty_fields(casualty: Casualty) -> Fields:
    """A file or link that isn't whole, in JSON."""
    return {
        "status": "casualty",
        **path_fields(full_path(casualty.root, casualty.path)),
        "condition": casualty.condition.name.lower(),
        "bytes": casualty.size,
        "note": casualty.note,
    }
