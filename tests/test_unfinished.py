"""Runs that are killed, or fail, while they rename: everything is old or new in the end, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from trees import (
    ASIDE,
    IS_ROOT,
    NOW,
    OTHER,
    Tree,
    as_user,
    looks,
    mounted,
    old_state,
    users_directory,
    workspace,
)

from ocbundle import intentlog, publish
from ocbundle.errors import (
    BundleError,
    TargetExists,
    TargetFailure,
)
from ocbundle.intentlog import resume, undo, unfinished
from ocbundle.layout import Destination
from ocbundle.places import Owner
from ocbundle.placing import place

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to mount or to give files away")
mostly_one_way = pytest.mark.parametrize(
    "renames", ["renameat2", pytest.param("rename", marks=pytest.mark.ci)], indirect=True
)


def ci(value: object) -> ParameterSet:
    """One of many cases that are much alike: enough if it runs now and then."""
    return pytest.param(value, marks=pytest.mark.ci)


@pytest.fixture
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the kernel's exchange, or where there is none."""
    if request.param == "rename":
        monkeypatch.setattr(publish, "_LIBC", object())
        monkeypatch.setattr(os, "sync", lambda: None)
    return str(request.param)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def theirs() -> Iterator[Path]:
    with users_directory() as where:
        yield where


RENAMES = ("rename", "link")
CHANGES = (*RENAMES, "unlink", "mkdir", "rmdir", "write", "fchmod", "chmod", "fchown", "chown", "utime", "symlink")
"""A kill between two of these is as a kill before the second."""
CALLS = (*CHANGES, "open", "fsync", "stat", "listdir")


class Scene:
    """A home with something to replace, something new, and something in a volume."""

    def __init__(self, home: Path, volume: Path | None, *, shut: bool = False) -> None:
        self.home = home
        mode = 0o500 if shut else 0o755
        state = Tree().directory(mode=mode).file(b"a.json", b"new").directory(b"dir", mode=0o710).file(b"dir/f", b"f")
        self.trees = {
            "default": (state.symlink(b"link", b"a.json"), home / ".openclaw"),
            "config": (Tree("config").file(b"", b"{}", mode=0o640), home / "config.json"),
            "one": (Tree("one").directory(mode=0o500).file(b"f", b"one"), home / "far" / "one"),
        }
        (home / "config.json").write_text("old")
        old_state(home / ".openclaw").chmod(0o500 if shut else 0o711)
        if volume is not None:
            part = Tree("part").directory(mode=0o750).file(b"x", b"new x").directory(b"d", mode=0o500).file(b"z", b"z")
            self.trees["part"] = (part, volume)
            (volume / "x").mkdir()
            (volume / "x" / "y").write_text("old y")
            (volume / "old").write_text("old")
            (volume / "shut").mkdir(mode=0o500)
        else:
            for name in ("part1", "part2", "part3"):
                old_state(home / name)
                self.trees[name] = (Tree(name).directory(mode=0o500).file(b"f", b"part"), home / name)
        (home / "log").mkdir()
        self.before = self.looks()

    def looks(self) -> dict[str, tuple[str, int, bytes]]:
        return looks(self.home)

    def put(self, before_publish: Callable[[], None] | None = None) -> None:
        rows = [row for name, (tree, _) in sorted(self.trees.items()) for row in tree.rows]
        place(
            [Destination(root=name, path=os.fsencode(path)) for name, (_, path) in self.trees.items()],
            lambda: iter(rows),
            lambda entry: self.trees[entry.root][0].read(entry),
            resolve=lambda entry: self.trees[entry.root][0].resolve(entry),
            owner=Owner.self(),
            replace=True,
            log_directory=os.fsencode(self.home / "log"),
            bundle_id="0123456789abcdef",
            before_publish=before_publish,
            now=NOW,
        )

    def unfinished(self) -> tuple[intentlog.Unfinished, ...]:
        return unfinished(os.fsencode(self.home / "log"))


Build = Callable[[], Scene]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Makes the same scene again and again; with a volume, where one can be mounted."""
    # Nothing here is about power: a kill loses nothing that the kernel has.
    monkeypatch.setattr(publish, "sync_tree", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    home = tmp_path / "home"
    volume = home / "volume"
    with mounted(volume) if IS_ROOT else contextlib.nullcontext():

        def build() -> Scene:
            empty(volume)
            for path in home.iterdir():
                if path != volume:
                    remove(path)
            return Scene(home, volume if IS_ROOT else None)

        volume.mkdir(parents=True, exist_ok=True)
        yield build
        empty(volume)


def remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(0o700)
    for directory, inner, _ in os.walk(path):
        for name in inner:
            os.chmod(os.path.join(directory, name), 0o700)
    shutil.rmtree(path)


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        remove(path)


def nth(
    number: int, act: Callable[[], None], calls: tuple[str, ...] = CHANGES
) -> tuple[Callable[[], None], Callable[[], bool]]:
    """Let *act* happen before a system call: counted from the call of the first answer; the second tells if it came."""
    count = 0
    armed = False

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal count
            count += armed
            if armed and count == number:
                act()
            return real(*args, **options)

        return call

    def arm() -> None:
        nonlocal armed
        armed = True

    for name in calls:
        setattr(os, name, wrap(getattr(os, name)))
    if "rename" in calls:
        publish._renameat2 = wrap(publish._renameat2)  # type: ignore[assignment]
    return arm, lambda: count >= number


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> bool:
    """Run *work* in a process of its own; whether it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed(scene: Scene, number: int, calls: tuple[str, ...] = CHANGES, *, from_start: bool = False) -> bool:
    def work() -> None:
        arm, _ = nth(number, die, calls)
        if from_start:
            arm()
        scene.put(arm)

    return in_child(work)


def expected(scene: Scene) -> dict[str, tuple[str, int, bytes]]:
    scene.put()
    return scene.looks()


def tidied(scene: Scene) -> dict[str, tuple[str, int, bytes]]:
    """How it looks when what killed runs left, and name, is removed."""
    for where in (scene.home, scene.home / "log", scene.home / "volume"):
        for path in publish.leftovers(os.fsencode(where)):
            remove(Path(os.fsdecode(path)))
    return scene.looks()


@pytest.mark.rule("R-10.14")
@pytest.mark.usefixtures("renames")
@mostly_one_way
@pytest.mark.parametrize("heal", [resume, undo])
def test_wherever_it_is_killed_everything_is_old_or_new_after_the_next_run(
    scene: Build, heal: Callable[[intentlog.Unfinished], object]
) -> None:
    new = expected(scene())
    healed = 0
    for number in itertools.count(1):
        now = scene()
        if not killed(now, number):
            assert now.looks() == new
            break
        found = now.unfinished()
        for each in found:
            heal(each)
            healed += 1
        assert now.unfinished() == ()
        if found:
            assert tidied(now) == (new if heal is resume else now.before)
        else:
            assert tidied(now) in (new, now.before)
    assert healed > 10


@pytest.mark.ci
@pytest.mark.rule("R-10.14")
def test_wherever_the_staging_is_killed_nothing_has_changed(scene: Build) -> None:
    for number in itertools.count(1):
        now = scene()
        if not killed(now, number, from_start=True) or now.unfinished():
            break
        assert tidied(now) == now.before
    assert number > 30


@pytest.mark.ci
@pytest.mark.usefixtures("renames")
@mostly_one_way
@pytest.mark.parametrize("heal", [resume, undo])
@pytest.mark.parametrize("first", [ci(3), 6, ci(10)])
def test_healing_can_be_killed_and_begun_again(
    scene: Build, heal: Callable[[intentlog.Unfinished], object], first: int
) -> None:
    new = expected(scene())
    for number in itertools.count(1):
        now = scene()
        assert killed(now, first, RENAMES)
        (found,) = now.unfinished()
        was_killed = killed_healing(heal, found, number)
        for each in now.unfinished():
            heal(each)
        assert tidied(now) == (new if heal is resume else now.before)
        if not was_killed:
            break
    assert number > 3


def killed_healing(heal: Callable[[intentlog.Unfinished], object], found: intentlog.Unfinished, number: int) -> bool:
    def work() -> None:
        arm, _ = nth(number, die)
        arm()
        heal(found)

    return in_child(work)


def test_half_of_an_undo_can_still_become_new(scene: Build) -> None:
    new = expected(scene())
    now = scene()
    assert killed(now, 10, RENAMES)
    (found,) = now.unfinished()
    assert killed_healing(undo, found, 4)
    resume(now.unfinished()[0])
    assert now.looks() == new


def test_healing_what_has_been_healed_changes_nothing(scene: Build) -> None:
    now = scene()
    assert killed(now, 6, RENAMES)
    (found,) = now.unfinished()
    resume(found)
    new = now.looks()
    assert undo(found) == ()
    assert resume(found) == ()
    assert now.looks() == new


@pytest.mark.ci
def test_a_user_finds_read_only_directories_read_only_again(theirs: Path) -> None:
    def work() -> None:
        for number in itertools.count(1):
            (theirs / str(number)).mkdir()
            now = Scene(theirs / str(number), None, shut=True)
            was_killed = killed(now, number)
            for found in now.unfinished():
                undo(found)
                assert now.looks() == now.before
            if not was_killed:
                break
        assert number > 10

    as_user(work)


@pytest.mark.rule("R-10.14")
@pytest.mark.usefixtures("renames")
@mostly_one_way
@pytest.mark.parametrize(
    "error", [ci(OSError(errno.EIO, "Input/output error")), ci(KeyboardInterrupt())], ids=["EIO", "^C"]
)
def test_whichever_system_call_fails_everything_is_as_it_was(scene: Build, error: BaseException) -> None:
    new = expected(scene())

    def fail() -> None:
        raise error

    for number in itertools.count(1):
        now = scene()
        raised: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, getattr(os, name))
            patch.setattr(publish, "_renameat2", publish._renameat2)
            arm, reached = nth(number, fail, CALLS)
            try:
                now.put(arm)
            except (BundleError, OSError, KeyboardInterrupt) as caught:
                raised = caught
        if not reached():
            assert now.looks() == new
            break
        assert now.unfinished() == ()
        after = tidied(now)
        if isinstance(raised, KeyboardInterrupt):  # it may come when all is done
            assert after in (new, now.before)
        else:
            assert after == (new if raised is None else now.before)
    assert number > 40


# --- the log --------------------------------------------------------------------------------------------------------


def leave_unfinished(now: Scene, number: int = 6) -> intentlog.Unfinished:
    assert killed(now, number, RENAMES)
    (found,) = now.unfinished()
    return found


def test_an_unfinished_unpack_tells_of_itself(scene: Build) -> None:
    now = scene()
    found = leave_unfinished(now)
    assert (found.bundle_id, found.created) == ("0123456789abcdef", NOW)
    assert [row.root for row in found.roots[:3]] == ["default", "config", "one"]
    assert found.roots[0].set_aside == os.fsencode(now.home / (ASIDE % "default"))
    assert stat.S_IMODE(os.stat(found.path).st_mode) == 0o600


@pytest.mark.parametrize("dry_run", [False, True])
def test_nothing_is_placed_while_something_is_unfinished(scene: Build, *, dry_run: bool) -> None:
    now = scene()
    found = leave_unfinished(now)
    before = now.looks()
    with pytest.raises(TargetFailure, match="an earlier unpack was killed") as caught:
        place(
            [Destination(root="ws", path=os.fsencode(now.home / "ws"))],
            workspace().entries,
            workspace().read,
            resolve=workspace().resolve,
            owner=Owner.self(),
            replace=False,
            log_directory=os.fsencode(now.home / "log"),
            bundle_id="",
            dry_run=dry_run,
        )
    assert caught.value.path == os.fsdecode(found.path)
    assert now.looks() == before


def test_a_run_under_way_is_not_unfinished_and_is_left_alone(scene: Build) -> None:
    now = scene()
    found = leave_unfinished(now)
    before = now.looks()
    with open(found.path, "rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert now.unfinished() == ()
        assert undo(found) == ()
    assert now.looks() == before


@needs_root
def test_the_log_of_another_user_is_not_followed(scene: Build) -> None:
    now = scene()
    found = leave_unfinished(now)
    os.chown(found.path, OTHER, OTHER)
    before = now.looks()
    for act in (now.unfinished, lambda: resume(found), lambda: undo(found)):
        with pytest.raises(TargetFailure, match="another user") as caught:
            act()
        assert str(OTHER) in str(caught.value.hint)
    assert now.looks() == before


def test_a_link_in_the_place_of_a_log_is_not_followed(home: Path) -> None:
    (home / "log").mkdir()
    (home / "elsewhere").write_text("{}")
    (home / "log" / "unpack.0123456789abcdef.intent").symlink_to(home / "elsewhere")
    with pytest.raises(TargetFailure, match="can't read the log"):
        unfinished(os.fsencode(home / "log"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "bundle_id": "", "created": "x"}'])
def test_what_is_no_log_is_refused(home: Path, text: str) -> None:
    (home / "unpack.0123456789abcdef.intent").write_text(text)
    with pytest.raises(TargetFailure, match="no log"):
        unfinished(os.fsencode(home))


def test_the_log_of_a_newer_version_is_refused(home: Path) -> None:
    (home / "unpack.0123456789abcdef.intent").write_text('{"version": 2}')
    with pytest.raises(TargetFailure, match="newer ocbundle"):
        unfinished(os.fsencode(home))


def test_where_no_log_ever_was_nothing_is_unfinished(home: Path) -> None:
    assert unfinished(os.fsencode(home / "nowhere")) == ()


def test_a_log_holds_names_that_are_not_utf8(tmp_path: Path) -> None:
    home = tmp_path / os.fsdecode(b"ho\xffme")
    home.mkdir()
    now = Scene(home, None)
    undo(leave_unfinished(now))
    assert now.looks() == now.before


def test_an_undo_needs_no_more_of_what_was_staged_than_its_directory(scene: Build) -> None:
    now = scene()
    found = leave_unfinished(now)
    (staged,) = now.home.glob(".openclaw.*.staging")
    empty(staged)
    with pytest.raises(TargetFailure) as caught:
        resume(found)
    assert caught.value.hint == "undo it instead"
    undo(found)
    assert now.looks() == now.before


def test_an_undo_without_the_staging_directory_is_refused_and_a_finish_is_not(scene: Build) -> None:
    new = expected(scene())
    now = scene()
    assert killed(now, 1, ("unlink",))
    (found,) = now.unfinished()
    (staged,) = now.home.glob(".openclaw.*.staging")
    remove(staged)
    before = now.looks()
    with pytest.raises(TargetFailure) as caught:
        undo(found)
    assert caught.value.hint == "finish it instead"
    assert now.looks() == before
    resume(found)
    assert now.looks() == new


def test_what_took_a_place_meanwhile_is_not_replaced_by_a_finish(scene: Build) -> None:
    now = scene()
    found = leave_unfinished(now, 2)
    (now.home / "far").mkdir()
    with pytest.raises(TargetExists):
        resume(found)
    (now.home / "far").rmdir()
    undo(found)
    assert tidied(now) == now.before


@pytest.mark.rule("R-10.14")
def test_what_cannot_be_taken_back_is_told_and_can_be_later(scene: Build) -> None:
    now = scene()
    broken = False

    def fail() -> None:
        nonlocal broken
        broken = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", os.rename)
        real = publish._renameat2

        def refuse(*args: object) -> object:
            if broken:
                raise OSError(errno.EIO, "Input/output error")
            return real(*args)  # type: ignore[arg-type]

        patch.setattr(publish, "_renameat2", refuse)
        arm, _ = nth(6, fail, RENAMES)
        with pytest.raises(TargetFailure) as caught:
            now.put(arm)
    (found,) = now.unfinished()
    assert os.fsdecode(found.path) in str(caught.value.hint)
    undo(found)
    assert now.looks() == now.before


# --- what else a machine may lack -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [10, 25], ids=["between link and unlink", "after some"])
def test_where_the_kernel_exchanges_nothing_an_undo_puts_the_old_back(
    scene: Build, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(publish, "_LIBC", object())
    now = scene()
    assert killed(now, number, (*RENAMES, "unlink"))
    (found,) = now.unfinished()
    undo(found)
    assert tidied(now) == now.before


def test_where_files_can_not_be_locked_an_unpack_is_finished_all_the_same(
    scene: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    new = expected(scene())
    now = scene()
    found = leave_unfinished(now)
    monkeypatch.setattr(fcntl, "flock", refuse)
    resume(found)
    assert tidied(now) == new


def test_a_log_that_another_run_removes_just_now_is_left_to_it(scene: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    now = scene()
    found = leave_unfinished(now)
    monkeypatch.setattr(fcntl, "flock", lambda *_: os.unlink(found.path))
    assert resume(found) == ()


def test_only_the_staging_directory_that_a_log_names_is_removed(tmp_path: Path) -> None:
    stage = tmp_path / ".openclaw.0123456789abcdef.staging"
    other = tmp_path / "other"
    for directory in (stage, other):
        directory.mkdir()
    for directory in (stage, other):
        intentlog._remove_stage(os.fsencode(directory), other.stat().st_ino)
    assert sorted(os.listdir(tmp_path)) == [stage.name, other.name]
