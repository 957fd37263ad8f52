"""Coverage-guided fuzzing of everything that reads bytes which somebody else may have written.

    pip install atheris
    python tests/fuzz/fuzz.py head -max_total_time=60       any of the targets below, and libFuzzer's own options

Each target feeds the fuzzer's bytes to one reader. Whatever comes out must be a value, or one of the library's typed
errors: anything else ends the run with the bytes that did it. ``sealed`` and ``opened`` put the bytes inside of a
bundle whose key is known, so that the fuzzer gets past the encryption. Seeds are the specification's vectors.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT)]

import atheris  # noqa: E402 - the paths come first

with atheris.instrument_imports(include=["ocbundle"]):
    from support import BUNDLE_ID, crafted, fill_small, identity, packed
    from support import ROOT as STATE

    from ocbundle import agefile, compression, heads, limits, records, sequencing, verification, wire
    from ocbundle.bundle import Bundle
    from ocbundle.errors import BundleError


def _guarded(data: bytes, length: int) -> bytes:
    """*length* bytes with the check that they need, which no fuzzer would guess."""
    body = data[: length - 8].ljust(length - 8, b"\0")
    return body + wire.check(body)


def _preamble(data: bytes) -> None:
    wire.Preamble.decode(_guarded(wire.MAGIC + data, wire.PREAMBLE_LENGTH))


def _header(data: bytes) -> None:
    wire.Section.decode(_guarded(b"OCBS" + data, wire.HEADER_LENGTH), offset=wire.PREAMBLE_LENGTH)


def _index(data: bytes) -> None:
    headers = [_guarded(b"OCBS" + data[i : i + 52], wire.HEADER_LENGTH) for i in range(0, len(data), 52)]
    lengths = [int.from_bytes(header[16:24], "little") for header in headers]
    end = wire.PREAMBLE_LENGTH + sum(lengths) + wire.HEADER_LENGTH * len(headers)
    wire.check_order(wire.decode_index(b"".join(headers), index_offset=end))


def _footer(data: bytes) -> None:
    preamble = wire.Preamble(bundle_id=BUNDLE_ID)
    body = (BUNDLE_ID + b"\1\1" + data)[:112].ljust(112, b"\0")
    length = int.from_bytes(body[40:48], "little")
    wire.Footer.decode(body + wire.check(body) + wire.MAGIC[::-1], preamble=preamble, file_length=length)


def _head(data: bytes) -> None:
    heads.decode_manifest(data, bundle_id=BUNDLE_ID)


def _batch(data: bytes) -> None:
    batch = records.decode_batch(data, roots=[STATE.name])
    sequencing.Sequencer([STATE.name]).enter(batch.entries)


def _journal(data: bytes) -> None:
    records.decode_journal(data)


def _age(data: bytes) -> None:
    agefile.parse_header(agefile.MAGIC + data, max_length=limits.MAX_AGE_HEADER)


def _sealed(data: bytes) -> None:
    place = compression.Place(bundle_id=BUNDLE_ID, type=b"SEGM", number=0)
    wanted = None
    with contextlib.suppress(BundleError):
        wanted = compression.decode(place, data)
    raw, journal = compression.decode_into(bytearray, place, data)
    if wanted != (bytes(raw), journal):
        raise AssertionError("the two decoders disagree")


def _file(data: bytes) -> None:
    with Bundle.open(io.BytesIO(data), identities=identity()) as bundle:
        bundle.check()


def _opened(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    segment = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 512))
    batch = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 2048))
    head = provider.ConsumeBytes(provider.remaining_bytes())
    with crafted((wire.SEGM, segment), (wire.ENTR, batch), (wire.MANI, head)) as reader:
        verification.check(reader)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "preamble": _preamble,
    "header": _header,
    "index": _index,
    "footer": _footer,
    "head": _head,
    "batch": _batch,
    "journal": _journal,
    "age": _age,
    "sealed": _sealed,
    "file": _file,
    "opened": _opened,
}


def _seeds(target: str) -> list[bytes]:
    """What a good bundle holds, for the fuzzer to begin with."""
    small = packed(fill_small)
    with small.reader() as reader:
        frame = small.container.frame
        opened = {
            section.type: bytes(small.key.open(small.container.body(section))) for section in frame.sections[1:-1]
        }
        raw = {
            kind: compression.decode(
                compression.Place(bundle_id=small.bundle_id, type=kind, number=_last(frame.sections, kind)), plaintext
            )
            for kind, plaintext in opened.items()
        }
        verification.check(reader)
    head = raw[wire.MANI][0].replace(small.bundle_id, BUNDLE_ID)
    seeds = {
        "preamble": [frame.preamble.encode()[8:56]],
        "header": [section.encode()[4:56] for section in frame.sections],
        "index": [b"".join(section.encode()[4:56] for section in frame.sections)],
        "footer": [frame.footer.encode()[18:112]],
        "head": [head],
        "batch": [raw[wire.ENTR][0]],
        "journal": [raw[wire.SEGM][1]],
        "age": [bytes(small.container.body(section))[len(agefile.MAGIC) : 400] for section in frame.sections],
        "sealed": [opened[wire.SEGM].replace(small.bundle_id, BUNDLE_ID)],
        "file": [small.data],
        "opened": [raw[wire.ENTR][0] + head],
    }
    return seeds[target]


def _last(sections: tuple[wire.Section, ...], kind: bytes) -> int:
    return max(section.number for section in sections if section.type == kind)


def main() -> None:
    """Fuzz the target that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"usage: {sys.argv[0]} {{{'|'.join(TARGETS)}}} [libFuzzer options]")
    name = sys.argv.pop(1)
    target = TARGETS[name]

    def once(data: bytes) -> None:
        with contextlib.suppress(BundleError):
            target(data)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(_seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, "-max_len=4096", "-print_final_stats=1", corpus], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
