"""Vectors with faults in index and footer (section 5), and such as only the frame MAC shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from spec.vectors.builder import KEYS, MAGIC, STRANGER, Draft, Map, Section, flip, seeded
from spec.vectors.cases import framing, framings, vector, vectors

# KEYS, SEGM, ENTR, MANI, KEYS: where the sections of the sample stand.
_SEGM, _ENTR, _MANI, _LAST = 1, 2, 3, 4


def _sample(d: Draft) -> list[Section]:
    d.sample()
    return d.sections()


# --- index and footer -----------------------------------------------------------------------------------------------


@framings("R-5.1", "Truncated", {"last_byte": -1, "footer": -128, "middle": 1000, "preamble_alone": 64})
def cut(d: Draft, length: int) -> bytes:
    """The end is missing."""
    d.sample()
    return d.build()[:length]


@framings("R-5.1", "Truncated", {"one_byte": b"\0", "line": b"\r\n", "preamble": MAGIC + bytes(56)})
def appended(d: Draft, junk: bytes) -> bytes:
    """Something stands behind the footer, so the footer isn't at the end."""
    d.sample()
    return d.build() + junk


@framings(
    "R-5.2",
    "ChecksumMismatch",
    {"bundle_id": -128, "index_offset": -104, "root_digest": -80, "frame_mac": -48, "check": -16},
)
def footer_bit(d: Draft, position: int) -> bytes:
    """A bit of the footer was flipped."""
    d.sample()
    data = d.build()
    return flip(data, len(data) + position)


@framings(
    "R-5.3",
    "Malformed",
    {
        "bundle_id": {"bundle_id": bytes(16)},
        "read_version": {"versions": b"\x02\x01"},
        "write_version": {"versions": b"\x01\x02"},
        "incompat": {"incompat": 1},
    },
)
def contradicting_footer(d: Draft, fields: Map) -> bytes:
    """The footer contradicts the preamble."""
    return d.frame(_sample(d), footer=fields)


@framing("R-5.4", "Malformed")
def footer_reserved(d: Draft) -> bytes:
    """A reserved byte of the footer isn't zero."""
    return d.frame(_sample(d), footer={"zero": 0x0100})


@framing("R-5.5", "Truncated")
def bytes_missing_inside(d: Draft) -> bytes:
    """A sector is missing between preamble and footer."""
    d.sample()
    data = d.build()
    return data[:512] + data[1024:]


@framing("R-5.5", "Malformed")
def bytes_added_inside(d: Draft) -> bytes:
    """A sector stands in the file twice."""
    d.sample()
    data = d.build()
    return data[:1024] + data[512:]


def _moved_index(d: Draft, moved: dict[str, int]) -> bytes:
    sections = _sample(d)
    own = {"index_offset": 64 + sum(64 + len(section.body) for section in sections), "index_length": 64 * len(sections)}
    return d.frame(sections, footer={name: own[name] + by for name, by in moved.items()})


@framings(
    "R-5.6",
    "Malformed",
    {
        "offset_too_small": {"index_offset": -1},
        "offset_too_great": {"index_offset": 64},
        "length_too_great": {"index_length": 64},
        "odd_length": {"index_offset": 1, "index_length": -1},
        "begins_late": {"index_offset": 64, "index_length": -64},
        "overflow": {"index_offset": 2**63, "index_length": 2**63 - 64},
    },
)
def index_place(d: Draft, moved: dict[str, int]) -> bytes:
    """The index isn't where the footer says."""
    return _moved_index(d, moved)


@framing("R-4.1", "Malformed")
def index_begins_early(d: Draft) -> bytes:
    """The footer claims that the index begins inside the last body: what stands there is no header."""
    return _moved_index(d, {"index_offset": -64, "index_length": 64})


@framing("R-5.6", "Malformed")
def gap(d: Draft) -> bytes:
    """A byte stands between the last section and the index."""
    return d.frame(_sample(d), gap=b"\0")


@framing("R-5.6", "Malformed")
def index_in_preamble(d: Draft) -> bytes:
    """The footer claims that the index begins in the preamble."""
    return d.frame([], footer={"index_offset": 0, "index_length": 64})


@framings("R-5.7", "Malformed", {"keys": 0, "segm": _SEGM, "entr": _ENTR, "mani": _MANI, "second_keys": _LAST})
def header_in_body(d: Draft, position: int) -> bytes:
    """A header before a body differs from its copy in the index."""
    sections = _sample(d)
    index = b"".join(section.header() for section in sections)
    sections[position] = dataclasses.replace(sections[position], flags=sections[position].flags ^ 2)
    return d.frame(sections, index=index)


@framing("R-5.7", "Malformed")
def header_bit_in_body(d: Draft) -> bytes:
    """A bit of a header before a body was flipped."""
    sections = _sample(d)
    start = 64 + 64 + len(sections[0].body)
    return flip(d.frame(sections), start + 40)


@framing("R-5.8", "ChecksumMismatch")
def root_digest(d: Draft) -> bytes:
    """The root digest is another content's."""
    return d.frame(_sample(d), footer={"root_digest": bytes(32)})


# --- what only a key shows ------------------------------------------------------------------------------------------


@vector("R-5.9", "AuthenticationFailed")
def mac_of_zeros(d: Draft) -> bytes:
    """The frame MAC is zero."""
    return d.frame(_sample(d), footer={"frame_mac": bytes(32)})


@vector("R-5.9", "AuthenticationFailed")
def mac_of_another_key(d: Draft) -> bytes:
    """The frame MAC was made with another key."""
    return d.frame(_sample(d), mac_key=STRANGER)


def _by_outsider(d: Draft, change: Callable[[Draft, list[Section]], None]) -> bytes:
    """What somebody without the key can make: every digest and check is right, the MAC is the old one."""
    sections = _sample(d)
    old = d.frame(sections)
    change(d, sections)
    return d.frame(sections, footer={"frame_mac": old[-48:-16]})


def _bump(d: Draft, _: list[Section]) -> None:
    d.preamble["write"] = 2


def _compat(d: Draft, _: list[Section]) -> None:
    d.preamble["compat"] = 1


def _drop_segment(_: Draft, sections: list[Section]) -> None:
    del sections[_SEGM]


def _add_section(_: Draft, sections: list[Section]) -> None:
    sections.insert(_ENTR, Section(type=b"SIGN", number=0, flags=0, body=b"forged"))


def _add_keys(d: Draft, sections: list[Section]) -> None:
    extra = Section(type=KEYS, number=1, body=d.keys_body())
    sections.insert(1, extra)
    sections.append(extra)


def _damage_body(_: Draft, sections: list[Section]) -> None:
    sections[_SEGM].body = flip(sections[_SEGM].body, -1)


@vectors(
    "R-5.9",
    {
        "write_version": _bump,
        "compat_bit": _compat,
        "dropped_segment": _drop_segment,
        "added_section": _add_section,
        "added_keys": _add_keys,
        "changed_body": _damage_body,
    },
    "AuthenticationFailed",
)
def outsider(d: Draft, change: Callable[[Draft, list[Section]], None]) -> bytes:
    """Somebody without the key changed the framing, and made every digest anew."""
    return _by_outsider(d, change)


@vector("R-5.9", "AuthenticationFailed")
def outsider_dropped_keys(d: Draft) -> bytes:
    """Somebody without the key dropped one of two recipients' KEYS."""
    d.keys = [d.keys_body(), d.passphrase_body()]
    sections = _sample(d)
    old = d.frame(sections)
    return d.frame([sections[0], *sections[2:-1]], footer={"frame_mac": old[-48:-16]})


@vector("R-6.5", "AuthenticationFailed")
def outsider_changed_bundle_id(d: Draft) -> bytes:
    """Somebody without the key gave the frame another bundle's id; the text in KEYS tells."""
    sections = _sample(d)
    old = d.frame(sections)
    d.bundle_id = seeded("another bundle")(16)
    return d.frame(sections, footer={"frame_mac": old[-48:-16]})
