"""Segments being gathered, and memory that is used again."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import directory, metadata, packed, seeded

from ocbundle import compression, limits, verification, writer
from ocbundle.contents import Recent
from ocbundle.errors import Malformed
from ocbundle.memory import Memory, SizedMemory, fresh
from ocbundle.model import Kind
from ocbundle.segments import Extents, Segment
from ocbundle.sources import Sensitivity
from ocbundle.writer import Writer


def test_memory_that_was_given_back_is_taken_again() -> None:
    memory = Memory()
    first = memory.take(10)
    memory.give(memoryview(first)[:3])
    assert memory.take(10) is first
    assert memory.take(10) is not first


def test_memory_is_never_too_short() -> None:
    memory = Memory()
    memory.give(memoryview(memory.take(10)))
    assert len(memory.take(11)) == 11


def test_memory_that_belongs_to_others_is_left_alone() -> None:
    memory = Memory()
    memory.give(b"0123456789")
    memory.give(memoryview(b"0123456789"))
    assert memory.take(10) == bytes(10)


def test_memory_of_some_sizes_keeps_pieces_of_these_sizes_and_no_others() -> None:
    memory = SizedMemory(8, 16)
    pieces = [memory.take(length) for length in (3, 9, 17)]
    assert [len(piece) for piece in pieces] == [8, 16, 17]
    for piece in pieces:
        memory.give(memoryview(piece)[:2])
    assert memory.take(8) is pieces[0]
    assert memory.take(16) is pieces[1]
    assert memory.take(8) is not pieces[0]
    assert memory.take(17) is not pieces[2]
    memory.give(memoryview(pieces[0]))
    memory.forget()
    assert memory.take(8) is not pieces[0]


@pytest.mark.parametrize("length", [0, 1, 2 << 20, (2 << 20) + 1])
def test_fresh_memory_is_as_long_as_asked_for_and_gives_long_pieces_back_to_the_system(length: int) -> None:
    def mapped() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    before = mapped()
    view = memoryview(fresh(length))
    assert len(view) == length
    view[:1] = b"x"[:length]
    if length > 2 << 20:
        assert mapped() >= before + length
        del view
        assert mapped() < before + length


def test_memory_that_the_system_does_not_have_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(MemoryError):
        fresh(3 << 20)


def test_a_segment_grows_with_what_it_must_hold() -> None:
    segment = Segment(bytearray(4))
    extents: Extents = []
    for data in (b"abc", b"defgh", b"i"):
        segment.append(data, extents)
    assert bytes(segment.content) == b"abcdefghi"
    assert extents == [[-1, 0, 9]]


def test_what_a_file_wrote_stays_as_it_was_whatever_becomes_of_its_buffer() -> None:
    buffer = bytearray(b"first!")

    def fill(to: Writer) -> None:
        to.add(directory())
        sink = to.open_file(sensitivity=Sensitivity.CONTENT)
        sink.write(memoryview(buffer))
        buffer[:] = b"second"
        sink.write(memoryview(buffer))
        sink.finish(metadata(b"f"))

    with packed(fill).reader() as reader:
        _, entry = reader.entries()
        assert b"".join(reader.content(entry)) == b"first!second"


item = st.one_of(
    st.tuples(st.just("whole"), st.integers(0, 30), st.sampled_from(Sensitivity)),
    st.tuples(st.just("equal"), st.integers(0, 3), st.sampled_from(Sensitivity)),
    st.tuples(st.sampled_from(["pieces", "abandoned"]), st.integers(0, 120), st.sampled_from(Sensitivity)),
    st.tuples(st.just("directory"), st.integers(0, 200), st.just(Sensitivity.CONTENT)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(item, max_size=40),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([200, 600, 1 << 20]),
    st.sampled_from([300, 1500, 1 << 20]),
)
def test_whatever_is_packed_keeps_within_what_segments_and_files_may_have(
    items: list[tuple[str, int, Sensitivity]], first: int, step: int, journal: int, batch: int
) -> None:
    """Rules R-7.5, R-9.10 and R-9.23, with small segments that grow soon, in several classes at once."""
    wanted: dict[bytes, bytes] = {}

    def fill(to: Writer) -> None:
        to.add(directory())
        for number, (kind, length, sensitivity) in enumerate(items):
            name, data = b"%04d" % number, seeded(length if kind == "equal" else number)(length)
            if kind == "directory":
                to.add(directory(name + b"d" * length))
                continue
            if kind in {"whole", "equal"}:
                to.add_file(metadata(name), data, sensitivity=sensitivity)
            else:
                sink = to.open_file(sensitivity=sensitivity)
                sink.write(data[:50])
                sink.hole(length)
                sink.write(data[50:])
                data = data[:50] + bytes(length) + data[50:]
                if kind == "abandoned":
                    sink.abandon()
                    continue
                sink.finish(metadata(name))
            wanted[name] = data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FIRST_SEGMENT", first)
        patch.setattr(limits, "LEAST_RUN", 1)
        patch.setattr(limits, "SEGMENTS_PER_SIZE", step)
        patch.setattr(limits, "MAX_SEGMENT", first * 16)
        patch.setattr(writer, "_JOURNAL_TARGET", journal)
        patch.setattr(writer, "_BATCH_TARGET", batch)
        with packed(fill).reader() as reader:
            verification.check(reader)
            entries = [entry for entry in reader.entries() if entry.kind is Kind.FILE]
            assert {entry.path: b"".join(reader.content(entry)) for entry in entries} == wanted


def test_segments_that_grow_while_the_bundle_does_hold_what_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SEGMENT", 1000)
    monkeypatch.setattr(limits, "SEGMENTS_PER_SIZE", 5)
    files = {b"%03d" % number: seeded(number)(300 + number * 7) for number in range(100)}

    def fill(to: Writer) -> None:
        to.add(directory())
        for name, data in files.items():
            to.add_file(metadata(name), data, sensitivity=Sensitivity.CONTENT)

    with packed(fill).reader() as reader:
        verification.check(reader)
        _, *entries = reader.entries()
        assert {entry.path: b"".join(reader.content(entry)) for entry in entries} == files
        lengths = [len(reader._open_segment(number)) for number in range(reader.manifest.totals.segments)]
    assert all(length <= limits.segment_limit(number) for number, length in enumerate(lengths))
    assert all(lengths[number] > limits.segment_limit(number) // 2 for number in range(len(lengths) - 1))


def test_a_file_at_hand_that_is_longer_than_a_segment_goes_into_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SEGMENT", 10)

    def fill(to: Writer) -> None:
        to.add(directory())
        to.add_file(metadata(b"a"), b"12345", sensitivity=Sensitivity.CONTENT)
        to.add_file(metadata(b"b"), bytes(range(35)), sensitivity=Sensitivity.CONTENT)

    with packed(fill).reader() as reader:
        *_, entry = reader.entries()
        assert [extent.length for extent in entry.extents] == [10, 10, 10, 5]
        assert b"".join(reader.content(entry)) == bytes(range(35))


def test_content_comes_in_pieces_of_a_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENTS_PER_SIZE", 1)
    data = seeded()(5 << 20)

    def fill(to: Writer) -> None:
        to.add(directory())
        sink = to.open_file(sensitivity=Sensitivity.CONTENT)
        sink.write(data)
        sink.finish(metadata(b"f"))

    with packed(fill).reader() as reader:
        *_, entry = reader.entries()
        assert [extent.length >> 20 for extent in entry.extents] == [1, 2, 2]
        assert [len(piece) for piece in reader.content(entry)] == [1 << 20] * 5


def test_a_bundle_is_packed_and_verified_where_there_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one that can't be had leaves its work with the first, which must not do it again."""
    start, named = threading.Thread.start, list[str]()

    def give(thread: threading.Thread) -> None:
        named.append(thread.name[:-2])
        if named.count(thread.name[:-2]) > 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    def fill(to: Writer) -> None:
        to.add(directory())
        for number in range(60):
            sink = to.open_file(sensitivity=list(Sensitivity)[number % 3])
            sink.write(seeded(number)(100_000))
            sink.finish(metadata(b"%02d" % number))

    monkeypatch.setattr(limits, "FIRST_SEGMENT", 30_000)
    monkeypatch.setattr(threading.Thread, "start", give)
    with packed(fill, workers=2).reader() as reader:
        verification.check(reader)
        _, *entries = reader.entries()
        assert [b"".join(reader.content(entry)) for entry in entries] == [seeded(n)(100_000) for n in range(60)]
    assert named.count("ocbundle-seal") > 1 < named.count("ocbundle-open")


def test_of_the_segments_that_were_opened_those_used_last_are_kept_beside_a_new_one() -> None:
    recent = Recent()
    raw = memoryview(bytes(6 << 20))
    for number in (1, 2, 3):
        assert recent.get(number) is None
        recent.put(number, raw)
    assert recent.get(1) is raw
    assert recent.get(4) is None
    assert [number for number in range(5) if number in recent] == [1, 3]
    recent.put(4, raw)
    assert recent.get(3) is raw
    recent.clear()
    assert recent.get(3) is None


def test_one_segment_of_the_greatest_length_is_kept_beside_a_new_one() -> None:
    recent = Recent()
    raw = memoryview(bytes(limits.MAX_SEGMENT))
    for number in (1, 2, 3):
        assert recent.get(number) is None
        recent.put(number, raw)
        assert [kept for kept in range(5) if kept in recent] == [kept for kept in (number - 1, number) if kept]


def test_long_segments_are_opened_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = seeded()(400_000)
    one, decode_into = threading.Lock(), compression.decode_into

    def alone(*arguments: Any) -> tuple[memoryview, bytes]:  # noqa: ANN401
        assert one.acquire(blocking=False), "another thread has one"
        try:
            time.sleep(0.001)  # another thread would come meanwhile
            return decode_into(*arguments)
        finally:
            one.release()

    def fill(to: Writer) -> None:
        to.add(directory())
        to.add_file(metadata(b"f"), data, sensitivity=Sensitivity.CONTENT)

    monkeypatch.setattr(limits, "FIRST_SEGMENT", 10_000)
    monkeypatch.setattr(limits, "LEAST_RUN", 1)
    monkeypatch.setattr(verification, "_LONG", 9_000)
    with packed(fill).reader() as reader:
        monkeypatch.setattr(compression, "decode_into", alone)
        verification.check(reader)
        assert reader.manifest.totals.segments == 40


def test_where_one_journal_has_failed_no_other_is_looked_at() -> None:
    with packed(lambda to: to.add(directory())).reader() as reader:
        reader._check_journal(b"\xc0")  # nobody asked for it
        reader.journaled = {}
        with pytest.raises(Malformed):
            reader._check_journal(b"\xc0")
        reader._check_journal(b"\xc0")
