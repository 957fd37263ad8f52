"""Vectors with faults in the rows of batches (section 9.4): each by itself, together, and against content."""

from __future__ import annotations

from typing import Any

from spec.vectors.builder import (
    EXTENTS,
    EXTRA,
    GID,
    KIND,
    MODE,
    MTIME,
    PATH,
    SHA256,
    SIZE,
    TARGET,
    UID,
    Draft,
    Row,
)
from spec.vectors.cases import vector, vectors

ROOT = 0
ACL = [[1, None, None, 6], [2, 33, "www-data", 4], [4, None, None, 0], [16, None, None, 4], [32, None, None, 0]]
"""A sound list, beside the mode 0600."""


def _change(d: Draft, fields: dict[int, Any], path: bytes = b"a") -> None:
    d.sample()
    row = d.row(path)
    for position, value in fields.items():
        row[position] = value


# --- one row --------------------------------------------------------------------------------------------------------


@vectors(
    "R-9.16",
    {
        "path_as_text": {PATH: "a"},
        "kind_4": {KIND: 4},
        "kind_as_text": {KIND: "file"},
        "kind_as_bool": {KIND: True},
        "no_mode": {MODE: None},
        "mode_as_text": {MODE: "0600"},
        "uid_as_bool": {UID: False},
        "gid_as_text": {GID: "staff"},
        "no_mtime": {MTIME: None},
        "no_size": {SIZE: None},
        "size_as_false": {SIZE: False, EXTENTS: []},
        "no_digest": {SHA256: None},
        "digest_as_text": {SHA256: "0" * 32},
        "short_digest": {SHA256: bytes(31)},
        "no_extents": {EXTENTS: None},
        "extents_as_map": {EXTENTS: {}},
        "extents_as_text": {EXTENTS: "", SIZE: 0},
        "extent_of_two": {EXTENTS: [[0, 6]]},
        "extent_as_text": {EXTENTS: ["6"]},
        "extent_length_as_text": {EXTENTS: [[0, 0, "6"]]},
        "target": {TARGET: b"b"},
        "empty_extra": {EXTRA: {}},
        "extra_as_array": {EXTRA: []},
        "capture_as_number": {EXTRA: {"capture": 1}},
        "capture_as_nil": {EXTRA: {"capture": None}},
        "acl_as_map": {EXTRA: {"acl": {}}},
        "empty_acl": {EXTRA: {"acl": []}},
        "acl_of_numbers": {EXTRA: {"acl": [1, 4, 32]}},
        "grant_of_three": {EXTRA: {"acl": [[1, None, 6], *ACL[1:]]}},
        "grant_tag_as_text": {EXTRA: {"acl": [["user", None, None, 6], *ACL[1:]]}},
        "grant_id_as_text": {EXTRA: {"acl": [ACL[0], [2, "33", None, 4], *ACL[2:]]}},
        "grant_name_as_bytes": {EXTRA: {"acl": [ACL[0], [2, 33, b"www-data", 4], *ACL[2:]]}},
        "grant_rights_as_bool": {EXTRA: {"acl": [ACL[0], [2, 33, None, True], *ACL[2:]]}},
        "no_default_acl": {EXTRA: {"default_acl": None}},
        "xattrs_as_map": {EXTRA: {"xattrs": {}}},
        "xattrs_as_nil": {EXTRA: {"xattrs": None}},
        "xattr_as_text": {EXTRA: {"xattrs": [["user.a", b"x"]]}},
    },
    "Malformed",
)
def file_row(d: Draft, fields: dict[int, Any]) -> None:
    """A field of a file's row is of another type than it must be."""
    _change(d, fields)


@vectors(
    "R-9.16",
    {
        "size": {SIZE: 0},
        "digest": {SHA256: bytes(32)},
        "extents": {EXTENTS: []},
        "target": {TARGET: b"a"},
    },
    "Malformed",
)
def directory_row(d: Draft, fields: dict[int, Any]) -> None:
    """A directory has a field that only other kinds have."""
    _change(d, fields, b"")


@vectors(
    "R-9.16",
    {"no_target": {TARGET: None}, "target_as_text": {TARGET: "a"}, "size": {SIZE: 1}, "extents": {EXTENTS: []}},
    "Malformed",
)
def symlink_row(d: Draft, fields: dict[int, Any]) -> None:
    """A symbolic link's row has other fields than it must."""
    d.sample()
    row = d.symlink(b"l", b"a")
    for position, value in fields.items():
        row[position] = value


@vectors(
    "R-9.16",
    {"no_target": {TARGET: None}, "target_as_text": {TARGET: "a"}, "mode": {MODE: 0o600}, "extra": {EXTRA: {"z": 0}}},
    "Malformed",
)
def hard_link_row(d: Draft, fields: dict[int, Any]) -> None:
    """A hard link's row has other fields than it must."""
    d.sample()
    row = d.hardlink(b"l", b"a")
    for position, value in fields.items():
        row[position] = value


def _longer(rows: list[Any]) -> None:
    rows[1] = [*rows[1], None]


def _shorter(rows: list[Any]) -> None:
    rows[1] = rows[1][:-1]


def _empty(rows: list[Any]) -> None:
    rows[1] = []


def _map(rows: list[Any]) -> None:
    rows[1] = {"path": b"a"}


@vectors("R-9.16", {"longer": _longer, "shorter": _shorter, "empty": _empty, "map": _map}, "Malformed")
def row(d: Draft, change: Any) -> None:  # noqa: ANN401 - a function of rows of any shape
    """A row isn't an array of twelve."""
    d.sample()
    change(d.entries)


@vectors(
    "R-9.16",
    {
        "shorter": [0, b"z", "file", "limit"],
        "path_as_text": [0, "z", "file", "limit", None],
        "kind_as_number": [0, b"z", 1, "limit", None],
        "reason_as_number": [0, b"z", "file", 1, None],
        "detail_as_number": [0, b"z", "file", "limit", 1],
        "root_as_text": ["default", b"z", "file", "limit", None],
    },
    "Malformed",
)
def skipped_row(d: Draft, value: Row) -> None:
    """A skipped row isn't an array of five fields of the right types."""
    d.sample()
    d.batches[0]["skipped"].append(value)


@vectors("R-9.5", {"next": 1, "greatest": 2**53 - 1, "beyond": 2**53, "negative": -1}, "Malformed")
def root_index(d: Draft, index: int) -> None:
    """An entry names a root that isn't there."""
    _change(d, {ROOT: index}, b"b")


@vector("R-9.5", "Malformed")
def root_index_of_skipped(d: Draft) -> None:
    """A skipped row names a root that isn't there."""
    d.sample()
    d.skip(b"z", "file", "limit", root=1)


@vector("R-9.5", "Malformed")
def negative_root_index_of_skipped(d: Draft) -> None:
    """A skipped row names a root by a negative number."""
    d.sample()
    d.skip(b"z", "file", "limit", root=-1)


@vectors(
    "R-8.8",
    {
        "uid": {UID: 2**53},
        "negative_gid": {GID: -1},
        "size": {SIZE: 2**53},
        "mtime": {MTIME: 2**63},
        "offset": {EXTENTS: [[0, -1, 6]]},
        "length": {EXTENTS: [[0, 0, 2**53]]},
        "segment": {EXTENTS: [[2**64 - 1, 0, 6]]},
        "negative_mode": {MODE: -1},
        "id_of_grant": {EXTRA: {"acl": [ACL[0], [2, 2**53, None, 4], *ACL[2:]]}},
        "negative_rights": {EXTRA: {"acl": [[1, None, None, -1], *ACL[1:]]}},
    },
    "Malformed",
)
def number(d: Draft, fields: dict[int, Any]) -> None:
    """A number of a row is out of range."""
    _change(d, fields)


@vector("R-9.15", "LimitExceeded")
def long_extra(d: Draft) -> None:
    """An extra of one byte more than 64 KiB."""
    _change(d, {EXTRA: {"xattrs": [[b"user.a", b"v" * (65536 - 20)]]}})


@vectors(
    "R-9.19",
    {
        "trusted": [[b"trusted.a", b""]],
        "security": [[b"security.capability", b"\x01"]],
        "system": [[b"system.posix_acl_access", b""]],
        "without_namespace": [[b"a", b""]],
        "nul": [[b"user.a\0b", b""]],
        "unordered": [[b"user.b", b""], [b"user.a", b""]],
        "twice": [[b"user.a", b""], [b"user.a", b""]],
    },
    "Malformed",
)
def xattrs(d: Draft, value: list[Row]) -> None:
    """Extended attributes beyond user.*, or out of order."""
    _change(d, {EXTRA: {"xattrs": value}})


@vectors(
    "R-9.21",
    {
        "tag_0": [[0, None, None, 6], *ACL],
        "tag_64": [*ACL, [64, None, None, 0]],
        "two_tags_in_one": [ACL[0], [3, 33, None, 4], *ACL[2:]],
        "no_owner": ACL[1:],
        "no_group": [*ACL[:2], *ACL[3:]],
        "no_others": ACL[:-1],
        "no_mask": [*ACL[:3], ACL[4]],
        "two_masks": [*ACL[:4], *ACL[3:]],
        "owner_with_id": [[1, 0, None, 6], *ACL[1:]],
        "mask_with_name": [*ACL[:3], [16, None, "mask", 4], ACL[4]],
        "user_without_id": [ACL[0], [2, None, "www-data", 4], *ACL[2:]],
        "rights_8": [ACL[0], [2, 33, None, 8], *ACL[2:]],
        "unordered_tags": [ACL[0], ACL[2], ACL[1], *ACL[3:]],
        "unordered_ids": [*ACL[:2], [2, 32, None, 4], *ACL[2:]],
        "same_user_twice": [*ACL[:2], *ACL[1:]],
    },
    "Malformed",
)
def acl(d: Draft, value: list[Row]) -> None:
    """An access control list that isn't one."""
    _change(d, {EXTRA: {"acl": value}})


@vector("R-9.21", "Malformed")
def default_acl(d: Draft) -> None:
    """A default list without others."""
    _change(d, {EXTRA: {"default_acl": ACL[:-1]}}, b"")


@vector("R-9.21", "Malformed")
def default_acl_of_file(d: Draft) -> None:
    """A file has a list to hand down."""
    _change(d, {EXTRA: {"default_acl": ACL}})


@vector("R-9.21", "Malformed")
def acl_of_symlink(d: Draft) -> None:
    """A symbolic link has a list."""
    d.sample()
    d.symlink(b"l", b"a")[EXTRA] = {"acl": ACL}


@vector("R-9.15", "LimitExceeded")
def long_acl(d: Draft) -> None:
    """A list of more than 64 KiB."""
    _change(d, {EXTRA: {"acl": [ACL[0], *([2, number, "n" * 28, 4] for number in range(33, 2033)), *ACL[2:]]}})


@vectors("R-9.22", {"of_mask": 0o640, "of_others": 0o604, "of_owner": 0o700, "narrower": 0o400}, "Malformed")
def mode_beside_acl(d: Draft, value: int) -> None:
    """A mode that isn't the one of its access control list."""
    _change(d, {MODE: value, EXTRA: {"acl": ACL}})


@vectors(
    "R-9.7",
    {
        "leading_slash": b"/etc/passwd",
        "trailing_slash": b"a/",
        "double_slash": b"a//b",
        "slash": b"/",
        "dot": b".",
        "dots": b"..",
        "upwards": b"../../etc/passwd",
        "dots_inside": b"a/../b",
        "dot_inside": b"a/./b",
        "dots_at_end": b"a/..",
        "nul": b"a\0b",
    },
    "Malformed",
)
def path(d: Draft, value: bytes) -> None:
    """A path that could lead elsewhere."""
    d.directory(b"")
    d.file(value, b"x")


@vectors(
    "R-9.7",
    {"component": b"c" * 256, "path": b"/".join([b"c" * 241] * 17), "depth": b"/".join([b"c"] * 256)},
    "LimitExceeded",
)
def long_path(d: Draft, value: bytes) -> None:
    """A path that is too long."""
    d.directory(b"")
    d.file(value, b"x")


@vector("R-9.7", "Malformed")
def path_of_skipped(d: Draft) -> None:
    """The path of a skipped row leads upwards."""
    d.sample()
    d.skip(b"../x", "file", "limit")


@vectors("R-9.9", {"file_type": 0o100600, "one_bit": 0o10000, "greatest": 2**53 - 1}, "Malformed")
def mode(d: Draft, value: int) -> None:
    """A mode beyond 07777."""
    _change(d, {MODE: value})


@vectors(
    "R-9.10",
    {
        "none": [],
        "too_short": [[0, 0, 5]],
        "too_long": [[0, 0, 7]],
        "empty_extent": [[0, 0, 6], [0, 6, 0]],
        "hole_with_offset": [[0, 0, 3], [None, 3, 3]],
        "empty_hole": [[None, 0, 0], [0, 0, 6]],
        "missing_segment": [[1, 0, 6]],
        "far_segment": [[2**53 - 1, 0, 6]],
        "behind_segment": [[0, 6, 6]],
        "far_behind_segment": [[0, 2**53 - 1, 6]],
        "over_the_end": [[0, 7, 5], [None, 0, 1]],
    },
    "Malformed",
)
def extents(d: Draft, value: list[Row]) -> None:
    """Extents that don't cover the file, or lie outside the segments."""
    _change(d, {EXTENTS: value})


@vector("R-9.10", "Malformed")
def extents_of_empty_file(d: Draft) -> None:
    """A file of no bytes has an extent."""
    d.sample()
    d.file(b"c", b"", extents=[[0, 0, 0]])


@vector("R-9.10", "Malformed")
def later_segment(d: Draft) -> bytes:
    """A batch refers to a segment that stands behind it."""
    d.sample()
    sections = d.sections()
    sections[1], sections[2] = sections[2], sections[1]
    return d.frame(sections)


@vectors(
    "R-9.23",
    {
        "back": [[1, 0, 3], [0, 0, 3]],
        "back_behind_hole": [[1, 0, 3], [None, 0, 3], [0, 0, 3]],
        "to_and_fro": [[0, 0, 1], [1, 0, 3], [0, 1, 2]],
        "three_segments": [[0, 0, 3], [1, 0, 3], [2, 0, 5]],
        "three_segments_and_holes": [[0, 0, 3], [None, 0, 1 << 19], [1, 0, 3], [None, 0, 1 << 18], [2, 0, 5]],
        "seventeen_extents": [[0, 0, 1], *[[None, 0, 1]] * 16],
        "extents_of_two_kibibytes": [[0, 0, 1], [None, 0, 2046], *[[0, 1, 1]], *[[None, 0, 1]] * 15],
        "four_segments_of_a_mebibyte": [[0, 0, 3], [1, 0, 3], [2, 0, 5], [None, 0, (1 << 20) - 10], [3, 0, 4]],
    },
    "Malformed",
)
def segments_of_file(d: Draft, value: list[Row]) -> None:
    """A file lies in more segments than it may, or goes back to one."""
    d.directory(b"")
    d.segments = [b"one", b"two", b"three", b"four"]
    runs = ((length, b"" if number is None else d.segments[number][at:][:length]) for number, at, length in value)
    d.file(b"file", b"".join(run.ljust(length, b"\0") for length, run in runs), extents=value)


@vectors("R-9.13", {"empty": b"", "nul": b"a\0b", "nul_in_long": bytes(5000)}, "Malformed")
def symlink(d: Draft, target: bytes) -> None:
    """A symbolic link's target can't be one."""
    d.sample()
    d.symlink(b"l", target)


@vector("R-9.13", "LimitExceeded")
def long_symlink(d: Draft) -> None:
    """A symbolic link's target of 4096 bytes."""
    d.sample()
    d.symlink(b"l", b"t" * 4096)
