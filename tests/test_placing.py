from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from trees import (
    ASIDE,
    IS_ROOT,
    MTIME,
    NOW,
    OTHER,
    Tree,
    as_user,
    gateway,
    looks,
    mounted,
    names,
    old_state,
    users_directory,
    workspace,
)

from ocbundle import intentlog, publish, sites
from ocbundle.errors import (
    EntryMissing,
    InvalidRequest,
    Malformed,
    NoSpace,
    TargetExists,
    TargetFailure,
)
from ocbundle.intentlog import unfinished
from ocbundle.intents import PlacedRoot
from ocbundle.layout import Destination
from ocbundle.model import Progress
from ocbundle.openclaw.states import _PROFILE
from ocbundle.places import Owner, Place, Select
from ocbundle.placing import Amend, Placed, place
from ocbundle.stages import Stage

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to mount or to give files away")
either_way = pytest.mark.parametrize("renames", ["renameat2", "rename"], indirect=True)


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


def put(
    home: Path,
    trees: Mapping[str, tuple[Tree, Path]],
    *,
    owner: Owner | None = None,
    replace: bool = False,
    select: Select | None = None,
    amend: Amend | None = None,
    before_publish: Callable[[], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    dry_run: bool = False,
) -> Placed:
    """Place *trees*, by root name, at their paths; the log is below *home*."""
    rows = [row for name, (tree, _) in sorted(trees.items()) for row in tree.rows]
    return place(
        [Destination(root=name, path=os.fsencode(path)) for name, (_, path) in trees.items()],
        lambda: iter(rows),
        lambda entry: trees[entry.root][0].read(entry),
        resolve=lambda entry: trees[entry.root][0].resolve(entry),
        owner=owner or Owner.self(),
        replace=replace,
        log_directory=os.fsencode(home / ".local/state/ocbundle"),
        bundle_id="0123456789abcdef",
        select=select,
        amend=amend,
        before_publish=before_publish,
        progress=progress,
        dry_run=dry_run,
        now=NOW,
    )


def left(home: Path) -> tuple[intentlog.Unfinished, ...]:
    return unfinished(os.fsencode(home / ".local/state/ocbundle"))


# --- what arrives ---------------------------------------------------------------------------------------------------


def test_a_root_arrives_where_nothing_is(home: Path) -> None:
    done = put(home, {"default": (gateway(), home / ".openclaw")})
    row = PlacedRoot(root="default", path=os.fsencode(home / ".openclaw"), set_aside=None, size_aside=0)
    assert done == Placed(roots=(row,), entries=6, size=8, warnings=())
    assert (home / ".openclaw" / "a.json").read_bytes() == b'{"a": 1}'
    assert os.readlink(home / ".openclaw" / "dir" / "link") == "../a.json"
    assert (home / ".openclaw").stat().st_mtime_ns == MTIME
    assert names(home) == [".openclaw"]


@pytest.mark.usefixtures("renames")
@either_way
def test_what_is_there_is_kept_beside_when_it_may_be_replaced(home: Path) -> None:
    before = looks(old_state(home / ".openclaw"))
    done = put(home, {"default": (gateway(), home / ".openclaw")}, replace=True)
    aside = home / (ASIDE % "default")
    assert done.roots[0].set_aside == os.fsencode(aside)
    assert done.roots[0].size_aside == len("old") + len("older") + len("a.json")
    assert looks(aside) == before
    assert stat.S_IMODE(aside.stat().st_mode) == 0o711
    assert names(home / ".openclaw") == ["a.json", "dir", "hard"]
    assert names(home) == sorted([".openclaw", aside.name])


@pytest.mark.rule("R-10.13")
def test_what_is_there_is_not_replaced_unless_told_and_nothing_is_written(home: Path) -> None:
    old_state(home / ".openclaw")
    (home / "ws").write_text("theirs")
    before = looks(home)
    trees = {"default": (gateway(), home / ".openclaw"), "ws": (workspace(), home / "ws")}
    with pytest.raises(TargetExists) as caught:
        put(home, trees, progress=lambda _: pytest.fail("something was staged"))
    assert str(home / ".openclaw") in caught.value.message
    assert str(home / "ws") in caught.value.message
    assert looks(home) == before


def test_what_was_kept_can_not_be_taken_for_a_profile(home: Path) -> None:
    old_state(home / ".openclaw-work")
    done = put(home, {"work": (gateway_of("work"), home / ".openclaw-work")}, replace=True)
    kept = os.path.basename(done.roots[0].set_aside or b"")
    assert kept.startswith(b".openclaw.")
    assert not _PROFILE.fullmatch(kept)


def gateway_of(root: str) -> Tree:
    return Tree(root).directory().file(b"a.json", root.encode())


def test_what_is_kept_twice_within_a_second_has_two_names(home: Path) -> None:
    for text in ("1", "2", "3"):
        put(home, {"default": (Tree().directory().file(b"f", text.encode()), home / ".openclaw")}, replace=True)
    first, second = home / (ASIDE % "default"), home / (ASIDE % "default").replace("Z", "Z-2")
    assert [(each / "f").read_text() for each in (first, second, home / ".openclaw")] == ["1", "2", "3"]


def test_several_roots_arrive_at_several_places(home: Path, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    old_state(tmp_path / "srv" / "ws")
    trees = {
        "default": (gateway(), home / ".openclaw"),
        "work": (gateway_of("work"), home / ".openclaw-work"),
        "ws": (workspace(), tmp_path / "srv" / "ws"),
    }
    done = put(home, trees, replace=True)
    assert [row.root for row in done.roots] == ["default", "work", "ws"]
    assert names(home) == [".openclaw", ".openclaw-work"]
    assert names(tmp_path / "srv") == [ASIDE % "ws", "ws"]
    assert names(tmp_path / "srv" / "ws") == ["notes.md"]


def test_missing_directories_above_a_destination_are_private(home: Path) -> None:
    before = os.umask(0)
    try:
        put(home, {"ws": (workspace(), home / "far" / "away" / "ws")})
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "far").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "far" / "away").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "far" / "away" / "ws").stat().st_mode) == 0o750


def test_two_roots_below_one_missing_directory_arrive(home: Path) -> None:
    trees = {"one": (workspace("one"), home / "far" / "one"), "two": (workspace("two"), home / "far" / "two")}
    done = put(home, trees)
    assert names(home / "far") == ["one", "two"]
    assert done.entries == 4


def test_a_home_that_is_missing_is_created(tmp_path: Path) -> None:
    put(tmp_path / "new", {"default": (gateway(), tmp_path / "new" / ".openclaw")})
    assert names(tmp_path / "new") == [".openclaw"]


def test_a_root_that_is_a_file_replaces_one(home: Path) -> None:
    (home / "openclaw.json").write_text("old")
    put(home, {"config": (Tree("config").file(b"", b"{}"), home / "openclaw.json")}, replace=True)
    assert (home / "openclaw.json").read_text() == "{}"
    assert (home / (ASIDE % "config")).read_text() == "old"


def test_a_directory_gives_way_to_a_file(home: Path) -> None:
    old_state(home / "openclaw.json")
    put(home, {"config": (Tree("config").file(b"", b"{}"), home / "openclaw.json")}, replace=True)
    assert (home / "openclaw.json").read_text() == "{}"


def test_modes_are_those_of_the_bundle_whatever_was_there(home: Path) -> None:
    old_state(home / ".openclaw").chmod(0o777)
    put(home, {"default": (Tree().directory(mode=0o700).file(b"f", mode=0o400), home / ".openclaw")}, replace=True)
    assert stat.S_IMODE((home / ".openclaw").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".openclaw" / "f").stat().st_mode) == 0o400


def test_only_what_is_wanted_arrives(home: Path) -> None:
    trees = {"default": (gateway(), home / ".openclaw"), "ws": (workspace(), home / "ws")}
    done = put(home, trees, select=lambda entry: entry.path == b"dir/b")
    assert names(home) == [".openclaw"]
    assert names(home / ".openclaw" / "dir") == ["b"]
    assert [row.root for row in done.roots] == ["default"]


def test_nothing_wanted_is_an_error(home: Path) -> None:
    with pytest.raises(EntryMissing):
        put(home, {"default": (gateway(), home / ".openclaw")}, select=lambda _: False)
    assert names(home) == []


def test_a_root_without_a_destination_is_left_out(home: Path) -> None:
    one, two = gateway(), workspace()
    place(
        [Destination(root="ws", path=os.fsencode(home / "ws"))],
        lambda: iter(one.rows + two.rows),
        two.read,
        resolve=two.resolve,
        owner=Owner.self(),
        replace=False,
        log_directory=os.fsencode(home / "log"),
        bundle_id="",
    )
    assert names(home) == ["ws"]


def test_progress_ends_at_the_totals(home: Path) -> None:
    seen: list[Progress] = []
    trees = {"default": (gateway(), home / "far" / ".openclaw"), "ws": (workspace(), home / "far" / ".openclaw" / "ws")}
    put(home, trees, progress=seen.append)
    assert seen[-1] == Progress(stage="unpack", size=15, total_size=15, entries=8, total_entries=8)


def test_a_dry_run_tells_what_would_be_and_writes_nothing(home: Path) -> None:
    old_state(home / ".openclaw")
    trees = {"default": (gateway(), home / ".openclaw"), "ws": (workspace(), home / "far" / "ws")}
    before = looks(home)
    rehearsed = put(home, trees, replace=True, dry_run=True)
    assert looks(home) == before
    assert rehearsed == put(home, trees, replace=True)


# --- between staging and publishing ---------------------------------------------------------------------------------


def test_staged_files_can_be_changed_before_they_are_seen(home: Path) -> None:
    def amend(staged: Mapping[str, bytes]) -> None:
        assert sorted(staged) == ["default", "ws"]
        assert not (home / ".openclaw").exists()
        for directory in staged.values():
            assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        with open(os.path.join(staged["default"], b"a.json"), "wb") as file:
            file.write(b"rewritten")
        with open(os.path.join(staged["ws"], b"notes.md"), "wb") as file:
            file.write(b"rewritten too")

    trees = {"default": (gateway(), home / ".openclaw"), "ws": (workspace(), home / ".openclaw" / "deep" / "ws")}
    put(home, trees, amend=amend)
    assert (home / ".openclaw" / "a.json").read_text() == "rewritten"
    assert (home / ".openclaw" / "deep" / "ws" / "notes.md").read_text() == "rewritten too"
    assert stat.S_IMODE((home / ".openclaw" / "a.json").stat().st_mode) == 0o644


@pytest.mark.rule("R-10.14")
@pytest.mark.parametrize("hook", ["amend", "before_publish"])
def test_everything_is_as_it_was_when_a_hook_fails(home: Path, hook: str) -> None:
    old_state(home / ".openclaw")
    before = looks(home)

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    hooks: dict[str, Callable[..., None]] = {hook: fail}
    with pytest.raises(RuntimeError):
        put(home, {"default": (gateway(), home / ".openclaw")}, replace=True, **hooks)  # type: ignore[arg-type]
    assert looks(home) == before


def test_what_appears_meanwhile_is_not_replaced(home: Path) -> None:
    trees = {"default": (gateway(), home / ".openclaw"), "ws": (workspace(), home / "ws")}
    with pytest.raises(TargetExists) as caught:
        put(home, trees, replace=True, before_publish=(home / "ws").mkdir)
    assert caught.value.path == str(home / "ws")
    assert names(home) == ["ws"]


def test_a_directory_above_that_is_swapped_meanwhile_redirects_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "canary").mkdir()
    (home / "work").mkdir()

    def swap() -> None:
        (home / "work").rename(home / "moved")
        (home / "work").symlink_to(tmp_path / "canary")

    with pytest.raises(TargetFailure):
        put(home, {"ws": (workspace(), home / "work" / "ws")}, before_publish=swap)
    assert names(tmp_path / "canary") == []
    assert names(home / "moved") == []


def test_a_directory_above_that_is_replaced_by_another_is_refused(home: Path) -> None:
    (home / "work").mkdir()

    def swap() -> None:
        (home / "work").rename(home / "moved")
        (home / "work").mkdir()

    with pytest.raises(TargetFailure):
        put(home, {"ws": (workspace(), home / "work" / "ws")}, before_publish=swap)
    assert names(home / "work") == []


# --- links ----------------------------------------------------------------------------------------------------------


def test_a_link_at_a_destination_is_followed_once(home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    old_state(tmp_path / "data" / "state")
    (home / ".openclaw").symlink_to("../data/state")
    done = put(home, {"default": (gateway(), home / ".openclaw")}, replace=True)
    assert os.readlink(home / ".openclaw") == "../data/state"
    assert done.roots[0].path == os.fsencode(tmp_path / "data" / "state")
    assert names(tmp_path / "data" / "state") == ["a.json", "dir", "hard"]
    assert names(tmp_path / "data") == [ASIDE % "default", "state"]


def test_a_link_to_nothing_is_followed_too(home: Path, tmp_path: Path) -> None:
    (home / ".openclaw").symlink_to(tmp_path / "data" / "state")
    put(home, {"default": (gateway(), home / ".openclaw")})
    assert names(tmp_path / "data" / "state") == ["a.json", "dir", "hard"]
    assert (home / ".openclaw").is_symlink()


def test_a_link_inside_of_what_is_replaced_is_not_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    old_state(home / ".openclaw")
    (home / ".openclaw" / "workspace").symlink_to(tmp_path / "elsewhere")
    trees = {
        "default": (gateway(), home / ".openclaw"),
        "ws": (workspace(), home / ".openclaw" / "workspace"),
    }
    put(home, trees, replace=True)
    assert names(home / ".openclaw" / "workspace") == ["notes.md"]
    assert names(tmp_path / "elsewhere") == []


def test_links_that_lead_in_a_circle_are_refused(home: Path) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    with pytest.raises(TargetFailure, match="circle"):
        put(home, {"ws": (workspace(), home / "a")})


@needs_root
@pytest.mark.parametrize("spelling", ["link", "link/below"])
def test_root_follows_no_link_of_a_user_to_where_that_user_may_not_write(theirs: Path, spelling: str) -> None:
    with mounted(theirs.parent / f"{theirs.name}-roots") as roots:
        (theirs / "link").symlink_to(roots / "state")
        os.lchown(theirs / "link", OTHER, OTHER)
        with pytest.raises(TargetFailure, match=f"link that user {OTHER} made"):
            put(theirs, {"ws": (workspace(), theirs / spelling)})
        assert names(roots) == []
    (theirs.parent / f"{theirs.name}-roots").rmdir()
    assert names(theirs) == ["link"]


@needs_root
def test_root_follows_a_users_link_to_the_users_own(theirs: Path) -> None:
    (theirs / "data").mkdir()
    (theirs / "link").symlink_to("data/state")
    os.chown(theirs / "data", OTHER, OTHER)
    os.lchown(theirs / "link", OTHER, OTHER)
    put(theirs, {"ws": (workspace(), theirs / "link")})
    assert names(theirs / "data") == ["state"]


# --- roots inside of roots ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["workspace", "dir/x/workspace", "zz/y"])
def test_a_root_inside_of_another_arrives_with_it(home: Path, inner: str) -> None:
    state = old_state(home / ".openclaw")
    ws = workspace().symlink(b"out", b"/x")
    trees = {"default": (gateway(), state), "ws": (ws, state / inner)}
    done = put(home, trees, replace=True)
    assert (state / inner / "notes.md").read_text() == "be kind"
    assert os.readlink(state / inner / "out") == "/x"
    assert names(home) == sorted([".openclaw", ASIDE % "default"])
    assert [row.set_aside is None for row in done.roots] == [False, True]
    assert done.entries == 9


def test_hard_links_of_a_root_inside_of_another_stay_links(home: Path) -> None:
    ws = workspace().hardlink(b"same.md", b"notes.md")
    state = home / ".openclaw"
    put(home, {"default": (gateway(), state), "ws": (ws, state / "ws")})
    assert (state / "ws" / "same.md").samefile(state / "ws" / "notes.md")
    assert (state / "hard").samefile(state / "a.json")


@pytest.mark.parametrize("inner", ["dir", "a.json", "a.json/below", "dir/b"])
def test_a_root_where_another_has_an_entry_is_refused(home: Path, inner: str) -> None:
    trees = {"default": (gateway(), home / ".openclaw"), "ws": (workspace(), home / ".openclaw" / inner)}
    with pytest.raises(InvalidRequest, match="another root would go to"):
        put(home, trees)
    assert names(home) == []


def test_two_roots_at_one_place_are_refused(home: Path) -> None:
    (home / "link").symlink_to("state")
    with pytest.raises(InvalidRequest, match="would both go to"):
        put(home, {"default": (gateway(), home / "state"), "ws": (workspace(), home / "link")})


@pytest.mark.parametrize("path", ["relative", "/", "/.", "/a/../b", "/nul\0"])
def test_a_destination_that_is_no_plain_absolute_path_is_refused(home: Path, path: str) -> None:
    with pytest.raises(InvalidRequest, match="absolute path"):
        put(home, {"ws": (workspace(), Path(path))} if path != "/a/../b" else {"ws": (workspace(), Path("/a/../b"))})


def test_a_link_to_the_root_of_the_file_system_is_refused(home: Path) -> None:
    (home / "link").symlink_to("/")
    with pytest.raises(InvalidRequest, match="root of the file system"):
        put(home, {"ws": (workspace(), home / "link")}, replace=True)


def test_a_place_that_holds_the_log_is_refused(home: Path) -> None:
    (home / ".local").mkdir()
    with pytest.raises(InvalidRequest, match="the log can't be in"):
        put(home, {"ws": (workspace(), home / ".local")}, replace=True)
    assert names(home / ".local") == []


def test_a_root_without_an_entry_of_its_own_is_refused(home: Path) -> None:
    with pytest.raises(Malformed):
        put(home, {"ws": (Tree("ws").file(b"f", b"x"), home / "ws")})
    assert names(home) == []


# --- owners ---------------------------------------------------------------------------------------------------------


@needs_root
def test_root_gives_all_of_it_to_the_user_who_will_run_the_gateway(theirs: Path) -> None:
    owner = Owner(uid=OTHER, gid=OTHER)
    trees = {
        "default": (gateway(), theirs / "far" / ".openclaw"),
        "ws": (workspace(), theirs / "far" / ".openclaw/w/s"),
    }
    put(theirs, trees, owner=owner)
    found = [path.lstat() for path in theirs.rglob("*")]
    assert len(found) == 10
    assert {(status.st_uid, status.st_gid) for status in found} == {(OTHER, OTHER)}


def test_a_user_places_and_replaces_directories_without_rights(theirs: Path) -> None:
    def work() -> None:
        (theirs / "old").mkdir()
        (theirs / "old").chmod(0o500)
        tree = Tree("one").directory(mode=0o500).directory(b"d", mode=0).file(b"d/f", mode=0)
        put(theirs, {"one": (tree, theirs / "old")}, replace=True)
        put(theirs, {"one": (tree, theirs / "new" / "one")})
        for path in (theirs / "old", theirs / "new" / "one", theirs / (ASIDE % "one")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o500

    as_user(work)


def test_a_place_that_a_user_may_not_write_to_is_a_failure_with_a_hint(theirs: Path) -> None:
    (theirs / "shut").mkdir(mode=0o555)

    def work() -> None:
        for dry_run in (True, False):
            with pytest.raises(TargetFailure) as caught:
                put(theirs, {"ws": (workspace(), theirs / "shut" / "ws")}, dry_run=dry_run)
            assert caught.value.hint == "choose a place that this user may write to"

    as_user(work)
    assert names(theirs) == ["shut"]


# --- room -----------------------------------------------------------------------------------------------------------


@needs_root
def test_what_is_replaced_still_needs_its_room(home: Path) -> None:
    with mounted(home / "small", "size=1m") as small:
        (small / "ws").mkdir()
        (small / "ws" / "f").write_bytes(bytes(700 << 10))
        tree = Tree("ws").directory().file(b"f", bytes(600 << 10))
        with pytest.raises(NoSpace, match="MiB needed"):
            put(home, {"ws": (tree, small / "ws")}, replace=True, progress=lambda _: pytest.fail("staged"))
        assert names(small) == ["ws"]


@needs_root
def test_each_file_system_needs_room_for_its_own_roots(home: Path) -> None:
    with mounted(home / "small", "size=1m") as small:
        big = Tree("big").directory().file(b"f", bytes(2 << 20))
        put(home, {"big": (big, home / "big"), "ws": (workspace(), small / "ws")})
        assert names(small) == ["ws"]
        assert (home / "big" / "f").stat().st_size == 2 << 20


@needs_root
def test_a_file_system_that_fills_up_leaves_everything_as_it_was(home: Path) -> None:
    with mounted(home / "small", "size=1m") as small:
        old_state(small / "ws")
        old_state(home / ".openclaw")
        before = looks(home)
        tree = Tree("ws").directory().file(b"f", bytes(600 << 10))
        hog = small / "hog"

        def fill(progress: Progress) -> None:
            if progress.size and not hog.exists():
                with pytest.raises(OSError, match="No space"):
                    hog.write_bytes(bytes(2 << 20))

        trees = {"default": (gateway(), home / ".openclaw"), "ws": (tree, small / "ws")}
        with pytest.raises(NoSpace):
            put(home, trees, replace=True, progress=fill)
        hog.unlink()
        assert looks(home) == before


# --- places that can't be moved -------------------------------------------------------------------------------------


@needs_root
@pytest.mark.usefixtures("renames")
@either_way
def test_the_content_of_a_mounted_directory_is_exchanged(home: Path) -> None:
    with mounted(home / ".openclaw", "size=8m,mode=711") as volume:
        (volume / "a.json").write_text("old")
        (volume / "old").mkdir()
        (volume / "old" / "f").write_text("older")
        before = looks(volume)
        done = put(home, {"default": (gateway(), volume)}, replace=True)
        aside = volume / (ASIDE % "default")
        assert done.roots == (
            PlacedRoot(root="default", path=os.fsencode(volume), set_aside=os.fsencode(aside), size_aside=8),
        )
        assert looks(aside) == before
        assert names(volume) == sorted([aside.name, "a.json", "dir", "hard"])
        assert (volume / "a.json").read_text() == '{"a": 1}'
        assert (volume / "hard").samefile(volume / "a.json")
        assert stat.S_IMODE(aside.stat().st_mode) == 0o700
        assert stat.S_IMODE(volume.stat().st_mode) == 0o755
    assert names(home) == [".openclaw"]


@needs_root
def test_an_empty_volume_is_free_but_for_what_belongs_to_its_file_system(home: Path) -> None:
    with mounted(home / ".openclaw") as volume:
        (volume / "lost+found").mkdir()
        done = put(home, {"default": (gateway(), volume)})
        assert done.roots[0].set_aside is None
        assert names(volume) == ["a.json", "dir", "hard", "lost+found"]


@needs_root
@pytest.mark.rule("R-10.13")
def test_the_content_of_a_volume_is_not_replaced_unless_told(home: Path) -> None:
    with mounted(home / ".openclaw") as volume:
        (volume / "f").touch()
        with pytest.raises(TargetExists):
            put(home, {"default": (gateway(), volume)})
        assert names(volume) == ["f"]


@needs_root
def test_what_was_set_aside_in_a_volume_stays_there(home: Path) -> None:
    with mounted(home / ".openclaw") as volume:
        for text in ("1", "2", "3"):
            put(home, {"default": (Tree().directory().file(b"f", text.encode()), volume)}, replace=True)
        first, second = volume / (ASIDE % "default"), volume / (ASIDE % "default").replace("Z", "Z-2")
        assert [(each / "f").read_text() for each in (first, second, volume)] == ["1", "2", "3"]
        assert names(volume) == sorted([first.name, second.name, "f"])


@needs_root
def test_a_directory_mounted_from_the_same_file_system_is_known_by_the_table_of_mounts(home: Path) -> None:
    volume = home / "with space"
    volume.mkdir()
    old_state(home / "source")
    subprocess.run(["mount", "--bind", home / "source", volume], check=True)
    try:
        done = put(home, {"default": (gateway(), volume)}, replace=True)
        assert done.roots[0].set_aside == os.fsencode(volume / (ASIDE % "default"))
        assert (home / "source" / "a.json").read_text() == '{"a": 1}'
    finally:
        subprocess.run(["umount", volume], check=True)


@needs_root
def test_a_directory_that_turns_out_not_to_be_movable_is_staged_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = old_state(home / ".openclaw")
    old_state(home / "source")
    monkeypatch.setattr(sites, "_MOUNTS", "/nonexistent")
    staged: list[bytes] = []
    subprocess.run(["mount", "--bind", home / "source", volume], check=True)
    try:
        trees = {"default": (gateway(), volume), "ws": (workspace(), home / "ws")}
        done = put(home, trees, replace=True, amend=lambda paths: staged.append(paths["default"]))
        assert [os.path.dirname(os.path.dirname(path)) for path in staged] == list(map(os.fsencode, [home, volume]))
        assert done.roots[0].set_aside == os.fsencode(volume / (ASIDE % "default"))
        assert names(home) == [".openclaw", "source", "ws"]
        assert done.entries == 8
    finally:
        subprocess.run(["umount", volume], check=True)


@needs_root
def test_an_empty_directory_of_a_containers_image_is_filled(home: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (home / name).mkdir()
    (home / "lower" / ".openclaw").mkdir()
    merged = home / "merged"
    layers = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
    done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=False)
    if done.returncode:
        pytest.skip("no overlay file system here")
    try:
        put(merged, {"default": (gateway(), merged / ".openclaw")}, replace=True)
        assert names(merged / ".openclaw") == ["a.json", "dir", "hard"]
        assert names(merged) == [".openclaw"]
    finally:
        subprocess.run(["umount", merged], check=True)


@needs_root
def test_a_directory_of_a_containers_image_that_is_full_is_refused_and_stays(home: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (home / name).mkdir()
    old_state(home / "lower" / ".openclaw")
    merged = home / "merged"
    layers = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
    done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=False)
    if done.returncode:
        pytest.skip("no overlay file system here")
    try:
        before = looks(merged)
        with pytest.raises(TargetFailure, match="a container's image"):
            put(merged, {"default": (gateway(), merged / ".openclaw")}, replace=True)
        assert looks(merged) == before
    finally:
        subprocess.run(["umount", merged], check=True)


@needs_root
@pytest.mark.usefixtures("renames")
@either_way
def test_what_is_mounted_inside_of_a_destination_stays_mounted_and_takes_its_part(home: Path) -> None:
    state = old_state(home / ".openclaw")
    tree = Tree().directory(mode=0o750).file(b"a.json", b"new").directory(b"deep", mode=0o705)
    tree.directory(b"deep/ws", mode=0o701).file(b"deep/ws/f", b"inside").hardlink(b"deep/ws/g", b"a.json")
    tree.file(b"deep/x", b"x").file(b"z", b"z")
    with mounted(state / "deep" / "ws") as volume:
        (volume / "was").write_text("there")
        (state / "deep" / "old").write_text("y")
        done = put(home, {"default": (tree, state)}, replace=True)
        aside, inner = state / (ASIDE % "default"), volume / (ASIDE % "default")
        assert [(row.path, row.set_aside, row.size_aside) for row in done.roots] == [
            (os.fsencode(state), os.fsencode(aside), 15),
            (os.fsencode(volume), os.fsencode(inner), 5),
        ]
        assert names(state) == sorted([aside.name, "a.json", "deep", "z"])
        assert names(state / "deep") == ["ws", "x"]
        assert names(volume) == sorted([inner.name, "f", "g"])
        assert (volume / "g").read_text() == "new"
        assert names(aside) == ["a.json", "deep", "link", "old"]
        assert names(aside / "deep") == ["old"]
        assert names(inner) == ["was"]
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (state, state / "deep", volume)]
        assert modes == [0o750, 0o705, 0o701]
        assert (state / "deep").stat().st_mtime_ns == MTIME
        assert done.entries == 8
    assert names(home) == [".openclaw"]


@needs_root
def test_two_volumes_one_inside_of_the_other_take_two_roots(home: Path) -> None:
    with mounted(home / ".openclaw") as outer, mounted(outer / "workspace") as inner:
        (outer / "old").touch()
        done = put(home, {"default": (gateway(), outer), "ws": (workspace(), inner)}, replace=True)
        assert names(inner) == ["notes.md"]
        assert names(outer) == sorted([ASIDE % "default", "a.json", "dir", "hard", "workspace"])
        assert [row.root for row in done.roots] == ["default", "ws"]


@needs_root
def test_a_mount_where_nothing_of_the_bundle_goes_is_refused(home: Path) -> None:
    state = old_state(home / ".openclaw")
    with mounted(state / "cache") as cache:
        before = looks(home)
        with pytest.raises(TargetFailure, match="mounted inside") as caught:
            put(home, {"default": (gateway(), state)}, replace=True)
        assert caught.value.path == str(cache)
        assert looks(home) == before


@needs_root
def test_a_file_that_is_mounted_is_refused(home: Path) -> None:
    (home / "source").write_text("source")
    (home / "config").write_text("config")
    subprocess.run(["mount", "--bind", home / "source", home / "config"], check=True)
    try:
        with pytest.raises(TargetFailure, match="it is mounted"):
            put(home, {"config": (Tree("config").file(b"", b"{}"), home / "config")}, replace=True)
    finally:
        subprocess.run(["umount", home / "config"], check=True)


@needs_root
def test_a_volume_is_given_to_the_owner_of_what_it_holds(home: Path) -> None:
    with mounted(home / ".openclaw") as volume:
        put(home, {"default": (gateway(), volume)}, owner=Owner(uid=OTHER, gid=OTHER))
        assert (volume.stat().st_uid, volume.stat().st_gid) == (OTHER, OTHER)


@needs_root
def test_a_users_volume_that_belongs_to_root_keeps_its_owner_and_mode(theirs: Path) -> None:
    with mounted(theirs / "volume", "size=8m,mode=777") as volume:

        def work() -> None:
            done = put(theirs, {"default": (gateway(), volume)})
            assert done.warnings == (f"{volume} keeps its owner and mode: it belongs to somebody else",)

        as_user(work)
        assert stat.S_IMODE(volume.stat().st_mode) == 0o777
        assert names(volume) == ["a.json", "dir", "hard"]
    (theirs / "volume").rmdir()


@needs_root
def test_a_volume_does_not_get_extended_attributes_and_says_so(home: Path) -> None:
    with mounted(home / ".openclaw") as volume:
        try:
            os.setxattr(volume, "user.x", b"1")
        except OSError:
            pytest.skip("no extended attributes on this file system")
        tree = Tree().directory(xattrs=((b"user.y", b"2"),)).file(b"f")
        done = put(home, {"default": (tree, volume)})
        assert done.warnings == (f"{volume} doesn't get its extended attributes",)


# --- the log, and what others left ----------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_the_directories_of_the_log_go_with_it(home: Path, outcome: str) -> None:
    def fail() -> None:
        raise RuntimeError

    with contextlib.suppress(RuntimeError):
        put(home, {"ws": (workspace(), home / "ws")}, before_publish=fail if outcome == "failed" else None)
    assert names(home) == ([] if outcome == "failed" else ["ws"])


def test_the_directories_of_the_log_belong_to_the_owner_and_are_private(theirs: Path) -> None:
    seen: list[os.stat_result] = []

    def look() -> None:
        seen.extend(path.stat() for path in (theirs / ".local").rglob("*"))

    owner = Owner(uid=OTHER, gid=OTHER) if IS_ROOT else Owner.self()
    put(theirs, {"ws": (workspace(), theirs / "ws")}, owner=owner, before_publish=look)
    assert [(status.st_uid, stat.S_IMODE(status.st_mode)) for status in seen] == [
        (OTHER if IS_ROOT else os.geteuid(), 0o700)
    ] * 2


@needs_root
def test_root_puts_no_log_where_a_users_link_leads(theirs: Path, home: Path) -> None:
    (theirs / ".local").symlink_to(home)
    os.lchown(theirs / ".local", OTHER, OTHER)
    with pytest.raises(TargetFailure, match=f"link that user {OTHER} made"):
        put(theirs, {"ws": (workspace(), theirs / "ws")})
    assert names(home) == []


def test_a_staging_directory_that_a_killed_run_left_is_named_and_kept(home: Path) -> None:
    (home / ".openclaw.0123456789abcdef.staging").mkdir()
    done = put(home, {"ws": (workspace(), home / "ws")})
    assert done.warnings == (f"left behind by a run that was killed: {home}/.openclaw.0123456789abcdef.staging",)
    assert names(home) == [".openclaw.0123456789abcdef.staging", "ws"]


# --- what disappears, and what can't be removed ---------------------------------------------------------------------


@needs_root
def test_a_users_own_volume_is_replaced_by_the_user(theirs: Path) -> None:
    with mounted(theirs / "volume", f"size=8m,mode=700,uid={OTHER},gid={OTHER}") as volume:
        (volume / "old").touch()
        os.chown(volume / "old", OTHER, OTHER)

        def work() -> None:
            put(theirs, {"default": (gateway(), volume)}, replace=True)

        as_user(work)
        assert names(volume) == sorted([ASIDE % "default", "a.json", "dir", "hard"])
    (theirs / "volume").rmdir()


@needs_root
def test_what_appears_meanwhile_in_a_volume_is_not_replaced(home: Path) -> None:
    with mounted(home / ".openclaw") as volume:
        with pytest.raises(TargetExists):
            put(home, {"default": (gateway(), volume)}, replace=True, before_publish=(volume / "dir").mkdir)
        assert names(volume) == ["dir"]


@needs_root
def test_a_directory_above_a_volume_that_is_staged_no_more_is_emptied_and_stays(home: Path) -> None:
    state = old_state(home / ".openclaw")
    tree = Tree().directory().directory(b"deep").directory(b"deep/ws").file(b"deep/ws/f", b"f").file(b"deep/x", b"x")

    def amend(staged: Mapping[str, bytes]) -> None:
        shutil.rmtree(os.path.join(staged["default"], b"deep"))

    with mounted(state / "deep" / "ws") as volume:
        (state / "deep" / "old").write_text("old")
        put(home, {"default": (tree, state)}, replace=True, amend=amend)
        assert (names(state / "deep"), names(volume)) == (["ws"], ["f"])
        assert names(state / (ASIDE % "default") / "deep") == ["old"]


def test_a_staging_directory_that_can_not_be_removed_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Stage) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Stage, "remove", refuse)
    done = put(home, {"default": (gateway(), home / ".openclaw")})
    assert [text.startswith("left behind by a run that was killed: ") for text in done.warnings] == [True]


def test_a_staging_directory_can_be_let_go_of_before_it_is_made(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        Stage(Place(path=os.fsencode(tmp_path), fd=fd)).close()
    finally:
        os.close(fd)
    assert names(tmp_path) == []
