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
from ocbundle import agefile
from ocbundle.errors import NoSpace
from ocbundle.model import ProgressCallback, Sensitivity, Source, Verdict

RECIPIENT = agefile.encode_recipient(agefile.x25519_public(SECRET))
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
