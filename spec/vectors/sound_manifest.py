"""Vectors that every reader accepts: each feature of the manifest, and values at their limits."""

from __future__ import annotations

from spec.vectors.builder import (
    GID,
    MODE,
    MTIME,
    UID,
    Draft,
    Map,
    Row,
    profile,
    root,
)
from spec.vectors.cases import vector, vectors

MAX = 2**53 - 1
GROUPS: list[Row] = [
    *([1, None, None, 6], [4, None, None, 5]),
    *([8, 5, None, 1], [8, 6, None, 3]),
    *([16, None, None, 7], [32, None, None, 7]),
]
"""A list that names two groups."""


@vector("R-4.9 R-9.2")
def empty(d: Draft) -> None:
    """No root, no entry, no segment: KEYS and MANI alone."""
    d.head["roots"] = []


@vector("R-9.4")
def root_without_entries(d: Draft) -> None:
    """A root that could not be read has no entry, but is listed as left out."""
    d.skip(b"", "directory", "unreadable")


@vector("R-14.1")
def sample(d: Draft) -> None:
    """One root, two files, one segment: what most of the faulty vectors are made from."""
    d.sample()


@vector("R-9.10")
def empty_file(d: Draft) -> None:
    """A file of no bytes has no extents, and needs no segment."""
    d.directory(b"")
    d.file(b"nothing", b"")


@vector("R-9.8")
def directories(d: Draft) -> None:
    """Directories inside directories, some of them empty."""
    for path in (b"", b"a", b"a/b", b"a/b/c", b"d"):
        d.directory(path)
    d.file(b"d/file", b"deep\n")


@vector("R-9.6")
def order_of_a_walk(d: Draft) -> None:
    """The slash sorts before every other byte, so what is in a directory comes before a longer name beside it."""
    d.directory(b"")
    d.directory(b"a")
    d.file(b"a/z", b"1")
    d.file(b"a\x01", b"2")
    d.file(b"a-b", b"3")
    d.file(b"a.txt", b"4")


@vectors(
    "R-9.13", {"relative": b"openclaw.json", "absolute": b"/etc/passwd", "upwards": b"../../x", "longest": b"t" * 4095}
)
def symlink(d: Draft, target: bytes) -> None:
    """A symbolic link, whose target is free."""
    d.directory(b"")
    d.symlink(b"link", target)


@vector("R-9.12")
def hard_links(d: Draft) -> None:
    """Two hard links to one file, one of them in another directory."""
    d.sample()
    d.directory(b"dir")
    d.hardlink(b"dir/second", b"a")
    d.hardlink(b"third", b"a")


@vector("R-9.10")
def holes(d: Draft) -> None:
    """Holes before, between and behind data."""
    d.directory(b"")
    d.segments = [b"datamore"]
    content = bytes(10) + b"data" + bytes(4096) + b"more" + bytes(3)
    d.file(b"sparse", content, extents=[[None, 0, 10], [0, 0, 4], [None, 0, 4096], [0, 4, 4], [None, 0, 3]])


@vector("R-9.10")
def hole_alone(d: Draft) -> None:
    """A file that is one hole; no segment at all."""
    d.directory(b"")
    d.file(b"zeros", bytes(100_000), extents=[[None, 0, 100_000]])


@vector("R-8.7")
def unknown_keys(d: Draft) -> None:
    """Keys that this version doesn't know in every map of the manifest, with values of every type."""
    extra: Map = {"zzz": [None, True, 0, MAX, "text", b"bytes", {"a": []}]}
    d.head["roots"] = [root("default", **extra)]
    d.head["profiles"] = [profile("p", "default", workspaces=[{"agent": "m", "path": b"", "root": "default", **extra}])]
    d.head["profiles"][0].update(extra)
    d.head["source"].update(extra)
    d.totals.update(extra)
    d.sample()
    d.row(b"a")[-1] = extra
    d.batches[0].update(extra)
    d.head.update(extra)


@vector("R-8.4")
def deepest_value(d: Draft) -> None:
    """A value at depth 8 under an unknown key."""
    d.sample()
    d.head["zzz"] = [[[[[[None]]]]]]


@vector("R-9.4 R-9.19")
def unknown_words(d: Draft) -> None:
    """A role, a capture, a reason and a kind that this version doesn't know."""
    d.head["roots"] = [root("default", role="attic")]
    d.sample()
    d.row(b"a")[-1] = {"capture": "by-snapshot"}
    d.skip(b"z", "door", "too-heavy", detail="a reason of a later version")


@vectors("R-9.16", {name.replace("-", "_"): name for name in ("changed", "grew", "sqlite", "sqlite-raw")})
def captured(d: Draft, capture: str) -> None:
    """How a file's content was taken."""
    d.sample()
    d.row(b"a")[-1] = {"capture": capture}


@vector("R-9.10")
def several_segments(d: Draft) -> None:
    """One file in two of three segments, with a hole between its extents, and three in the first of them."""
    d.directory(b"")
    d.segments = [b"one", b"two", b"three"]
    extents: list[Row] = [[0, 2, 1], [0, 0, 1], [None, 0, 2], [0, 1, 1], [2, 0, 5]]
    d.file(b"file", b"eo\0\0nthree", extents=extents)


@vector("R-9.23")
def segments_of_a_mebibyte(d: Draft) -> None:
    """A file of 1 MiB may lie in three segments, also if most of it is a hole."""
    hole = (1 << 20) - 8
    d.directory(b"")
    d.segments = [b"one", b"two", b"three"]
    d.file(b"file", b"onetwo" + bytes(hole) + b"hr", extents=[[0, 0, 3], [1, 0, 3], [None, 0, hole], [2, 1, 2]])


@vector("R-9.23")
def extents_of_two_kibibytes(d: Draft) -> None:
    """A file of 2 KiB may have 17 extents, also if most of them are holes."""
    d.directory(b"")
    d.segments = [b"one"]
    d.file(b"file", b"o" + bytes(2047), extents=[[0, 0, 1], [None, 0, 2032], *[[None, 0, 1]] * 15])


@vector("R-9.6 R-9.2")
def several_batches(d: Draft) -> None:
    """Entries and skipped rows in three batches, the last one empty."""
    d.directory(b"")
    d.file(b"a", b"first")
    d.new_batch()
    d.file(b"b", b"second")
    d.skip(b"c", "socket", "socket")
    d.new_batch()


@vector("R-9.11")
def shared_extents(d: Draft) -> None:
    """Two equal files that are stored once."""
    d.directory(b"")
    extents = d.file(b"a", b"same")[9]
    d.file(b"b", b"same", extents=extents)


@vector("R-9.10")
def bytes_of_no_file(d: Draft) -> None:
    """Bytes of a segment that no entry names, and a segment that none does."""
    d.directory(b"")
    d.segments = [b"??data??", b"unused"]
    d.file(b"a", b"data", extents=[[0, 2, 4]])


@vectors(
    "R-9.7",
    {
        "not_utf8": b"\xff\xfe",
        "control": b"a\x1b[31m\n\x7f",
        "bidi": "a\u202etxt.exe".encode(),
        "decomposed": b"e\xcc\x81",
        "three_dots": b"...",
        "backslash": b"C:\\x",
        "spaces": b" ",
        "longest": b"n" * 255,
    },
)
def name(d: Draft, path: bytes) -> None:
    """A name that a file system allows."""
    d.directory(b"")
    d.file(path, b"x")


@vectors("R-9.7", {"bytes": [b"c" * 255] * 15 + [b"d" * 254, b"e"], "components": [b"c"] * 255})
def longest_path(d: Draft, components: list[bytes]) -> None:
    """A path of as many bytes, or components, as there may be."""
    for depth in range(len(components)):
        d.directory(b"/".join(components[:depth]))
    d.file(b"/".join(components), b"deep")


@vectors("R-8.8", {"negative": -1, "least": -(2**63), "greatest": 2**63 - 1})
def mtime(d: Draft, value: int) -> None:
    """A time far from ours."""
    d.sample()
    d.row(b"a")[MTIME] = value


@vector("R-8.8 R-9.9")
def greatest_numbers(d: Draft) -> None:
    """Owners of 2^53 - 1, and a mode of 07777."""
    d.sample()
    d.row(b"a")[UID] = d.row(b"a")[GID] = MAX
    d.row(b"a")[MODE] = 0o7777
    d.head["created"] = MAX


@vector("R-9.19")
def xattrs(d: Draft) -> None:
    """Extended attributes, also on a directory and with empty and binary values."""
    d.sample()
    d.row(b"")[-1] = {"xattrs": [[b"user.a", b""], [b"user.b", b"\x00\xff"]]}
    d.row(b"a")[-1] = {"capture": "changed", "xattrs": [[b"user." + bytes([0xFF]), b"v"]]}


@vector("R-9.21 R-9.22")
def access_lists(d: Draft) -> None:
    """Access control lists, with somebody who has no name, of a file and of a directory that hands one down."""
    d.sample()
    denied = [[1, None, None, 7], [2, 0, "root", 7], [2, 1500, None, 0], [4, None, None, 5]]
    denied += [[8, MAX, "staff", 7], [16, None, None, 6], [32, None, None, 4]]
    d.row(b"")[MODE] = 0o1700
    d.row(b"")[-1] = {"acl": denied, "default_acl": [[1, None, None, 7], [4, None, None, 5], [32, None, None, 5]]}
    granted = [[1, None, None, 6], [2, 33, "www-data", 4], [4, None, None, 6], [16, None, None, 7], [32, None, None, 0]]
    d.row(b"a")[MODE] = 0o640
    d.row(b"a")[-1] = {"acl": granted, "capture": "grew", "xattrs": [[b"user.a", b""]]}


@vectors(
    "R-9.22",
    {
        "mask_alone": (0o6640, [[1, None, None, 6], [4, None, None, 6], [16, None, None, 4], [32, None, None, 0]]),
        "mode_alone": (0o0754, [[1, None, None, 7], [4, None, None, 5], [32, None, None, 4]]),
        "groups": (0o0651, GROUPS),
    },
)
def mode_of_list(d: Draft, value: tuple[int, list[Row]]) -> None:
    """A mode that gives nobody more than its access control list."""
    d.sample()
    d.row(b"a")[MODE] = value[0]
    d.row(b"a")[-1] = {"acl": value[1]}


@vector("R-9.15")
def longest_extra(d: Draft) -> None:
    """An extra of 64 KiB to the byte."""
    d.sample()
    d.row(b"a")[-1] = {"xattrs": [[b"user.a", b"v" * (65536 - 21)]]}


@vector("R-9.8")
def single_file_root(d: Draft) -> None:
    """A root that is a file, beside one that is a directory."""
    d.head["roots"] = [root("config", role="config"), root("default", role="state")]
    d.file(b"", b"{}")
    d.directory(b"", root=1)


@vectors("R-9.4", {"longest": "r" * 255, "unicode": "dé faut~2", "spaces": " ", "three_dots": "..."})
def root_name(d: Draft, name: str) -> None:
    """A root's name."""
    d.head["roots"] = [root(name)]
    d.sample()


@vector("R-9.5 R-9.0")
def profiles(d: Draft) -> None:
    """Two profiles, one with everything that can be said, one with all that may be left out left out."""
    d.head["roots"] = [root("default", role="state", profile="default"), root("work", role="state", profile="work")]
    full = profile("default", "default", agents=["main"], channels=["whatsapp"], config=b"/home/ada/openclaw.json")
    full.update(era="C", mode="local", plugins=["matrix"], port=18789, schemas={"state/state.db": 3, "state/t.db": 0})
    full.update(secrets=["provider-keys"], version="2026.1.1")
    full["workspaces"] = [{"agent": "main", "path": b"workspace", "root": "default"}]
    least = profile("work", "work")
    for key in ("config", "era", "mode", "port", "version"):
        del least[key]
    d.head["profiles"] = [full, least]
    d.directory(b"")
    d.directory(b"", root=1)


@vector("R-9.3")
def owners(d: Draft) -> None:
    """Names of users and groups."""
    d.head["users"] = [[0, "root"], [1000, "ada"], [MAX, "nobody"]]
    d.head["groups"] = [[1000, "ada"]]
    d.sample()


@vector("R-9.17 R-9.6")
def skipped(d: Draft) -> None:
    """What was left out, with and without details, at paths that lie between those of the entries."""
    d.directory(b"")
    d.directory(b"a")
    d.skip(b"a/s", "socket", "socket")
    d.skip(b"b", "file", "unreadable", detail="EACCES")
    d.file(b"c", b"taken")
    d.skip(b"node_modules", "directory", "regenerable")


@vector("R-9.2")
def size_of_holes_counts(d: Draft) -> None:
    """The total counts holes in full, and hard links not at all."""
    d.directory(b"")
    d.file(b"a", bytes(5000), extents=[[None, 0, 5000]])
    d.hardlink(b"b", b"a")
    d.totals["bytes"] = 5000
