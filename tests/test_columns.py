"""Rows at once come out as rows one by one, and none passes at once that wouldn't pass by itself."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocbundle import columns, limits, records
from ocbundle.model import Capture, Entry, Kind

ROOTS = ["default", "work"]
ROW: list[Any] = [0, b"a/b", 1, 0o600, 7, 8, 9, 10, bytes(32), [[0, 1, 10]], None, None]
DIRECTORY: list[Any] = [0, b"d", 0, 0o700, 7, 8, 9, None, None, None, None, None]

odd = st.sampled_from(
    [None, True, False, -1, 0, 1, 2, 1 << 53, -(1 << 63) - 1, 1 << 63, 1.0, "", "x", b"", b"x", [], [1], {}, {"a": 1}]
)
odder_paths = st.sampled_from(
    [
        b"",
        b".",
        b"..",
        b"a/../b",
        b"a//b",
        b"/a",
        b"a/",
        b"a\0b",
        b".a",
        b"..a",
        b"...",
        b"a/.b",
        b"x" * 256,
        b"a/" * 99,
    ]
)


def one_by_one(rows: list[Any]) -> tuple[Entry, ...]:
    """The entries of *rows*, through the decoder of single rows alone; it raises where one breaks a rule."""
    return tuple(records._decode_row(row, ROOTS.__getitem__, records._SHAPES, 3) for row in rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(DIRECTORY, id="a directory"),
        pytest.param([*ROW[:11], {"capture": "grew"}], id="something extra"),
        pytest.param([*ROW[:9], [[0, 1, 4], [0, 5, 6]], None, None], id="two extents"),
    ],
)
def test_plain_rows_come_out_at_once_and_others_are_left(other: list[Any]) -> None:
    made = columns.decode([ROW, other, ROW], ROOTS)
    assert made[1] is None
    assert made[0] == made[2]
    entry = made[0]
    assert entry is not None
    assert (entry.root, entry.path, entry.kind, entry.size) == ("default", b"a/b", Kind.FILE, 10)
    assert entry.capture is Capture.PLAIN
    assert [tuple(extent) for extent in entry.extents] == [(0, 1, 10)]


def test_where_none_is_plain_there_is_nothing_to_make() -> None:
    assert columns.decode([], ROOTS) == []
    assert columns.decode([DIRECTORY], ROOTS) == [None]


@pytest.mark.parametrize("row", [7, None, [], {"a": 1}, b"xxxxxxxxxxxxx", "abc", [*ROW, None], ROW[:11]])
def test_what_is_no_row_makes_nothing(row: Any) -> None:  # noqa: ANN401
    assert columns.decode([ROW, row], ROOTS) in ([None, None], [*columns.decode([ROW], ROOTS), None])
    assert columns.decode([row], ROOTS) == [None]


@given(st.integers(0, 11), odd)
def test_a_field_passes_at_once_only_if_it_passes_by_itself(field: int, value: object) -> None:
    changed = copy.deepcopy(ROW)
    changed[field] = value
    made = columns.decode([ROW, changed], ROOTS)
    if made[1] is not None:
        assert (made[0], made[1]) == one_by_one([ROW, changed])


@given(st.integers(0, 2), odd)
def test_an_extent_passes_at_once_only_if_it_passes_by_itself(field: int, value: object) -> None:
    changed = copy.deepcopy(ROW)
    changed[9][0][field] = value
    made = columns.decode([ROW, changed], ROOTS)
    if made[1] is not None:
        assert (made[0], made[1]) == one_by_one([ROW, changed])


@given(odder_paths)
def test_a_path_passes_at_once_only_if_it_passes_by_itself(path: bytes) -> None:
    changed = [0, path, *ROW[2:]]
    made = columns.decode([ROW, changed], ROOTS)
    if made[1] is not None:
        assert (made[0], made[1]) == one_by_one([ROW, changed])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, 1),
        (3, 0),
        (3, limits.MAX_MODE),
        (4, 0),
        (4, limits.MAX_INTEGER),
        (5, 0),
        (5, limits.MAX_INTEGER),
        (6, -(1 << 63)),
        (6, (1 << 63) - 1),
        (9, [[limits.MAX_INTEGER, 0, 10]]),
        (9, [[0, limits.MAX_INTEGER, 10]]),
    ],
)
def test_the_ends_of_each_range_pass(field: int, value: object) -> None:
    changed = copy.deepcopy(ROW)
    changed[field] = value
    assert tuple(columns.decode([changed], ROOTS)) == one_by_one([changed])


@pytest.mark.parametrize("size", [1, limits.MAX_INTEGER])
def test_sizes_from_one_byte_on_pass(size: int) -> None:
    row = [*ROW[:7], size, bytes(32), [[0, 0, size]], None, None]
    assert tuple(columns.decode([row], ROOTS)) == one_by_one([row])


@pytest.mark.parametrize("size", [0, -1, limits.MAX_INTEGER + 1])
def test_no_other_size_passes(size: int) -> None:
    row = [*ROW[:7], size, bytes(32), [[0, 0, size]], None, None]
    assert columns.decode([row], ROOTS) == [None]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, 2),
        (0, -1),
        (0, True),
        (1, b"a//b"),
        (1, b"a/./b"),
        (1, b"a/../b"),
        (1, b"a\0b"),
        (2, True),
        (3, limits.MAX_MODE + 1),
        (3, -1),
        (4, limits.MAX_INTEGER + 1),
        (4, -1),
        (5, limits.MAX_INTEGER + 1),
        (5, -1),
        (6, 1 << 63),
        (6, -(1 << 63) - 1),
        (7, 11),
        (8, bytes(31)),
        (8, None),
        (9, [[None, 0, 10]]),
        (9, [[0, 1, 9]]),
        (9, [[-1, 1, 10]]),
        (9, [[1 << 53, 1, 10]]),
        (9, [[0, -1, 10]]),
        (9, [[0, 1 << 53, 10]]),
        (9, [[0, 1, 10, 0]]),
        (9, [b"abc"]),
        (10, b"x"),
    ],
)
def test_nothing_is_made_of_rows_among_which_one_may_break_a_rule(field: int, value: object) -> None:
    changed = copy.deepcopy(ROW)
    changed[field] = value
    assert columns.decode([ROW, changed], ROOTS) == [None, None]
