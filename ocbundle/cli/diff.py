"""``ocbundle diff``: a bundle beside what stands for it now."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import click

from ocbundle import Bundle, publish, report
from ocbundle.cli import exits, keys, options
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following
from ocbundle.difference import Change, Comparison, Difference, compare
from ocbundle.errors import SourceMissing
from ocbundle.paths import display

EPILOG = """\b
Examples:
  ocbundle diff -i key.txt gateway.ocbundle       with this OpenClaw
  ocbundle diff -i key.txt gateway.ocbundle DIR   with what was unpacked

A line is "+" for added, "-" for removed, or "~" for changed, and of what. A
directory that was added or removed stands for all below it. Exit code 7: there
are differences; 3: something couldn't be compared.
"""
SIGNS = {Change.ADDED: "+", Change.REMOVED: "-", Change.CHANGED: "~"}


@click.command(epilog=EPILOG)
@options.bundle
@click.argument("directory", metavar="[DIR]", required=False)
@options.opening
@options.json
@click.pass_obj
def diff(
    console: Console,
    *,
    source: str,
    directory: str | None,
    identity_files: tuple[str, ...],
    passphrase: bool,
    max_work_factor: int,
) -> int:
    """Tell what was added, removed and changed since a bundle was packed.

    Without DIR it is compared with this user's OpenClaw, as it was packed; with DIR with what was unpacked to there.
    """
    stream = options.opened(source)
    opened = keys.keys(console, source=source, identity_files=identity_files, passphrase=passphrase)
    with Bundle.open(
        stream, identities=opened.identities, passphrase=opened.passphrase, max_work_factor=max_work_factor
    ) as bundle:
        done = _compare(console, bundle, directory)
    for text in done.unreadable:
        console.warning(f"not compared: {text}")
    if done.uncompared:
        console.warning(f"{report.counted(done.uncompared, 'entry', 'entries')} of the bundle couldn't be compared")
    code = exits.LOSSES if done.unreadable or done.uncompared else exits.FINDINGS if done.differences else exits.DONE
    console.report([_summary(done)], _fields(done) | {"exit_code": code})
    return code


def _compare(console: Console, bundle: Bundle, directory: str | None) -> Comparison:
    from ocbundle.openclaw import counterpart  # noqa: PLC0415 - only here, so that other commands don't wait for it

    if directory is None:
        sources = counterpart.live(bundle.manifest, bundle.entries(), bundle.skipped(), console.environ)
    elif os.path.isdir(directory):
        sources = counterpart.below(bundle.manifest, bundle.entries(), os.path.abspath(os.fsencode(directory)))
    else:
        raise SourceMissing(f"{display(directory)} isn't a directory", path=display(directory))

    def tell(found: Difference) -> None:
        what = f"  ({', '.join(found.what)})" if found.what else ""
        slash = "/" if found.kind.name == "DIRECTORY" and found.change is not Change.CHANGED else ""
        fields = {
            "status": "difference",
            **report.path_fields(report.full_path(found.root, found.path)),
            "kind": found.kind.name.lower(),
            "change": str(found.change),
            "what": [str(aspect) for aspect in found.what],
        }
        console.row(f"{SIGNS[found.change]} {found.name}{slash}{what}", fields)

    with publish.private_directory(tempfile.gettempdir()) as scratch, following(console) as progress:
        return compare(
            bundle.entries(),
            sources,
            tell,
            content=bundle.reader.content,
            scratch=os.fsdecode(scratch),
            skipped=bundle.skipped(),
            progress=progress,
        )


def _summary(done: Comparison) -> str:
    if not done.differences:
        return f"no differences in {report.counted(done.same, 'entry', 'entries')}"
    counts = {str(change): number for change, number in done.counts.items()}
    return f"{report.counted(done.differences, 'difference')}: {report.counts(counts)}; {done.same:,} the same"


def _fields(done: Comparison) -> dict[str, Any]:
    return {
        "command": "diff",
        "same": done.same,
        "differences": done.differences,
        **{str(change): done.counts.get(change, 0) for change in Change},
        "uncompared": done.uncompared,
        "unreadable": list(done.unreadable),
    }
