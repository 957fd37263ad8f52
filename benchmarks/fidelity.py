"""What each tool brings back of a tree: one tree of all that a file can have, packed and restored with each.

Method: the tree is built anew, each tool that is installed packs it and restores it into an empty directory, and this
script walks both and compares them itself. A property is kept if it is the same on every path that has it. Run it as
root (owners, setuid), on a file system with access lists, attributes, holes and nanoseconds, such as ext4.

    python benchmarks/fidelity.py              a Markdown table
    python benchmarks/fidelity.py --why        and the first paths at which something was lost

Devices, FIFOs and sockets aren't in the tree: an ocbundle doesn't hold them, on purpose.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
UID, GID = 1500, 1501
"""Of no user and group that the machine need have."""
MTIME = 1_234_567_890_123_456_789
ODD_NAMES = (
    b"caf\xe9-latin1",
    b"\xff\xfe",
    b"new\nline",
    b"esc\x1b[31m",
    b"-rf",
    b" spaces ",
    b"back\\slash",
    b"quote'\"",
    b"*?[x]",
    "e\u0301 and \u00e9".encode(),
    "\u202etxt.exe".encode(),
    b"n" * 255,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the system says of one path."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    digest: str | None
    target: bytes | None
    has_holes: bool
    inode: int
    links: int
    xattrs: tuple[tuple[str, bytes], ...]
    acl: bytes | None
    default_acl: bytes | None


Tree = dict[bytes, Look]


# --- the tree ---------------------------------------------------------------------------------------------------------


def build(where: bytes) -> None:
    """Make the tree."""
    _make_content(where)
    for directory, names, files in os.walk(where):
        for name in (b"", *names, *files):
            os.chown(os.path.join(directory, name), UID, GID, follow_symlinks=False)
    _make_metadata(where)
    deepest_first = sorted(look_at(where), key=lambda path: path.count(b"/"), reverse=True)
    for number, path in enumerate([path for path in deepest_first if path != b"."] + [b"."]):
        os.utime(os.path.join(where, path), ns=(MTIME, MTIME + number * 1_000_000_007), follow_symlinks=False)
    os.sync()


def _make_content(where: bytes) -> None:
    for name in (b"", b"names", b"empty", b"deep", b"deep/er", b"read-only", b"closed", b"team", b"shared", b"listed"):
        os.mkdir(os.path.join(where, name))
    _file(where, b"empty-file", b"")
    _file(where, b"random", random.Random(3).randbytes(3_000_000))
    text = _file(where, b"text", b"be kind\n" * 50_000)
    for name in (b"deep/er/file", b"read-only/file", b"closed/file", b"listed/file"):
        _file(where, name)
    for name in ODD_NAMES:
        _file(where, b"names/" + name)
    os.symlink(b"text", os.path.join(where, b"link"))
    os.symlink(b"/nowhere/at/all", os.path.join(where, b"dangling"))
    os.symlink(b"../\xff\xfe/" + b"t" * 200, os.path.join(where, b"odd-link"))
    os.link(text, os.path.join(where, b"deep/hard"))
    os.link(text, os.path.join(where, b"hard"))
    with open(os.path.join(where, b"sparse"), "wb") as file:
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)


def _make_metadata(where: bytes) -> None:
    """What a change of owner would clear, or what only its own owner has."""
    for mode in (0o000, 0o400, 0o604, 0o777, 0o4755, 0o2755, 0o6711, 0o1644):
        made = _file(where, b"mode-%o" % mode)
        os.chown(made, 0, UID)
        os.chmod(made, mode)
    for name, mode in ((b"team", 0o2770), (b"shared", 0o1777), (b"read-only", 0o555), (b"closed", 0o000)):
        os.chmod(os.path.join(where, name), mode)
    os.setxattr(os.path.join(where, b"text"), "user.comment", b"a\0b\xff")
    os.setxattr(os.path.join(where, b"deep"), "user.empty", b"")
    os.setxattr(os.path.join(where, b"listed/file"), ACCESS, _list(user=6, mask=6))
    os.setxattr(os.path.join(where, b"listed"), ACCESS, _list(user=7, mask=7))
    os.setxattr(os.path.join(where, b"listed"), DEFAULT, _list(user=7, mask=5))


def _file(where: bytes, name: bytes, data: bytes = b"data\n") -> bytes:
    path = os.path.join(where, name)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o644)
    return path


def _list(*, user: int, mask: int) -> bytes:
    nobody = 0xFFFFFFFF
    rows = [(1, 6, nobody), (2, user, UID + 2), (4, 4, nobody), (8, 1, GID + 2), (16, mask, nobody), (32, 0, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


# --- looking ----------------------------------------------------------------------------------------------------------


def look_at(where: bytes) -> Tree:
    """Everything below *where*, and itself."""
    found = {}
    for directory, names, files in os.walk(where):
        for name in (b"", *names, *files):
            if name or directory == where:
                full = os.path.join(directory, name) if name else where
                found[os.path.relpath(full, where)] = _look(full)
    return found


def _look(path: bytes) -> Look:
    status = os.lstat(path)
    is_link, is_file = stat.S_ISLNK(status.st_mode), stat.S_ISREG(status.st_mode)
    names = [] if is_link else os.listxattr(path)
    digest = None
    if is_file:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Look(
        kind=stat.S_IFMT(status.st_mode),
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        mtime_ns=status.st_mtime_ns,
        digest=digest,
        target=os.readlink(path) if is_link else None,
        has_holes=is_file and status.st_blocks * 512 < status.st_size // 2,
        inode=status.st_ino,
        links=status.st_nlink if is_file else 1,
        xattrs=tuple((name, os.getxattr(path, name)) for name in sorted(names) if name.startswith("user.")),
        acl=os.getxattr(path, ACCESS) if ACCESS in names else None,
        default_acl=os.getxattr(path, DEFAULT) if DEFAULT in names else None,
    )


# --- comparing --------------------------------------------------------------------------------------------------------

Property = Callable[[Tree, bytes], Hashable]
"""What one path has of it; ``None`` if that is nothing. What is something must be the same afterwards."""


def _is(kind: int, value: Callable[[Look], Hashable]) -> Property:
    return lambda tree, path: value(tree[path]) if tree[path].kind == kind else None


def _not_link(value: Callable[[Look], Hashable]) -> Property:
    return lambda tree, path: None if tree[path].kind == stat.S_IFLNK else value(tree[path])


def _links(tree: Tree, path: bytes) -> Hashable:
    if tree[path].links < 2:
        return None
    return frozenset(name for name, look in tree.items() if look.inode == tree[path].inode)


def _is_empty(tree: Tree, path: bytes) -> Hashable:
    is_directory = tree[path].kind == stat.S_IFDIR
    return True if is_directory and not any(name.startswith(path + b"/") for name in tree) else None


PROPERTIES: dict[str, Property] = {
    "content": _is(stat.S_IFREG, lambda look: look.digest),
    "names of any bytes": lambda _, path: path if path.startswith(b"names/") else None,
    "empty directories": _is_empty,
    "permissions": _not_link(lambda look: (look.mode & 0o777,)),
    "read-only directories": lambda tree, path: (
        (tree[path].mode,) if b"read-only" in path or b"closed" in path else None
    ),
    "setuid, setgid, sticky": _not_link(lambda look: look.mode & 0o7000 or None),
    "owners and groups": lambda tree, path: tree[path].owner,
    "times of files, ns": _is(stat.S_IFREG, lambda look: look.mtime_ns),
    "times of directories, ns": _is(stat.S_IFDIR, lambda look: look.mtime_ns),
    "times of symbolic links, ns": _is(stat.S_IFLNK, lambda look: look.mtime_ns),
    "symbolic links": _is(stat.S_IFLNK, lambda look: look.target),
    "hard links": _links,
    "holes": lambda tree, path: tree[path].has_holes or None,
    "user attributes": lambda tree, path: tree[path].xattrs or None,
    "access lists": lambda tree, path: tree[path].acl,
    "default access lists": lambda tree, path: tree[path].default_acl,
}


def losses(before: Tree, after: Tree, value: Property) -> Iterator[bytes]:
    """The paths that haven't what they had."""
    for path in before:
        wanted = value(before, path)
        if wanted is not None and (path not in after or value(after, path) != wanted):
            yield path


# --- the tools --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Commands that tell a program's version, pack ``tree``, and restore it into ``out``, told to keep all they can."""

    program: str
    version: str
    pack: str
    restore: str


TAR_FLAGS = "--xattrs --xattrs-include='*' --acls --numeric-owner --same-owner -p --sparse"
BORG = 'BORG_BASE_DIR="$TOP" BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes borg'
RESTIC = 'RESTIC_PASSWORD=x restic -q --no-cache -r "$TOP/repository"'
OURS = f"{sys.executable} -m ocbundle"
TOOLS = {
    "tar": Tool(
        program="tar", version="tar --version", pack="tar -cf a.tar tree", restore="tar -C out --same-owner -pxf a.tar"
    ),
    "tar with flags": Tool(
        program="tar",
        version="tar --version",
        pack=f"tar {TAR_FLAGS} --format=posix -cf a.tar tree",
        restore=f"tar {TAR_FLAGS} -C out -xf a.tar",
    ),
    "borg": Tool(
        program="borg",
        version="borg --version",
        pack=f"{BORG} init -e none repository && {BORG} create --numeric-ids repository::a tree",
        restore=f'cd out && {BORG} extract --sparse --numeric-ids "$TOP/repository::a"',
    ),
    "restic": Tool(
        program="restic",
        version="restic version",
        pack=f"{RESTIC} init && {RESTIC} backup tree",
        # Older ones have no such option.
        restore=f"{RESTIC} restore latest --sparse --target out || {RESTIC} restore latest --target out",
    ),
    "7z": Tool(program="7z", version="7z | grep -m1 7-Zip", pack="7z a -snl -snh a.7z tree", restore="7z x -oout a.7z"),
    "zpaq": Tool(
        program="zpaq",
        version="zpaq | head -n 1",
        pack="zpaq add a.zpaq tree",
        restore="cd out && zpaq extract ../a.zpaq",
    ),
    "dar": Tool(
        program="dar",
        version="dar -V | grep -m1 version",
        pack="dar -Q -c a -R . -g tree",
        restore="dar -Q -x a -R out",
    ),
    "ocbundle": Tool(
        program=sys.executable,
        version=f"{OURS} --version",
        pack=f"{OURS} keygen -o key > key.pub && {OURS} pack -R key.pub -o a.ocbundle tree",
        restore=f"{OURS} unpack -i key --owner numeric --to out a.ocbundle",
    ),
}


def try_out(tool: Tool, top: Path, before: Tree) -> tuple[dict[str, list[bytes]], str]:
    """What is lost of each property when *tool* packs and restores ``top/tree``, and what it says meanwhile."""
    for name in os.listdir(top):
        if name != "tree":
            _remove(top / name)
    (top / "out").mkdir()
    said = ""
    for command in (tool.pack, tool.restore):
        environ = {**os.environ, "TOP": str(top), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=top, env=environ, capture_output=True, check=False, timeout=600
        )
        said += (done.stdout + done.stderr).decode(errors="backslashreplace")
    after = look_at(os.fsencode(top / "out" / "tree"))
    return {name: list(losses(before, after, value)) for name, value in PROPERTIES.items()}, said


def table(results: dict[str, dict[str, list[bytes]]]) -> str:
    """Markdown."""
    rows = [["kept", *results], ["---"] * (len(results) + 1)]
    rows += [[name, *("no" if lost[name] else "yes" for lost in results.values())] for name in PROPERTIES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _version(tool: Tool) -> str:
    done = subprocess.run(["bash", "-c", tool.version], capture_output=True, text=True, check=False)
    found = re.search(r"\S.*?\d[.\d]*\.\d+", done.stdout + done.stderr)
    return found.group() if found else tool.program


def _remove(path: Path) -> None:
    if path.is_dir():
        subprocess.run(["chmod", "-R", "u+rwx", path], check=True)
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--why", action="store_true", help="print where something was lost, and what the tool said")
    parser.add_argument("--where", metavar="DIR", help="work below this directory (default: the temporary one)")
    parser.add_argument("--tool", action="append", choices=TOOLS, help="only this one")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("fidelity.py: run it as root: only root can give files away")
    top = Path(tempfile.mkdtemp(dir=arguments.where))
    try:
        tree = os.fsencode(top / "tree")
        try:
            build(tree)
        except OSError as error:
            raise SystemExit(f"fidelity.py: the file system of {top} can't hold the tree: {error}") from error
        before = look_at(tree)
        for name, value in PROPERTIES.items():
            if all(value(before, path) is None for path in before):
                raise SystemExit(f"fidelity.py: the file system of {top} doesn't keep {name}")
        results = {}
        for name, tool in TOOLS.items():
            if shutil.which(tool.program) is None or name not in (arguments.tool or TOOLS):
                continue
            results[name], said = try_out(tool, top, before)
            if arguments.why:
                print(f"{name}: {_version(tool)}\n{said[-2000:]}")
                for kind, paths in results[name].items():
                    if paths:
                        print(f"  {kind}: {len(paths)} lost, such as {paths[:3]}")
        print(table(results))
        versions = dict.fromkeys(_version(TOOLS[name]) for name in results)
        print(f"\n{'; '.join(versions)}.")
    finally:
        _remove(top)


if __name__ == "__main__":
    main()
