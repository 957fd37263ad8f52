"""Results as Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from contest import Contest
from growth import MEASURED, Growth, Step, further_cost
from measuring import Figure
from peers import OPERATIONS
from targets import OURS, TIMES, Results, judge


def markdown(about: Sequence[str], results: Results) -> str:
    """All tables."""
    parts = ["\n".join(f"- {line}" for line in about)]
    parts += [_contest(name, contest) for name, contest in results.sets.items()]
    parts.append(_starts(results.starts))
    if results.growth:
        parts.append(_growth(results.growth))
    parts.append(_targets(results))
    return "\n\n".join(parts) + "\n"


def as_json(about: Sequence[str], results: Results) -> str:
    """All figures, unrounded."""
    document: dict[str, Any] = {"about": list(about), **asdict(results)}
    document["targets"] = [
        {"what": target.what, "limit": target.limit, "unit": target.unit.strip(), "value": value}
        for target, value in judge(results)
    ]
    return json.dumps(document, indent=2) + "\n"


def _contest(name: str, contest: Contest) -> str:
    title = f"### {name}: {contest.files:,} files, {contest.data_bytes / 1e6:,.0f} MB"
    wall = _by_tool("wall, s", contest, lambda figure: f"{figure.wall_s:.2f}", ratio=lambda figure: figure.wall_s)
    cpu = _by_tool("CPU, s", contest, lambda figure: f"{figure.cpu_s:.2f}", ratio=lambda figure: figure.cpu_s)
    peak = _by_tool("peak memory, MiB", contest, lambda figure: f"{figure.peak_mib:.0f}", ratio=None)
    return f"{title}\n\n{wall}\n\n{cpu}\n\n{peak}"


def _by_tool(
    what: str,
    contest: Contest,
    cell: Callable[[Figure], str],
    *,
    ratio: Callable[[Figure], float] | None,
) -> str:
    rows = [[what, *OPERATIONS, "archive, MB"]]
    for tool, figures in contest.medians.items():
        size = f"{contest.archive_bytes[tool] / 1e6:.1f}"
        rows.append([_bold(tool, tool == OURS), *(cell(figures[operation]) for operation in OPERATIONS), size])
    if ratio:
        ours = contest.medians[OURS]
        for tool, figures in contest.medians.items():
            if tool != OURS:
                ratios = (ratio(ours[op]) / ratio(figures[op]) for op in OPERATIONS)
                size = f"{contest.archive_bytes[OURS] / contest.archive_bytes[tool]:.3f} {TIMES}"
                rows.append([f"*ocbundle by {tool}*", *(f"{value:.2f} {TIMES}" for value in ratios), size])
    return _table(rows)


def _starts(starts: Mapping[str, Figure]) -> str:
    rows = [["start-up", "wall, ms", "CPU, ms", "peak memory, MiB"]]
    for name, figure in starts.items():
        rows.append([name, f"{figure.wall_s * 1e3:.0f}", f"{figure.cpu_s * 1e3:.0f}", f"{figure.peak_mib:.0f}"])
    return _table(rows)


def _growth(growth: Growth) -> str:
    files = _steps(growth.files, "files", "µs for a further file", lambda units: f"{units:,}", 1e6)
    sizes = _steps(growth.bytes, "bytes", "s for a further GB", lambda units: f"{units / 1e9:g} GB", 1e9)
    return f"### growth\n\n{files}\n\n{sizes}"


def _steps(steps: Sequence[Step], noun: str, cost: str, unit: Callable[[int], str], factor: float) -> str:
    rows = [[noun, "operation", "wall, s", "CPU, s", "peak memory, MiB", cost, "archive, MB"]]
    for number, step in enumerate(steps):
        for operation in MEASURED:
            figure = step.medians[operation]
            further = f"{further_cost(steps, number, operation) * factor:.2f}" if number else ""
            rows.append(
                [
                    unit(step.units),
                    operation,
                    f"{figure.wall_s:.2f}",
                    f"{figure.cpu_s:.2f}",
                    f"{figure.peak_mib:.0f}",
                    further,
                    f"{step.archive_bytes / 1e6:.1f}",
                ]
            )
    return _table(rows)


def _targets(results: Results) -> str:
    rows = [["target", "at most", "measured", ""]]
    for target, value in judge(results):
        digits = 0 if target.limit > 10 else 2
        measured, verdict = "", "not measured"
        if value is not None:
            measured, verdict = f"{value:.{digits}f}{target.unit}", "met" if value <= target.limit else "**missed**"
        rows.append([target.what, f"{target.limit:.{digits}f}{target.unit}", measured, verdict])
    note = "\n\nThe targets are for all of the data. This was a part, of which start-up is more."
    return _table(rows) + (note if results.scale < 1 else "")


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ("| " + " | ".join(text.replace("|", r"\|") for text in row) + " |" for row in rows)
    return "\n".join((head, "|---" * len(rows[0]) + "|", *body))


def _bold(text: str, bold: bool) -> str:  # noqa: FBT001
    return f"**{text}**" if bold else text
