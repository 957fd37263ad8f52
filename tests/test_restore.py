from __future__ import annotations

import errno
import itertools
import os
import pwd
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import IS_ROOT, MTIME, OTHER, Tree, as_user, gateway, names, users_directory

from ocbundle import publish, restore, sites
from ocbundle.errors import (
    BundleError,
    EntryMissing,
    InvalidRequest,
    LimitExceeded,
    Malformed,
    NoSpace,
    TargetExists,
    TargetFailure,
)
from ocbundle.model import Entry, Extent, Kind, Progress
from ocbundle.paths import sort_key
from ocbundle.places import Owner, Select
from ocbundle.staging import Staging

NAME = next((row.pw_name for row in pwd.getpwall() if row.pw_uid == os.geteuid()), "")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to give files away or to mount")


@pytest.fixture
def theirs() -> Iterator[Path]:
    with users_directory() as where:
        yield where


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", where], check=True)
    yield where
    subprocess.run(["umount", where], check=True)


# --- what arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-10.11")
def test_a_tree_arrives_in_a_new_directory_with_modes_times_and_links(tmp_path: Path) -> None:
    result = gateway().restore(tmp_path / "new")
    root = tmp_path / "new" / "default"
    assert (root / "a.json").read_bytes() == b'{"a": 1}'
    assert stat.S_IMODE((root / "a.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "dir" / "b").stat().st_mode) == 0o400
    assert stat.S_IMODE((root / "dir").stat().st_mode) == 0o750
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert os.readlink(root / "dir" / "link") == "../a.json"
    assert (root / "hard").samefile(root / "a.json")
    for path in ("", "a.json", "dir", "dir/b", "dir/link"):
        assert (root / path).lstat().st_mtime_ns == MTIME
    assert result == restore.Restored(roots=(os.fsencode(root),), entries=6, size=8, warnings=())
    assert names(tmp_path) == ["new"]


def test_a_new_directory_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        gateway().restore(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "default" / "dir").stat().st_mode) == 0o750


def test_a_umask_that_forbids_everything_does_not_hinder_a_user(theirs: Path) -> None:
    def work() -> None:
        os.umask(0o777)
        gateway().restore(theirs / "new")
        assert stat.S_IMODE((theirs / "new" / "default" / "dir").stat().st_mode) == 0o750

    as_user(work)


@pytest.mark.rule("R-10.4")
def test_nothing_is_readable_by_others_while_it_is_staged(tmp_path: Path) -> None:
    before = os.umask(0)
    seen: list[int] = []
    tree = Tree().directory(mode=0o777).directory(b"d", mode=0o777).file(b"d/secret", mode=0o666)

    def read(_entry: Entry) -> Iterator[bytes]:
        for directory, _, files in os.walk(tmp_path):
            if directory != str(tmp_path):
                seen.append(stat.S_IMODE(os.stat(directory).st_mode))
            seen.extend(stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) for name in files)
        yield b"data"

    try:
        restore.restore_tree(str(tmp_path / "new"), tree.entries, read, resolve=tree.resolve, owner=Owner.self())
    finally:
        os.umask(before)
    assert sorted(seen) == [0o600, 0o700, 0o700, 0o700]


def test_a_root_arrives_in_a_directory_that_has_other_things(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    gateway().restore(tmp_path)
    assert names(tmp_path) == ["default", "other"]


def test_a_destination_may_be_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    gateway().restore(tmp_path / "link")
    assert names(tmp_path / "real") == ["default"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("spelling", ["new", "new/", "./new", "."])
def test_a_relative_destination_is_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(tmp_path)
    gateway().restore(spelling)
    assert (tmp_path / spelling / "default" / "a.json").exists()


def test_a_root_that_is_a_file_arrives(tmp_path: Path) -> None:
    Tree("settings").file(b"", b"{}").restore(tmp_path)
    assert (tmp_path / "settings").read_bytes() == b"{}"


def test_several_roots_arrive_side_by_side(tmp_path: Path) -> None:
    one, two = gateway(), Tree("second").directory().file(b"f", b"2")
    result = restore.restore_tree(
        str(tmp_path / "new"),
        lambda: iter(one.rows + two.rows),
        lambda entry: (one if entry.root == "default" else two).read(entry),
        resolve=one.resolve,
        owner=Owner.self(),
    )
    assert names(tmp_path / "new") == ["default", "second"]
    assert (tmp_path / "new" / "second" / "f").read_bytes() == b"2"
    assert result.entries == 8


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_directories_without_rights_arrive_for_a_user(theirs: Path, mode: int) -> None:
    tree = Tree().directory(mode=mode).directory(b"d", mode=mode).file(b"d/f", mode=0).symlink(b"d/l", b"f")
    tree.hardlink(b"h", b"d/f")

    def work() -> None:
        tree.restore(theirs / "new")
        tree.restore(theirs)

    as_user(work)
    for root in (theirs / "new" / "default", theirs / "default"):
        if IS_ROOT:
            assert stat.S_IMODE((root / "d").stat().st_mode) == mode
            assert (root / "h").samefile(root / "d" / "f")
        assert stat.S_IMODE(root.stat().st_mode) == mode


@pytest.mark.rule("R-10.15")
def test_names_with_control_characters_and_bytes_outside_utf8_arrive_as_they_are(tmp_path: Path) -> None:
    name = b"a\n\x1b[31m\xff\\C:x"
    Tree().directory().file(name).restore(tmp_path)
    assert os.listdir(os.fsencode(tmp_path / "default")) == [name]


def test_a_time_before_1970_arrives(tmp_path: Path) -> None:
    Tree().directory().file(b"f", mtime_ns=-1_500_000_000).restore(tmp_path)
    assert (tmp_path / "default" / "f").stat().st_mtime_ns == -1_500_000_000


def test_holes_arrive_as_holes(tmp_path: Path) -> None:
    hole = 8 << 20
    tree = Tree().directory()
    tree.file(b"f", b"", size=hole * 2 + 3, extents=(Extent(None, 0, hole), Extent(0, 0, 3), Extent(None, 0, hole)))
    tree.content[b"f"] = [bytes(hole), b"abc", bytes(hole)]
    tree.restore(tmp_path)
    status = (tmp_path / "default" / "f").stat()
    assert status.st_size == hole * 2 + 3
    assert status.st_blocks * 512 < hole
    with (tmp_path / "default" / "f").open("rb") as file:
        file.seek(hole)
        assert file.read(4) == b"abc\0"


def test_extended_attributes_arrive_or_are_counted(tmp_path: Path) -> None:
    tree = Tree().directory(xattrs=((b"user.d", b"1"),)).file(b"f", mode=0o400, xattrs=((b"user.f", b"\0\xff"),))
    result = tree.restore(tmp_path)
    names_found = [name for path in ("", "f") for name in os.listxattr(tmp_path / "default" / path)]
    kept = [name for name in names_found if name.startswith("user.")]
    lost = 2 - len(kept)
    noun = "attribute" if lost == 1 else "attributes"
    assert result.warnings == ((f"{lost} extended {noun} couldn't be set",) if lost else ())


@needs_root
def test_extended_attributes_that_the_file_system_refuses_are_one_warning(tmp_path: Path) -> None:
    tree = Tree().directory().file(b"f", xattrs=((b"user." + b"n" * 251, b"1"), (b"user.x", bytes(1 << 17))))
    result = tree.restore(tmp_path)
    assert result.warnings == ("2 extended attributes couldn't be set",)


def test_progress_ends_at_the_totals(tmp_path: Path) -> None:
    seen: list[Progress] = []
    gateway().restore(tmp_path / "new", progress=seen.append)
    assert seen[-1] == Progress(stage="unpack", size=8, total_size=8, entries=6, total_entries=6)
    assert all(a.size <= b.size for a, b in itertools.pairwise(seen))


# --- owners and special bits -----------------------------------------------------------------------------------------


@pytest.mark.rule("R-10.8")
def test_special_bits_are_left_out_and_counted(tmp_path: Path) -> None:
    result = Tree().directory(mode=0o2755).file(b"f", mode=0o4755).file(b"g").restore(tmp_path)
    assert stat.S_IMODE((tmp_path / "default" / "f").stat().st_mode) == 0o755
    assert result.warnings == ("setuid, setgid or sticky bits left out of 2 entries",)


@needs_root
def test_numeric_owners_come_with_special_bits(tmp_path: Path) -> None:
    tree = Tree().directory(uid=OTHER, gid=77, mode=0o2755).file(b"f", uid=OTHER, gid=78, mode=0o4755)
    tree.add(b"l", Kind.SYMLINK, target=b"f", uid=OTHER, gid=79)
    assert tree.restore(tmp_path, owner=Owner.numeric()).warnings == ()
    root = tmp_path / "default"
    assert (root.stat().st_uid, root.stat().st_gid, stat.S_IMODE(root.stat().st_mode)) == (OTHER, 77, 0o2755)
    assert ((root / "f").stat().st_gid, stat.S_IMODE((root / "f").stat().st_mode)) == (78, 0o4755)
    assert (root / "l").lstat().st_gid == 79


@pytest.mark.rule("R-10.7")
@needs_root
def test_files_restored_by_root_belong_to_root_by_default(tmp_path: Path) -> None:
    Tree().directory(uid=OTHER, gid=OTHER).file(b"f", uid=OTHER, gid=OTHER).restore(tmp_path)
    assert (tmp_path / "default" / "f").stat().st_uid == 0


@needs_root
def test_root_gives_everything_to_a_named_user(tmp_path: Path) -> None:
    record = pwd.getpwnam("nobody")
    gateway().restore(tmp_path / "new", owner=Owner.user("nobody"))
    for path in (".", "default", "default/a.json", "default/dir/link"):
        status = (tmp_path / "new" / path).lstat()
        assert (status.st_uid, status.st_gid) == (record.pw_uid, record.pw_gid)


@pytest.mark.skipif(not NAME, reason="this user has no name")
def test_a_user_may_name_themselves(tmp_path: Path) -> None:
    owner = Owner.user(NAME)
    gateway().restore(tmp_path, owner=owner)
    assert (tmp_path / "default").stat().st_uid == owner.uid


def test_an_unknown_user_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="no user"):
        Owner.user("no-such-user")


def test_a_user_cannot_give_files_to_another() -> None:
    def work() -> None:
        with pytest.raises(InvalidRequest) as caught:
            Owner.user("root")
        assert caught.value.hint == "run this as root, or as root"

    as_user(work)


def test_a_user_cannot_restore_another_owner_and_nothing_is_written(theirs: Path) -> None:
    def work() -> None:
        tree = Tree().directory(uid=os.getuid(), gid=os.getgid()).file(b"f", uid=4242, gid=os.getgid())
        with pytest.raises(TargetFailure, match="4242"):
            tree.restore(theirs / "new", owner=Owner.numeric())
        assert names(theirs) == []

    as_user(work)


def test_a_user_can_restore_their_own_number(theirs: Path) -> None:
    def work() -> None:
        tree = Tree().directory(uid=os.getuid(), gid=os.getgid()).file(b"f", uid=os.getuid(), gid=os.getgid())
        tree.restore(theirs / "new", owner=Owner.numeric())

    as_user(work)
    assert names(theirs / "new" / "default") == ["f"] if IS_ROOT else True


def test_the_number_that_means_leave_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetFailure, match="no owner"):
        Tree().directory(uid=0xFFFFFFFF).restore(tmp_path / "new", owner=Owner.numeric())


@needs_root
def test_a_setgid_destination_does_not_give_files_its_group(tmp_path: Path) -> None:
    os.chown(tmp_path, 0, 77)
    tmp_path.chmod(0o2777)
    gateway().restore(tmp_path)
    status = (tmp_path / "default" / "a.json").stat()
    assert status.st_gid == os.getegid()
    assert not (tmp_path / "default" / "dir").stat().st_mode & stat.S_ISGID


@pytest.mark.rule("R-10.10")
@needs_root
def test_an_inherited_default_acl_opens_nothing(small: Path) -> None:
    # Version 2, then (tag, rights, id): owner rwx, user 1500 rwx, group -, mask rwx, others -.
    rows = [(1, 7, 0xFFFFFFFF), (2, 7, OTHER), (4, 0, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    to = small / "to"
    to.mkdir()
    os.setxattr(to, "system.posix_acl_default", acl)
    Tree().directory(mode=0o770).file(b"f", mode=0o660).restore(to)
    Tree().directory(mode=0o770).file(b"f", mode=0o660).restore(to / "new")
    for path in ("default", "default/f", "new", "new/default", "new/default/f"):
        assert os.listxattr(to / path) == []


# --- whole or not at all ---------------------------------------------------------------------------------------------


@pytest.mark.rule("R-10.13")
def test_a_root_that_exists_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    tree = gateway()
    tree.content.clear()
    with pytest.raises(TargetExists) as caught:
        tree.restore(tmp_path)
    assert caught.value.path == str(tmp_path / "default")
    assert names(tmp_path) == ["default"]


def test_a_dangling_link_with_the_name_of_a_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "default").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetExists):
        gateway().restore(tmp_path)
    assert names(tmp_path) == ["default"]


def test_a_link_planted_while_staging_is_not_followed_or_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()

    def plant() -> None:
        (tmp_path / "to" / "default").symlink_to(tmp_path / "victim")

    (tmp_path / "to").mkdir()
    with pytest.raises(TargetExists):
        gateway().restore(tmp_path / "to", before_publish=plant)
    assert names(tmp_path / "victim") == []
    assert names(tmp_path / "to") == ["default"]


def test_a_new_directory_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(TargetExists):
        gateway().restore(tmp_path / "new", before_publish=(tmp_path / "new").mkdir)
    assert names(tmp_path) == ["new"]
    assert names(tmp_path / "new") == []


@pytest.mark.rule("R-10.3")
def test_a_destination_that_is_swapped_meanwhile_redirects_nothing(tmp_path: Path) -> None:
    to, moved, victim = tmp_path / "to", tmp_path / "moved", tmp_path / "victim"
    to.mkdir()
    victim.mkdir()

    def swap() -> None:
        to.rename(moved)
        to.symlink_to(victim)

    gateway().restore(to, before_publish=swap)
    assert names(victim) == []
    assert names(moved) == ["default"]


def test_a_staging_directory_that_is_replaced_is_not_published_and_its_replacement_stays(tmp_path: Path) -> None:
    def swap() -> None:
        (staging,) = tmp_path.glob(".openclaw.*.staging")
        staging.rename(tmp_path / "stolen")
        staging.mkdir()
        (staging / "precious").touch()

    with pytest.raises(TargetFailure, match="another process") as caught:
        gateway().restore(tmp_path / "new", before_publish=swap)
    (staging,) = tmp_path.glob(".openclaw.*.staging")
    assert names(staging) == ["precious"]
    assert names(tmp_path / "stolen") == []
    assert str(staging) in str(caught.value.hint)


@pytest.mark.parametrize("owner", [0, OTHER])
@needs_root
def test_a_directory_put_in_place_of_the_new_staging_is_neither_filled_nor_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int
) -> None:
    real = os.mkdir

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rename(name, b"moved", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.rename(b"precious", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    os.chown(tmp_path / "precious", owner, owner)
    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(TargetFailure, match="isn't this user's"):
        gateway().restore(tmp_path / "new")
    (precious,) = tmp_path.glob(".openclaw.*.staging")
    assert names(precious) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
@pytest.mark.parametrize("exists", [False, True])
def test_an_error_of_the_content_passes_through_and_leaves_nothing(
    tmp_path: Path, error: type[BaseException], *, exists: bool
) -> None:
    to = tmp_path / "to"
    if exists:
        to.mkdir()
    tree = gateway()

    def read(_entry: Entry) -> Iterator[bytes]:
        yield b'{"a"'
        raise error

    with pytest.raises(error):
        restore.restore_tree(str(to), tree.entries, read, resolve=tree.resolve, owner=Owner.self())
    assert names(tmp_path) == (["to"] if exists else [])
    assert not exists or names(to) == []


@pytest.mark.rule("R-10.1")
def test_nothing_is_published_when_the_last_check_fails(tmp_path: Path) -> None:
    def refuse() -> None:
        assert names(tmp_path) != []
        raise Malformed("forged")

    with pytest.raises(Malformed, match="forged"):
        gateway().restore(tmp_path / "new", before_publish=refuse)
    assert names(tmp_path) == []


def test_roots_already_renamed_are_taken_back_when_a_later_one_fails(tmp_path: Path) -> None:
    one, two = gateway(), Tree("second").directory()
    with pytest.raises(TargetExists):
        restore.restore_tree(
            str(tmp_path),
            lambda: iter(one.rows + two.rows),
            one.read,
            resolve=one.resolve,
            owner=Owner.self(),
            before_publish=(tmp_path / "second").mkdir,
        )
    assert names(tmp_path) == ["second"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_failing_sync_takes_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exists: bool) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(publish, "sync_directory", fail)
    with pytest.raises(TargetFailure, match="input/output"):
        gateway().restore(tmp_path if exists else tmp_path / "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "dangling", "missing parent"])
def test_a_destination_that_can_be_no_directory_is_a_failure(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        (tmp_path / "to").touch()
    elif kind == "dangling":
        (tmp_path / "to").symlink_to("nowhere")
    to = tmp_path / "to" / "below" if kind == "missing parent" else tmp_path / "to"
    with pytest.raises(TargetFailure, match="can't open the directory"):
        gateway().restore(to)


def test_a_destination_that_a_user_may_not_write_to_is_a_failure_with_a_hint(theirs: Path) -> None:
    theirs.chmod(0o555)

    def work() -> None:
        with pytest.raises(TargetFailure, match="permission denied") as caught:
            gateway().restore(theirs / "new")
        assert caught.value.hint == "choose a place that this user may write to"

    as_user(work)


def test_read_only_directories_are_removed_again_after_a_failure(theirs: Path) -> None:
    tree = Tree().directory(mode=0o500).directory(b"d", mode=0).file(b"d/f", mode=0)

    def refuse() -> None:
        raise Malformed("forged")

    def work() -> None:
        with pytest.raises(Malformed):
            tree.restore(theirs / "new", before_publish=refuse)
        assert names(theirs) == []

    as_user(work)


def test_a_staging_directory_that_a_killed_run_left_is_named_and_kept(tmp_path: Path) -> None:
    left = tmp_path / ".openclaw.0123456789abcdef.staging"
    left.mkdir()
    result = gateway().restore(tmp_path / "new")
    assert result.warnings == (f"left behind by a run that was killed: {left}",)
    assert left.exists()


CALLS = ("open", "mkdir", "write", "fchmod", "utime", "symlink", "link", "rename", "fsync", "fstat")


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> Callable[[], bool]:
    """Let the system call of that number raise *error*; the answer tells whether there were that many."""
    left = number

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise error
            return real(*args, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: left <= 0


@pytest.mark.rule("R-10.14")
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["EIO", "^C"])
def test_whichever_system_call_fails_the_destination_is_as_it_was(
    tmp_path: Path, error: BaseException, *, exists: bool
) -> None:
    for number in itertools.count(1):
        parent = tmp_path / str(number)
        parent.mkdir()
        (parent / "to").mkdir() if exists else None
        raised: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            # Without renameat2, so that the renames are among the calls.
            patch.setattr(publish, "_LIBC", object())
            patch.setattr(os, "sync", lambda: None)
            reached = fail_at(patch, number, error)
            try:
                gateway().restore(parent / "to")
            except (BundleError, KeyboardInterrupt) as caught:
                raised = caught
        if raised is None:
            assert not reached()
            assert names(parent / "to") == ["default"]
            break
        assert not (parent / "to" / "default").exists()
        assert names(parent) == (["to"] if exists else [])
        assert not exists or names(parent / "to") == []
    assert number > 30


# --- dry runs, and links on the way -----------------------------------------------------------------------------------


def rehearsed(destination: Path | str, *trees: Tree) -> restore.Restored:
    def read(_entry: Entry) -> Iterator[bytes]:
        raise AssertionError("a dry run reads no content")

    rows = [row for tree in trees for row in tree.rows]
    return restore.restore_tree(
        str(destination), lambda: iter(rows), read, resolve=trees[0].resolve, owner=Owner.self(), dry_run=True
    )


@pytest.mark.parametrize("new", [True, False])
def test_a_dry_run_tells_what_would_arrive_and_writes_nothing(tmp_path: Path, *, new: bool) -> None:
    where = tmp_path / "to" if new else tmp_path
    found = rehearsed(where, gateway(), Tree("second").directory().file(b"f", b"22"))
    roots = (os.fsencode(where / "default"), os.fsencode(where / "second"))
    assert found == restore.Restored(roots=roots, entries=8, size=10, warnings=())
    assert names(tmp_path) == []


def test_a_dry_run_refuses_a_root_that_exists(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    with pytest.raises(TargetExists) as caught:
        rehearsed(tmp_path, gateway())
    assert caught.value.path == str(tmp_path / "default")


@pytest.mark.parametrize(
    ("mode", "what"), [(0o555, "write to the directory"), (0o444, "look at the destination")], ids=["read", "list"]
)
def test_a_dry_run_refuses_a_directory_that_a_user_may_not_write_to(theirs: Path, mode: int, what: str) -> None:
    theirs.chmod(mode)

    def work() -> None:
        with pytest.raises(TargetFailure, match=f"can't {what}: permission denied") as caught:
            rehearsed(theirs / "new", gateway())
        assert (caught.value.path or "").startswith(str(theirs))

    as_user(work)
    assert names(theirs) == []


@pytest.mark.parametrize("select", [None, lambda entry: entry.path != b"dir/b"])
def test_what_is_told_are_the_roots_and_what_arrived_of_them(tmp_path: Path, select: Select | None) -> None:
    result = gateway().restore(tmp_path, select=select)
    assert (result.roots, result.entries) == ((os.fsencode(tmp_path / "default"),), 5 if select else 6)


@needs_root
def test_a_link_that_somebody_else_made_sends_no_privileged_run_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.lchown(tmp_path / "link", OTHER, OTHER)
    for way in (tmp_path / "link", tmp_path / "link" / "new"):
        with pytest.raises(TargetFailure, match=f"a link that user {OTHER} made"):
            gateway().restore(way)
    assert names(tmp_path / "real") == []


# --- room ------------------------------------------------------------------------------------------------------------


@needs_root
def test_too_little_room_is_found_before_anything_is_written(small: Path) -> None:
    with pytest.raises(NoSpace, match="MiB needed") as caught:
        Tree().directory().file(b"f", bytes(2 << 20)).restore(small / "new")
    assert str(small) in caught.value.message
    assert names(small) == []


@needs_root
def test_many_small_entries_are_counted_as_room_too(small: Path) -> None:
    tree = Tree().directory()
    for number in range(300):
        tree.file(b"%03d" % number, b"x")
    with pytest.raises(NoSpace, match="MiB needed"):
        tree.restore(small)


@needs_root
def test_a_file_system_that_fills_up_half_way_is_left_as_it_was(small: Path) -> None:
    tree = Tree().directory().file(b"f", bytes(600 << 10))

    def read(entry: Entry) -> Iterator[bytes]:
        (small / "somebody-elses").write_bytes(bytes(700 << 10))
        return tree.read(entry)

    with pytest.raises(NoSpace) as caught:
        restore.restore_tree(str(small / "new"), tree.entries, read, resolve=tree.resolve, owner=Owner.self())
    assert caught.value.path == "default/f"
    assert names(small) == ["somebody-elses"]


@needs_root
def test_holes_need_no_room(small: Path) -> None:
    tree = Tree().directory().file(b"f", b"", size=1 << 30, extents=(Extent(None, 0, 1 << 30),))
    tree.content[b"f"] = [bytes(1 << 20)] * 1024
    tree.restore(small)
    assert (small / "default" / "f").stat().st_size == 1 << 30


# --- a part of the tree ----------------------------------------------------------------------------------------------


def below(*wanted: bytes) -> Select:
    return lambda entry: any(entry.path == path or entry.path.startswith(path + b"/") for path in wanted)


def nested() -> Tree:
    tree = Tree().directory(mode=0o755).directory(b"a", mode=0o711).directory(b"a/b").file(b"a/b/f", b"wanted")
    tree.file(b"a/g").directory(b"c").file(b"c/h").symlink(b"c/l", b"h")
    return tree.hardlink(b"c/m", b"a/b/f").hardlink(b"c/n", b"c/h")


def test_only_what_is_wanted_arrives_with_its_parents_and_their_modes(tmp_path: Path) -> None:
    result = nested().restore(tmp_path, select=below(b"a/b/f"))
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "default",
        "default/a",
        "default/a/b",
        "default/a/b/f",
    ]
    assert stat.S_IMODE((tmp_path / "default" / "a").stat().st_mode) == 0o711
    assert (tmp_path / "default").stat().st_mtime_ns == MTIME
    assert result.entries == 1


def test_a_link_alone_arrives_with_its_parents(tmp_path: Path) -> None:
    nested().restore(tmp_path, select=below(b"c/l"))
    assert names(tmp_path / "default") == ["c"]
    assert names(tmp_path / "default" / "c") == ["l"]


@pytest.mark.rule("R-10.6")
def test_a_hard_link_whose_target_is_not_wanted_arrives_with_the_content(tmp_path: Path) -> None:
    nested().restore(tmp_path, select=below(b"c"))
    root = tmp_path / "default"
    assert (root / "c" / "m").read_bytes() == b"wanted"
    assert (root / "c" / "n").samefile(root / "c" / "h")
    assert names(root) == ["c"]


def test_nothing_wanted_is_an_error_and_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(EntryMissing):
        nested().restore(tmp_path / "new", select=below(b"nowhere"))
    assert names(tmp_path) == []


# --- hostile entries -------------------------------------------------------------------------------------------------


def refused(tree: Tree, to: Path) -> BundleError:
    """The error; nothing may be left, and nothing beside the destination may be touched."""
    before = names(to.parent)
    with pytest.raises(BundleError) as caught:
        tree.restore(to)
    assert names(to.parent) == before
    return caught.value


@pytest.mark.rule("R-9.8")
def test_a_file_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    tree = Tree().directory().symlink(b"a", os.fsencode(tmp_path / "victim")).file(b"a/f")
    error = refused(tree, tmp_path / "new")
    assert isinstance(error, Malformed)
    assert error.rule == "R-9.8"
    assert names(tmp_path / "victim") == []


@pytest.mark.rule("R-9.8")
@pytest.mark.parametrize(
    "tree",
    [
        Tree().directory().file(b"a").file(b"a/f"),
        Tree().directory().file(b"a/f"),
        Tree().file(b"f"),
        Tree().file(b"").file(b"f"),
        Tree().directory().directory(b"a").directory(b"b").file(b"a/f"),
        Tree().directory().file(b"0").directory(b"a").hardlink(b"a/b", b"0").file(b"a/b/f"),
        Tree().symlink(b"", b"/"),
    ],
    ids=["through a file", "no parent", "no root", "below a file", "parent left", "below a link", "root is a link"],
)
def test_an_entry_without_a_directory_above_it_is_refused(tmp_path: Path, tree: Tree) -> None:
    error = refused(tree, tmp_path / "new")
    assert isinstance(error, Malformed)


@pytest.mark.parametrize("path", [b"../f", b"/f", b"/etc/f", b"a/../../f", b"./f", b"a//f", b"..", b"f\0"])
def test_a_path_that_leads_out_is_refused_even_if_the_model_let_it_through(tmp_path: Path, path: bytes) -> None:
    tree = Tree().directory().directory(b"a").file(b"f")
    tree.content[path] = tree.content[b"f"]
    error = refused(tree.forged(path, b"f"), tmp_path / "new")
    assert error.rule == "R-9.7"


@pytest.mark.parametrize("target", [b"../victim", b"/etc/passwd", b"d/../../victim", b""])
def test_a_hard_link_that_leads_out_is_refused_even_if_the_model_let_it_through(tmp_path: Path, target: bytes) -> None:
    (tmp_path / "victim").write_text("secret")
    tree = Tree().directory().directory(b"d").file(b"f").hardlink(b"h", b"f")
    tree.rows[-1] = tree.rows[-1]._replace(target=target)  # which checks nothing
    assert isinstance(refused(tree, tmp_path / "new"), Malformed)
    assert (tmp_path / "victim").stat().st_nlink == 1


@pytest.mark.rule("R-9.12")
@pytest.mark.parametrize("target", [b"d", b"l"])
def test_a_hard_link_to_something_else_than_a_file_is_refused(tmp_path: Path, target: bytes) -> None:
    tree = Tree().directory().directory(b"d").symlink(b"l", b"x").hardlink(b"z", target)
    error = refused(tree, tmp_path / "new")
    assert error.rule == "R-9.12"


@pytest.mark.parametrize("root", ["..", "a/b", "", "."])
def test_a_root_name_that_leads_out_is_refused(tmp_path: Path, root: str) -> None:
    error = refused(Tree(root).directory().file(b"f"), tmp_path / "new")
    assert error.rule == "R-9.4"


@pytest.mark.rule("R-10.12")
@pytest.mark.parametrize("to", ["new", "."])
def test_two_entries_with_one_name_are_refused(tmp_path: Path, to: str) -> None:
    # What a file system that folds case makes of two names.
    error = refused(Tree().directory().file(b"A").file(b"A"), tmp_path / to)
    assert "can't tell" in error.message
    assert error.path == "default/A"


@pytest.mark.parametrize("chunks", [[b"dat"], [b"data", b"x"], [b"data!"], []])
def test_content_of_another_length_is_refused(tmp_path: Path, chunks: list[bytes]) -> None:
    tree = Tree().directory().file(b"f")
    tree.content[b"f"] = chunks
    assert refused(tree, tmp_path / "new").rule == "R-9.10"


@pytest.mark.rule("R-10.9")
def test_an_attribute_outside_of_user_is_refused(tmp_path: Path) -> None:
    tree = Tree().directory().file(b"f", xattrs=((b"security.capability", b"x"),))
    assert isinstance(refused(tree, tmp_path / "new"), Malformed)


def test_a_path_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    tree = Tree().directory().file(b"f")
    assert isinstance(refused(tree.forged(b"n" * 256, b"f"), tmp_path / "new"), LimitExceeded)


@pytest.mark.rule("R-10.5")
def test_links_that_point_out_are_restored_as_they_are_with_one_warning(tmp_path: Path) -> None:
    tree = Tree().directory().symlink(b"abs", b"/etc/passwd").directory(b"d").symlink(b"d/in", b"../x")
    result = tree.symlink(b"d/out", b"../../x").restore(tmp_path)
    assert result.warnings == ("2 symbolic links point out of their tree, such as default/abs -> /etc/passwd",)
    assert os.readlink(tmp_path / "default" / "d" / "out") == "../../x"


def test_one_link_that_points_out_is_spoken_of_as_one(tmp_path: Path) -> None:
    result = Tree().directory().symlink(b"abs", b"/etc/passwd").restore(tmp_path)
    assert result.warnings == ("1 symbolic link points out of its tree, such as default/abs -> /etc/passwd",)


def test_the_deepest_tree_is_restored_and_removed_again(tmp_path: Path) -> None:
    tree = Tree().directory()
    for depth in range(1, 256):
        tree.directory(b"/".join([b"d"] * depth))
    tree.restore(tmp_path / "new")

    def refuse() -> None:
        raise Malformed("forged")

    with pytest.raises(Malformed, match="forged"):
        tree.restore(tmp_path / "again", before_publish=refuse)
    assert names(tmp_path) == ["new"]


def test_a_file_system_without_hard_links_gets_copies_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    result = gateway().restore(tmp_path)
    assert (tmp_path / "default" / "hard").read_bytes() == b'{"a": 1}'
    assert result.warnings == ("1 hard link became a copy: the file system has none",)


# --- staging by hand -------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-10.2")
def test_roots_are_staged_beside_their_own_destinations_and_can_be_changed_before_the_end(tmp_path: Path) -> None:
    home, srv = tmp_path / "home", tmp_path / "srv"
    home.mkdir()
    srv.mkdir()
    one, two = gateway(), Tree("ws").directory(mode=0o500).file(b"f", b"old")
    with (
        sites.opened(bytes(home)) as at_home,
        sites.opened(bytes(srv)) as at_srv,
        Staging({"default": at_home, "ws": at_srv}, owner=Owner.self()) as staging,
    ):
        staging.fill(
            lambda: iter(one.rows + two.rows),
            lambda entry: (one if entry.root == "default" else two).read(entry),
            resolve=one.resolve,
        )
        staged = Path(os.fsdecode(staging.path("ws")))
        assert staged.parent.parent == srv
        assert os.listdir(staging.directory("ws")) == ["ws"]
        (staged / "f").write_bytes(b"rewritten")
        staging.finish()
        staging.publish({"default": b".openclaw", "ws": b"work"})
    assert names(home) == [".openclaw"]
    assert (srv / "work" / "f").read_bytes() == b"rewritten"
    assert (srv / "work").stat().st_mtime_ns == MTIME


def test_roots_without_a_place_are_passed_over(tmp_path: Path) -> None:
    one, two = gateway(), Tree("ws").directory().file(b"f")
    with sites.opened(bytes(tmp_path)) as place, Staging({"ws": place}, owner=Owner.self()) as staging:
        staging.fill(lambda: iter(one.rows + two.rows), two.read, resolve=one.resolve)
        staging.finish()
        staging.publish({"ws": b"ws"})
    assert names(tmp_path) == ["ws"]


def test_leaving_a_staging_removes_it(tmp_path: Path) -> None:
    with sites.opened(bytes(tmp_path)) as place, Staging({"default": place}, owner=Owner.self()):
        assert len(names(tmp_path)) == 1
        assert publish.leftovers(str(tmp_path)) == []
    assert names(tmp_path) == []


# --- any tree --------------------------------------------------------------------------------------------------------

component = st.binary(min_size=1, max_size=6).filter(lambda b: b not in {b".", b".."} and not set(b) & {0, 47})
leaf = st.tuples(st.just("file"), st.binary(max_size=40), st.integers(0, 0o777)) | st.tuples(
    st.just("link"), st.binary(min_size=1, max_size=20).filter(lambda b: 0 not in b), st.just(0)
)
level = st.dictionaries(component, leaf, max_size=4)
any_tree = st.recursive(level, lambda inner: st.dictionaries(component, leaf | inner, max_size=4), max_leaves=12)


def grow(tree: Tree, path: bytes, node: object, mode: int) -> None:
    if isinstance(node, dict):
        tree.directory(path, mode=mode)
        for name in sorted(node):
            grow(tree, path + b"/" + name if path else name, node[name], mode)
        return
    assert isinstance(node, tuple)
    kind, value, bits = node
    if kind == "file":
        tree.file(path, value, mode=bits)
    else:
        tree.symlink(path, value)


# Only root can look into a directory without rights afterwards.
modes = st.sampled_from([0o700, 0o755, 0o500, *([0o000] if IS_ROOT else [])])


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(node=any_tree, mode=modes)
def test_any_tree_arrives_as_it_was(node: object, mode: int) -> None:
    tree = Tree()
    grow(tree, b"", node, mode)
    tree.rows.sort(key=lambda entry: sort_key(entry.path))
    with tempfile.TemporaryDirectory() as directory:
        tree.restore(directory)
        root = os.path.join(os.fsencode(directory), b"default")
        for entry in tree.rows:
            path = os.path.join(root, entry.path) if entry.path else root
            status = os.lstat(path)
            assert status.st_mtime_ns == MTIME
            if entry.kind is Kind.SYMLINK:
                assert os.readlink(path) == entry.target
                continue
            assert stat.S_IMODE(status.st_mode) == entry.mode
            if entry.kind is Kind.FILE and IS_ROOT:
                with open(path, "rb") as file:
                    assert file.read() == b"".join(tree.content[entry.path])


def test_what_can_not_be_taken_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        monkeypatch.setattr(publish, "rename_noreplace", fail)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(publish, "sync_directory", fail)
    with pytest.raises(TargetFailure) as caught:
        gateway().restore(tmp_path)
    assert str(tmp_path / "default") in (caught.value.hint or "")
