"""``ocbundle unpack``: a bundle, back as directories."""

from __future__ import annotations

import os

import click

import ocbundle
from ocbundle import report
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following

EPILOG = """\b
Examples:
  ocbundle unpack -i key.txt --to restored gateway.ocbundle
  ocbundle unpack -p --to restored gateway.ocbundle default/openclaw.json
  ssh old ocbundle pack -r age1… -o - | ocbundle unpack -i key.txt --to new -

Each root goes to DIR/<root>, whole or not at all, once every byte is
authenticated. Nothing that is there is replaced.
"""


@click.command(epilog=EPILOG)
@options.bundle
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@options.opening
@click.option("--to", "destination", metavar="DIR", callback=options.filled, help="Where to put it.")
@click.option("--owner", metavar="USER|numeric", default="self", show_default=True, callback=options.filled,
              help="Who gets the files: you, a user, or the numbers packed.")  # fmt: skip
@click.option("--profile", "profiles", metavar="NAME", multiple=True, callback=options.filled,
              help="Take only what belongs to this profile.")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Check everything, but put nothing anywhere.")
@options.words
@click.pass_obj
def unpack(
    console: Console,
    *,
    source: str,
    paths: tuple[str, ...],
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
    destination: str | None,
    owner: str,
    profiles: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Unpack a bundle into a directory, or only some PATHs of it.

    A PATH is <root>/<path>, as list shows it; a directory brings all below it.
    """
    if destination is None:
        raise click.UsageError("say where with --to DIR")
    stream = options.opened(source)
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase)
    with following(console) as progress:
        done = ocbundle.unpack(
            stream,
            destination,
            identities=opened.identities,
            passphrase=opened.passphrase,
            owner=owner,
            profiles=profiles,
            paths=[os.fsencode(path) for path in paths],
            dry_run=dry_run,
            max_work_factor=max_work_factor,
            progress=progress,
        )
    for text in done.warnings:
        console.warning(text)
    console.report(report.unpack_lines(done), report.unpack_fields(done))
    return exits.DONE
