"""How far a verb is: a bar on a terminal, lines of JSON for a program, and a line now and then for a log.

rich is imported only once a bar is drawn, so that a short run doesn't pay for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    import rich.progress

import sys

from ocbundle import report
from ocbundle.cli.console import Console
from ocbundle.model import Progress, ProgressCallback

BAR_AFTER: Final = 0.3
"""Seconds before a bar appears: nobody can read a shorter one."""
JSON_EVERY: Final = 1.0
LINE_EVERY: Final = 10.0
STAGES: Final = {"scan": "looking", "pack": "packing", "verify": "verifying", "unpack": "unpacking"}


@contextmanager
def following(console: Console) -> Iterator[ProgressCallback | None]:
    """A callback that shows the progress of one verb while the block runs; ``None`` when nobody wants to see it."""
    if console.quiet:
        yield None
        return
    display: _Display
    if console.json:
        display = _Objects(console)
    elif sys.stderr.isatty() and console.environ.get("TERM") != "dumb":
        display = _Bar()
    else:
        display = _Lines(console)
    try:
        yield display.update
    finally:
        display.close()


class _Display(Protocol):
    def update(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


class _Objects:
    """One ``status`` object a second at the most."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + JSON_EVERY

    def update(self, progress: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + JSON_EVERY
            self._console.status(report.progress_fields(progress))

    def close(self) -> None:
        """Nothing stays on a stream of lines."""


class _Lines:
    """One plain line every few seconds: enough for a log, and nothing at all for a short run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_EVERY

    def update(self, progress: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY
            self._console.note(f"{STAGES.get(progress.stage, progress.stage)}: {report.progress_text(progress)}")

    def close(self) -> None:
        """Nothing stays on a stream of lines."""


class _Bar:
    """A bar with percentage, bytes, speed and the time left; it clears itself away at the end."""

    def __init__(self) -> None:
        self._start = 0.0
        self._bar: rich.progress.Progress | None = None
        self._stage = ""
        self._task = 0

    def update(self, progress: Progress) -> None:
        if self._bar is None:
            # From the first step on: before it, a passphrase is stretched, or asked for.
            self._start = self._start or time.monotonic() + BAR_AFTER
            if time.monotonic() < self._start:
                return
            self._bar = _new_bar()
            self._bar.start()
        if progress.stage != self._stage:
            if self._stage:
                self._bar.remove_task(cast("rich.progress.TaskID", self._task))
            self._stage = progress.stage
            self._task = self._bar.add_task(STAGES.get(self._stage, self._stage), total=progress.total_size)
        self._bar.update(cast("rich.progress.TaskID", self._task), completed=progress.size, total=progress.total_size)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _new_bar() -> rich.progress.Progress:
    from rich.console import Console as Terminal  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Speed(ProgressColumn):
        """In the units of everything else; rich's own column counts in MB."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{report.size(int(speed))}/s")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
        Speed(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
        transient=True,
    )
