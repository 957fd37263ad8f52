"""What somebody who knows a recipient can make a reader spend: nothing beyond a second and 64 MiB.

Each bundle is sealed with a valid key, and read in a process of its own, which measures what that takes: forked from
one that has read a sound bundle, so that nothing else counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from forging import Forgery, binding, directory, hardlink
from support import BUNDLE_ID

from ocbundle import agefile, compression, wire
from ocbundle.canonical import pack
from ocbundle.model import Totals
from ocbundle.records import Row

pytestmark = pytest.mark.ci  # each limit is measured in a process of its own

MIB = 1 << 20
ZSTD = b"\x28\xb5\x2f\xfd"

PROGRAM = """
import json, os, sys, time
import ocbundle
from ocbundle import limits
from ocbundle.errors import BundleError
from support import identity

limits.SEGMENTS_PER_SIZE = 1  # the fifth segment may be as long as else the 32,769th


def memory(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field + ":"))


def outcome(path, verb):
    try:
        if verb == "unpack":
            ocbundle.unpack(path, path + ".to", identities=identity())
        elif verb == "passphrase":
            ocbundle.verify(path, passphrase="wrong")
        else:
            ocbundle.verify(path, identities=identity())
    except BundleError as error:
        return f"{type(error).__name__} {error.rule}"
    return "sound"


for verb in ("verify", "unpack"):
    assert outcome(sys.argv[1], verb) == "sound"
while len(os.listdir("/proc/self/task")) > 1:  # a thread that is ending may hold a lock, which a fork would inherit
    time.sleep(0.001)
for line in sys.stdin:
    if os.fork() == 0:
        outcome(sys.argv[1], "verify")  # what the process before it had in memory, this one has too
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        before, began = memory("VmRSS"), time.process_time()
        result = outcome(*json.loads(line))
        print(json.dumps([result, time.process_time() - began, memory("VmHWM") - before]), flush=True)
        os._exit(0)
    os.wait()
"""


def block(kind: int, data: bytes, *, size: int | None = None, last: bool = False) -> bytes:
    length = len(data) if size is None else size
    return (last | kind << 1 | length << 3).to_bytes(3, "little") + data


def frame(*blocks: bytes, size: int) -> bytes:
    """A zstd frame with a window of 1 MiB, which declares *size* bytes."""
    return ZSTD + b"\xc0\x50" + size.to_bytes(8, "little") + b"".join(blocks)


def segment(plaintext: bytes) -> bytes:
    """A bundle with one segment of this plaintext, whose binding comes with it."""
    return Forgery().add(directory()).sealed(wire.SEGM, plaintext).bundle()


def journal(raw: bytes) -> bytes:
    return Forgery().add(directory()).section(wire.SEGM, b"", journal=raw).bundle()


def batch(raw: bytes) -> bytes:
    return Forgery().section(wire.ENTR, raw).bundle()


def head(raw: bytes) -> bytes:
    return Forgery(head=raw).bundle()


def keys(header: bytes) -> bytes:
    return Forgery(keys=agefile.MAGIC + header + b"--- " + b"A" * 43 + b"\n" + bytes(48)).add(directory()).bundle()


def unknown(value: bytes) -> bytes:
    """A batch with a field that this version doesn't know."""
    return batch(b"\x83\xa7entries\x90\xa7skipped\x90\xa1x" + value)


def array(items: bytes, count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count) + items


def texts(length: int) -> bytes:
    """An array of short texts, each another object."""
    count = length // 3
    return array(b"".join(b"\xa2%c%c" % (33 + n % 90, 33 + n // 90 % 90) for n in range(count)), count)


def lying_totals(claimed: int, batches: int) -> bytes:
    """Many more rows than the head speaks of."""
    forgery = Forgery(totals=Totals(entries=claimed, skipped=0, size=0, segments=0, batches=batches))
    for number in range(batches):
        names = range(number * 60_000, (number + 1) * 60_000)
        forgery.batch([*([directory()] if not number else []), *(directory(b"%08d" % name) for name in names)])
    return forgery.bundle()


def claimed_totals(**claims: int) -> bytes:
    totals = {"entries": 1, "skipped": 0, "size": 0, "segments": 0, "batches": 1, **claims}
    return Forgery(totals=Totals(**totals)).add(directory()).bundle()


def late(count: int = 4) -> Forgery:
    """A bundle of so many segments already: of four, so that the next may be long."""
    forgery = Forgery()
    for _ in range(count):
        forgery.section(wire.SEGM, b"")
    return forgery


def overlapping(count: int) -> bytes:
    """Files of almost 16 MiB each, all in one segment of 16 MiB, and no two of them the same bytes."""
    forgery = late().section(wire.SEGM, bytes(16 * MIB))
    rows = []
    for number in range(count):
        size = 16 * MIB - number
        # The first three are what they say: only the bytes that they share are wrong.
        digest = hashlib.sha256(bytes(size)).digest() if number < 3 else bytes(32)
        rows.append(forgery.file(b"%06d" % number, b"", size=size, sha256=digest, extents=[[4, 0, size]]))
    return forgery.add(directory(), *rows).bundle()


def the_same(count: int) -> bytes:
    """Files that are one and the same: 16 MiB, so many times."""
    data = bytes(16 * MIB)
    forgery = late().section(wire.SEGM, data)
    fields: dict[str, Any] = {"size": 16 * MIB, "sha256": hashlib.sha256(data).digest(), "extents": [[4, 0, 16 * MIB]]}
    return forgery.add(directory(), *(forgery.file(b"%06d" % n, b"", **fields) for n in range(count))).bundle()


def itself(count: int) -> bytes:
    """Two files, each the same 16 MiB many times over."""
    forgery = late().section(wire.SEGM, bytes(16 * MIB))
    fields: dict[str, Any] = {"size": 16 * MIB * count, "sha256": bytes(32), "extents": [[4, 0, 16 * MIB]] * count}
    return forgery.add(directory(), *(forgery.file(name, b"", **fields) for name in (b"a", b"b"))).bundle()


def sections(count: int) -> bytes:
    """Sections of nothing."""
    forgery = Forgery()
    for _ in range(count - 3):  # KEYS twice, and the head
        forgery.body(wire.SEGM, b"")
    forgery.totals = Totals(entries=0, skipped=0, size=0, segments=count - 3, batches=0)
    return forgery.bundle()


def rows(count: int) -> bytes:
    """As many rows as a batch has room for, each shorter than any real one, and all in disorder."""
    return Forgery().batch([directory(), *(directory(b"%06d" % (count - n)) for n in range(count))]).bundle()


def links(count: int) -> bytes:
    """Hard links to one another."""
    return Forgery().add(directory(), *(hardlink(b"%06d" % n, b"%06d" % (n - 1)) for n in range(1, count))).bundle()


def padding(length: int) -> bytes:
    return struct.pack("<II", 0x184D2A51, length) + bytes(length)


def segments(
    lengths: list[int],
    *,
    noise: bool = False,
    gap: int = 0,
    small: bool = True,
    whole: bool = True,
    before: int = 4,
) -> bytes:
    """Segments of these lengths, with a small file in each, and a file that goes through all of them.

    They are zeros or noise, with a *gap* of padding in long ones; so many empty ones stand *before* them.
    """
    forgery = late(before)
    make = random.Random(0).randbytes if noise else bytes  # noqa: S311 - not to be secret, but the same each time
    raws = [make(length) for length in lengths]
    rows = []
    for number, raw in enumerate(raws):
        place = compression.Place(bundle_id=BUNDLE_ID, type=wire.SEGM, number=before + number)
        plaintext = compression.encode(place, raw, level=1)
        forgery.sealed(wire.SEGM, plaintext + (padding(gap) if gap and len(raw) > MIB else b""))
        if small:
            rows.append(cut_out(forgery, b"%03d" % number, raws, [(number, 0, 10)]))
    if whole:
        runs = [(number, 10, len(raw) - 20) for number, raw in enumerate(raws)]
        rows.append(cut_out(forgery, b"whole", raws, runs))
    return forgery.add(directory(), *rows).bundle()


def by_turns(files: int, count: int, *, hole: bool = False) -> bytes:
    """Files of a byte or two, that lie in so many segments of 1 MiB by turns: more than a reader keeps."""
    forgery = Forgery()
    for _ in range(count):
        forgery.section(wire.SEGM, bytes(MIB))
    holes = [[None, 0, 1]] * hole
    fields: dict[str, Any] = {"size": 1 + hole, "sha256": hashlib.sha256(bytes(1 + hole)).digest()}
    for n in range(files):
        forgery.add(*([] if n else [directory()]))
        forgery.add(forgery.file(b"%06d" % n, b"", extents=[[n % count, n // count, 1], *holes], **fields))
    return forgery.bundle()


def cut_out(forgery: Forgery, path: bytes, raws: list[bytes], runs: list[tuple[int, int, int]]) -> Row:
    """A file that is made of these runs: number of the segment, offset and length."""
    data = b"".join(raws[number][offset : offset + length] for number, offset, length in runs)
    extents = [[4 + number, offset, length] for number, offset, length in runs]
    return forgery.file(path, b"", size=len(data), sha256=hashlib.sha256(data).digest(), extents=extents)


def holed(count: int) -> bytes:
    """Long segments of noise in two batches, and in each a file with a hole, and a small one."""
    forgery = late()
    make = random.Random(0).randbytes  # noqa: S311 - not to be secret, but the same each time
    raws = [make(16 * MIB) for _ in range(count)]
    rows = [directory()]
    for number, raw in enumerate(raws):
        forgery.section(wire.SEGM, raw)
        size, data = 18 * MIB - 1000, raw[:-1000] + bytes(2 * MIB)
        extents = [[4 + number, 0, 16 * MIB - 1000], [None, 0, 2 * MIB]]
        fields: dict[str, Any] = {"size": size, "sha256": hashlib.sha256(data).digest(), "extents": extents}
        rows.append(forgery.file(b"%03d" % number, b"", **fields))
        rows.append(cut_out(forgery, b"%03ds" % number, raws, [(number, 16 * MIB - 1000, 1000)]))
    forgery.batch(rows[: count + 1]).batch(rows[count + 1 :])
    size = sum(row[7] for row in rows[1:])
    forgery.totals = Totals(entries=len(rows), skipped=0, size=size, segments=4 + count, batches=2)
    return forgery.bundle()


def journals(count: int, holes: int) -> bytes:
    """Segments of nothing, whose journals tell of a file of one-byte holes."""
    row = ["default", b"a", 1, 0o600, 0, 0, 0, holes, None, [[None, 0, 1]] * holes, None, None]
    forgery = Forgery().add(directory())
    for _ in range(count):
        forgery.section(wire.SEGM, b"", journal=pack([row]))
    return forgery.bundle()


LENGTHS = [2 * MIB] * 6 + [MIB] * 4 + [length * MIB for length in (16, 1, 1, 3, 9, 1, 2, 7, 1, 16)]

ATTACKS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "64 KB of tiny stanzas": (lambda: keys(b"-> a\n\n" * 10_000), "verify", "LimitExceeded R-6.2"),
    "a stanza of 60 KB": (lambda: keys(b"-> a\n" + (b"A" * 64 + b"\n") * 900), "verify", "LimitExceeded R-6.2"),
    "work factor 24": (
        lambda: keys(b"-> scrypt " + b"A" * 22 + b" 24\n" + b"A" * 43 + b"\n"), "passphrase", "LimitExceeded R-6.4"
    ),
    "a header of 20 MB in a section": (
        lambda: Forgery().add(directory()).body(wire.SEGM, agefile.MAGIC + b"-> a" + b"a" * 20_000_000).bundle(),
        "verify", "LimitExceeded R-6.2",
    ),
    "a segment that claims 1 TiB": (
        lambda: segment(binding(b"SEGM", 0, 1 << 40) + frame(block(0, b"x", last=True), size=1 << 40)),
        "verify", "LimitExceeded R-7.5",
    ),
    "a frame that claims 1 TiB": (
        lambda: segment(binding(b"SEGM", 0, 1) + frame(block(0, b"x", last=True), size=1 << 40)),
        "verify", "Malformed R-7.3",
    ),
    "a window of 3 TiB": (
        lambda: segment(binding(b"SEGM", 0, 1) + ZSTD + b"\x80\xff" + struct.pack("<I", 1) + block(0, b"x", last=True)),
        "verify", "LimitExceeded R-7.4",
    ),
    "128 GiB in a frame that claims a byte": (
        lambda: segment(
            binding(b"SEGM", 0, 1) + frame(block(1, b"x", size=1 << 17) * 65_535, block(0, b"", last=True), size=1)
        ),
        "verify", "Malformed R-7.6",
    ),
    "20 MB of empty blocks": (
        lambda: segment(binding(b"SEGM", 0, 0) + frame(block(0, b"") * 6_666_666, block(0, b"", last=True), size=0)),
        "verify", "LimitExceeded R-7.11",
    ),
    "20 MB of padding": (
        lambda: segment(
            binding(b"SEGM", 0, 0) + frame(block(0, b"", last=True), size=0) + padding(20_000_000)
        ),
        "verify", "sound",
    ),
    "8 segments of 16 MiB, which nothing refers to": (
        lambda: segments([16 * MIB] * 8, small=False, whole=False), "verify", "sound"
    ),
    "4 segments of 16 MiB that don't compress": (
        lambda: segments([16 * MIB] * 4, noise=True, whole=False), "verify", "sound"
    ),
    "4 segments of 16 MiB, to be unpacked": (lambda: segments([16 * MIB] * 4, noise=True), "unpack", "sound"),
    "4 segments of 16 MiB that come too early": (
        lambda: segments([16 * MIB] * 4, noise=True, whole=False, small=False, before=0),
        "verify", "LimitExceeded R-7.5",
    ),
    "4 segments with 18 MB of padding": (
        lambda: segments([16 * MIB] * 4, gap=18_000_000, whole=False), "verify", "sound"
    ),
    "4 segments with 18 MB of padding, to be unpacked": (
        lambda: segments([16 * MIB] * 4, gap=18_000_000, whole=False), "unpack", "sound"
    ),
    "a file in long segments between short ones": (
        lambda: segments([1000, 16 * MIB] * 4, noise=True), "verify", "sound"
    ),
    "the same, to be unpacked": (lambda: segments([1000, 16 * MIB] * 4, noise=True), "unpack", "sound"),
    "long segments behind four short ones": (
        lambda: segments([MIB] * 4 + [16 * MIB] * 4, noise=True, whole=False), "verify", "sound"
    ),
    "segments of all lengths": (lambda: segments(LENGTHS, noise=True), "verify", "sound"),
    "all lengths, to be unpacked": (lambda: segments(LENGTHS, noise=True), "unpack", "sound"),
    "10 journals with a row of 120,000 holes": (lambda: journals(10, 120_000), "verify", "Malformed R-9.23"),
    "files with holes in 4 segments of 16 MiB": (lambda: holed(4), "verify", "sound"),
    "1,000 files with short holes in 40 segments by turns": (lambda: by_turns(1000, 40, hole=True), "verify", "sound"),
    "500 files in 40 segments by turns": (lambda: by_turns(500, 40), "verify", "sound"),
    "by turns, to be unpacked": (lambda: by_turns(500, 40), "unpack", "sound"),
    "a journal of empty arrays": (lambda: journal(array(b"\x90" * 999_999, 999_999)), "verify", "LimitExceeded R-8.9"),
    "a batch nested a million deep": (lambda: unknown(b"\x91" * MIB + b"\xc0"), "verify", "Malformed R-8.4"),
    "an array of 4 billion": (lambda: unknown(b"\xdd\xff\xff\xff\xff"), "verify", "Malformed R-8.6"),
    "arrays of 2 million, nested": (lambda: unknown(b"\xdd\x00\x1f\x00\x00" * 1000), "verify", "Malformed R-8.6"),
    "a map of 4 billion": (lambda: unknown(b"\xdf\xff\xff\xff\xff"), "verify", "Malformed R-8.6"),
    "bytes of 4 GiB": (lambda: unknown(b"\xc6\xff\xff\xff\xff"), "verify", "Malformed R-8.6"),
    "2 MB of empty arrays": (lambda: unknown(array(b"\x90" * 2_000_000, 2_000_000)), "verify", "LimitExceeded R-8.9"),
    "2 MB of empty maps": (lambda: unknown(array(b"\x80" * 2_000_000, 2_000_000)), "verify", "LimitExceeded R-8.9"),
    "2 MB of short texts": (lambda: unknown(texts(2_000_000)), "verify", "sound"),
    "a head of empty arrays": (lambda: head(b"\x81\xa1x" + array(b"\x90" * MIB, MIB)), "verify", "LimitExceeded R-8.9"),
    "a head of short texts": (lambda: head(b"\x81\xa1x" + texts(2_000_000)), "verify", "Malformed R-9.0"),
    "60,000 rows in disorder": (lambda: rows(60_000), "verify", "Malformed R-9.6"),
    "300,000 rows where the head knows of one": (lambda: lying_totals(1, 5), "verify", "Malformed R-9.2"),
    "2^23 entries and one": (lambda: claimed_totals(entries=(1 << 23) + 1), "verify", "LimitExceeded R-9.18"),
    "2^23 skipped rows and one": (lambda: claimed_totals(skipped=(1 << 23) + 1), "verify", "LimitExceeded R-9.18"),
    "more than 16 TiB": (lambda: claimed_totals(size=(16 << 40) + 1), "verify", "LimitExceeded R-9.18"),
    "20,000 files that overlap": (lambda: overlapping(20_000), "verify", "Malformed R-9.11"),
    "20,000 files of 16 MiB in one segment of 16 MiB": (lambda: the_same(20_000), "verify", "sound"),
    "2 files that are 3.6 TiB of the same 16 MiB": (lambda: itself(120_000), "verify", "Malformed R-9.11"),
    "3.6 TiB, to be unpacked": (lambda: itself(120_000), "unpack", "NoSpace None"),
    "20,000 hard links to one another": (lambda: links(20_000), "verify", "Malformed R-9.12"),
    "65,536 sections of nothing": (lambda: sections(65_536), "verify", "Malformed R-6.1"),
    "65,537 sections": (lambda: sections(65_537), "verify", "LimitExceeded R-4.14"),
}  # fmt: skip


Measure = Callable[[Path, str], tuple[str, float, int]]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    """Runs a verb on a bundle in a process that has done nothing else: outcome, seconds, and bytes of memory."""
    sound = tmp_path_factory.mktemp("sound") / "sound.ocbundle"
    forgery = Forgery()
    sound.write_bytes(forgery.add(directory(), forgery.file(b"a")).bundle())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, sound], stdin=PIPE, stdout=PIPE, text=True, env=environment
    ) as process:

        def run(bundle: Path, verb: str) -> tuple[str, float, int]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([str(bundle), verb]) + "\n")
            process.stdin.flush()
            outcome, seconds, memory = json.loads(process.stdout.readline())
            return outcome, seconds, memory

        yield run
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.rule("R-13.3")
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_anybody_can_seal_takes_less_than_a_second_and_64_mebibytes(
    attack: str, measure: Measure, tmp_path: Path
) -> None:
    make, verb, expected = ATTACKS[attack]
    hostile = tmp_path / "hostile.ocbundle"
    hostile.write_bytes(make())
    assert verb != "unpack" or shutil.disk_usage(tmp_path).free < 3 << 40, "there is room for all of it"
    outcome, seconds, memory = measure(hostile, verb)
    size = hostile.stat().st_size
    print(f"{attack}: {size:,} bytes, {outcome}, {seconds:.2f} s, {memory / MIB:.0f} MiB")  # noqa: T201 - to be read
    assert (outcome, seconds < 1, memory < 64 * MIB) == (expected, True, True), (seconds, memory / MIB)
