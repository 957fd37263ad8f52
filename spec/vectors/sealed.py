"""Vectors with faults in the plaintext of sealed sections (section 7): binding, zstd frame, padding, journal."""

from __future__ import annotations

from typing import Any

from spec.vectors.builder import (
    ENTR,
    MANI,
    SEGM,
    Draft,
    Map,
    block,
    flip,
    frame,
    pack,
    seeded,
    skippable,
)
from spec.vectors.cases import vector, vectors

_ALL = {"segm": SEGM, "entr": ENTR, "mani": MANI}
_BINDING = bytes(48)


# --- binding --------------------------------------------------------------------------------------------------------


@vectors(
    "R-7.1",
    {
        "nothing": b"",
        "too_short": skippable(0, bytes(47)) + frame(b""),
        "cut": skippable(0, _BINDING)[:40],
        "zstd_alone": frame(b"x" * 60),
        "other_nibble": skippable(1, _BINDING) + frame(b""),
        "longer_than_all": skippable(0, _BINDING, length=1000) + frame(b""),
        "longest": skippable(0, _BINDING, length=0xFFFFFFFF) + frame(b""),
    },
    "Malformed",
)
def binding(d: Draft, plaintext: bytes) -> None:
    """A segment doesn't begin with its binding."""
    d.sample()
    d.change(SEGM, plaintext=plaintext)


@vectors(
    "R-7.2",
    {
        "domain": {"domain": b"ocbundle/v2/bind"},
        "bundle": {"bound_id": seeded("another bundle")(16)},
        "type": {"bound_type": ENTR},
        "number": {"bound_number": 1},
    },
    "AuthenticationFailed",
)
def bound_elsewhere(d: Draft, fields: Map) -> None:
    """A segment was made for another place."""
    d.sample()
    d.change(SEGM, **fields)


@vectors("R-7.2", {"entr": ENTR, "mani": MANI}, "AuthenticationFailed")
def manifest_of_another_bundle(d: Draft, kind: bytes) -> None:
    """A part of the manifest was made for another bundle."""
    d.sample()
    d.change(kind, bound_id=seeded("another bundle")(16))


@vector("R-7.2", "AuthenticationFailed")
def swapped_segments(d: Draft) -> bytes:
    """Two segments stand in each other's place; numbers, digests and MAC were made anew."""
    d.directory(b"")
    d.file(b"a", b"first", segment=0)
    d.file(b"b", b"other", segment=1)
    sections = d.sections()
    sections[1].body, sections[2].body = sections[2].body, sections[1].body
    return d.frame(sections)


@vector("R-7.2", "AuthenticationFailed")
def doubled_segment(d: Draft) -> bytes:
    """A segment stands there twice, the second time with the next number."""
    d.directory(b"")
    d.file(b"a", b"first", segment=0)
    d.file(b"b", b"other", segment=1)
    sections = d.sections()
    sections[2].body = sections[1].body
    return d.frame(sections)


# --- the zstd frame -------------------------------------------------------------------------------------------------


@vectors(
    "R-7.3",
    {
        "missing": b"",
        "old_magic": b"\x27\xb5\x2f\xfd" + frame(b"twelve bytes")[4:],
        "skippable": skippable(2, b"") + frame(b"twelve bytes"),
        "stored_bare": b"twelve bytes",
        "size_not_declared": frame(b"twelve bytes", head=b"\x00\x58"),
        "other_size": frame(b"twelve bytes", size=13),
        "zero_declared": frame(b"twelve bytes", head=b"\xa0" + bytes(4)),
        "header_cut": b"\x28\xb5\x2f\xfd\xe0\x0c\x00",
        "block_cut": frame(b"twelve bytes")[:-1],
        "last_block_missing": frame(b"", size=12, blocks=block(b"twelve bytes", last=False)),
        "checksum_cut": frame(b"twelve bytes", head=b"\x24\x0c") + b"\0\0\0",
    },
    "Malformed",
)
def zstd_frame(d: Draft, data: bytes) -> None:
    """No whole zstd frame that declares the raw length."""
    d.directory(b"")
    d.file(b"a", b"twelve bytes")
    d.change(SEGM, frame=data)


@vectors(
    "R-7.4",
    {
        "reserved_bit": b"\xa8\x0c\0\0\0",
        "dictionary": b"\xa1\x07\x0c\0\0\0",
        "dictionary_4": b"\xa3" + b"\x0c\0\0\0" * 2,
        "dictionary_0": b"\xa1\x00\x0c\0\0\0",
    },
    "Malformed",
)
def frame_header(d: Draft, head: bytes) -> None:
    """The zstd frame header asks for what isn't allowed."""
    d.directory(b"")
    d.file(b"a", b"twelve bytes")
    d.change(SEGM, frame=frame(b"twelve bytes", head=head))


@vectors("R-7.4", {"a_little": b"\x80\x69\x0c\0\0\0", "3_tib": b"\x80\xff\x0c\0\0\0"}, "LimitExceeded")
def window(d: Draft, head: bytes) -> None:
    """The zstd frame asks for a window of more than 8 MiB."""
    d.directory(b"")
    d.file(b"a", b"twelve bytes")
    d.change(SEGM, frame=frame(b"twelve bytes", head=head))


@vector("R-7.4", "LimitExceeded")
def single_segment_window(d: Draft) -> None:
    """A single-segment frame of more than 8 MiB: its window is as large as its content."""
    size = (8 << 20) + 1
    d.sample()
    blocks = b"".join(block(b"x", kind=1, size=1 << 17, last=False) for _ in range(64)) + block(b"x")
    d.change(SEGM, frame=frame(b"", size=size, blocks=blocks))


@vectors("R-7.5", {"segm": (SEGM, 1 << 20), "entr": (ENTR, 2 << 20), "mani": (MANI, 2 << 20)}, "LimitExceeded")
def raw_length(d: Draft, limit: tuple[bytes, int]) -> None:
    """A section of more bytes than its type may have, all of them there: 131,072 in a block of four."""
    kind, size = limit
    d.sample()
    count = size >> 17
    blocks = b"".join(block(b"x", kind=1, size=1 << 17, last=False) for _ in range(count)) + block(b"x")
    head = b"\x80\x50" + (size + 1).to_bytes(4, "little")
    pad = skippable(1, bytes(size >> 6))
    d.change(kind, raw_length=size + 1, frame=frame(b"", head=head, blocks=blocks), padding=pad)


@vector("R-7.5", "LimitExceeded")
def raw_length_of_everything(d: Draft) -> None:
    """A segment that claims 2^64 - 1 bytes."""
    d.sample()
    d.change(SEGM, raw_length=2**64 - 1)


@vector("R-7.11", "LimitExceeded")
def blocks(d: Draft) -> None:
    """A segment's frame of 65,537 blocks, all but the last of them empty."""
    d.directory(b"")
    d.file(b"a", b"twelve bytes")
    d.change(SEGM, frame=frame(b"", size=12, blocks=block(b"", last=False) * 65_536 + block(b"twelve bytes")))


@vectors(
    "R-7.6",
    {
        "less_than_declared": frame(b"", size=12, blocks=block(b"eleven byte")),
        "more_than_declared": frame(b"", size=12, blocks=block(b"thirteen byte")),
        "much_more": frame(b"", size=12, blocks=block(b"x", kind=1, size=1 << 17, last=False) * 99 + block(b"")),
        "reserved_block": frame(b"", size=12, blocks=block(b"twelve bytes", kind=3)),
        "damaged_block": frame(b"", size=12, blocks=block(b"\xff" * 12, kind=2)),
        "wrong_checksum": frame(b"twelve bytes", head=b"\x24\x0c") + bytes(4),
    },
    "Malformed",
)
def content(d: Draft, data: bytes) -> None:
    """The zstd frame doesn't hold what it declares."""
    d.directory(b"")
    d.file(b"a", b"twelve bytes")
    d.change(SEGM, frame=data)


@vectors(
    "R-7.6",
    {
        "stored": block(b"data"),
        "run": block(b"x", kind=1, size=1 << 17),
        "many_runs": block(b"x", kind=1, size=1 << 17, last=False) * 1000 + block(b""),
        "damaged": block(b"\xff" * 4, kind=2),
    },
    "Malformed",
)
def content_of_nothing(d: Draft, blocks: bytes) -> None:
    """A zstd frame that declares no content, and holds some."""
    d.directory(b"")
    d.segments = [b""]
    d.change(SEGM, frame=frame(b"", head=b"\x80\x68" + bytes(4), blocks=blocks))


# --- padding --------------------------------------------------------------------------------------------------------


@vectors(
    "R-7.7",
    {
        "not_zero": skippable(1, bytes(9) + b"\x01" + bytes(9)),
        "byte": b"\0",
        "zeros": bytes(64),
        "other_nibble": skippable(0, bytes(9)),
        "twice": skippable(1, bytes(9)) * 2,
        "second_frame": frame(b"hidden"),
        "too_short": skippable(1, bytes(9), length=10),
        "too_long": skippable(1, bytes(9), length=8),
        "cut": skippable(1, b"")[:7],
    },
    "Malformed",
)
def padding(d: Draft, data: bytes) -> None:
    """Something else than padding stands behind the content."""
    d.sample()
    d.change(SEGM, padding=data)


@vectors("R-7.7", {"entr": ENTR, "mani": MANI}, "Malformed")
def second_frame(d: Draft, kind: bytes) -> None:
    """A second zstd frame hides behind the manifest: a stock zstd would give out both."""
    d.sample()
    d.change(kind, padding=frame(b"hidden"))


# --- journal --------------------------------------------------------------------------------------------------------


@vectors("R-7.8", {"entr": ENTR, "mani": MANI}, "Malformed")
def journal_elsewhere(d: Draft, kind: bytes) -> None:
    """A journal in another section than a segment."""
    d.sample()
    d.change(kind, journal=frame(pack([])))


@vectors(
    "R-7.8",
    {
        "not_zstd": b"journal",
        "cut": frame(pack([[]]))[:-1],
        "followed": frame(pack([])) + b"\0",
        "twice": frame(pack([])) * 2,
        "size_not_declared": frame(pack([]), head=b"\x00\x58"),
        "map": frame(pack({})),
    },
    "Malformed",
)
def journal(d: Draft, data: bytes) -> None:
    """A journal that isn't one zstd frame of an array of rows."""
    d.sample()
    d.change(SEGM, journal=data)


@vector("R-7.6", "Malformed")
def journal_content(d: Draft) -> None:
    """A journal's frame doesn't hold what it declares."""
    d.sample()
    d.change(SEGM, journal=frame(b"", size=12, blocks=block(b"eleven byte")))


@vector("R-7.6", "Malformed")
def journal_reserved_block(d: Draft) -> None:
    """A journal's frame has a block of the reserved type, which has as many bytes as it says."""
    d.sample()
    d.change(SEGM, journal=frame(b"", size=1, blocks=block(pack([]), kind=3)))


@vector("R-7.4", "LimitExceeded")
def journal_window(d: Draft) -> None:
    """A journal's frame asks for a window of more than 8 MiB."""
    d.sample()
    d.change(SEGM, journal=frame(pack([]), head=b"\x80\x69\x01\0\0\0"))


@vector("R-7.4", "Malformed")
def journal_dictionary(d: Draft) -> None:
    """A journal's frame needs a dictionary."""
    d.sample()
    d.change(SEGM, journal=frame(pack([]), head=b"\xa1\x07\x01\0\0\0"))


@vector("R-7.8", "LimitExceeded")
def long_journal(d: Draft) -> None:
    """A journal of more than 1 MiB."""
    size = (1 << 20) + 1
    d.sample()
    blocks = b"".join(block(b"\xc0", kind=1, size=1 << 17, last=False) for _ in range(8)) + block(b"\xc0")
    d.change(SEGM, journal=frame(b"", size=size, blocks=blocks), padding=skippable(1, bytes(size >> 6)))


@vectors("R-8.9", {"segm": SEGM, "entr": ENTR, "mani": MANI}, "LimitExceeded")
def arrays(d: Draft, kind: bytes) -> None:
    """A journal, a batch or a head with an array of 2^18 empty ones: itself, it is one too many."""
    d.sample()
    start = b"" if kind == SEGM else b"\x81" + pack({ENTR: "entries", MANI: "users"}[kind])
    start += b"\xdd" + (1 << 18).to_bytes(4)
    packed = frame(
        b"",
        size=len(start) + (1 << 18),
        blocks=block(start, last=False) + block(b"\x90", kind=1, size=1 << 17, last=False) * 2 + block(b""),
    )
    pad = skippable(1, bytes(4000))
    if kind == SEGM:
        d.change(SEGM, journal=packed, padding=pad)
    else:
        d.change(kind, raw_length=len(start) + (1 << 18), frame=packed, padding=pad)


@vectors("R-7.5", {"entr": ENTR, "mani": MANI}, "LimitExceeded")
def raw_length_by_plaintext(d: Draft, kind: bytes) -> None:
    """A batch or a head of 128 KiB, whose plaintext is short."""
    d.sample()
    blocks = block(b"\xc0", kind=1, size=1 << 17)
    d.change(kind, raw_length=1 << 17, frame=frame(b"", size=1 << 17, blocks=blocks))


@vector("R-7.8", "LimitExceeded")
def journal_length_by_plaintext(d: Draft) -> None:
    """A journal of 128 KiB in a segment whose plaintext is short."""
    d.sample()
    d.change(SEGM, journal=frame(b"", size=1 << 17, blocks=block(b"\xc0", kind=1, size=1 << 17)))


@vector("R-9.18", "LimitExceeded")
def rows_of_batch(d: Draft) -> None:
    """A batch of 65,537 skipped rows, which are no rows."""
    d.sample()
    start = pack({"entries": []})[1:] + pack("skipped") + b"\xdd" + ((1 << 16) + 1).to_bytes(4)
    raw = b"\x82" + start
    blocks = block(raw, last=False) + block(b"\xc0", kind=1, size=(1 << 16) + 1)
    size = len(raw) + (1 << 16) + 1
    d.change(ENTR, raw_length=size, frame=frame(b"", size=size, blocks=blocks), padding=skippable(1, bytes(100)))


_ROW = ["default", b"a", 1, 0o600, 0, 0, 0, 0, None, [], None, None]


def _row(**changes: Any) -> list[Any]:  # noqa: ANN401 - fields of a row
    return [changes.get(f"f{i}", value) for i, value in enumerate(_ROW)]


@vectors(
    "R-9.16",
    {
        "with_digest": _row(f8=bytes(32)),
        "eleven": _ROW[:11],
        "kind_4": _row(f2=4),
        "not_a_row": "row",
        "root_by_index": _row(f0=0),
    },
    "Malformed",
)
def journal_row(d: Draft, row: object) -> None:
    """A row of a journal has another shape than rows of journals have."""
    d.sample()
    d.change(SEGM, journal=frame(pack([row])))


@vector("R-9.4", "Malformed")
def journal_root(d: Draft) -> None:
    """A row of a journal names a root that leads upwards."""
    d.sample()
    d.change(SEGM, journal=frame(pack([_row(f0="..")])))


@vector("R-9.7", "Malformed")
def journal_path(d: Draft) -> None:
    """A row of a journal has a path that leads upwards."""
    d.sample()
    d.change(SEGM, journal=frame(pack([_row(f1=b"../a")])))


@vector("R-9.10", "Malformed")
def journal_extents(d: Draft) -> None:
    """The extents of a journal's row don't cover the file."""
    d.sample()
    d.change(SEGM, journal=frame(pack([_row(f7=1)])))


@vector("R-8.5", "Malformed")
def journal_encoding(d: Draft) -> None:
    """A journal that isn't canonical: its array has a longer header than it needs."""
    d.sample()
    d.change(SEGM, journal=frame(b"\xdc\x00\x00"))


@vector("R-6.1", "AuthenticationFailed")
def bit_of_sealed_section(d: Draft) -> bytes:
    """A bit of a segment's payload was flipped by a holder of the bundle key, who made digests and MAC anew."""
    d.sample()
    sections = d.sections()
    sections[1].body = flip(sections[1].body, -20)
    return d.frame(sections)


@vector("R-7.7", "Malformed")
def second_segment(d: Draft) -> None:
    """The second segment of a file has padding that isn't zero: a reader may give out the first, and no byte more."""
    d.directory(b"")
    d.segments = [b"first", b"second"]
    d.file(b"file", b"firstsecond", extents=[[0, 0, 5], [1, 0, 6]])
    d.change(SEGM, 1, padding=skippable(1, b"hidden"))
