"""Make the table of reliability anew: run the tests behind each row, and show what they counted.

A row is a selection of tests. What a loop counts it prints behind ``counted:``. A row of which nothing ran isn't
passed. Rows that aren't tests (peak memory, hours of fuzzing, coverage) aren't here.

    python benchmarks/scoreboard.py --quick        samples: about five minutes
    python benchmarks/scoreboard.py                everything, for hours
    python benchmarks/scoreboard.py --quick S5 S16
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
_COUNTED: Final = "counted: "
_SUMMARY: Final = re.compile(r"(?P<count>\d+) (?P<what>passed|failed|errors?|skipped)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    id: str
    promise: str
    tests: tuple[str, ...] = ()
    """Paths, below ``tests``."""
    words: str = ""
    """Which of their tests, as pytest's ``-k`` takes it."""


ROWS: Final = (
    Row(
        id="S1",
        promise="every flipped bit is found, with a key and without",
        tests=("test_damage.py",),
        words="bit or bits",
    ),
    Row(
        id="S2",
        promise="every cut, insertion, deletion and addition is found",
        tests=("test_damage.py",),
        words="cut or missing or added or behind or zeroed",
    ),
    Row(
        id="S3",
        promise="sections swapped, doubled, dropped or borrowed are refused",
        tests=("test_damage.py",),
        words="swapped or doubled or dropped or another or stripped or section_that_was_added",
    ),
    Row(id="S4", promise="each vector ends as its header says", tests=("test_vectors.py",)),
    Row(
        id="S5",
        promise="whichever system call fails, everything is old or new",
        tests=("faults", "test_unfinished.py"),
        words="system_call or rename or writes or limit or killed and not moment or undo or healed or begun",
    ),
    Row(
        id="S6",
        promise="killed at any moment, on a disk of any size, everything is old or new",
        tests=("faults",),
        words="moment or file_system",
    ),
    Row(id="S7", promise="no hostile bundle changes anything outside", tests=("test_hostile.py",)),
    Row(
        id="S8",
        promise="what would exhaust a machine is refused in a second and 64 MiB",
        tests=("test_resources.py", "test_library_traps.py", "test_salvage_budgets.py"),
    ),
    Row(
        id="S9",
        promise="packing, verifying and unpacking take 128 MiB at most",
        tests=("test_benchmarks.py",),
        words="flat_memory",
    ),
    Row(
        id="S10",
        promise="any tree comes back as it was",
        tests=("test_round_trip.py", "test_records.py", "test_metadata.py"),
    ),
    Row(
        id="S12",
        promise="of small faults in the codecs and the restore, the tests notice at least 90 %; the rest are named",
        tests=("mutation",),
        words="killed_or_named",
    ),
    Row(id="S14", promise="another reader agrees on all vectors", tests=("interop",)),
    Row(
        id="S16",
        promise="what is packed while it is written existed, or is listed",
        tests=("faults",),
        words="written or torn",
    ),
    Row(
        id="S17",
        promise="of a damaged bundle, every file whose bytes survived comes out",
        tests=("faults", "test_salvage.py"),
        words="damaged_bundle or no_damage or damaged_takes",
    ),
    Row(id="S18", promise="a real OpenClaw goes on after a move", tests=("test_real_move.py", "test_real_openclaw.py")),
    Row(id="S19", promise="every rule is named by a test or a vector", tests=("test_rules_named.py",)),
)


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="samples only")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these, such as S5")
    options = parser.parse_args()
    unknown = set(options.rows) - {row.id for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    print("| row | promise | result | counted |\n|---|---|---|---|", flush=True)
    failed = False
    for row in ROWS:
        if not options.rows or row.id in options.rows:
            result, counted, good = run(row, quick=options.quick)
            failed = failed or not good
            print(f"| {row.id} | {row.promise} | {result} | {'<br>'.join(counted) or 'nothing'} |", flush=True)
    sys.exit(failed)


def run(row: Row, *, quick: bool) -> tuple[str, list[str], bool]:
    """How the tests of a row ended, what they counted, and whether all is well."""
    paths = [str(path) for name in row.tests if (path := ROOT / "tests" / name).exists()]
    if not paths:
        return "no tests yet", [], False
    marks = "not long" if quick else "not ci or ci or long"
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "-m", marks, *paths]
    command += ["-k", row.words] if row.words else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    summary = {match["what"]: int(match["count"]) for match in _SUMMARY.finditer(lines[-1] if lines else "")}
    result = ", ".join(f"{count} {what}" for what, count in summary.items()) or f"pytest ended with {done.returncode}"
    return result, list(_counted(lines)), done.returncode == 0 and summary.get("passed", 0) > 0


def _counted(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith(_COUNTED):
            yield line.removeprefix(_COUNTED).replace("|", r"\|")


if __name__ == "__main__":
    main()
