"""``ocbundle salvage``: what can still be had of a damaged bundle."""

from __future__ import annotations

import click

from ocbundle import salvaged
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following
from ocbundle.salvaging import salvage as salvage_bundle

EPILOG = """\b
Examples:
  ocbundle salvage -i key.txt --to rescued damaged.ocbundle
  ocbundle salvage -p -n --to rescued damaged.ocbundle

\b
Whole files go to DIR/<root>. A file of which a part is lost goes to
DIR/<root>.damaged, with zeros for that part. DIR/salvage.txt names every
file that isn't whole.

Exit code 3 says that something is missing, 0 that everything is there.
"""


@click.command(epilog=EPILOG)
@options.bundle
@options.opening
@click.option("--to", "destination", metavar="DIR", required=True, callback=options.filled,
              help="The new directory to lay it out in.")  # fmt: skip
@click.option("--owner", metavar="USER|numeric", default="self", show_default=True, callback=options.filled,
              help="Who gets the files: you, a user, or the numbers packed.")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Tell what can be had, and write nothing.")
@options.words
@click.pass_obj
def salvage(
    console: Console,
    *,
    source: str,
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
    destination: str,
    owner: str,
    dry_run: bool,
) -> int:
    """Get what is left out of a damaged bundle.

    For a bundle that verify and unpack refuse, and of which no other copy is
    left. It lays out plain trees, as they were packed, in a new directory.
    """
    stream = options.opened(source)
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase)
    with following(console) as progress:
        done = salvage_bundle(
            stream,
            destination,
            identities=opened.identities,
            passphrase=opened.passphrase,
            owner=owner,
            dry_run=dry_run,
            max_work_factor=max_work_factor,
            progress=progress,
        )
    for text in salvaged.warnings(done):
        console.warning(text)
    if console.json:
        for casualty in done.casualties:
            console.status(salvaged.casualty_fields(casualty))
    console.report(salvaged.lines(done), salvaged.fields(done))
    return exits.DONE if done.is_complete else exits.LOSSES
