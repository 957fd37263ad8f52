"""Manifest and journal to canonical MessagePack and back; the only module that knows msgpack.

Implements sections 8 and 9 of the specification. Every value has one encoding; a decoder refuses every other, so that
two readers can't see two manifests in the same bytes.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgpack

from ocbundle import limits, paths
from ocbundle.errors import AuthenticationFailed, BundleError, LimitExceeded, Malformed, UnsupportedVersion
from ocbundle.model import (
    Capture,
    Entry,
    Extent,
    Host,
    Kind,
    Manifest,
    Metadata,
    Profile,
    Reason,
    Role,
    Root,
    Skipped,
    Totals,
    Workspace,
)

_INT64: Final = 1 << 63
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
_T = TypeVar("_T")
_E = TypeVar("_E", bound=enum.StrEnum)


# --- canonical MessagePack ------------------------------------------------------------------------------------------


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes) -> dict[str, Any]:
    """The map that *data* encodes canonically."""
    value = _unpack_any(data)
    if not isinstance(value, dict):
        raise Malformed("a record isn't a map", rule="R-8.2")
    return value


def _unpack_any(data: bytes) -> Any:  # noqa: ANN401 - it is narrowed field by field
    try:
        value = msgpack.unpackb(
            data, raw=False, strict_map_key=False, ext_hook=_refuse_extension, object_pairs_hook=_ordered_map
        )
    except msgpack.StackError as error:
        raise Malformed("a record is nested too deeply", rule="R-8.4") from error
    except UnicodeDecodeError as error:
        raise Malformed("a record's text isn't UTF-8", rule="R-8.5") from error
    except ValueError as error:  # every other error of msgpack's is one
        raise Malformed("a record isn't MessagePack", rule="R-8.6") from error
    try:
        packed = _pack(value)
    except ValueError as error:  # an older msgpack unpacks deeper nesting than it packs
        raise Malformed("a record is nested too deeply", rule="R-8.4") from error
    if packed != data:
        raise Malformed("a record isn't canonical MessagePack", rule=_broken_form(packed, data))
    return value


def _broken_form(canonical: bytes, data: bytes) -> str:
    """The rule that *data* breaks where it first differs, by what stands there."""
    head = next(found for wanted, found in zip(canonical, data, strict=False) if wanted != found)
    if 0xCC <= head <= 0xD3:  # an integer
        return "R-8.1"
    return "R-8.3" if head == 0xCA else "R-8.5"  # a short float; a longer header


def _refuse_extension(_code: int, _data: bytes) -> object:
    raise Malformed("a record holds an extension type", rule="R-8.3")


def _ordered_map(pairs: list[tuple[object, object]]) -> dict[str, object]:
    # The library keeps the last of two equal keys, and takes any order.
    previous = ""
    for position, (key, _) in enumerate(pairs):
        if not isinstance(key, str):
            raise Malformed("a map key isn't text", rule="R-8.2")
        if position and key.encode() <= previous.encode():
            raise Malformed("map keys aren't unique and ascending", rule="R-8.2")
        previous = key
    return dict(pairs)  # type: ignore[arg-type]  # every key was found to be text


def _check_unknown(value: object, depth: int) -> None:
    """Hold a value that this version ignores to the profile all the same."""
    for item in _scalars(value, depth):
        if type(item) is int and not 0 <= item <= limits.MAX_INTEGER:
            raise Malformed("an integer is out of range", rule="R-8.8")


def _scalars(value: object, depth: int) -> Iterator[object]:
    """Everything in *value* but arrays and maps, held to R-8.3 and R-8.4."""
    if depth > limits.MAX_DEPTH:
        raise Malformed("a record is nested too deeply", rule="R-8.4")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _scalars(item, depth + 1)
    elif value is None or isinstance(value, str | bytes | int):
        yield value
    else:
        raise Malformed("a record holds a float or an extension type", rule="R-8.3")


@contextlib.contextmanager
def _encoding_first(value: object) -> Iterator[None]:
    """Report a value that has no place in the profile before anything that is wrong with its meaning.

    Nothing of the kind passes as a field of the right type, so it is looked for only when something is wrong.
    """
    try:
        yield
    except BundleError:
        for _ in _scalars(value, 1):
            pass
        raise


@dataclass(frozen=True, slots=True)
class _Map:
    """A decoded map and what it is called in messages; its fields are asked for by name and type."""

    value: dict[str, Any]
    label: str
    known: frozenset[str]
    depth: int

    def __post_init__(self) -> None:
        for key, item in self.value.items():
            if key in self.known:
                continue
            if key.startswith("!"):
                raise UnsupportedVersion(
                    f"{self.label} has a field that this reader must know and doesn't",
                    rule="R-8.7",
                    hint="install a newer ocbundle",
                )
            _check_unknown(item, self.depth + 1)

    def get(self, key: str, kind: type[_T]) -> _T:
        item = self.value.get(key)
        if type(item) is not kind:
            raise Malformed(f"{self.label}: {key} is missing or of another type", rule="R-9.0")
        if kind is int and not 0 <= item <= limits.MAX_INTEGER:  # type: ignore[operator]  # it is an int
            raise Malformed(f"{self.label}: {key} is out of range", rule="R-8.8")
        return item

    def optional(self, key: str, kind: type[_T]) -> _T | None:
        return None if self.value.get(key) is None else self.get(key, kind)

    def strings(self, key: str) -> tuple[str, ...]:
        items = self.get(key, list)
        if not all(type(item) is str for item in items):
            raise Malformed(f"{self.label}: {key} isn't a list of text", rule="R-9.0")
        return tuple(items)

    def maps(self, key: str, known: Mapping[str, object]) -> Iterator[_Map]:
        for item in self.get(key, list):
            if type(item) is not dict:
                raise Malformed(f"{self.label}: {key} isn't a list of maps", rule="R-9.0")
            yield _Map(item, f"{self.label} {key}", frozenset(known), self.depth + 2)

    def map(self, key: str, known: Mapping[str, object]) -> _Map:
        return _Map(self.get(key, dict), f"{self.label} {key}", frozenset(known), self.depth + 1)


# --- the head -------------------------------------------------------------------------------------------------------


def encode_manifest(manifest: Manifest) -> bytes:
    """The raw bytes of MANI (section 9.1)."""
    return _pack(_head(manifest))


def _head(manifest: Manifest) -> dict[str, object]:
    return {
        "bundle_id": manifest.bundle_id,
        "created": manifest.created,
        "generator": manifest.generator,
        "groups": [[gid, name] for gid, name in sorted(manifest.groups.items())],
        "profiles": [_profile(profile) for profile in manifest.profiles],
        "roots": [_root(root) for root in manifest.roots],
        "source": _host(manifest.source),
        "totals": _totals(manifest.totals),
        "users": [[uid, name] for uid, name in sorted(manifest.users.items())],
    }


def _host(host: Host) -> dict[str, object]:
    return {
        "gid": host.gid,
        "home": host.home,
        "host": host.host,
        "os": host.os,
        "uid": host.uid,
        "user": host.user,
    }


def _totals(totals: Totals) -> dict[str, object]:
    return {
        "batches": totals.batches,
        "bytes": totals.size,
        "entries": totals.entries,
        "segments": totals.segments,
        "skipped": totals.skipped,
    }


def _root(root: Root) -> dict[str, object]:
    return {"name": root.name, "profile": root.profile, "role": str(root.role), "source": root.source}


def _profile(profile: Profile) -> dict[str, object]:
    return {
        "agents": list(profile.agents),
        "channels": list(profile.channels),
        "config": profile.config,
        "era": profile.era,
        "mode": profile.mode,
        "name": profile.name,
        "plugins": list(profile.plugins),
        "port": profile.port,
        "schemas": dict(sorted(profile.schemas.items(), key=lambda item: item[0].encode())),
        "secrets": list(profile.secrets),
        "state": profile.state,
        "version": profile.version,
        "workspaces": [_workspace(workspace) for workspace in profile.workspaces],
    }


def _workspace(workspace: Workspace) -> dict[str, object]:
    return {"agent": workspace.agent, "path": workspace.path, "root": workspace.root}


# The keys that a decoder knows are those that the encoder writes.
_KNOWN_HOST: Final = _host(Host())
_KNOWN_TOTALS: Final = _totals(Totals())
_KNOWN_ROOT: Final = _root(Root(name="x", role=Role.EXTRA, source=b""))
_KNOWN_WORKSPACE: Final = _workspace(Workspace(agent="", root=""))
_KNOWN_PROFILE: Final = _profile(Profile(name="", state=""))
_KNOWN_HEAD: Final = _head(Manifest(bundle_id=b"", created=0, generator="", source=Host(), roots=()))


def decode_manifest(data: bytes, *, bundle_id: bytes) -> Manifest:
    """Read MANI's raw bytes.

    Raises:
        AuthenticationFailed: it is another bundle's.
        Malformed, LimitExceeded, UnsupportedVersion: a rule of sections 8 and 9 is broken.
    """
    value = _unpack(data)
    with _encoding_first(value):
        return _decode_head(_Map(value, "manifest", frozenset(_KNOWN_HEAD), 1), bundle_id)


def _decode_head(head: _Map, bundle_id: bytes) -> Manifest:
    if head.get("bundle_id", bytes) != bundle_id:
        raise AuthenticationFailed("the manifest is another bundle's", rule="R-9.1")
    roots = tuple(_decode_root(item) for item in head.maps("roots", _KNOWN_ROOT))
    profiles = tuple(_decode_profile(item) for item in head.maps("profiles", _KNOWN_PROFILE))
    _check_names(roots, profiles)
    source = head.map("source", _KNOWN_HOST)
    totals = head.map("totals", _KNOWN_TOTALS)
    return Manifest(
        bundle_id=bundle_id,
        created=head.get("created", int),
        generator=head.get("generator", str),
        source=Host(
            host=source.get("host", str),
            os=source.get("os", str),
            user=source.get("user", str),
            uid=source.get("uid", int),
            gid=source.get("gid", int),
            home=source.get("home", bytes),
        ),
        roots=roots,
        profiles=profiles,
        users=_decode_owners(head, "users"),
        groups=_decode_owners(head, "groups"),
        totals=Totals(
            entries=totals.get("entries", int),
            skipped=totals.get("skipped", int),
            size=totals.get("bytes", int),
            segments=totals.get("segments", int),
            batches=totals.get("batches", int),
        ),
    )


def _check_names(roots: Sequence[Root], profiles: Sequence[Profile]) -> None:
    if len(roots) > limits.MAX_ROOTS:
        raise LimitExceeded(f"{len(roots)} roots", rule="R-9.4")
    names = {root.name for root in roots}
    if len(names) < len(roots):
        raise Malformed("two roots have one name", rule="R-9.4")
    if len({profile.name for profile in profiles}) < len(profiles):
        raise Malformed("two profiles have one name", rule="R-9.5")
    for profile in profiles:
        if not names.issuperset({profile.state, *(workspace.root for workspace in profile.workspaces)}):
            raise Malformed("a profile names a root that isn't there", path=paths.display(profile.name), rule="R-9.5")


def _decode_owners(head: _Map, key: str) -> dict[int, str]:
    owners: dict[int, str] = {}
    previous = -1
    for row in head.get(key, list):
        if type(row) is not list or [type(item) for item in row] != [int, str]:
            raise Malformed(f"manifest: {key} isn't a list of number and name", rule="R-9.0")
        number, name = row
        if not 0 <= number <= limits.MAX_INTEGER:
            raise Malformed(f"manifest: a number of {key} is out of range", rule="R-8.8")
        if number <= previous:
            raise Malformed(f"manifest: {key} aren't ascending", rule="R-9.3")
        owners[number] = name
        previous = number
    return owners


def _decode_root(item: _Map) -> Root:
    role = item.get("role", str)
    return Root(
        name=item.get("name", str),
        role=_member(Role, role) or Role.EXTRA,
        source=item.get("source", bytes),
        profile=item.optional("profile", str),
    )


def _decode_profile(item: _Map) -> Profile:
    schemas = item.get("schemas", dict)
    if not all(type(version) is int for version in schemas.values()):
        raise Malformed("manifest profiles: schemas aren't versions by path", rule="R-9.0")
    if not all(0 <= version <= limits.MAX_INTEGER for version in schemas.values()):
        raise Malformed("manifest profiles: a version of schemas is out of range", rule="R-8.8")
    workspaces = []
    for workspace in item.maps("workspaces", _KNOWN_WORKSPACE):
        path = workspace.get("path", bytes)
        paths.check(path)
        workspaces.append(Workspace(agent=workspace.get("agent", str), root=workspace.get("root", str), path=path))
    return Profile(
        name=item.get("name", str),
        state=item.get("state", str),
        config=item.optional("config", bytes),
        workspaces=tuple(workspaces),
        mode=item.optional("mode", str),
        port=item.optional("port", int),
        version=item.optional("version", str),
        era=item.optional("era", str),
        schemas=schemas,
        agents=item.strings("agents"),
        channels=item.strings("channels"),
        plugins=item.strings("plugins"),
        secrets=item.strings("secrets"),
    )


# --- batches of entries ---------------------------------------------------------------------------------------------


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
        entry.kind.value,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime_ns,
        entry.size if is_file else None,
        entry.sha256 if is_file else None,
        [[extent.segment, extent.offset, extent.length] for extent in entry.extents] if is_file else None,
        entry.target,
        _extra(entry.capture, entry.xattrs),
    ]


def file_row(
    metadata: Metadata, root: int, *, size: int, sha256: bytes, extents: list[list[int]], capture: Capture
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
        _extra(capture, metadata.xattrs) if capture or metadata.xattrs else None,
    ]


def row_length(row: Row) -> int:
    """An upper bound for the bytes that *row* takes, in a batch or, without its root's name, in a journal."""
    extra = 0 if row[11] is None else len(_pack(row[11]))
    return 96 + len(row[1]) + len(row[10] or b"") + 20 * len(row[9] or ()) + extra


def encode_batch(entries: Sequence[Row], skipped: Sequence[Skipped], *, roots: Mapping[str, int]) -> bytes:
    """The raw bytes of an ENTR section; *roots* gives each root's number."""
    left_out = [[roots[row.root], row.path, row.kind, str(row.reason), row.detail] for row in skipped]
    return _pack({"entries": entries, "skipped": left_out})


def encode_journal(entries: Sequence[Row], *, roots: Sequence[str]) -> bytes:
    """The raw bytes of a journal (section 9.6): rows by the root's name, without digests."""
    return _pack([[roots[row[0]], *row[1:8], None, *row[9:]] for row in entries])


def _extra(capture: Capture, xattrs: Sequence[tuple[bytes, bytes]]) -> dict[str, object] | None:
    extra: dict[str, object] = {}
    if capture:
        extra["capture"] = str(capture)
    if xattrs:
        extra["xattrs"] = [[name, value] for name, value in sorted(xattrs)]
    return extra or None


def decode_batch(data: bytes, *, roots: Sequence[str]) -> Batch:
    """Read an ENTR section's raw bytes; *roots* are the names by index.

    What rows say of one another (order, parents, links, totals) is for :class:`Sequencer` to check.

    Raises:
        Malformed, LimitExceeded, UnsupportedVersion: a rule of sections 8 and 9 is broken.
    """
    value = _unpack(data)

    def root_of(index: object) -> str:
        if type(index) is not int:
            raise Malformed("an entry's root isn't a number", rule="R-9.16")
        if not 0 <= index < len(roots):
            raise Malformed("an entry names a root that isn't there", rule="R-9.5")
        return roots[index]

    with _encoding_first(value):
        batch = _Map(value, "entries", frozenset({"entries", "skipped"}), 1)
        return Batch(
            entries=tuple(_decode_row(row, root_of, _SHAPES) for row in batch.get("entries", list)),
            skipped=tuple(_decode_skipped(row, root_of) for row in batch.get("skipped", list)),
        )


def decode_journal(data: bytes) -> tuple[Entry, ...]:
    """Read a journal's raw bytes. The entries carry no digest."""
    rows = _unpack_any(data)
    if type(rows) is not list:
        raise Malformed("a journal isn't a list", rule="R-7.8")

    def root_of(name: object) -> str:
        if type(name) is not str:
            raise Malformed("a journal's row doesn't name its root", rule="R-9.16")
        paths.check_root_name(name)
        return name

    with _encoding_first(rows):
        return tuple(_decode_row(row, root_of, _JOURNAL_SHAPES) for row in rows)


def _decode_row(row: object, root_of: Callable[[object], str], shapes: Mapping[int, _Shape]) -> Entry:
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
    if not (0 <= mode <= _MAX and 0 <= uid <= _MAX and 0 <= gid <= _MAX and 0 <= size <= _MAX):
        raise Malformed("an entry's number is out of range", path=_shown(path), rule="R-8.8")
    if not -_INT64 <= mtime_ns < _INT64:
        raise Malformed("an entry's time is out of range", path=_shown(path), rule="R-8.8")
    capture, xattrs = (Capture.PLAIN, ()) if extra is None else _decode_extra(extra, path)
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
        capture=capture,
        xattrs=xattrs,
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


def _decode_extra(extra: dict[str, Any], path: bytes) -> tuple[Capture, tuple[tuple[bytes, bytes], ...]]:
    if not extra:
        raise Malformed("an entry's extra is an empty map", path=paths.display(path), rule="R-9.16")
    capture, pairs = extra.get("capture", ""), extra.get("xattrs", [])
    if type(capture) is not str or type(pairs) is not list or not all(map(_is_pair, pairs)):
        raise Malformed("an entry's extra has a field of another type", path=paths.display(path), rule="R-9.16")
    if len(_pack(extra)) > limits.MAX_EXTRA:
        raise LimitExceeded("an entry's extra is too long", path=paths.display(path), rule="R-9.15")
    _Map(extra, paths.display(path), frozenset({"capture", "xattrs"}), 4)
    xattrs: list[tuple[bytes, bytes]] = []
    for attribute, value in pairs:
        if not attribute.startswith(b"user.") or b"\0" in attribute or (xattrs and attribute <= xattrs[-1][0]):
            raise Malformed(
                "extended attributes beyond user.*, or out of order", path=paths.display(path), rule="R-9.19"
            )
        xattrs.append((attribute, value))
    return (_member(Capture, capture) if capture else None) or Capture.PLAIN, tuple(xattrs)


def _is_pair(pair: object) -> bool:
    return type(pair) is list and [type(item) for item in pair] == [bytes, bytes]


def _decode_skipped(row: object, root_of: Callable[[object], str]) -> Skipped:
    if type(row) is not list or len(row) != _SKIPPED_ROW:
        raise Malformed("a skipped row hasn't five fields", rule="R-9.16")
    root, path, kind, reason, detail = row
    if type(path) is not bytes or type(kind) is not str or type(reason) is not str:
        raise Malformed("a skipped row's field is of another type", rule="R-9.16")
    if detail is not None and type(detail) is not str:
        raise Malformed("a skipped row's detail isn't text", rule="R-9.16")
    paths.check(path)
    return Skipped(root=root_of(root), path=path, kind=kind, reason=_member(Reason, reason) or reason, detail=detail)


def _member(kind: type[_E], value: str) -> _E | None:
    """The member of an enumeration that *value* names; a newer writer may name one that isn't known here."""
    try:
        return kind(value)
    except ValueError:
        return None


# --- what rows say of one another -----------------------------------------------------------------------------------


class Sequencer:
    """Holds entries, in the order they stand in, to the rules that no single row can break.

    Order and parents (R-9.6, R-9.8) show with a stack, since entries ascend as a walk does; so a million of them take
    no memory. Only the targets of hard links are remembered.
    """

    def __init__(self, roots: Sequence[str], *, max_total: int = limits.DEFAULT_MAX_TOTAL) -> None:
        self._index = {name: index for index, name in enumerate(roots)}
        self._max_total = max_total
        self._last: tuple[int, bytes] = (-1, b"")
        self._last_skipped: tuple[int, bytes] = (-1, b"")
        self._directories: list[bytes] = []
        self.link_targets: set[tuple[str, bytes]] = set()
        """What hard links point to: each must turn out to be a file (R-9.12)."""
        self.entries = 0
        self.skipped = 0
        self.size = 0

    def entry(self, entry: Entry) -> None:
        """Take the next entry.

        Raises:
            Malformed: it is out of order, or its parent isn't a directory before it.
            LimitExceeded: too many entries, or too many bytes in all.
        """
        index = self._index[entry.root]
        key = (index, paths.sort_key(entry.path))
        if key <= self._last:
            raise Malformed("entries aren't ascending", path=entry.name, rule="R-9.6")
        if index != self._last[0]:
            self._directories.clear()
            self._begin_root(entry)
        else:
            self._descend(entry)
        self._last = key
        if entry.kind is Kind.DIRECTORY:
            self._directories.append(entry.path)
        elif entry.kind is Kind.HARDLINK:
            if paths.sort_key(entry.target or b"") >= key[1]:
                raise Malformed("a hard link's target doesn't stand before it", path=entry.name, rule="R-9.12")
            self.link_targets.add((entry.root, entry.target or b""))
        self.entries += 1
        self.size += entry.size
        if self.entries > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} entries", rule="R-9.18")
        if self.size > self._max_total:
            raise LimitExceeded(f"more than {self._max_total} bytes in all", rule="R-9.18")

    @staticmethod
    def _begin_root(entry: Entry) -> None:
        if entry.path:
            raise Malformed("a root doesn't begin with itself", path=entry.name, rule="R-9.8")
        if entry.kind not in {Kind.DIRECTORY, Kind.FILE}:
            raise Malformed("a root is neither a directory nor a file", path=entry.name, rule="R-9.8")

    def _descend(self, entry: Entry) -> None:
        parent = paths.parent(entry.path)
        while self._directories and self._directories[-1] != parent:
            self._directories.pop()
        if not self._directories:
            raise Malformed("an entry's parent isn't a directory before it", path=entry.name, rule="R-9.8")

    def skip(self, skipped: Skipped) -> None:
        """Take the next skipped row.

        Raises:
            Malformed: it is out of order.
        """
        key = (self._index[skipped.root], paths.sort_key(skipped.path))
        if key <= self._last_skipped:
            raise Malformed("skipped rows aren't ascending", path=skipped.name, rule="R-9.6")
        self._last_skipped = key
        self.skipped += 1
        if self.skipped > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} skipped rows", rule="R-9.18")

    def finish(self, totals: Totals) -> None:
        """Hold what was counted to the totals of the manifest.

        Raises:
            Malformed: they differ.
        """
        if (self.entries, self.skipped, self.size) != (totals.entries, totals.skipped, totals.size):
            raise Malformed("the manifest's totals aren't those of its entries", rule="R-9.2")
