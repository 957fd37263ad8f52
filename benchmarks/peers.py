"""The tools that are measured, and the command of each for each operation.

Every command finds what it needs in variables: ``DATA`` is the directory to pack, ``NAME`` and ``PARENT`` its name and
its place, ``ONE`` a file below it, ``ENTRY`` that file's name in a bundle; ``OWN`` is a directory of the tool's own,
``A`` its archive therein, ``OUT`` an empty directory to unpack into; ``KEY`` and ``RECIPIENT`` are age's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from measuring import BenchmarkError, environment

OPERATIONS: Final = ("pack", "verify", "verify without a key", "list", "unpack", "one file")
_SUMS: Final = 'find "$A" -type f -exec sha256sum {} +'
"""What takes the place of verifying without a key where a tool can't: the sum that its user could have noted down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program, or a pipeline of some."""

    name: str
    programs: tuple[str, ...]
    version: str
    """A command that prints it."""
    archive: str
    """A file or a directory, below the tool's own directory."""
    prepare: str = "true"
    """What is done before packing, in an empty directory, and not measured."""
    commands: Mapping[str, str]

    @property
    def is_installed(self) -> bool:
        """Whether all of its programs are."""
        return all(map(shutil.which, self.programs))

    def tell_version(self) -> str:
        """What the tool says of itself, in one line."""
        done = subprocess.run(["bash", "-c", self.version], env=environment({}), capture_output=True, check=False)
        return (
            ", ".join(done.stdout.decode(errors="replace").split("\n"))
            .replace("*** ", "")
            .replace(" ***", "")
            .strip(", ")
        )


_OPENED: Final = 'age -d -i "$KEY" "$A" | zstd -dq'
_BORG: Final = 'BORG_BASE_DIR="$OWN/home" BORG_PASSPHRASE=benchmark borg'
_RESTIC: Final = 'RESTIC_PASSWORD=benchmark restic -q --no-cache -r "$A"'

REFERENCE: Final = Tool(
    name="tar|zstd|age",
    programs=("tar", "zstd", "age", "age-keygen"),
    version="tar --version | head -n 1; zstd --version; echo age $(age --version)",
    archive="a.tar.zst.age",
    commands={
        "pack": 'tar -C "$PARENT" -cf - "$NAME" | zstd -3 -T0 -q | age -r "$RECIPIENT" > "$A"',
        "verify": 'age -d -i "$KEY" "$A" | zstd -tq',
        "verify without a key": _SUMS,
        "list": f"{_OPENED} | tar -tf -",
        "unpack": f'{_OPENED} | tar -C "$OUT" -xf -',
        "one file": f'{_OPENED} | tar -xOf - "$NAME/$ONE"',
    },
)
BORG: Final = Tool(
    name="borg",
    programs=("borg",),
    version="borg --version",
    archive="repository",
    prepare=f'{_BORG} init -e repokey "$A"',
    commands={
        "pack": f'cd "$PARENT" && {_BORG} create -C zstd,3 "$A::a" "$NAME"',
        "verify": f'{_BORG} extract --dry-run "$A::a"',
        "verify without a key": _SUMS,
        "list": f'{_BORG} list "$A::a"',
        "unpack": f'cd "$OUT" && {_BORG} extract "$A::a"',
        "one file": f'{_BORG} extract --stdout "$A::a" "$NAME/$ONE"',
    },
)
RESTIC: Final = Tool(
    name="restic",
    programs=("restic",),
    version="restic version",
    archive="repository",
    prepare=f"{_RESTIC} init",
    commands={
        "pack": f'cd "$PARENT" && {_RESTIC} backup "$NAME"',
        "verify": f"{_RESTIC} check --read-data",
        "verify without a key": _SUMS,
        "list": f"{_RESTIC} ls latest",
        "unpack": f'{_RESTIC} restore latest --target "$OUT"',
        "one file": f'{_RESTIC} dump latest "/$NAME/$ONE"',
    },
)
SEVEN_ZIP: Final = Tool(
    name="7z",
    programs=("7z",),
    version="7z | grep -m1 7-Zip",
    archive="a.7z",
    commands={
        "pack": 'cd "$PARENT" && 7z a -mx1 -mhe=on -pbenchmark "$A" "$NAME"',
        "verify": '7z t -pbenchmark "$A"',
        "verify without a key": _SUMS,
        "list": '7z l -pbenchmark "$A"',
        "unpack": '7z x -pbenchmark -o"$OUT" "$A"',
        "one file": '7z e -so -pbenchmark "$A" "$NAME/$ONE"',
    },
)
PEERS: Final = (REFERENCE, BORG, RESTIC, SEVEN_ZIP)


def ocbundle_program() -> str:
    """How a user starts it: the script beside the interpreter that this runs in.

    Raises:
        BenchmarkError: there is none.
    """
    script = Path(sys.executable).with_name("ocbundle")
    if not script.exists():
        raise BenchmarkError(f"{script} doesn't exist: install ocbundle where {sys.executable} finds it")
    return str(script)


def ocbundle(*, discovers: bool) -> Tool:
    """The tool that all this is for. With *discovers* it finds OpenClaw in the home ``DATA`` by itself."""
    program = ocbundle_program()
    seal = f'{program} pack -q -r "$RECIPIENT" -o "$A"'
    return Tool(
        name="ocbundle",
        programs=(program,),
        version=f"{program} --version; {sys.executable} --version",
        archive="a.ocbundle",
        commands={
            "pack": f'HOME="$DATA" {seal}' if discovers else f'{seal} "$DATA"',
            "verify": f'{program} verify -q -i "$KEY" "$A"',
            "verify without a key": f'{program} verify -q "$A"',
            "list": f'{program} list -i "$KEY" "$A"',
            "unpack": f'{program} unpack -q -i "$KEY" --to "$OUT" "$A"',
            "one file": f'{program} cat -i "$KEY" "$A" "$ENTRY"',
        },
    )


def choose(names: Iterable[str]) -> tuple[Tool, ...]:
    """The peers of these names.

    Raises:
        BenchmarkError: there is none of such a name.
    """
    by_name = {tool.name: tool for tool in PEERS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise BenchmarkError(f"no such peer: {', '.join(unknown)}; there are {', '.join(by_name)}")
    return tuple(by_name[name] for name in names)
