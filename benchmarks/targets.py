"""What is aimed at, in one table, and whether a run met it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contest import Contest
from growth import Growth, rise
from measuring import Figure, measure, median
from peers import REFERENCE, ocbundle_program

OURS: Final = "ocbundle"
TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that a run measured."""

    scale: float
    """How much of the data: targets are for all of it."""
    sets: Mapping[str, Contest]
    starts: Mapping[str, Figure]
    """What starting costs: see :func:`measure_starts`."""
    growth: Growth | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure, and the most that it may be."""

    what: str
    limit: float
    unit: str
    value: Callable[[Results], float]
    """Raises ``LookupError`` if the run hasn't measured it."""


def _wall(name: str, operation: str) -> Callable[[Results], float]:
    """Our time by the reference's."""
    return lambda results: (
        results.sets[name].medians[OURS][operation].wall_s
        / results.sets[name].medians[REFERENCE.name][operation].wall_s
    )


def _size(name: str) -> Callable[[Results], float]:
    return lambda results: results.sets[name].archive_bytes[OURS] / results.sets[name].archive_bytes[REFERENCE.name]


def _without_key(name: str) -> Callable[[Results], float]:
    """Our time by sha256sum's over our own bundle, to which the reference's is in proportion; start-up aside."""

    def value(results: Results) -> float:
        ours = results.sets[name].medians[OURS]["verify without a key"].wall_s - results.starts["verify nothing"].wall_s
        sums = results.sets[name].medians[REFERENCE.name]["verify without a key"].wall_s
        if ours <= 0:
            raise LookupError(name)  # lost in noise: the machine was slower when it started nothing
        return ours / ((sums - results.starts["sum nothing"].wall_s) * _size(name)(results))

    return value


def _peak(results: Results) -> float:
    if not results.sets:
        raise LookupError
    return max(figure.peak_mib for contest in results.sets.values() for figure in contest.medians[OURS].values())


def _import(results: Results) -> float:
    return 1000 * (results.starts["import ocbundle"].wall_s - results.starts["bare interpreter"].wall_s)


def _grown(results: Results) -> Growth:
    if results.growth is None:
        raise LookupError
    return results.growth


def _most_memory(results: Results) -> float:
    grown = _grown(results)
    return max(figure.peak_mib for step in (*grown.files, *grown.bytes) for figure in step.medians.values())


TARGETS: Final = (
    Target(what="pack *small*: time by tar, zstd and age's", limit=0.85, unit=TIMES, value=_wall("small", "pack")),
    Target(what="pack *large*: time", limit=0.85, unit=TIMES, value=_wall("large", "pack")),
    Target(what="archive of *small*: size", limit=1.03, unit=TIMES, value=_size("small")),
    Target(what="archive of *large*: size", limit=1.03, unit=TIMES, value=_size("large")),
    Target(what="verify *small* with a key: time", limit=0.85, unit=TIMES, value=_wall("small", "verify")),
    Target(what="verify *large* with a key: time", limit=0.85, unit=TIMES, value=_wall("large", "verify")),
    Target(
        what="verify *small* without a key: time by sha256sum's, start-up aside",
        limit=1.2,
        unit=TIMES,
        value=_without_key("small"),
    ),
    Target(what="verify *large* without a key: the same", limit=1.2, unit=TIMES, value=_without_key("large")),
    Target(what="unpack *small*: time", limit=1.0, unit=TIMES, value=_wall("small", "unpack")),
    Target(what="unpack *large*: time", limit=1.0, unit=TIMES, value=_wall("large", "unpack")),
    Target(what="one file out of *large*: time", limit=0.1, unit=TIMES, value=_wall("large", "one file")),
    Target(
        what="list the 20,000 entries of *small*: the whole process",
        limit=0.2,
        unit=" s",
        value=lambda results: results.sets["small"].medians[OURS]["list"].wall_s,
    ),
    Target(what="peak memory of any operation on any set", limit=128, unit=" MiB", value=_peak),
    Target(what="`import ocbundle`, over a bare interpreter", limit=50, unit=" ms", value=_import),
    Target(
        what="`ocbundle --version`",
        limit=80,
        unit=" ms",
        value=lambda results: 1000 * results.starts["ocbundle --version"].wall_s,
    ),
    Target(
        what="growth to a million files: cost of a further file, by the step before's",
        limit=1.25,
        unit=TIMES,
        value=lambda results: rise(_grown(results).files, ("pack", "verify", "list", "unpack")),
    ),
    Target(
        what="growth to 10 GB: cost of a further byte, by the step before's",
        limit=1.25,
        unit=TIMES,
        value=lambda results: rise(_grown(results).bytes, ("pack", "verify", "unpack")),
    ),
    Target(what="peak memory, up to a million files and 10 GB", limit=128, unit=" MiB", value=_most_memory),
)


def judge(results: Results) -> list[tuple[Target, float | None]]:
    """What each target came to; ``None`` if it wasn't measured."""
    return [(target, _value(target, results)) for target in TARGETS]


def _value(target: Target, results: Results) -> float | None:
    try:
        return target.value(results)
    except LookupError:
        return None


def measure_starts(where: Path, python: str, *, rounds: int) -> dict[str, Figure]:
    """What each program takes for next to nothing, in turns: *where* is an empty directory."""
    program = ocbundle_program()
    nothing, key, bundle = where / "nothing", where / "key", where / "nothing.ocbundle"
    nothing.mkdir()
    variables = {"HOME": str(where)}
    pack = f"{program} keygen -o {key} > {key}.pub && {program} pack -q -R {key}.pub -o {bundle} {nothing}"
    measure(pack, variables)
    commands = {
        "bare interpreter": f"{python} -c pass",
        "import ocbundle": f"{python} -c 'import ocbundle'",
        "ocbundle --version": f"{program} --version",
        "verify nothing": f"{program} verify -q {bundle}",
        "sum nothing": "sha256sum /dev/null",
    }
    taken: Sequence[dict[str, Figure]] = [
        {name: measure(command, variables) for name, command in commands.items()} for _ in range(rounds + 1)
    ]
    return {name: median(figures[name] for figures in taken[1:]) for name in commands}
