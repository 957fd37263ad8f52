"""What can be had of a damaged bundle: all that is whole, nothing that isn't authentic, and the truth of the rest."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support import (
    BUNDLE_ID,
    ROOT,
    SECRET,
    Part,
    assembled,
    directory,
    fill_small,
    identity,
    keys_body,
    manifest,
    metadata,
    packed,
    parts_of,
    recheck,
    seeded,
)

import ocbundle
from ocbundle import (
    agefile,
    agetext,
    canonical,
    cli,
    compression,
    contents,
    heads,
    limits,
    records,
    remains,
    salvaged,
    wire,
)
from ocbundle.container import Container
from ocbundle.errors import (
    BundleError,
    ChecksumMismatch,
    KeyRequired,
    LimitExceeded,
    Malformed,
    NoKeyFits,
    NotABundle,
    TargetExists,
    TargetFailure,
    Truncated,
    UnsupportedVersion,
    WrongPassphrase,
)
from ocbundle.model import Entry, Extent, Kind, Manifest, Role, Root, Totals
from ocbundle.outcomes import Condition, SalvageReport
from ocbundle.sealing import BundleKey
from ocbundle.sources import Sensitivity
from ocbundle.survivors import Survivors
from ocbundle.writer import Writer

OTHER = Root(name="notes", role=Role.WORKSPACE, source=b"/home/alice/notes")
LARGE = random.Random(7).randbytes(2_500_000)  # noqa: S311 - content that doesn't compress, the same each time


def fill(writer: Writer) -> None:
    """Two roots; a file in three segments, small ones in others, and every kind of link."""
    writer.add(directory())
    writer.add_file(metadata(b".env"), b"TOKEN=hush", sensitivity=Sensitivity.SECRET)
    sink = writer.open_file(sensitivity=Sensitivity.CONTENT)
    sink.write(LARGE)
    sink.finish(metadata(b"large.bin"))
    writer.add(Entry(root=ROOT.name, path=b"largely", kind=Kind.HARDLINK, target=b"large.bin"))
    writer.add(Entry(root=ROOT.name, path=b"link", kind=Kind.SYMLINK, target=b"sub/small", mode=0o777))
    writer.add(directory(b"sub"))
    writer.add_file(metadata(b"sub/small"), b"be kind\n", sensitivity=Sensitivity.CONTENT)
    writer.add(directory(root="notes"))
    writer.add_file(metadata(b"note", root="notes"), b"remember\n", sensitivity=Sensitivity.MIXED)


SMALL = packed(fill_small, seed=5)
BUNDLE = packed(fill, roots=(ROOT, OTHER))
FILES = {
    "default/.env": b"TOKEN=hush",
    "default/large.bin": LARGE,
    "default/largely": LARGE,
    "default/sub/small": b"be kind\n",
    "notes/note": b"remember\n",
}
SECTIONS = BUNDLE.container.frame.sections


def salvage(data: bytes, to: Path, **options: object) -> SalvageReport:
    return ocbundle.salvage(io.BytesIO(data), to, identities=identity(), **options)  # type: ignore[arg-type]


def files(top: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != "salvage.txt"
    }


def zeroed(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


def without(kind: bytes, data: bytes = BUNDLE.data) -> bytes:
    """*data* with all sections of a kind zeroed."""
    for section in Container(io.BytesIO(data)).frame.sections:
        data = zeroed(data, section.offset, section.end) if section.type == kind else data
    return data


def conditions(report: SalvageReport) -> dict[str, Condition]:
    return {casualty.name: casualty.condition for casualty in report.casualties}


def segments_of(name: str) -> set[int]:
    with BUNDLE.reader() as reader:
        root, _, path = name.partition("/")
        entry = reader.entry(root, path.encode())
        entry = reader.entry(root, entry.target or b"") if entry.kind is Kind.HARDLINK else entry
        return {extent.segment for extent in entry.extents if extent.segment is not None}


# --- a whole bundle --------------------------------------------------------------------------------------------------


def test_of_a_whole_bundle_everything_comes_out_and_that_is_said(tmp_path: Path) -> None:
    report = salvage(BUNDLE.data, tmp_path / "out")
    assert files(tmp_path / "out") == FILES
    assert (tmp_path / "out/default/link").readlink() == Path("sub/small")
    assert (tmp_path / "out/default/largely").samefile(tmp_path / "out/default/large.bin")
    assert (report.is_complete, report.framing, report.casualties, report.unnamed) == (True, None, (), 0)
    assert report.entries == BUNDLE.written.totals.entries
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["default", "notes"]
    assert salvaged.lines(report)[-1].startswith("the bundle is whole")
    assert salvaged.warnings(report) == []


# --- one part is damaged ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{section.label} at {section.offset}")
@pytest.mark.parametrize("part", ["header", "body", "both"])
def test_a_section_that_is_damaged_takes_only_its_own_bytes_with_it(
    section: wire.Section, part: str, tmp_path: Path
) -> None:
    start = section.offset if part != "body" else section.body_offset + section.body_length // 2
    end = section.body_offset if part == "header" else section.end
    report = salvage(zeroed(BUNDLE.data, start, end), tmp_path / "out")
    lost = {section.number} if section.type == wire.SEGM and part != "header" else set()
    whole = {name: content for name, content in FILES.items() if not lost & segments_of(name)}
    found = {name: content for name, content in files(tmp_path / "out").items() if ".damaged/" not in name}
    assert found == whole
    assert report.is_complete is (not lost and not (section.type in {wire.ENTR, wire.MANI} and part != "header"))
    # The index still vouches for all of it: that a header is damaged hides nothing.
    assert report.framing is None


@pytest.mark.rule("R-13.7")
def test_a_file_of_which_a_part_is_lost_lies_beside_its_root_and_zeros_stand_for_the_part(tmp_path: Path) -> None:
    first, second = sorted(segments_of("default/large.bin"))[:2]
    lost = next(section for section in SECTIONS if section.type == wire.SEGM and section.number == second)
    report = salvage(zeroed(BUNDLE.data, lost.body_offset, lost.end), tmp_path / "out")
    with BUNDLE.reader() as reader:
        lengths = [extent.length for extent in reader.entry("default", b"large.bin").extents]
    start, end = lengths[0], lengths[0] + lengths[1]
    damaged = tmp_path / "out/default.damaged/large.bin"
    assert damaged.read_bytes() == zeroed(LARGE, start, end)
    assert damaged.samefile(tmp_path / "out/default.damaged/largely")
    assert not (tmp_path / "out/default/large.bin").exists()
    assert conditions(report) == {"default/large.bin": Condition.DAMAGED, "default/largely": Condition.DAMAGED}
    assert report.casualties[0].note == (
        f"{end - start:,} of {len(LARGE):,} bytes are lost, {start}-{end - 1}: zeros stand for them"
    )
    assert first != second


@pytest.mark.rule("R-13.7")
def test_a_file_of_which_nothing_is_left_is_listed(tmp_path: Path) -> None:
    (number,) = segments_of("default/.env")
    lost = next(section for section in SECTIONS if section.type == wire.SEGM and section.number == number)
    report = salvage(zeroed(BUNDLE.data, lost.body_offset, lost.end), tmp_path / "out")
    assert conditions(report) == {"default/.env": Condition.LOST}
    assert report.list_path is not None
    assert Path(report.list_path).read_text().splitlines()[-1] == (
        "lost           default/.env: all of its 10 bytes are lost"
    )
    assert "  default/.env: all of its 10 bytes are lost" in salvaged.lines(report)
    assert "1 file or link is lost" in salvaged.warnings(report)


@pytest.mark.rule("R-13.7")
@pytest.mark.parametrize("cut", ["index", "second keys", "head", "batch"])
def test_without_the_end_files_come_out_by_their_journals_and_are_marked_as_not_confirmed(
    cut: str, tmp_path: Path
) -> None:
    batch, head, keys = SECTIONS[-3:]
    end = {"index": keys.end, "second keys": keys.offset, "head": head.offset, "batch": batch.offset}[cut]
    report = salvage(BUNDLE.data[:end], tmp_path / "out")
    assert files(tmp_path / "out") == FILES
    assert report.framing == "the end of the bundle is missing"
    if cut == "batch":
        assert set(conditions(report)) == set(FILES)
        assert set(conditions(report).values()) == {Condition.UNCONFIRMED}
        assert report.journaled == report.entries == BUNDLE.written.totals.entries
    else:
        assert conditions(report) == {}
        assert report.journaled == 0
    assert report.unnamed == (0 if cut in {"index", "second keys"} else None)
    assert report.is_complete is (cut in {"index", "second keys"})


def test_without_the_head_batches_and_journals_still_agree_on_the_names_of_roots(tmp_path: Path) -> None:
    report = salvage(without(wire.MANI), tmp_path / "out")
    assert files(tmp_path / "out") == FILES
    assert (report.casualties, report.manifest, report.unnamed) == ((), None, None)
    assert any("nobody can tell how much is missing" in text for text in salvaged.warnings(report))


def test_a_root_that_nothing_names_is_known_by_its_index(tmp_path: Path) -> None:
    batch = records.encode_batch([records.entry_row(directory(), 0)], (), roots={})
    data = forged([(wire.ENTR, batch, b"")])
    report = salvage(data, tmp_path / "out")
    assert [Path(root).name for root in report.roots] == ["root-0"]


def test_what_neither_batch_nor_journal_tells_of_is_counted(tmp_path: Path) -> None:
    data = without(wire.ENTR)
    (number,) = segments_of("notes/note")
    lost = next(section for section in SECTIONS if section.type == wire.SEGM and section.number == number)
    report = salvage(zeroed(data, lost.offset, lost.end), tmp_path / "out")
    assert report.unnamed
    assert report.unnamed + report.entries - report.remade == BUNDLE.written.totals.entries
    assert any("not even the name" in text for text in salvaged.warnings(report))


# --- the framing -----------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-5.10")
def test_that_the_framing_is_not_authenticated_is_said(tmp_path: Path) -> None:
    changed = replace(BUNDLE.container.frame.footer, frame_mac=bytes(32)).encode()
    report = salvage(BUNDLE.data[: -wire.FOOTER_LENGTH] + changed, tmp_path / "out")
    assert report.framing == "the framing of the bundle was changed by somebody without its key"
    assert any("the framing isn't authenticated" in text for text in salvaged.warnings(report))
    assert salvaged.fields(report)["framing_authenticated"] is False
    assert files(tmp_path / "out") == FILES
    assert report.is_complete


def test_what_is_no_part_of_an_authentic_frame_is_left_out(tmp_path: Path) -> None:
    # Sealed by a holder of the key, for the place of a section that is damaged; but the frame never had it.
    victim = next(section for section in SECTIONS if section.type == wire.SEGM)
    place = compression.Place(bundle_id=BUNDLE.bundle_id, type=wire.SEGM, number=victim.number)
    body = BUNDLE.key.seal(compression.encode(place, bytes(2_000_000), level=1), seeded(3))
    header = replace(victim, body_length=len(body), sha256=hashlib.sha256(body).digest()).encode()
    assert len(header + body) <= victim.end - victim.offset
    data = zeroed(BUNDLE.data, victim.offset, victim.end)
    data = data[: victim.offset] + header + body + data[victim.offset + len(header + body) :]
    report = salvage(data, tmp_path / "out")
    assert report.framing is None
    assert conditions(report)


def test_sections_of_another_bundle_are_never_given_out(tmp_path: Path) -> None:
    other = packed(fill, seed=1, roots=(ROOT, OTHER))
    parts, foreign = parts_of(BUNDLE.data), parts_of(other.data)
    mixed = [theirs if ours.type == wire.SEGM else ours for ours, theirs in zip(parts, foreign, strict=True)]
    report = salvage(assembled(mixed, preamble=BUNDLE.container.frame.preamble), tmp_path / "out")
    assert files(tmp_path / "out") == {}
    assert set(conditions(report).values()) == {Condition.LOST}


def test_of_two_bundles_in_one_file_the_first_comes_out(tmp_path: Path) -> None:
    report = salvage(SMALL.data + BUNDLE.data, tmp_path / "out")
    assert report.bundle_id == SMALL.bundle_id.hex()
    assert report.is_complete
    assert sorted(files(tmp_path / "out")) == ["default/.env", "default/SOUL.md", "default/hard"]


def test_where_the_first_of_two_bundles_has_lost_its_keys_the_other_comes_out(tmp_path: Path) -> None:
    report = salvage(without(wire.KEYS, SMALL.data) + BUNDLE.data, tmp_path / "out")
    assert report.bundle_id == BUNDLE.bundle_id.hex()
    assert files(tmp_path / "out") == FILES


@pytest.mark.parametrize("garbage", [b"", b"x", b"OCBS" * 5000, bytes(5000), b"age-encryption.org/v1\n" * 100])
def test_garbage_around_a_bundle_takes_nothing_away(garbage: bytes, tmp_path: Path) -> None:
    report = salvage(garbage + BUNDLE.data + garbage, tmp_path / "out")
    assert files(tmp_path / "out") == FILES
    assert report.is_complete


def test_bytes_that_went_missing_or_came_in_between_move_nothing_out_of_reach(tmp_path: Path) -> None:
    (number,) = segments_of("default/.env")
    victim = next(section for section in SECTIONS if section.type == wire.SEGM and section.number == number)
    at = victim.body_offset + 50
    for name, data in (
        ("fewer", BUNDLE.data[:at] + BUNDLE.data[at + 3 :]),
        ("more", BUNDLE.data[:at] + b"abc" + BUNDLE.data[at:]),
    ):
        salvage(data, tmp_path / name)
        assert files(tmp_path / name) == {path: what for path, what in FILES.items() if path != "default/.env"}


# --- keys ------------------------------------------------------------------------------------------------------------


def test_either_copy_of_the_keys_opens_it(tmp_path: Path) -> None:
    first, second = (section for section in SECTIONS if section.type == wire.KEYS)
    for name, section in (("first", first), ("second", second)):
        salvage(zeroed(BUNDLE.data, section.offset, section.end), tmp_path / name)
        assert files(tmp_path / name) == FILES


def test_without_any_keys_nothing_can_be_had(tmp_path: Path) -> None:
    data = BUNDLE.data
    for section in SECTIONS:
        data = zeroed(data, section.body_offset + 200, section.end) if section.type == wire.KEYS else data
    with pytest.raises(ChecksumMismatch, match="no copy of the bundle's keys is whole"):
        salvage(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whoever_has_no_key_gets_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyRequired):
        ocbundle.salvage(io.BytesIO(BUNDLE.data), tmp_path / "out")
    with pytest.raises(NoKeyFits):
        ocbundle.salvage(io.BytesIO(BUNDLE.data), tmp_path / "out", identities=identity(bytes(32)))


def test_that_another_recipients_keys_may_be_whole_is_hinted_at(tmp_path: Path) -> None:
    two = packed(fill_small, recipients=(bytes(range(32)), bytes(range(1, 33))))
    data = two.data
    for section in two.container.frame.sections:
        if section.type == wire.KEYS and section.number == 0:
            data = zeroed(data, section.body_offset + 200, section.end)
    with pytest.raises(NoKeyFits) as caught:
        salvage(data, tmp_path / "out")
    assert "another recipient's identity may still open it" in (caught.value.hint or "")


def test_a_passphrase_opens_it_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    key = BundleKey(bytes(range(32)))
    text = f"# bundle: {BUNDLE_ID.hex()}\n{key.text.decode()}\n".encode()
    keys = [agefile.seal_passphrase(text, words, seeded(), work_factor=1) for words in ("other", "open sesame")]
    data = forged([batch_of(directory())], head(1), keys=keys, key=key)[:-100]
    assert ocbundle.salvage(io.BytesIO(data), tmp_path / "out", passphrase="open sesame").entries == 1
    with pytest.raises(WrongPassphrase):
        ocbundle.salvage(io.BytesIO(data), tmp_path / "new", passphrase="sesame")
    with pytest.raises(NoKeyFits):
        salvage(data, tmp_path / "new", passphrase="sesame")


def test_keys_that_break_a_rule_are_told_of_where_no_others_are(tmp_path: Path) -> None:
    key = BundleKey(bytes(range(32)))
    empty = keys_body_of(f"# bundle: {BUNDLE_ID.hex()}\n")
    with pytest.raises(Malformed, match="doesn't hold one key"):
        salvage(forged([batch_of(directory())], head(1), keys=[empty], key=key), tmp_path / "out")


def test_no_more_keys_are_tried_than_a_bundle_may_have(tmp_path: Path) -> None:
    key, rng = BundleKey(bytes(range(32))), seeded(9)
    others = [keys_body(key, BUNDLE_ID, rng, bytes([number + 40]) * 32) for number in range(16)]
    ours = keys_body(key, BUNDLE_ID, rng)
    assert salvage(forged([batch_of(directory())], keys=[*others[:15], ours], key=key), tmp_path / "out").entries == 1
    with pytest.raises(NoKeyFits):
        salvage(forged([batch_of(directory())], keys=[*others, ours], key=key), tmp_path / "new")


def keys_body_of(text: str) -> bytes:
    rng, public = seeded(4), agefile.x25519_public(SECRET)
    return agefile.seal(text.encode(), lambda file_key: agefile.wrap_x25519(file_key, public, rng), rng)


# --- what isn't one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", NotABundle), (b"\x89PNG" * 40, NotABundle), (BUNDLE.data[:64], Truncated), (bytes(70_000), NotABundle)],
    ids=["empty", "picture", "preamble", "zeros"],
)
def test_what_holds_nothing_of_a_bundle_is_refused(data: bytes, expected: type[BundleError], tmp_path: Path) -> None:
    with pytest.raises(expected):
        salvage(data, tmp_path / "out")


def test_a_newer_version_is_not_read_wrongly(tmp_path: Path) -> None:
    newer = recheck(BUNDLE.data[:8] + b"\x02\x02" + BUNDLE.data[10:], 0, wire.PREAMBLE_LENGTH)
    with pytest.raises(UnsupportedVersion):
        salvage(newer, tmp_path / "out")


def test_where_only_content_without_a_name_is_left_the_error_says_so(tmp_path: Path) -> None:
    data = forged([(wire.SEGM, b"content", b"")])
    with pytest.raises(ChecksumMismatch, match="nothing that tells the name of a file is left"):
        salvage(data, tmp_path / "out")


def test_more_section_headers_than_a_bundle_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "_MOST_MARKS", 5)
    with pytest.raises(LimitExceeded):
        salvage(BUNDLE.data, tmp_path / "out")


def test_more_bytes_than_the_caller_accepts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded):
        salvage(BUNDLE.data, tmp_path / "out", max_total=100)


@pytest.mark.parametrize("most", [1, 3])
def test_more_entries_than_a_bundle_can_have_are_refused(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", most)
    journal = journal_of(directory(), a_file(b"one/two/three", b"abc"))
    with pytest.raises(LimitExceeded):
        salvage(forged([(wire.SEGM, b"abc", journal)]), tmp_path / "out")
    with pytest.raises(LimitExceeded):
        salvage(forged([batch_of(directory(), *(a_file(bytes([97 + n]), b"") for n in range(3)))]), tmp_path / "out")


def test_a_list_of_entries_that_cannot_be_kept_is_no_fault_of_the_bundle() -> None:
    with Survivors() as survivors:
        survivors._db.close()
        with pytest.raises(TargetFailure, match="the list of entries can't be kept"):
            survivors.add_journal(journal_of(directory()))


# --- where it goes ---------------------------------------------------------------------------------------------------


def test_nothing_is_mixed_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("full", "file", "dangling"):
        with pytest.raises(TargetExists):
            salvage(BUNDLE.data, tmp_path / name)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert salvage(BUNDLE.data, tmp_path / "empty").is_complete


def test_a_dry_run_tells_the_same_and_writes_nothing(tmp_path: Path) -> None:
    damaged = without(wire.ENTR)
    told = salvage(damaged, tmp_path / "out", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    done = salvage(damaged, tmp_path / "out")
    assert (told.entries, told.size, told.conditions) == (done.entries, done.size, done.conditions)
    assert told.list_path is None


def test_names_of_our_own_give_way_to_roots_that_have_them(tmp_path: Path) -> None:
    names = ("default.damaged", "salvage.txt")
    roots = (ROOT, *(Root(name=name, role=Role.EXTRA, source=b"/x") for name in names))

    def fill_three(writer: Writer) -> None:
        writer.add(directory())
        sink = writer.open_file(sensitivity=Sensitivity.CONTENT)
        sink.write(LARGE)
        sink.finish(metadata(b"large.bin"))
        for root in roots[1:]:
            writer.add(directory(root=root.name))

    three = packed(fill_three, roots=roots)
    lost = next(section for section in three.container.frame.sections if section.type == wire.SEGM)
    report = salvage(zeroed(three.data, lost.body_offset, lost.end), tmp_path / "out")
    laid_out = [Path(root).name for root in report.roots]
    assert laid_out == ["default", "default.damaged", "salvage.txt", "default.damaged~2", "salvage.txt~2"]


def test_the_longest_name_of_a_root_leaves_room_for_what_is_beside_it(tmp_path: Path) -> None:
    root = Root(name="é" * 127, role=Role.EXTRA, source=b"/x")

    def fill_one(writer: Writer) -> None:
        writer.add(directory(root=root.name))
        sink = writer.open_file(sensitivity=Sensitivity.CONTENT)
        sink.write(LARGE)
        sink.finish(metadata(b"large.bin", root=root.name))

    one = packed(fill_one, roots=(root,))
    lost = next(section for section in one.container.frame.sections if section.type == wire.SEGM)
    report = salvage(zeroed(one.data, lost.body_offset, lost.end), tmp_path / "out")
    assert [Path(root).name for root in report.roots] == [root.name, "é" * 123 + ".damaged", "salvage.txt"]


def test_where_no_hard_links_can_be_made_content_stands_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(contents, "_KEPT", 1)
    salvage(BUNDLE.data, tmp_path / "whole")
    assert files(tmp_path / "whole") == FILES
    lost = next(section for section in SECTIONS if section.type == wire.SEGM and section.body_length > 1_000_000)
    salvage(zeroed(BUNDLE.data, lost.body_offset, lost.end), tmp_path / "damaged")
    damaged = tmp_path / "damaged/default.damaged"
    assert (damaged / "largely").read_bytes() == (damaged / "large.bin").read_bytes()


def test_of_many_losses_the_report_shows_some_and_the_list_all(tmp_path: Path) -> None:
    def fill_many(writer: Writer) -> None:
        writer.add(directory())
        for number in range(30):
            writer.add_file(metadata(b"%02d" % number), b"%d" % number, sensitivity=Sensitivity.CONTENT)

    many = packed(fill_many)
    lost = next(section for section in many.container.frame.sections if section.type == wire.SEGM)
    report = salvage(zeroed(many.data, lost.body_offset, lost.end), tmp_path / "out")
    assert "  and 10 more" in salvaged.lines(report)
    assert len(Path(report.list_path or "").read_text().splitlines()) == 6 + 30


# --- a holder of the key plays tricks --------------------------------------------------------------------------------


def forged(
    sections: Sequence[tuple[bytes, bytes, bytes]],
    head: Manifest | None = None,
    *,
    keys: Sequence[bytes] = (),
    key: BundleKey | None = None,
) -> bytes:
    """A bundle of sections given as type, raw content and raw journal, with or without a head; no frame MAC."""
    rng = seeded()
    key = key or BundleKey.generate(rng)
    run = [
        Part(type=wire.KEYS, number=number, body=body)
        for number, body in enumerate(keys or [keys_body(key, BUNDLE_ID, rng)])
    ]
    parts: list[Part] = []
    for kind, raw, journal in [*sections, *([(wire.MANI, heads.encode_manifest(head), b"")] if head else [])]:
        place = compression.Place(bundle_id=BUNDLE_ID, type=kind, number=sum(part.type == kind for part in parts))
        body = key.seal(compression.encode(place, raw, level=1, journal=journal), rng)
        parts.append(Part(type=kind, number=place.number, body=body))
    return assembled([*run, *parts, *run], preamble=wire.Preamble(bundle_id=BUNDLE_ID))


def a_file(path: bytes, content: bytes, **changes: object) -> Entry:
    described = Entry(
        root=ROOT.name,
        path=path,
        kind=Kind.FILE,
        mode=0o600,
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        extents=(Extent(0, 0, len(content)),) if content else (),
    )
    return described.replace(**changes)


def batch_of(*entries: Entry) -> tuple[bytes, bytes, bytes]:
    return wire.ENTR, records.encode_batch([records.entry_row(entry, 0) for entry in entries], (), roots={}), b""


def journal_of(*entries: Entry) -> bytes:
    return records.encode_journal([records.entry_row(entry, 0) for entry in entries], roots=[ROOT.name])


def head(entries: int) -> Manifest:
    return replace(manifest(), totals=Totals(entries=entries, segments=1, batches=1))


def test_a_file_that_is_not_what_its_digest_says_is_damaged(tmp_path: Path) -> None:
    wrong = a_file(b"a", b"other", sha256=bytes(32))
    data = forged([(wire.SEGM, b"other", b""), batch_of(directory(), wrong)], head(2))
    report = salvage(data, tmp_path / "out")
    assert files(tmp_path / "out") == {"default.damaged/a": b"other"}
    assert report.casualties[0].note == "it isn't what its digest says"


def test_an_extent_that_ends_behind_its_segment_is_lost(tmp_path: Path) -> None:
    data = forged([(wire.SEGM, b"abc", b""), batch_of(directory(), a_file(b"a", b"abcd"))], head(2))
    assert conditions(salvage(data, tmp_path / "out")) == {"default/a": Condition.LOST}


def test_directories_whose_entries_are_lost_are_made_anew_and_closed(tmp_path: Path) -> None:
    journal = journal_of(a_file(b"one/two/three", b"abc", mode=0o644))
    data = forged([(wire.SEGM, b"abc", journal)])
    report = salvage(data, tmp_path / "out")
    assert files(tmp_path / "out") == {"default/one/two/three": b"abc"}
    assert [(tmp_path / "out" / path).stat().st_mode & 0o777 for path in ("default", "default/one/two")] == [0o700] * 2
    assert report.remade == 3
    assert "3 directories made anew, closed to others" in salvaged.lines(report)
    assert not report.is_complete


def test_what_stands_below_a_file_or_a_link_is_lost(tmp_path: Path) -> None:
    link = Entry(root=ROOT.name, path=b"l", kind=Kind.SYMLINK, target=b"/etc")
    below_a_file = [a_file(b"f", b"abc"), directory(b"f/d"), a_file(b"f/d/x", b"abc")]
    batch = batch_of(directory(), *below_a_file, link, a_file(b"l/x", b"abc"))
    data = forged([(wire.SEGM, b"abc", b""), batch], head(6))
    report = salvage(data, tmp_path / "out")
    assert files(tmp_path / "out") == {"default/f": b"abc"}
    assert set(conditions(report)) == {"default/f/d", "default/f/d/x", "default/l/x"}


def test_a_hard_link_without_its_file_is_lost(tmp_path: Path) -> None:
    links = [
        Entry(root=ROOT.name, path=path, kind=Kind.HARDLINK, target=target)
        for path, target in ((b"b", b"a"), (b"c", b"d"), (b"e", b"c"), (b"g", b"nothing"), (b"h", b"h"))
    ]
    entries = [directory(), *links[:2], directory(b"d"), *links[2:]]
    data = forged([batch_of(*entries)], head(len(entries)))
    assert set(conditions(salvage(data, tmp_path / "out"))) == {f"default/{name}" for name in "bcegh"}


def test_a_hard_link_that_stands_before_its_file_is_lost(tmp_path: Path) -> None:
    link = Entry(root=ROOT.name, path=b"a", kind=Kind.HARDLINK, target=b"b")
    data = forged([(wire.SEGM, b"abc", journal_of(link, a_file(b"b", b"abc"), directory()))])
    report = salvage(data, tmp_path / "out")
    assert conditions(report) == {"default/a": Condition.LOST, "default/b": Condition.UNCONFIRMED}


def test_a_root_that_is_a_link_is_lost(tmp_path: Path) -> None:
    link = Entry(root=ROOT.name, path=b"", kind=Kind.SYMLINK, target=b"/etc")
    data = forged([batch_of(link, a_file(b"passwd", b""))], head(2))
    report = salvage(data, tmp_path / "out")
    assert conditions(report) == {"default": Condition.LOST, "default/passwd": Condition.LOST}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["salvage.txt"]
    assert salvage(data, tmp_path / "new", dry_run=True).entries == 0


def test_a_journal_or_batch_that_breaks_a_rule_is_left_out(tmp_path: Path) -> None:
    bad = canonical.pack([[ROOT.name, b"../../x", 0, 0, 0, 0, 0, None, None, None, None, None]])
    data = forged([(wire.SEGM, b"abc", bad), (wire.SEGM, b"abc", journal_of(directory(), a_file(b"a", b"abc")))])
    report = salvage(data, tmp_path / "out")
    assert files(tmp_path / "out") == {"default/a": b"abc"}
    assert report.segments.whole == 2


def test_what_batches_tell_goes_before_what_journals_tell(tmp_path: Path) -> None:
    old, new = a_file(b"a", b"old"), a_file(b"a", b"new", extents=(Extent(0, 3, 3),))
    data = forged([(wire.SEGM, b"oldnew", journal_of(directory(), old)), batch_of(directory(), new)])
    salvage(data, tmp_path / "out")
    assert files(tmp_path / "out") == {"default/a": b"new"}


def test_a_section_of_another_bundle_under_the_same_key_is_left_out(tmp_path: Path) -> None:
    key, rng = BundleKey(bytes(range(32))), seeded()
    place = compression.Place(bundle_id=bytes(16), type=wire.ENTR, number=0)
    _, raw, _ = batch_of(directory(), directory(b"foreign"))
    body = key.seal(compression.encode(place, raw, level=1), rng)
    foreign = Part(type=wire.ENTR, number=0, body=body)
    parts = parts_of(forged([batch_of(directory())], head(1), key=key))
    for name, order in (("behind", [*parts, foreign]), ("between", [*parts[:2], foreign, *parts[2:]])):
        report = salvage(assembled(order, preamble=wire.Preamble(bundle_id=BUNDLE_ID)), tmp_path / name)
        assert report.entries == 1
        assert not (tmp_path / name / "default/foreign").exists()


# --- any damage ------------------------------------------------------------------------------------------------------


def harms(data: bytes) -> Iterator[bytes]:
    places = random.Random(11)  # noqa: S311 - the same damage in every run
    for at in range(0, len(data), 211):
        yield data[:at]
        yield data[at:]
        yield data[:at] + bytes([data[at] ^ 1 << places.randrange(8)]) + data[at + 1 :]
        yield data[:at] + places.randbytes(64) + data[at + 64 :]
        yield data[:at] + data[at + 1 + places.randrange(400) :]


def test_no_damage_ends_in_anything_but_a_report_or_a_typed_error(tmp_path: Path) -> None:
    wanted = {"default/.env": b"TOKEN=hush", "default/SOUL.md": b"be kind\n", "default/hard": b"be kind\n"}
    reports = 0
    for number, data in enumerate(harms(SMALL.data)):
        try:
            report = salvage(data, tmp_path / str(number), dry_run=number % 4 != 0)
        except BundleError:
            continue
        reports += 1
        assert salvaged.lines(report)
        for name, content in files(tmp_path / str(number)).items():
            assert wanted[name] == content
    assert reports > 50


class FailingDisk(io.BytesIO):
    """A file of which some bytes can't be read."""

    def __init__(self, data: bytes, bad: range) -> None:
        super().__init__(data)
        self.bad = bad

    def read(self, size: int | None = -1, /) -> bytes:
        here = self.tell()
        end = here + (size if size is not None and size >= 0 else len(self.getvalue()))
        if here < self.bad.stop and end > self.bad.start:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_what_a_failing_disk_cannot_read_is_lost_and_nothing_else(tmp_path: Path) -> None:
    number = sorted(segments_of("default/large.bin"))[1]
    victim = next(section for section in SECTIONS if section.type == wire.SEGM and section.number == number)
    at = victim.body_offset + victim.body_length // 2
    ocbundle.salvage(FailingDisk(BUNDLE.data, range(at, at + 1)), tmp_path / "out", identities=identity())
    found = files(tmp_path / "out")
    assert sorted(found) == sorted(
        ["default/.env", "default/sub/small", "notes/note", "default.damaged/large.bin", "default.damaged/largely"]
    )


def test_a_disk_that_cannot_read_the_index_gives_everything_all_the_same(tmp_path: Path) -> None:
    at = len(BUNDLE.data) - wire.FOOTER_LENGTH - 10
    source = FailingDisk(BUNDLE.data, range(at, at + 1))
    report = ocbundle.salvage(source, tmp_path / "out", identities=identity())
    assert report.framing == "it can't be read: input/output error"
    assert report.conditions[Condition.WHOLE] == len(FILES) + 1 or not report.is_complete
    assert files(tmp_path / "out")["default/large.bin"] == LARGE


def test_another_failure_of_the_source_is_the_callers_own(tmp_path: Path) -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ESTALE, f"gone at {size}")

    with pytest.raises(OSError, match="gone"):
        ocbundle.salvage(Gone(b"x"), tmp_path / "out", identities=identity())


def test_progress_is_told(tmp_path: Path) -> None:
    stages: list[str] = []
    salvage(BUNDLE.data, tmp_path / "out", progress=lambda progress: stages.append(progress.stage))
    assert list(dict.fromkeys(stages)) == ["scan", "verify", "unpack"]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A bundle without an end, and the key to it beside it."""
    (tmp_path / "key.txt").write_text(f"{agetext.encode_identity(SECRET)}\n")
    (tmp_path / "damaged.ocbundle").write_bytes(without(wire.ENTR)[:-200])
    return tmp_path


def run(*arguments: str | Path) -> int:
    return cli.run([str(argument) for argument in arguments], {})


def test_the_command_says_what_is_lost_and_ends_in_3(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("salvage", "-i", damaged / "key.txt", "--to", damaged / "out", damaged / "damaged.ocbundle")
    said = capsys.readouterr()
    assert code == 3
    assert said.out.startswith("salvaged: 9 of 9 entries")
    assert f"each of them is named in {damaged}/out/salvage.txt" in said.out
    assert "ocbundle: warning: 5 files or links are not confirmed, since digests are lost" in said.err
    assert files(damaged / "out") == FILES


def test_the_command_says_the_same_in_json(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, bundle = damaged / "key.txt", damaged / "damaged.ocbundle"
    code = run("salvage", "--json", "-n", "-i", key, "--to", damaged / "out", bundle)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 3
    assert {row["path"] for row in said if row.get("status") == "casualty"} == set(FILES)
    assert said[-1]["conditions"] == {"whole": 1, "unconfirmed": 5, "damaged": 0, "lost": 0}
    assert said[-1]["framing_authenticated"] is False
    assert not (damaged / "out").exists()


def test_the_command_ends_in_0_where_everything_came_out(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged / "damaged.ocbundle").write_bytes(BUNDLE.data[:-1])
    code = run("salvage", "-i", damaged / "key.txt", "--to", damaged / "out", damaged / "damaged.ocbundle")
    assert code == 0
    assert "pack anew, since the bundle itself isn't" in capsys.readouterr().out


def test_the_command_ends_in_4_where_nothing_can_be_had(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged / "damaged.ocbundle").write_bytes(without(wire.KEYS))
    code = run("salvage", "-i", damaged / "key.txt", "--to", damaged / "out", damaged / "damaged.ocbundle")
    assert code == 4
    said = capsys.readouterr().err
    assert "no copy of the bundle's keys is whole" in said
    assert "ocbundle: hint: only another copy of the bundle can help" in said


def test_who_meets_damage_is_told_of_salvage(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = len(BUNDLE.data) // 2
    (damaged / "damaged.ocbundle").write_bytes(zeroed(BUNDLE.data, at, at + 1))
    assert run("verify", damaged / "damaged.ocbundle") == 4
    assert "ocbundle salvage gets out what is left" in capsys.readouterr().err
