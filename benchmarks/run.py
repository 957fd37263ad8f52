"""Measure ocbundle beside ``tar | zstd -3 -T0 | age``, in one run, on the same data.

Method: data sets come from :mod:`datasets`, seeded. Everything lies in one directory (tmpfs if ``/dev/shm`` has room),
the cache is warm, and the tools take turns, so that a slow minute of the machine hits all of them. Each figure is the
median of the rounds: wall seconds of the whole command, CPU seconds of all its processes, and the largest resident set
of any one of them. Ratios compare medians of this run only; figures of two runs or two machines don't compare.

    python benchmarks/run.py                 both sets, five rounds
    python benchmarks/run.py --quick         a tenth of the data, three rounds
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import datasets

REFERENCE = "tar|zstd|age"
OPERATIONS = ("pack", "verify", "list", "extract", "one file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One tool doing one thing once."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where the work is done, and on what."""

    data: Path
    work: Path
    key: Path
    recipient: str
    one: str
    """A small file, by its path inside the data."""


def commands(tool: str, setting: Setting) -> dict[str, str]:
    """The shell command of each operation."""
    data, work, key = setting.data, setting.work, setting.key
    out = work / "out"
    if tool == REFERENCE:
        archive = work / "archive.tar.zst.age"
        opened = f"age -d -i {key} {archive} | zstd -dq"
        return {
            "pack": f"tar -C {data.parent} -cf - {data.name} | zstd -3 -T0 -q | age -r {setting.recipient} > {archive}",
            "verify": f"{opened} > /dev/null",
            "list": f"{opened} | tar -tf - > /dev/null",
            "extract": f"mkdir {out} && {opened} | tar -C {out} -xf -",
            "one file": f"{opened} | tar -xOf - {data.name}/{setting.one} > /dev/null",
        }
    archive = work / "archive.ocbundle"
    program = f"{sys.executable} -m ocbundle"
    return {
        "pack": f"{program} pack -q -f -r {setting.recipient} -o {archive} {data}",
        "verify": f"{program} verify -q -i {key} {archive}",
        "list": f"{program} list -i {key} {archive} > /dev/null",
        "extract": f"{program} unpack -q -i {key} --to {out} {archive}",
        "one file": f"{program} cat -i {key} {archive} {data.name}/{setting.one} > /dev/null",
    }


def measure(command: str) -> Figure:
    """Run *command* and take its figures; a failure ends the benchmark."""
    start = time.perf_counter()
    process = subprocess.Popen(["bash", "-o", "pipefail", "-c", command])
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed with {process.returncode}: {command}")
    return Figure(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_mib=usage.ru_maxrss / 1024)


def compare(setting: Setting, rounds: int) -> dict[str, dict[str, Figure]]:
    """Medians by operation and tool."""
    tools = (REFERENCE, "ocbundle")
    figures: dict[str, dict[str, list[Figure]]] = {op: {tool: [] for tool in tools} for op in OPERATIONS}
    for _ in range(rounds):
        for operation in OPERATIONS:
            for tool in tools:
                shutil.rmtree(setting.work / "out", ignore_errors=True)
                figures[operation][tool].append(measure(commands(tool, setting)[operation]))
    return {op: {tool: _median(taken) for tool, taken in by_tool.items()} for op, by_tool in figures.items()}


def _median(figures: list[Figure]) -> Figure:
    return Figure(
        wall_s=statistics.median(figure.wall_s for figure in figures),
        cpu_s=statistics.median(figure.cpu_s for figure in figures),
        peak_mib=statistics.median(figure.peak_mib for figure in figures),
    )


def markdown(name: str, medians: dict[str, dict[str, Figure]], setting: Setting) -> str:
    """The table of one data set."""
    lines = [
        f"| {name} | {REFERENCE} | ocbundle | ratio | CPU | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for operation, by_tool in medians.items():
        reference, own = by_tool[REFERENCE], by_tool["ocbundle"]
        lines.append(
            f"| {operation} | {reference.wall_s:.2f} s | {own.wall_s:.2f} s | **{own.wall_s / reference.wall_s:.2f}** "
            f"| {reference.cpu_s:.2f} s, {own.cpu_s:.2f} s | {reference.peak_mib:.0f} MiB, {own.peak_mib:.0f} MiB |"
        )
    sizes = [(setting.work / file).stat().st_size / 1e6 for file in ("archive.tar.zst.age", "archive.ocbundle")]
    lines.append(f"| size | {sizes[0]:.1f} MB | {sizes[1]:.1f} MB | **{sizes[1] / sizes[0]:.3f}** | | |")
    return "\n".join(lines)


def prepare(where: Path, name: str, *, quick: bool) -> Setting:
    """Make a data set and a key."""
    data = where / name
    if name == "small":
        datasets.small(data, files=2_001 if quick else 20_001)
    else:
        datasets.large(data, size=(102 if quick else 1024) * datasets.MIB)
    key = where / "key.txt"
    if not key.exists():
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    recipient = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
    smallest = min((path for path in data.rglob("*") if path.is_file()), key=lambda path: (path.stat().st_size, path))
    work = where / f"work-{name}"
    work.mkdir()
    return Setting(data=data, work=work, key=key, recipient=recipient, one=str(smallest.relative_to(data)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, three rounds")
    parser.add_argument("--rounds", type=int, help="how often each command runs")
    parser.add_argument("--set", choices=("small", "large"), action="append", help="only this data set")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    shared_memory = Path("/dev/shm")  # noqa: S108 - a tmpfs, to measure the tools and not the disk
    roomy = shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > 6 << 30
    results = {}
    with tempfile.TemporaryDirectory(dir=shared_memory if roomy else None) as directory:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {rounds} rounds\n")
        for name in arguments.set or ("small", "large"):
            setting = prepare(Path(directory), name, quick=arguments.quick)
            medians = compare(setting, rounds)
            results[name] = {op: {tool: asdict(f) for tool, f in row.items()} for op, row in medians.items()}
            print(markdown(name, medians, setting), end="\n\n", flush=True)
            shutil.rmtree(setting.data)
            shutil.rmtree(setting.work)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
