from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocbundle import publish
from ocbundle.errors import BundleError, NoSpace, TargetExists, TargetFailure

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    where = tmp_path / "small"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", where], check=True)
    yield where
    subprocess.run(["umount", where], check=True)


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def commit_too_late(path: Path) -> None:
    with publish.Output(path) as output:
        path.write_text("theirs")
        output.commit()


def without_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_LIBC", object())


def test_a_committed_file_has_its_bytes_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    with publish.Output(tmp_path / "a.ocbundle") as output:
        output.write(b"one ")
        output.write(memoryview(b"two"))
        output.commit()
    assert (tmp_path / "a.ocbundle").read_bytes() == b"one two"
    assert output.written == 7
    assert names(tmp_path) == ["a.ocbundle"]


@pytest.mark.rule("R-12.1")
def test_nothing_has_the_final_name_before_the_commit(tmp_path: Path) -> None:
    with publish.Output(tmp_path / "a") as output:
        output.write(b"x")
        assert not (tmp_path / "a").exists()
        (temporary,) = names(tmp_path)
        assert temporary.startswith(".a.")
        assert temporary.endswith(".partial")


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    with publish.Output(tmp_path / "a") as output:
        output.write(b"x")
    assert names(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), publish.Output(tmp_path / "a"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.rule("R-12.2")
@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_mode_is_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with publish.Output(tmp_path / "a") as output:
            assert stat.S_IMODE(os.fstat(output.fileno()).st_mode) == 0o600
            output.commit()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.rule("R-12.3")
def test_an_existing_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(TargetExists) as caught, publish.Output(tmp_path / "a"):
        pytest.fail("the block was entered")
    assert caught.value.hint == "choose another name, or use --force"
    assert names(tmp_path) == ["a"]


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetExists), publish.Output(tmp_path / "a"):
        pytest.fail("the block was entered")


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(TargetExists):
        commit_too_late(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "theirs"
    assert names(tmp_path) == ["a"]


def test_a_file_that_appears_meanwhile_is_not_replaced_without_renameat2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_renameat2(monkeypatch)
    with pytest.raises(TargetExists):
        commit_too_late(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "theirs"
    assert names(tmp_path) == ["a"]


def test_a_commit_works_by_hard_link_without_renameat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_renameat2(monkeypatch)
    with publish.Output(tmp_path / "a") as output:
        output.write(b"x")
        output.commit()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_nlink == 1


def test_a_commit_works_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    without_renameat2(monkeypatch)
    monkeypatch.setattr(os, "link", refuse)
    with publish.Output(tmp_path / "a") as output:
        output.write(b"x")
        output.commit()
    assert names(tmp_path) == ["a"]
    with pytest.raises(TargetExists):
        commit_too_late(tmp_path / "b")


def test_replacing_takes_the_old_file_away_only_at_the_commit(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with publish.Output(tmp_path / "a", replace=True) as output:
        output.write(b"new")
        assert (tmp_path / "a").read_text() == "old"
        output.commit()
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_replacing_a_link_leaves_alone_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("old")
    (tmp_path / "a").symlink_to("precious")
    with publish.Output(tmp_path / "a", replace=True) as output:
        output.commit()
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / "a").is_symlink()


def test_a_fifo_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(TargetFailure, match="only a file"), publish.Output(tmp_path / "a", replace=True):
        pytest.fail("the block was entered")


@pytest.mark.parametrize("target", ["", "sub", "sub/", "."])
def test_a_directory_is_no_target_even_when_replacing(tmp_path: Path, target: str) -> None:
    (tmp_path / "sub").mkdir()
    with (
        pytest.raises(TargetFailure, match="directory") as caught,
        publish.Output(f"{tmp_path}/{target}", replace=True),
    ):
        pytest.fail("the block was entered")
    assert caught.value.hint == "name a file, not a directory"


def test_a_missing_directory_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(TargetFailure) as caught, publish.Output(tmp_path / "no" / "a"):
        pytest.fail("the block was entered")
    assert caught.value.path == str(tmp_path / "no" / "a")
    assert caught.value.hint == "create the directory first"


def test_a_file_in_place_of_the_directory_is_a_failure_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TargetFailure) as caught, publish.Output(tmp_path / "file" / "a"):
        pytest.fail("the block was entered")
    assert caught.value.hint == "a part of the path is a file, not a directory"


def test_the_longest_name_can_be_published(tmp_path: Path) -> None:
    name = "n" * 255
    with publish.Output(tmp_path / name) as output:
        output.commit()
    assert names(tmp_path) == [name]


def test_a_name_that_is_too_long_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TargetFailure, match="too long"), publish.Output(tmp_path / ("n" * 256)):
        pytest.fail("the block was entered")
    assert names(tmp_path) == []


def test_a_name_without_a_directory_is_published_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with publish.Output("a") as output:
        output.commit()
    assert names(tmp_path) == ["a"]


def test_the_identity_is_that_of_the_published_file(tmp_path: Path) -> None:
    with publish.Output(tmp_path / "a") as output:
        identity = output.identity
        output.commit()
    status = (tmp_path / "a").stat()
    assert identity == (status.st_dev, status.st_ino)


@needs_root
def test_a_full_file_system_is_named_and_nothing_is_left(small: Path) -> None:
    with pytest.raises(NoSpace) as caught, publish.Output(small / "a") as output:
        output.write(bytes(1 << 20))
    assert str(small) in caught.value.message
    assert "free some space" in str(caught.value.hint)
    assert names(small) == []


@needs_root
def test_a_read_only_file_system_is_a_failure_with_a_hint(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with pytest.raises(TargetFailure) as caught, publish.Output(small / "a"):
        pytest.fail("the block was entered")
    assert "read-only" in str(caught.value.hint)


def test_a_failing_sync_of_the_directory_takes_the_file_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(publish, "sync_directory", fail)
    with pytest.raises(TargetFailure, match="input/output error"), publish.Output(tmp_path / "a") as output:
        output.commit()
    assert names(tmp_path) == []


def test_a_failing_sync_after_replacing_tells_that_the_new_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(publish, "sync_directory", _broken)
    with publish.Output(tmp_path / "a", replace=True) as output:
        output.write(b"new")
        with pytest.raises(TargetFailure, match="the file is there"):
            output.commit()
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_short_writes_are_continued() -> None:
    # A signal interrupts a blocked write to a pipe after the part that fitted: the kernel's own short write.
    data = os.urandom(1 << 20)
    reading, writing = os.pipe()
    received = bytearray()

    def read_late() -> None:
        while chunk := os.read(reading, 1 << 16):
            received.extend(chunk)

    reader = threading.Thread(target=read_late)
    before = signal.signal(signal.SIGALRM, lambda *_: reader.start())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert publish.write_all(writing, data) == len(data)
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(writing)
        reader.join()
        os.close(reading)
    assert bytes(received) == data


def test_an_empty_write_writes_nothing(tmp_path: Path) -> None:
    with publish.Output(tmp_path / "a") as output:
        assert output.write(b"") == 0
        output.commit()
    assert (tmp_path / "a").read_bytes() == b""


def test_what_a_killed_run_left_is_found(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from ocbundle import publish\n"
        "with publish.Output(sys.argv[1]) as output: os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=False)
    (left,) = publish.leftovers(str(tmp_path), "a")
    assert os.path.basename(left).startswith(b".a.")
    assert publish.leftovers(str(tmp_path)) == [left]
    assert publish.leftovers(str(tmp_path), "b") == []
    assert os.path.exists(left)


def test_a_run_under_way_is_no_leftover(tmp_path: Path) -> None:
    with publish.Output(tmp_path / "a"):
        assert publish.leftovers(str(tmp_path)) == []


def test_a_staging_directory_is_a_leftover_of_the_directory_not_of_an_output(tmp_path: Path) -> None:
    (tmp_path / ".openclaw.0123456789abcdef.staging").mkdir()
    assert publish.leftovers(str(tmp_path)) == [os.fsencode(tmp_path / ".openclaw.0123456789abcdef.staging")]
    assert publish.leftovers(str(tmp_path), "openclaw") == []


def test_a_planted_fifo_or_link_is_no_leftover_and_does_not_block(tmp_path: Path) -> None:
    (tmp_path / ".a.0123456789abcdef.partial").symlink_to("/etc/passwd")
    assert publish.leftovers(str(tmp_path)) == []
    os.mkfifo(tmp_path / ".b.0123456789abcdef.partial")
    publish.leftovers(str(tmp_path))


def test_a_directory_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    assert publish.leftovers(str(tmp_path / "no")) == []


def test_a_lock_ends_with_its_descriptor(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    publish.lock(fd)
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(fd)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(other)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Path, int, Path, int]]:
    """Two directories and their descriptors."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    fds = os.open(one, os.O_RDONLY), os.open(two, os.O_RDONLY)
    yield one, fds[0], two, fds[1]
    for fd in fds:
        os.close(fd)


Pair = tuple[Path, int, Path, int]


@pytest.fixture(params=["renameat2", "fallback"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "fallback":
        without_renameat2(monkeypatch)


@pytest.mark.usefixtures("either_way")
def test_a_directory_is_renamed_to_a_free_name(pair: Pair) -> None:
    one, one_fd, two, two_fd = pair
    (one / "a" / "b").mkdir(parents=True)
    publish.rename_noreplace(one_fd, b"a", two_fd, b"c")
    assert (two / "c" / "b").is_dir()
    assert names(one) == []


@pytest.mark.usefixtures("either_way")
def test_an_empty_directory_is_not_renamed_over(pair: Pair) -> None:
    one, one_fd, two, two_fd = pair
    (one / "a").mkdir()
    (two / "c").mkdir()
    with pytest.raises(FileExistsError):
        publish.rename_noreplace(one_fd, b"a", two_fd, b"c")
    assert names(one) == ["a"]


def test_an_exchange_swaps_two_directories(pair: Pair) -> None:
    one, one_fd, two, two_fd = pair
    (one / "a" / "new").mkdir(parents=True)
    (two / "c" / "old").mkdir(parents=True)
    assert publish.exchange(one_fd, b"a", two_fd, b"c")
    assert names(two / "c") == ["new"]
    assert names(one / "a") == ["old"]
    assert names(two) == ["c"]


@pytest.mark.usefixtures("either_way")
def test_an_exchange_with_nothing_changes_nothing(pair: Pair) -> None:
    one, one_fd, two, two_fd = pair
    (one / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        publish.exchange(one_fd, b"a", two_fd, b"c")
    assert names(one) == ["a"]
    assert names(two) == []


def test_an_exchange_that_the_system_cannot_do_is_not_done(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one, one_fd, two, two_fd = pair
    (one / "a" / "new").mkdir(parents=True)
    (two / "c" / "old").mkdir(parents=True)
    without_renameat2(monkeypatch)
    assert not publish.exchange(one_fd, b"a", two_fd, b"c")
    assert names(one / "a") == ["new"]


def test_an_exchange_that_the_file_system_does_not_know_is_not_done(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        @staticmethod
        def renameat2(*_: object) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    one, one_fd, two, two_fd = pair
    (one / "a").mkdir()
    (two / "c").mkdir()
    monkeypatch.setattr(publish, "_LIBC", Libc)
    assert not publish.exchange(one_fd, b"a", two_fd, b"c")


def test_syncing_a_tree_reports_a_bad_descriptor() -> None:
    with pytest.raises(OSError, match="descriptor"):
        publish.sync_tree(-1)


def test_a_tree_is_synced_without_syncfs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    publish.sync_tree(fd)
    os.close(fd)
    assert hasattr(ctypes.CDLL(None), "syncfs")
    monkeypatch.setattr(publish, "_LIBC", object())
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    publish.sync_tree(0)
    assert synced == [True]


def test_free_space_is_about_what_the_system_says(tmp_path: Path) -> None:
    assert publish.free_space(os.fsencode(tmp_path)) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_used_space_is_about_what_the_system_says(tmp_path: Path) -> None:
    assert publish.used_space(os.fsencode(tmp_path)) == pytest.approx(shutil.disk_usage(tmp_path).used, rel=0.1)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that doesn't say how large it is")
def test_a_file_system_that_does_not_say_how_large_it_is_counts_as_full_of_room_and_of_files() -> None:
    assert publish.free_space("/proc") == publish.used_space("/proc") == sys.maxsize


@needs_root
def test_a_mount_point_is_found_from_below(small: Path) -> None:
    (small / "a" / "b").mkdir(parents=True)
    assert publish.mount_point(os.fsencode(small / "a" / "b" / "missing")) == os.fsencode(small)


def test_a_leftover_is_named_in_the_hint_of_an_error() -> None:
    error = BundleError("failed", hint="try again")
    publish.name_leftover(error, b"/x/.a.partial")
    assert error.hint == "try again; remove /x/.a.partial, which this run had to leave behind"
    interrupt = KeyboardInterrupt()
    publish.name_leftover(interrupt, b"/x/.a.partial")
    assert interrupt.__notes__ == ["remove /x/.a.partial, which this run had to leave behind"]


def test_a_private_directory_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", _broken)
    with (
        pytest.raises(TargetFailure, match="can't remove a private directory") as caught,
        publish.private_directory(str(tmp_path)) as private,
    ):
        pass
    assert os.fsdecode(private) in str(caught.value.hint)


def test_a_private_directory_that_cannot_be_removed_is_named_in_the_error_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", _broken)
    with pytest.raises(NoSpace) as caught, publish.private_directory(str(tmp_path)) as private:
        raise NoSpace("full")
    assert os.fsdecode(private) in str(caught.value.hint)


def test_a_private_directory_that_cannot_be_opened_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "chmod", _broken)
    with pytest.raises(TargetFailure), publish.private_directory(str(tmp_path)):
        pytest.fail("it was given")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def _broken(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_quota_is_no_space_either() -> None:
    error = publish.failure(OSError(errno.EDQUOT, "Disk quota exceeded"), os.fsencode(tempfile.gettempdir()), "write")
    assert isinstance(error, NoSpace)
    assert "quota" in error.message


# --- what can't be taken back, and what can't be asked --------------------------------------------------------------


def test_a_temporary_that_can_not_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetFailure, match="remove the temporary file") as caught, publish.Output(tmp_path / "a"):
        monkeypatch.setattr(os, "unlink", _broken)
    monkeypatch.undo()
    assert caught.value.path == str(tmp_path / names(tmp_path)[0])


def test_a_temporary_that_can_not_be_removed_is_named_in_the_error_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = publish.Output(tmp_path / "a")

    def run_out_of_room() -> None:
        with output:
            monkeypatch.setattr(os, "unlink", _broken)
            raise NoSpace("no room")

    with pytest.raises(NoSpace) as caught:
        run_out_of_room()
    monkeypatch.undo()
    assert names(tmp_path)[0] in (caught.value.hint or "")


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "replace", _broken)
    with pytest.raises(TargetFailure, match="publish the file"), publish.Output(tmp_path / "a", replace=True) as output:
        output.commit()
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")


def test_where_there_are_no_locks_a_temporary_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publish.Output(tmp_path / "a"):
        monkeypatch.setattr(fcntl, "flock", _broken)
        assert len(publish.leftovers(str(tmp_path))) == 1


def test_a_file_system_that_syncs_no_directories_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        publish.sync_directory(fd)
    finally:
        os.close(fd)
