"""What the specification promises of writers, of readers, and of the words that a verification ends with.

Rules that a single faulty bundle shows are held by the vectors; those of restoring by the tests of restoring.
"""

from __future__ import annotations

import base64
import io
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import support

import ocbundle
from ocbundle import agefile, agetext, keyholders, limits, records, report, wire
from ocbundle.errors import AuthenticationFailed, ChecksumMismatch, Malformed, UnexpectedContent
from ocbundle.model import Level
from ocbundle.sources import Sensitivity
from ocbundle.writer import Writer

VECTORS = Path(__file__).parents[1] / "spec" / "vectors"


def vector(name: str) -> tuple[bytes, tuple[keyholders.Identity, ...]]:
    header, _, data = (VECTORS / f"{name}.vector").read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().split("\n") if ": " in line)
    return data, keyholders.parse_identities(fields["identity"].encode(), "vector")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "notes.txt").write_text("be kind\n" * 100)
    text, recipient = ocbundle.generate_identity(now=datetime(2026, 1, 1, tzinfo=UTC))
    (tmp_path / "me.txt").write_text(text)
    ocbundle.pack(tmp_path / "b.ocbundle", [tmp_path / "state"], recipients=[recipient])
    return tmp_path / "b.ocbundle"


# --- the writer -----------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-3.8")
def test_the_same_directory_packed_twice_has_two_ids_and_two_digests(bundle: Path) -> None:
    _, recipient = ocbundle.generate_identity(now=datetime(2026, 1, 1, tzinfo=UTC))
    again = ocbundle.pack(bundle.with_name("c.ocbundle"), [bundle.with_name("state")], recipients=[recipient])
    first = ocbundle.verify(bundle)
    assert first.bundle_id != again.bundle_id
    assert first.digest != again.digest


@pytest.mark.rule("R-4.16")
def test_a_bundle_has_no_sections_but_those_of_its_version() -> None:
    sections = support.packed(support.fill_small).container.frame.sections
    assert {section.type for section in sections} == {wire.KEYS, wire.SEGM, wire.ENTR, wire.MANI}


@pytest.mark.rule("R-6.11")
def test_the_bundle_keys_recipient_stands_nowhere_in_clear() -> None:
    packed = support.packed(support.fill_small)
    public = agefile.x25519_public(packed.key.secret)
    shown = agetext.encode_recipient(public)
    for text in (public, public.hex().encode(), base64.b64encode(public).rstrip(b"="), shown.encode()):
        assert text not in packed.data


def _raw_segments(packed: support.Packed) -> list[tuple[bytes, bytes]]:
    with packed.reader() as reader:
        return [reader._open(section) for section in packed.container.frame.of_type(wire.SEGM)]


@pytest.mark.rule("R-7.10")
def test_no_segment_holds_bytes_of_two_classes() -> None:
    def fill(writer: Writer) -> None:
        writer.add(support.directory())
        for number in range(30):
            kind = list(Sensitivity)[number % 3]
            data = f"<{kind.name} {number}>".encode()
            writer.add_file(support.metadata(b"f%02d" % number), data, sensitivity=kind)

    segments = [raw for raw, _ in _raw_segments(support.packed(fill))]
    held = [{kind for kind in Sensitivity if f"<{kind.name} ".encode() in raw} for raw in segments]
    assert all(len(kinds) == 1 for kinds in held)
    assert set.union(*held) == set(Sensitivity)


@pytest.mark.rule("R-9.20")
def test_a_file_is_journaled_only_once_it_is_complete() -> None:
    def fill(writer: Writer) -> None:
        writer.add(support.directory())
        abandoned = writer.open_file(sensitivity=Sensitivity.CONTENT)
        abandoned.write(bytes(limits.FIRST_SEGMENT + 1))
        abandoned.abandon()
        large = writer.open_file(sensitivity=Sensitivity.CONTENT)
        for letter in b"abc":
            large.write(bytes([letter]) * limits.FIRST_SEGMENT)
        large.finish(support.metadata(b"large"))

    journals = [journal for _, journal in _raw_segments(support.packed(fill))]
    named = [[entry.path for entry in records.decode_journal(journal)] if journal else [] for journal in journals]
    assert len(named) > 3
    assert b"large" in named[-1]
    assert all(b"large" not in paths for paths in named[:-1])


# --- verifying ------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-11.2")
def test_another_digest_is_told_before_any_damage_to_content(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(UnexpectedContent) as caught:
        ocbundle.verify(io.BytesIO(data), expect="0" * 64)
    assert caught.value.rule == "R-11.2"


@pytest.mark.rule("R-11.2")
@pytest.mark.parametrize("position", [0, 31, 63])
def test_every_digit_of_the_expected_digest_counts(bundle: Path, position: int) -> None:
    digest = ocbundle.verify(bundle).digest
    other = digest[:position] + ("0" if digest[position] != "0" else "1") + digest[position + 1 :]
    with pytest.raises(UnexpectedContent):
        ocbundle.verify(bundle, expect=other)


@pytest.mark.rule("R-11.2")
def test_the_right_digest_is_a_level_of_its_own_and_comes_on_top_of_a_full_verification(bundle: Path) -> None:
    digest = ocbundle.verify(bundle).digest
    assert ocbundle.verify(bundle, expect=digest).level is Level.EXPECTED
    assert ocbundle.verify(bundle, expect=digest, identities=[bundle.with_name("me.txt")]).level is Level.FULL
    with pytest.raises(UnexpectedContent):
        ocbundle.verify(bundle, expect="0" * 64, identities=[bundle.with_name("me.txt")])


@pytest.mark.rule("R-11.4")
def test_a_verification_without_a_key_says_that_it_proves_nothing_against_an_attacker(bundle: Path) -> None:
    claim = report.verify_lines(ocbundle.verify(bundle), expected=False)[-1]
    assert claim.startswith("checksums verified")
    assert "nothing against an attacker" in claim


@pytest.mark.rule("R-11.4")
def test_a_full_verification_says_so(bundle: Path) -> None:
    found = ocbundle.verify(bundle, identities=[bundle.with_name("me.txt")])
    assert report.verify_lines(found, expected=False)[-1].startswith("fully verified")


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-13.2")
def test_a_manifest_of_somebody_without_the_key_is_not_even_looked_at() -> None:
    data, identities = vector("order-mac-before-manifest")
    with pytest.raises(AuthenticationFailed) as caught:
        ocbundle.Bundle.open(io.BytesIO(data), identities=identities)
    assert caught.value.rule == "R-5.9"


@pytest.mark.rule("R-13.4")
def test_no_byte_of_a_segment_is_given_out_before_all_of_it_is_sound() -> None:
    data, identities = vector("sealed-second-segment")
    given: list[bytes] = []
    with ocbundle.Bundle.open(io.BytesIO(data), identities=identities) as opened, pytest.raises(Malformed):
        given.extend(opened.stream("default", "file"))
    assert b"".join(given) in {b"", b"first"}


@pytest.mark.rule("R-13.5")
def test_a_file_that_is_not_what_its_digest_says_ends_in_an_error() -> None:
    data, identities = vector("together-digest-file")
    with ocbundle.Bundle.open(io.BytesIO(data), identities=identities) as opened, pytest.raises(ChecksumMismatch):
        opened.read("default", "a")


@pytest.mark.rule("R-13.6")
def test_a_pipe_is_read_from_a_copy_that_has_no_name(bundle: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(bundle.read_bytes())

    seen: list[list[str]] = []
    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb") as pipe:
        identities = [bundle.with_name("me.txt")]
        found = ocbundle.verify(
            pipe, identities=identities, spool=spool, progress=lambda _: seen.append(os.listdir(spool))
        )
    thread.join()
    assert found.level is Level.FULL
    assert seen
    assert not any(seen)
    assert os.listdir(spool) == []
