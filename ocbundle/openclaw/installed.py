"""The OpenClaw that is installed on this machine, as its package says. Never runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle.openclaw import files

_MAX_PACKAGE_BYTES: Final = 4 << 20
_LEVELS: Final = 5
_RELEASE: Final = re.compile(r"\d+(?:\.\d+){1,3}(?:-[0-9A-Za-z.-]{1,40})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An installed release."""

    path: bytes
    """The package's directory."""
    version: str
    schemas: Mapping[str, int]
    """The newest schema that it reads: of the ``state`` database, and of an ``agent``'s. Older releases don't say."""
    plugins: frozenset[str]
    """What it brings along."""


def find(environ: Mapping[str, str], programs: Iterable[bytes] = ()) -> Installed | None:
    """The first OpenClaw on the search path, or behind one of *programs*; ``None`` if there is none to be told."""
    found = shutil.which("openclaw", path=environ.get("PATH", ""))
    for program in (*([os.fsencode(found)] if found else []), *programs):
        package = _package(os.path.realpath(program))
        if package is not None:
            return package
    return None


def ordered(version: str) -> tuple[int, ...]:
    """*version* as numbers to compare: ``2026.9.6-1`` is not older than ``2026.9.6``."""
    return tuple(int(number) for number in re.findall(r"\d{1,18}", version)[:4])


def release(version: str | None) -> str:
    """What to install for a state of *version*: that, where it can be nothing but a release.

    npm would take a URL too, and install whatever is there; and a bundle, or a state, may have been made by anybody.
    """
    return version if version and _RELEASE.fullmatch(version) else "latest"


def _package(path: bytes) -> Installed | None:
    for _ in range(_LEVELS):
        path = os.path.dirname(path)
        try:
            package = json.loads(files.read(os.path.join(path, b"package.json"), _MAX_PACKAGE_BYTES))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(package, dict) and package.get("name") == "openclaw":
            version = package.get("version")
            return Installed(
                path=path,
                version=version if isinstance(version, str) else "",
                schemas=_schemas(package.get("openclaw")),
                plugins=frozenset(map(os.fsdecode, files.directories(os.path.join(path, b"dist/extensions")))),
            )
    return None


def _schemas(said: object) -> Mapping[str, int]:
    versions = said.get("schemaVersions") if isinstance(said, dict) else None
    if not isinstance(versions, dict):
        return {}
    return {name: number for name, number in versions.items() if type(number) is int}
