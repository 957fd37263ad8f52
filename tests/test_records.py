"""Manifest, batches and journals: one encoding for each value, and each rule that rows can break."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import BUNDLE_ID

from ocbundle import canonical, heads, limits, records, sequencing
from ocbundle.acl import Grant, Tag
from ocbundle.errors import AuthenticationFailed, BundleError, LimitExceeded, Malformed, UnsupportedVersion
from ocbundle.model import (
    Capture,
    Entry,
    Extent,
    Host,
    Kind,
    Manifest,
    Profile,
    Reason,
    Role,
    Root,
    Skipped,
    Totals,
    Workspace,
)
from ocbundle.sources import Metadata

ROOTS = ("default", "work")
SHA = bytes(range(32))
MANIFEST = Manifest(
    bundle_id=BUNDLE_ID,
    created=1_764_020_534,
    generator="ocbundle 1",
    source=Host(host="alpha", os="Linux", user="alice", uid=1000, gid=1000, home=b"/home/al\xffice"),
    roots=(
        Root(name="default", role=Role.STATE, source=b"/home/alice/.openclaw", profile="default"),
        Root(name="work", role=Role.WORKSPACE, source=b"/srv/\xff"),
    ),
    profiles=(
        Profile(
            name="default",
            state="default",
            config=b"/home/alice/.openclaw/openclaw.json",
            workspaces=(Workspace(agent="main", root="work", path=b"a/b"),),
            mode="local",
            port=18789,
            version="2026.1.2",
            era="B",
            schemas={"b": 2, "a": 1, "\U0001f99e": 3, "\uffee": 4},
            agents=("main",),
            channels=("telegram",),
            plugins=("p",),
            secrets=("env file",),
        ),
    ),
    users={1000: "alice", 0: "root"},
    groups={0: "root"},
    totals=Totals(entries=1, skipped=2, size=3, segments=4, batches=5),
)


def pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def decode_head(data: bytes) -> Manifest:
    return heads.decode_manifest(data, bundle_id=BUNDLE_ID)


def head(**changes: object) -> dict[str, Any]:
    """The map that a manifest is, its keys in order."""
    value = msgpack.unpackb(heads.encode_manifest(MANIFEST)) | changes
    return dict(sorted(value.items()))


def batch(*rows: object, skipped: Sequence[object] = ()) -> records.Batch:
    return records.decode_batch(pack({"entries": list(rows), "skipped": list(skipped)}), roots=ROOTS)


def file_row(**changes: object) -> list[object]:
    fields = {
        "root": 0,
        "path": b"a",
        "kind": 1,
        "mode": 0o600,
        "uid": 0,
        "gid": 0,
        "mtime_ns": -5,
        "size": 10,
        "sha256": SHA,
        "extents": [[0, 0, 4], [None, 0, 6]],
        "target": None,
        "extra": None,
    }
    return list((fields | changes).values())


def directory_row(**changes: object) -> list[object]:
    return file_row(**({"kind": 0, "size": None, "sha256": None, "extents": None} | changes))


def link_row(**changes: object) -> list[object]:
    return directory_row(**({"kind": 2, "target": b"x"} | changes))


def hard_row(**changes: object) -> list[object]:
    nothing = dict.fromkeys(("mode", "uid", "gid", "mtime_ns", "size", "sha256", "extents"))
    return file_row(**(nothing | {"kind": 3, "target": b"A"} | changes))


# --- encoding and decoding are inverse ------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, limits.MAX_INTEGER)
names = st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_") + b"~")
relative = st.lists(names, max_size=4).map(b"/".join)
xattrs = st.dictionaries(names.map(lambda name: b"user." + name), st.binary(max_size=20), max_size=3).map(
    lambda pairs: tuple(sorted(pairs.items()))
)
owned: dict[str, st.SearchStrategy[Any]] = {
    "root": st.sampled_from(ROOTS),
    "path": relative,
    "mode": st.integers(0, 0o7777),
    "uid": numbers,
    "gid": numbers,
    "mtime_ns": st.integers(-(2**63), 2**63 - 1),
    "xattrs": xattrs,
}
segments = st.integers(0, limits.MAX_SECTIONS)


def in_order(runs: list[Extent]) -> tuple[Extent, ...]:
    """The same but for their segments, which are two at most, and ascend (R-9.23)."""
    numbers = sorted(run.segment for run in runs if run.segment is not None)
    rest = iter([number if number == numbers[0] else numbers[-1] for number in numbers])
    return tuple(run if run.segment is None else run._replace(segment=next(rest)) for run in runs)


extents = st.lists(
    st.one_of(
        st.builds(Extent, segments, st.integers(0, limits.MAX_SEGMENT), st.integers(1, limits.MAX_SEGMENT)),
        st.builds(Extent, st.none(), st.just(0), st.integers(1, 2**40)),
    ),
    max_size=4,
).map(in_order)


def sized(entry: Entry, runs: tuple[Extent, ...]) -> Entry:
    return entry.replace(extents=runs, size=sum(extent.length for extent in runs))


captures = st.sampled_from(Capture)


def made(**fields: Any) -> Entry:  # noqa: ANN401 - as its constructor
    """As :class:`Entry`, but for Hypothesis, which would make up what isn't given."""
    return Entry(**fields)


entries = st.one_of(
    st.builds(made, kind=st.just(Kind.DIRECTORY), **owned),
    st.builds(
        sized,
        st.builds(made, kind=st.just(Kind.FILE), sha256=st.binary(min_size=32, max_size=32), capture=captures, **owned),
        extents,
    ),
    st.builds(made, kind=st.just(Kind.SYMLINK), target=names, **owned),
    st.builds(
        made,
        kind=st.just(Kind.HARDLINK),
        root=st.sampled_from(ROOTS),
        path=relative,
        target=st.lists(names, min_size=1, max_size=3).map(b"/".join),
    ),
)
skips = st.builds(
    Skipped,
    root=st.sampled_from(ROOTS),
    path=relative,
    kind=texts,
    reason=st.one_of(st.sampled_from(Reason), st.just("a newer reason")),
    detail=st.none() | texts,
)


@given(st.lists(entries, max_size=5), st.lists(skips, max_size=3))
def test_a_batch_decodes_to_what_was_encoded(rows: list[Entry], left_out: list[Skipped]) -> None:
    numbers = {name: index for index, name in enumerate(ROOTS)}
    data = records.encode_batch([records.entry_row(row, numbers[row.root]) for row in rows], left_out, roots=numbers)
    assert records.decode_batch(data, roots=ROOTS) == records.Batch(entries=tuple(rows), skipped=tuple(left_out))


@given(st.lists(entries, max_size=5))
def test_a_journal_decodes_to_its_entries_without_digests(rows: list[Entry]) -> None:
    encoded = records.encode_journal([records.entry_row(row, ROOTS.index(row.root)) for row in rows], roots=ROOTS)
    decoded = records.decode_journal(encoded)
    assert decoded == tuple(entry.replace(sha256=None) for entry in rows)


optional = st.none() | texts
workspaces = st.lists(st.builds(Workspace, agent=texts, root=st.sampled_from(ROOTS), path=relative), max_size=2).map(
    tuple
)
strings = st.lists(texts, max_size=3).map(tuple)
profiles = st.lists(
    st.builds(
        Profile,
        name=texts,
        state=st.sampled_from(ROOTS),
        config=st.none() | st.binary(max_size=20),
        workspaces=workspaces,
        mode=optional,
        port=st.none() | numbers,
        version=optional,
        era=optional,
        schemas=st.dictionaries(texts, numbers, max_size=3),
        agents=strings,
        channels=strings,
        plugins=strings,
        secrets=strings,
    ),
    max_size=2,
    unique_by=lambda profile: profile.name,
).map(tuple)
hosts = st.builds(Host, host=texts, os=texts, user=texts, uid=numbers, gid=numbers, home=st.binary(max_size=20))
owners = st.dictionaries(numbers, texts, max_size=3)
manifests = st.builds(
    Manifest,
    bundle_id=st.just(BUNDLE_ID),
    created=numbers,
    generator=texts,
    source=hosts,
    roots=st.just(MANIFEST.roots),
    profiles=profiles,
    users=owners,
    groups=owners,
    totals=st.builds(Totals, entries=numbers, skipped=numbers, size=numbers, segments=numbers, batches=numbers),
)


@given(manifests)
def test_a_head_decodes_to_what_was_encoded(manifest: Manifest) -> None:
    assert decode_head(heads.encode_manifest(manifest)) == manifest


@given(manifests)
def test_what_is_encoded_is_canonical(manifest: Manifest) -> None:
    data = heads.encode_manifest(manifest)
    assert heads.encode_manifest(decode_head(data)) == data


# --- canonical MessagePack ------------------------------------------------------------------------------------------

CANONICAL = heads.encode_manifest(MANIFEST)


def with_field(value: bytes) -> bytes:
    """The head with one more field, which this version doesn't know: *value* is its encoding."""
    assert CANONICAL[0] == 0x89
    return b"\x8a" + CANONICAL[1:] + b"\xa5zebra" + value


@pytest.mark.rule("R-8.7")
@pytest.mark.parametrize(
    "value",
    [None, True, 0, limits.MAX_INTEGER, "text", b"\xff", [1, [2]], {"a": 1, "b": [None]}, {"!nested": 1}],
    ids=repr,
)
def test_an_unknown_field_is_ignored(value: object) -> None:
    assert decode_head(with_field(pack(value))) == MANIFEST


@pytest.mark.rule("R-8.7")
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda: head(**{"!new": 1}), id="head"),
        pytest.param(lambda: head(source=dict(sorted({**head()["source"], "!new": 1}.items()))), id="source"),
        pytest.param(lambda: head(roots=[{"!new": 1, **head()["roots"][0]}, head()["roots"][1]]), id="root"),
        pytest.param(lambda: head(profiles=[{"!new": 1, **head()["profiles"][0]}]), id="profile"),
    ],
)
def test_an_unknown_field_with_an_exclamation_mark_asks_for_a_newer_reader(changed: Callable[[], object]) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        decode_head(pack(changed()))
    assert caught.value.rule == "R-8.7"


@pytest.mark.rule("R-8.7")
def test_an_unknown_field_of_an_entry_is_ignored_unless_it_must_be_known() -> None:
    assert batch(file_row(extra={"colour": [1]})).entries == batch(file_row()).entries
    with pytest.raises(UnsupportedVersion):
        batch(file_row(extra={"!colour": [1]}))


def nested(depth: int) -> object:
    """A value whose innermost is *depth* levels below it."""
    return [nested(depth - 1)] if depth else None


def journal_of(extra: dict[str, object]) -> tuple[Entry, ...]:
    return records.decode_journal(pack([file_row(root="a", sha256=None, extra=extra)]))


@pytest.mark.rule("R-8.4")
@pytest.mark.parametrize(
    ("decode", "most"),
    [
        pytest.param(
            lambda x: records.decode_batch(pack({"entries": [], "skipped": [], "x": x}), roots=()), 6, id="map"
        ),
        pytest.param(lambda x: batch(file_row(extra={"x": x})), 3, id="batch"),
        pytest.param(lambda x: journal_of({"x": x}), 4, id="journal"),
    ],
)
def test_an_unknown_field_is_as_deep_as_everything_else_may_be(decode: Callable[[object], object], most: int) -> None:
    decode(nested(most))
    with pytest.raises(Malformed) as caught:
        decode(nested(most + 1))
    assert caught.value.rule == "R-8.4"


@pytest.mark.rule("R-8.7")
def test_a_database_called_with_an_exclamation_mark_is_no_field() -> None:
    profile = replace(MANIFEST.profiles[0], schemas={"!a": 1})
    assert decode_head(heads.encode_manifest(replace(MANIFEST, profiles=(profile,)))).profiles == (profile,)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        pytest.param(with_field(b"\xcc\x05"), "R-8.1", id="uint8 for a fixint"),
        pytest.param(with_field(b"\xcd\x00\xff"), "R-8.1", id="uint16 for a uint8"),
        pytest.param(with_field(b"\xce\x00\x00\xff\xff"), "R-8.1", id="uint32 for a uint16"),
        pytest.param(with_field(b"\xcf" + (2**32 - 1).to_bytes(8)), "R-8.1", id="uint64 for a uint32"),
        pytest.param(with_field(b"\xd0\x05"), "R-8.1", id="signed for a positive integer"),
        pytest.param(with_field(b"\xd9\x01a"), "R-8.5", id="str8 for a fixstr"),
        pytest.param(with_field(b"\xda\x00\x01a"), "R-8.5", id="str16 for a fixstr"),
        pytest.param(with_field(b"\xc5\x00\x01a"), "R-8.5", id="bin16 for a bin8"),
        pytest.param(with_field(b"\xdc\x00\x01\xc0"), "R-8.5", id="array16 for a fixarray"),
        pytest.param(with_field(b"\xde\x00\x01\xa1a\xc0"), "R-8.5", id="map16 for a fixmap"),
        pytest.param(with_field(b"\x82\xa1b\xc0\xa1a\xc0"), "R-8.2", id="keys descend"),
        pytest.param(with_field(b"\x82\xa1a\xc0\xa1a\xc0"), "R-8.2", id="keys twice"),
        pytest.param(with_field(b"\x82\xa0\xc0\xa0\xc0"), "R-8.2", id="the empty key twice"),
        pytest.param(with_field(b"\x81\x01\xc0"), "R-8.2", id="a number as key"),
        pytest.param(with_field(b"\x81\xc4\x01a\xc0"), "R-8.2", id="bytes as key"),
        pytest.param(b"\x8a\xa5zebra\xc0" + CANONICAL[1:], "R-8.2", id="keys of the head descend"),
        pytest.param(with_field(b"\xca\x00\x00\x00\x00"), "R-8.3", id="short float"),
        pytest.param(with_field(b"\xcb" + bytes(8)), "R-8.3", id="float"),
        pytest.param(with_field(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), "R-8.3", id="not a number"),
        pytest.param(with_field(b"\xd4\x01a"), "R-8.3", id="extension"),
        pytest.param(with_field(b"\xd6\xff\x00\x00\x00\x01"), "R-8.3", id="timestamp"),
        pytest.param(with_field(b"\x81\xa1a\x91\xd6\xff\x00\x00\x00\x01"), "R-8.3", id="timestamp inside"),
        pytest.param(with_field(b"\x91" * 7 + b"\xc0"), "R-8.4", id="depth 9"),
        pytest.param(with_field(b"\x81\xa1a" * 7 + b"\xc0"), "R-8.4", id="depth 9 of maps"),
        pytest.param(with_field(b"\x91" * 600 + b"\xc0"), "R-8.4", id="depth 602"),
        pytest.param(with_field(b"\x91" * 100_000 + b"\xc0"), "R-8.4", id="deeper than the library goes"),
        pytest.param(with_field(b"\xa1\xff"), "R-8.5", id="invalid UTF-8"),
        pytest.param(with_field(b"\xa3\xed\xa0\x80"), "R-8.5", id="a surrogate"),
        pytest.param(with_field(b"\xc1"), "R-8.6", id="the byte that is never used"),
        pytest.param(with_field(b"\xdd\xff\xff\xff\xff"), "R-8.6", id="an array of 4 billion"),
        pytest.param(CANONICAL + b"\xc0", "R-8.6", id="something follows"),
        pytest.param(CANONICAL[:-1], "R-8.6", id="cut off"),
        pytest.param(b"", "R-8.6", id="nothing"),
        pytest.param(b"\x90", "R-8.2", id="no map"),
        pytest.param(with_field(b"\xcf" + (2**53).to_bytes(8)), "R-8.8", id="2^53"),
        pytest.param(with_field(b"\xff"), "R-8.8", id="negative"),
    ],
)
@pytest.mark.rule("R-8.1", "R-8.2", "R-8.3", "R-8.4", "R-8.5", "R-8.6", "R-8.8")
def test_any_other_encoding_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_head(data)
    assert caught.value.rule == rule


@pytest.mark.rule("R-8.4")
def test_depth_8_is_accepted() -> None:
    assert decode_head(with_field(b"\x91" * 6 + b"\xc0")) == MANIFEST


@pytest.mark.ci
@pytest.mark.rule("R-8.9")
@pytest.mark.parametrize(
    ("item", "most"),
    [
        pytest.param(b"\x90", 262_143, id="arrays"),
        pytest.param(b"\x80", 262_143, id="maps"),
        pytest.param(b"\x91\x90", 131_071, id="arrays in arrays"),
    ],
)
def test_a_value_holds_262144_arrays_and_maps_and_no_more(item: bytes, most: int) -> None:
    assert len(canonical.unpack(b"\xdd" + most.to_bytes(4) + item * most)) == most
    with pytest.raises(LimitExceeded) as caught:
        canonical.unpack(b"\xdd" + (most + 1).to_bytes(4) + item * (most + 1))
    assert caught.value.rule == "R-8.9"


@pytest.mark.rule("R-8.4")
def test_a_msgpack_that_unpacks_deeper_than_it_packs_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    def pack_of_an_older_version(_value: object) -> bytes:
        raise ValueError("recursion limit exceeded")

    monkeypatch.setattr(canonical, "pack", pack_of_an_older_version)
    with pytest.raises(Malformed) as caught:
        decode_head(CANONICAL)
    assert caught.value.rule == "R-8.4"


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_a_decoder_fail_otherwise(data: bytes) -> None:
    for decode in (decode_head, records.decode_journal, lambda raw: records.decode_batch(raw, roots=ROOTS)):
        try:
            decode(data)
        except BundleError:
            continue


def test_a_head_with_any_byte_changed_is_read_or_refused_with_a_typed_error() -> None:
    for offset in range(len(CANONICAL)):
        for value in (0x00, 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xC4, 0xCF, 0xD4, 0xFF):
            try:
                decode_head(CANONICAL[:offset] + bytes([value]) + CANONICAL[offset + 1 :])
            except BundleError:
                continue


# --- the head -------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-9.1")
def test_another_bundles_head_is_refused() -> None:
    with pytest.raises(AuthenticationFailed):
        heads.decode_manifest(CANONICAL, bundle_id=bytes(16))


def without(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


@pytest.mark.rule("R-9.0")
@pytest.mark.parametrize("key", sorted(head()))
def test_a_head_without_one_of_its_fields_is_refused(key: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_head(pack(without(head(), key)))
    assert caught.value.rule == "R-9.0"


@pytest.mark.rule("R-9.0")
@pytest.mark.parametrize("key", ["name", "state", "schemas", "workspaces", "agents", "channels", "plugins", "secrets"])
def test_a_profile_without_one_of_its_fields_is_refused(key: str) -> None:
    with pytest.raises(Malformed):
        decode_head(pack(head(profiles=[without(head()["profiles"][0], key)])))


@pytest.mark.rule("R-9.0")
def test_a_field_that_may_be_nil_may_be_absent() -> None:
    profile = head()["profiles"][0]
    for key in ("config", "era", "mode", "port", "version"):
        profile = without(profile, key)
    expected = replace(MANIFEST.profiles[0], config=None, era=None, mode=None, port=None, version=None)
    assert decode_head(pack(head(profiles=[profile]))).profiles == (expected,)


def profile_with(**changes: object) -> dict[str, Any]:
    return head(profiles=[head()["profiles"][0] | changes])


def roots_with(*names: str) -> dict[str, Any]:
    template = head()["roots"][0]
    return head(profiles=[], roots=[template | {"name": name} for name in names])


@pytest.mark.parametrize(
    ("value", "error", "rule"),
    [
        pytest.param(head(created="now"), Malformed, "R-9.0", id="text for a number"),
        pytest.param(head(created=True), Malformed, "R-9.0", id="true for a number"),
        pytest.param(head(created=-1), Malformed, "R-8.8", id="before the epoch"),
        pytest.param(head(created=2**53), Malformed, "R-8.8", id="beyond 2^53"),
        pytest.param(head(roots=[1]), Malformed, "R-9.0", id="a root is no map"),
        pytest.param(head(source=[]), Malformed, "R-9.0", id="a source that is no map"),
        pytest.param(profile_with(agents=[1]), Malformed, "R-9.0", id="an agent is no text"),
        pytest.param(profile_with(schemas={"a": "1"}), Malformed, "R-9.0", id="a schema is no number"),
        pytest.param(profile_with(schemas={"a": -1}), Malformed, "R-8.8", id="a negative schema"),
        pytest.param(profile_with(port="x"), Malformed, "R-9.0", id="a port is no number"),
        pytest.param(profile_with(state="gone"), Malformed, "R-9.5", id="no such state root"),
        pytest.param(
            profile_with(workspaces=[{"agent": "a", "path": b"", "root": "gone"}]), Malformed, "R-9.5", id="workspace"
        ),
        pytest.param(
            profile_with(workspaces=[{"agent": "a", "path": b"../x", "root": "work"}]), Malformed, "R-9.7", id="way out"
        ),
        pytest.param(head(profiles=head()["profiles"] * 2), Malformed, "R-9.5", id="two profiles of one name"),
        pytest.param(head(users=[[1, "a"], [0, "b"]]), Malformed, "R-9.3", id="users descend"),
        pytest.param(head(users=[[1, "a"], [1, "b"]]), Malformed, "R-9.3", id="a user twice"),
        pytest.param(head(groups=[[-1, "a"]]), Malformed, "R-8.8", id="a negative group"),
        pytest.param(head(groups=[["a", 1]]), Malformed, "R-9.0", id="a group is name and number"),
        pytest.param(head(groups=[{}]), Malformed, "R-9.0", id="a group is no list"),
        pytest.param(roots_with("a", "a"), Malformed, "R-9.4", id="two roots of one name"),
        pytest.param(roots_with(""), Malformed, "R-9.4", id="no name"),
        pytest.param(roots_with(".."), Malformed, "R-9.4", id="dots"),
        pytest.param(roots_with("a/b"), Malformed, "R-9.4", id="slash"),
        pytest.param(roots_with("a\0"), Malformed, "R-9.4", id="NUL"),
        pytest.param(roots_with("a\x1b[2J"), Malformed, "R-9.4", id="escape"),
        pytest.param(roots_with("é" * 128), Malformed, "R-9.4", id="256 bytes"),
    ],
)
@pytest.mark.rule("R-8.8", "R-9.0", "R-9.3", "R-9.4", "R-9.5", "R-9.7")
def test_a_head_that_breaks_a_rule_is_refused(value: object, error: type[BundleError], rule: str) -> None:
    with pytest.raises(error) as caught:
        decode_head(pack(value))
    assert caught.value.rule == rule


@pytest.mark.rule("R-9.4")
def test_a_root_name_of_255_bytes_is_accepted() -> None:
    assert decode_head(pack(roots_with("a" + "é" * 127))).roots[0].name == "a" + "é" * 127


@pytest.mark.rule("R-9.4")
def test_more_roots_than_the_limit_are_refused() -> None:
    value = roots_with(*(f"{number}" for number in range(limits.MAX_ROOTS + 1)))
    with pytest.raises(LimitExceeded):
        decode_head(pack(value))


@pytest.mark.rule("R-9.4")
def test_a_root_of_an_unknown_role_is_extra() -> None:
    roots = [head()["roots"][0] | {"role": "newer"}, head()["roots"][1]]
    assert decode_head(pack(head(roots=roots))).roots[0].role is Role.EXTRA


# --- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "error", "rule"),
    [
        pytest.param({}, Malformed, "R-9.16", id="no array"),
        pytest.param(7, Malformed, "R-9.16", id="a number"),
        pytest.param(file_row()[:11], Malformed, "R-9.16", id="11 fields"),
        pytest.param([*file_row(), None], Malformed, "R-9.16", id="13 fields"),
        pytest.param(file_row(root=2), Malformed, "R-9.5", id="no such root"),
        pytest.param(file_row(root=-1), Malformed, "R-9.5", id="a negative root"),
        pytest.param(file_row(root="default"), Malformed, "R-9.16", id="a root's name"),
        pytest.param(file_row(root=True), Malformed, "R-9.16", id="true for a root"),
        pytest.param(file_row(path="a"), Malformed, "R-9.16", id="a path of text"),
        pytest.param(file_row(kind=4), Malformed, "R-9.16", id="kind 4"),
        pytest.param(file_row(kind="1"), Malformed, "R-9.16", id="kind of text"),
        pytest.param(file_row(mode=None), Malformed, "R-9.16", id="no mode"),
        pytest.param(file_row(sha256=None), Malformed, "R-9.16", id="a file without digest"),
        pytest.param(file_row(extents=None), Malformed, "R-9.16", id="a file without extents"),
        pytest.param(file_row(target=b"x"), Malformed, "R-9.16", id="a file with a target"),
        pytest.param(directory_row(size=0), Malformed, "R-9.16", id="a directory with a size"),
        pytest.param(link_row(target=None), Malformed, "R-9.16", id="a link without target"),
        pytest.param(link_row(sha256=SHA), Malformed, "R-9.16", id="a link with a digest"),
        pytest.param(hard_row(mode=0), Malformed, "R-9.16", id="a hard link with a mode"),
        pytest.param(hard_row(extra={"a": 1}), Malformed, "R-9.16", id="a hard link with extra"),
        pytest.param(file_row(mode=-1), Malformed, "R-8.8", id="a negative mode"),
        pytest.param(file_row(uid=2**53), Malformed, "R-8.8", id="uid"),
        pytest.param(file_row(gid="0"), Malformed, "R-9.16", id="gid of text"),
        pytest.param(file_row(size=True, extents=[[0, 0, 1]]), Malformed, "R-9.16", id="true for a size"),
        pytest.param(file_row(mtime_ns=2**63), Malformed, "R-8.8", id="time too late"),
        pytest.param(file_row(mtime_ns="0"), Malformed, "R-9.16", id="time of text"),
        pytest.param(file_row(mode=0o10000), Malformed, "R-9.9", id="mode"),
        pytest.param(file_row(sha256=SHA[:31]), Malformed, "R-9.16", id="a digest of 31 bytes"),
        pytest.param(file_row(extents={}), Malformed, "R-9.16", id="extents are no array"),
        pytest.param(file_row(extents=[1]), Malformed, "R-9.16", id="an extent is no array"),
        pytest.param(file_row(extents=[[0, 10]]), Malformed, "R-9.16", id="an extent of 2"),
        pytest.param(file_row(extents=[["0", 0, 10]]), Malformed, "R-9.16", id="a segment of text"),
        pytest.param(file_row(extents=[[0, -1, 10]]), Malformed, "R-8.8", id="a negative offset"),
        pytest.param(file_row(extents=[[0, 0, 10], [0, 10, 0]]), Malformed, "R-9.10", id="an empty extent"),
        pytest.param(file_row(extents=[[None, 1, 10]]), Malformed, "R-9.10", id="a hole with an offset"),
        pytest.param(file_row(extents=[[0, 0, 9]]), Malformed, "R-9.10", id="too little"),
        pytest.param(file_row(extents=[[0, 0, 11]]), Malformed, "R-9.10", id="too much"),
        pytest.param(file_row(extra={}), Malformed, "R-9.16", id="an empty extra"),
        pytest.param(file_row(extra=[1]), Malformed, "R-9.16", id="extra is no map"),
        pytest.param(file_row(extra={"x": b"a" * limits.MAX_EXTRA}), LimitExceeded, "R-9.15", id="a long extra"),
        pytest.param(file_row(extra={"capture": 1}), Malformed, "R-9.16", id="capture is no text"),
        pytest.param(file_row(extra={"acl": 7}), Malformed, "R-9.16", id="a list that is a number"),
        pytest.param(file_row(extra={"default_acl": [[1]]}), Malformed, "R-9.16", id="a grant of one field"),
        pytest.param(file_row(extra={"acl": [[-1, None, None, 0]]}), Malformed, "R-8.8", id="a negative tag"),
        pytest.param(file_row(extra={"acl": [[2**53, None, None, 0]]}), Malformed, "R-8.8", id="a great tag"),
        pytest.param(file_row(extra={"acl": [[2**53 - 1, None, None, 0]]}), Malformed, "R-9.21", id="the greatest tag"),
        pytest.param(file_row(extra={"acl": [[0, None, None, 0]]}), Malformed, "R-9.21", id="the least tag"),
        pytest.param(file_row(extra={"acl": [[2, -1, None, 0]]}), Malformed, "R-8.8", id="a negative id"),
        pytest.param(file_row(extra={"acl": [[2, 2**53, None, 0]]}), Malformed, "R-8.8", id="a great id"),
        pytest.param(file_row(extra={"acl": [[1, None, None, -1]]}), Malformed, "R-8.8", id="negative rights"),
        pytest.param(file_row(extra={"acl": [[1, None, None, 2**53]]}), Malformed, "R-8.8", id="great rights"),
        pytest.param(
            file_row(extra={"acl": [[1, None, None, 2**53 - 1]]}), Malformed, "R-9.21", id="the greatest rights"
        ),
        pytest.param(file_row(extra={"xattrs": [1]}), Malformed, "R-9.16", id="an attribute is no pair"),
        pytest.param(file_row(extra={"xattrs": [[b"user.a", "b"]]}), Malformed, "R-9.16", id="a value of text"),
        pytest.param(file_row(extra={"xattrs": [[b"security.a", b""]]}), Malformed, "R-9.19", id="security"),
        pytest.param(file_row(extra={"xattrs": [[b"user.\0", b""]]}), Malformed, "R-9.19", id="NUL in a name"),
        pytest.param(
            file_row(extra={"xattrs": [[b"user.b", b""], [b"user.a", b""]]}), Malformed, "R-9.19", id="names descend"
        ),
        pytest.param(
            file_row(extra={"xattrs": [[b"user.a", b""], [b"user.c", b""], [b"user.b", b""]]}),
            Malformed,
            "R-9.19",
            id="the last name descends",
        ),
        pytest.param(
            file_row(extra={"xattrs": [[b"user.a", b""], [b"user.a", b""]]}), Malformed, "R-9.19", id="a name twice"
        ),
        pytest.param(link_row(target="x"), Malformed, "R-9.16", id="a target of text"),
        pytest.param(link_row(target=b""), Malformed, "R-9.13", id="an empty target"),
        pytest.param(link_row(target=b"a\0"), Malformed, "R-9.13", id="NUL in a target"),
        pytest.param(link_row(target=b"a" * 4096), LimitExceeded, "R-9.13", id="a long target"),
        pytest.param(hard_row(target="A"), Malformed, "R-9.16", id="a hard link to text"),
        pytest.param(hard_row(target=b"../a"), Malformed, "R-9.7", id="a hard link out of the tree"),
        pytest.param(hard_row(target=b"/a"), Malformed, "R-9.7", id="a hard link to an absolute path"),
        pytest.param(file_row(path=b"a//b"), Malformed, "R-9.7", id="empty component"),
        pytest.param(file_row(path=b"/a"), Malformed, "R-9.7", id="absolute"),
        pytest.param(file_row(path=b"a/"), Malformed, "R-9.7", id="trailing slash"),
        pytest.param(file_row(path=b"."), Malformed, "R-9.7", id="dot"),
        pytest.param(file_row(path=b"a/../b"), Malformed, "R-9.7", id="dots"),
        pytest.param(file_row(path=b"a\0b"), Malformed, "R-9.7", id="NUL"),
        pytest.param(file_row(path=b"a" * 256), LimitExceeded, "R-9.7", id="a long component"),
        pytest.param(file_row(path=b"/".join([b"a"] * 256)), LimitExceeded, "R-9.7", id="a deep path"),
        pytest.param(file_row(path=b"/".join([b"a" * 200] * 21)), LimitExceeded, "R-9.7", id="a long path"),
    ],
)
@pytest.mark.rule("R-9.7", "R-9.9", "R-9.10", "R-9.12", "R-9.13", "R-9.15", "R-9.16", "R-9.19")
def test_a_row_that_breaks_a_rule_is_refused(row: object, error: type[BundleError], rule: str) -> None:
    with pytest.raises(error) as caught:
        batch(row)
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"mode": None}, id="a type"),
        pytest.param({"sha256": SHA[:31]}, id="a digest"),
        pytest.param({"mode": -1}, id="a number"),
        pytest.param({"mtime_ns": 2**63}, id="a time"),
        pytest.param({"extents": [[0, 10]]}, id="an extent"),
        pytest.param({"extents": [[0, "0", 10]]}, id="the type of an offset"),
        pytest.param({"extents": [[0, 0, 2**53]]}, id="a number of an extent"),
        pytest.param({"extents": [[None, 1, 10]]}, id="a hole"),
        pytest.param({"extra": {}}, id="an empty extra"),
        pytest.param({"extra": {"capture": 1}}, id="a field of extra"),
        pytest.param({"extra": {"acl": [1]}}, id="an access control list"),
        pytest.param({"extra": {"acl": [[1, -1, None, 7]]}}, id="a number of an access control list"),
        pytest.param({"extra": {"x": b"a" * limits.MAX_EXTRA}}, id="a long extra"),
        pytest.param({"extra": {"xattrs": [[b"security.a", b""]]}}, id="an attribute"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_named(changes: dict[str, object]) -> None:
    with pytest.raises((Malformed, LimitExceeded)) as caught:
        batch(file_row(path=b"dir/na\nme", **changes))
    assert caught.value.path == "dir/na\\nme"


@pytest.mark.parametrize("field", ["mode", "uid", "gid", "size"])
@pytest.mark.parametrize("value", [-1, 2**53])
def test_a_number_outside_of_its_range_is_refused(field: str, value: int) -> None:
    with pytest.raises(Malformed) as caught:
        batch(file_row(**{field: value}))
    assert caught.value.rule == "R-8.8"


@pytest.mark.rule("R-8.8")
def test_the_greatest_and_least_numbers_are_read() -> None:
    most = limits.MAX_INTEGER
    runs = [[most, most, most - 1], [None, 0, 1]]
    row = batch(file_row(mode=0o7777, uid=most, gid=most, size=most, mtime_ns=-(2**63), extents=runs)).entries[0]
    assert (row.mode, row.uid, row.gid, row.size, row.mtime_ns) == (0o7777, most, most, most, -(2**63))
    assert row.extents == (Extent(most, most, most - 1), Extent(None, 0, 1))
    assert batch(file_row(mtime_ns=2**63 - 1)).entries[0].mtime_ns == 2**63 - 1
    assert batch(file_row(size=most, extents=[[None, 0, most]])).entries[0].extents == (Extent(None, 0, most),)


@pytest.mark.parametrize("extent", [[-1, 0, 10], [2**53, 0, 10], [0, 2**53, 10], [0, 0, 2**53], [0, 0, -1]])
def test_a_number_of_an_extent_outside_of_its_range_is_refused(extent: list[int]) -> None:
    with pytest.raises(Malformed) as caught:
        batch(file_row(extents=[extent]))
    assert caught.value.rule == "R-8.8"


@pytest.mark.rule("R-9.7")
@pytest.mark.parametrize("path", [b"...", b"C:x", b"a\\b", b"\xff\n\x1b[2J", b"a" * 255, b"/".join([b"a"] * 255)])
def test_odd_names_are_legal(path: bytes) -> None:
    assert batch(file_row(path=path)).entries[0].path == path


GRANTS = (
    Grant(Tag.OWNER, None, None, 7),
    Grant(Tag.USER, 1000, "alice", 6),
    Grant(Tag.USER, limits.MAX_INTEGER, None, 0),
    Grant(Tag.OWNING_GROUP, None, None, 5),
    Grant(Tag.MASK, None, None, 7),
    Grant(Tag.OTHERS, None, None, 0),
)


@pytest.mark.rule("R-9.21")
def test_access_control_lists_decode_to_what_was_encoded() -> None:
    shared: dict[str, Any] = {"root": "default", "mode": 0o700, "uid": 1, "gid": 2, "mtime_ns": 3}
    inherited = (GRANTS[0], GRANTS[3], GRANTS[5])
    held = Entry(path=b"d", kind=Kind.DIRECTORY, acl=GRANTS, default_acl=inherited, **shared)
    heir = Entry(path=b"e", kind=Kind.DIRECTORY, default_acl=inherited, **shared)
    file = Entry(path=b"f", kind=Kind.FILE, acl=GRANTS, sha256=SHA, **shared)
    encoded = [records.entry_row(entry, 0) for entry in (held, heir, file)]
    assert batch(*encoded).entries == (held, heir, file)
    assert [list(row[11]) for row in encoded] == [["acl", "default_acl"], ["default_acl"], ["acl"]]
    described = Metadata(path=b"f", acl=GRANTS, **shared)
    made = records.file_row(described, 0, size=0, sha256=SHA, extents=[], capture=Capture.PLAIN)
    assert pack(made) == pack(records.entry_row(file, 0))


def test_a_reason_that_is_known_is_read_as_one_and_a_newer_one_as_text() -> None:
    rows = [[0, b"a", "file", "limit", None], [0, b"b", "file", "newer", None]]
    known, newer = batch(skipped=rows).skipped
    assert known.reason is Reason.LIMIT
    assert (newer.reason, type(newer.reason)) == ("newer", str)


@pytest.mark.rule("R-9.19")
def test_an_unknown_capture_is_read_as_none() -> None:
    assert batch(file_row(extra={"capture": "newer"})).entries[0].capture is Capture.PLAIN


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        pytest.param({}, "R-9.16", id="no array"),
        pytest.param(7, "R-9.16", id="a number"),
        pytest.param([0, b"a", "file", "limit"], "R-9.16", id="4 fields"),
        pytest.param([2, b"a", "file", "limit", None], "R-9.5", id="no such root"),
        pytest.param([0, "a", "file", "limit", None], "R-9.16", id="a path of text"),
        pytest.param([0, b"a", 1, "limit", None], "R-9.16", id="a kind of number"),
        pytest.param([0, b"a", "file", 1, None], "R-9.16", id="a reason of number"),
        pytest.param([0, b"a", "file", "limit", 1], "R-9.16", id="a detail of number"),
        pytest.param([0, b"..", "file", "limit", None], "R-9.7", id="dots"),
    ],
)
@pytest.mark.rule("R-9.5", "R-9.7", "R-9.16")
def test_a_skipped_row_that_breaks_a_rule_is_refused(row: object, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        batch(skipped=[row])
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        pytest.param({}, "R-7.8", id="no array"),
        pytest.param([file_row(root="a")], "R-9.16", id="a digest"),
        pytest.param([file_row(root=0, sha256=None)], "R-9.16", id="a root's index"),
        pytest.param([file_row(root="a/b", sha256=None)], "R-9.4", id="a root name with a slash"),
        pytest.param([file_row(root="a", sha256=None, path=b"..")], "R-9.7", id="dots"),
    ],
)
@pytest.mark.rule("R-7.8")
def test_a_journal_that_breaks_a_rule_is_refused(rows: object, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        records.decode_journal(pack(rows))
    assert caught.value.rule == rule


@given(st.lists(entries, max_size=5), st.booleans())
def test_a_journal_passes_whether_its_entries_are_known_or_not(rows: list[Entry], are_known: bool) -> None:  # noqa: FBT001
    encoded = records.encode_journal([records.entry_row(row, ROOTS.index(row.root)) for row in rows], roots=ROOTS)
    records.check_journal(encoded, {row.path: row for row in rows} if are_known else {})


@given(st.lists(entries, max_size=5, unique_by=lambda row: row.path))
def test_a_journal_that_repeats_what_is_known_is_not_looked_at_field_by_field(rows: list[Entry]) -> None:
    encoded = records.encode_journal([records.entry_row(row, ROOTS.index(row.root)) for row in rows], roots=ROOTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(records, "decode_journal")
        records.check_journal(encoded, {row.path: row for row in rows})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"mode": True}, id="a mode that is true"),
        pytest.param({"extents": [[0, False, 10]]}, id="an offset that is false"),
        pytest.param({"mode": 1.0}, id="a mode with a point"),
        pytest.param({"root": "a/b"}, id="another root"),
        pytest.param({"sha256": SHA}, id="a digest"),
    ],
)
@pytest.mark.rule("R-7.8")
def test_a_row_that_only_resembles_a_known_entry_is_refused(changes: dict[str, object]) -> None:
    plain: dict[str, object] = {"root": "a", "sha256": None, "mode": 1, "extents": [[0, 0, 10]]}
    (entry,) = records.decode_journal(pack([file_row(**plain)]))
    records.check_journal(pack([file_row(**plain)]), {entry.path: entry})
    with pytest.raises(Malformed):
        records.check_journal(pack([file_row(**plain | changes)]), {entry.path: entry})


@pytest.mark.rule("R-7.8")
@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        pytest.param(7, "R-7.8", id="a number"),
        pytest.param([7], "R-9.16", id="a row that is a number"),
        pytest.param([[]], "R-9.16", id="an empty row"),
        pytest.param([["default", []]], "R-9.16", id="a path that is a list"),
        pytest.param([{"a": 1}], "R-9.16", id="a row that is a map"),
    ],
)
def test_a_journal_of_anything_else_is_refused_before_and_after_its_batch_is_known(rows: object, rule: str) -> None:
    entry = batch(file_row()).entries[0]
    for known in ({}, {entry.path: entry}):
        with pytest.raises(Malformed) as caught:
            records.check_journal(pack(rows), known)
        assert caught.value.rule == rule


@given(st.lists(entries, min_size=1, max_size=3))
def test_the_length_of_a_row_is_never_underestimated(rows: list[Entry]) -> None:
    encoded = [records.entry_row(row, ROOTS.index(row.root)) for row in rows]
    bound = sum(records.row_length(row) for row in encoded)
    assert len(records.encode_batch(encoded, [], roots={})) <= 32 + bound


def test_the_length_of_the_longest_rows_is_never_underestimated() -> None:
    most = limits.MAX_INTEGER
    numbers: dict[str, object] = {"root": 65534, "mode": most, "uid": most, "gid": most, "mtime_ns": -(2**63)}
    runs = [[65535, 2**24, 2**24]] * 1000
    rows = [
        file_row(**numbers, path=b"a" * 4096, size=most, extents=runs),
        link_row(**numbers, path=b"a" * 4096, target=b"b" * 4095),
        link_row(**numbers, path=b"a" * 4096, target=b"b" * 4095, extra={"xattrs": [[b"user.a", bytes(60_000)]]}),
    ]
    for row in rows:
        assert len(pack(row)) <= records.row_length(row) <= len(pack(row)) * 1.5


@given(entries)
def test_a_file_has_the_same_row_from_its_metadata_as_from_its_entry(entry: Entry) -> None:
    file = entry.replace(kind=Kind.FILE, target=None, sha256=SHA)
    described = {name: getattr(file, name) for name in ("root", "path", "mode", "uid", "gid", "mtime_ns", "xattrs")}
    runs: list[Any] = [[extent.segment, extent.offset, extent.length] for extent in file.extents]
    made = records.file_row(Metadata(**described), 0, size=file.size, sha256=SHA, extents=runs, capture=file.capture)
    assert pack(made) == pack(records.entry_row(file, 0))


# --- what rows say of one another -----------------------------------------------------------------------------------


def entry(path: bytes, kind: Kind = Kind.FILE, *, root: str = "default", target: bytes | None = None) -> Entry:
    return Entry(root=root, path=path, kind=kind, target=target)


def directory(path: bytes, root: str = "default") -> Entry:
    return entry(path, Kind.DIRECTORY, root=root)


def hard(path: bytes, target: bytes) -> Entry:
    return entry(path, Kind.HARDLINK, target=target)


def sequence(rows: Sequence[Entry], cut: int = 0, **options: int) -> sequencing.Sequencer:
    """A sequencer that has taken *rows* in two batches."""
    sequencer = sequencing.Sequencer(ROOTS, **options)
    sequencer.enter(rows[:cut])
    sequencer.enter(rows[cut:])
    return sequencer


@pytest.mark.rule("R-9.6", "R-9.8")
def test_the_order_of_a_walk_is_accepted() -> None:
    rows = [
        directory(b""),
        directory(b"a"),
        entry(b"a/z"),
        entry(b"a-b"),  # behind what is in "a", though "-" sorts before "/"
        directory(b"b"),
        directory(b"b/c"),
        entry(b"b/c/d"),
        hard(b"b/e", b"b/c/d"),
        entry(b"", root="work"),
    ]
    for cut in range(10):
        sequencer = sequence(rows, cut)
        assert (sequencer.entries, sequencer.link_targets) == (9, {("default", b"b/c/d")})


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        pytest.param([directory(b""), entry(b"b"), entry(b"a")], "R-9.6", id="descending"),
        pytest.param([directory(b""), entry(b"a"), entry(b"a")], "R-9.6", id="twice"),
        pytest.param([directory(b""), directory(b"a"), entry(b"a-b"), entry(b"a/z")], "R-9.6", id="by bytes alone"),
        pytest.param([directory(b"", "work"), directory(b"")], "R-9.6", id="roots descend"),
        pytest.param([entry(b"a")], "R-9.8", id="no root"),
        pytest.param([directory(b""), entry(b"a", root="work")], "R-9.8", id="the second root is missing"),
        pytest.param([entry(b"", Kind.SYMLINK, target=b"x")], "R-9.8", id="a root that is a link"),
        pytest.param([entry(b""), entry(b"a")], "R-9.8", id="below a file that is a root"),
        pytest.param([directory(b""), entry(b"a/b")], "R-9.8", id="no parent"),
        pytest.param([directory(b""), entry(b"a"), entry(b"a/b")], "R-9.8", id="a file as parent"),
        pytest.param(
            [directory(b""), entry(b"a", Kind.SYMLINK, target=b"/etc"), entry(b"a/b")], "R-9.8", id="through a link"
        ),
        pytest.param([directory(b""), directory(b"a"), entry(b"b"), entry(b"c/d")], "R-9.8", id="parent left"),
        pytest.param([directory(b""), hard(b"a", b"b")], "R-9.12", id="a hard link forwards"),
        pytest.param([directory(b""), hard(b"a", b"a")], "R-9.12", id="a hard link to itself"),
    ],
)
@pytest.mark.rule("R-9.6", "R-9.8", "R-9.12")
def test_every_other_order_of_entries_is_refused(rows: Sequence[Entry], rule: str) -> None:
    for cut in range(len(rows) + 1):
        with pytest.raises(Malformed) as caught:
            sequence(rows, cut)
        assert caught.value.rule == rule


@pytest.mark.rule("R-9.6")
def test_skipped_rows_ascend_by_themselves() -> None:
    sequencer = sequencing.Sequencer(ROOTS)
    row = Skipped(root="default", path=b"b", kind="file", reason=Reason.LIMIT)
    sequencer.skip(row)
    sequencer.enter([directory(b"")])
    with pytest.raises(Malformed) as caught:
        sequencer.skip(replace(row, path=b"a"))
    assert caught.value.rule == "R-9.6"


@pytest.mark.rule("R-9.18")
def test_more_bytes_than_the_caller_accepts_are_refused() -> None:
    big = Entry(root="default", path=b"a", kind=Kind.FILE, size=11, extents=(Extent(None, 0, 11),))
    assert sequence([directory(b""), big], max_total=11).size == 11
    with pytest.raises(LimitExceeded):
        sequence([directory(b""), big], max_total=10)


@pytest.mark.rule("R-9.18")
def test_more_entries_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 2)
    assert sequence([directory(b""), entry(b"a")]).entries == 2
    with pytest.raises(LimitExceeded):
        sequence([directory(b""), entry(b"a"), entry(b"b")])


@pytest.mark.rule("R-9.18")
def test_more_skipped_rows_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 1)
    sequencer = sequencing.Sequencer(ROOTS)
    row = Skipped(root="default", path=b"a", kind="file", reason=Reason.LIMIT)
    sequencer.skip(row)
    with pytest.raises(LimitExceeded):
        sequencer.skip(replace(row, path=b"b"))


@pytest.mark.rule("R-9.2")
@pytest.mark.parametrize("totals", [Totals(entries=2), Totals(entries=1, skipped=1), Totals(entries=1, size=1)])
def test_totals_that_are_not_those_of_the_entries_are_refused(totals: Totals) -> None:
    sequencer = sequence([directory(b"")])
    sequencer.finish(Totals(entries=1))
    with pytest.raises(Malformed) as caught:
        sequencer.finish(totals)
    assert caught.value.rule == "R-9.2"


@pytest.mark.ci
@pytest.mark.rule("R-9.18")
@pytest.mark.parametrize("key", ["entries", "skipped"])
def test_a_batch_has_65536_rows_and_no_more(key: str) -> None:
    row: list[object] = [0, b"a", 0, 0, 0, 0, 0, *[None] * 5] if key == "entries" else [0, b"a", "", "", None]
    value: dict[str, object] = {"entries": [], "skipped": []}
    most = records.decode_batch(pack({**value, key: [row] * 65_536}), roots=["default"])
    assert len(most.entries) + len(most.skipped) == 65_536
    with pytest.raises(LimitExceeded) as caught:
        records.decode_batch(pack({**value, key: [row] * 65_537}), roots=["default"])
    assert caught.value.rule == "R-9.18"
