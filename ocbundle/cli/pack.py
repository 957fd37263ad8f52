"""``ocbundle pack``: find what to take, name the bundle, and report."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from typing import BinaryIO

import click

import ocbundle
from ocbundle import paths, publish, report
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following

EPILOG = """\b
Examples:
  ocbundle pack -r age1…                   everything of this user's gateways
  ocbundle pack -p -o /mnt/usb/            under a passphrase, onto a stick
  ocbundle pack --profile work -R keys.txt -o work.ocbundle
  ocbundle pack -r age1… -o - | ssh backup 'cat > gateway.ocbundle'

Only public keys are needed. Without a recipient it asks for a passphrase.
Exit code 3: done, but something was unreadable or changed underway.
"""


@click.command(epilog=EPILOG)
@click.argument("directories", metavar="[DIR]...", nargs=-1, callback=options.filled)
@click.option("-r", "--recipient", "recipients", metavar="KEY", multiple=True, callback=options.filled,
              help="Seal it to this public key.")  # fmt: skip
@click.option("-R", "--recipients-file", "recipients_files", metavar="FILE", multiple=True, callback=options.filled,
              help="Seal it to the public keys in FILE.")  # fmt: skip
@click.option("-i", "--identity", "identity_files", metavar="FILE", multiple=True, callback=options.filled,
              help="Seal it to the public keys of this identity file.")  # fmt: skip
@click.option("-p", "--passphrase", is_flag=True, help="Seal it to a passphrase.")
@click.option("-o", "--output", metavar="OUTPUT", callback=options.filled,
              help="Where to write it: a file, a directory, or - for standard output.")  # fmt: skip
@click.option("--profile", "profiles", metavar="NAME", multiple=True, callback=options.filled,
              help="Take only this OpenClaw profile.")  # fmt: skip
@click.option("--state-dir", metavar="DIR", callback=options.filled,
              help="Take the OpenClaw state that is in DIR.")  # fmt: skip
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Leave out what matches (gitignore syntax).")
@click.option("--only-config", is_flag=True, help="Take only configurations, with their .env.")
@click.option("--no-workspace", is_flag=True, help="Leave out the agents' workspaces.")
@click.option("--all", "everything", is_flag=True, help="Take also what can be installed or built again.")
@click.option("--live", is_flag=True, help="Pack although the gateway is running.")
@click.option("--level", metavar="N", type=click.IntRange(1, 22), default=3, show_default=True,
              help="How hard to compress.")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be packed.")
@click.option("-f", "--force", is_flag=True, help="Replace the output if it is there already.")
@click.option("-v", "--verbose", is_flag=True, help="Name each path that is left out.")
@options.words
@click.pass_obj
def pack(
    console: Console,
    *,
    directories: tuple[str, ...],
    recipients: tuple[str, ...],
    recipients_files: tuple[str, ...],
    identity_files: tuple[str, ...],
    passphrase: bool,
    output: str | None,
    profiles: tuple[str, ...],
    state_dir: str | None,
    exclude: tuple[str, ...],
    only_config: bool,
    no_workspace: bool,
    everything: bool,
    live: bool,
    level: int,
    dry_run: bool,
    force: bool,
    verbose: bool,
) -> int:
    """Pack gateways or directories into one encrypted file.

    Without DIR it finds every OpenClaw profile and workspace of this user.
    """
    target = _target(console, output, dry_run=dry_run)
    if directories and (profiles or state_dir or only_config or no_workspace or everything):
        raise click.UsageError("options that choose parts of OpenClaw have no meaning with DIR")
    sources: tuple[ocbundle.Source | str, ...] = directories
    found = None
    if not directories:
        import tempfile  # noqa: PLC0415 - only here, so that other commands don't wait for them

        from ocbundle import openclaw  # noqa: PLC0415

        with publish.private_directory(tempfile.gettempdir()) as scratch:
            found = openclaw.discover(
                console.environ,
                profiles=profiles or None,
                state_dir=state_dir,
                workspaces=not no_workspace,
                only_config=only_config,
                everything=everything,
                scratch=os.fsdecode(scratch),
            )
        sources = found.sources
        for left in found.left:
            console.hint(str(left))
    if isinstance(target, str):
        with publish.Output(target, replace=force):
            pass  # it can be written: nobody types a passphrase in vain
    locks = keys.locks(
        console,
        recipients=recipients,
        recipients_files=recipients_files,
        identity_files=identity_files,
        passphrase=passphrase,
        required=not dry_run,
    )
    with following(console) as progress:
        done = ocbundle.pack(
            target,
            sources,
            profiles=found.profiles if found else (),
            warnings=found.warnings if found else (),
            recipients=locks.recipients,
            passphrase=locks.passphrase,
            environ=console.environ,
            exclude=exclude,
            level=level,
            overwrite=force,
            live=live,
            dry_run=dry_run,
            progress=progress,
        )
    return _tell(console, done, locks, verbose=verbose)


def _tell(console: Console, done: ocbundle.PackReport, locks: keys.Locks, *, verbose: bool) -> int:
    for text in done.warnings:
        console.warning(text)
    for text in report.loss_lines(done, each=verbose):
        console.warning(text)
    if verbose and console.json:
        for row in done.skipped:
            console.status(report.skipped_fields(row))
    if not done.dry_run and len(locks.recipients) + (locks.passphrase is not None) == 1:
        what = "key" if locks.recipients else "passphrase"
        console.hint(f"one {what} alone opens this bundle: lose that {what} and the backup is gone")
    code = exits.LOSSES if done.losses else exits.DONE
    console.report(report.pack_lines(done, each=verbose), report.pack_fields(done) | {"exit_code": code})
    return code


def _target(console: Console, output: str | None, *, dry_run: bool) -> str | BinaryIO | None:
    if output == "-":
        console.data_on_stdout = True
        if sys.stdout.isatty() and not dry_run:
            raise click.UsageError("a bundle is binary, and standard output is a terminal: give -o FILE, or a pipe")
        return None if dry_run else sys.stdout.buffer
    if output and not output.endswith("/") and not os.path.isdir(output):
        if os.path.exists(output) and not os.path.isfile(output):
            raise click.UsageError(f"{paths.display(output)} is a pipe or a device: give -o - and redirect it there")
        return output
    return os.path.join(output or "", file_name(os.uname().nodename, datetime.now(UTC)))


def file_name(host: str, moment: datetime) -> str:
    """The name of a bundle that nobody named: ``alpha-20261124T214200Z.ocbundle``."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", host.partition(".")[0]).strip("-") or "gateway"
    return f"{plain}-{moment:%Y%m%dT%H%M%SZ}.ocbundle"
