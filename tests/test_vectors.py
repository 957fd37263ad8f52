"""Every vector of the specification ends as its header says, with a key and without.

A vector is a text header, an empty line, and the bytes of a bundle; see ``spec/vectors/cases.py``.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest

import ocbundle
from ocbundle import errors, keyholders
from ocbundle.bundle import Bundle
from ocbundle.errors import BundleError
from ocbundle.model import Entry, Kind, Level

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(REPOSITORY, "spec", "vectors")
NAMES = sorted(name for name in os.listdir(FOLDER) if name.endswith(".vector"))


@dataclass(frozen=True)
class Vector:
    fields: tuple[tuple[str, str], ...]
    data: bytes

    @classmethod
    def load(cls, name: str) -> Vector:
        with open(os.path.join(FOLDER, name), "rb") as file:
            header, _, data = file.read().partition(b"\n\n")
        pairs = (line.partition(": ") for line in header.decode("ascii").split("\n"))
        return cls(tuple((key, value) for key, _, value in pairs), data)

    def get(self, key: str) -> str | None:
        return next((value for name, value in self.fields if name == key), None)

    @property
    def listing(self) -> list[tuple[str, str]]:
        kinds = {"directory", "file", "symlink", "hardlink", "skipped"}
        return [field for field in self.fields if field[0] in kinds]


def _open(vector: Vector) -> Bundle:
    identity = vector.get("identity")
    identities = keyholders.parse_identities(identity.encode(), "vector") if identity else ()
    return Bundle.open(io.BytesIO(vector.data), identities=identities, passphrase=vector.get("passphrase"))


def _check_with_key(vector: Vector) -> None:
    with _open(vector) as bundle:
        assert bundle.check() is Level.FULL


def _check_without_key(vector: Vector) -> None:
    assert ocbundle.verify(io.BytesIO(vector.data)).level is Level.CHECKSUMS


def _outcome(error: BundleError | None) -> str:
    return "success" if error is None else type(error).__name__


@pytest.mark.rule("R-11.3", "R-13.1")
@pytest.mark.parametrize("name", NAMES)
def test_a_vector_ends_as_its_header_says(name: str) -> None:
    vector = Vector.load(name)
    found: BundleError | None = None
    try:
        _check_with_key(vector)
    except BundleError as error:
        found = error
    assert _outcome(found) == vector.get("expect"), found
    if found is not None and not isinstance(found, errors.KeyFailure):
        assert found.rule == vector.get("rule"), found


@pytest.mark.rule("R-11.1", "R-13.1")
@pytest.mark.parametrize("name", NAMES)
def test_a_vector_ends_as_its_header_says_without_a_key(name: str) -> None:
    vector = Vector.load(name)
    found: BundleError | None = None
    try:
        _check_without_key(vector)
    except BundleError as error:
        found = error
    assert _outcome(found) == vector.get("keyless"), found


def _listing(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for entry in bundle.entries():
        if entry.kind is Kind.FILE:
            assert hashlib.sha256(bundle.read(entry.root, entry.path)).digest() == entry.sha256
        yield entry.kind.name.lower(), _line(entry)
    for skipped in bundle.skipped():
        yield "skipped", f"{skipped.reason} {_name(skipped.root, skipped.path)}"


def _line(entry: Entry) -> str:
    name = _name(entry.root, entry.path)
    if entry.kind is Kind.FILE:
        return f"{(entry.sha256 or b'').hex()} {name}"
    return name if entry.kind is Kind.DIRECTORY else f"{name} {quote(entry.target or b'')}"


def _name(root: str, path: bytes) -> str:
    return quote(root.encode() + (b"/" + path if path else b""))


@pytest.mark.parametrize("name", [name for name in NAMES if Vector.load(name).get("expect") == "success"])
def test_a_sound_vector_holds_what_its_header_lists(name: str) -> None:
    vector = Vector.load(name)
    with _open(vector) as bundle:
        assert list(_listing(bundle)) == vector.listing
        assert bundle.info.digest == vector.get("root-digest")


@pytest.mark.ci  # .ci/run asks the same of the script itself
def test_making_the_vectors_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [REPOSITORY, *sys.path])
    from spec.vectors import generate  # noqa: PLC0415 - only this test needs the repository on the path

    made, found = generate.make(), generate.read()
    assert sorted(made) == sorted(found)
    assert [name for name, data in made.items() if data != found[name]] == []


def test_there_are_vectors_of_every_outcome_that_a_bundle_can_have() -> None:
    counts = Counter(Vector.load(name).get("expect") for name in NAMES)
    damaged = {kind.__name__ for kind in errors.DamagedBundle.__subclasses__()} - {"UnexpectedContent"}
    assert damaged | {"success", "UnsupportedVersion", "NoKeyFits", "WrongPassphrase"} == set(counts)
