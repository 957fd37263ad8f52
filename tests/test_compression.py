"""Plaintexts of sections: what the zstd program makes of them, and what a hostile one can't do."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support import BUNDLE_ID, seeded

from ocbundle import compression, limits
from ocbundle.compression import Place
from ocbundle.errors import AuthenticationFailed, BundleError, LimitExceeded, Malformed

SEGMENT = Place(bundle_id=BUNDLE_ID, type=b"SEGM", number=3)
HEAD = Place(bundle_id=BUNDLE_ID, type=b"MANI", number=0)
RAW = b"the quick brown fox " * 20
MAGIC = b"\x28\xb5\x2f\xfd"


def skippable(nibble: int, content: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<II", 0x184D2A50 + nibble, len(content) if length is None else length) + content


def binding(raw_length: int, *, domain: bytes = b"ocbundle/v1/bind", place: Place = SEGMENT) -> bytes:
    return struct.pack("<16s16s4sIQ", domain, place.bundle_id, place.type, place.number, raw_length)


def compressed(raw: bytes = RAW, **parameters: int) -> bytes:
    if not parameters:
        return zstandard.ZstdCompressor().compress(raw)
    options = zstandard.ZstdCompressionParameters(**parameters)
    return zstandard.ZstdCompressor(compression_params=options).compress(raw)


def plaintext(frame: bytes, raw_length: int = len(RAW), *, journal: bytes = b"", rest: bytes = b"") -> bytes:
    return skippable(0, binding(raw_length) + journal) + frame + rest


def block(kind: int, content: bytes, *, size: int | None = None, last: bool = False) -> bytes:
    """A zstd block: kind 0 raw, 1 run-length, 2 compressed, 3 reserved."""
    return (last | kind << 1 | (len(content) if size is None else size) << 3).to_bytes(3, "little") + content


def frame(*blocks: bytes, size: int, window: int = 0, descriptor: int = 0x80) -> bytes:
    """A zstd frame by hand: 4 bytes of content size, and *window* as its header has it."""
    return MAGIC + bytes([descriptor, window]) + size.to_bytes(4, "little") + b"".join(blocks)


def decode(place: Place, data: bytes) -> tuple[bytes, bytes]:
    """What both decoders make of *data*: the same, whatever was in the memory that one of them is given."""

    def into(place: Place, data: bytes) -> tuple[bytes, bytes]:
        raw, journal = compression.decode_into(lambda length: bytearray(b"x" * (length + 3)), place, data)
        return bytes(raw), journal

    outcomes: list[object] = []
    for decoder in (into, compression.decode):
        try:
            found = decoder(place, data)
        except BundleError as error:
            outcomes.append((error.message, error.rule))
            refusal = error
        else:
            outcomes.append(found)
    assert outcomes[0] == outcomes[1]
    if isinstance(outcomes[1], tuple) and isinstance(outcomes[1][0], bytes):
        return found
    raise refusal


@contextmanager
def little_memory() -> Iterator[None]:
    """Demand that less than 4 MiB are taken at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4 * limits.MIB
    finally:
        tracemalloc.stop()


# --- round trips ----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=500), st.binary(max_size=200), st.booleans(), st.integers(1, 5))
def test_a_plaintext_decodes_to_what_was_encoded(raw: bytes, journal: bytes, padded: bool, level: int) -> None:  # noqa: FBT001
    encoded = compression.encode(SEGMENT, raw, level=level, journal=journal, padded=padded)
    assert decode(SEGMENT, encoded) == (raw, journal)


@pytest.mark.rule("R-7.1", "R-7.3", "R-7.7")
@pytest.mark.parametrize("raw", [b"", RAW, seeded()(300_000)], ids=["nothing", "text", "noise"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_zstd_program_gives_the_content(raw: bytes, padded: bool) -> None:  # noqa: FBT001
    encoded = compression.encode(SEGMENT, raw, level=3, journal=b"journal", padded=padded)
    assert subprocess.run(["zstd", "-d"], input=encoded, capture_output=True, check=True).stdout == raw


@pytest.mark.rule("R-7.4")
def test_a_frame_with_a_content_checksum_is_accepted_and_its_checksum_checked() -> None:
    packed = compressed(write_checksum=True)
    assert decode(SEGMENT, plaintext(packed)) == (RAW, b"")
    with pytest.raises(Malformed) as caught:
        decode(SEGMENT, plaintext(packed[:-1] + bytes([packed[-1] ^ 1])))
    assert caught.value.rule == "R-7.6"


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 65535, 65536, 65791, 65792, 200_000])
def test_a_content_size_of_every_width_is_read(length: int) -> None:
    raw = bytes(length)
    for options in ({}, {"window_log": 10}):
        assert decode(SEGMENT, plaintext(compressed(raw, **options), length))[0] == raw


def test_a_window_with_a_mantissa_is_read() -> None:
    raw = bytes(5000)
    blocks = [block(1, b"\0", size=1024) for _ in range(4)]
    encoded = frame(*blocks, block(1, b"\0", size=904, last=True), size=5000, window=0x07)
    assert decode(SEGMENT, plaintext(encoded, 5000)) == (raw, b"")


@pytest.mark.rule("R-7.4")
def test_a_window_just_below_the_limit_is_read() -> None:
    encoded = frame(block(0, b"hello", last=True), size=5, window=0x67)
    assert decode(SEGMENT, plaintext(encoded, 5)) == (b"hello", b"")


def test_a_higher_level_makes_less_of_the_same() -> None:
    text = b"".join(b"%d bottles\n" % (number * number % 977) for number in range(5000))
    lengths = [len(compression.encode(SEGMENT, text, level=level)) for level in (1, 9, 19)]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 3


@pytest.mark.rule("R-7.4", "R-14.1")
@pytest.mark.parametrize("level", [19, 22])
def test_a_full_segment_at_the_highest_levels_keeps_within_the_window(level: int) -> None:
    raw = bytes(limits.MAX_SEGMENT)
    place = dataclasses.replace(SEGMENT, number=1 << 15)
    encoded = compression.encode(place, raw, level=level)
    assert zstandard.get_frame_parameters(encoded[56:]).window_size == limits.MAX_WINDOW
    assert decode(place, encoded)[0] == raw


def test_threads_compress_and_decompress_at_once() -> None:
    wrong = []

    def work(seed: int) -> None:
        for size in range(0, 30_000, 1000):
            raw = seeded(seed)(size)
            if decode(SEGMENT, compression.encode(SEGMENT, raw, level=3)) != (raw, b""):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- binding --------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-7.2")
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(Place(bundle_id=bytes(16), type=b"SEGM", number=3), id="another bundle"),
        pytest.param(Place(bundle_id=BUNDLE_ID, type=b"ENTR", number=3), id="another type"),
        pytest.param(Place(bundle_id=BUNDLE_ID, type=b"SEGM", number=2), id="another number"),
    ],
)
def test_a_section_made_for_another_place_is_refused(place: Place) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        decode(place, compression.encode(SEGMENT, RAW, level=3))
    assert caught.value.rule == "R-7.2"


@pytest.mark.rule("R-7.2")
def test_a_binding_of_another_domain_is_refused() -> None:
    with pytest.raises(AuthenticationFailed):
        decode(SEGMENT, skippable(0, binding(len(RAW), domain=b"ocbundle/v2/bind")) + compressed())


@pytest.mark.rule("R-7.1", "R-7.2")
def test_a_plaintext_tells_its_own_place() -> None:
    assert compression.place_of(compression.encode(SEGMENT, RAW, level=3)) == SEGMENT
    with pytest.raises(Malformed) as short:
        compression.place_of(compression.encode(SEGMENT, RAW, level=3)[:55])
    assert short.value.rule == "R-7.1"
    with pytest.raises(AuthenticationFailed) as foreign:
        compression.place_of(skippable(0, binding(len(RAW), domain=b"ocbundle/v2/bind")) + compressed())
    assert foreign.value.rule == "R-7.2"


GOOD = plaintext(compressed())


@pytest.mark.parametrize(
    ("data", "error", "rule"),
    [
        pytest.param(b"", Malformed, "R-7.1", id="nothing"),
        pytest.param(GOOD[:55], Malformed, "R-7.1", id="short"),
        pytest.param(skippable(1, binding(0)) + GOOD[56:], Malformed, "R-7.1", id="padding first"),
        pytest.param(skippable(0, binding(0)[:47]) + GOOD[56:], Malformed, "R-7.1", id="47 bytes"),
        pytest.param(skippable(0, binding(0), length=1 << 31), Malformed, "R-7.1", id="beyond the end"),
        pytest.param(skippable(0, binding(0), length=49), Malformed, "R-7.1", id="a byte beyond the end"),
        pytest.param(compressed(bytes(100)) + bytes(56), Malformed, "R-7.1", id="no binding"),
        pytest.param(GOOD[:56], Malformed, "R-7.3", id="no frame"),
        pytest.param(GOOD[:56] + b"\x22\xb5\x2f\xfd" + GOOD[60:], Malformed, "R-7.3", id="an older zstd"),
        pytest.param(GOOD[:61], Malformed, "R-7.3", id="5 bytes of a frame"),
        pytest.param(GOOD[:-1], Malformed, "R-7.3", id="cut in a block"),
        pytest.param(plaintext(frame(block(0, RAW), size=len(RAW))), Malformed, "R-7.3", id="no last block"),
        pytest.param(
            plaintext(frame(block(0, RAW), b"\0\0", size=len(RAW))), Malformed, "R-7.3", id="cut in a block's header"
        ),
        pytest.param(plaintext(frame(size=len(RAW))[:-1]), Malformed, "R-7.3", id="cut in the content size"),
        pytest.param(plaintext(compressed(write_checksum=True)[:-1]), Malformed, "R-7.3", id="cut in the checksum"),
        pytest.param(plaintext(compressed(write_content_size=False)), Malformed, "R-7.3", id="no content size"),
        pytest.param(plaintext(compressed(), len(RAW) - 1), Malformed, "R-7.3", id="another size than bound"),
        pytest.param(plaintext(skippable(1, bytes(4)) + compressed()), Malformed, "R-7.3", id="padding before it"),
        pytest.param(
            plaintext(frame(block(0, RAW, last=True), size=len(RAW), descriptor=0x88)),
            Malformed,
            "R-7.4",
            id="reserved bit",
        ),
        pytest.param(
            plaintext(frame(block(0, RAW, last=True), size=len(RAW), descriptor=0x81)),
            Malformed,
            "R-7.4",
            id="dictionary",
        ),
        pytest.param(
            plaintext(frame(block(0, RAW, last=True), size=len(RAW), window=0x69)),
            LimitExceeded,
            "R-7.4",
            id="a window of 9 MiB",
        ),
        pytest.param(
            plaintext(frame(block(0, RAW, last=True), size=len(RAW), window=0xFF)),
            LimitExceeded,
            "R-7.4",
            id="the largest window",
        ),
        pytest.param(
            plaintext(frame(block(3, RAW, last=True), size=len(RAW))), Malformed, "R-7.6", id="reserved block"
        ),
        pytest.param(
            plaintext(frame(block(2, RAW, last=True), size=len(RAW))), Malformed, "R-7.6", id="garbage in a block"
        ),
        pytest.param(
            plaintext(frame(block(0, RAW, last=True), size=5), 5), Malformed, "R-7.6", id="more than declared"
        ),
        pytest.param(
            plaintext(frame(block(0, RAW, last=True), size=999), 999), Malformed, "R-7.6", id="less than declared"
        ),
        pytest.param(
            plaintext(frame(block(0, b"x", last=True), size=0), 0),
            Malformed,
            "R-7.6",
            id="content where none is declared",
        ),
        pytest.param(
            plaintext(frame(block(2, b"garbage", last=True), size=0), 0), Malformed, "R-7.6", id="garbage of size 0"
        ),
        pytest.param(plaintext(compressed(), rest=b"\0"), Malformed, "R-7.7", id="a byte behind"),
        pytest.param(plaintext(compressed(), rest=bytes(100)), Malformed, "R-7.7", id="zeros behind"),
        pytest.param(plaintext(compressed(), rest=compressed(b"x")), Malformed, "R-7.7", id="two frames"),
        pytest.param(
            plaintext(compressed(), rest=skippable(1, b"\0x\0")), Malformed, "R-7.7", id="padding of no zeros"
        ),
        pytest.param(
            plaintext(compressed(), rest=skippable(1, b"x\0\0")), Malformed, "R-7.7", id="padding that begins otherwise"
        ),
        pytest.param(plaintext(compressed(), rest=skippable(1, b"", length=1)), Malformed, "R-7.7", id="short padding"),
        pytest.param(plaintext(compressed(), rest=skippable(1, b"\0") * 2), Malformed, "R-7.7", id="padding twice"),
        pytest.param(
            plaintext(compressed(), rest=skippable(2, b"\0")), Malformed, "R-7.7", id="another skippable frame"
        ),
    ],
)
@pytest.mark.rule("R-7.1", "R-7.3", "R-7.4", "R-7.6", "R-7.7")
def test_a_plaintext_that_breaks_a_rule_is_refused(data: bytes, error: type[BundleError], rule: str) -> None:
    with pytest.raises(error) as caught:
        decode(SEGMENT, data)
    assert caught.value.rule == rule


def test_a_plaintext_cut_at_any_length_is_refused() -> None:
    encoded = compression.encode(SEGMENT, RAW, level=3, journal=b"journal", padded=True)
    bare = compression.encode(SEGMENT, RAW, level=3, journal=b"journal")
    for length in range(len(encoded)):
        if length != len(bare):
            with pytest.raises(Malformed):
                decode(SEGMENT, encoded[:length])


@pytest.mark.parametrize(("filled", "more"), [(len(RAW) - 1, b""), (len(RAW), b"x")], ids=["short", "long"])
def test_a_library_that_takes_a_frame_of_another_length_for_whole_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, filled: int, more: bytes
) -> None:
    class Lax:
        def stream_reader(self, _frame: memoryview) -> Lax:
            return self

        def readinto(self, _room: memoryview) -> int:
            return filled

        def read(self, size: int) -> bytes:
            assert size == 1
            return more

    monkeypatch.setattr(compression, "_decompressor", Lax)
    with pytest.raises(Malformed) as caught:
        compression.decode_into(bytearray, SEGMENT, plaintext(compressed()))
    assert caught.value.rule == "R-7.6"


@given(st.binary(max_size=100))
def test_no_frame_at_all_makes_decoding_fail_otherwise(data: bytes) -> None:
    for packed in (data, MAGIC + data):
        for raw_length in (0, 5):
            try:
                decode(SEGMENT, plaintext(packed, raw_length))
            except BundleError:
                continue


# --- lengths --------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-7.5", "R-13.3")
@pytest.mark.parametrize(
    ("kind", "number", "limit"),
    [
        (b"SEGM", 0, 1 << 20),
        (b"SEGM", 8191, 1 << 20),
        (b"SEGM", 8192, 2 << 20),
        (b"SEGM", 16_384, 4 << 20),
        (b"SEGM", 24_576, 8 << 20),
        (b"SEGM", 32_767, 8 << 20),
        (b"SEGM", 32_768, 16 << 20),
        (b"SEGM", 65_535, 16 << 20),
        (b"ENTR", 65_535, 2 << 20),
        (b"MANI", 0, 2 << 20),
    ],
)
def test_a_raw_length_above_the_limit_is_refused(kind: bytes, number: int, limit: int) -> None:
    place = Place(bundle_id=BUNDLE_ID, type=kind, number=number)
    raw = bytes(limit)
    assert len(decode(place, compression.encode(place, raw, level=1))[0]) == limit
    with pytest.raises(LimitExceeded) as caught, little_memory():
        decode(place, skippable(0, binding(limit + 1, place=place)) + compressed())
    assert caught.value.rule == "R-7.5"


@pytest.mark.rule("R-7.11", "R-13.3")
def test_a_frame_has_65536_blocks_and_no_more() -> None:
    empty, last = block(0, b""), block(0, b"hello", last=True)
    assert decode(SEGMENT, plaintext(frame(*[empty] * 65_535, last, size=5), 5)) == (b"hello", b"")
    with pytest.raises(LimitExceeded) as caught:
        decode(SEGMENT, plaintext(frame(*[empty] * 65_536, last, size=5), 5))
    assert caught.value.rule == "R-7.11"


@pytest.mark.rule("R-7.3", "R-7.5", "R-13.3")
@pytest.mark.parametrize(
    ("bound", "error"),
    [pytest.param(1 << 40, LimitExceeded, id="and its binding too"), pytest.param(5, Malformed, id="alone")],
)
def test_a_frame_that_claims_a_tebibyte_takes_no_memory(bound: int, error: type[BundleError]) -> None:
    claim = MAGIC + bytes([0xC0, 0x00]) + (1 << 40).to_bytes(8, "little") + block(0, b"hello", last=True)
    with pytest.raises(error), little_memory():
        decode(SEGMENT, plaintext(claim, bound))


@pytest.mark.rule("R-7.6")
@pytest.mark.parametrize("size", [0, 5], ids=["nothing", "five bytes"])
def test_a_frame_that_holds_128_mebibytes_and_declares_next_to_nothing_takes_no_memory(size: int) -> None:
    blocks = [block(1, b"a", size=1 << 17)] * 1024
    bomb = frame(*blocks, block(0, b"", last=True), size=size, window=0x68)
    with pytest.raises(Malformed), little_memory():
        decode(SEGMENT, plaintext(bomb, size))


def test_a_single_segment_above_the_window_is_refused() -> None:
    single = frame(block(1, b"a", size=5, last=True), size=(8 << 20) + 1, descriptor=0xA0)
    with pytest.raises(LimitExceeded) as caught:
        decode(SEGMENT, plaintext(single[:5] + single[6:], 5))
    assert caught.value.rule == "R-7.4"


# --- journals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("journal", "error"),
    [
        pytest.param(b"plain", Malformed, id="not compressed"),
        pytest.param(compressed(write_content_size=False), Malformed, id="no size"),
        pytest.param(compressed() + b"\0", Malformed, id="a byte behind"),
        pytest.param(compressed() + skippable(1, bytes(8)), Malformed, id="padding behind"),
        pytest.param(compressed()[:-1], Malformed, id="cut off"),
        pytest.param(frame(block(2, b"garbage", last=True), size=9), Malformed, id="garbage"),
        pytest.param(frame(block(0, b"x", last=True), size=1, descriptor=0x81), Malformed, id="dictionary"),
        pytest.param(frame(block(0, b"x", last=True), size=1, window=0x69), LimitExceeded, id="window"),
        pytest.param(frame(block(0, b"x", last=True), size=limits.MAX_JOURNAL + 1), LimitExceeded, id="too long"),
    ],
)
@pytest.mark.rule("R-7.8")
def test_a_journal_that_breaks_a_rule_is_refused(journal: bytes, error: type[BundleError]) -> None:
    with pytest.raises(error):
        decode(SEGMENT, plaintext(compressed(), journal=journal))


@pytest.mark.rule("R-7.8")
def test_a_journal_may_be_a_mebibyte_long() -> None:
    journal = bytes(limits.MAX_JOURNAL)
    assert decode(SEGMENT, compression.encode(SEGMENT, b"", level=3, journal=journal)) == (b"", journal)


@pytest.mark.rule("R-7.8")
def test_a_journal_outside_a_segment_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        decode(HEAD, compression.encode(HEAD, RAW, level=3, journal=b"journal"))
    assert caught.value.rule == "R-7.8"


# --- padding --------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-7.9")
@pytest.mark.parametrize(
    ("length", "padded"),
    [(0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (17, 18), (100, 104), (1025, 1088), (1_000_000, 1_015_808)],
)
def test_padme_gives_the_values_of_its_paper(length: int, padded: int) -> None:
    assert compression.padme(length) == padded


@pytest.mark.rule("R-7.9")
@given(st.integers(2, 1 << 34))
def test_padme_costs_at_most_12_percent_and_pads_no_padded_length(length: int) -> None:
    padded = compression.padme(length)
    assert length <= padded <= length * 1.12
    assert compression.padme(padded) == padded


@pytest.mark.rule("R-7.9")
@given(st.integers(0, 3000))
def test_a_padded_plaintext_has_a_length_of_padmes(length: int) -> None:
    encoded = compression.encode(SEGMENT, seeded(length)(length), level=1, padded=True)
    assert compression.padme(len(encoded)) == len(encoded)


@pytest.mark.rule("R-7.9")
def test_secrets_of_nearly_the_same_length_give_plaintexts_of_the_same_length() -> None:
    lengths = {len(compression.encode(SEGMENT, seeded(n)(3400 + n), level=3, padded=True)) for n in range(50)}
    assert len(lengths) == 1


@pytest.mark.rule("R-7.5", "R-7.7", "R-7.8")
@pytest.mark.parametrize("length", [0, 1 << 16, (1 << 16) + 64 * 80, 1 << 20])
def test_records_that_compress_too_well_are_padded_to_what_they_need(length: int) -> None:
    least = max(0, (length - 65536 + 63) // 64)
    zeros = bytes(length)
    for kind, raw, journal in ((b"ENTR", zeros, b""), (b"MANI", zeros, b""), (b"SEGM", b"", zeros)):
        place = Place(bundle_id=BUNDLE_ID, type=kind, number=0)
        encoded = compression.encode(place, raw, level=3, journal=journal)
        assert len(encoded) == least or least < 200
        assert decode(place, encoded) == (raw, journal)
    assert len(compression.encode(SEGMENT, zeros, level=3)) < 200


@pytest.mark.rule("R-7.5", "R-7.8")
@pytest.mark.parametrize(("kind", "rule"), [(b"ENTR", "R-7.5"), (b"MANI", "R-7.5"), (b"SEGM", "R-7.8")])
def test_records_in_too_short_a_plaintext_are_refused(kind: bytes, rule: str) -> None:
    place = Place(bundle_id=BUNDLE_ID, type=kind, number=0)
    length = (1 << 16) + 64 * 1000
    packed = compressed(bytes(length))
    start = skippable(0, binding(length, place=place)) + packed
    if kind == b"SEGM":
        start = skippable(0, binding(0, place=place) + packed) + compressed(b"")
    fitting = start + skippable(1, bytes(1000 - len(start) - 8))
    assert len(b"".join(decode(place, fitting))) == length
    with pytest.raises(LimitExceeded) as caught:
        decode(place, start + skippable(1, bytes(999 - len(start) - 8)))
    assert caught.value.rule == rule


@pytest.mark.rule("R-7.9")
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_padding_for_both_reasons_serves_both(length: int, least: int) -> None:
    pad = compression._padding(length, least=least, is_padme=True)
    assert compression.padme(length + len(pad)) == length + len(pad) >= least


@pytest.mark.rule("R-7.9")
@given(st.integers(0, 100_000))
def test_padding_is_nothing_or_a_whole_frame_to_the_next_length_that_it_fits(length: int) -> None:
    pad = compression._padding(length, least=0, is_padme=True)
    assert not pad or (len(pad) >= 8 and pad == skippable(1, bytes(len(pad) - 8)))
    steps = [length + gap for gap in range(len(pad)) if compression.padme(length + gap) == length + gap]
    assert all(0 < step - length < 8 for step in steps)
