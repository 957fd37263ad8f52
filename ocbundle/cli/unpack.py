"""``ocbundle unpack``: a bundle, back where it belongs or laid out for looking at."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click

import ocbundle
from ocbundle import report
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following

EPILOG = """\b
Examples:
  ocbundle unpack -i key.txt gateway.ocbundle           back into this home
  ocbundle unpack -i key.txt --to look gateway.ocbundle
  ocbundle unpack -p --to look gateway.ocbundle default/openclaw.json
  ssh old ocbundle pack -r age1… -o - | ocbundle unpack -i key.txt -

Everything appears at once, when every byte is authenticated, or nothing does.
Nothing that is there is replaced without --replace, and then it is kept.
"""


@click.command(epilog=EPILOG)
@click.argument("source", metavar="FILE", required=False, callback=options.filled)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@options.opening
@click.option("--home", metavar="DIR", callback=options.filled, help="The home to put it in; yours by default.")
@click.option("--map", "maps", metavar="OLD=NEW", multiple=True, callback=options.filled,
              help="Put what was below OLD below NEW.")  # fmt: skip
@click.option("--to", "destination", metavar="DIR", callback=options.filled,
              help="Lay it out in DIR instead, as it was packed.")  # fmt: skip
@click.option("--owner", metavar="USER|numeric", default="self", show_default=True, callback=options.filled,
              help="Who gets the files: you, a user, or the numbers packed.")  # fmt: skip
@click.option("--profile", "profiles", metavar="NAME[=NEW]", multiple=True, callback=options.filled,
              help="Take only this profile, perhaps under a new name.")  # fmt: skip
@click.option("--replace", is_flag=True, help="Replace what is there; it is kept beside.")
@click.option("--keep-logins", is_flag=True, help="Keep the newer channel logins of what is replaced.")
@click.option("--no-relocate", is_flag=True, help="Leave old paths inside of files as they are.")
@click.option("--resume", is_flag=True, help="Finish an unpack that was killed.")
@click.option("--undo", is_flag=True, help="Take back an unpack that was killed.")
@click.option("-n", "--dry-run", is_flag=True, help="Check everything, but put nothing anywhere.")
@options.words
@click.pass_obj
def unpack(
    console: Console,
    *,
    source: str | None,
    paths: tuple[str, ...],
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
    home: str | None,
    maps: tuple[str, ...],
    destination: str | None,
    owner: str,
    profiles: tuple[str, ...],
    replace: bool,
    keep_logins: bool,
    no_relocate: bool,
    resume: bool,
    undo: bool,
    dry_run: bool,
) -> int:
    """Put a bundle's gateways back, into this user's home.

    With --to it only lays out a plain tree, or some PATHs of it: <root>/<path>,
    as list shows it; a directory brings all below it.
    """
    if resume or undo:
        return _recover(console, source, home or console.environ.get("HOME"), resume=resume, undo=undo)
    if source is None:
        raise click.UsageError("say which bundle to unpack")
    if destination is not None and no_relocate:
        raise click.UsageError("--no-relocate has no meaning with --to, which rewrites nothing")
    stream = options.opened(source)
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase)
    chosen = dict(profile.partition("=")[::2] if "=" in profile else (profile, profile) for profile in profiles)
    with following(console) as progress:
        done = ocbundle.unpack(
            stream,
            destination,
            identities=opened.identities,
            passphrase=opened.passphrase,
            owner=owner,
            profiles=tuple(chosen),
            paths=[os.fsencode(path) for path in paths],
            home=home or (console.environ.get("HOME") if destination is None else None),
            maps=dict(_pairs(maps)),
            renames={old: new for old, new in chosen.items() if old != new},
            replace=replace,
            keep_logins=keep_logins,
            relocated=not no_relocate,
            environ=console.environ,
            dry_run=dry_run,
            max_work_factor=max_work_factor,
            progress=progress,
        )
    for text in done.warnings:
        console.warning(text)
    console.report(report.unpack_lines(done), report.unpack_fields(done))
    return exits.DONE


def _pairs(maps: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in maps:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise click.UsageError("--map takes OLD=NEW, two absolute paths")
        yield old, new


def _recover(console: Console, source: str | None, home: str | None, *, resume: bool, undo: bool) -> int:
    if resume and undo:
        raise click.UsageError("--resume and --undo contradict each other")
    if source is not None:
        raise click.UsageError("to finish or undo an unpack, no bundle is needed")
    done = ocbundle.recover(home, undo=undo)
    for text in done.warnings:
        console.warning(text)
    console.report(report.recover_lines(done), report.recover_fields(done))
    return exits.DONE
