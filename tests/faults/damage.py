"""The row of the scoreboard about damage (S17): bits flip, 4 KiB become zeros, or a tenth is missing somewhere."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import ocbundle
from faults.scenes import Lab
from ocbundle import compression, keyholders, records, sealing, wire
from ocbundle.container import Container
from ocbundle.errors import BundleError
from ocbundle.model import Entry, Kind
from ocbundle.outcomes import Condition, SalvageReport

_ZEROS: Final = 4096


@dataclass(slots=True, kw_only=True)
class Damages:
    """What damaged bundles still gave."""

    bundles: int = 0
    framed: int = 0
    """Bundles whose framing was whole."""
    survivors: int = 0
    """Files, in all bundles, of which every byte was still there, and the name."""
    given: int = 0
    """Of these, those that came out."""
    survivors_of_framed: int = 0
    given_of_framed: int = 0
    nameless: int = 0
    """Files of which every byte was still there, but neither a batch nor a journal that tells of them."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.bundles} damaged bundles, the framing of {self.framed} still whole: {self.given_of_framed} of "
            f"{self.survivors_of_framed} files that survived come out of those, and {self.given} of {self.survivors} "
            f"in all; of {self.nameless} more nothing tells the name"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """The bundle before it was damaged."""

    data: bytes
    wanted: Mapping[str, tuple[Entry, bytes]]
    """Each file and hard link with its file's entry and its content, by its path below the destination."""
    bodies: Mapping[int, bytes]
    """Of the segments."""
    batches: tuple[bytes, ...]
    journaled: Mapping[str, int]
    """In which segment's journal each is."""


def damage(lab: Lab, *, times: int, seed: int = 0) -> Damages:
    """Damage the bundle in each way, *times* times, and salvage what is left with the key."""
    whole = _read(lab)
    places = random.Random(seed)  # noqa: S311 - the same damage in every run
    found = Damages()
    for _ in range(times):
        for harm in HARMS:
            _salvage(lab, harm(whole.data, places), whole, found)
    return found


def _read(lab: Lab) -> _Whole:
    data = lab.bundle.read_bytes()
    container = Container(io.BytesIO(data))
    frame = container.frame
    wanted: dict[str, tuple[Entry, bytes]] = {}
    with ocbundle.Bundle.open(io.BytesIO(data), identities=[lab.key]) as bundle:
        for entry in bundle.entries():
            if entry.kind in {Kind.FILE, Kind.HARDLINK}:
                wanted[_path(entry)] = bundle.entry(entry.root, entry.path), bundle.read(entry.root, entry.path)
    bundle_id = frame.preamble.bundle_id
    key = sealing.unwrap(container.key_bodies(), bundle_id, keyholders.read_identities(lab.key), None)
    bodies = {section.number: bytes(container.body(section)) for section in frame.of_type(wire.SEGM)}
    journaled: dict[str, int] = {}
    for number, body in bodies.items():
        place = compression.Place(bundle_id=bundle_id, type=wire.SEGM, number=number)
        _, journal = compression.decode(place, key.open(body))
        journaled |= {_path(entry): number for entry in records.decode_journal(journal)} if journal else {}
    batches = tuple(bytes(container.body(section)) for section in frame.of_type(wire.ENTR))
    return _Whole(data=data, wanted=wanted, bodies=bodies, batches=batches, journaled=journaled)


def _path(entry: Entry) -> str:
    return os.path.join(entry.root, os.fsdecode(entry.path))


def _salvage(lab: Lab, data: bytes, whole: _Whole, found: Damages) -> None:
    found.bundles += 1
    there = {number for number, body in whole.bodies.items() if body in data}
    named = all(batch in data for batch in whole.batches)
    intact = {path for path, (entry, _) in whole.wanted.items() if _segments(entry) <= there}
    survivors = {path for path in intact if named or whole.journaled.get(path) in there}
    found.nameless += len(intact - survivors)
    found.survivors += len(survivors)
    out = lab.top / "salvaged"
    try:
        report = ocbundle.salvage(io.BytesIO(data), out, identities=[lab.key])
    except BundleError as error:
        found.problems.append(f"nothing comes out: {error}")
        return
    given = {
        path for path in survivors if (out / path).is_file() and (out / path).read_bytes() == whole.wanted[path][1]
    }
    found.given += len(given)
    found.problems += [f"{path} survived, and doesn't come out" for path in sorted(survivors - given)]
    if report.framing is None:
        found.framed += 1
        found.survivors_of_framed += len(survivors)
        found.given_of_framed += len(given)
    found.problems += _lies(report, out, whole, survivors)
    shutil.rmtree(out)


def _lies(report: SalvageReport, out: Path, whole: _Whole, survivors: set[str]) -> list[str]:
    """What is given out as whole and isn't, or isn't listed."""
    told = {os.path.join(casualty.root, os.fsdecode(casualty.path)): casualty for casualty in report.casualties}
    problems = []
    for path, (_, content) in whole.wanted.items():
        if path in survivors:
            if path in told and told[path].condition is not Condition.UNCONFIRMED:
                problems.append(f"{path} survived, and is listed as {told[path].condition}")
            continue
        if (out / path).exists():
            problems.append(f"{path} comes out, though not all of it survived")
        if path not in told and report.unnamed == 0:
            problems.append(f"{path} is lost, and nothing says so")
        root, _, rest = path.partition("/")
        damaged = out / f"{root}.damaged" / rest
        if damaged.exists() and any(
            one not in {0, other} for one, other in zip(damaged.read_bytes(), content, strict=True)
        ):
            problems.append(f"{path} comes out with bytes that it never had")
    return problems


def _segments(entry: Entry) -> set[int]:
    return {extent.segment for extent in entry.extents if extent.segment is not None}


def _flip(data: bytes, places: random.Random) -> bytes:
    at = places.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << places.randrange(8)]) + data[at + 1 :]


def _zero(data: bytes, places: random.Random) -> bytes:
    at = places.randrange(len(data) - _ZEROS)
    return data[:at] + bytes(_ZEROS) + data[at + _ZEROS :]


def _cut(data: bytes, places: random.Random) -> bytes:
    """Without a tenth: the last, the first, or one in between."""
    tenth = len(data) // 10
    start = places.choice([0, len(data) - tenth, places.randrange(len(data) - tenth)])
    return data[:start] + data[start + tenth :]


HARMS: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (_flip, _zero, _cut)
