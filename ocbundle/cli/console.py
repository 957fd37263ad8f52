"""Where a command's words go: the report, warnings, hints and errors, as text or as lines of JSON.

Data goes to standard output and nothing else does, unless there is no data: then the report does. This is the only
place that prints, and the only one that knows whether somebody sits at a terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO, TypeVar

from ocbundle.paths import one_line

Row = TypeVar("Row")


class Console:
    """One run's voice. The options ``--json`` and ``-q`` set *json* and *quiet* while they are parsed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.json = False
        self.quiet = False
        self.data_on_stdout = False
        """Set by a command whose result is standard output itself: all words then go to standard error."""

    def report(self, lines: Iterable[str], summary: Mapping[str, Any]) -> None:
        """Say what was done: *lines* for a person, or *summary* as the last line of JSON."""
        if self.json:
            self._object("summary", summary)
        elif not self.quiet:
            for line in lines:
                self._write(self._words, one_line(line))

    def row(self, line: str, fields: Mapping[str, Any]) -> None:
        """One row of a listing. They aren't flushed one by one."""
        self._words.write(f"{_json_line('status', fields) if self.json else one_line(line)}\n")

    def rows(
        self, rows: Iterable[Row], *, line: Callable[[Row], str], fields: Callable[[Row], Mapping[str, Any]]
    ) -> int:
        """A whole listing. There may be a million rows, so only the one shape that is shown is made of each.

        Returns how many there were.
        """
        number = 0
        write = self._words.write
        for row in rows:
            write(f"{_json_line('status', fields(row)) if self.json else one_line(line(row))}\n")
            number += 1
        return number

    def status(self, fields: Mapping[str, Any]) -> None:
        """Say in JSON how far the run is. A person sees a bar instead (``progress``)."""
        if self.json and not self.quiet:
            self._object("status", fields)

    def note(self, text: str) -> None:
        """Say on standard error how far the run is, where no bar can be drawn."""
        self._message("", text)

    def hint(self, text: str) -> None:
        """Say what would be wise. Advice is the first thing that ``-q`` silences."""
        if self.json:
            self.status({"status": "hint", "message": text})
        elif not self.quiet:
            self._message("hint: ", text)

    def warning(self, text: str) -> None:
        """Say what isn't as it should be, though the run goes on."""
        if self.json:
            self._object("warning", {"message": text})
        else:
            self._message("warning: ", text)

    def error(self, fields: Mapping[str, Any]) -> None:
        """Say why the run ends. *fields* are those of ``report.error_fields``."""
        if self.json:
            # A full disk under standard output leaves the other way to say so.
            with contextlib.suppress(OSError):
                self._object("error", fields)
                return
        self._message("error: ", str(fields["message"]))
        if fields.get("hint"):
            self._message("hint: ", str(fields["hint"]))

    def can_ask(self) -> bool:
        """Whether somebody is there to type a passphrase.

        Standard input alone can't tell: it may be the bundle. A terminal that is only inherited can't either: a run
        with everything redirected must never wait for an answer.
        """
        if not (sys.stdin.isatty() or sys.stderr.isatty()):
            return False
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True

    def show(self, text: str) -> None:
        """Show a secret to the person at the terminal, and to no log that standard error may go to."""
        with open("/dev/tty", "w", encoding="utf-8") as terminal:
            terminal.write(f"{text}\n")

    @property
    def _words(self) -> TextIO:
        return sys.stderr if self.data_on_stdout else sys.stdout

    def _message(self, kind: str, text: str) -> None:
        self._write(sys.stderr, f"ocbundle: {kind}{one_line(text)}")

    def _object(self, message_type: str, fields: Mapping[str, Any]) -> None:
        self._write(self._words, _json_line(message_type, fields))

    @staticmethod
    def _write(stream: TextIO, line: str) -> None:
        try:
            stream.write(f"{line}\n")
            stream.flush()
        except OSError as error:
            # Words that nobody can read (a full disk under a log, a closed pipe) don't undo what they're about.
            if stream is not sys.stderr:
                error.filename = "standard output"  # or it would be taken for the bundle's
                raise


def _json_line(message_type: str, fields: Mapping[str, Any]) -> str:
    import json  # noqa: PLC0415 - a person doesn't wait for it

    # ASCII, so that a bidi control or a lone surrogate in a name is harmless wherever the line is shown.
    return json.dumps({"message_type": message_type, **fields})
