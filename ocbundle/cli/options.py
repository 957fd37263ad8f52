"""The options that several commands share, and what a command line does before its command runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from ocbundle import limits
from ocbundle.cli.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def _set(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001
        if value:
            setattr(context.ensure_object(Console), name, True)

    return callback


def filled(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click's values
    """Refuse an empty text: it is a script's unset variable, and never means what is done for want of one."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise click.BadParameter("it is empty")
    return value


def words(command: Command) -> Command:
    """``--json`` and ``-q``: how the command speaks."""
    command = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_set("quiet"),
        help="Say nothing but warnings and errors.",
    )(command)  # fmt: skip
    return json(command)


def json(command: Command) -> Command:
    """``--json`` alone, for a command whose words are its result."""
    return click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, callback=_set("json"),
        help="Speak in JSON, one object a line.",
    )(command)  # fmt: skip


def opening(command: Command) -> Command:
    """``-i``, ``-p`` and the work factor: what a bundle is opened with."""
    command = click.option(
        "--max-work-factor", metavar="N", default=limits.SCRYPT_READ_WORK_FACTOR, show_default=True,
        type=click.IntRange(1, limits.SCRYPT_MAX_WORK_FACTOR),
        help="Refuse a passphrase that costs more: 20 takes 1 GiB.",
    )(command)  # fmt: skip
    command = click.option(
        "-p", "--passphrase", is_flag=True, help="Open it with a passphrase."
    )(command)  # fmt: skip
    return click.option(
        "-i", "--identity", "identity_files", metavar="FILE", multiple=True, callback=filled,
        help="Open it with this identity file.",
    )(command)  # fmt: skip


def bundle(command: Command) -> Command:
    """The argument FILE: a bundle, or ``-`` for standard input."""
    return click.argument("source", metavar="FILE", callback=filled)(command)


def opened(source: str) -> str | BinaryIO:
    """What the library reads for the argument FILE."""
    if source != "-":
        return source
    if sys.stdin.isatty():
        raise click.UsageError("a bundle can't be typed: give a file, or a pipe for '-'")
    return sys.stdin.buffer
