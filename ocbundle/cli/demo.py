"""``ocbundle demo``: pack, verify and unpack a gateway that is made up, and compare every file.

It works in a temporary directory, removes it, and touches nothing of the user's. The comparison is its own: it walks
both homes, and trusts nothing that the library says of itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

import ocbundle
from ocbundle import keyholders, paths, report
from ocbundle.cli import exits, options, sample, signals
from ocbundle.cli.console import Console
from ocbundle.errors import BundleError, DamagedBundle


@click.command()
@options.json
@click.pass_obj
def demo(console: Console) -> int:
    """Show all of it on a gateway that is made up.

    Packs a sample home, verifies the bundle, unpacks it into a second home and compares every file. Takes seconds,
    works in a temporary directory, and leaves nothing behind.
    """
    with _directory() as directory:
        entries, differences = _walk_through(console, os.fsencode(directory))
    for text in differences:
        console.warning(text)
    if differences:
        raise BundleError(f"{report.counted(len(differences), 'difference')} between what was packed and unpacked")
    console.report(
        [f"compared {entries} entries: bytes, modes, times, links and database rows are all equal", "removed it all"],
        {"command": "demo", "entries": entries, "differences": 0},
    )
    return exits.DONE


@contextmanager
def _directory() -> Iterator[str]:
    """A temporary directory that is gone after the block, however often and whenever the user interrupts."""
    made = None
    try:
        with signals.held_back():
            made = tempfile.mkdtemp(prefix="ocbundle-demo-")
        yield made
    finally:
        with signals.held_back():
            if made is not None:
                shutil.rmtree(made)


def _walk_through(console: Console, directory: bytes) -> tuple[int, list[str]]:
    from ocbundle import openclaw  # noqa: PLC0415 - only here, so that other commands don't wait for it

    home, restored = os.path.join(directory, b"home"), os.path.join(directory, b"new-home")
    key_file, bundle = (os.path.join(os.fsdecode(directory), name) for name in ("key.txt", "gateway.ocbundle"))

    sample.build(home)
    _step(console, f"made up a gateway in {paths.display(home)}: two profiles, a workspace elsewhere, a database "
          "whose newest rows are only in its write-ahead log")  # fmt: skip

    text, recipient = keyholders.generate_identity(now=datetime.now(UTC))
    with open(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    identities = keyholders.read_identities(key_file)
    _step(console, f"$ ocbundle keygen -o key.txt\n{recipient}")

    found = openclaw.discover({"HOME": os.fsdecode(home)})
    packed = ocbundle.pack(
        bundle, found.sources, profiles=found.profiles, warnings=found.warnings, recipients=[recipient]
    )
    _step(console, f"$ ocbundle pack -r {recipient[:8]}… -o gateway.ocbundle", *report.pack_lines(packed))

    unkeyed = ocbundle.verify(bundle)
    _step(console, "$ ocbundle verify gateway.ocbundle", report.claim(unkeyed, expected=False))

    keyed = ocbundle.verify(bundle, identities=identities, expect=packed.digest)
    _step(console, f"$ ocbundle verify -i key.txt --expect {packed.digest[:8]}… gateway.ocbundle",
          report.claim(keyed, expected=True))  # fmt: skip

    _step(console, "one byte changed in a copy, then verified without a key", _damage(bundle))

    unpacked = ocbundle.unpack(bundle, os.fsdecode(restored), identities=identities)
    _step(console, "$ ocbundle unpack -i key.txt --to new-home gateway.ocbundle", *report.unpack_lines(unpacked))
    return compare(home, restored)


def _step(console: Console, *lines: str) -> None:
    for line in "\n".join(lines).split("\n"):
        console.row(line, {"status": "step", "message": line})
    if not console.json:
        console.row("", {})


def _damage(bundle: str) -> str:
    with open(bundle, "rb") as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 1
    broken = f"{bundle}.broken"
    with open(broken, "wb") as file:
        file.write(data)
    try:
        ocbundle.verify(broken)
    except DamagedBundle as error:
        return f"found: {report.error_fields(error, exits.DAMAGED)['message']}"
    raise BundleError("a changed byte went unnoticed")


def compare(home: bytes, restored: bytes) -> tuple[int, list[str]]:
    """Compare what was packed from *home* with what came out in *restored*: how many entries, and what differs."""
    before: dict[bytes, str] = {}
    after: dict[bytes, str] = {}
    for root, path in sample.ROOTS.items():
        before |= _describe(home, path)
        there = _describe(restored, root.encode())
        after |= {path + name.removeprefix(root.encode()): what for name, what in there.items()}
    differences = [
        f"{paths.display(path)}: {before.get(path, 'was not there')} became {after.get(path, 'nothing')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
    return len(before), differences


def _describe(home: bytes, path: bytes) -> dict[bytes, str]:
    """Everything that matters of *path* and all below it, by path."""
    if path in sample.LEFT_OUT:
        return {}
    full = os.path.join(home, path)
    try:
        status = os.lstat(full)
    except FileNotFoundError:
        return {}
    what = f"{stat.filemode(status.st_mode)} {status.st_mtime_ns}"
    if stat.S_ISDIR(status.st_mode):
        found = {path: what}
        for name in os.listdir(full):
            found |= _describe(home, path + b"/" + name)
        return found
    return {path: f"{what} {_content(full, status)}"}


def _content(path: bytes, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"-> {paths.display(os.readlink(path))}"
    if not stat.S_ISREG(status.st_mode):
        return ""
    if path.endswith(b".sqlite"):
        # A database is its rows: the log that held them isn't packed, because they are.
        return str(sample.read_jobs(path))
    with open(path, "rb") as file:
        return f"{status.st_nlink} {report.size(status.st_size)} {hashlib.sha256(file.read()).hexdigest()}"
