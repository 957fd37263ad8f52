"""The framing: fixed structures to bytes and back, and each rule that they can break."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import BUNDLE_ID, recheck

from ocbundle import limits, wire
from ocbundle.errors import (
    AuthenticationFailed,
    BundleError,
    ChecksumMismatch,
    LimitExceeded,
    Malformed,
    NotABundle,
    Truncated,
    UnsupportedVersion,
)

PREAMBLE = wire.Preamble(bundle_id=BUNDLE_ID)
SECTION = wire.Section(type=b"SEGM", number=7, body_length=1000, sha256=bytes(range(32)))
KEY_TEXT = b"AGE-SECRET-KEY-1" + b"Q" * 58

ids = st.binary(min_size=16, max_size=16)
digests = st.binary(min_size=32, max_size=32)
u32 = st.integers(0, 2**32 - 1)


def patched(data: bytes, offset: int, new: bytes, *, end: int | None = None) -> bytes:
    """*data* with *new* at *offset* and the check that ends at *end* made anew."""
    return recheck(data[:offset] + new + data[offset + len(new) :], 0, end or len(data))


def preamble_with(offset: int, new: bytes) -> bytes:
    return patched(PREAMBLE.encode(), offset, new)


def section_with(offset: int, new: bytes) -> bytes:
    return patched(SECTION.encode(), offset, new)


def footer_for(sections: tuple[wire.Section, ...], preamble: wire.Preamble = PREAMBLE) -> wire.Footer:
    end = wire.PREAMBLE_LENGTH + sum(wire.HEADER_LENGTH + section.body_length for section in sections)
    index_length = wire.HEADER_LENGTH * len(sections)
    return wire.Footer(
        bundle_id=preamble.bundle_id,
        index_offset=end,
        index_length=index_length,
        total_length=end + index_length + wire.FOOTER_LENGTH,
        root_digest=wire.root_digest(preamble.bundle_id, sections),
    )


def section(kind: bytes, number: int = 0, **fields: int) -> wire.Section:
    return wire.Section(type=kind, number=number, body_length=1, sha256=hashlib.sha256(kind).digest(), **fields)


KEYS = section(b"KEYS")
MANI = section(b"MANI")
TWO = (KEYS, section(b"KEYS", 1))
WHOLE = (KEYS, section(b"SEGM"), section(b"ENTR"), MANI, KEYS)


def decode_footer(data: bytes, *, file_length: int = 0, preamble: wire.Preamble = PREAMBLE) -> wire.Footer:
    length = file_length or footer_for(WHOLE).total_length
    return wire.Footer.decode(data, preamble=preamble, file_length=length)


def footer_with(offset: int, new: bytes) -> bytes:
    return patched(footer_for(WHOLE).encode(), offset, new, end=120)


def decode_frame(*sections: wire.Section) -> wire.Frame:
    index = b"".join(item.encode() for item in sections)
    return wire.Frame.decode(PREAMBLE, index, footer_for(sections))


# --- preamble -------------------------------------------------------------------------------------------------------


@given(ids, u32, st.integers(1, 255))
def test_a_preamble_decodes_to_what_was_encoded(bundle_id: bytes, compat: int, write_version: int) -> None:
    preamble = wire.Preamble(bundle_id=bundle_id, compat=compat, write_version=write_version)
    assert wire.Preamble.decode(preamble.encode()) == preamble


def test_a_preamble_has_the_bytes_of_the_specification() -> None:
    data = wire.Preamble(bundle_id=BUNDLE_ID, compat=0x01020304).encode()
    body = bytes.fromhex("894f43420d0a1a0a 01 01 0000 00000000 04030201") + BUNDLE_ID + bytes(20)
    assert data == body + hashlib.sha256(body).digest()[:8]
    assert PREAMBLE.encode()[16:20] == bytes(4)


def test_what_follows_a_preamble_is_not_its_own() -> None:
    assert wire.Preamble.decode(PREAMBLE.encode() + b"OCBS") == PREAMBLE


@pytest.mark.rule("R-3.7")
def test_unknown_compat_bits_are_kept() -> None:
    assert wire.Preamble.decode(preamble_with(16, b"\xff\xff\xff\xff")).compat == 0xFFFFFFFF


@pytest.mark.rule("R-3.1")
@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"x", b"\x89OCB\n", b"\x89OCB\r\n\x1a\x0b" + bytes(56)])
def test_what_does_not_begin_with_the_magic_is_not_a_bundle(data: bytes) -> None:
    with pytest.raises(NotABundle, match="begin" if data else "empty") as caught:
        wire.Preamble.decode(data)
    assert (caught.value.rule, caught.value.offset) == ("R-3.1", 0)


@pytest.mark.rule("R-3.1")
@pytest.mark.parametrize("length", [1, 7, 8, 63])
def test_a_beginning_of_a_preamble_is_truncated(length: int) -> None:
    with pytest.raises(Truncated) as caught:
        wire.Preamble.decode(PREAMBLE.encode()[:length])
    assert (caught.value.rule, caught.value.offset) == ("R-3.1", length)


@pytest.mark.parametrize(
    ("data", "error", "rule", "offset"),
    [
        pytest.param(PREAMBLE.encode()[:-1] + b"?", ChecksumMismatch, "R-3.2", 0, id="check"),
        pytest.param(preamble_with(8, b"\x02\x02"), UnsupportedVersion, "R-3.3", 8, id="newer reader"),
        pytest.param(preamble_with(8, b"\x00"), Malformed, "R-3.3", 8, id="version 0"),
        pytest.param(preamble_with(12, b"\x01"), UnsupportedVersion, "R-3.4", 12, id="incompat"),
        pytest.param(preamble_with(15, b"\x80"), UnsupportedVersion, "R-3.4", 12, id="highest incompat"),
        pytest.param(preamble_with(10, b"\x01"), Malformed, "R-3.5", 10, id="first reserved byte"),
        pytest.param(preamble_with(55, b"\x01"), Malformed, "R-3.5", 10, id="last reserved byte"),
        pytest.param(preamble_with(9, b"\x00"), Malformed, "R-3.6", 9, id="write version"),
        pytest.param(
            preamble_with(8, b"\x02\x00\x01\x00\x01"), UnsupportedVersion, "R-3.3", 8, id="version goes first"
        ),
        pytest.param(preamble_with(9, b"\x00\x01\x00\x01"), UnsupportedVersion, "R-3.4", 12, id="incompat goes second"),
    ],
)
@pytest.mark.rule("R-3.2", "R-3.3", "R-3.4", "R-3.5", "R-3.6")
def test_a_preamble_that_breaks_a_rule_is_refused_where_it_does(
    data: bytes, error: type[BundleError], rule: str, offset: int
) -> None:
    with pytest.raises(error) as caught:
        wire.Preamble.decode(data)
    assert (caught.value.rule, caught.value.offset) == (rule, offset)


# --- section headers ------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(wire.BODY_LIMITS)), u32, st.integers(0, limits.MAX_KEYS_BODY), digests, st.integers(0))
def test_a_section_decodes_to_what_was_encoded(kind: bytes, number: int, length: int, sha256: bytes, at: int) -> None:
    header = wire.Section(type=kind, number=number, body_length=length, sha256=sha256, offset=at)
    decoded = wire.Section.decode(header.encode(), offset=at)
    assert (decoded, decoded.offset, decoded.end) == (header, at, at + 64 + length)


def test_a_section_stands_at_the_beginning_until_it_is_placed() -> None:
    assert (SECTION.offset, SECTION.body_offset, SECTION.end) == (0, 64, 1064)
    assert SECTION.label == "SEGM 7"


@pytest.mark.rule("R-4.7")
def test_an_unknown_section_that_is_not_critical_is_accepted() -> None:
    header = wire.Section(type=b"PAR2", number=0, body_length=1, sha256=bytes(32), flags=0)
    assert wire.Section.decode(header.encode(), offset=0) == header


@pytest.mark.parametrize(
    ("data", "error", "rule", "offset"),
    [
        pytest.param(SECTION.encode()[:63], Truncated, "R-4.1", 64, id="short"),
        pytest.param(section_with(0, b"X"), Malformed, "R-4.1", 64, id="magic"),
        pytest.param(SECTION.encode()[:-1] + b"?", ChecksumMismatch, "R-4.2", 64, id="check"),
        pytest.param(section_with(4, b"segm"), Malformed, "R-4.3", 68, id="lower case"),
        pytest.param(section_with(4, b"SEGa"), Malformed, "R-4.3", 68, id="one lower case letter"),
        pytest.param(section_with(4, b"\xff\xfe\xfd\xfc"), Malformed, "R-4.3", 68, id="no text"),
        pytest.param(section_with(12, b"\x03"), Malformed, "R-4.4", 76, id="flag 1"),
        pytest.param(section_with(15, b"\x80"), Malformed, "R-4.4", 76, id="flag 31"),
        pytest.param(section_with(12, b"\x00"), Malformed, "R-4.5", 76, id="not critical"),
        pytest.param(section_with(4, b"SIGN"), UnsupportedVersion, "R-4.6", 64, id="unknown critical"),
        pytest.param(section_with(23, b"\x01"), LimitExceeded, "R-4.11", 80, id="huge"),
    ],
)
@pytest.mark.rule("R-4.1", "R-4.2", "R-4.3", "R-4.4", "R-4.5", "R-4.6")
def test_a_section_header_that_breaks_a_rule_is_refused_where_it_does(
    data: bytes, error: type[BundleError], rule: str, offset: int
) -> None:
    with pytest.raises(error) as caught:
        wire.Section.decode(data, offset=64)
    assert (caught.value.rule, caught.value.offset) == (rule, offset)


@pytest.mark.rule("R-4.11")
@pytest.mark.parametrize(("kind", "limit"), [*wire.BODY_LIMITS.items(), (b"ABCD", limits.MAX_UNKNOWN_BODY)], ids=str)
def test_a_body_may_be_as_long_as_its_limit_and_no_longer(kind: bytes, limit: int) -> None:
    flags = wire.CRITICAL if kind in wire.BODY_LIMITS else 0
    header = wire.Section(type=kind, number=0, body_length=limit, sha256=bytes(32), flags=flags)
    assert wire.Section.decode(header.encode(), offset=0).body_length == limit
    with pytest.raises(LimitExceeded):
        wire.Section.decode(replace(header, body_length=limit + 1).encode(), offset=0)


# --- footer ---------------------------------------------------------------------------------------------------------


@given(ids, digests, digests, st.integers(64, 2**40), st.integers(0, limits.MAX_SECTIONS))
def test_a_footer_decodes_to_what_was_encoded(
    bundle_id: bytes, root: bytes, mac: bytes, offset: int, count: int
) -> None:
    footer = wire.Footer(
        bundle_id=bundle_id,
        index_offset=offset,
        index_length=64 * count,
        total_length=offset + 64 * count + 128,
        root_digest=root,
        frame_mac=mac,
    )
    preamble = wire.Preamble(bundle_id=bundle_id)
    assert decode_footer(footer.encode(), file_length=footer.total_length, preamble=preamble) == footer


LENGTH = footer_for(WHOLE).total_length
START = LENGTH - 128


@pytest.mark.parametrize(
    ("data", "file_length", "error", "rule", "offset"),
    [
        pytest.param(b"short", LENGTH, Truncated, "R-5.1", LENGTH, id="short"),
        pytest.param(footer_for(WHOLE).encode()[1:], LENGTH, Truncated, "R-5.1", LENGTH, id="one byte short"),
        pytest.param(footer_for(WHOLE).encode()[:-1] + b"?", LENGTH, Truncated, "R-5.1", LENGTH, id="magic"),
        pytest.param(
            footer_for(WHOLE).encode()[:119] + b"?" + wire.MAGIC[::-1], LENGTH, ChecksumMismatch, "R-5.2", START
        ),
        pytest.param(footer_with(0, b"?"), LENGTH, Malformed, "R-5.3", START, id="bundle id"),
        pytest.param(footer_with(16, b"\x02"), LENGTH, Malformed, "R-5.3", START, id="read version"),
        pytest.param(footer_with(17, b"\x02"), LENGTH, Malformed, "R-5.3", START, id="write version"),
        pytest.param(footer_with(20, b"\x01"), LENGTH, Malformed, "R-5.3", START, id="incompat"),
        pytest.param(footer_with(18, b"\x01"), LENGTH, Malformed, "R-5.4", START + 18, id="reserved"),
        pytest.param(footer_for(WHOLE).encode(), LENGTH - 1, Truncated, "R-5.5", START - 1, id="shorter file"),
        pytest.param(footer_for(WHOLE).encode(), LENGTH + 1, Malformed, "R-5.5", START + 41, id="longer file"),
        pytest.param(footer_with(32, b"\x41"), LENGTH, Malformed, "R-5.6", START + 24, id="index length"),
        pytest.param(footer_with(24, b"\x00\x00"), LENGTH, Malformed, "R-5.6", START + 24, id="index offset"),
    ],
)
@pytest.mark.rule("R-5.1", "R-5.2", "R-5.3", "R-5.4", "R-5.5", "R-5.6")
def test_a_footer_that_breaks_a_rule_is_refused_where_it_does(
    data: bytes, file_length: int, error: type[BundleError], rule: str, offset: int
) -> None:
    with pytest.raises(error) as caught:
        decode_footer(data, file_length=file_length)
    assert (caught.value.rule, caught.value.offset) == (rule, offset)


@pytest.mark.rule("R-5.6")
def test_an_index_over_the_preamble_is_refused() -> None:
    footer = replace(footer_for(WHOLE), index_offset=0, total_length=64 * len(WHOLE) + 128)
    with pytest.raises(Malformed, match="overlaps") as caught:
        decode_footer(footer.encode(), file_length=footer.total_length)
    assert (caught.value.rule, caught.value.offset) == ("R-5.6", footer.total_length - 128 + 24)


@pytest.mark.rule("R-4.14")
def test_more_sections_than_the_limit_are_refused_by_the_footer_alone() -> None:
    length = 64 * (limits.MAX_SECTIONS + 1)
    footer = replace(footer_for(WHOLE), index_offset=64, index_length=length, total_length=64 + length + 128)
    with pytest.raises(LimitExceeded) as caught:
        decode_footer(footer.encode(), file_length=footer.total_length)
    assert (caught.value.rule, caught.value.offset) == ("R-4.14", footer.total_length - 128 + 32)


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-4.7", "R-4.9")
@pytest.mark.parametrize(
    "sections",
    [
        pytest.param(WHOLE, id="one of each"),
        pytest.param((KEYS, MANI, KEYS), id="no content"),
        pytest.param((*TWO, MANI, *TWO), id="two KEYS"),
        pytest.param((KEYS, section(b"ENTR"), section(b"SEGM"), section(b"ENTR", 1), MANI, KEYS), id="interleaved"),
        pytest.param((KEYS, section(b"XTRA", flags=0), MANI, section(b"XTRA", 1, flags=0), KEYS), id="unknown"),
    ],
)
def test_every_order_that_the_format_allows_is_accepted(sections: tuple[wire.Section, ...]) -> None:
    assert decode_frame(*sections).sections == sections


@pytest.mark.parametrize(
    ("sections", "error", "rule", "at"),
    [
        pytest.param((), Malformed, "R-4.9", 0, id="nothing"),
        pytest.param((MANI,), Malformed, "R-4.9", 0, id="no KEYS"),
        pytest.param((KEYS, KEYS), Malformed, "R-4.9", 0, id="KEYS alone"),
        pytest.param((KEYS, section(b"SEGM"), KEYS), Malformed, "R-4.9", 2, id="no manifest"),
        pytest.param((KEYS, MANI, section(b"MANI", 1), KEYS), Malformed, "R-4.9", 2, id="two manifests"),
        pytest.param((KEYS, MANI, section(b"SEGM"), KEYS), Malformed, "R-4.9", 2, id="content behind the manifest"),
        pytest.param((KEYS, MANI, section(b"ENTR"), KEYS), Malformed, "R-4.9", 2, id="entries behind the manifest"),
        pytest.param((KEYS, MANI), Malformed, "R-4.9", 0, id="no KEYS at the end"),
        pytest.param((*TWO, *WHOLE[1:]), Malformed, "R-4.10", 4, id="half the KEYS at the end"),
        pytest.param((KEYS, MANI, replace(KEYS, sha256=bytes(32))), Malformed, "R-4.10", 2, id="other KEYS at the end"),
        pytest.param((*TWO, MANI, KEYS, KEYS), Malformed, "R-4.10", 3, id="another last of two KEYS"),
        pytest.param((*TWO, section(b"SEGM"), *TWO), Malformed, "R-4.9", 3, id="two KEYS and no manifest"),
        pytest.param((KEYS, MANI, KEYS, section(b"XTRA", flags=0)), Malformed, "R-4.10", 3, id="behind the KEYS"),
        pytest.param((KEYS, section(b"SEGM"), KEYS, MANI, KEYS), Malformed, "R-4.9", 2, id="KEYS between"),
        pytest.param((KEYS, section(b"SEGM", 1), MANI, KEYS), Malformed, "R-4.8", 1, id="a gap"),
        pytest.param((KEYS, section(b"SEGM"), section(b"SEGM"), MANI, KEYS), Malformed, "R-4.8", 2, id="twice"),
        pytest.param((section(b"KEYS", 1), MANI, section(b"KEYS", 1)), Malformed, "R-4.8", 0, id="KEYS from 1"),
        pytest.param(
            (*(section(b"KEYS", i) for i in range(17)), MANI, *(section(b"KEYS", i) for i in range(17))),
            LimitExceeded,
            "R-4.9",
            0,
            id="17 KEYS",
        ),
    ],
)
@pytest.mark.rule("R-4.8", "R-4.9", "R-4.10")
def test_every_other_order_is_refused_at_the_section_that_breaks_it(
    sections: tuple[wire.Section, ...], error: type[BundleError], rule: str, at: int
) -> None:
    with pytest.raises(error) as caught:
        decode_frame(*sections)
    assert (caught.value.rule, caught.value.offset) == (rule, 64 + 65 * at)


@pytest.mark.rule("R-4.13", "R-5.6")
def test_sections_that_do_not_end_at_the_index_are_refused() -> None:
    index = b"".join(item.encode() for item in WHOLE)
    footer = replace(footer_for(WHOLE), index_offset=footer_for(WHOLE).index_offset + 1)
    with pytest.raises(Malformed) as caught:
        wire.Frame.decode(PREAMBLE, index, footer)
    assert (caught.value.rule, caught.value.offset) == ("R-5.6", footer.index_offset)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        pytest.param(section_with(0, b"X"), Malformed, id="no header"),
        pytest.param(SECTION.encode()[:-1] + b"?", ChecksumMismatch, id="check"),
        pytest.param(section_with(4, b"SIGN"), UnsupportedVersion, id="unknown"),
        pytest.param(section_with(23, b"\x01"), LimitExceeded, id="huge"),
    ],
)
def test_an_error_in_the_index_tells_where_in_the_file_it_is(header: bytes, error: type[BundleError]) -> None:
    index = KEYS.encode() + MANI.encode() + header
    with pytest.raises(error) as caught:
        wire.decode_index(index, index_offset=1000)
    assert caught.value.offset == 1000 + 128


def test_an_index_of_every_length_is_decoded_or_refused() -> None:
    index = b"".join(item.encode() for item in WHOLE)
    for length in range(len(index)):
        with pytest.raises((Malformed, Truncated)):
            wire.decode_index(index[:length], index_offset=footer_for(WHOLE).index_offset)


def test_keys_of_a_frame_are_those_of_the_first_run() -> None:
    assert decode_frame(*TWO, MANI, *TWO).of_type(wire.KEYS) == TWO


# --- digest and MAC -------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-5.8")
def test_the_root_digest_covers_content_and_manifest_alone() -> None:
    headers = b"".join(item.encode() for item in WHOLE[1:4])
    expected = hashlib.sha256(b"ocbundle v1 root digest\n" + BUNDLE_ID + headers).digest()
    others = (KEYS, section(b"XTRA", flags=0), *WHOLE[1:4], section(b"SIGN", flags=0), KEYS)
    assert wire.root_digest(BUNDLE_ID, others) == expected


@pytest.mark.rule("R-5.8")
def test_another_root_digest_than_the_sections_have_is_refused() -> None:
    index = b"".join(item.encode() for item in WHOLE)
    with pytest.raises(ChecksumMismatch) as caught:
        wire.Frame.decode(PREAMBLE, index, replace(footer_for(WHOLE), root_digest=bytes(32)))
    assert (caught.value.rule, caught.value.offset) == ("R-5.8", START + 48)


@pytest.mark.rule("R-5.9")
def test_the_frame_mac_is_the_one_of_the_specification() -> None:
    footer = footer_for(WHOLE)
    key = hmac.digest(KEY_TEXT, b"ocbundle v1 frame mac\n" + BUNDLE_ID, "sha256")
    message = PREAMBLE.encode() + b"".join(item.encode() for item in WHOLE) + footer.encode()[:80]
    mac = wire.frame_mac(KEY_TEXT, PREAMBLE, WHOLE, footer)
    assert mac == hmac.digest(key, message, "sha256")


@pytest.mark.rule("R-5.9")
def test_a_frame_with_its_mac_is_authentic_and_with_another_is_not() -> None:
    footer = footer_for(WHOLE)
    footer = replace(footer, frame_mac=wire.frame_mac(KEY_TEXT, PREAMBLE, WHOLE, footer))
    frame = wire.Frame(preamble=PREAMBLE, sections=WHOLE, footer=footer)
    frame.authenticate(KEY_TEXT)
    with pytest.raises(AuthenticationFailed) as caught:
        frame.authenticate(KEY_TEXT[:-1] + b"P")
    assert (caught.value.rule, caught.value.offset) == ("R-5.9", START + 80)
