"""Segments being gathered, and memory that is used again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import directory, metadata, packed, seeded

from ocbundle import limits, verification
from ocbundle.contents import Recent
from ocbundle.memory import Memory, SizedMemory, fresh
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
