"""``ocbundle list``, ``inspect`` and ``cat``: look into a bundle without unpacking it."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from functools import partial
from typing import Final

import click

from ocbundle import report
from ocbundle.bundle import Bundle
from ocbundle.cli import exits, keys, listing, options
from ocbundle.cli.console import Console

CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What a text file doesn't hold, and a terminal may obey."""


@click.command("list")
@options.bundle
@options.opening
@click.option("-l", "--long", is_flag=True, help="Show mode, owner, size and time (UTC), as ls -l does.")
@click.option("--skipped", is_flag=True, help="Show what was left out instead, and why.")
@options.json
@click.pass_obj
def list_(
    console: Console,
    *,
    source: str,
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
    long: bool,
    skipped: bool,
) -> int:
    """List what is in a bundle, as <root>/<path>."""
    if long and skipped:
        raise click.UsageError("-l has no meaning with --skipped")
    with _open(console, source, identity_files, max_work_factor, passphrase=passphrase) as bundle:
        if skipped:
            number = console.rows(bundle.skipped(), line=report.skipped_line, fields=report.skipped_fields)
        else:
            number = console.rows(
                bundle.entries(),
                line=partial(listing.entry_line, manifest=bundle.manifest, long=long),
                fields=partial(listing.entry_fields, manifest=bundle.manifest),
            )
        console.report([], {"command": "list", "digest": bundle.info.digest, "rows": number})
    return exits.DONE


@click.command()
@options.bundle
@options.opening
@options.json
@click.pass_obj
def inspect(
    console: Console, *, source: str, identity_files: tuple[str, ...], passphrase: bool, max_work_factor: int
) -> int:
    """Tell what a bundle is.

    Without a key: versions, sizes, kinds of recipient, the digest. With one also where it comes from, profiles, the
    kinds of secret inside, and what was left out.
    """
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase, optional=True)
    with Bundle.open(
        options.opened(source),
        identities=opened.identities,
        passphrase=opened.passphrase,
        max_work_factor=max_work_factor,
    ) as bundle:
        lines, fields = listing.info_lines(bundle.info), listing.info_fields(bundle.info)
        if opened.identities or opened.passphrase:
            left_out = Counter(str(row.reason) for row in bundle.skipped())
            lines += listing.manifest_lines(bundle.manifest, left_out)
            fields |= listing.manifest_fields(bundle.manifest, left_out)
    console.report(lines, {"command": "inspect", **fields})
    return exits.DONE


@click.command()
@options.bundle
@click.argument("path", metavar="PATH")
@options.opening
@options.json
@click.pass_obj
def cat(
    console: Console,
    *,
    source: str,
    path: str,
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
) -> int:
    """Write one file of a bundle, <root>/<path>, to standard output."""
    console.data_on_stdout = True
    root, _, rest = path.partition("/")
    with _open(console, source, identity_files, max_work_factor, passphrase=passphrase) as bundle:
        written = 0
        for chunk in bundle.stream(root, os.fsencode(rest)):
            if sys.stdout.isatty() and CONTROL.search(chunk):
                raise click.UsageError("the file is binary, and standard output is a terminal: use a pipe or a file")
            sys.stdout.buffer.write(chunk)
            written += len(chunk)
        sys.stdout.buffer.flush()
    console.report([], {"command": "cat", "bytes": written})
    return exits.DONE


def _open(
    console: Console, source: str, identity_files: tuple[str, ...], max_work_factor: int, *, passphrase: bool
) -> Bundle:
    stream = options.opened(source)
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase)
    return Bundle.open(
        stream, identities=opened.identities, passphrase=opened.passphrase, max_work_factor=max_work_factor
    )
