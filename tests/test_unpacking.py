"""What an unpack is asked for: places, profiles and paths that make no sense are refused, and nothing is written."""

from __future__ import annotations

import io
import os
import pwd
from pathlib import Path

import pytest
from support import identity, recipient

import ocbundle
from ocbundle.errors import EntryMissing, InvalidRequest, TargetFailure
from ocbundle.model import Role
from ocbundle.sources import Source


@pytest.fixture
def bundle(tmp_path: Path) -> io.BytesIO:
    """The states of two profiles."""
    sources = []
    for profile in ("default", "work"):
        state = tmp_path / "old" / profile
        state.mkdir(parents=True)
        (state / "openclaw.json").write_text("{}")
        (state / ".env").write_text(f"PROFILE={profile}\n")
        sources.append(Source(path=bytes(state), name=profile, role=Role.STATE, profile=profile))
    data = io.BytesIO()
    ocbundle.pack(data, sources, recipients=[recipient()])
    return data


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_single_paths_need_a_place_to_be_laid_out_in(bundle: io.BytesIO) -> None:
    with pytest.raises(InvalidRequest, match="only be laid out"):
        ocbundle.unpack(bundle, identities=identity(), paths=["default/.env"])


def test_nothing_is_replaced_in_a_plain_tree(bundle: io.BytesIO, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no meaning there"):
        ocbundle.unpack(bundle, tmp_path / "to", identities=identity(), replace=True)


def test_a_profile_that_the_bundle_does_not_hold_is_missing(bundle: io.BytesIO, tmp_path: Path) -> None:
    with pytest.raises(EntryMissing, match="no profile lab"):
        ocbundle.unpack(bundle, tmp_path / "to", identities=identity(), profiles=["work", "lab"])
    assert not (tmp_path / "to").exists()


def test_only_the_profile_that_is_asked_for_is_laid_out(bundle: io.BytesIO, tmp_path: Path) -> None:
    ocbundle.unpack(bundle, tmp_path / "to", identities=identity(), profiles=["work"])
    assert files(tmp_path / "to") == ["work/.env", "work/openclaw.json"]


def test_a_path_of_another_profile_than_the_one_asked_for_is_not_laid_out(bundle: io.BytesIO, tmp_path: Path) -> None:
    wanted = ["default/.env", "work/.env"]
    ocbundle.unpack(bundle, tmp_path / "to", identities=identity(), profiles=["work"], paths=wanted)
    assert files(tmp_path / "to") == ["work/.env"]


def test_without_a_home_it_is_the_one_of_this_user(
    bundle: io.BytesIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = pwd.getpwuid(os.getuid())
    fields = [str(tmp_path) if field == record.pw_dir else field for field in record]
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(fields))
    done = ocbundle.unpack(bundle, identities=identity(), environ={}, maps={tmp_path / "old": tmp_path / "new"})
    assert done.roots == (f"{tmp_path}/new/default", f"{tmp_path}/new/work")


def test_a_user_without_a_home_has_to_name_one(bundle: io.BytesIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_uid: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", refuse)
    with pytest.raises(InvalidRequest, match="has no home directory"):
        ocbundle.unpack(bundle, identities=identity(), environ={})


def test_a_home_below_a_file_is_a_failure(bundle: io.BytesIO, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file/home"
    with pytest.raises(TargetFailure):
        ocbundle.unpack(bundle, identities=identity(), home=home, environ={}, maps={tmp_path / "old": home})
