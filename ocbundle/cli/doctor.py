"""``ocbundle doctor``: is every pitfall of a move absent on this machine?"""

from __future__ import annotations

import os
import tempfile
from collections import Counter

import click

from ocbundle import Bundle, intentlog, publish, report
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.unpacking import log_directory

EPILOG = """\b
Examples:
  ocbundle doctor                              this user's OpenClaw
  ocbundle doctor -i key.txt gateway.ocbundle  and is all of the bundle here?

Nothing is changed and no program is run. Each finding comes with the command
that mends it; words in capitals stand for what only you know. Exit code 7:
there are findings.
"""


@click.command(epilog=EPILOG)
@click.argument("source", metavar="[FILE]", required=False)
@options.opening
@options.json
@click.pass_obj
def doctor(
    console: Console,
    *,
    source: str | None,
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
) -> int:
    """Look for what goes wrong when a gateway is moved.

    Wrong profiles, copies of a part only, owners and modes, paths of another home, and what was left behind. With
    FILE also whether the profiles and agents of that bundle are here.
    """
    from ocbundle.openclaw import doctor as examiner  # noqa: PLC0415 - only here, so that others don't wait for it

    if source is None and (identity_files or passphrase):
        raise click.UsageError("a key has no meaning without FILE")
    manifest = None
    if source is not None:
        stream = options.opened(source)
        opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase)
        with Bundle.open(
            stream, identities=opened.identities, passphrase=opened.passphrase, max_work_factor=max_work_factor
        ) as bundle:
            manifest = bundle.manifest
    with publish.private_directory(tempfile.gettempdir()) as scratch:
        findings = examiner.examine(
            console.environ,
            uid=os.getuid(),
            host=os.uname().nodename,
            scratch=os.fsdecode(scratch),
            manifest=manifest,
            unfinished=_unfinished(console),
        )
    for finding in findings:
        lines = [f"{finding.severity}: {finding.what}", f"  why: {finding.why}"]
        lines += [f"  mend: {finding.command}"] if finding.command else []
        fields = {
            "status": "finding",
            "severity": str(finding.severity),
            "what": finding.what,
            "why": finding.why,
            "command": finding.command,
            **(report.path_fields(finding.path) if finding.path is not None else {"path": None}),
        }
        for line in lines[:1] if console.json else lines:
            console.row(line, fields)
    counts = Counter(str(finding.severity) for finding in findings)
    code = exits.FINDINGS if findings else exits.DONE
    total = report.counted(len(findings), "finding")
    said = f"{total}: {report.counts(counts)}" if findings else "nothing is wrong"
    console.report([said], {"command": "doctor", "findings": len(findings), **counts, "exit_code": code})
    return code


def _unfinished(console: Console) -> list[bytes]:
    home = console.environ.get("HOME")
    return [found.path for found in intentlog.unfinished(log_directory(os.fsencode(home)))] if home else []
