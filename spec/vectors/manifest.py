"""Vectors with faults in MessagePack (section 8) and in the head of the manifest (sections 9.1 to 9.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spec.vectors.builder import ENTR, MANI, SIZE, Draft, Map, block, frame, pack, profile, root, seeded
from spec.vectors.cases import vector, vectors

_SHORT = b"\xa7created\xce"


def _raw_head(d: Draft, change: Callable[[bytes], bytes]) -> None:
    d.sample()
    d.change(MANI, raw=change(d.head_bytes()))


def _replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(old, new, 1)


# --- MessagePack ----------------------------------------------------------------------------------------------------


@vectors(
    "R-8.1",
    {
        "uint32_as_uint64": _replace(_SHORT, b"\xa7created\xcf\0\0\0\0"),
        "fixint_as_uint8": _replace(b"\xa3gid\xcd\x03\xe8", b"\xa3gid\xcc\x07"),
        "fixint_as_uint16": _replace(b"\xa3gid\xcd\x03\xe8", b"\xa3gid\xcd\x00\x07"),
        "positive_as_int16": _replace(b"\xa3gid\xcd\x03\xe8", b"\xa3gid\xd1\x03\xe8"),
    },
    "Malformed",
)
def integer(d: Draft, change: Callable[[bytes], bytes]) -> None:
    """An integer in a longer form than it needs."""
    _raw_head(d, change)


@vector("R-8.1", "Malformed")
def integer_in_batch(d: Draft) -> None:
    """An integer of a row in a longer form than it needs."""
    d.sample()
    d.change(ENTR, raw=d.batch_bytes().replace(b"\x9c\x00\xc4\x01a\x01", b"\x9c\x00\xc4\x01a\xcc\x01", 1))


def _swap_keys(raw: bytes) -> bytes:
    return raw.replace(b"\xa6groups\x90\xa8profiles\x90", b"\xa8profiles\x90\xa6groups\x90", 1)


def _double_key(raw: bytes) -> bytes:
    return b"\x8a" + raw[1:].replace(b"\xa6groups\x90", b"\xa6groups\x90" * 2, 1)


def _number_key(raw: bytes) -> bytes:
    return b"\x8a\x07\xc0" + raw[1:]


def _bytes_key(raw: bytes) -> bytes:
    return raw.replace(b"\xa6groups\x90", b"\xc4\x06groups\x90", 1)


@vectors(
    "R-8.2",
    {
        "unordered": _swap_keys,
        "twice": _double_key,
        "number": _number_key,
        "bytes": _bytes_key,
        "by_length": lambda _: b"\x82\xa1b\xc0\xa2aa\xc0",
        "array_as_key": lambda _: b"\x81\x90\xc0",
        "no_map": lambda raw: b"\x91" + raw,
        "nil": lambda _: b"\xc0",
    },
    "Malformed",
)
def keys(d: Draft, change: Callable[[bytes], bytes]) -> None:
    """The head isn't a map whose keys are text, unique and ascending."""
    _raw_head(d, change)


@vector("R-8.2", "Malformed")
def batch_is_an_array(d: Draft) -> None:
    """A batch isn't a map."""
    d.sample()
    d.change(ENTR, raw=pack([[], []]))


_UNKNOWN = {
    "float64": b"\xcb" + bytes(8),
    "float32": b"\xca" + bytes(4),
    "extension": b"\xd4\x07\x00",
    "timestamp": b"\xd6\xff" + bytes(4),
}


def _with_unknown(d: Draft, value: bytes) -> None:
    _raw_head(d, lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz" + value)


@vectors("R-8.3", _UNKNOWN, "Malformed")
def value(d: Draft, data: bytes) -> None:
    """An unknown key has a value of a type that isn't used."""
    _with_unknown(d, data)


@vectors(
    "R-8.4",
    {
        "9": b"\x91" * 7 + b"\xc0",
        "9_in_maps": b"\x81\xa1a" * 7 + b"\xc0",
        "600": b"\x91" * 600 + b"\xc0",
        "5000": b"\x91" * 5000 + b"\xc0",
    },
    "Malformed",
)
def depth(d: Draft, data: bytes) -> None:
    """An unknown key has a value that is nested too deeply."""
    _with_unknown(d, data)


@vectors(
    "R-8.5",
    {
        "str8": b"\xd9\x01a",
        "str16": b"\xda\x00\x01a",
        "bin16": b"\xc5\x00\x01a",
        "array16": b"\xdc\x00\x01\xc0",
        "map16": b"\xde\x00\x00",
        "not_utf8": b"\xa2\xff\xfe",
        "surrogate": b"\xa3\xed\xa0\x80",
        "overlong": b"\xa2\xc0\xaf",
    },
    "Malformed",
)
def header(d: Draft, data: bytes) -> None:
    """A value has a longer header than it needs, or text that isn't UTF-8."""
    _with_unknown(d, data)


@vectors(
    "R-8.6",
    {
        "nothing": lambda _: b"",
        "followed": lambda raw: raw + b"\xc0",
        "cut": lambda raw: raw[:-1],
        "reserved_byte": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xc1",
        "reserved_byte_before_others": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xc1" + bytes(8),
        "claims_4_gib": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xdd\xff\xff\xff\xff",
        "claims_a_long_map": lambda _: b"\xdf\xff\xff\xff\xff",
        "cut_in_text": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xa5ab",
        "cut_in_bytes": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xc4\x05ab",
        "cut_in_number": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xcd\x01",
        "cut_in_length": lambda raw: b"\x8a" + raw[1:] + b"\xa3zzz\xda\x01",
    },
    "Malformed",
)
def encoding(d: Draft, change: Callable[[bytes], bytes]) -> None:
    """The head isn't one whole MessagePack value."""
    _raw_head(d, change)


_IMPORTANT = {"!new": None}


def _in_root(d: Draft) -> None:
    d.head["roots"] = [{**_IMPORTANT, **root("default")}]


def _in_profile(d: Draft) -> None:
    d.head["profiles"] = [{**_IMPORTANT, **profile("p", "default")}]


def _in_workspace(d: Draft) -> None:
    workspace = {**_IMPORTANT, "agent": "a", "path": b"", "root": "default"}
    d.head["profiles"] = [profile("p", "default", workspaces=[workspace])]


def _in_source(d: Draft) -> None:
    d.head["source"] = {**_IMPORTANT, **d.head["source"]}


def _in_head(d: Draft) -> None:
    d.head = {**_IMPORTANT, **d.head}


def _in_batch(d: Draft) -> None:
    d.batches[0] = {**_IMPORTANT, **d.batches[0]}


def _in_extra(d: Draft) -> None:
    d.row(b"a")[-1] = {**_IMPORTANT}


def _in_totals(d: Draft) -> None:
    totals = {"batches": 1, "bytes": 11, "entries": 3, "segments": 1, "skipped": 0}
    d.change(MANI, raw=pack({**d.head, "totals": {**_IMPORTANT, **totals}}))


@vectors(
    "R-8.7",
    {
        "head": _in_head,
        "root": _in_root,
        "profile": _in_profile,
        "workspace": _in_workspace,
        "source": _in_source,
        "totals": _in_totals,
        "batch": _in_batch,
        "extra": _in_extra,
    },
    "UnsupportedVersion",
)
def important_key(d: Draft, change: Callable[[Draft], None]) -> None:
    """A key that every reader must know."""
    d.sample()
    change(d)


@vectors("R-8.8", {"2_53": 2**53, "greatest": 2**64 - 1, "negative": -1}, "Malformed")
def number(d: Draft, value: int) -> None:
    """A number of the head is out of range."""
    d.sample()
    d.head["created"] = value


@vectors("R-8.8", {"negative": -1, "2_53": 2**53}, "Malformed")
def owner_number(d: Draft, value: int) -> None:
    """A user's number is out of range."""
    d.sample()
    d.head["users"] = [[value, "ada"]]


@vector("R-8.8", "Malformed")
def schema_number(d: Draft) -> None:
    """A schema's version is out of range."""
    d.sample()
    d.head["profiles"] = [profile("p", "default", schemas={"state.db": 2**53})]


@vector("R-8.8", "Malformed")
def unknown_number(d: Draft) -> None:
    """A number under an unknown key is out of range."""
    d.sample()
    d.head["zzz"] = -1


@vector("R-8.8", "Malformed")
def unknown_number_in_batch(d: Draft) -> None:
    """A number under an unknown key of a batch is out of range."""
    d.sample()
    d.batches[0]["zzz"] = [2**53]


# --- the head -------------------------------------------------------------------------------------------------------


@vectors(
    "R-9.0",
    {
        "no_bundle_id": ("bundle_id", None),
        "bundle_id_as_text": ("bundle_id", "0" * 16),
        "no_created": ("created", None),
        "created_as_text": ("created", "today"),
        "created_as_bool": ("created", True),
        "generator_as_bytes": ("generator", b"x"),
        "roots_as_map": ("roots", {}),
        "root_as_text": ("roots", ["default"]),
        "source_as_array": ("source", []),
        "users_as_map": ("users", {}),
        "profiles_as_nil": ("profiles", None),
        "owner_as_text": ("users", [["0", "root"]]),
        "owner_without_name": ("groups", [[0]]),
    },
    "Malformed",
)
def field(d: Draft, change: tuple[str, Any]) -> None:
    """A field of the head is missing or of another type."""
    d.sample()
    key, value = change
    if value is None:
        del d.head[key]
    else:
        d.head[key] = value


@vectors(
    "R-9.0",
    {
        "agents": {"agents": "main"},
        "agent": {"agents": [7]},
        "port": {"port": "18789"},
        "config": {"config": "/home/ada"},
        "schemas": {"schemas": {"state.db": "3"}},
        "workspaces": {"workspaces": ["main"]},
        "workspace_path": {"workspaces": [{"agent": "a", "path": "", "root": "default"}]},
    },
    "Malformed",
)
def profile_field(d: Draft, fields: Map) -> None:
    """A field of a profile is of another type."""
    d.sample()
    d.head["profiles"] = [profile("p", "default", **fields)]


@vector("R-9.0", "Malformed")
def root_source(d: Draft) -> None:
    """A root's source is text, and must be bytes."""
    d.sample()
    d.head["roots"] = [root("default", source="/srv")]


@vectors("R-9.0", {"entries": {"skipped": []}, "skipped": {"entries": []}}, "Malformed")
def batch_without(d: Draft, batch: Map) -> None:
    """A batch lacks one of its two lists."""
    d.sample()
    d.change(ENTR, raw=pack(batch))


@vectors("R-9.1", {"another": seeded("another bundle")(16), "short": b"x" * 15, "empty": b""}, "AuthenticationFailed")
def bundle_id(d: Draft, value: bytes) -> None:
    """The head names another bundle."""
    d.sample()
    d.head["bundle_id"] = value


@vectors(
    "R-9.2",
    {
        name: {name: count}
        for name, count in (("segments", 2), ("batches", 0), ("entries", 4), ("skipped", 1), ("bytes", 12))
    },
    "Malformed",
)
def totals(d: Draft, value: Map) -> None:
    """A count of the totals is wrong."""
    d.sample()
    d.totals = value


@vector("R-9.2", "Malformed")
def total_of_links(d: Draft) -> None:
    """A hard link was counted into the total of bytes."""
    d.sample()
    d.hardlink(b"c", b"a")
    d.totals["bytes"] = sum(row[SIZE] or 0 for row in d.entries) + 6


@vectors(
    "R-9.3",
    {
        "unordered": [[1, "a"], [0, "b"]],
        "twice": [[0, "a"], [0, "b"]],
    },
    "Malformed",
)
def owners(d: Draft, rows: list[list[Any]]) -> None:
    """Users aren't ascending by number."""
    d.sample()
    d.head["users"] = rows


@vector("R-9.3", "Malformed")
def groups(d: Draft) -> None:
    """Groups aren't ascending by number."""
    d.sample()
    d.head["groups"] = [[5, "a"], [4, "b"]]


@vectors(
    "R-9.4",
    {
        "empty": "",
        "dot": ".",
        "dots": "..",
        "slash": "a/b",
        "leading_slash": "/etc",
        "nul": "a\0b",
        "newline": "a\nb",
        "escape": "\x1b[2J",
        "delete": "a\x7f",
        "c1": "a\x9b",
        "too_long": "r" * 256,
        "too_many_bytes": "é" * 128,
    },
    "Malformed",
)
def root_name(d: Draft, name: str) -> None:
    """A root's name isn't one harmless component."""
    d.head["roots"] = [root(name)]
    d.sample()


@vector("R-9.4", "Malformed")
def root_twice(d: Draft) -> None:
    """Two roots have one name."""
    d.head["roots"] = [root("default"), root("default")]
    d.sample()


@vector("R-9.4", "LimitExceeded")
def too_many_roots(d: Draft) -> None:
    """65,536 roots: they are counted before it shows that they are none."""
    d.sample()
    before, after = d.head_bytes().split(pack(d.head["roots"]))
    before += b"\xdd" + (1 << 16).to_bytes(4)
    blocks = block(before, last=False) + block(b"\xc0", kind=1, size=1 << 16, last=False) + block(after)
    size = len(before) + (1 << 16) + len(after)
    d.change(MANI, raw_length=size, frame=frame(b"", size=size, blocks=blocks))


@vectors(
    "R-9.5",
    {
        "state": [profile("p", "elsewhere")],
        "workspace": [profile("p", "default", workspaces=[{"agent": "a", "path": b"", "root": "elsewhere"}])],
        "twice": [profile("p", "default"), profile("p", "default")],
    },
    "Malformed",
)
def profiles(d: Draft, value: list[Map]) -> None:
    """A profile names a root that isn't there, or has another's name."""
    d.sample()
    d.head["profiles"] = value


@vector("R-9.7", "Malformed")
def workspace_path(d: Draft) -> None:
    """A workspace's path leads upwards."""
    d.sample()
    d.head["profiles"] = [profile("p", "default", workspaces=[{"agent": "a", "path": b"../x", "root": "default"}])]
