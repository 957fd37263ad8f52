"""The benchmark measures what it says: seeded data, figures of whole commands, targets judged as they are written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import contest
import datasets
import gateways
import growth
import targets
from measuring import BenchmarkError, Figure, measure
from peers import OPERATIONS, PEERS, choose

RUN = str(Path(contest.__file__).with_name("run.py"))
HAVE_AGE = bool(shutil.which("age") and shutil.which("age-keygen") and shutil.which("zstd"))


def figure(wall_s: float) -> Figure:
    return Figure(wall_s=wall_s, cpu_s=wall_s, peak_mib=50)


def step(units: int, wall_s: float) -> growth.Step:
    return growth.Step(units=units, medians={"pack": figure(wall_s)}, archive_bytes=1)


def digests(where: Path) -> dict[str, str]:
    # SQLite salts its logs.
    files = [path for path in where.rglob("*") if path.is_file() and not path.name.endswith("-wal")]
    return {str(path.relative_to(where)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: datasets.small(path, files=20, database_size=100_000), id="small"),
        pytest.param(lambda path: datasets.large(path, size=3_000_000), id="large"),
        pytest.param(lambda path: datasets.many(path, files=500), id="many"),
        pytest.param(lambda path: gateways.gateway(path, scale=0.001), id="gateway"),
    ],
)
def test_a_data_set_is_the_same_each_time(tmp_path: Path, make: Callable[[Path], None]) -> None:
    home, aside = tmp_path / "data", tmp_path / "aside"
    make(home)
    home.rename(aside)  # since a gateway's configuration names its home
    make(home)
    assert digests(home) == digests(aside)


def test_a_figure_covers_every_process_of_the_command() -> None:
    eat = f"{sys.executable} -c 'x = bytearray(100 << 20); sum(range(10**7))'"
    taken = measure(f"true | {eat}", {})
    assert taken.wall_s > 0.05
    assert taken.cpu_s > 0.05
    assert 100 < taken.peak_mib < 150


def test_a_command_that_fails_is_no_figure() -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3.*\nbecause"):
        measure("{ echo because >&2; exit 3; } | cat", {})


def test_a_command_hears_nothing_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_STATE_DIR", "/elsewhere")
    measure('test -z "$OPENCLAW_STATE_DIR" && test "$ONE" = 1', {"ONE": "1"})


def test_every_peer_has_a_command_for_every_operation() -> None:
    assert [set(tool.commands) for tool in PEERS] == [set(OPERATIONS)] * len(PEERS)


def test_a_peer_that_is_none_is_named() -> None:
    with pytest.raises(BenchmarkError, match="no such peer: zip"):
        choose(["borg", "zip"])


def test_what_has_no_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"and 1000000000.0 GB are needed"):
        contest.demand_room(tmp_path, 10**18)


def test_growth_sets_start_up_aside() -> None:
    linear = [step(1_000, 5.001), step(10_000, 5.01), step(100_000, 5.1)]
    assert growth.rise(linear, ["pack"]) == pytest.approx(1)
    assert growth.rise([*linear[:2], step(100_000, 5.19)], ["pack"]) == pytest.approx(2)


def test_growth_that_is_lost_in_noise_is_not_judged() -> None:
    with pytest.raises(LookupError):
        growth.rise([step(10, 0.2), step(20, 0.1), step(30, 0.3)], ["pack"])


def test_a_target_is_judged_by_the_medians_of_one_set() -> None:
    def all_of(wall_s: float) -> dict[str, Figure]:
        return {operation: figure(wall_s) for operation in OPERATIONS}

    medians = {"ocbundle": all_of(0.5), "tar|zstd|age": all_of(1)}
    small = contest.Contest(
        files=1, data_bytes=1, medians=medians, archive_bytes={"ocbundle": 104, "tar|zstd|age": 100}
    )
    starts = {name: figure(0.1) for name in ("bare interpreter", "import ocbundle", "ocbundle --version")}
    starts |= {"verify nothing": figure(0.1), "sum nothing": figure(0)}
    judged = {
        target.what: value
        for target, value in targets.judge(targets.Results(scale=1, sets={"small": small}, starts=starts, growth=None))
    }
    assert judged["verify *small* with a key: time"] == 0.5
    assert judged["archive of *small*: size"] == 1.04
    assert judged["verify *small* without a key: time by sha256sum's, start-up aside"] == pytest.approx(0.4 / 1.04)
    assert judged["verify *large* with a key: time"] is None
    assert judged["peak memory, up to a million files and 10 GB"] is None


@pytest.mark.ci
@pytest.mark.skipif(not HAVE_AGE, reason="needs age and zstd")
def test_one_command_measures_all_and_leaves_nothing(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    written = [tmp_path / "tables.md", tmp_path / "figures.json"]
    options = ("--scale", "0.002", "--rounds", "1", "--peers", "tar|zstd|age", "--growth", "--disk", scratch)
    outputs = ("--markdown", written[0], "--json", written[1])
    subprocess.run(
        [sys.executable, RUN, *options, *outputs],
        env=os.environ | {"TMPDIR": str(scratch)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert list(scratch.iterdir()) == []
    figures = json.loads(written[1].read_bytes())
    assert set(figures["sets"]) == {"small", "large", "gateway"}
    assert [step["units"] for step in figures["growth"]["files"]] == [2, 20, 200, 2000]
    assert written[0].read_text().count("| pack *small*: time") == 1


@pytest.mark.ci
@pytest.mark.skipif(not HAVE_AGE, reason="needs age and zstd")
def test_a_run_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, RUN, "--growth", "--sets", "", "--disk", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline() == "growth: 1,000 files\n"
        process.terminate()
        assert process.wait() == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not HAVE_AGE, reason="needs age and zstd")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(10**9 // 2, id="half a gigabyte", marks=pytest.mark.ci),
        pytest.param(10**10, id="10 GB", marks=pytest.mark.long),
    ],
)
def test_packing_verifying_and_unpacking_take_flat_memory(tmp_path: Path, size: int) -> None:
    peaks = growth.peak_memory(tmp_path, size=size)
    told = ", ".join(f"{operation} {peak:.0f} MiB" for operation, peak in peaks.items())
    print(f"\ncounted: {size / 1e9:g} GB: {told}")  # noqa: T201 - for the table
    assert peaks.keys() == {"pack", "verify", "unpack"}
    assert max(peaks.values()) <= 128
