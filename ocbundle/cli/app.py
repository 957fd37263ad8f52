"""The ``ocbundle`` program: the commands together, and what becomes of an error.

Every run ends here with a number from ``exits`` and, if it failed, one line that says why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import click

from ocbundle import errors, paths
from ocbundle._version import __version__
from ocbundle.cli import exits, signals
from ocbundle.cli.console import Console

COMMANDS: Final = {
    "pack": "pack:pack",
    "verify": "verify:verify",
    "unpack": "unpack:unpack",
    "salvage": "salvage:salvage",
    "list": "contents:list_",
    "inspect": "contents:inspect",
    "cat": "contents:cat",
    "diff": "diff:diff",
    "doctor": "doctor:doctor",
    "keygen": "keygen:keygen",
    "demo": "demo:demo",
}
"""Where each command is, as ``module:function``, in the order in which they are needed."""

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 80, "terminal_width": 80}
EPILOG = """\b
Start with:
  ocbundle demo                    what it does, on a gateway that is made up
  ocbundle keygen -o key.txt       a key pair; keep the file elsewhere
  ocbundle pack -r age1…           a backup of everything

\b
Environment:
  OCBUNDLE_RECIPIENTS, OCBUNDLE_RECIPIENTS_FILE   instead of -r and -R
  OCBUNDLE_IDENTITY_FILE                          instead of -i, to open
  OCBUNDLE_PASSPHRASE_FILE, _FD or _COMMAND       instead of typing it
  NO_COLOR                                        no colours

\b
Exit codes:
  0 done   1 failed   2 usage   3 done, but something is missing or torn
  4 damaged or tampered with    5 no key fits   6 unsupported version
  7 done, with findings (diff, doctor)          130 interrupted

Completion: eval "$(_OCBUNDLE_COMPLETE=bash_source ocbundle)"
"""


EXITS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.DamagedBundle, exits.DAMAGED),
    (errors.KeyFailure, exits.KEY),
    (errors.UnsupportedVersion, exits.UNSUPPORTED),
    (errors.InvalidRequest, exits.USAGE),
    (errors.BundleError, exits.FAILED),
    (click.UsageError, exits.USAGE),
    (click.Abort, exits.INTERRUPTED),
    (KeyboardInterrupt, exits.INTERRUPTED),
    (BaseException, exits.FAILED),
)
"""What the program ends with after an error: the first line that fits."""


class Commands(click.Group):
    """The commands. The one that runs is imported, and none that doesn't; for their help all are."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """As they are in the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import it."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"ocbundle.cli.{module}"), function)
        return command


@click.group(cls=Commands, context_settings=SETTINGS, epilog=EPILOG, invoke_without_command=True)
@click.version_option(__version__, message="ocbundle %(version)s")
@click.pass_context
def app(context: click.Context) -> int:
    """Encrypted, verifiable, single-file backups of OpenClaw gateways."""
    signals.unwind()  # the command is imported: from here on there may be something to take back
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return exits.USAGE
    return exits.DONE


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line to its exit code. Nothing but a code comes out, whatever happens inside."""
    console = Console(environ)
    try:
        code = app.main(args=list(arguments), prog_name="ocbundle", standalone_mode=False, obj=console)
        sys.stdout.flush()
    except SystemExit as error:  # click's way out when the reader of standard output has gone
        return error.code if isinstance(error.code, int) else exits.FAILED
    except BrokenPipeError:
        # The reader has seen enough. Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except BaseException as error:  # noqa: BLE001 - the last line of defence: one line, and no traceback
        # A usage error may stand before the flag.
        console.json = console.json or (isinstance(error, click.UsageError) and "--json" in arguments)
        number = next(code for kind, code in EXITS if isinstance(error, kind))
        console.error(_fields(error, number))
        if environ.get("OCBUNDLE_DEBUG"):
            import traceback  # noqa: PLC0415 - only for whoever looks for a bug

            traceback.print_exc()
        return number
    return int(code or exits.DONE)


def _fields(error: BaseException, number: int) -> dict[str, object]:
    if isinstance(error, errors.BundleError):
        from ocbundle import report  # noqa: PLC0415 - only an error waits for it

        fields = report.error_fields(error, number)
        if isinstance(error, errors.KeyRequired) and "OCBUNDLE" not in (error.hint or ""):
            fields["hint"] = "open it with -i FILE or -p"  # the library knows no flags
        elif isinstance(error, errors.ChecksumMismatch | errors.Malformed) and not error.hint:
            fields["hint"] = "another copy may be whole; if there is none, ocbundle salvage gets out what is left"
        return fields
    hint = None
    if isinstance(error, click.UsageError):
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
        hint = f"see '{error.ctx.command_path} --help'" if error.ctx else None
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        message = "interrupted"
    elif isinstance(error, MemoryError):
        message = "out of memory"
    elif isinstance(error, OSError) and error.strerror:
        where = f"{paths.display(os.fsencode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
        message = f"{where}{error.strerror.lower()}"
    else:
        # Not its words: nobody has checked what they give away.
        import traceback  # noqa: PLC0415

        at = traceback.extract_tb(error.__traceback__)[-1]
        message = f"internal error: {type(error).__name__} at {os.path.basename(at.filename)}:{at.lineno}"
        hint = "please report it; OCBUNDLE_DEBUG=1 shows the whole story"
    return {"error": type(error).__name__, "message": message, "hint": hint, "exit_code": number}
