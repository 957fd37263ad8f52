"""Room for a bundle: what is measured before it is written."""

from __future__ import annotations

import io
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support import SECRET
from trees import IS_ROOT, mounted

import ocbundle
from ocbundle import agefile, agetext
from ocbundle.errors import InvalidRequest, NoSpace, SourceMissing
from ocbundle.model import ProgressCallback
from ocbundle.sources import Sensitivity, Source, Verdict

RECIPIENT = agetext.encode_recipient(agefile.x25519_public(SECRET))
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to mount")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "place") as where:
        yield where


def looks(where: Path, progress: ProgressCallback | None) -> int:
    """How often a file of 1 MiB is looked at, when it is packed to *where*."""
    count: Counter[bytes] = Counter()

    def rules(path: bytes, _kind: str) -> Verdict:
        count[path] += 1
        return Sensitivity.CONTENT

    (where / "state").mkdir()
    (where / "state" / "f").write_bytes(bytes(1 << 20))
    source = Source(path=bytes(where / "state"), name="state", rules=rules)
    ocbundle.pack(where / "b.ocbundle", [source], recipients=[RECIPIENT], progress=progress)
    return count[b"f"]


@needs_root
def test_nothing_is_measured_where_there_is_plenty_of_room(place: Path) -> None:
    assert looks(place, None) == 1


@needs_root
def test_whoever_watches_is_told_how_much_there_is(place: Path) -> None:
    assert looks(place, lambda _: None) == 2


@needs_root
def test_where_the_file_system_is_half_full_the_sources_are_measured(place: Path) -> None:
    (place / "hog").write_bytes(bytes(4 << 20))
    assert looks(place, None) == 2


@needs_root
def test_a_bundle_that_may_not_fit_is_warned_of(place: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "f").write_bytes(bytes(9 << 20))
    report = ocbundle.pack(place / "b.ocbundle", [tmp_path / "state"], recipients=[RECIPIENT], scratch=tmp_path)
    assert [text for text in report.warnings if "may not fit" in text]


@needs_root
def test_a_database_whose_copy_has_no_room_is_refused_at_once(place: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "x.sqlite")) as connection:
        connection.execute("CREATE TABLE t AS SELECT zeroblob(9 << 20) AS v")
        connection.commit()
    output = io.BytesIO()
    with pytest.raises(NoSpace, match="private copy of the largest database"):
        ocbundle.pack(output, [tmp_path / "state"], recipients=[RECIPIENT], scratch=place)
    assert output.getvalue() == b""


# --- What is asked for -----------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "f").write_text("f")
    return tmp_path / "state"


def test_without_a_target_nothing_can_be_packed(state: Path) -> None:
    with pytest.raises(InvalidRequest, match="no target"):
        ocbundle.pack(None, [state], recipients=[RECIPIENT])


@pytest.mark.parametrize("level", [-1, 0, 23])
def test_a_level_that_zstd_does_not_have_is_refused(state: Path, level: int) -> None:
    with pytest.raises(InvalidRequest, match="zstd has levels"):
        ocbundle.pack(io.BytesIO(), [state], recipients=[RECIPIENT], level=level)


def test_without_sources_there_is_nothing_to_pack() -> None:
    with pytest.raises(InvalidRequest, match="nothing to pack"):
        ocbundle.pack(io.BytesIO(), [], recipients=[RECIPIENT])


def test_a_source_that_is_not_there_is_told_of(state: Path) -> None:
    with pytest.raises(SourceMissing):
        ocbundle.pack(io.BytesIO(), [state / "no"], recipients=[RECIPIENT])


def test_recipients_come_from_a_file(state: Path, tmp_path: Path) -> None:
    (tmp_path / "recipients").write_text(f"# mine\n{RECIPIENT}\n")
    done = ocbundle.pack(io.BytesIO(), [state], recipients=[tmp_path / "recipients"])
    assert done.recipients == ("X25519",)


def test_sources_of_one_name_are_told_apart(state: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "state").mkdir(parents=True)
    done = ocbundle.pack(None, [state, tmp_path / "a/state", tmp_path / "b/state"], dry_run=True)
    assert list(done.root_totals) == ["state", "state~2", "state~3"]
