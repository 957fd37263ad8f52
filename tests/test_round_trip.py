"""Writer and reader together: what goes in comes out, and a reader holds a writer to the specification."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import (
    BUNDLE_ID,
    ROOT,
    SECRET,
    Packed,
    crafted,
    directory,
    fill_small,
    keys_body,
    manifest,
    metadata,
    packed,
    seeded,
)

from ocbundle import compression, heads, limits, paths, records, verification, wire, writer
from ocbundle.container import Container
from ocbundle.errors import (
    AuthenticationFailed,
    BundleError,
    ChecksumMismatch,
    EntryMissing,
    LimitExceeded,
    Malformed,
    Truncated,
)
from ocbundle.ledger import Ledger
from ocbundle.model import Capture, Entry, Extent, Kind, Reason, Role, Root, Skipped, Totals
from ocbundle.reader import Reader
from ocbundle.sealing import BundleKey
from ocbundle.sources import Sensitivity
from ocbundle.writer import Writer

CONTENT, SECRETS, MIXED = Sensitivity.CONTENT, Sensitivity.SECRET, Sensitivity.MIXED


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SEGMENT", 1000)


def contents(reader: Reader) -> dict[bytes, bytes]:
    """Every file by its path."""
    return {entry.path: b"".join(reader.content(entry)) for entry in reader.entries() if entry.kind is Kind.FILE}


def segments(bundle: Packed) -> list[tuple[bytes, tuple[Entry, ...]]]:
    """Raw content and journal of each segment."""
    with bundle.reader() as reader:
        opened = [reader._open(section) for section in bundle.container.frame.of_type(wire.SEGM)]
    return [(raw, records.decode_journal(journal) if journal else ()) for raw, journal in opened]


def add(target: Writer, name: bytes, data: bytes, sensitivity: Sensitivity = CONTENT) -> None:
    target.add_file(metadata(name), data, sensitivity=sensitivity)


def stream(target: Writer, name: bytes, pieces: Sequence[bytes], sensitivity: Sensitivity = CONTENT) -> None:
    sink = target.open_file(sensitivity=sensitivity)
    for piece in pieces:
        sink.write(piece)
    sink.finish(metadata(name))


# --- what goes in comes out -----------------------------------------------------------------------------------------


def test_each_kind_of_entry_comes_back_as_it_was() -> None:
    with packed(fill_small).reader() as reader:
        verification.check(reader)
        entries = {entry.path: entry for entry in reader.entries()}
        assert list(entries) == [b"", b".env", b"SOUL.md", b"hard", b"link"]
        assert entries[b""] == directory()
        assert entries[b"hard"] == Entry(root="default", path=b"hard", kind=Kind.HARDLINK, target=b"SOUL.md")
        assert entries[b"link"].target == b"SOUL.md"
        soul = entries[b"SOUL.md"]
        assert (soul.mode, soul.uid, soul.mtime_ns) == (0o600, 1000, 1_764_020_534_000_000_001)
        assert (soul.size, soul.sha256) == (8, hashlib.sha256(b"be kind\n").digest())
        assert contents(reader) == {b".env": b"TOKEN=hush", b"SOUL.md": b"be kind\n"}
        assert [row.name for row in reader.skipped()] == ["default/sock"]
        assert reader.link_targets() == {("default", b"SOUL.md"): soul}
        assert reader.manifest.totals == Totals(entries=5, skipped=1, size=18, segments=2, batches=1)


names = st.binary(min_size=1, max_size=8).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_") + b"~")
files = st.dictionaries(
    names, st.tuples(st.binary(max_size=300), st.sampled_from(Sensitivity), st.booleans()), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(files, st.integers(1, 400))
def test_any_files_come_back(tree: dict[bytes, tuple[bytes, Sensitivity, bool]], target: int) -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        for name, (data, sensitivity, in_pieces) in sorted(tree.items()):
            if in_pieces:
                stream(to, name, [data[:100], data[100:]], sensitivity)
            else:
                add(to, name, data, sensitivity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FIRST_SEGMENT", target)
        patch.setattr(limits, "LEAST_RUN", 1)
        with packed(fill).reader() as reader:
            verification.check(reader)
            assert contents(reader) == {name: data for name, (data, _, _) in tree.items()}


def test_a_bundle_of_nothing_is_a_bundle() -> None:
    with packed(lambda _: None).reader() as reader:
        verification.check(reader)
        assert (list(reader.entries()), list(reader.skipped())) == ([], [])
        assert reader.manifest.totals == Totals()


def test_a_root_that_is_a_file_comes_back() -> None:
    with packed(lambda to: add(to, b"", b"x")).reader() as reader:
        assert contents(reader) == {b"": b"x"}


def test_a_file_of_several_segments_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SEGMENT", 1000)
    data = seeded()(12_345)

    def fill(to: Writer) -> None:
        to.add(directory())
        add(to, b"a", b"before")
        stream(to, b"b", [data[:3], b"", data[3:5000], data[5000:]])
        stream(to, b"c", [])

    bundle = packed(fill)
    with bundle.reader() as reader:
        verification.check(reader)
        extents = reader.entry("default", b"b").extents
        assert contents(reader) == {b"a": b"before", b"b": data, b"c": b""}
    assert [extent.segment for extent in extents] == list(range(13))
    assert [len(raw) for raw, _ in segments(bundle)] == [1000] * 12 + [351]


def test_a_file_in_small_pieces_has_one_extent_a_segment() -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        stream(to, b"a", [b"x"] * 100)

    with packed(fill).reader() as reader:
        assert reader.entry("default", b"a").extents == (Extent(0, 0, 100),)


def test_roots_come_back_in_their_order() -> None:
    roots = (ROOT, Root(name="work", role=Role.WORKSPACE, source=b"/w"))

    def fill(to: Writer) -> None:
        to.add(directory())
        add(to, b"a", b"1")
        to.add(directory(root="work"))
        to.add_file(metadata(b"a", root="work"), b"2", sensitivity=CONTENT)

    with packed(fill, roots=roots).reader() as reader:
        assert [entry.name for entry in reader.entries()] == ["default", "default/a", "work", "work/a"]
        assert b"".join(reader.content(reader.entry("work", b"a"))) == b"2"


def test_captures_attributes_and_owners_come_back() -> None:
    described = dataclasses.replace(metadata(b"a", uid=7, gid=8), xattrs=((b"user.a", b"\xff"), (b"user.b", b"")))

    def fill(to: Writer) -> None:
        to.add(directory())
        to.add_file(described, b"x", sensitivity=CONTENT, capture=Capture.SQLITE)
        sink = to.open_file(sensitivity=CONTENT)
        sink.write(b"y")
        assert sink.sha256() == hashlib.sha256(b"y").digest()
        sink.finish(metadata(b"b"), capture=Capture.CHANGED)
        assert (to.uids, to.gids) == ({7, 1000}, {8, 1000})

    with packed(fill).reader() as reader:
        found = [reader.entry("default", name) for name in (b"a", b"b")]
    assert [entry.capture for entry in found] == [Capture.SQLITE, Capture.CHANGED]
    assert found[0].xattrs == described.xattrs


def test_the_same_input_and_randomness_give_the_same_bundle() -> None:
    assert packed(fill_small).data == packed(fill_small).data


@pytest.mark.rule("R-3.8", "R-6.11")
def test_two_bundles_of_the_same_files_share_no_bytes_of_their_content() -> None:
    one, two = packed(fill_small, seed=1), packed(fill_small, seed=2)
    assert one.bundle_id != two.bundle_id
    assert one.key.secret not in one.data
    for section in one.container.frame.of_type(wire.SEGM):
        assert bytes(one.container.body(section))[-100:] not in two.data


def test_what_was_written_is_what_is_reported() -> None:
    bundle = packed(fill_small)
    assert bundle.written.length == len(bundle.data)
    assert bundle.written.digest == bundle.container.frame.footer.root_digest


@pytest.mark.rule("R-7.1", "R-7.3")
def test_stock_tools_get_a_segment_out(tmp_path: Path) -> None:
    bundle = packed(fill_small)
    (tmp_path / "key").write_bytes(bundle.key.text)
    body = bundle.container.body(bundle.container.frame.of_type(wire.SEGM)[0])
    age = subprocess.run(["age", "-d", "-i", tmp_path / "key"], input=body, capture_output=True, check=True)
    raw = subprocess.run(["zstd", "-d"], input=age.stdout, capture_output=True, check=True).stdout
    assert raw in {b"TOKEN=hush", b"be kind\n"}


@pytest.mark.rule("R-4.16", "R-4.9")
def test_a_bundle_has_the_sections_of_version_1_alone() -> None:
    types = [section.type for section in packed(fill_small).container.frame.sections]
    assert types == [b"KEYS", b"SEGM", b"SEGM", b"ENTR", b"MANI", b"KEYS"]


@pytest.mark.rule("R-14.1")
def test_more_than_one_keys_section_is_written_at_both_ends() -> None:
    bundle = packed(fill_small, recipients=(SECRET, bytes(range(1, 33))))
    assert len(bundle.container.key_bodies()) == 2
    assert [section.type for section in bundle.container.frame.sections[-2:]] == [wire.KEYS, wire.KEYS]


# --- which segment --------------------------------------------------------------------------------------------------


def letters(count: int) -> list[tuple[bytes, Sensitivity]]:
    return [(b"%03d" % number, (CONTENT, SECRETS, MIXED)[number % 3]) for number in range(count)]


@pytest.mark.rule("R-7.10")
@pytest.mark.usefixtures("small_segments")
def test_files_of_different_classes_never_share_a_segment() -> None:
    marks = {CONTENT: b"c", SECRETS: b"s", MIXED: b"m"}

    def fill(to: Writer) -> None:
        to.add(directory())
        for name, sensitivity in letters(60):
            data = name + marks[sensitivity] * 150
            if int(name) % 2:
                stream(to, name, [data], sensitivity)
            else:
                add(to, name, data, sensitivity)

    found = [set(raw) & set(b"csm") for raw, _ in segments(packed(fill))]
    assert len(found) > 20
    assert all(len(kinds) == 1 for kinds in found)


def test_a_database_has_segments_of_its_own() -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        add(to, b"a", b"one", MIXED)
        add(to, b"b", b"two", MIXED)
        add(to, b"c", b"two", MIXED)
        stream(to, b"d", [b"three"], MIXED)

    assert [raw for raw, _ in segments(packed(fill))] == [b"one", b"two", b"three"]


@pytest.mark.rule("R-7.9")
def test_secret_segments_are_padded_and_others_are_not() -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        add(to, b"a", seeded(1)(3333))
        add(to, b"b", seeded(2)(3333), SECRETS)

    bundle = packed(fill)
    lengths = [
        len(bundle.key.open(bundle.container.body(section))) for section in bundle.container.frame.of_type(wire.SEGM)
    ]
    assert [compression.padme(length) == length for length in lengths] == [False, True]


def test_equal_files_are_stored_once_in_each_class() -> None:
    data = seeded()(5000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for name, sensitivity in [(b"a", CONTENT), (b"b", CONTENT), (b"c", SECRETS), (b"d", SECRETS), (b"e", CONTENT)]:
            add(to, name, data, sensitivity)

    bundle = packed(fill)
    assert [len(raw) for raw, _ in segments(bundle)] == [5000, 5000]
    with bundle.reader() as reader:
        verification.check(reader)
        assert set(contents(reader).values()) == {data}
        assert reader.manifest.totals.size == 25_000


def test_equal_files_are_found_again_in_a_segment_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SEGMENT", 100)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(10):
            add(to, b"%d" % number, b"same" if number % 2 else b"%d" % number * 90)

    bundle = packed(fill)
    assert b"".join(raw for raw, _ in segments(bundle)).count(b"same") == 1
    with bundle.reader() as reader:
        verification.check(reader)


def test_the_memory_of_equal_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_REMEMBERED", 2)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number, data in enumerate([b"same", b"1", b"2", b"3", b"same"]):
            add(to, b"%d" % number, data)
        assert len(to._known) == 2

    assert segments(packed(fill))[0][0] == b"same123same"


def test_a_file_that_was_abandoned_is_never_given_out() -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        for sensitivity in (CONTENT, MIXED):
            sink = to.open_file(sensitivity=sensitivity)
            sink.write(b"torn")
            sink.abandon()
        stream(to, b"a", [b"whole"])

    with packed(fill).reader() as reader:
        verification.check(reader)
        assert contents(reader) == {b"a": b"whole"}


# --- journals -------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-7.8", "R-9.20")
@pytest.mark.usefixtures("small_segments")
def test_journals_hold_every_entry_once_and_no_segment_before_it_is_there() -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        for name, sensitivity in letters(50):
            add(to, name, name * 60, sensitivity)
        stream(to, b"x", [b"x" * 5000])
        add(to, b"y", b"000" * 60)
        to.add(Entry(root="default", path=b"z", kind=Kind.SYMLINK, target=b"x"))
        stream(to, b"zz", [b"end"])

    bundle = packed(fill)
    journaled: list[Entry] = []
    for number, (_, journal) in enumerate(segments(bundle)):
        journaled += journal
        assert all((extent.segment or 0) <= number for entry in journal for extent in entry.extents)
    with bundle.reader() as reader:
        entries = [entry.replace(sha256=None) for entry in reader.entries()]
    assert sorted(journaled, key=lambda entry: paths.sort_key(entry.path)) == entries


def test_entries_without_content_are_journaled_in_a_segment_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_JOURNAL_TARGET", 1000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(40):
            to.add(directory(b"%03d" % number))

    bundle = packed(fill)
    found = segments(bundle)
    assert len(found) >= 3
    assert all(not raw and journal for raw, journal in found)
    with bundle.reader() as reader:
        verification.check(reader)


def test_a_journal_that_is_full_leaves_the_rest_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JOURNAL", 1000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(40):
            add(to, b"%03d" % number, b"")
        stream(to, b"x", [b"1"], MIXED)
        stream(to, b"y", [b"2"], MIXED)
        stream(to, b"z", [b"3"], MIXED)

    found = [len(journal) for _, journal in segments(packed(fill))]
    assert len(found) == 3
    assert all(found)


# --- many entries ---------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-9.6", "R-9.10")
def test_many_entries_go_into_batches_behind_the_segments_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_BATCH_TARGET", 2000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(100):
            add(to, b"%03d" % number, b"%03d" % number, SECRETS if number % 5 else CONTENT)
            to.skip(
                Skipped(root="default", path=b"%03d-" % number, kind="file", reason=Reason.EXCLUDED, detail="é" * 9)
            )

    bundle = packed(fill)
    assert bundle.written.totals.batches > 5
    with bundle.reader() as reader:
        verification.check(reader)
        assert len(contents(reader)) == 100
        assert len(list(reader.skipped())) == 100


def test_batches_that_do_not_fit_the_memory_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_BATCH_TARGET", 1000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(30):
            add(to, b"%03d" % number, b"x")

    with packed(fill).reader() as reader:
        reader._room = 10
        assert len(list(reader.entries())) == 31
        assert len(list(reader.entries())) == 31


@pytest.mark.rule("R-9.18")
def test_more_entries_than_the_limit_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 4)
    with pytest.raises(LimitExceeded) as caught:
        packed(fill_small)
    assert caught.value.rule == "R-9.18"


@pytest.mark.rule("R-4.14")
def test_more_sections_than_the_limit_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECTIONS", 74)

    def fill(to: Writer) -> None:
        for number in range(12):
            add(to, b"%03d" % number, b"%d" % number, MIXED)

    with pytest.raises(LimitExceeded) as caught:
        packed(fill)
    assert caught.value.rule == "R-4.14"


@pytest.mark.rule("R-7.5")
def test_a_row_that_a_batch_has_no_room_for_begins_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH", 1000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(20):
            add(to, b"%02d" % number, b"%d" % number)

    with packed(fill).reader() as reader:
        verification.check(reader)
        assert len(contents(reader)) == 20


@pytest.mark.parametrize("name", ["MAX_HEAD", "MAX_BATCH"])
@pytest.mark.rule("R-7.5")
def test_a_record_longer_than_its_limit_is_not_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, name, 50)
    with pytest.raises(LimitExceeded) as caught:
        packed(fill_small)
    assert caught.value.rule == "R-7.5"


@pytest.mark.rule("R-4.11")
def test_a_section_longer_than_its_limit_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wire.BODY_LIMITS, wire.SEGM, 100)
    with pytest.raises(LimitExceeded) as caught:
        packed(fill_small)
    assert caught.value.rule == "R-4.11"


@pytest.mark.rule("R-14.1")
def test_the_longest_segment_of_a_writer_is_within_the_limit_of_a_body() -> None:
    place = compression.Place(bundle_id=bytes(16), type=wire.SEGM, number=0)
    raw, journal = seeded(1)(limits.MAX_SEGMENT), seeded(2)(limits.MAX_JOURNAL)
    plaintext = compression.encode(place, raw, level=3, journal=journal, padded=True)
    body = BundleKey.generate(seeded()).seal(plaintext, seeded())
    assert 17 << 20 < len(body) < 18 << 20 < wire.BODY_LIMITS[wire.SEGM] == 20 << 20


# --- outputs that misbehave -----------------------------------------------------------------------------------------


class Output:
    """A raw file that takes what *take* allows of each write."""

    def __init__(self, take: Callable[[int], int | None]) -> None:
        self.data = b""
        self._take = take

    def write(self, data: bytes, /) -> int | None:
        count = self._take(len(data))
        self.data += bytes(data[:count]) if count else b""
        return count


def write_to(output: Output, data: bytes = b"x") -> None:
    rng = seeded()
    key = BundleKey.generate(rng)
    keys = [keys_body(key, BUNDLE_ID, rng)]
    with Writer(output, bundle_id=BUNDLE_ID, key=key, keys=keys, roots=(ROOT,), random=rng) as target:
        target.add(directory())
        add(target, b"a", data)
        target.finish(manifest())


def test_an_output_that_takes_little_at_a_time_gets_everything() -> None:
    output = Output(lambda length: min(7, length))
    write_to(output)
    Container(io.BytesIO(output.data)).check_bodies()


def test_an_output_that_takes_nothing_now_ends_the_writing() -> None:
    with pytest.raises(BlockingIOError):
        write_to(Output(lambda _: None))


class Broken(Exception):
    """The caller's own."""


def test_an_error_of_the_output_passes_through_and_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SEGMENT", 1000)
    left = 10

    def take(length: int) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise Broken
        return length

    def many(to: Writer) -> None:
        for number in range(100):
            stream(to, b"%03d" % number, [seeded(number)(1000)])

    rng = seeded()
    key = BundleKey.generate(rng)
    before = threading.active_count()
    with (
        pytest.raises(Broken),
        Writer(Output(take), bundle_id=BUNDLE_ID, key=key, keys=[], roots=(ROOT,), random=rng) as target,
    ):
        many(target)
    assert threading.active_count() == before


def test_an_error_while_sealing_passes_through() -> None:
    def broken(_count: int) -> bytes:
        raise Broken

    key = BundleKey(bytes(32))
    with (
        pytest.raises(Broken),
        Writer(io.BytesIO(), bundle_id=BUNDLE_ID, key=key, keys=[], roots=(ROOT,), random=broken) as target,
    ):
        target.finish(manifest())


# --- reading only what is needed ------------------------------------------------------------------------------------


class Watched(io.BytesIO):
    """A file that remembers where it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read_at: set[int] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.read_at.add(self.tell())
        return super().read(size)

    def touched(self, kind: bytes) -> int:
        return sum(section.offset in self.read_at for section in Container(self).frame.of_type(kind))


def many_segments(to: Writer) -> None:
    to.add(directory())
    for number in range(40):
        add(to, b"%03d" % number, b"%03d" % number * 300)


@pytest.mark.rule("R-13.4")
@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("name", [b"000", b"001", b"020", b"039"])
def test_one_small_file_opens_one_segment(name: bytes) -> None:
    bundle = packed(many_segments)
    file = Watched(bundle.data)
    with Reader(Container(file), bundle.key) as reader:
        assert b"".join(reader.content(reader.entry("default", name))) == name * 300
    assert file.touched(wire.SEGM) == 1


@pytest.mark.usefixtures("small_segments")
def test_listing_opens_no_segment() -> None:
    bundle = packed(many_segments)
    file = Watched(bundle.data)
    with Reader(Container(file), bundle.key) as reader:
        assert len(list(reader.entries())) == 41
    assert file.touched(wire.SEGM) == 0


@pytest.mark.usefixtures("small_segments")
def test_files_come_out_in_any_order() -> None:
    with packed(many_segments).reader() as reader:
        entries = [entry for entry in reader.entries() if entry.kind is Kind.FILE]
        order = [*entries, *reversed(entries), *entries[::7], *entries[3::5]]
        assert all(b"".join(reader.content(entry)) == entry.path * 300 for entry in order)


@pytest.mark.usefixtures("small_segments")
def test_a_reader_that_was_closed_leaves_no_thread() -> None:
    before = threading.active_count()
    with packed(many_segments).reader() as reader:
        contents(reader)
    assert threading.active_count() == before


def test_progress_counts_all_bytes_and_entries() -> None:
    seen: list[tuple[int, int]] = []
    bundle = packed(fill_small)
    with bundle.reader() as reader:
        verification.check(reader, lambda size, entries: seen.append((size, entries)))
    assert (sum(size for size, _ in seen), sum(entries for _, entries in seen)) == (18, 5)
    seen.clear()
    bundle.container.check_bodies(lambda size, entries: seen.append((size, entries)))
    assert sum(size for size, _ in seen) == bundle.container.frame.footer.index_offset - 64


def test_an_entry_that_is_not_there_is_missing() -> None:
    with packed(fill_small).reader() as reader, pytest.raises(EntryMissing) as caught:
        reader.entry("default", b"gone\n")
    assert caught.value.path == "default/gone\\n"


@pytest.mark.rule("R-9.18")
def test_a_bundle_of_more_bytes_than_the_caller_accepts_is_refused() -> None:
    bundle = packed(fill_small)
    with bundle.reader(max_total=18) as reader:
        verification.check(reader)
    with bundle.reader(max_total=17) as reader, pytest.raises(LimitExceeded):
        verification.check(reader)


@pytest.mark.rule("R-5.9")
def test_another_key_is_refused_before_anything_is_opened() -> None:
    bundle = packed(fill_small)
    with pytest.raises(AuthenticationFailed) as caught:
        Reader(bundle.container, BundleKey(bytes(32)))
    assert caught.value.rule == "R-5.9"


def test_a_file_that_gets_shorter_while_it_is_read_is_truncated() -> None:
    bundle = packed(fill_small)
    file = io.BytesIO(bundle.data)
    container = Container(file)
    file.truncate(1000)
    with pytest.raises(Truncated):
        container.check_bodies()


class Trickle(io.BytesIO):
    """A file that gives a few bytes at a time, as a raw file may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 11))


def test_a_file_that_gives_little_at_a_time_is_read() -> None:
    bundle = packed(fill_small)
    with Reader(Container(Trickle(bundle.data)), bundle.key) as reader:
        verification.check(reader)


# --- what a reader holds a writer to --------------------------------------------------------------------------------


def file_of(data: bytes, *extents: Extent, path: bytes = b"a", sha256: bytes | None = None) -> Entry:
    return Entry(
        root="default",
        path=path,
        kind=Kind.FILE,
        size=sum(extent.length for extent in extents),
        sha256=sha256 or hashlib.sha256(data).digest(),
        extents=extents,
    )


def with_entries(
    *entries: Entry,
    raw: Sequence[bytes] = (b"0123456789",),
    skipped: Sequence[Skipped] = (),
    totals: Totals | None = None,
    late: Sequence[bytes] = (),
) -> Reader:
    """A reader of a bundle with the root directory and *entries*, and segments of *raw*; those of *late* come last."""
    rows = [records.entry_row(entry, 0) for entry in (directory(), *entries)]
    counted = Totals(
        entries=len(rows),
        skipped=len(skipped),
        size=sum(entry.size for entry in entries),
        segments=len(raw) + len(late),
        batches=1,
    )
    head = dataclasses.replace(manifest(), totals=totals or counted)
    return crafted(
        *[(wire.SEGM, content) for content in raw],
        (wire.ENTR, records.encode_batch(rows, skipped, roots={"default": 0})),
        *[(wire.SEGM, content) for content in late],
        (wire.MANI, heads.encode_manifest(head)),
    )


def check(reader: Reader) -> None:
    with reader:
        verification.check(reader)


WRONG = hashlib.sha256(b"wrong").digest()
HOLED = b"234" + bytes(3_000_000) + b"01"


@pytest.mark.rule("R-9.10", "R-9.14", "R-14.1")
@pytest.mark.parametrize(
    "entries",
    [
        pytest.param((file_of(b"23401", Extent(0, 2, 3), Extent(0, 0, 2)),), id="out of order in its segment"),
        pytest.param((file_of(HOLED, Extent(0, 2, 3), Extent(None, 0, 3_000_000), Extent(0, 0, 2)),), id="a hole"),
        pytest.param((file_of(b"12", Extent(0, 1, 2)), file_of(b"12", Extent(0, 1, 2), path=b"b")), id="shared"),
        pytest.param((file_of(b"01", Extent(0, 0, 2)), file_of(b"23", Extent(0, 2, 2), path=b"b")), id="side by side"),
        pytest.param((file_of(b"\0", Extent(None, 0, 1)), file_of(b"\0", Extent(None, 0, 1), path=b"b")), id="holes"),
        pytest.param((file_of(b""),), id="empty"),
    ],
)
def test_every_list_of_extents_that_the_format_allows_is_read(entries: tuple[Entry, ...]) -> None:
    check(with_entries(*entries))


@pytest.mark.rule("R-9.10", "R-9.14", "R-9.23", "R-14.1")
@pytest.mark.parametrize(
    "extents",
    [
        pytest.param([Extent(0, 5, 5), Extent(1, 0, 5)], id="from one segment to the next"),
        pytest.param([Extent(0, 5, 2), Extent(0, 0, 2), Extent(2, 9, 1), Extent(2, 0, 3)], id="disorder inside"),
        pytest.param([Extent(None, 0, 9), Extent(0, 0, 9), Extent(None, 0, 9), Extent(1, 0, 1)], id="and holes"),
        pytest.param([Extent(0, 0, 9), Extent(None, 0, 1 << 20), Extent(1, 0, 1)], id="long holes"),
        pytest.param([Extent(0, 0, 9), Extent(None, 0, (1 << 20) + 1), Extent(1, 0, 1)], id="too long holes"),
        pytest.param(
            [Extent(0, 0, 10), Extent(None, 0, 1 << 20), Extent(1, 0, 9), Extent(2, 0, 5)], id="three of them"
        ),
    ],
)
def test_every_list_of_segments_that_the_format_allows_is_read(extents: list[Extent]) -> None:
    raw = [b"0123456789", b"abcdefghij", b"ABCDEFGHIJ"]
    data = b"".join(
        bytes(length) if segment is None else raw[segment][offset : offset + length]
        for segment, offset, length in extents
    )
    others = [file_of(raw[2][5:8], Extent(2, 5, 3), path=b"other")]
    check(with_entries(file_of(data, *extents), *others, raw=raw))
    with pytest.raises(ChecksumMismatch):
        check(with_entries(file_of(data, *extents, sha256=WRONG), *others, raw=raw))


@pytest.mark.rule("R-9.23")
@pytest.mark.parametrize(
    "extents",
    [
        pytest.param([Extent(1, 0, 5), Extent(0, 0, 5)], id="back"),
        pytest.param([Extent(1, 0, 5), Extent(None, 0, 5), Extent(0, 0, 5)], id="back behind a hole"),
        pytest.param([Extent(0, 0, 5), Extent(1, 0, 5), Extent(2, 0, 5)], id="three"),
        pytest.param(
            [Extent(0, 0, 5), Extent(1, 0, 5), Extent(None, 0, (1 << 20) - 16), Extent(2, 0, 5)], id="a byte too short"
        ),
    ],
)
def test_a_file_in_more_segments_than_it_fills_is_refused(extents: list[Extent]) -> None:
    with pytest.raises(Malformed) as caught:
        file_of(bytes(sum(extent.length for extent in extents)), *extents)
    assert caught.value.rule == "R-9.23"


@pytest.mark.parametrize(
    ("reader", "error", "rule"),
    [
        pytest.param(
            lambda: with_entries(file_of(b"01", Extent(0, 0, 2), sha256=WRONG)), ChecksumMismatch, "R-9.14", id="digest"
        ),
        pytest.param(lambda: with_entries(file_of(b"", sha256=WRONG)), ChecksumMismatch, "R-9.14", id="empty's digest"),
        pytest.param(
            lambda: with_entries(
                file_of(b"01", Extent(0, 0, 2)), file_of(b"", Extent(0, 0, 2), path=b"b", sha256=WRONG)
            ),
            ChecksumMismatch,
            "R-9.14",
            id="digest of shared extents",
        ),
        pytest.param(
            lambda: with_entries(file_of(b"9", Extent(0, 9, 2))), Malformed, "R-9.10", id="behind its segment"
        ),
        pytest.param(lambda: with_entries(file_of(b"", Extent(1, 0, 1))), Malformed, "R-9.10", id="no such segment"),
        pytest.param(
            lambda: with_entries(file_of(b"x", Extent(1, 0, 1)), late=[b"x"]), Malformed, "R-9.10", id="a later segment"
        ),
        pytest.param(
            lambda: with_entries(file_of(b"0112", Extent(0, 0, 2), Extent(0, 1, 2))), Malformed, "R-9.11", id="itself"
        ),
        pytest.param(
            lambda: with_entries(file_of(b"00", Extent(0, 0, 1), Extent(0, 0, 1))), Malformed, "R-9.11", id="twice"
        ),
        pytest.param(
            lambda: with_entries(file_of(b"012", Extent(0, 0, 3)), file_of(b"23", Extent(0, 2, 2), path=b"b")),
            Malformed,
            "R-9.11",
            id="overlapping",
        ),
        pytest.param(
            lambda: with_entries(
                file_of(b"01", Extent(0, 0, 2)), file_of(b"0123", Extent(0, 0, 2), Extent(0, 2, 2), path=b"b")
            ),
            Malformed,
            "R-9.11",
            id="another list with the same run",
        ),
        pytest.param(
            lambda: with_entries(directory(b"d"), Entry(root="default", path=b"h", kind=Kind.HARDLINK, target=b"d")),
            Malformed,
            "R-9.12",
            id="a hard link to a directory",
        ),
        pytest.param(
            lambda: with_entries(Entry(root="default", path=b"h", kind=Kind.HARDLINK, target=b"a")),
            Malformed,
            "R-9.12",
            id="a hard link to nothing",
        ),
        pytest.param(
            lambda: with_entries(
                directory(b"d"), skipped=[Skipped(root="default", path=b"d", kind="file", reason=Reason.LIMIT)]
            ),
            Malformed,
            "R-9.17",
            id="skipped and stored",
        ),
        pytest.param(lambda: with_entries(totals=Totals(entries=1, segments=2, batches=1)), Malformed, "R-9.2"),
        pytest.param(lambda: with_entries(totals=Totals(entries=1, segments=1)), Malformed, "R-9.2", id="batches"),
        pytest.param(lambda: with_entries(totals=Totals(segments=1, batches=1)), Malformed, "R-9.2", id="no entries"),
        pytest.param(
            lambda: with_entries(totals=Totals(entries=2, segments=1, batches=1)), Malformed, "R-9.2", id="entries"
        ),
        pytest.param(lambda: with_entries(directory(b"a/b")), Malformed, "R-9.8", id="no parent"),
    ],
)
@pytest.mark.rule("R-9.2", "R-9.8", "R-9.10", "R-9.11", "R-9.12", "R-9.14", "R-9.17")
def test_a_manifest_that_breaks_a_rule_is_refused(
    reader: Callable[[], Reader], error: type[BundleError], rule: str
) -> None:
    with pytest.raises(error) as caught:
        check(reader())
    assert caught.value.rule == rule


@pytest.mark.rule("R-9.17")
def test_what_was_left_out_beside_what_was_stored_is_accepted() -> None:
    rows = [
        Skipped(root="default", path=path, kind="file", reason=Reason.LIMIT) for path in (b"a", b"c", b"c/x", b"zz")
    ]
    check(with_entries(directory(b"b"), directory(b"d"), skipped=rows))


@pytest.mark.rule("R-11.3")
def test_a_segment_that_no_file_lies_in_is_checked_too() -> None:
    reader = with_entries()
    section = reader.container.frame.of_type(wire.SEGM)[0]
    file = reader.container._file
    file.seek(section.body_offset)
    file.write(b"damage")
    with pytest.raises(ChecksumMismatch):
        check(reader)


@pytest.mark.rule("R-7.8")
def test_a_journal_that_is_no_journal_is_refused_when_its_segment_is_opened() -> None:
    head = dataclasses.replace(manifest(), totals=Totals(segments=1))
    sections = [(wire.SEGM, b""), (wire.MANI, heads.encode_manifest(head))]
    check(crafted(*sections, journal=b"\x90"))
    with pytest.raises(Malformed) as caught:
        check(crafted(*sections, journal=b"\x81\xa1a\xc0"))
    assert caught.value.rule == "R-7.8"


def test_an_error_inside_a_section_tells_where_the_section_is() -> None:
    reader = with_entries()
    section = reader.container.frame.of_type(wire.SEGM)[0]
    reader._key = BundleKey(bytes(32))
    with reader, pytest.raises(AuthenticationFailed) as caught:
        reader._open(section)
    assert caught.value.offset == section.body_offset


def test_thousands_of_files_in_one_segment_are_held_apart() -> None:
    raw = seeded()(5000)
    files = [file_of(raw[n : n + 1], Extent(0, n, 1), path=b"%04d" % n) for n in range(5000)]
    check(with_entries(*files, raw=[raw]))
    again = file_of(raw[:1], Extent(0, 0, 1), path=b"5000")
    check(with_entries(*files, again, raw=[raw]))
    overlapping = file_of(raw[:2], Extent(0, 0, 2), path=b"5000")
    with pytest.raises(Malformed):
        check(with_entries(*files, overlapping, raw=[raw]))


# --- What few bundles meet -------------------------------------------------------------------------------------------


def test_rows_of_what_was_left_out_end_a_batch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_BATCH_TARGET", 1000)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(100):
            to.skip(Skipped(root="default", path=b"%03d" % number, kind="file", reason=Reason.EXCLUDED))

    bundle = packed(fill)
    assert bundle.written.totals.batches > 3
    with bundle.reader() as reader:
        assert len(list(reader.skipped())) == 100


def test_a_hole_without_length_is_none() -> None:
    def fill(to: Writer) -> None:
        to.add(directory())
        file = to.open_file(sensitivity=CONTENT)
        file.hole(0)
        file.write(b"x")
        file.hole(0)
        file.finish(metadata(b"f"))

    with packed(fill).reader() as reader:
        assert [(extent.segment, extent.length) for extent in reader.entry("default", b"f").extents] == [(0, 1)]


@pytest.mark.usefixtures("small_segments")
def test_what_was_read_ahead_is_forgotten_when_the_reader_jumps() -> None:
    with packed(many_segments).reader() as reader:
        entries = [entry for entry in reader.entries() if entry.kind is Kind.FILE]
        for entry in (*entries[:3], entries[-3], entries[-2], *entries[1:4]):
            assert b"".join(reader.content(entry)) == entry.path * 300


@pytest.mark.rule("R-9.11")
def test_files_that_overlap_are_found_before_a_million_of_them_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SEGMENT", 20)
    ledger = Ledger()
    rows = [file_of(bytes(15), Extent(0, start, 15), path=b"%d" % start) for start in range(3)]
    assert ledger.unread(rows[:2]) == rows[:2]
    with pytest.raises(Malformed, match="two files overlap in segment 0"):
        ledger.unread(rows[2:])
