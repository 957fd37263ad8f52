"""One data set, all tools in turn, operation by operation."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import datasets
import gateways
from measuring import BenchmarkError, Figure, measure, median
from peers import OPERATIONS, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """What a set is made with, and how much that is."""

    make: Callable[[Path, float], None]
    """Makes it in a directory, at a scale."""
    full_bytes: int
    """Roughly, at full scale."""
    is_home: bool = False
    """Whether ocbundle is to find what to pack by itself."""


SETS: Final[Mapping[str, DataSet]] = {
    "small": DataSet(
        make=lambda where, scale: datasets.small(
            where, files=round(20_001 * scale), database_size=round(20 * datasets.MIB * scale)
        ),
        full_bytes=180_000_000,
    ),
    "large": DataSet(
        make=lambda where, scale: datasets.large(where, size=round(1024 * datasets.MIB * scale)),
        full_bytes=1_073_741_824,
    ),
    "gateway": DataSet(
        make=lambda where, scale: gateways.gateway(where, scale=scale), full_bytes=200_000_000, is_home=True
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What came out of one data set."""

    files: int
    data_bytes: int
    medians: Mapping[str, Mapping[str, Figure]]
    """By tool, by operation."""
    archive_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Where one data set lies, and what is done with it."""

    data: Path
    work: Path
    key: Path
    recipient: str
    one: str
    entry: str
    out: Path = field(init=False)

    def __post_init__(self) -> None:
        """Say where unpacking goes."""
        object.__setattr__(self, "out", self.work / "out")

    def own(self, tool: Tool) -> Path:
        """The directory of a tool."""
        return self.work / tool.name.replace("|", "-")

    def archive(self, tool: Tool) -> Path:
        """Where a tool's archive is."""
        return self.own(tool) / tool.archive

    def run(self, tool: Tool, operation: str) -> Figure:
        """Make room, and measure one operation."""
        variables = {
            "HOME": str(self.work),
            "DATA": str(self.data),
            "NAME": self.data.name,
            "PARENT": str(self.data.parent),
            "ONE": self.one,
            "ENTRY": self.entry,
            "OWN": str(self.own(tool)),
            "A": str(self.archive(tool)),
            "OUT": str(self.out),
            "KEY": str(self.key),
            "RECIPIENT": self.recipient,
        }
        if operation == "pack":
            shutil.rmtree(self.own(tool), ignore_errors=True)
            self.own(tool).mkdir()
            measure(tool.prepare, variables)
        if operation == "unpack":
            self.out.mkdir()
        try:
            return measure(tool.commands[operation], variables)
        finally:
            shutil.rmtree(self.out, ignore_errors=True)


def make_key(where: Path) -> tuple[Path, str]:
    """An age identity file, and its recipient."""
    key = where / "key.txt"
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    return key, subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()


def hold(where: Path, name: str, tools: Sequence[Tool], *, rounds: int, scale: float) -> Contest:
    """Make the data set *name* below *where*, and let *tools* take turns at it; all is removed again."""
    data, work = where / name, where / f"{name}-work"
    work.mkdir()
    try:
        SETS[name].make(data, scale)
        key, recipient = make_key(work)
        sizes = sorted(_sizes(data))
        one, entry = gateways.ONE, gateways.ENTRY
        if not SETS[name].is_home:
            one = os.path.relpath(sizes[0][1], data)  # the smallest
            entry = f"{name}/{one}"
        arena = Arena(data=data, work=work, key=key, recipient=recipient, one=one, entry=entry)
        figures: dict[str, dict[str, list[Figure]]] = {tool.name: {op: [] for op in OPERATIONS} for tool in tools}
        for number in range(rounds + 1):  # the first one warms up
            for operation in OPERATIONS:
                for tool in _rotated(tools, number):
                    figure = arena.run(tool, operation)
                    if number:
                        figures[tool.name][operation].append(figure)
        return Contest(
            files=len(sizes),
            data_bytes=sum(size for size, _ in sizes),
            medians={name: {op: median(taken) for op, taken in by_op.items()} for name, by_op in figures.items()},
            archive_bytes={tool.name: archive_size(arena.archive(tool)) for tool in tools},
        )
    finally:
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def demand_room(where: Path, needed: int, *, files: int = 0) -> None:
    """Refuse to begin what would fill the disk or the memory.

    Raises:
        BenchmarkError: there isn't room for *needed* bytes in *where*.
    """
    volume = os.statvfs(where)
    free = volume.f_bavail * volume.f_frsize
    if is_in_memory(where):
        free = min(free, available_memory())
    if free < needed:
        raise BenchmarkError(f"{where} has room for {free / 1e9:.1f} GB, and {needed / 1e9:.1f} GB are needed")
    if volume.f_files and volume.f_favail < files:
        raise BenchmarkError(f"{where} has room for {volume.f_favail:,} files, and {files:,} are needed")


def is_in_memory(where: Path) -> bool:
    """Whether *where* is on a tmpfs."""
    done = subprocess.run(["stat", "-f", "-c", "%T", where], check=True, capture_output=True, text=True)
    return done.stdout.strip() == "tmpfs"


def available_memory() -> int:
    """Bytes that new programs could have."""
    with Path("/proc/meminfo").open() as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))


def archive_size(archive: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    return archive.stat().st_size if archive.is_file() else sum(size for size, _ in _sizes(archive))


def _rotated(tools: Sequence[Tool], number: int) -> Sequence[Tool]:
    """Another one begins in each round."""
    first = number % len(tools)
    return [*tools[first:], *tools[:first]]


def _sizes(where: Path) -> Iterator[tuple[int, str]]:
    for directory, _, names in os.walk(where):
        for name in names:
            path = os.path.join(directory, name)
            yield os.lstat(path).st_size, path
