"""``ocbundle keygen``: an identity file, for a machine without age."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from ocbundle import keyholders, publish
from ocbundle.cli import exits, options
from ocbundle.cli.console import Console
from ocbundle.errors import TargetExists

EPILOG = """\b
Examples:
  ocbundle keygen -o key.txt       prints age1…, to be given to pack -r
  ssh new ocbundle keygen -o move.key

Keep the file: it alone opens what is sealed to its public key.
"""


@click.command(epilog=EPILOG)
@click.option("-o", "--output", metavar="FILE", callback=options.filled,
              help="Write the identity to FILE (0600, never over another).")  # fmt: skip
@options.json
@click.pass_obj
def keygen(console: Console, *, output: str | None) -> int:
    """Make a key pair, and write the identity file as age-keygen does."""
    text, recipient = keyholders.generate_identity(now=datetime.now(UTC).astimezone())
    if output is None or output == "-":
        console.data_on_stdout = True
        sys.stdout.write(text)
        sys.stdout.flush()
        if not sys.stdout.isatty():
            console.report([f"public key: {recipient}"], {"command": "keygen", "recipient": recipient, "path": None})
        return exits.DONE
    try:
        with publish.Output(output) as file:
            file.write(text.encode())
            file.commit()
    except TargetExists as error:
        error.hint = "choose another name: what an old key opens, no new one does"
        raise
    console.report([recipient], {"command": "keygen", "recipient": recipient, "path": output})
    return exits.DONE
