"""Vectors with faults that rows of batches break together, and against the content (section 9.4)."""

from __future__ import annotations

from spec.vectors.builder import (
    ENTR,
    EXTENTS,
    SEGM,
    SHA256,
    SIZE,
    Draft,
    Map,
    Row,
    frame,
    root,
    skippable,
)
from spec.vectors.cases import vector, vectors

# --- rows together --------------------------------------------------------------------------------------------------


@vector("R-9.6", "Malformed")
def entries_unordered(d: Draft) -> None:
    """Two entries stand in the wrong order."""
    d.directory(b"")
    d.file(b"b", b"1")
    d.file(b"a", b"2")


@vector("R-9.6", "Malformed")
def entry_twice(d: Draft) -> None:
    """Two entries have one path."""
    d.directory(b"")
    d.file(b"a", b"1")
    d.file(b"a", b"2")


@vector("R-9.6", "Malformed")
def entries_in_byte_order(d: Draft) -> None:
    """Entries ordered by the bytes of their paths, in which a-b comes before a/b."""
    d.directory(b"")
    d.directory(b"a")
    d.file(b"a-b", b"1")
    d.file(b"a/b", b"2")


@vector("R-9.6", "Malformed")
def roots_unordered(d: Draft) -> None:
    """The entries of the second root come first."""
    d.head["roots"] = [root("a"), root("b")]
    d.directory(b"", root=1)
    d.directory(b"", root=0)


@vector("R-9.6", "Malformed")
def batches_unordered(d: Draft) -> None:
    """The second batch begins before the end of the first."""
    d.directory(b"")
    d.file(b"b", b"1")
    d.new_batch()
    d.file(b"a", b"2")


@vectors("R-9.6", {"unordered": b"x", "twice": b"y"}, "Malformed")
def skipped_rows(d: Draft, path: bytes) -> None:
    """Skipped rows aren't ascending."""
    d.sample()
    d.skip(b"y", "file", "limit")
    d.skip(path, "file", "limit")


@vector("R-9.8", "Malformed")
def root_without_itself(d: Draft) -> None:
    """A root's first entry isn't the root."""
    d.file(b"a", b"x")


@vectors("R-9.8", {"symlink": 2, "hardlink": 3}, "Malformed")
def root_as_link(d: Draft, kind: int) -> None:
    """A root is a link."""
    if kind == 2:
        d.symlink(b"", b"/etc")
    else:
        d.hardlink(b"", b"a")


@vector("R-9.8", "Malformed")
def without_parent(d: Draft) -> None:
    """An entry's directory is missing."""
    d.directory(b"")
    d.file(b"dir/a", b"x")


@vector("R-9.8", "Malformed")
def parent_in_other_root(d: Draft) -> None:
    """An entry's directory is there in another root only."""
    d.head["roots"] = [root("a"), root("b")]
    d.directory(b"")
    d.directory(b"dir")
    d.directory(b"", root=1)
    d.file(b"dir/a", b"x", root=1)


@vectors("R-9.8", {"file": 1, "symlink": 2, "hardlink": 3}, "Malformed")
def below(d: Draft, kind: int) -> None:
    """An entry stands below something that is no directory: a write through it would leave the tree."""
    d.directory(b"")
    d.file(b"a", b"target")
    if kind == 1:
        d.file(b"d", b"x")
    elif kind == 2:
        d.symlink(b"d", b"/etc")
    else:
        d.hardlink(b"d", b"a")
    d.file(b"d/passwd", b"x")


@vector("R-9.8", "Malformed")
def below_single_file(d: Draft) -> None:
    """A root that is a file has another entry."""
    d.file(b"", b"x")
    d.file(b"a", b"y")


@vectors(
    "R-9.12",
    {
        "nothing": b"A",
        "directory": b"0",
        "root": b"",
        "itself": b"l",
        "later": b"z",
        "symlink": b"k",
        "hard_link": b"h",
    },
    "Malformed",
)
def hard_link(d: Draft, target: bytes) -> None:
    """A hard link's target isn't a file before it."""
    d.directory(b"")
    d.directory(b"0")
    d.file(b"a", b"1")
    d.hardlink(b"h", b"a")
    d.symlink(b"k", b"a")
    d.hardlink(b"l", target)
    d.file(b"z", b"2")


@vectors("R-9.7", {"upwards": b"../a", "absolute": b"/etc/shadow", "nul": b"a\0"}, "Malformed")
def hard_link_path(d: Draft, target: bytes) -> None:
    """A hard link's target isn't a path."""
    d.sample()
    d.hardlink(b"l", target)


@vector("R-9.12", "Malformed")
def hard_link_to_other_root(d: Draft) -> None:
    """A hard link's target is a file of another root only."""
    d.head["roots"] = [root("a"), root("b")]
    d.directory(b"")
    d.file(b"file", b"x")
    d.directory(b"", root=1)
    d.hardlink(b"link", b"file", root=1)


@vectors(
    "R-9.11",
    {
        "inside": ([[0, 0, 8]], [[0, 2, 4]]),
        "overlapping": ([[0, 0, 5]], [[0, 4, 4]]),
        "same_start": ([[0, 0, 4]], [[0, 0, 8]]),
        "same_end": ([[0, 0, 8]], [[0, 4, 4]]),
        "divided": ([[0, 0, 8]], [[0, 0, 4], [0, 4, 4]]),
        "one_of_two": ([[0, 0, 4], [None, 0, 2]], [[0, 0, 4]]),
        "before_other_holes": ([[0, 0, 4], [None, 0, 2]], [[0, 0, 4], [None, 0, 3]]),
    },
    "Malformed",
)
def overlap(d: Draft, pair: tuple[list[Row], list[Row]]) -> None:
    """Two files share some bytes of a segment, and aren't the same."""
    d.directory(b"")
    d.segments = [b"abcdefgh"]
    for path, value in zip((b"a", b"b"), pair, strict=True):
        data = b"".join(bytes(n) if s is None else d.segments[s][o : o + n] for s, o, n in value)
        d.file(path, data, extents=value)


@vectors("R-9.11", {"twice": [[0, 0, 4], [0, 0, 4]], "partly": [[0, 2, 4], [0, 0, 3]]}, "Malformed")
def overlap_with_itself(d: Draft, value: list[Row]) -> None:
    """A file names the same bytes twice."""
    d.directory(b"")
    d.segments = [b"abcdefgh"]
    d.file(b"a", b"".join(d.segments[s][o : o + n] for s, o, n in value), extents=value)


@vectors("R-9.17", {"file": b"a", "root": b""}, "Malformed")
def entry_and_skipped(d: Draft, path: bytes) -> None:
    """An entry is also listed as left out."""
    d.sample()
    d.skip(path, "file", "vanished")


@vector("R-9.17", "Malformed")
def entry_and_skipped_apart(d: Draft) -> None:
    """An entry is also listed as left out, in another batch."""
    d.sample()
    d.new_batch()
    d.skip(b"a", "file", "vanished")


@vectors(
    "R-9.18",
    {"entries": {"entries": 2**23 + 1}, "skipped": {"skipped": 2**23 + 1}, "bytes": {"bytes": 2**44 + 1}},
    "LimitExceeded",
)
def announced(d: Draft, totals: Map) -> None:
    """The head announces more than there may be: no batch is read."""
    d.sample()
    d.totals = totals
    d.change(ENTR, raw=b"")


@vector("R-9.18", "LimitExceeded")
def too_much(d: Draft) -> None:
    """One hole of more than 16 TiB."""
    d.directory(b"")
    row = d.file(b"a", b"")
    row[SIZE] = (16 << 40) + 1
    row[EXTENTS] = [[None, 0, row[SIZE]]]


# --- content --------------------------------------------------------------------------------------------------------


@vectors("R-9.14", {"file": b"a", "hole": b"hole", "empty": b"none", "shared": b"same"}, "ChecksumMismatch")
def digest(d: Draft, path: bytes) -> None:
    """A file's content isn't what its digest says, though every section is authentic."""
    d.sample()
    d.file(b"hole", bytes(100), extents=[[None, 0, 100]])
    d.file(b"none", b"")
    d.file(b"same", b"alpha\n", extents=d.row(b"a")[EXTENTS])
    d.row(path)[SHA256] = bytes(32)


@vector("R-7.6", "Malformed")
def unused_segment(d: Draft) -> None:
    """A segment that no file lies in is damaged inside: a full verification reads it all the same."""
    d.sample()
    d.segments.append(b"unused")
    d.change(SEGM, 1, frame=frame(b"", size=6, blocks=b"\x29\x00\x00short"))


@vector("R-7.7", "Malformed")
def unused_segment_padding(d: Draft) -> None:
    """A segment that no file lies in has padding that isn't zero."""
    d.sample()
    d.segments.append(b"unused")
    d.change(SEGM, 1, padding=skippable(1, b"hidden"))
