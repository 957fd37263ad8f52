"""Every limit of the format, named, with its reason (section 14 of the specification).

A reader checks each of these before it allocates, decompresses or derives anything.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

READ_VERSION: Final = 1
"""The newest ``read_version`` that this reader understands."""
WRITE_VERSION: Final = 1
"""The newest ``write_version`` that this writer may rewrite."""

MAX_INTEGER: Final = (1 << 53) - 1
"""Every integer but ``mtime_ns``: exact in the double of any JSON or JavaScript reader."""

# Framing
MAX_SECTIONS: Final = 1 << 16
"""An index of 4 MiB at the most: it is held in memory."""
MAX_KEYS_SECTIONS: Final = 16
MAX_KEYS_BODY: Final = 64 * KIB
MAX_SEGM_BODY: Final = 20 * MIB
"""The longest that a writer makes has 18: 16 that don't compress, a journal of one, and padding."""
MAX_ENTR_BODY: Final = 8 * MIB
MAX_MANI_BODY: Final = 16 * MIB
MAX_UNKNOWN_BODY: Final = 32 * MIB

# age
MAX_AGE_HEADER: Final = 16 * KIB
"""pyrage's header parser is quadratic: 16 KiB take it 0.4 s, 60 KB 5 s, and 64 KB of tiny stanzas took it 18 s."""
MAX_STANZAS: Final = 128
MAX_STANZA_LINES: Final = 64
MAX_RECIPIENTS: Final = 100
"""A writer's limit for one KEYS section; it keeps the header within its bound."""
MAX_KEYS_PLAINTEXT: Final = 48 * KIB
"""Below one 64 KiB chunk of age's payload."""
SCRYPT_WORK_FACTOR: Final = 18
"""Written: 256 MiB and about a second."""
SCRYPT_READ_WORK_FACTOR: Final = 20
"""Read unless the caller asks for more: 1 GiB."""
SCRYPT_MAX_WORK_FACTOR: Final = 22
"""Never read above: 4 GiB."""

# Segments and compression
MAX_SEGMENT: Final = 16 * MIB
MAX_BATCH: Final = 2 * MIB
MAX_HEAD: Final = 2 * MIB
"""Decoded, short strings take twenty times as much."""
MAX_JOURNAL: Final = 1 * MIB
RATIO: Final = 64
RATIO_FREE: Final = 64 * KIB
"""Records, which are decoded into objects, may have so many bytes, and :data:`RATIO` times their sealed length."""
MAX_BLOCKS: Final = 1 << 16
"""Blocks of a zstd frame: 30 MB of empty ones took 5 s. An encoder makes at most about 200 of 128 KiB."""
MAX_WINDOW: Final = 8 * MIB
"""What every zstd decoder accepts without being asked (RFC 8878, section 3.1.1.1.2)."""
SEGMENTS_PER_SIZE: Final = 8192
FIRST_SEGMENT: Final = 1 * MIB
"""Stays in cache; larger segments compress 2 % better and are slower."""

# Records
MAX_DEPTH: Final = 8
MAX_CONTAINERS: Final = 1 << 18
"""Arrays and maps of one value: each takes a byte, and 64 of memory."""
MAX_ENTRIES: Final = 1 << 23
MAX_ROWS: Final = 1 << 16
"""Entries of one batch, and skipped rows of one: they are decoded together."""
MAX_ROOTS: Final = (1 << 16) - 1
LEAST_RUN: Final = 2 * KIB
"""Bytes of a file for each extent beyond :data:`FREE_RUNS`: a writer stores no hole of less than twice as many."""
FREE_RUNS: Final = 16
MAX_PATH: Final = 4096
MAX_COMPONENT: Final = 255
MAX_PATH_DEPTH: Final = 255
MAX_SYMLINK: Final = 4095
MAX_EXTRA: Final = 64 * KIB
MAX_ROOT_NAME: Final = 255
MAX_MODE: Final = 0o7777
MIN_TIME_NS: Final = -(1 << 63)
MAX_TIME_NS: Final = (1 << 63) - 1
DEFAULT_MAX_TOTAL: Final = 16 * TIB
"""Logical bytes that a reader accepts unless the caller raises it."""


def least_plaintext(rows: int) -> int:
    """The least length of a plaintext in which that many bytes of records are, compressed.

    A few bytes that stand for millions of rows would take seconds each.
    """
    return max(0, -(-(rows - RATIO_FREE) // RATIO))


def segment_limit(number: int) -> int:
    """The greatest raw length, in bytes, of segment *number*.

    Segments stay small while a bundle does, so that a small file never costs much, and grow to 16 MiB so that 600 GiB
    fit into the number of sections.
    """
    return min(FIRST_SEGMENT << min(number // SEGMENTS_PER_SIZE, 4), MAX_SEGMENT)
