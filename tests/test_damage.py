"""Damage and attacks, exhaustively on a small bundle: nothing passes, and every error is a typed one.

Accidents are found without a key. What somebody without the key changes, with every checksum made anew, is found by
whoever holds one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
from support import (
    Part,
    assembled,
    directory,
    every_bit,
    fill_small,
    identity,
    keys_body,
    metadata,
    packed,
    parts_of,
    renumbered,
    seeded,
)

from ocbundle import compression, sealing, verification, wire
from ocbundle.container import Container
from ocbundle.errors import (
    AuthenticationFailed,
    BundleError,
    ChecksumMismatch,
    DamagedBundle,
    Malformed,
    NotABundle,
    Truncated,
    UnsupportedVersion,
)
from ocbundle.reader import Reader
from ocbundle.sealing import BundleKey
from ocbundle.sources import Sensitivity
from ocbundle.writer import Writer

ACCIDENTS = (NotABundle, Truncated, ChecksumMismatch, Malformed)


def fill(writer: Writer) -> None:
    writer.add(directory())
    writer.add_file(metadata(b"a"), b"secret", sensitivity=Sensitivity.SECRET)


SMALL = packed(fill)
IDENTITY = identity()
OPENED = {tuple(SMALL.container.key_bodies()): SMALL.key}
"""The key by the KEYS that give it, so that thousands of reads don't each open the same."""


def check_without_key(data: bytes) -> None:
    Container(io.BytesIO(data)).check_bodies()


def check_with_key(data: bytes) -> None:
    container = Container(io.BytesIO(data))
    bodies = container.key_bodies()
    key = OPENED.get(tuple(bodies)) or sealing.unwrap(bodies, container.frame.preamble.bundle_id, IDENTITY, None)
    with Reader(container, key) as reader:
        verification.check(reader)


def demand_found(what: str, damaged: Iterable[bytes], check: Callable[[bytes], None]) -> None:
    """Demand that none of *damaged* passes *check*; an error that is no accident's passes through."""
    tried, passed = 0, []
    for data in damaged:
        tried += 1
        with contextlib.suppress(*ACCIDENTS):
            check(data)
            passed.append(data)
    how = "with" if check is check_with_key else "without"
    print(f"\ncounted: {tried:,} {what} {how} a key, {tried - len(passed):,} found")  # noqa: T201 - for the table
    assert passed == []


both = pytest.mark.parametrize("check", [check_without_key, check_with_key], ids=["keyless", "keyed"])


# --- accidents ------------------------------------------------------------------------------------------------------


@both
def test_the_bundle_itself_passes(check: Callable[[bytes], None]) -> None:
    check(SMALL.data)


@pytest.mark.rule("R-3.2", "R-4.2", "R-4.12", "R-5.2", "R-11.1")
def test_a_flipped_bit_of_every_byte_is_found_with_a_key() -> None:
    # Another bit of each byte: the first of the first, the second of the second…
    bits = (data for number, data in enumerate(every_bit(SMALL.data)) if number % 8 == number // 8 % 8)
    demand_found("flipped bits", bits, check_with_key)


@pytest.mark.parametrize(
    "check",
    [check_without_key, pytest.param(check_with_key, marks=pytest.mark.ci)],  # with a key it takes many seconds
    ids=["keyless", "keyed"],
)
@pytest.mark.rule("R-3.2", "R-4.2", "R-4.12", "R-5.2", "R-11.1")
def test_every_flipped_bit_is_found(check: Callable[[bytes], None]) -> None:
    demand_found("flipped bits", every_bit(SMALL.data), check)


@both
@pytest.mark.rule("R-3.1", "R-5.1")
def test_every_cut_is_found(check: Callable[[bytes], None]) -> None:
    demand_found("cuts", (SMALL.data[:length] for length in range(len(SMALL.data))), check)


@both
@pytest.mark.rule("R-3.1")
def test_every_missing_beginning_is_found(check: Callable[[bytes], None]) -> None:
    demand_found("missing beginnings", (SMALL.data[start:] for start in range(1, len(SMALL.data) + 1)), check)


@both
@pytest.mark.rule("R-5.1", "R-5.5")
@pytest.mark.parametrize("added", [b"\0", b"\xff", bytes(64), b"\n" * 128], ids=["NUL", "FF", "64", "128"])
def test_bytes_added_anywhere_are_found(check: Callable[[bytes], None], added: bytes) -> None:
    data = SMALL.data
    damaged = (data[:offset] + added + data[offset:] for offset in range(len(data) + 1))
    demand_found(f"insertions of {len(added)} bytes", damaged, check)


@both
@pytest.mark.rule("R-5.5")
@pytest.mark.parametrize("count", [1, 8, 64])
def test_bytes_missing_anywhere_are_found(check: Callable[[bytes], None], count: int) -> None:
    data = SMALL.data
    damaged = (data[:offset] + data[offset + count :] for offset in range(len(data) - count + 1))
    demand_found(f"deletions of {count} bytes", damaged, check)


@both
@pytest.mark.rule("R-4.12")
@pytest.mark.parametrize("block", [16, 512])
def test_zeroed_blocks_are_found(check: Callable[[bytes], None], block: int) -> None:
    data = SMALL.data
    starts = [start for start in range(0, len(data), block) if any(data[start : start + block])]
    damaged = (data[:start] + bytes(len(data[start : start + block])) + data[start + block :] for start in starts)
    demand_found(f"zeroed blocks of {block} bytes", damaged, check)


@both
@pytest.mark.parametrize("count", [1, 100])
def test_a_bundle_behind_or_before_other_bytes_is_found(check: Callable[[bytes], None], count: int) -> None:
    demand_found("other bytes around", [b"x" * count + SMALL.data, SMALL.data + b"x" * count, SMALL.data * 2], check)


@pytest.mark.rule("R-5.7")
def test_a_section_header_that_differs_from_its_copy_is_located() -> None:
    section = SMALL.container.frame.sections[1]
    data = bytearray(SMALL.data)
    data[section.offset + 8] ^= 1
    with pytest.raises(Malformed) as caught:
        check_without_key(bytes(data))
    assert (caught.value.rule, caught.value.offset) == ("R-5.7", section.offset)


@pytest.mark.rule("R-4.12")
def test_a_damaged_body_is_located_by_its_section() -> None:
    for section in SMALL.container.frame.sections:
        data = bytearray(SMALL.data)
        data[section.body_offset + section.body_length // 2] ^= 1
        with pytest.raises(ChecksumMismatch, match=section.label) as caught:
            check_without_key(bytes(data))
        assert caught.value.offset == section.body_offset


@pytest.mark.rule("R-3.3")
def test_a_newer_version_is_never_called_damage() -> None:
    preamble = replace(SMALL.container.frame.preamble, read_version=2, write_version=2)
    with pytest.raises(UnsupportedVersion):
        check_without_key(preamble.encode() + SMALL.data[64:])


# --- attacks on the framing, with every checksum made anew ----------------------------------------------------------

VICTIM = packed(fill_small, recipients=(bytes(range(32)), bytes(range(1, 33))))
FRAME = VICTIM.container.frame
PARTS = parts_of(VICTIM.data)
KEYS, MIDDLE = PARTS[:2], PARTS[2:-2]


def forged(parts: Sequence[Part], preamble: wire.Preamble = FRAME.preamble) -> bytes:
    """What an attacker makes of the victim's bundle: sound to whoever has no key."""
    data = assembled(parts, preamble=preamble, mac=FRAME.footer.frame_mac)
    check_without_key(data)
    return data


def refused(data: bytes) -> None:
    """Demand that a reader with the key refuses *data* before it opens anything."""
    container = Container(io.BytesIO(data))
    with pytest.raises(AuthenticationFailed) as caught:
        Reader(container, VICTIM.key)
    assert caught.value.rule == "R-5.9"


def test_the_forgers_tools_make_the_victims_bundle_from_its_own_parts() -> None:
    assert forged(PARTS) == VICTIM.data


@pytest.mark.rule("R-5.9")
def test_a_raised_write_version_is_refused() -> None:
    refused(forged(PARTS, replace(FRAME.preamble, write_version=2)))


@pytest.mark.rule("R-5.9")
def test_a_compat_flag_that_was_set_is_refused() -> None:
    refused(forged(PARTS, replace(FRAME.preamble, compat=1)))


@pytest.mark.rule("R-3.4")
def test_an_incompat_flag_that_was_set_is_unsupported() -> None:
    data = assembled(PARTS, preamble=replace(FRAME.preamble, incompat=1), mac=FRAME.footer.frame_mac)
    with pytest.raises(UnsupportedVersion):
        check_with_key(data)


@pytest.mark.rule("R-5.9")
def test_another_bundle_id_is_refused() -> None:
    refused(forged(PARTS, replace(FRAME.preamble, bundle_id=bytes(16))))


@pytest.mark.rule("R-5.9")
@pytest.mark.parametrize("dropped", [0, 1])
def test_a_recipient_dropped_from_both_ends_is_refused(dropped: int) -> None:
    kept = renumbered([KEYS[1 - dropped]])
    refused(forged([*kept, *MIDDLE, *kept]))


@pytest.mark.rule("R-5.9")
def test_a_recipient_added_at_both_ends_is_refused() -> None:
    added = replace(KEYS[0], number=2, body=keys_body(BundleKey(bytes(32)), VICTIM.bundle_id, seeded(9)))
    refused(forged([*KEYS, added, *MIDDLE, *KEYS, added]))


@pytest.mark.rule("R-5.9")
def test_recipients_in_another_order_are_refused() -> None:
    swapped = renumbered(KEYS[::-1])
    refused(forged([*swapped, *MIDDLE, *swapped]))


@pytest.mark.rule("R-5.9", "R-6.5")
def test_keys_that_give_an_attackers_key_are_refused() -> None:
    rng = seeded(9)
    own = replace(KEYS[0], body=keys_body(BundleKey.generate(rng), VICTIM.bundle_id, rng))
    with pytest.raises(AuthenticationFailed) as caught:
        check_with_key(forged([own, *MIDDLE, own]))
    assert caught.value.rule == "R-5.9"


@pytest.mark.rule("R-4.7", "R-5.9")
@pytest.mark.parametrize("place", range(2, 2 + len(MIDDLE) + 1))
def test_an_unknown_section_that_was_added_is_refused(place: int) -> None:
    extra = Part(type=b"NOTE", number=0, body=b"trust me", flags=0)
    refused(forged([*PARTS[:place], extra, *PARTS[place:]]))


@pytest.mark.rule("R-4.7", "R-5.9")
def test_an_unknown_section_that_was_stripped_is_refused() -> None:
    extra = Part(type=b"NOTE", number=0, body=b"signed", flags=0)
    with_note = assembled([*KEYS, *MIDDLE, extra, *KEYS], preamble=FRAME.preamble, key=VICTIM.key)
    check_without_key(with_note)
    with Reader(Container(io.BytesIO(with_note)), VICTIM.key) as reader:
        verification.check(reader)
    mac = Container(io.BytesIO(with_note)).frame.footer.frame_mac
    refused(assembled(PARTS, preamble=FRAME.preamble, mac=mac))


SEGMENTS = [index for index, part in enumerate(MIDDLE) if part.type == wire.SEGM]
PAIRS = [(one, two) for one in range(len(MIDDLE)) for two in range(len(MIDDLE)) if one < two]


def refused_or_unsound(parts: Sequence[Part]) -> None:
    """Demand that *parts* between the victim's KEYS are refused: by their order already, or by the frame MAC."""
    try:
        data = forged([*KEYS, *renumbered(parts), *KEYS])
    except Malformed:
        return
    refused(data)


@pytest.mark.rule("R-4.9", "R-5.9")
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_swapped_sections_are_refused(one: int, two: int) -> None:
    parts = list(MIDDLE)
    parts[one], parts[two] = parts[two], parts[one]
    refused_or_unsound(parts)


@pytest.mark.rule("R-4.9", "R-5.9")
@pytest.mark.parametrize("number", range(len(MIDDLE)))
def test_a_dropped_section_is_refused(number: int) -> None:
    refused_or_unsound([*MIDDLE[:number], *MIDDLE[number + 1 :]])


@pytest.mark.rule("R-4.9", "R-5.9")
@pytest.mark.parametrize("number", range(len(MIDDLE)))
def test_a_doubled_section_is_refused(number: int) -> None:
    refused_or_unsound([*MIDDLE[:number], MIDDLE[number], *MIDDLE[number:]])


STRANGER = parts_of(packed(fill_small, seed=1, recipients=(bytes(range(32)), bytes(range(1, 33)))).data)


@pytest.mark.rule("R-5.9")
@pytest.mark.parametrize("number", range(len(MIDDLE)))
def test_a_section_of_another_bundle_to_the_same_recipients_is_refused(number: int) -> None:
    refused(forged([*KEYS, *MIDDLE[:number], STRANGER[2 + number], *MIDDLE[number + 1 :], *KEYS]))


@pytest.mark.rule("R-6.5")
def test_the_keys_of_another_bundle_to_the_same_recipients_are_refused() -> None:
    keys = STRANGER[:2]
    with pytest.raises(AuthenticationFailed) as caught:
        check_with_key(forged([*keys, *MIDDLE, *keys]))
    assert caught.value.rule == "R-6.5"


@pytest.mark.rule("R-5.9")
def test_every_bit_of_the_frame_mac_matters() -> None:
    for mac in every_bit(FRAME.footer.frame_mac):
        refused(assembled(PARTS, preamble=FRAME.preamble, mac=mac))


# --- attacks by somebody who holds the bundle key, or without the frame MAC -----------------------------------------


def resealed(parts: Sequence[Part]) -> None:
    """Read a bundle of *parts* whose frame MAC is right, as a former recipient could make it."""
    data = assembled([*KEYS, *parts, *KEYS], preamble=FRAME.preamble, key=VICTIM.key)
    with Reader(Container(io.BytesIO(data)), VICTIM.key) as reader:
        verification.check(reader)


@pytest.mark.rule("R-7.2")
def test_segments_that_were_swapped_are_refused_even_with_a_right_mac() -> None:
    one, two = SEGMENTS[:2]
    parts = list(MIDDLE)
    parts[one], parts[two] = replace(parts[one], body=parts[two].body), replace(parts[two], body=parts[one].body)
    with pytest.raises(AuthenticationFailed) as caught:
        resealed(parts)
    assert caught.value.rule == "R-7.2"


@pytest.mark.rule("R-6.3")
def test_a_section_sealed_to_another_bundle_key_is_refused_even_with_a_right_mac() -> None:
    parts = [STRANGER[2], *MIDDLE[1:]]
    with pytest.raises(AuthenticationFailed) as caught:
        resealed(parts)
    assert caught.value.rule == "R-6.3"


@pytest.mark.rule("R-7.2")
def test_a_section_of_an_older_bundle_of_the_same_key_is_refused() -> None:
    place = compression.Place(bundle_id=bytes(16), type=wire.SEGM, number=0)
    body = VICTIM.key.seal(compression.encode(place, b"older", level=3), seeded())
    with pytest.raises(AuthenticationFailed) as caught:
        resealed([replace(MIDDLE[0], body=body), *MIDDLE[1:]])
    assert caught.value.rule == "R-7.2"


@pytest.mark.rule("R-6.1", "R-13.2")
def test_no_bit_of_a_sealed_section_can_be_changed_though_every_checksum_agrees() -> None:
    body = MIDDLE[0].body
    passed = []
    for data in every_bit(body):
        try:
            VICTIM.key.open(data)
        except (AuthenticationFailed, Malformed):
            continue
        passed.append(data)
    assert passed == []


@pytest.mark.rule("R-6.1")
def test_no_sealed_section_can_be_cut_or_extended() -> None:
    body = MIDDLE[0].body
    for data in [*(body[:length] for length in range(len(body))), body + b"\0", body + bytes(100), body * 2]:
        with pytest.raises(DamagedBundle):
            VICTIM.key.open(data)


def test_whatever_bytes_stand_in_the_place_of_sections_the_error_is_typed() -> None:
    rng = seeded()
    for number in range(300):
        junk = [replace(part, body=rng(number)) for part in MIDDLE]
        with pytest.raises(BundleError):
            resealed(junk)
