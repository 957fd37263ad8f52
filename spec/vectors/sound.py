"""Vectors that every reader accepts: each feature of framing, keys and sealed sections, and values at their limits."""

from __future__ import annotations

from spec.vectors import age
from spec.vectors.builder import (
    ENTR,
    IDENTITY,
    KEYS,
    MANI,
    SEGM,
    SHA256,
    STRANGER,
    Draft,
    Section,
    block,
    frame,
    pack,
    skippable,
)
from spec.vectors.cases import opened_by_passphrase, vector, vectors


@vector("R-7.7")
def padded_segment(d: Draft) -> None:
    """A segment of secrets, padded."""
    d.sample()
    d.change(SEGM, padding=skippable(1, bytes(35)))


@vector("R-7.7")
def padding_of_no_bytes(d: Draft) -> None:
    """The smallest padding: a skippable frame that holds nothing. It may stand in any sealed section."""
    d.sample()
    for kind in (SEGM, ENTR, MANI):
        d.change(kind, padding=skippable(1, b""))


@vector("R-6.5")
def two_recipients(d: Draft) -> None:
    """One KEYS section for two recipients."""
    text = d.keys_text(age.recipient(STRANGER), age.recipient(IDENTITY))
    d.keys = [d.keys_body(text, age.x25519(d.random, age.public(STRANGER), age.public(IDENTITY)))]
    d.sample()


def _two_groups(d: Draft) -> None:
    d.keys = [d.passphrase_body(), d.keys_body()]
    d.sample()


@vector("R-6.6 R-6.12")
def two_groups_by_identity(d: Draft) -> None:
    """A KEYS section to a passphrase and one to an identity, opened by the identity."""
    _two_groups(d)


@vector("R-6.6 R-6.12")
def two_groups_by_passphrase(d: Draft) -> None:
    """A KEYS section to a passphrase and one to an identity, opened by the passphrase."""
    _two_groups(d)
    opened_by_passphrase(d)


@vector("R-6.4")
def passphrase(d: Draft) -> None:
    """Sealed to a passphrase alone, with a work factor below the one that writers use."""
    d.keys = [d.passphrase_body()]
    d.sample()
    opened_by_passphrase(d)


@vector("R-6.12")
def second_key_of_strangers(d: Draft) -> None:
    """Two KEYS sections, the first of them to somebody else."""
    stranger = age.x25519(d.random, age.public(STRANGER))
    d.keys = [d.keys_body(d.keys_text(age.recipient(STRANGER)), stranger), d.keys_body()]
    d.sample()


@vector("R-4.9")
def sixteen_keys(d: Draft) -> None:
    """As many KEYS sections as there may be; only the last is to the identity."""
    stranger = age.x25519(d.random, age.public(STRANGER))
    d.keys = [d.keys_body(d.keys_text(age.recipient(STRANGER)), stranger) for _ in range(15)] + [d.keys_body()]
    d.sample()


@vector("R-6.5")
def keys_with_comments(d: Draft) -> None:
    """A KEYS text with comments and empty lines that this version doesn't know, and no line end at its end."""
    lines = ["", "# made by hand", f"# bundle: {d.bundle_id.hex()}", "#", age.identity(d.secret)]
    d.keys = [d.keys_body("\n".join(lines).encode())]
    d.sample()


@vector("R-6.5")
def keys_of_two_bundles(d: Draft) -> None:
    """A KEYS text that names another bundle too: that line is a comment."""
    other = f"# bundle: {bytes(16).hex()}\n".encode()
    d.keys = [d.keys_body(other + d.keys_text())]
    d.sample()


def _with_grease(d: Draft, count: int, body: bytes) -> age.Stanzas:
    own = age.x25519(d.random, age.public(d.secret))
    return lambda key: own(key) + b"".join(age.stanza(b"%d-grease x y" % i, body) for i in range(count))


@vector("R-6.3")
def grease(d: Draft) -> None:
    """A grease stanza beside the X25519 stanza of each sealed section."""
    d.sample()
    for kind in (SEGM, ENTR, MANI):
        d.change(kind, stanzas=_with_grease(d, 1, b"grease"))


@vector("R-6.2")
def most_stanzas(d: Draft) -> None:
    """A header with as many stanzas as there may be."""
    d.sample()
    d.change(SEGM, stanzas=_with_grease(d, 127, b""))


@vector("R-6.2")
def longest_stanza(d: Draft) -> None:
    """A stanza with as many lines as there may be."""
    d.sample()
    d.change(SEGM, stanzas=_with_grease(d, 1, b"g" * (63 * 48 + 47)))


@vector("R-6.2")
def longest_header(d: Draft) -> None:
    """An age header of 16 KiB to the byte."""
    d.sample()
    own = age.x25519(d.random, age.public(d.secret))
    tail = len(b"--- " + b"m" * 43 + b"\n")

    def stanzas(key: bytes) -> bytes:
        head = own(key) + b"".join(age.stanza(b"x-grease", b"g" * 3000) for _ in range(3))
        rest = 16384 - tail - len(age.MAGIC) - len(head)
        return head + b"-> " + b"x" * (rest - 3 - len(b"-grease\n\n")) + b"-grease\n\n"

    d.change(SEGM, stanzas=stanzas)


def _with_unknown(d: Draft, *kinds: bytes) -> bytes:
    d.sample()
    sections = d.sections()
    for kind in kinds:
        sections.insert(2, Section(type=kind, number=0, flags=0, body=b"of a later version"))
    return d.frame(sections)


@vector("R-4.7 R-4.6")
def unknown_section(d: Draft) -> bytes:
    """A section of an unknown type that isn't critical."""
    return _with_unknown(d, b"X9Z0")


@vector("R-4.7")
def reserved_sections(d: Draft) -> bytes:
    """PARI and SIGN, of which this version knows only the names."""
    return _with_unknown(d, b"PARI", b"SIGN")


@vector("R-4.9")
def unknown_section_behind_mani(d: Draft) -> bytes:
    """Two sections of an unknown type between MANI and the second KEYS run, one of them empty."""
    d.sample()
    sections = d.sections()
    sections[-1:-1] = [Section(type=b"XTRA", number=i, flags=0, body=b"x" * i) for i in range(2)]
    return d.frame(sections)


@vector("R-3.7")
def compat_bits(d: Draft) -> None:
    """Every compat bit is set."""
    d.preamble["compat"] = 0xFFFFFFFF
    d.sample()


@vector("R-3.6")
def greater_write_version(d: Draft) -> None:
    """A write version far above the read version: to be read, and not rewritten."""
    d.preamble["write"] = 255
    d.sample()


@vector("R-7.8")
def journal(d: Draft) -> None:
    """A journal of entries of every kind, completed in this segment."""
    d.sample()
    d.hardlink(b"h", b"a")
    d.symlink(b"l", b"a")
    rows = [["default", *row[1:]] for row in d.entries]
    for row in rows:
        row[SHA256] = None
    d.change(SEGM, journal=frame(pack(rows)))


@vector("R-7.8")
def empty_segment_with_journal(d: Draft) -> None:
    """A segment of no bytes, there for its journal."""
    d.directory(b"")
    d.segments = [b""]
    d.change(SEGM, journal=frame(pack([["default", *d.entries[0][1:]]])))


@vector("R-4.9 R-9.10")
def interleaved_sections(d: Draft) -> bytes:
    """A batch between two segments: it refers only to the one before it."""
    d.directory(b"")
    d.file(b"a", b"first")
    d.new_batch()
    d.file(b"b", b"second", segment=1)
    sections = d.sections()
    sections[2], sections[3] = sections[3], sections[2]
    return d.frame(sections)


@vectors(
    "R-7.3 R-7.4",
    {
        "one_byte_size": b"\x20\x0d",
        "two_byte_size": b"\x60\x50\x00",
        "four_byte_size": b"\xa0\x0d\x00\x00\x00",
        "eight_byte_size": b"\xe0\x0d" + bytes(7),
        "window_of_8_mib": b"\x80\x68\x0d\x00\x00\x00",
        "unused_bit": b"\x30\x0d",
    },
)
def frame_header(d: Draft, head: bytes) -> None:
    """A form of the zstd frame header."""
    data = b"t" * (256 + 0x50 if head[0] == 0x60 else 13)  # two bytes hold the size less 256
    d.directory(b"")
    d.file(b"a", data)
    d.change(SEGM, frame=frame(data, head=head))


_DULL = b"all work and no play makes jack a dull boy\n" * 40
_DULL_COMPRESSED = bytes.fromhex(
    "28b52ffd64b805850100b2820910c0ebacaf2022491aaa6c56d58290c3026065e89facee0993a2712e5dbe6962"
    "0ddd3ba9fa3b010053d4fdaa0c76c8ba89"
)
"""By zstd 1.5, with a content checksum."""


@vector("R-7.4 R-7.6")
def compressed(d: Draft) -> None:
    """A frame that was really compressed, and ends in a checksum."""
    d.directory(b"")
    d.file(b"a", _DULL)
    d.change(SEGM, frame=_DULL_COMPRESSED)


@vector("R-7.6")
def blocks(d: Draft) -> None:
    """Stored and run-length blocks in one frame, an empty one at its end."""
    d.directory(b"")
    d.file(b"a", b"stored" + b"r" * 1000)
    runs = block(b"stored", last=False) + block(b"r", kind=1, size=1000, last=False) + block(b"")
    d.change(SEGM, frame=frame(b"", size=1006, blocks=runs))


@vector("R-4.10")
def keys_are_the_same_twice(d: Draft) -> bytes:
    """Two KEYS sections in each run, numbered from 0 in both."""
    _two_groups(d)
    sections = d.sections()
    assert [section.number for section in sections if section.type == KEYS] == [0, 1, 0, 1]  # noqa: S101
    return d.frame(sections)
