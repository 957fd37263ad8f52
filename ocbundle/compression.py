"""The plaintext of a sealed section: binding, journal, one zstd frame, padding.

Implements section 7 of the specification; the only module that knows zstandard. The reader walks every frame by hand,
since the library misreports a leading skippable frame, trusts a frame that declares size 0, and takes a truncated
stream for a short one.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from typing import Final

import zstandard

from ocbundle import limits
from ocbundle.errors import AuthenticationFailed, LimitExceeded, Malformed
from ocbundle.memory import Take

_BINDING: Final = struct.Struct("<16s16s4sIQ")
_BIND_DOMAIN: Final = b"ocbundle/v1/bind"
_SKIPPABLE: Final = struct.Struct("<II")
_BIND_MAGIC: Final = 0x184D2A50
_PAD_MAGIC: Final = 0x184D2A51
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_MAX_WINDOW_LOG: Final = 23
_DEFAULT_LEVEL: Final = 3
_DEFAULT_CHAIN_LOG: Final = 14
_PIECE: Final = 64 * limits.KIB

_RAW_LIMITS: Final = {b"ENTR": limits.MAX_BATCH, b"MANI": limits.MAX_HEAD}
_local = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a section's plaintext is bound to: its bundle, its type and its number."""

    bundle_id: bytes
    type: bytes
    number: int


def encode(place: Place, raw: bytes | memoryview, *, level: int, journal: bytes = b"", padded: bool = False) -> bytes:
    """The plaintext of the section at *place*: *raw* compressed, and *journal* (not yet compressed) beside it."""
    packed_journal = _compress(journal, level) if journal else b""
    binding = _BINDING.pack(_BIND_DOMAIN, place.bundle_id, place.type, place.number, len(raw))
    parts = [
        _SKIPPABLE.pack(_BIND_MAGIC, len(binding) + len(packed_journal)),
        binding,
        packed_journal,
        _compress(raw, level),
    ]
    least = limits.least_plaintext(len(journal if place.type == b"SEGM" else raw))
    parts.append(_padding(sum(map(len, parts)), least=least, is_padme=padded))
    return b"".join(parts)


def decode(place: Place, plaintext: bytes | memoryview) -> tuple[bytes, bytes]:
    """The raw bytes and the raw journal (empty if there is none) of the section at *place*.

    Raises:
        AuthenticationFailed: the section was bound to another place, so somebody moved it (R-7.2).
        Malformed, LimitExceeded: a rule of section 7 is broken.
    """
    frame, length, journal = _decode(place, plaintext)
    return _decompress(frame, length), journal


def decode_into(take: Take, place: Place, plaintext: bytes | memoryview) -> tuple[memoryview, bytes]:
    """:func:`decode`, with the raw bytes in memory of which *take* gives as much as it is asked for, or more."""
    frame, length, journal = _decode(place, plaintext)
    return _decompress_into(take, frame, length), journal


def _decode(place: Place, plaintext: bytes | memoryview) -> tuple[memoryview, int, bytes]:
    """The frame, how long its content is, and the raw journal."""
    length, domain, bundle_id, kind, number, raw_length = _binding(plaintext)
    if domain != _BIND_DOMAIN or (bundle_id, kind, number) != (place.bundle_id, place.type, place.number):
        raise AuthenticationFailed(
            "a section belongs elsewhere: it was moved, or comes from another bundle", rule="R-7.2"
        )
    is_segment = place.type == b"SEGM"
    limit = limits.segment_limit(place.number) if is_segment else _RAW_LIMITS[place.type]
    if raw_length > limit or not (is_segment or len(plaintext) >= limits.least_plaintext(raw_length)):
        raise LimitExceeded(f"a section of {raw_length} bytes uncompressed", rule="R-7.5")
    start = _SKIPPABLE.size + length
    view = memoryview(plaintext)
    frame_length = _frame_length(view[start:], declared=raw_length, rule="R-7.3")
    _check_padding(view[start + frame_length :])
    journal = b""
    if packed_journal := view[_SKIPPABLE.size + _BINDING.size : start]:
        journal = _decode_journal(place, packed_journal, len(plaintext))
    return view[start : start + frame_length], raw_length, journal


def place_of(plaintext: bytes | memoryview) -> Place:
    """The place that *plaintext* says it is bound to: for salvage, where the header that should say it may be lost.

    Raises:
        Malformed: it doesn't begin with a binding (R-7.1).
        AuthenticationFailed: with one of another format (R-7.2).
    """
    _, domain, bundle_id, kind, number, _ = _binding(plaintext)
    if domain != _BIND_DOMAIN:
        raise AuthenticationFailed("a section belongs to something else than a bundle", rule="R-7.2")
    return Place(bundle_id=bundle_id, type=kind, number=number)


def _binding(plaintext: bytes | memoryview) -> tuple[int, bytes, bytes, bytes, int, int]:
    """Length of the frame that holds the binding, then the binding's fields."""
    if len(plaintext) < _SKIPPABLE.size + _BINDING.size:
        raise Malformed("a sealed section is too short for its binding", rule="R-7.1")
    magic, length = _SKIPPABLE.unpack_from(plaintext)
    if magic != _BIND_MAGIC or not _BINDING.size <= length <= len(plaintext) - _SKIPPABLE.size:
        raise Malformed("a sealed section doesn't begin with its binding", rule="R-7.1")
    return (length, *_BINDING.unpack_from(plaintext, _SKIPPABLE.size))


def _decode_journal(place: Place, packed: memoryview, length: int) -> bytes:
    """The raw journal of a plaintext of *length*."""
    if place.type != b"SEGM":
        raise Malformed("a journal outside a segment", rule="R-7.8")
    declared = _frame_header(packed, rule="R-7.8")[1]
    if declared > limits.MAX_JOURNAL or length < limits.least_plaintext(declared):
        raise LimitExceeded(f"a journal of {declared} bytes", rule="R-7.8")
    if _frame_length(packed, declared=declared, rule="R-7.8") != len(packed):
        raise Malformed("something follows a journal", rule="R-7.8")
    return _decompress(packed, declared)


# --- zstd frames (RFC 8878), walked by hand -------------------------------------------------------------------------


def _frame_header(frame: memoryview, *, rule: str) -> tuple[int, int, bool]:
    """Length of the frame header, content size it declares, and whether a checksum ends the frame."""
    if bytes(frame[:4]) != _ZSTD_MAGIC or len(frame) < 5:
        raise Malformed("no zstd frame where one should be", rule=rule)
    descriptor = frame[4]
    size_flag, single_segment = descriptor >> 6, descriptor >> 5 & 1
    if descriptor & 0x08:
        raise Malformed("a reserved bit of a zstd frame is set", rule="R-7.4")
    if descriptor & 0x03:
        raise Malformed("a zstd frame needs a dictionary", rule="R-7.4")
    if size_flag == 0 and not single_segment:
        raise Malformed("a zstd frame doesn't declare its size", rule=rule)
    position = 5 if single_segment else 6
    size_length = 1 << size_flag
    field = bytes(frame[position : position + size_length])
    if len(field) < size_length:
        raise Malformed("a zstd frame is cut off", rule=rule)
    content_size = int.from_bytes(field, "little") + (256 if size_flag == 1 else 0)
    base = 1 << 10 + (frame[5] >> 3)
    window = content_size if single_segment else base + base // 8 * (frame[5] & 7)
    if window > limits.MAX_WINDOW:
        raise LimitExceeded(f"a zstd frame asks for a window of {window} bytes", rule="R-7.4")
    return position + size_length, content_size, bool(descriptor & 0x04)


def _frame_length(frame: memoryview, *, declared: int, rule: str) -> int:
    """The length of the one frame at the start of *frame*, found by its blocks; it must declare *declared* bytes."""
    position, content_size, has_checksum = _frame_header(frame, rule=rule)
    if content_size != declared:
        raise Malformed("a zstd frame declares another size than its section", rule=rule)
    last = False
    blocks = 0
    while not last:
        blocks += 1
        if blocks > limits.MAX_BLOCKS:
            raise LimitExceeded(f"a zstd frame of more than {limits.MAX_BLOCKS} blocks", rule="R-7.11")
        block = bytes(frame[position : position + 3])
        if len(block) < 3:
            raise Malformed("a zstd frame is cut off", rule=rule)
        header = int.from_bytes(block, "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        position += 3 + (1 if kind == 1 else size)  # a run-length block holds one byte
    position += 4 if has_checksum else 0
    if position > len(frame):
        raise Malformed("a zstd frame is cut off", rule=rule)
    return position


def _check_padding(rest: memoryview) -> None:
    if not rest:
        return
    magic, length = _SKIPPABLE.unpack_from(rest) if len(rest) >= _SKIPPABLE.size else (0, 0)
    content = rest[_SKIPPABLE.size :]
    if magic != _PAD_MAGIC or length != len(content) or not _is_zero(content):
        raise Malformed("something other than padding ends a section", rule="R-7.7")


def _is_zero(content: memoryview) -> bool:
    pieces = (bytes(content[start : start + _PIECE]) for start in range(0, len(content), _PIECE))
    return all(piece.count(0) == len(piece) for piece in pieces)


def _compress(raw: bytes | memoryview, level: int) -> bytes:
    compressors = _local.__dict__.setdefault("compressors", {})
    compressor = compressors.get(level)
    if compressor is None:
        compressor = compressors[level] = zstandard.ZstdCompressor(compression_params=_parameters(level))
    packed: bytes = compressor.compress(raw)
    return packed


def _parameters(level: int) -> zstandard.ZstdCompressionParameters:
    chosen = {}
    if zstandard.ZstdCompressionParameters.from_level(level).window_log > _MAX_WINDOW_LOG:
        chosen["window_log"] = _MAX_WINDOW_LOG
    if level == _DEFAULT_LEVEL:
        # The table of short matches stays in the cache: small files take 9 % less time, for 0.5 % more bytes.
        chosen["chain_log"] = _DEFAULT_CHAIN_LOG
    return zstandard.ZstdCompressionParameters.from_level(level, **chosen)


def _decompressor() -> zstandard.ZstdDecompressor:
    if "decompressor" not in _local.__dict__:
        _local.decompressor = zstandard.ZstdDecompressor()
    found: zstandard.ZstdDecompressor = _local.decompressor
    return found


def _decompress(frame: memoryview, length: int) -> bytes:
    decompressor = _decompressor()
    whole = True
    try:
        if length:
            raw = bytes(decompressor.decompress(frame))
        else:  # the library answers b"" for a declared size of 0 without looking at the blocks
            stream = decompressor.decompressobj()
            raw = stream.decompress(frame)
            whole = stream.eof
    except zstandard.ZstdError as error:
        raise Malformed("a zstd frame is damaged", rule="R-7.6") from error
    if len(raw) != length or not whole:  # pragma: no cover - today's libzstd finds it itself
        raise Malformed("a zstd frame holds another size than it declares", rule="R-7.6")
    return raw


def _decompress_into(take: Take, frame: memoryview, length: int) -> memoryview:
    raw = memoryview(take(length))[:length]
    # The stream takes a truncated frame for a short one; but this one was walked to its end, and must be as long.
    try:
        stream = _decompressor().stream_reader(frame)
        is_whole = stream.readinto(raw) == length and not stream.read(1)
    except zstandard.ZstdError as error:
        raise Malformed("a zstd frame is damaged", rule="R-7.6") from error
    if not is_whole:
        raise Malformed("a zstd frame holds another size than it declares", rule="R-7.6")
    return raw


# --- padding --------------------------------------------------------------------------------------------------------


def padme(length: int) -> int:
    """The length that Padmé pads *length* to: at most 12 % more, and few lengths to tell apart (PURBs, section 4)."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    mask = (1 << exponent - exponent.bit_length()) - 1
    return (length + mask) & ~mask


def _padding(length: int, *, least: int, is_padme: bool) -> bytes:
    """What makes a plaintext of *length* as long as it must be: *least*, and as Padmé wants it or not."""
    target = max(length, least)
    if target > length:
        target = max(target, length + _SKIPPABLE.size)
    if is_padme:
        target = padme(target)
        while 0 < target - length < _SKIPPABLE.size:
            target = padme(target + 1)
    if target == length:
        return b""
    gap = target - length - _SKIPPABLE.size
    return _SKIPPABLE.pack(_PAD_MAGIC, gap) + bytes(gap)
