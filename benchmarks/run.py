"""Measure ocbundle beside what an expert would use instead: one command, all tools, the same data, the same run.

    python benchmarks/run.py                                  three sets, five rounds, every peer that is installed
    python benchmarks/run.py --quick                          a tenth of the data, three rounds, tar|zstd|age only
    python benchmarks/run.py --growth --sets ''               growth only, to a million files and 10 GB
    python benchmarks/run.py --markdown FILE --json FILE      write the tables and the figures there too

Method:

- Data sets are seeded: *small* is 20,001 chat-like files and three databases, *large* is 1 GiB of text and media, and
  *gateway* is a home with five OpenClaw profiles, which ocbundle has to find and others are told of.
- Everything lies in memory (``/dev/shm``, if there is room; else where ``TMPDIR`` says), and the cache is warm. So
  nobody waits for a disk, and what a tool does for durability costs it nothing.
- The tools take turns, operation by operation, so that a slow minute hits all of them, and another one begins in each
  round. The first round warms up and is thrown away. Figures are medians of the others; ratios are of these medians.
  Figures of two runs or two machines don't compare.
- Wall time is that of the whole command as a user types it, start-up included. CPU time is user and system time of all
  its processes. Peak memory is the largest resident set of *any one* of them, which is kind to pipelines; nothing is
  shown as less than the 9 MiB of what measures it.
- Archives and repositories are made anew in each round. Making an empty repository isn't measured. Nor is emptying the
  target before each unpacking.
- Verifying is to read and to authenticate all content: ``borg extract --dry-run``, ``restic check --read-data``,
  ``7z t``.
  Where a tool can't do it without a key, ``sha256sum`` of its archive takes the place. Only where ocbundle is compared
  with ``sha256sum`` is start-up set aside: what each takes for an empty bundle and an empty file is subtracted.
- Growth is measured apart, on a real file system: see ``growth.py``.

Each command must succeed, or the run ends. All that it makes is in one directory, which is removed in the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))
import tables
from contest import SETS, Contest, available_memory, demand_room, hold
from growth import grow
from measuring import BenchmarkError
from peers import PEERS, REFERENCE, Tool, choose, ocbundle
from targets import Results, measure_starts

STARTS: Final = 21
"""How often next to nothing is done."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a tmpfs, to measure the tools and not the disk


def main() -> None:
    """Measure what is asked for, and print the tables."""
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that what was made is removed then, too
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        run(arguments)
    except BenchmarkError as error:
        sys.exit(f"run.py: error: {error}")


def parse_arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, three rounds, the first peer only")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds count")
    parser.add_argument("--scale", type=float, metavar="F", help="so much of the data, of --growth too")
    parser.add_argument("--sets", type=_names, metavar="A,B", default=list(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--peers", type=_names, metavar="A,B", help=f"of {', '.join(tool.name for tool in PEERS)}")
    parser.add_argument("--growth", action="store_true", help="also growth, to a million files and 10 GB")
    parser.add_argument(
        "--disk", type=Path, metavar="DIR", default=tempfile.gettempdir(), help="where growth is measured"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 5)
    arguments.scale = arguments.scale or (0.1 if arguments.quick else 1.0)
    unknown = [name for name in arguments.sets if name not in SETS]
    if unknown:
        parser.error(f"no such set: {', '.join(unknown)}")
    if arguments.rounds < 1 or not 0.001 <= arguments.scale <= 10:
        parser.error("there is at least one round, and the scale is from 0.001 to 10")
    return arguments


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def run(arguments: argparse.Namespace) -> None:
    """Do what *arguments* ask for."""
    wanted = arguments.peers
    if wanted is None:
        wanted = [REFERENCE.name] if arguments.quick else [tool.name for tool in PEERS]
    peers = choose(wanted)
    present = [tool for tool in peers if tool.is_installed]
    if not REFERENCE.is_installed:
        raise BenchmarkError(f"needs {', '.join(REFERENCE.programs)}")
    where = _place(arguments.sets, len(present) + 1, arguments.scale)
    about = describe(arguments, where, peers)
    print("\n".join(about), flush=True)
    sets: dict[str, Contest] = {}
    with tempfile.TemporaryDirectory(dir=where, prefix="benchmark-") as directory:
        starts = measure_starts(Path(directory), sys.executable, rounds=STARTS)
        for name in arguments.sets:
            _tell(f"set: {name}")
            tools = [*present, ocbundle(discovers=SETS[name].is_home)]
            sets[name] = hold(Path(directory), name, tools, rounds=arguments.rounds, scale=arguments.scale)
    growth = None
    if arguments.growth:
        with tempfile.TemporaryDirectory(dir=arguments.disk, prefix="benchmark-") as directory:
            growth = grow(Path(directory), scale=arguments.scale, tell=_tell)
    results = Results(scale=arguments.scale, sets=sets, starts=starts, growth=growth)
    text = tables.markdown(about, results)
    print("\n" + text.split("\n\n", 1)[1], end="")
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if arguments.json:
        arguments.json.write_text(tables.as_json(about, results))


def describe(arguments: argparse.Namespace, where: Path, peers: Sequence[Tool]) -> list[str]:
    """What was measured, and with what."""
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, {available_memory() / 1e9:.0f} GB of free memory",
        f"{arguments.rounds} rounds and one to warm up, {arguments.scale:g} of the full data, in {where}",
    ]
    if os.getloadavg()[0] > 0.5:
        lines.append(f"the machine was busy before: a load of {os.getloadavg()[0]:.1f}")
    if arguments.growth:
        lines.append(f"growth on {arguments.disk}")
    tools = (*peers, ocbundle(discovers=False))
    return lines + [f"{tool.name}: {tool.tell_version() if tool.is_installed else 'absent'}" for tool in tools]


def _place(sets: Sequence[str], tools: int, scale: float) -> Path:
    """A directory with room for the largest of *sets*, in memory if possible."""
    # The data, what one tool unpacks of it, and every tool's archive.
    needed = round(max((SETS[name].full_bytes for name in sets), default=0) * scale * (2.2 + 0.8 * tools)) + (64 << 20)
    fallback = Path(tempfile.gettempdir())
    for place in (MEMORY, fallback):
        try:
            demand_room(place, needed)
        except (BenchmarkError, FileNotFoundError):
            if place == fallback:
                raise
        else:
            return place
    raise AssertionError


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
