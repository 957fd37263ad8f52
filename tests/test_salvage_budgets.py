"""What a holder of a recipient can make a salvage do: no more than what the bundle holds is worth."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forging import Forgery, directory, hardlink
from support import BUNDLE_ID, Part, assembled, identity, keys_body

import ocbundle
from ocbundle import agefile, records, survivors, wire, wreck
from ocbundle.canonical import pack
from ocbundle.errors import WrongPassphrase
from ocbundle.model import Entry
from ocbundle.outcomes import Condition, SalvageReport
from ocbundle.records import Row
from ocbundle.survivors import Names, Survivors


def salvage(data: bytes, to: Path, **options: object) -> SalvageReport:
    return ocbundle.salvage(io.BytesIO(data), to, identities=identity(), **options)  # type: ignore[arg-type]


def names(report: SalvageReport) -> list[str]:
    return [Path(root).name for root in report.roots]


def headless(forgery: Forgery) -> bytes:
    """The bundle without the manifest's head."""
    keys = Part(type=wire.KEYS, number=0, body=keys_body(forgery.key, BUNDLE_ID, forgery.rng))
    return assembled([keys, *forgery.parts, keys], preamble=wire.Preamble(bundle_id=BUNDLE_ID), key=forgery.key)


# --- without the head ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, ["one", "two"]), (150, ["one", "root-1", "two"]), (1, ["one", "root-0", "root-1", "two"])],
    ids=["all", "some", "none"],
)
def test_only_so_many_rows_are_compared_for_the_names_of_all_roots_together(
    most: int | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if most is not None:
        monkeypatch.setattr(survivors, "_COMPARED", most)

    def rows(*roots: object) -> list[Row]:
        return [[root, *directory(mode=0o700 + number)[1:]] for number, root in enumerate(roots)]

    forgery = Forgery().batch(rows(0, 1)).section(wire.SEGM, b"", journal=pack(rows("one", "two")))
    assert sorted(names(salvage(headless(forgery), tmp_path / "out"))) == expected


def test_what_a_name_costs_does_not_grow_with_how_many_names_there_are() -> None:
    def steps(number: int) -> int:
        """What the list of entries has to do, in hundreds of the database's instructions."""
        done = [0]

        def count() -> None:
            done[0] += 1

        with Survivors() as entries:
            entries.add_batch(pack({"entries": [directory()], "skipped": []}))
            entries.add_journal(pack([[f"{index:04}", *directory()[1:]] for index in range(number)]))
            entries._db.set_progress_handler(count, 100)
            entries.settle(None)
            assert entries.names == [f"{index:04}" for index in range(number)]
        return done[0]

    assert steps(1000) < 3 * steps(500)


# --- directories ------------------------------------------------------------------------------------------------------


def test_not_many_more_directories_are_made_anew_than_there_are_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wreck, "_REMADE", 3)
    forgery = Forgery()
    rows = [forgery.file(path) for path in (b"a/b/c/d", b"b/c/d/e", b"c/d/e/f", b"d")]
    report = salvage(forgery.add(*rows).bundle(), tmp_path / "out")
    assert (report.remade, report.conditions[Condition.WHOLE]) == (7, 3)
    assert [(casualty.name, casualty.condition, casualty.note) for casualty in report.casualties] == [
        (
            "default/c/d/e/f",
            Condition.LOST,
            "nothing tells of the directories over it, and too many have been made anew",
        )
    ]
    assert sorted(str(path.relative_to(tmp_path / "out/default")) for path in (tmp_path / "out").rglob("[d-f]")) == [
        "a/b/c/d",
        "b/c/d",
        "b/c/d/e",
        "d",
    ]


# --- names ------------------------------------------------------------------------------------------------------------


class Counting(set[str]):
    """A set that counts how often it is asked whether it holds something."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


@pytest.mark.parametrize("length", [3, 251])
def test_names_that_begin_alike_are_numbered_without_trying_each_number_again(length: int) -> None:
    names = Names(())
    taken = names._taken = Counting()
    found = [names.unique("x" * length + f"{number:04}"[: 255 - length], ".damaged") for number in range(500)]
    assert found[:1] == [("x" * length + "0000")[:247] + ".damaged"]
    assert len(set(found)) == 500
    assert max(len(name) for name in found) <= 255
    assert taken.asked <= 3 * 500


def test_a_number_that_a_root_has_for_its_name_is_left_out() -> None:
    names = Names(["a", "a~2", "a~4"])
    assert [names.unique("a") for _ in range(3)] == ["a~3", "a~5", "a~6"]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_no_more_than_two_passphrases_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bytes] = []
    real = agefile.open_passphrase

    def count(body: bytes, *arguments: Any, **options: Any) -> bytes:  # noqa: ANN401
        tried.append(body)
        return real(body, *arguments, **options)

    monkeypatch.setattr(agefile, "open_passphrase", count)
    forgery = Forgery().batch([directory()])
    text = f"# bundle: {BUNDLE_ID.hex()}\n{forgery.key.text.decode()}\n".encode()
    bodies = [agefile.seal_passphrase(text, words, forgery.rng, work_factor=1) for words in ("a", "b", "c", "d")]
    run = [Part(type=wire.KEYS, number=number, body=body) for number, body in enumerate(bodies)]
    data = assembled([*run, *forgery.parts, *run], preamble=wire.Preamble(bundle_id=BUNDLE_ID), key=forgery.key)
    assert ocbundle.salvage(io.BytesIO(data), tmp_path / "out", passphrase="b").entries == 1
    assert tried == bodies[:2]
    tried.clear()
    with pytest.raises(WrongPassphrase):
        ocbundle.salvage(io.BytesIO(data), tmp_path / "new", passphrase="c")
    assert tried == bodies[:2]


def test_keys_behind_many_passphrases_are_tried_all_the_same(tmp_path: Path) -> None:
    forgery = Forgery().batch([directory()])
    bodies = [agefile.seal_passphrase(b"", str(number), forgery.rng, work_factor=1) for number in range(16)]
    bodies.append(keys_body(forgery.key, BUNDLE_ID, forgery.rng))
    run = [Part(type=wire.KEYS, number=number, body=body) for number, body in enumerate(bodies)]
    data = assembled([*run, *forgery.parts], preamble=wire.Preamble(bundle_id=BUNDLE_ID))
    assert salvage(data, tmp_path / "out").entries == 1


# --- content ----------------------------------------------------------------------------------------------------------


class Reads(list[bytes]):
    """The paths of files that were read."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    found = Reads()
    real = wreck.Wreck.content

    def content(self: wreck.Wreck, entry: Entry) -> Iterator[bytes]:
        found.append(entry.path)
        return real(self, entry)

    monkeypatch.setattr(wreck.Wreck, "content", content)
    return found


DATA = b"data" * 25_000
LENGTH = len(DATA)


def a_file(path: bytes, data: bytes, *extents: list[int | None]) -> Row:
    return Forgery().file(path, data, extents=list(extents))


def of(*rows: Row, content: bytes = DATA) -> bytes:
    forgery = Forgery(content=content)
    return forgery.add(directory(), *rows).bundle()


@pytest.mark.rule("R-9.11")
@pytest.mark.parametrize("digest", ["its own", "another"])
def test_files_that_are_the_same_bytes_are_read_once(digest: str, tmp_path: Path, reads: Reads) -> None:
    content = DATA if digest == "its own" else DATA.upper()
    data = of(*(a_file(path, content, [0, 0, LENGTH]) for path in (b"a", b"b", b"c")))
    report = salvage(data, tmp_path / "out", dry_run=True)
    assert reads == [b"a"]
    assert report.conditions == {Condition.WHOLE if digest == "its own" else Condition.DAMAGED: 3}
    salvage(data, tmp_path / "out")
    top = tmp_path / ("out/default" if digest == "its own" else "out/default.damaged")
    assert {path.name: path.read_bytes() for path in top.iterdir()} == dict.fromkeys("abc", DATA)


@pytest.mark.rule("R-9.11")
def test_files_are_not_read_of_which_others_name_some_bytes(tmp_path: Path, reads: Reads) -> None:
    rows = [a_file(path, DATA[at:], [0, at, LENGTH - at]) for path, at in ((b"a", 0), (b"b", 1), (b"c", 0))]
    report = salvage(of(*rows), tmp_path / "out", dry_run=True)
    assert reads == [b"a"]
    assert report.conditions == {Condition.WHOLE: 2, Condition.LOST: 1}
    assert [(casualty.name, casualty.note) for casualty in report.casualties] == [
        ("default/b", "other files name its bytes, and not all of them")
    ]


def test_short_files_may_overlap(tmp_path: Path) -> None:
    rows = [a_file(path, DATA[at : at + 9], [0, at, 9]) for path, at in ((b"a", 0), (b"b", 1), (b"c", 0))]
    salvage(of(*rows, content=DATA[:10]), tmp_path / "out")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out/default").iterdir()}
    assert found == {"a": DATA[:9], "b": DATA[1:10], "c": DATA[:9]}


@pytest.mark.rule("R-9.11")
@pytest.mark.parametrize("extents", [([0, 0, 4], [0, 0, 4]), ([0, 0, 4], [0, 3, 1], [None, 0, 1], [1, 0, 2])])
def test_a_file_that_names_the_same_bytes_twice_is_lost(
    extents: tuple[list[int | None], ...], tmp_path: Path, reads: Reads
) -> None:
    size = sum(length or 0 for _, _, length in extents)
    report = salvage(of(a_file(b"a", bytes(size), *extents)), tmp_path / "out")
    assert reads == []
    assert [(one.condition, one.note) for one in report.casualties] == [
        (Condition.LOST, "a file names the same bytes twice")
    ]


def test_the_row_of_a_file_is_not_read_for_each_link_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    real = records.decode_batch

    def count(raw: bytes, **options: Any) -> records.Batch:  # noqa: ANN401
        decoded.append(len(raw))
        return real(raw, **options)

    monkeypatch.setattr(records, "decode_batch", count)
    length = 1000
    data = of(
        a_file(b"a", bytes(2048 * length), *([None, 0, 2048] for _ in range(length))),
        *(hardlink(b"b%03d" % number, b"a") for number in range(100)),
    )
    assert salvage(data, tmp_path / "out").conditions == {Condition.WHOLE: 101}
    assert sum(size > 4 * length for size in decoded) < 10
    assert (tmp_path / "out/default/b099").samefile(tmp_path / "out/default/a")


# --- copies -----------------------------------------------------------------------------------------------------------


def test_of_many_copies_of_a_batch_or_segment_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Counted(Survivors):
        def add_batch(self, raw: bytes) -> None:
            calls.append("batch")
            super().add_batch(raw)

        def add_journal(self, raw: bytes) -> None:
            calls.append("journal")
            super().add_journal(raw)

    monkeypatch.setattr(survivors, "Survivors", Counted)
    forgery = Forgery().batch([directory(), directory(b"a")])
    forgery.section(wire.SEGM, b"", journal=pack([["default", *directory(b"b")[1:]]]))
    forgery.parts *= 5
    data = headless(forgery)
    # A header that is damaged hides nothing, and each body behind one is looked at twice.
    for name, bundle in (("whole", data), ("without headers", data.replace(b"OCBS", b"ocbs"))):
        calls.clear()
        assert salvage(bundle, tmp_path / name).entries == 4
        assert sorted(calls) == ["batch", "journal"]
