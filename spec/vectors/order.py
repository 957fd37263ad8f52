"""Vectors with two faults: a reader reports the one that stands first in the order of section 13.1."""

from __future__ import annotations

from collections.abc import Callable

from spec.vectors import age
from spec.vectors.builder import (
    ENTR,
    EXTENTS,
    EXTRA,
    IDENTITY,
    KEYS,
    MANI,
    MTIME,
    SEGM,
    STRANGER,
    UID,
    Draft,
    Section,
    block,
    frame,
    pack,
    profile,
    root,
    skippable,
)
from spec.vectors.cases import framing, vector, vectors

_WRONG_MAC = {"frame_mac": bytes(32)}


@framing("R-5.4", "Malformed")
def footer_before_index(d: Draft) -> bytes:
    """A reserved byte of the footer, and a section header that is none."""
    d.sample()
    sections = d.sections()
    sections[1].magic = b"OCBX"
    return d.frame(sections, footer={"zero": 1})


@framing("R-4.3", "Malformed")
def type_before_flags(d: Draft) -> bytes:
    """A section whose type and whose flags are wrong."""
    d.sample()
    sections = d.sections()
    sections.insert(2, Section(type=b"xtra", number=0, flags=3, body=b""))
    return d.frame(sections)


@framing("R-4.6", "UnsupportedVersion")
def critical_before_length(d: Draft) -> bytes:
    """A critical section of an unknown type, longer than it may be."""
    d.sample()
    sections = d.sections()
    sections.insert(2, Section(type=b"XTRA", number=0, body=b"", length=2**40))
    return d.frame(sections)


@framing("R-4.6", "UnsupportedVersion")
def critical_before_order(d: Draft) -> bytes:
    """A critical section of an unknown type in the place of MANI."""
    d.sample()
    sections = d.sections()
    sections[3] = Section(type=b"MAN2", number=0, body=b"")
    return d.frame(sections)


@framing("R-5.6", "Malformed")
def place_before_order(d: Draft) -> bytes:
    """A byte before the index, and no MANI."""
    d.sample()
    sections = d.sections()
    del sections[3]
    return d.frame(sections, gap=b"\0")


@framing("R-4.8", "Malformed")
def order_before_root_digest(d: Draft) -> bytes:
    """A wrong number, and a wrong root digest."""
    d.sample()
    sections = d.sections()
    sections[1].number = 1
    return d.frame(sections, footer={"root_digest": bytes(32)})


@framing("R-5.7", "Malformed")
def header_before_digest(d: Draft) -> bytes:
    """A body whose header differs from the index, and whose digest is wrong."""
    d.sample()
    sections = d.sections()
    sections[0].digest = sections[4].digest = bytes(32)
    index = b"".join(section.header() for section in sections)
    sections[0].flags = 3
    return d.frame(sections, index=index)


def _stanzas_of_keys(d: Draft, stanzas: bytes) -> None:
    own = age.x25519(d.random, age.public(IDENTITY))
    d.sample()
    d.keys = [d.keys_body(None, lambda key: own(key) + stanzas)]


@framing("R-6.2", "LimitExceeded")
def count_before_arguments(d: Draft) -> None:
    """The 129th stanza of an age header has a blank argument."""
    _stanzas_of_keys(d, age.stanza(b"x-grease", b"") * 127 + age.stanza(b"x-grease ", b""))


@framing("R-6.1", "Malformed")
def arguments_before_body(d: Draft) -> None:
    """A stanza has a blank argument, and 65 lines: the line that stands first is reported."""
    _stanzas_of_keys(d, age.stanza(b"x-grease ", b"g" * 64 * 48))


@framing("R-6.2", "LimitExceeded")
def lines_before_their_length(d: Draft) -> None:
    """The 65th line of a stanza is also too long."""
    _stanzas_of_keys(d, b"-> x-grease\n" + (b"A" * 64 + b"\n") * 64 + b"A" * 65 + b"\n")


@vector("R-5.9", "AuthenticationFailed", "ChecksumMismatch")
def mac_before_body(d: Draft) -> bytes:
    """A wrong MAC, and a damaged MANI: with a key, the MAC comes first."""
    d.sample()
    sections = d.sections()
    sections[3].digest = bytes(32)
    return d.frame(sections, footer=_WRONG_MAC)


@vector("R-5.9", "AuthenticationFailed")
def mac_before_manifest(d: Draft) -> bytes:
    """A wrong MAC, and a manifest that asks for a newer reader: nothing of it may be believed."""
    d.sample()
    d.change(MANI, raw=pack({"!new": None}))
    return d.frame(d.sections(), footer=_WRONG_MAC)


@vector("R-6.12", "NoKeyFits")
def key_before_mac(d: Draft) -> bytes:
    """An identity of somebody else, and a wrong MAC."""
    d.sample()
    d.identity = STRANGER
    return d.frame(d.sections(), footer=_WRONG_MAC)


@vector("R-6.3", "Malformed")
def stanza_before_binding(d: Draft) -> None:
    """A MANI to two recipients that is bound elsewhere."""
    d.sample()
    stanzas = age.x25519(d.random, age.public(d.secret), age.public(STRANGER))
    d.change(MANI, stanzas=stanzas, bound_number=1)


@vector("R-7.2", "AuthenticationFailed")
def binding_before_length(d: Draft) -> None:
    """A segment that is bound elsewhere, and claims to be too long."""
    d.sample()
    d.change(SEGM, bound_type=KEYS, raw_length=2**40)


@vector("R-7.5", "LimitExceeded")
def length_before_frame(d: Draft) -> None:
    """A segment that claims to be too long, and holds no zstd frame."""
    d.sample()
    d.change(SEGM, raw_length=2**40, frame=b"")


def _frame(d: Draft, data: bytes) -> None:
    d.directory(b"")
    d.file(b"a", b"twelve bytes")
    d.change(SEGM, frame=data)


@vectors(
    "R-7.4",
    {
        "reserved_bit_before_cut": frame(b"", head=b"\x08", blocks=b""),
        "dictionary_before_size": frame(b"twelve bytes", head=b"\x01\x58\x07"),
    },
    "Malformed",
)
def frame_header(d: Draft, data: bytes) -> None:
    """A zstd frame whose header breaks two rules, the first of them R-7.4."""
    _frame(d, data)


@vector("R-7.3", "Malformed")
def declared_before_window(d: Draft) -> None:
    """A zstd frame that doesn't declare its size, and asks for too large a window."""
    _frame(d, frame(b"twelve bytes", head=b"\x00\x69"))


@vector("R-7.4", "LimitExceeded")
def window_before_size(d: Draft) -> None:
    """A zstd frame with too large a window, and another size than the raw length."""
    _frame(d, frame(b"twelve bytes", head=b"\x80\x69\x0d\0\0\0"))


@vector("R-7.8", "LimitExceeded")
def journal_length_before_blocks(d: Draft) -> None:
    """A journal of more than 1 MiB, whose only block is cut off."""
    d.sample()
    d.change(SEGM, journal=frame(b"", size=(1 << 20) + 1, blocks=b"\x01"))


@vector("R-9.10", "Malformed")
def sum_before_segments(d: Draft) -> None:
    """A file's extents go back to an earlier segment, and don't cover it."""
    d.directory(b"")
    d.segments = [b"one", b"two"]
    d.file(b"file", b"twoone", extents=[[1, 0, 3], [0, 0, 2]])


@vector("R-7.7", "Malformed")
def padding_before_content(d: Draft) -> None:
    """Padding that isn't zero, behind a frame that doesn't decompress: nothing is decompressed."""
    d.sample()
    damaged = frame(b"", size=11, blocks=block(b"\xff" * 11, kind=2))
    d.change(SEGM, frame=damaged, padding=skippable(1, b"hidden"))


@vector("R-7.8", "Malformed")
def journal_before_content(d: Draft) -> None:
    """A batch with a journal, whose frame doesn't decompress."""
    d.sample()
    damaged = frame(b"", size=len(d.batch_bytes()), blocks=block(b"\xff" * 11, kind=2))
    d.change(ENTR, journal=frame(pack([])), frame=damaged)


@vector("R-8.1", "Malformed")
def encoding_before_bundle(d: Draft) -> None:
    """A head that isn't canonical, and names another bundle."""
    d.sample()
    d.head["bundle_id"] = bytes(16)
    raw = d.head_bytes().replace(b"\xa7created\xce", b"\xa7created\xcf\0\0\0\0", 1)
    d.change(MANI, raw=raw)


@vectors(
    "R-8.3",
    {"known": lambda d: d.head.update(created=1.5), "owner": lambda d: d.head.update(users=[[0.0, "root"]])},
    "Malformed",
)
def float_before_type(d: Draft, change: Callable[[Draft], None]) -> None:
    """A float where the head has a number."""
    d.sample()
    change(d)


@vector("R-8.3", "Malformed")
def float_before_row(d: Draft) -> None:
    """A float where a row has a time."""
    d.sample()
    d.row(b"a")[MTIME] = 1.5


@vector("R-8.3", "Malformed")
def float_before_important_key(d: Draft) -> None:
    """A float, and a key that every reader must know."""
    d.sample()
    d.head = {"!new": None, **d.head, "zzz": 1.5}


@vector("R-8.4", "Malformed")
def depth_before_type(d: Draft) -> None:
    """A field of another type, which is nested too deeply."""
    d.sample()
    d.head["generator"] = [[[[[[[[]]]]]]]]


@vector("R-9.1", "AuthenticationFailed")
def bundle_before_field(d: Draft) -> None:
    """A head that names another bundle, and has no roots."""
    d.sample()
    d.head["bundle_id"] = bytes(16)
    d.head["roots"] = None


@vector("R-9.1", "AuthenticationFailed")
def bundle_before_important_key(d: Draft) -> None:
    """A head that names another bundle, and has a key that every reader must know."""
    d.sample()
    d.head = {"!new": None, **d.head, "bundle_id": bytes(16)}


@vector("R-8.7", "UnsupportedVersion")
def important_key_before_field(d: Draft) -> None:
    """A head with a key that every reader must know, and a field of another type."""
    d.sample()
    d.head = {"!new": None, **d.head, "created": "today"}


@vector("R-9.0", "Malformed")
def fields_before_roots(d: Draft) -> None:
    """A field of another type, and behind it a root with a key that every reader must know."""
    d.sample()
    d.head["generator"] = 1
    d.head["roots"] = [{"!new": None, **root("default")}]


@vector("R-9.0", "Malformed")
def types_before_name(d: Draft) -> None:
    """A root whose name leads upwards, and whose source is text."""
    d.sample()
    d.head["roots"] = [root("..", source="/srv")]


@vector("R-9.7", "Malformed")
def profiles_before_roots(d: Draft) -> None:
    """A workspace's path that leads upwards, and a root's name that does."""
    d.sample()
    workspace = {"agent": "a", "path": b"../x", "root": "default"}
    d.head["profiles"] = [profile("p", "default", workspaces=[workspace])]
    d.head["roots"] = [root("..")]


@vector("R-9.5", "Malformed")
def profiles_before_owners(d: Draft) -> None:
    """A profile of a root that isn't there, and groups out of order."""
    d.sample()
    d.head["profiles"] = [profile("p", "elsewhere")]
    d.head["groups"] = [[5, "a"], [4, "b"]]


@vector("R-9.0", "Malformed")
def types_before_number_of_owner(d: Draft) -> None:
    """A user with a number out of range, and a number for a name."""
    d.sample()
    d.head["users"] = [[-1, 0]]


@vector("R-9.3", "Malformed")
def owners_before_totals(d: Draft) -> None:
    """Users out of order, and a wrong count of segments."""
    d.sample()
    d.head["users"] = [[5, "a"], [4, "b"]]
    d.totals = {"segments": 2}


@vector("R-8.7", "UnsupportedVersion")
def important_key_before_lists(d: Draft) -> None:
    """A batch with a key that every reader must know, and no list of entries."""
    d.sample()
    d.change(ENTR, raw=pack({"!new": None, "entries": {}, "skipped": []}))


@vector("R-9.0", "Malformed")
def lists_before_rows(d: Draft) -> None:
    """A batch with a row that is none, and no list of skipped rows."""
    d.sample()
    d.change(ENTR, raw=pack({"entries": [[]], "skipped": {}}))


@vector("R-9.2", "Malformed")
def head_before_batches(d: Draft) -> None:
    """A head with a wrong count of segments, and a batch that is no map."""
    d.sample()
    d.totals = {"segments": 2}
    d.change(ENTR, raw=pack([]))


@vector("R-9.16", "Malformed")
def types_before_values(d: Draft) -> None:
    """A row with a path that leads upwards, and a size that is text."""
    d.directory(b"")
    d.file(b"../a", b"x")[7] = "1"


@vector("R-8.8", "Malformed")
def numbers_before_extents(d: Draft) -> None:
    """A row with a number out of range, and an extent of two fields."""
    d.sample()
    d.row(b"a")[UID] = 2**53
    d.row(b"a")[EXTENTS] = [[0, 6]]


@vector("R-8.8", "Malformed")
def numbers_before_extra(d: Draft) -> None:
    """A row with a number out of range, and an extra that is an empty map."""
    d.sample()
    d.row(b"a")[UID] = 2**53
    d.row(b"a")[EXTRA] = {}


@vector("R-9.15", "LimitExceeded")
def extra_before_extents(d: Draft) -> None:
    """A row with too long an extra, and an extent of two fields."""
    d.sample()
    d.row(b"a")[EXTRA] = {"xattrs": [[b"user.a", bytes(65536)]]}
    d.row(b"a")[EXTENTS] = [[0, 6]]


@vector("R-9.5", "Malformed")
def root_before_path(d: Draft) -> None:
    """A skipped row of a root that isn't there, whose path leads upwards."""
    d.sample()
    d.skip(b"../x", "file", "limit", root=1)


@vector("R-9.7", "Malformed")
def path_before_order(d: Draft) -> None:
    """A row with a path that leads upwards, and out of order."""
    d.sample()
    d.file(b"../a", b"x")


@vector("R-9.7", "LimitExceeded")
def length_before_nul(d: Draft) -> None:
    """A path that is too long, and holds NUL and dots."""
    d.directory(b"")
    d.file(b"../\0" * 2000, b"x")


@vector("R-9.6", "Malformed")
def order_before_parent(d: Draft) -> None:
    """An entry that is out of order, and has no parent."""
    d.sample()
    d.file(b"a/b", b"x")


@vector("R-9.8", "Malformed")
def batches_before_totals(d: Draft) -> None:
    """An entry without a parent, and totals that are wrong."""
    d.directory(b"")
    d.file(b"x/y", b"x")
    d.totals = {"entries": 7}
