"""The row of the scoreboard about damage (S17): bits flip, 4 KiB become zeros, or the last tenth is cut off."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import ocbundle
from faults.scenes import Lab
from ocbundle import wire
from ocbundle.errors import BundleError
from ocbundle.model import Entry, Kind
from ocbundle.reader import Container

_ZEROS: Final = 4096


@dataclass(slots=True, kw_only=True)
class Damages:
    """What damaged bundles still gave."""

    bundles: int = 0
    opened: int = 0
    """Bundles whose framing and manifest were whole."""
    survivors: int = 0
    """Files, in all bundles, of which every byte was still there."""
    given: int = 0
    """Of these, those that came out."""
    given_of_opened: int = 0
    survivors_of_opened: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.bundles} damaged bundles, {self.opened} of them still open: {self.given_of_opened} of "
            f"{self.survivors_of_opened} undamaged files come out of those, and {self.given} of {self.survivors} in all"
        )


def damage(lab: Lab, *, times: int, seed: int = 0) -> Damages:
    """Damage the bundle in each way, *times* times, and read what is left with the key."""
    whole = lab.bundle.read_bytes()
    sections = Container(io.BytesIO(whole)).frame.sections
    bodies = [(section.body_offset, section.end) for section in sections if section.type == wire.SEGM]
    with ocbundle.Bundle.open(io.BytesIO(whole), identities=[lab.key]) as bundle:
        wanted = [(entry, bundle.read(entry.root, entry.path)) for entry in bundle.entries() if entry.kind is Kind.FILE]
    places = random.Random(seed)  # noqa: S311 - the same damage in every run
    found = Damages()
    for _ in range(times):
        for harm in HARMS:
            damaged = harm(whole, places)
            touched = {number for number, (start, end) in enumerate(bodies) if damaged[start:end] != whole[start:end]}
            survivors = {entry.name for entry, _ in wanted if not touched & _segments(entry)}
            _read(lab, damaged, wanted, survivors, found)
    return found


def _read(lab: Lab, data: bytes, wanted: list[tuple[Entry, bytes]], survivors: set[str], found: Damages) -> None:
    found.bundles += 1
    found.survivors += len(survivors)
    try:
        with ocbundle.Bundle.open(io.BytesIO(data), identities=[lab.key]) as bundle:
            list(bundle.entries())
            found.opened += 1
            found.survivors_of_opened += len(survivors)
            for entry, content in wanted:
                try:
                    if bundle.read(entry.root, entry.path) != content:
                        found.problems.append(f"{entry.name}: other bytes than were packed")
                except BundleError as error:
                    if entry.name in survivors:
                        found.problems.append(f"{entry.name} survived, and doesn't come out: {error}")
                else:
                    found.given += 1
                    found.given_of_opened += 1
                    if entry.name not in survivors:
                        found.problems.append(f"{entry.name} comes out of a damaged segment")
    except BundleError:
        return


def _segments(entry: Entry) -> set[int]:
    return {extent.segment for extent in entry.extents if extent.segment is not None}


def _flip(data: bytes, places: random.Random) -> bytes:
    at = places.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << places.randrange(8)]) + data[at + 1 :]


def _zero(data: bytes, places: random.Random) -> bytes:
    at = places.randrange(len(data) - _ZEROS)
    return data[:at] + bytes(_ZEROS) + data[at + _ZEROS :]


def _cut(data: bytes, places: random.Random) -> bytes:  # noqa: ARG001 - there is only one such place
    return data[: len(data) * 9 // 10]


HARMS: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (_flip, _zero, _cut)
