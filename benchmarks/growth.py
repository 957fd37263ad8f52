"""How ocbundle's time and memory grow with the number of files and of bytes.

Method: one row of ever more small files, up to a million, and one of ever more bytes that can't be deduplicated, half
of them incompressible, up to 10 GB. A step is packed, verified with the key, listed and unpacked three times, the
largest of each row once. All lies on a real file system, not in memory, and nothing of an earlier command is still to
be written when one begins; reading is from the page cache as far as that reaches. What a step costs is compared with
the step before, *per further file or byte*, which sets start-up aside. Linear is a cost that doesn't rise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import datasets
from contest import Arena, archive_size, demand_room, is_in_memory, make_key
from measuring import BenchmarkError, Figure, median
from peers import Tool, ocbundle

FILES: Final = (1_000, 10_000, 100_000, 1_000_000)
BYTES: Final = (100_000_000, 1_000_000_000, 10_000_000_000)
MEASURED: Final = ("pack", "verify", "list", "unpack")
_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One size, measured."""

    units: int
    """Files, or bytes."""
    medians: Mapping[str, Figure]
    archive_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Both rows."""

    files: Sequence[Step]
    bytes: Sequence[Step]


def grow(where: Path, *, scale: float, tell: Callable[[str], None]) -> Growth:
    """Measure both rows below *where*; *tell* hears what is being done.

    Raises:
        BenchmarkError: there isn't room for the largest step, or *where* is in memory.
    """
    files = tuple(round(count * scale) for count in FILES)
    sizes = tuple(round(size * scale) for size in BYTES)
    _demand_room(where, files=files[-1], size=sizes[-1])
    return Growth(
        files=_row(where, files, lambda path, units: datasets.many(path, files=units), tell, "files"),
        bytes=_row(where, sizes, lambda path, units: datasets.large(path, size=units), tell, "bytes"),
    )


def peak_memory(where: Path, *, size: int = BYTES[-1]) -> dict[str, float]:
    """Peak memory, in MiB, of packing, verifying and unpacking *size* bytes below *where*, by operation.

    Raises:
        BenchmarkError: there isn't room for them.
    """
    _demand_room(where, files=0, size=size)
    step = measure_step(where, size, lambda path, units: datasets.large(path, size=units), rounds=1)
    return {operation: step.medians[operation].peak_mib for operation in ("pack", "verify", "unpack")}


def rise(steps: Sequence[Step], operations: Sequence[str]) -> float:
    """The most by which the cost of a further unit rose, from the last step but one to the last: 1 is linear.

    Raises:
        LookupError: the smaller steps are so small that chance decides.
    """
    if any(further_cost(steps, -2, op) <= 0 for op in operations):
        raise LookupError
    return max(further_cost(steps, -1, op) / further_cost(steps, -2, op) for op in operations)


def further_cost(steps: Sequence[Step], number: int, operation: str) -> float:
    """Seconds for each unit by which a step is larger than the one before."""
    step, before = steps[number], steps[number - 1]
    return (step.medians[operation].wall_s - before.medians[operation].wall_s) / (step.units - before.units)


def measure_step(where: Path, units: int, make: Callable[[Path, int], None], *, rounds: int) -> Step:
    """Make the data of one step, measure it, and remove it."""
    data, work = where / "data", where / "work"
    work.mkdir()
    try:
        make(data, units)
        key, recipient = make_key(work)
        arena = Arena(data=data, work=work, key=key, recipient=recipient, one="", entry="")
        tool = ocbundle(discovers=False)
        taken = [_measure_all(arena, tool) for _ in range(rounds)]
        return Step(
            units=units,
            medians={operation: median(figures[operation] for figures in taken) for operation in MEASURED},
            archive_bytes=archive_size(arena.archive(tool)),
        )
    finally:
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def _row(
    where: Path, row: Sequence[int], make: Callable[[Path, int], None], tell: Callable[[str], None], noun: str
) -> list[Step]:
    steps = []
    for units in row:
        tell(f"growth: {units:,} {noun}")
        steps.append(measure_step(where, units, make, rounds=1 if units == row[-1] else 3))
    return steps


def _measure_all(arena: Arena, tool: Tool) -> dict[str, Figure]:
    figures = {}
    for operation in MEASURED:
        os.sync()
        figures[operation] = arena.run(tool, operation)
    return figures


def _demand_room(where: Path, *, files: int, size: int) -> None:
    # Data and what is unpacked of it; then the archive, and a tenth for the rest of the system.
    demand_room(where, round(max(size * 3.1, files * 2.5 * _BLOCK)), files=round(files * 2.1))
    if is_in_memory(where):
        raise BenchmarkError(f"{where} is in memory: growth is measured on a real file system, so name one with --disk")
