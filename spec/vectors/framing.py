"""Vectors with faults in the framing (sections 3 to 5): a reader without a key finds them as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from spec.vectors.builder import KEYS, MAGIC, Draft, Map, Section, flip
from spec.vectors.cases import framing, framings

MIB = 1 << 20
# KEYS, SEGM, ENTR, MANI, KEYS: where the sections of the sample stand.
_SEGM, _ENTR, _MANI, _LAST = 1, 2, 3, 4


def _sample(d: Draft) -> list[Section]:
    d.sample()
    return d.sections()


# --- the beginning --------------------------------------------------------------------------------------------------


@framing("R-3.1", "NotABundle")
def empty_file(_: Draft) -> bytes:
    """No byte at all."""
    return b""


@framings(
    "R-3.1",
    "NotABundle",
    {
        "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        "text": b"to be or not to be\n",
        "age": b"age-encryption.org/v1\n",
        "one_byte": b"O",
        "text_transfer": MAGIC.replace(b"\r\n", b"\n") + bytes(64),
        "seven_bits": bytes([MAGIC[0] & 0x7F]) + MAGIC[1:] + bytes(64),
    },
)
def other_file(_: Draft, data: bytes) -> bytes:
    """Something else than a bundle."""
    return data


@framings("R-3.1", "Truncated", {"one_byte": 1, "magic": 8, "almost_preamble": 63})
def cut_in_preamble(d: Draft, length: int) -> bytes:
    """The file ends within the preamble."""
    d.sample()
    return d.build()[:length]


@framings("R-3.2", "ChecksumMismatch", {"version": 8, "incompat": 12, "bundle_id": 20, "reserved": 40, "check": 63})
def preamble_bit(d: Draft, position: int) -> bytes:
    """A bit of the preamble was flipped."""
    d.sample()
    return flip(d.build(), position)


@framings(
    "R-3.3",
    "UnsupportedVersion",
    {
        "next": {"read": 2, "write": 2},
        "last": {"read": 255, "write": 255},
        "before_incompat": {"read": 2, "write": 2, "incompat": 1},
        "before_reserved": {"read": 2, "write": 2, "zero": 1},
        "before_order": {"read": 2, "write": 1},
    },
)
def newer_version(d: Draft, fields: Map) -> None:
    """A read version of a later format, alone or before another fault."""
    d.preamble = fields
    d.sample()


@framings("R-3.3", "Malformed", {"alone": {"read": 0}, "with_write_version": {"read": 0, "write": 0}})
def version_0(d: Draft, fields: Map) -> None:
    """Read version 0."""
    d.preamble = fields
    d.sample()


@framings(
    "R-3.4",
    "UnsupportedVersion",
    {
        "first": {"incompat": 1},
        "last": {"incompat": 1 << 31},
        "before_reserved": {"incompat": 1, "zero": 1},
    },
)
def incompat_bit(d: Draft, fields: Map) -> None:
    """An incompat bit that this version doesn't know."""
    d.preamble = fields
    d.sample()


@framings(
    "R-3.5",
    "Malformed",
    {"after_versions": {"zero": 1}, "first": {"zeros": b"\x01" + bytes(19)}, "last": {"zeros": bytes(19) + b"\x80"}},
)
def reserved_bytes(d: Draft, fields: Map) -> None:
    """A reserved byte of the preamble isn't zero."""
    d.preamble = fields
    d.sample()


@framing("R-3.6", "Malformed")
def write_version_0(d: Draft) -> None:
    """The write version is below the read version."""
    d.preamble["write"] = 0
    d.sample()


# --- section headers ------------------------------------------------------------------------------------------------


@framing("R-4.1", "Malformed")
def header_magic(d: Draft) -> bytes:
    """A section header begins with other letters."""
    sections = _sample(d)
    sections[_SEGM].magic = b"OCBX"
    return d.frame(sections)


@framing("R-4.2", "ChecksumMismatch")
def header_check(d: Draft) -> bytes:
    """A section header's check is wrong, in both of its copies."""
    sections = _sample(d)
    sections[_SEGM].check = bytes(8)
    return d.frame(sections)


@framing("R-4.2", "ChecksumMismatch")
def index_bit(d: Draft) -> bytes:
    """A bit of the index was flipped."""
    d.sample()
    data = d.build()
    return flip(data, len(data) - 128 - 64 + 30)


@framings(
    "R-4.3",
    "Malformed",
    {"lower_case": b"xtra", "blank": b"XT A", "nul": b"XTR\x00", "punctuation": b"XT-A", "not_ascii": b"XTR\xc1"},
)
def section_type(d: Draft, kind: bytes) -> bytes:
    """A section's type isn't four capitals or digits."""
    sections = _sample(d)
    sections.insert(_ENTR, Section(type=kind, number=0, flags=0, body=b"x"))
    return d.frame(sections)


@framings("R-4.4", "Malformed", {"second": 3, "last": 1 << 31 | 1})
def section_flag(d: Draft, flags: int) -> bytes:
    """A reserved section flag is set."""
    sections = _sample(d)
    sections[_SEGM].flags = flags
    return d.frame(sections)


@framings("R-4.5", "Malformed", {"segm": _SEGM, "entr": _ENTR, "mani": _MANI})
def not_critical(d: Draft, position: int) -> bytes:
    """A section of a known type isn't marked critical."""
    sections = _sample(d)
    sections[position].flags = 0
    return d.frame(sections)


@framing("R-4.5", "Malformed")
def keys_not_critical(d: Draft) -> bytes:
    """KEYS aren't marked critical, in either run."""
    sections = _sample(d)
    sections[0].flags = sections[_LAST].flags = 0
    return d.frame(sections)


@framings("R-4.6", "UnsupportedVersion", {"unknown": b"X9Z0", "parity": b"PARI", "signature": b"SIGN"})
def critical_section(d: Draft, kind: bytes) -> bytes:
    """A section that this version must know, and doesn't."""
    sections = _sample(d)
    sections.insert(_ENTR, Section(type=kind, number=0, body=b"of a later version"))
    return d.frame(sections)


@framings(
    "R-4.11",
    "LimitExceeded",
    {"keys": (0, 64 << 10), "segm": (_SEGM, 20 * MIB), "entr": (_ENTR, 8 * MIB), "mani": (_MANI, 16 * MIB)},
)
def body_length(d: Draft, place: tuple[int, int]) -> bytes:
    """A header promises one byte more than its type may have."""
    sections = _sample(d)
    position, limit = place
    sections[position].length = limit + 1
    return d.frame(sections)


@framing("R-4.11", "LimitExceeded")
def body_length_of_unknown(d: Draft) -> bytes:
    """A section of an unknown type promises one byte more than it may have."""
    sections = _sample(d)
    sections.insert(_ENTR, Section(type=b"XTRA", number=0, flags=0, body=b"", length=32 * MIB + 1))
    return d.frame(sections)


# --- order ----------------------------------------------------------------------------------------------------------


@framings("R-4.8", "Malformed", {"segm": _SEGM, "entr": _ENTR, "mani": _MANI})
def number(d: Draft, position: int) -> bytes:
    """The first section of its type has the number 1."""
    sections = _sample(d)
    sections[position].number = 1
    return d.frame(sections)


@framing("R-4.8", "Malformed")
def keys_from_1(d: Draft) -> bytes:
    """KEYS are numbered from 1, in both runs."""
    sections = _sample(d)
    sections[0].number = sections[_LAST].number = 1
    return d.frame(sections)


@framing("R-4.8", "Malformed")
def number_twice(d: Draft) -> bytes:
    """Two segments have the number 0."""
    sections = _sample(d)
    sections.insert(_ENTR, dataclasses.replace(sections[_SEGM]))
    return d.frame(sections)


@framing("R-4.8", "Malformed")
def unknown_number(d: Draft) -> bytes:
    """A section of an unknown type is numbered, too."""
    sections = _sample(d)
    sections.insert(_ENTR, Section(type=b"XTRA", number=7, flags=0, body=b""))
    return d.frame(sections)


def _without_mani(sections: list[Section]) -> None:
    del sections[_MANI]


def _two_mani(sections: list[Section]) -> None:
    sections.insert(_LAST, dataclasses.replace(sections[_MANI], number=1))


def _segm_behind_mani(sections: list[Section]) -> None:
    sections.insert(_LAST - 1, sections.pop(_SEGM))


def _entr_behind_mani(sections: list[Section]) -> None:
    sections[_ENTR], sections[_MANI] = sections[_MANI], sections[_ENTR]


def _keys_between(sections: list[Section]) -> None:
    sections.insert(_ENTR, dataclasses.replace(sections[0]))


def _unknown_first(sections: list[Section]) -> None:
    sections.insert(0, Section(type=b"XTRA", number=0, flags=0, body=b""))


def _no_first_keys(sections: list[Section]) -> None:
    del sections[0]


def _nothing_between(sections: list[Section]) -> None:
    del sections[1:_LAST]


def _nothing(sections: list[Section]) -> None:
    sections.clear()


@framings(
    "R-4.9",
    "Malformed",
    {
        "without_mani": _without_mani,
        "two_mani": _two_mani,
        "segm_behind_mani": _segm_behind_mani,
        "entr_behind_mani": _entr_behind_mani,
        "keys_between": _keys_between,
        "unknown_first": _unknown_first,
        "no_first_keys": _no_first_keys,
        "nothing_between": _nothing_between,
        "nothing": _nothing,
    },
)
def order(d: Draft, change: Callable[[list[Section]], None]) -> bytes:
    """The sections stand in another order than they may."""
    sections = _sample(d)
    change(sections)
    return d.frame(sections)


@framing("R-4.9", "LimitExceeded")
def seventeen_keys(d: Draft) -> None:
    """One KEYS section more than there may be."""
    d.keys = [d.keys_body() for _ in range(17)]
    d.sample()


def _other_keys(d: Draft, sections: list[Section]) -> None:
    sections[_LAST].body = d.keys_body()


def _other_digest(_: Draft, sections: list[Section]) -> None:
    sections[_LAST].digest = bytes(32)


def _no_last_keys(_: Draft, sections: list[Section]) -> None:
    sections.pop()


def _unknown_last(_: Draft, sections: list[Section]) -> None:
    sections.append(Section(type=b"XTRA", number=0, flags=0, body=b""))


def _one_of_two(d: Draft, sections: list[Section]) -> None:
    sections.insert(1, Section(type=KEYS, number=1, body=d.keys_body()))


def _swapped(d: Draft, sections: list[Section]) -> None:
    second = Section(type=KEYS, number=1, body=d.keys_body())
    sections.insert(1, second)
    sections.insert(-1, second)


@framings(
    "R-4.10",
    "Malformed",
    {
        "sealed_anew": _other_keys,
        "other_digest": _other_digest,
        "missing": _no_last_keys,
        "before_unknown": _unknown_last,
        "one_of_two": _one_of_two,
        "in_other_order": _swapped,
    },
)
def second_run(d: Draft, change: Callable[[Draft, list[Section]], None]) -> bytes:
    """The KEYS at the end aren't those at the beginning."""
    sections = _sample(d)
    change(d, sections)
    return d.frame(sections)


# --- bodies ---------------------------------------------------------------------------------------------------------


@framings("R-4.12", "ChecksumMismatch", {"keys": 0, "segm": _SEGM, "entr": _ENTR, "mani": _MANI, "second_keys": _LAST})
def body_bit(d: Draft, position: int) -> bytes:
    """A bit in the middle of a section's body was flipped."""
    sections = _sample(d)
    data = d.frame(sections)
    start = 64 + sum(64 + len(section.body) for section in sections[:position]) + 64
    return flip(data, start + len(sections[position].body) // 2)


@framing("R-4.12", "ChecksumMismatch")
def body_bit_of_unknown(d: Draft) -> bytes:
    """A section of an unknown type is damaged: it is held to its digest like any other."""
    sections = _sample(d)
    body = b"of a later version"
    sections.insert(_ENTR, Section(type=b"XTRA", number=0, flags=0, body=body))
    data = d.frame(sections)
    return flip(data, data.index(body))


@framing("R-4.12", "ChecksumMismatch")
def digest_of_another_body(d: Draft) -> bytes:
    """A header holds another digest than its body's, in both of its copies."""
    sections = _sample(d)
    sections[_ENTR].digest = bytes(32)
    return d.frame(sections)
