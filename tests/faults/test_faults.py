"""Nothing that the system does to a run leaves half a tree, a torn file, or plaintext that nobody knows of."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from trees import IS_ROOT

from faults import loops, scenes, writers
from faults.damage import damage
from faults.judging import Counts
from faults.scenes import Lab, Scene, lab

SCENES = tuple(scenes.all_scenes())
SHARE = 0.05
"""How many of all faults are tried in a short run."""
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to let system calls fail")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to mount")


def some_and_all(some: Any, every: Any) -> list[ParameterSet]:  # noqa: ANN401 - a test's own parameter
    """A sample that takes seconds, and everything, which takes minutes or hours."""
    return [pytest.param(some, marks=pytest.mark.ci, id="some"), pytest.param(every, marks=pytest.mark.long, id="all")]


@pytest.fixture(scope="module")
def small() -> Iterator[Lab]:
    with lab() as made:
        yield made


@contextlib.contextmanager
def played(name: str, where: Lab) -> Iterator[Scene]:
    """The scene of that name, with what it needs."""
    with where.volume() if name == "home-volume" else contextlib.nullcontext():
        yield scenes.all_scenes()[name](where)
        scenes.empty(where.bob)


def tell(counts: object, *problems: str) -> None:
    """Print what was counted; fail if anything is wrong."""
    print(f"\ncounted: {counts}")  # noqa: T201 - it is what the loop is for
    assert not problems, "\n".join(problems[:20])


# --- S5 --------------------------------------------------------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize("share", some_and_all(SHARE, 1.0))
@pytest.mark.parametrize("name", SCENES)
def test_whichever_system_call_fails_everything_is_old_or_new(name: str, share: float, small: Lab) -> None:
    with played(name, small) as scene:
        counts = loops.fail_system_calls(scene, sample=share, seed=len(name))
    tell(f"{scene.name}: {counts}", *counts.problems)


@needs_strace
@pytest.mark.parametrize("name", ["pack", "to-new", pytest.param("home-replace", marks=pytest.mark.ci)])
def test_a_rename_that_fails_or_never_comes_leaves_everything_old_or_new(name: str, small: Lab) -> None:
    with played(name, small) as scene:
        counts = loops.fail_system_calls(scene, calls=["renameat2"])
    tell(f"{scene.name}: {counts}", *counts.problems)
    assert counts.old > 2


@pytest.mark.parametrize("name", ["pack", "to-new", "home-replace"])
def test_writes_that_take_a_part_are_continued(name: str, small: Lab) -> None:
    with played(name, small) as scene:
        counts = loops.write_shortly(scene, (1, 4095))
    tell(f"{scene.name}: {counts}", *counts.problems)
    assert counts.new == 2


@pytest.mark.ci
@pytest.mark.parametrize("name", ["pack", "to-new"])
def test_a_limit_on_the_size_of_files_leaves_everything_old_or_new(name: str, small: Lab) -> None:
    with played(name, small) as scene:
        counts = loops.limit_files(scene, range(2048, 48_000, 2048))
    tell(f"{scene.name}: {counts}", *counts.problems)
    assert min(counts.old, counts.new) > 2


# --- S6 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", some_and_all(8, 125))
def test_killed_at_any_moment_everything_is_old_or_new(times: int) -> None:
    total = Counts()
    with lab(extra=30_000_000) as large:
        for name in ("pack", "pack-force", "to-existing", "home-replace"):
            with played(name, large) as scene:
                total.add(loops.kill_randomly(scene, times=times))
    tell(f"kills: {total}", *total.problems)


@needs_root
@pytest.mark.parametrize("extra", some_and_all(600_000, 4_000_000))
@pytest.mark.parametrize("name", [name for name in SCENES if name != "home-volume"])
def test_on_a_file_system_of_any_size_it_is_done_or_there_is_no_space(name: str, extra: int) -> None:
    with lab(extra=extra) as place, played(name, place) as scene:
        counts = loops.fill_disks(scene, range(64 << 10, 64 << 20, 64 << 10))
    tell(f"{scene.name}: {counts}", *counts.problems)


# --- S16 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packs", some_and_all(25, 1000))
def test_what_is_packed_while_it_is_written_existed_or_is_listed(packs: int) -> None:
    with lab() as place:
        caught = writers.pack_while_written(place, packs=packs)
    tell(caught, *caught.problems)
    assert caught.writes / caught.seconds > 200  # far more, unless the machine is busy
    assert caught.states > packs


def test_a_torn_state_would_be_noticed() -> None:
    pages = [writers.record(number, writers.PAGE) for number in range(8, 16)]
    assert writers.are_pages(b"".join(pages))
    assert writers.are_pages(b"".join([writers.record(16, writers.PAGE), *pages[1:]]))
    assert not writers.are_pages(b"".join([pages[0], writers.record(17, writers.PAGE), *pages[2:]]))
    assert not writers.are_pages(b"".join([pages[0][:2048] + writers.record(16, writers.PAGE)[2048:], *pages[1:]]))
    assert not writers.is_whole(writers.record(5, 3200)[:1600] + writers.record(6, 3200)[1600:])


# --- S17 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", some_and_all(30, 2000))
def test_of_a_damaged_bundle_every_file_comes_out_whose_bytes_survived(times: int) -> None:
    with lab(extra=6_000_000) as place:
        found = damage(place, times=times)
    tell(found, *found.problems)
    assert found.framed > times
    assert found.survivors > 20 * found.bundles
