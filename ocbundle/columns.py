"""Rows of plain files, held to their rules a column at a time.

Implements the rules of section 9.4 of the specification for the rows that nearly all rows are: of a file with one
extent and nothing extra. A million of them pass, and a look at each field of each takes three times as long. It
vouches for rows or it doesn't: what is wrong with one is for :mod:`ocbundle.records` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, compress, repeat
from typing import Any, Final

from ocbundle import limits, paths
from ocbundle.model import Capture, Entry, Extent, Kind

_NONE: Final = type(None)
_TYPES: Final = [{kind} for kind in (int, bytes, int, int, int, int, int, int, bytes, list, _NONE, _NONE)]
_entry: Final = partial(tuple.__new__, Entry)
_extent: Final = partial(tuple.__new__, Extent)


def decode(rows: Sequence[Any], roots: Sequence[str]) -> list[Entry | None]:
    """The entry of each of *rows* that is plain, if all plain ones keep the rules that one row can break.

    Nothing stands for a row of another kind, and for every row where one breaks a rule; *roots* are the names by
    number.
    """
    try:
        plain = [row[2] == 1 and row[11] is None and len(row[9]) == 1 for row in rows]
    except (TypeError, LookupError):  # something isn't a row at all
        return [None] * len(rows)
    entries = iter(_decode(list(compress(rows, plain)), roots))
    return [next(entries, None) if each else None for each in plain]


def _decode(rows: list[list[Any]], roots: Sequence[str]) -> list[Entry]:
    """The entries of *rows*, or none at all."""
    if set(map(len, rows)) != {12}:
        return []
    columns = list(zip(*rows, strict=True))
    if [_types(column) for column in columns] != _TYPES:
        return []
    numbers, names, _, modes, uids, gids, times, sizes, digests, lists, _, _ = columns
    runs = list(chain.from_iterable(lists))
    if _types(runs) != {list} or set(map(len, runs)) != {3}:
        return []
    segments, offsets, lengths = zip(*runs, strict=True)
    ranges = (
        (numbers, 0, len(roots) - 1),
        (modes, 0, limits.MAX_MODE),
        (uids, 0, limits.MAX_INTEGER),
        (gids, 0, limits.MAX_INTEGER),
        (times, limits.MIN_TIME_NS, limits.MAX_TIME_NS),
        (segments, 0, limits.MAX_INTEGER),
        (offsets, 0, limits.MAX_INTEGER),
        (lengths, 1, limits.MAX_INTEGER),
    )
    keep_the_rules = (
        _types(chain(segments, offsets, lengths)) == {int}
        and all(least <= min(column) and max(column) <= most for column, least, most in ranges)
        and lengths == sizes
        and set(map(len, digests)) == {32}
        and paths.are_plain(names)
    )
    if not keep_the_rules:
        return []
    fields = zip(
        map(roots.__getitem__, numbers),
        names,
        repeat(Kind.FILE),
        modes,
        uids,
        gids,
        times,
        sizes,
        digests,
        zip(map(_extent, runs)),
        repeat(None),
        repeat(Capture.PLAIN),
        repeat(()),
        repeat(()),
        repeat(()),
    )
    return list(map(_entry, fields))


def _types(column: Iterable[object]) -> set[type]:
    return set(map(type, column))
