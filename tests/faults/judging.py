"""Whether a run that met a fault kept its promises: all old or all new, as its exit code says, and nothing hidden."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from faults.children import Ended, Run
from faults.scenes import Scene
from ocbundle.paths import display

DEAD: Final = "+"
"""In a fault's label: every call from the N-th on fails, as on a disk that has died."""
_LOSSES: Final = re.compile(
    "not packed|not taken|taken as it is|may be torn|can't read the configuration|no configuration|isn't there"
    # A read error can look to SQLite like damage of the database.
    "|can't be changed .database disk image is malformed"
)
"""How it is told that something isn't all new."""
_CODES: Final = {"old": {1, 2}, "new": {0}, "less": {0, 3}, "mixed": {1}, "unfinished": {1}}
"""The exit codes that tell the truth."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a loop met."""

    faults: int = 0
    old: int = 0
    new: int = 0
    mixed: int = 0
    """Each root by itself old or new, where nothing more is promised."""
    healed: int = 0
    """Of these: brought to one state by ``--resume`` or ``--undo``."""
    alarms: int = 0
    """Of the new: told to have failed. A file that was done with couldn't be closed; or the name of a bundle couldn't
    be made durable, when the one that it replaced was gone."""
    problems: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Count the other's in."""
        for name in ("faults", "old", "new", "mixed", "healed", "alarms"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems += other.problems

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.faults} faults, {self.faults - len(self.problems)} old-or-new ({self.old} old, {self.new} new, "
            f"{self.mixed} each by itself; {self.healed} healed, {self.alarms} false alarms)"
        )


def judged(scene: Scene, ended: Ended, label: str, *, heal: str) -> Counts:
    """Look at what is there after a run with the fault *label*; a log that was left is followed by *heal*."""
    counts = Counts(faults=1)
    problems = list(_problems(scene, ended, counts, heal=heal, dead=DEAD in label))
    if problems:
        hits = ", ".join(hit.split(maxsplit=1)[1] for hit in ended.hits[:1])
        what = "; ".join(problems)
        counts.problems.append(f"{scene.name} [{label}: {hits}] code {ended.code}: {what} | {ended.said.strip()[:300]}")
    return counts


def _problems(scene: Scene, ended: Ended, counts: Counts, *, heal: str, dead: bool) -> Iterator[str]:
    left = scene.left()
    logs = scene.unfinished()
    if ended.hung:
        yield "it didn't come to an end"
    if logs:
        counts.healed = 1
        if ended.code is not None and not any(str(path) in ended.said for path in logs):
            yield "the log that is left isn't named"
        healing = scene.heal(heal).plainly()
        if healing.code != 0 or scene.unfinished():
            yield f"{heal} failed: {healing.said}"
    state = scene.state(*scene.left())
    counts.old, counts.new, counts.mixed = state == "old", state in {"new", "less"}, state == "mixed"
    if logs and state != ("new" if heal == "--resume" else "old"):
        yield f"after {heal}: {state}"
    elif state not in _CODES or (state == "mixed" and ended.code is not None and not dead):
        yield state
    elif ended.code is not None and not ended.was_silenced:
        yield from _told_wrong(ended, "unfinished" if logs else state, counts)
        # Whatever fails from some moment on may fail to remove, too: the next run names what is left.
        yield from (f"{display(path)} is left, and isn't named" for path in left if not (dead or _names(ended, path)))
    yield from _left_in_silence(scene)


def _told_wrong(ended: Ended, state: str, counts: Counts) -> Iterator[str]:
    """What isn't true in what a run told of itself."""
    if "internal error" in ended.said:
        yield "an error that isn't typed"
    is_there = ended.failed_in("close") or "though the file is there" in ended.said
    if state in {"new", "less"} and ended.code == 1 and is_there:
        counts.alarms = 1
    elif ended.code not in _CODES[state] or (state == "less" and not _LOSSES.search(ended.said)):
        yield f"all is {state}, and it doesn't tell"


def _left_in_silence(scene: Scene) -> Iterator[str]:
    """What is left, and not even the next run names."""
    if scene.left():
        told = Run(arguments=scene.again, environ=scene.run.environ).plainly()
        for path in scene.left():
            if not _names(told, path):
                yield f"the next run doesn't name {display(path)}: {told.said[:300]}"


def _names(ended: Ended, path: bytes) -> bool:
    return display(path) in ended.said
