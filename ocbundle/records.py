"""Batches of entries and journals, to canonical MessagePack and back.

Implements sections 9.4 and 9.6 of the specification, as far as one row can break it; what rows say of one another is
for :mod:`ocbundle.sequencing`.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ocbundle import columns, limits, paths
from ocbundle.acl import AccessList, Grant
from ocbundle.canonical import Map, encoding_first, pack, unpack, unpack_any, unpack_map
from ocbundle.errors import LimitExceeded, Malformed
from ocbundle.model import Capture, Entry, Extent, Kind, Reason, Skipped

if TYPE_CHECKING:
    from ocbundle.sources import Metadata

_MAX: Final = limits.MAX_INTEGER
_ROW: Final = 12
_SKIPPED_ROW: Final = 5
_KINDS: Final = tuple(Kind)
_NONE: Final = type(None)
_Shape = tuple[type, ...]
_SHAPES: Final[dict[int, _Shape]] = {
    # mode uid gid mtime_ns, size sha256 extents, target
    Kind.DIRECTORY: (int, int, int, int, _NONE, _NONE, _NONE, _NONE),
    Kind.FILE: (int, int, int, int, int, bytes, list, _NONE),
    Kind.SYMLINK: (int, int, int, int, _NONE, _NONE, _NONE, bytes),
    Kind.HARDLINK: (_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, bytes),
}
"""Types of a row's fields 3 to 10, by kind (section 9.4)."""
_JOURNAL_SHAPES: Final[dict[int, _Shape]] = {
    **_SHAPES,
    Kind.FILE: (int, int, int, int, int, _NONE, list, _NONE),
}
"""The same in a journal, which comes before a digest is worth keeping (section 9.6)."""
_LISTS: Final = ("acl", "default_acl")
_EXTRA: Final = frozenset({"capture", "xattrs", *_LISTS})
_GRANTS: Final = frozenset({(int, number, name, int) for number in (int, _NONE) for name in (str, _NONE)})
"""Types of the fields of an access control list's entry: tag, id, name, rights."""
_NO_EXTRA: Final = (Capture.PLAIN, (), (), ())
"""The last four fields of an entry that has nothing extra."""
_E = TypeVar("_E", bound=enum.StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one ENTR section holds (section 9.4)."""

    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]


Row = list[Any]
"""The twelve fields of an entry (section 9.4). A writer fills in the segments' numbers before it is encoded."""


def entry_row(entry: Entry, root: int) -> Row:
    """The row of *entry*, whose root is number *root*."""
    if entry.kind is Kind.HARDLINK:
        return [root, entry.path, 3, None, None, None, None, None, None, None, entry.target, None]
    is_file = entry.kind is Kind.FILE
    return [
        root,
        entry.path,
        int(entry.kind),
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime_ns,
        entry.size if is_file else None,
        entry.sha256 if is_file else None,
        entry.extents if is_file else None,
        entry.target,
        _extra(entry.capture, entry) if entry.capture or entry.xattrs or entry.acl or entry.default_acl else None,
    ]


def file_row(
    metadata: Metadata, root: int, *, size: int, sha256: bytes, extents: list[list[Any]], capture: Capture
) -> Row:
    """The row of a file, as :func:`entry_row`; *extents* are lists of segment, offset and length."""
    return [
        root,
        metadata.path,
        1,
        metadata.mode,
        metadata.uid,
        metadata.gid,
        metadata.mtime_ns,
        size,
        sha256,
        extents,
        None,
        _extra(capture, metadata) if capture or metadata.xattrs or metadata.acl else None,
    ]


def row_length(row: Row) -> int:
    """An upper bound for the bytes that *row* takes, in a batch or, without its root's name, in a journal."""
    length = 96 + len(row[1])
    if row[9]:
        length += 20 * len(row[9])
    if row[10]:
        length += len(row[10])
    if row[11]:
        length += len(pack(row[11]))
    return length


def encode_batch(entries: Sequence[Row], skipped: Sequence[Skipped], *, roots: Mapping[str, int]) -> bytes:
    """The raw bytes of an ENTR section; *roots* gives each root's number."""
    left_out = [[roots[row.root], row.path, row.kind, str(row.reason), row.detail] for row in skipped]
    return pack({"entries": entries, "skipped": left_out})


def encode_journal(entries: Sequence[Row], *, roots: Sequence[str]) -> bytes:
    """The raw bytes of a journal (section 9.6): rows by the root's name, without digests."""
    return pack([[roots[row[0]], *row[1:8], None, *row[9:]] for row in entries])


def _extra(capture: Capture, described: Entry | Metadata) -> dict[str, object]:
    extra: dict[str, object] = {}
    if described.acl:
        extra["acl"] = _list(described.acl)
    if capture:
        extra["capture"] = str(capture)
    if isinstance(described, Entry) and described.default_acl:
        extra["default_acl"] = _list(described.default_acl)
    if described.xattrs:
        extra["xattrs"] = [[name, value] for name, value in sorted(described.xattrs)]
    return extra


def _list(grants: AccessList) -> list[list[object]]:
    return [[grant.tag, grant.id, grant.name, grant.rights] for grant in grants]


def _rows(batch: Map, key: str) -> list[Any]:
    rows = batch.get(key, list)
    if len(rows) > limits.MAX_ROWS:
        raise LimitExceeded(f"{len(rows)} rows in a batch", rule="R-9.18")
    return rows


def decode_batch(data: bytes, *, roots: Sequence[str]) -> Batch:
    """Read an ENTR section's raw bytes; *roots* are the names by index.

    What rows say of one another (order, parents, links, totals) is for :class:`Sequencer` to check.

    Raises:
        Malformed, LimitExceeded, UnsupportedVersion: a rule of sections 8 and 9 is broken.
    """
    value = unpack_map(data)

    def root_of(index: object) -> str:
        if type(index) is not int:
            raise Malformed("an entry's root isn't a number", rule="R-9.16")
        if not 0 <= index < len(roots):
            raise Malformed("an entry names a root that isn't there", rule="R-9.5")
        return roots[index]

    with encoding_first(value):
        batch = Map(value, "entries", frozenset({"entries", "skipped"}), 1)
        entries, skipped = _rows(batch, "entries"), _rows(batch, "skipped")
        return Batch(
            entries=tuple(
                [
                    entry or _decode_row(row, root_of, _SHAPES, 3)
                    for entry, row in zip(columns.decode(entries, roots), entries, strict=True)
                ]
            ),
            skipped=tuple(_decode_skipped(row, root_of) for row in skipped),
        )


def decode_journal(data: bytes) -> tuple[Entry, ...]:
    """Read a journal's raw bytes. The entries carry no digest."""
    rows = unpack(data)
    known: set[str] = set()

    def root_of(name: object) -> str:
        if type(name) is not str:
            raise Malformed("a journal's row doesn't name its root", rule="R-9.16")
        if name not in known:
            paths.check_root_name(name)
            known.add(name)
        return name

    with encoding_first(rows):
        if type(rows) is not list:
            raise Malformed("a journal isn't a list", rule="R-7.8")
        return tuple([_decode_row(row, root_of, _JOURNAL_SHAPES, 2) for row in rows])


def check_journal(data: bytes, known: Mapping[bytes, Entry]) -> None:
    """Hold a journal's raw bytes to their rules; *known* are entries, by path, that have been held to theirs.

    A journal mostly repeats the rows of the batch behind it. One that is byte for byte what it would be if it did needs
    no look at each field.

    Raises:
        Malformed, LimitExceeded, UnsupportedVersion: as :func:`decode_journal`.
    """
    try:
        expected = pack([_journal_row(known[row[1]]) for row in unpack_any(data)])
    except (LookupError, TypeError):  # another row, or none at all
        expected = b""
    if expected != data:
        decode_journal(data)


def _journal_row(entry: Entry) -> Sequence[object]:
    if entry.kind is Kind.FILE and entry[11:] == _NO_EXTRA:  # as nearly all are
        return (*entry[:8], None, entry.extents, None, None)
    row = entry_row(entry, 0)
    row[0], row[8] = entry.root, None
    return row


def _decode_row(row: object, root_of: Callable[[object], str], shapes: Mapping[int, _Shape], depth: int) -> Entry:
    """The entry that *row* is; *depth* is the row's own."""
    if type(row) is not list or len(row) != _ROW:
        raise Malformed("an entry's row hasn't twelve fields", rule="R-9.16")
    root, path, kind, mode, uid, gid, mtime_ns, size, sha256, extents, target, extra = row
    # A million rows pass here: one comparison holds eight fields to their types, and to being set for this kind only.
    if type(path) is not bytes or type(kind) is not int or tuple(map(type, row[3:11])) != shapes.get(kind):
        raise Malformed("an entry's field is missing, or of another type", path=_shown(path), rule="R-9.16")
    if (sha256 is not None and len(sha256) != 32) or (extra is not None and (kind == 3 or type(extra) is not dict)):
        raise Malformed("an entry's digest or extra is of another shape", path=_shown(path), rule="R-9.16")
    name = root_of(root)
    if kind == Kind.HARDLINK:
        return Entry(root=name, path=path, kind=Kind.HARDLINK, target=target)
    size = size or 0
    if not 0 <= mode | uid | gid | size <= _MAX:  # all bits of the limit are set, so no number hides another
        raise Malformed("an entry's number is out of range", path=_shown(path), rule="R-8.8")
    if not limits.MIN_TIME_NS <= mtime_ns <= limits.MAX_TIME_NS:
        raise Malformed("an entry's time is out of range", path=_shown(path), rule="R-8.8")
    described = _NOTHING if extra is None else _decode_extra(extra, path, depth + 1)
    return Entry(
        root=name,
        path=path,
        kind=_KINDS[kind],
        mode=mode,
        uid=uid,
        gid=gid,
        mtime_ns=mtime_ns,
        size=size,
        sha256=sha256,
        extents=_decode_extents(extents, path) if extents else (),
        target=target,
        capture=described.capture,
        xattrs=described.xattrs,
        acl=described.acl,
        default_acl=described.default_acl,
    )


def _decode_extents(extents: list[Any], path: bytes) -> tuple[Extent, ...]:
    decoded = []
    for extent in extents:
        if type(extent) is not list or len(extent) != 3:
            raise Malformed("an extent hasn't three fields", path=_shown(path), rule="R-9.16")
        segment, offset, length = extent
        if type(offset) is not int or type(length) is not int or (type(segment) is not int and segment is not None):
            raise Malformed("an extent's field is of another type", path=_shown(path), rule="R-9.16")
        if not (0 <= (segment or 0) <= _MAX and 0 <= offset <= _MAX and 0 <= length <= _MAX):
            raise Malformed("an extent's number is out of range", path=_shown(path), rule="R-8.8")
        if length == 0 or (segment is None and offset):
            raise Malformed("an extent is empty, or a hole has an offset", path=_shown(path), rule="R-9.10")
        decoded.append(Extent(segment, offset, length))
    return tuple(decoded)


def _shown(path: object) -> str | None:
    return paths.display(path) if isinstance(path, bytes) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extra:
    capture: Capture = Capture.PLAIN
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    acl: AccessList = ()
    default_acl: AccessList = ()


_NOTHING: Final = _Extra()


def _decode_extra(extra: dict[str, Any], path: bytes, depth: int) -> _Extra:
    if not extra:
        raise Malformed("an entry's extra is an empty map", path=paths.display(path), rule="R-9.16")
    capture, pairs = extra.get("capture", ""), extra.get("xattrs", [])
    lists = [extra[key] for key in _LISTS if key in extra]
    if type(capture) is not str or type(pairs) is not list or not all(map(_is_pair, pairs)):
        raise Malformed("an entry's extra has a field of another type", path=paths.display(path), rule="R-9.16")
    if not all(type(rows) is list and rows and all(map(_is_grant, rows)) for rows in lists):
        raise Malformed("an access control list is of another shape", path=paths.display(path), rule="R-9.16")
    if len(pack(extra)) > limits.MAX_EXTRA:
        raise LimitExceeded("an entry's extra is too long", path=paths.display(path), rule="R-9.15")
    Map(extra, paths.display(path), _EXTRA, depth)
    for tag, number, _, rights in itertools.chain.from_iterable(lists):
        if not (0 <= tag <= _MAX and 0 <= (number or 0) <= _MAX and 0 <= rights <= _MAX):
            raise Malformed("a number of an access control list is out of range", path=_shown(path), rule="R-8.8")
    xattrs: list[tuple[bytes, bytes]] = []
    for attribute, value in pairs:
        if not attribute.startswith(b"user.") or b"\0" in attribute or (xattrs and attribute <= xattrs[-1][0]):
            raise Malformed(
                "extended attributes beyond user.*, or out of order", path=paths.display(path), rule="R-9.19"
            )
        xattrs.append((attribute, value))
    return _Extra(
        capture=(_member(Capture, capture) if capture else None) or Capture.PLAIN,
        xattrs=tuple(xattrs),
        acl=tuple(Grant(*row) for row in extra.get("acl", ())),
        default_acl=tuple(Grant(*row) for row in extra.get("default_acl", ())),
    )


def _is_pair(pair: object) -> bool:
    return type(pair) is list and [type(item) for item in pair] == [bytes, bytes]


def _is_grant(row: object) -> bool:
    return type(row) is list and tuple(map(type, row)) in _GRANTS


def _decode_skipped(row: object, root_of: Callable[[object], str]) -> Skipped:
    if type(row) is not list or len(row) != _SKIPPED_ROW:
        raise Malformed("a skipped row hasn't five fields", rule="R-9.16")
    root, path, kind, reason, detail = row
    if type(path) is not bytes or type(kind) is not str or type(reason) is not str:
        raise Malformed("a skipped row's field is of another type", rule="R-9.16")
    if detail is not None and type(detail) is not str:
        raise Malformed("a skipped row's detail isn't text", rule="R-9.16")
    name = root_of(root)
    paths.check(path)
    return Skipped(root=name, path=path, kind=kind, reason=_member(Reason, reason) or reason, detail=detail)


def _member(kind: type[_E], value: str) -> _E | None:
    """The member of an enumeration that *value* names; a newer writer may name one that isn't known here."""
    try:
        return kind(value)
    except ValueError:
        return None
