"""``ocbundle verify``: check a bundle, and say exactly what that proves."""

from __future__ import annotations

import click

import ocbundle
from ocbundle import report
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following

EPILOG = """\b
Examples:
  ocbundle verify gateway.ocbundle                accident, not attack
  ocbundle verify -i key.txt gateway.ocbundle     every byte, authenticated
  ocbundle verify --expect DIGEST gateway.ocbundle

The last line says what was verified, and what wasn't.
"""


@click.command(epilog=EPILOG)
@options.bundle
@options.opening
@click.option("--expect", metavar="DIGEST", callback=options.filled, help="Demand the digest that pack printed.")
@options.words
@click.pass_obj
def verify(
    console: Console,
    *,
    source: str,
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
    expect: str | None,
) -> int:
    """Check a bundle: without a key its checksums, with one everything."""
    stream = options.opened(source)
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase, optional=True)
    with following(console) as progress:
        done = ocbundle.verify(
            stream,
            identities=opened.identities,
            passphrase=opened.passphrase,
            expect=expect,
            max_work_factor=max_work_factor,
            progress=progress,
        )
    expected = expect is not None
    console.report(report.verify_lines(done, expected=expected), report.verify_fields(done, expected=expected))
    return exits.DONE
