"""What an entry has beside its content arrives as it was: access lists, holes, times, and the special bits.

A list that can't arrive never makes a file open to more users than its source was.
"""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from trees import IS_ROOT, MTIME, NOW, OTHER, Tree, mounted

import ocbundle
from ocbundle import acl, attributes, difference, limits, reading, records
from ocbundle.acl import AccessList, Grant, Tag
from ocbundle.attributes import Names
from ocbundle.errors import Malformed
from ocbundle.layout import Destination
from ocbundle.model import Capture, Entry, Extent
from ocbundle.places import Owner
from ocbundle.placing import place
from ocbundle.sources import Sensitivity, Source
from ocbundle.writer import Writer

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to give files away, or to mount")

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
SOMEBODY = pwd.getpwnam("nobody")
THEIR_GROUP = grp.getgrgid(SOMEBODY.pw_gid)
NOBODYS = 0x7000_0001
"""A number without a name."""
MIB = 1 << 20


def classes(owner: int = 6, group: int = 4, others: int = 0, mask: int | None = None) -> AccessList:
    """A list that names nobody."""
    masks = () if mask is None else (Grant(Tag.MASK, None, None, mask),)
    first = Grant(Tag.OWNER, None, None, owner), Grant(Tag.OWNING_GROUP, None, None, group)
    return (*first, *masks, Grant(Tag.OTHERS, None, None, others))


def named(*grants: Grant, group: int = 4, others: int = 0, mask: int = 7) -> AccessList:
    """A list that names somebody."""
    return tuple(sorted((*classes(6, group, others, mask), *grants), key=lambda grant: (grant.tag, grant.id or 0)))


def user(rights: int, number: int = SOMEBODY.pw_uid, name: str | None = SOMEBODY.pw_name) -> Grant:
    return Grant(Tag.USER, number, name, rights)


def group(rights: int, number: int = THEIR_GROUP.gr_gid, name: str | None = THEIR_GROUP.gr_name) -> Grant:
    return Grant(Tag.GROUP, number, name, rights)


def set_list(path: Path, grants: AccessList, attribute: str = ACCESS) -> None:
    os.setxattr(path, attribute, acl.encode(grants))


def list_of(path: Path, attribute: str = ACCESS) -> AccessList:
    """What is on *path*, without names; nothing if its mode says it all."""
    return acl.decode(os.getxattr(path, attribute)) if attribute in os.listxattr(path) else ()


def nameless(grants: AccessList) -> AccessList:
    return tuple(Grant(grant.tag, grant.id, None, grant.rights) for grant in grants)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A directory on a file system that keeps all that is tested here."""
    directory = tmp_path / "state"
    directory.mkdir()
    try:
        set_list(directory, named(user(7)))
        os.removexattr(directory, ACCESS)
        os.setxattr(directory, "user.test", b"")
        os.removexattr(directory, "user.test")
    except OSError as error:
        pytest.fail(f"{directory} is on a file system without access lists or attributes ({error}): set TMPDIR")
    directory.chmod(0o700)
    return directory


class Moved:
    """A directory, packed and unpacked."""

    def __init__(self, source: Path, owner: str = "self") -> None:
        where = source.parent
        self.bundle = where / "b.ocbundle"
        self.packed = ocbundle.pack(self.bundle, [source], recipients=[support.recipient()])
        self.path = where / "to" / source.name
        self.unpacked = ocbundle.unpack(self.bundle, where / "to", identities=support.identity(), owner=owner)

    def entries(self) -> dict[bytes, Entry]:
        with ocbundle.Bundle.open(self.bundle, identities=support.identity()) as bundle:
            return {entry.path: entry for entry in bundle.entries()}

    def differences(self) -> list[str]:
        """What is another than in the bundle where it was unpacked to."""
        found: list[str] = []
        source = Source(path=os.fsencode(self.path), name=self.path.name)
        with ocbundle.Bundle.open(self.bundle, identities=support.identity()) as bundle:
            difference.compare(
                bundle.entries(),
                [source],
                lambda each: found.append(f"{each.name}: {' '.join(each.what)}"),
                content=bundle.reader.content,
                scratch=os.fspath(self.bundle.parent),
            )
        return found


# --- what a list is --------------------------------------------------------------------------------------------------


def allows(grants: AccessList, want: int, *, who: int | None, groups: Sequence[int], is_member: bool) -> bool:
    """What acl(5) says of somebody who isn't the owner: number *who*, in *groups* and, maybe, in the owning group."""
    by_tag = {grant.tag: grant.rights for grant in grants if grant.id is None}
    mask = by_tag.get(Tag.MASK, 7)
    for grant in grants:
        if grant.tag == Tag.USER and grant.id == who:
            return grant.rights & mask & want == want
    found = [grant.rights for grant in grants if grant.tag == Tag.GROUP and grant.id in groups]
    found += [by_tag[Tag.OWNING_GROUP]] if is_member else []
    if found:
        return any(rights & mask & want == want for rights in found)
    return by_tag[Tag.OTHERS] & want == want


rights = st.integers(0, 7)
people = st.lists(st.tuples(st.sampled_from([Tag.USER, Tag.GROUP]), st.integers(1, 4), rights), max_size=5)
lists = st.builds(
    lambda grants, *bits: named(
        *{(tag, number): Grant(tag, number, f"n{number}", bit) for tag, number, bit in grants}.values(),
        group=bits[0],
        others=bits[1],
        mask=bits[2],
    ),
    people,
    rights,
    rights,
    rights,
)
somebody = {
    "want": rights,
    "who": st.one_of(st.none(), st.integers(1, 5)),
    "groups": st.lists(st.integers(1, 5), max_size=3),
    "is_member": st.booleans(),
}


@pytest.mark.rule("R-12.12")
@given(grants=lists, **somebody)
def test_the_mode_in_place_of_a_list_gives_nobody_more(
    grants: AccessList, want: int, who: int | None, groups: list[int], *, is_member: bool
) -> None:
    bits = acl.mode_bits(grants)
    by_mode = (bits >> 3 if is_member else bits) & want == want
    assert not by_mode or allows(grants, want, who=who, groups=groups, is_member=is_member)


@pytest.mark.rule("R-10.16")
@given(grants=lists, known=st.sets(st.integers(1, 4)), **somebody)
def test_a_list_without_those_unknown_here_is_the_same_to_everybody_else(
    grants: AccessList, known: set[int], want: int, who: int | None, groups: list[int], *, is_member: bool
) -> None:
    here, lost = acl.known_only(grants, lambda grant: grant.id if grant.id in known else None)
    who, groups = who if who in known else None, [number for number in groups if number in known]
    assert acl.flaw(here) is None
    assert lost == sum(grant.tag in acl.NAMED and grant.id not in known for grant in grants)
    before, after = (allows(each, want, who=who, groups=groups, is_member=is_member) for each in (grants, here))
    assert before == after


@given(grants=lists)
def test_a_list_in_the_words_of_linux_and_back_is_the_same(grants: AccessList) -> None:
    assert acl.flaw(grants) is None
    assert acl.decode(acl.encode(grants)) == nameless(grants)


@pytest.mark.rule("R-10.16")
def test_two_names_of_one_user_give_what_both_have() -> None:
    here, lost = acl.known_only(named(user(6, 1, "a"), user(3, 2, "b"), mask=7), lambda _: 9)
    assert (here, lost) == (named(user(2, 9, "b"), mask=7), 0)


@pytest.mark.parametrize("value", [b"", b"\1\0\0\0", struct.pack("<I", 2) + bytes(7), struct.pack("<I", 3) + bytes(8)])
def test_a_list_of_another_form_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="form"):
        acl.decode(value)


def test_a_number_beyond_those_of_linux_is_refused() -> None:
    with pytest.raises(ValueError, match="number"):
        acl.encode(named(user(4, 2**32 - 1)))


@pytest.mark.rule("R-9.22")
def test_an_entry_does_not_exist_with_a_mode_that_its_list_contradicts() -> None:
    with pytest.raises(Malformed) as caught:
        Tree().directory(mode=0o670, acl=named(user(7)))
    assert caught.value.rule == "R-9.22"


# --- lists on their way ----------------------------------------------------------------------------------------------


def test_a_list_arrives_by_name(state: Path) -> None:
    (state / "f").write_text("x")
    grants = named(user(6), group(4), others=4)
    set_list(state / "f", grants)
    moved = Moved(state)
    assert list_of(moved.path / "f") == nameless(grants)
    assert moved.entries()[b"f"].acl == grants
    assert moved.packed.warnings == moved.unpacked.warnings == ()


@pytest.mark.rule("R-12.12")
def test_the_mode_that_is_stored_beside_a_list_is_not_its_mask(state: Path) -> None:
    (state / "f").write_text("x")
    set_list(state / "f", named(user(7), group=4, mask=7))
    assert mode_of(state / "f") == 0o670
    assert Moved(state).entries()[b"f"].mode == 0o640


def test_a_directory_keeps_what_it_hands_down_and_its_files_do_not_get_it(state: Path) -> None:
    (state / "d").mkdir()
    (state / "d" / "f").write_text("x")
    set_list(state / "d", named(user(7)), DEFAULT)
    moved = Moved(state)
    assert list_of(moved.path / "d", DEFAULT) == nameless(named(user(7)))
    assert list_of(moved.path / "d" / "f") == ()
    (moved.path / "d" / "new").write_text("x")
    assert user(7, name=None) in list_of(moved.path / "d" / "new")


@pytest.mark.rule("R-10.16", "R-10.17")
def test_whoever_has_no_name_here_is_left_out_and_counted(tmp_path: Path) -> None:
    grants = named(user(4), user(6, 77, "no-such-user"))
    result = Tree().directory(mode=0o640, acl=grants, default_acl=named(group(4, 77, None))).restore(tmp_path)
    assert list_of(tmp_path / "default") == nameless(named(user(4)))
    assert list_of(tmp_path / "default", DEFAULT) == classes(6, 4, 0)
    assert result.warnings == ("2 entries of access control lists left out: no user or group has that name here",)


@pytest.mark.rule("R-10.16")
def test_a_list_that_names_nobody_here_becomes_a_mode(tmp_path: Path) -> None:
    grants = named(user(4, 77, "no-such-user"), group(4, 77, "no-such-group"), group=6, mask=4)
    Tree().directory().file(b"f", mode=0o640, acl=grants).restore(tmp_path)
    assert list_of(tmp_path / "default" / "f") == ()
    assert mode_of(tmp_path / "default" / "f") == 0o640


@pytest.mark.rule("R-10.16")
def test_a_name_that_cannot_be_one_is_nobodys(tmp_path: Path) -> None:
    result = Tree().directory().file(b"f", mode=0o640, acl=named(user(4, 77, "a\0b"))).restore(tmp_path)
    assert result.warnings == ("1 entry of an access control list left out: no user or group has that name here",)


@pytest.mark.rule("R-10.16")
@needs_root
def test_a_list_arrives_by_number_with_the_owners(state: Path) -> None:
    (state / "f").write_text("x")
    grants = named(user(6, NOBODYS, None), group(2, NOBODYS, None))
    set_list(state / "f", grants)
    (state / "f").chmod(0o4670)
    moved = Moved(state, owner="numeric")
    assert list_of(moved.path / "f") == nameless(grants)
    assert mode_of(moved.path / "f") == 0o4670
    assert moved.unpacked.warnings == ()


@pytest.mark.rule("R-10.17")
def test_a_list_that_cannot_be_set_leaves_the_mode_that_stands_for_it(tmp_path: Path) -> None:
    grants = named(user(4, 2**40, "far"), others=5)
    uid, gid = os.getuid(), os.getgid()
    tree = Tree().directory(uid=uid, gid=gid).file(b"f", mode=0o644, acl=grants, uid=uid, gid=gid)
    result = tree.restore(tmp_path, owner=Owner.numeric())
    assert mode_of(tmp_path / "default" / "f") == 0o644
    assert result.warnings == ("1 access control list couldn't be set: modes are narrowed to fit",)


@pytest.mark.rule("R-10.17")
@needs_root
def test_a_file_system_without_lists_gets_the_mode(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", plain], check=True)
    try:
        result = Tree().directory().file(b"f", mode=0o600, acl=named(user(0), others=4)).restore(plain)
        assert mode_of(plain / "default" / "f") == 0o600
    finally:
        subprocess.run(["umount", plain], check=True)
    assert result.warnings == ("1 access control list couldn't be set: modes are narrowed to fit",)


@pytest.mark.rule("R-10.10")
@needs_root
def test_a_volume_gets_a_mode_without_its_list_and_says_so(tmp_path: Path) -> None:
    grants = named(user(7), group=5, mask=7)
    with mounted(tmp_path / "volume") as volume:
        tree = Tree().directory(mode=0o650, acl=grants).file(b"f", mode=0o650, acl=grants)
        done = place(
            [Destination(root="default", path=os.fsencode(volume))],
            tree.entries,
            tree.read,
            resolve=tree.resolve,
            owner=Owner.self(),
            replace=False,
            log_directory=os.fsencode(tmp_path / "log"),
            bundle_id="0123456789abcdef",
            now=NOW,
        )
        assert (mode_of(volume), list_of(volume)) == (0o650, ())
        assert list_of(volume / "f") == nameless(grants)
    assert done.warnings == (f"{volume} doesn't get its access control lists",)


@pytest.mark.rule("R-12.5")
def test_a_list_that_is_too_long_is_not_stored_and_the_mode_stands_for_it(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / "f").write_text("x")
    set_list(state / "f", named(user(7), *(user(4, number) for number in range(10_000, 10_020))))
    monkeypatch.setattr(limits, "MAX_EXTRA", 300)
    moved = Moved(state)
    assert moved.entries()[b"f"].acl == ()
    assert mode_of(moved.path / "f") == 0o640
    assert moved.packed.warnings == ("1 access control lists can't be stored; modes are narrowed to fit",)


@pytest.mark.rule("R-12.5")
def test_attributes_that_leave_no_room_beside_a_list_are_not_stored(state: Path) -> None:
    (state / "f").write_text("x")
    set_list(state / "f", named(user(4)))
    os.setxattr(state / "f", "user.x", bytes(2000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_EXTRA", 2064)
        entry = Moved(state).entries()[b"f"]
    assert (entry.acl, entry.xattrs) == (named(user(4)), ())


@pytest.mark.rule("R-12.12")
@pytest.mark.parametrize("value", [OSError(), b"\3\0\0\0", acl.encode((*named(user(7)), user(6)))])
def test_a_list_that_cannot_be_read_leaves_nothing_to_others(
    state: Path, monkeypatch: pytest.MonkeyPatch, value: bytes | OSError
) -> None:
    def getxattr(_fd: int, _name: str) -> bytes:
        if isinstance(value, OSError):
            raise value
        return value

    set_list(state, named(user(7), others=7))
    monkeypatch.setattr(os, "getxattr", getxattr)
    fd = os.open(state, os.O_RDONLY)
    try:
        found = attributes.read(fd, os.fstat(fd), Names())
    finally:
        os.close(fd)
    assert (found.mode, found.acl, found.lost_lists) == (0o600, (), 1)


def test_a_list_that_was_changed_is_a_difference_and_one_that_arrived_is_none(state: Path) -> None:
    (state / "f").write_text("x")
    set_list(state / "f", named(user(4)))
    moved = Moved(state)
    assert moved.differences() == []
    set_list(moved.path / "f", named(group(4)))
    assert moved.differences() == ["state/f: attributes"]


# --- holes -----------------------------------------------------------------------------------------------------------


def sparse(path: Path, size: int, *data: tuple[int, bytes]) -> Path:
    """A file of holes but for *data*, each at its offset."""
    with path.open("wb") as file:
        for offset, content in data:
            file.seek(offset)
            file.write(content)
        file.truncate(size)
    os.sync()
    if size and not path.stat().st_blocks * 512 < size:
        pytest.fail(f"{path} is on a file system without holes: set TMPDIR")
    return path


def pieces_of(path: Path) -> list[int | str]:
    """Lengths of the pieces that the file is read in; a hole's as text."""
    with path.open("rb", buffering=0) as file:
        found = reading.pieces(file.fileno(), os.fstat(file.fileno()))
        return [f"hole {piece}" if isinstance(piece, int) else len(piece) for piece in found]


def test_a_sparse_file_arrives_sparse_and_its_holes_take_no_room_in_the_bundle(state: Path) -> None:
    middle = os.urandom(8192)
    original = sparse(state / "f", 64 * MIB, (32 * MIB, middle))
    moved = Moved(state)
    arrived = moved.path / "f"
    assert arrived.read_bytes() == original.read_bytes()
    assert arrived.stat().st_blocks == original.stat().st_blocks
    assert moved.packed.size < 64 << 10
    holes = Extent(None, 0, 32 * MIB), Extent(None, 0, 32 * MIB - 8192)
    assert moved.entries()[b"f"].extents == (holes[0], Extent(0, 0, 8192), holes[1])


@pytest.mark.parametrize("size", [4096, 50_000, 5 * MIB + 1])
def test_a_file_that_is_one_hole_arrives(state: Path, size: int) -> None:
    sparse(state / "f", size)
    moved = Moved(state)
    assert moved.entries()[b"f"].extents == (Extent(None, 0, size),)
    assert (moved.path / "f").read_bytes() == bytes(size)
    assert (moved.path / "f").stat().st_blocks == 0


def test_data_and_holes_alternate_as_the_file_system_has_them(state: Path) -> None:
    path = sparse(state / "f", 6 * MIB, (0, b"a" * 4096), (2 * MIB, b"b" * 4096), (4 * MIB, b"c" * 1_500_000))
    assert pieces_of(path) == [
        4096,
        f"hole {2 * MIB - 4096}",
        4096,
        f"hole {2 * MIB - 4096}",
        MIB,
        1_503_232 - MIB,
        f"hole {2 * MIB - 1_503_232}",
    ]


def test_a_hole_that_is_short_for_its_file_is_read_as_zeros(state: Path) -> None:
    path = sparse(state / "f", 128 * MIB, (0, b"a" * 4096), (8192, b"b" * 4096))
    assert pieces_of(path) == [12_288, f"hole {64 * MIB}", f"hole {64 * MIB - 12_288}"]


def test_a_file_without_holes_is_not_asked_for_any(state: Path) -> None:
    (state / "f").write_bytes(bytes(2 * MIB))
    os.sync()
    assert pieces_of(state / "f") == [MIB, MIB]


def test_equal_files_are_stored_once_beside_sparse_ones(state: Path) -> None:
    data = os.urandom(20_000)
    for name in ("a", "c"):
        (state / name).write_bytes(data)
    sparse(state / "b", MIB, (0, data))
    entries = Moved(state).entries()
    assert entries[b"a"].extents == entries[b"c"].extents
    assert entries[b"b"].extents[-1].segment is None


@pytest.mark.rule("R-12.6")
@pytest.mark.parametrize("change", ["cut", "filled"])
def test_a_sparse_file_that_changes_while_it_is_read_is_found_out(state: Path, change: str) -> None:
    path = sparse(state / "f", 8 * MIB, (0, b"a" * 4096))
    with path.open("rb+", buffering=0) as file:
        fd, before = file.fileno(), os.fstat(file.fileno())
        taken = list(reading.pieces(fd, before))
        digest = reading.digest(fd, before)
        if change == "cut":
            file.truncate(MIB)
        else:
            os.pwrite(fd, b"b", 4 * MIB)
        got = sum(piece if isinstance(piece, int) else len(piece) for piece in taken)
        capture = reading.judge(fd, before, got=got, again=lambda: reading.digest(fd, before) == digest)
    assert capture is Capture.CHANGED


def test_a_file_that_is_cut_is_not_filled_up_with_a_hole(state: Path) -> None:
    path = sparse(state / "f", 8 * MIB, (0, b"a" * 4096), (4 * MIB, b"b" * 4096))
    with path.open("rb+", buffering=0) as file:
        found = reading.pieces(file.fileno(), os.fstat(file.fileno()))
        assert [next(found), next(found)] == [b"a" * 4096, 4 * MIB - 4096]
        file.truncate(MIB)
        assert list(found) == []


def holed(writer: Writer, path: bytes, pieces: Sequence[bytes | int]) -> None:
    sink = writer.open_file(sensitivity=Sensitivity.CONTENT)
    for piece in pieces:
        if isinstance(piece, int):
            sink.hole(piece)
        else:
            sink.write(piece)
    sink.finish(support.metadata(path))


@pytest.mark.rule("R-9.14")
def test_holes_that_touch_are_one_extent_and_count_in_the_digest() -> None:
    def fill(writer: Writer) -> None:
        writer.add(support.directory())
        holed(writer, b"f", [5, 0, 3_000_000, b"data", 7, b"", 0, b"more"])

    bundle = support.packed(fill)
    reader = bundle.reader()
    entry = reader.entry("default", b"f")
    content = bytes(3_000_005) + b"data" + bytes(7) + b"more"
    assert entry.extents == (Extent(None, 0, 3_000_005), Extent(0, 0, 4), Extent(None, 0, 7), Extent(0, 4, 4))
    assert entry.sha256 == hashlib.sha256(content).digest()
    assert b"".join(reader.content(entry)) == content
    assert bundle.written.totals.size == len(content)


def test_a_row_that_no_journal_can_hold_keeps_no_other_out() -> None:
    def fill(writer: Writer) -> None:
        writer.add(support.directory())
        holed(writer, b"a", [b"x", 1] * 30_000)
        for number in range(20):
            writer.add_file(support.metadata(b"b%02d" % number), b"%d" % number, sensitivity=Sensitivity.CONTENT)

    bundle = support.packed(fill)
    reader = bundle.reader()
    journals = [reader._open(section)[1] for section in reader._segments]
    journaled = {entry.path for journal in journals if journal for entry in records.decode_journal(journal)}
    assert b"a" not in journaled
    assert len(journaled) == 21
    assert bundle.written.totals.segments == 2  # that row fills a batch, whose end ends a segment


@pytest.mark.ci
def test_ten_gigabytes_of_holes_take_seconds(state: Path) -> None:
    sparse(state / "f", 10_000 * MIB, (5_000 * MIB, b"data"))
    began = time.process_time()
    moved = Moved(state)
    assert time.process_time() - began < 100
    assert moved.packed.size < 64 << 10
    assert (moved.path / "f").stat().st_blocks < 100


# --- times and special bits ------------------------------------------------------------------------------------------


def test_times_arrive_to_the_nanosecond_for_every_kind(state: Path) -> None:
    (state / "d" / "inner").mkdir(parents=True)
    (state / "d" / "f").write_text("x")
    os.symlink("f", state / "d" / "l")
    os.symlink("nowhere", state / "d" / "dangling")
    paths = ("d/inner", "d/f", "d/l", "d/dangling", "d", "")
    for number, path in enumerate(paths):
        times = (MTIME, MTIME + number)
        os.utime(state / path, ns=times, follow_symlinks=False)
    moved = Moved(state)
    found = [(moved.path / path).lstat().st_mtime_ns - MTIME for path in paths]
    assert found == list(range(len(paths)))


@needs_root
def test_special_bits_arrive_with_the_owners(state: Path) -> None:
    modes = {"setuid": 0o4755, "setgid": 0o2711, "both": 0o6750, "sticky": 0o1644}
    for name, mode in modes.items():
        (state / name).write_text("x")
        os.chown(state / name, OTHER, OTHER + 1)
        (state / name).chmod(mode)
    for name, mode in {"shared": 0o1777, "team": 0o2770}.items():
        (state / name).mkdir()
        os.chown(state / name, OTHER, OTHER + 1)
        (state / name).chmod(mode)
        modes[name] = mode
    moved = Moved(state, owner="numeric")
    assert {name: mode_of(moved.path / name) for name in modes} == modes
    assert {(moved.path / name).stat().st_uid for name in modes} == {OTHER}
    assert {(moved.path / name).stat().st_gid for name in modes} == {OTHER + 1}


@pytest.mark.ci
@needs_root
def test_nothing_is_lost_of_the_tree_that_tools_are_compared_on(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "fidelity.py"
    command: list[str | Path] = [sys.executable, script, "--tool", "ocbundle", "--why", "--where", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("| yes |") == 16
    assert "| no |" not in done.stdout, done.stdout


def test_a_file_system_without_attributes_gives_the_mode_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> list[str]:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    (tmp_path / "f").touch(mode=0o640)
    monkeypatch.setattr(os, "listxattr", refuse)
    with (tmp_path / "f").open() as file:
        found = attributes.read(file.fileno(), os.fstat(file.fileno()), Names())
    assert (found.mode, found.acl, found.xattrs) == (stat.S_IMODE((tmp_path / "f").stat().st_mode), (), ())


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names()
    grant = user(7)
    first = names.name_of(grant)
    monkeypatch.setattr(attributes, "_name", None)
    assert names.name_of(grant) == first
