"""Encrypted, verifiable, single-file backups of OpenClaw gateways, and of any other directory.

>>> import os, pathlib, tempfile
>>> import ocbundle
>>> from datetime import UTC, datetime
>>> where = pathlib.Path(tempfile.mkdtemp())
>>> _ = (where / "state").mkdir(), (where / "state" / "openclaw.json").write_text("{}")
>>> text, recipient = ocbundle.generate_identity(now=datetime.now(UTC))
>>> _ = (where / "key.txt").write_text(text)
>>> packed = ocbundle.pack(where / "b.ocbundle", [where / "state"], recipients=[recipient])
>>> ocbundle.verify(where / "b.ocbundle", identities=[where / "key.txt"]).level
<Level.FULL: 'full'>
>>> with ocbundle.Bundle.open(where / "b.ocbundle", identities=[where / "key.txt"]) as bundle:
...     bundle.read("state", "openclaw.json")
b'{}'
>>> ocbundle.unpack(where / "b.ocbundle", where / "out", identities=[where / "key.txt"]).entries
2

Every verb returns a frozen report and raises a subclass of :class:`ocbundle.errors.BundleError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ocbundle import errors
from ocbundle._version import __version__
from ocbundle.errors import BundleError

if TYPE_CHECKING:
    from ocbundle.bundle import Bundle, BundleInfo
    from ocbundle.keyholders import (
        Identity,
        Recipient,
        generate_identity,
        parse_recipient,
        read_identities,
        read_recipients,
    )
    from ocbundle.model import (
        Capture,
        Entry,
        Extent,
        Host,
        Kind,
        Level,
        Manifest,
        Profile,
        Progress,
        Reason,
        Role,
        Root,
        Skipped,
        Totals,
        Workspace,
    )
    from ocbundle.outcomes import (
        Casualty,
        Change,
        Condition,
        Found,
        PackReport,
        RecoverReport,
        SalvageReport,
        SetAside,
        UnpackReport,
    )
    from ocbundle.packing import pack
    from ocbundle.salvaging import salvage
    from ocbundle.sources import Leave, Sensitivity, Source
    from ocbundle.unpacking import recover, unpack
    from ocbundle.verifying import VerifyReport, verify

__all__ = [
    "Bundle",
    "BundleError",
    "BundleInfo",
    "Capture",
    "Casualty",
    "Change",
    "Condition",
    "Entry",
    "Extent",
    "Found",
    "Host",
    "Identity",
    "Kind",
    "Leave",
    "Level",
    "Manifest",
    "PackReport",
    "Profile",
    "Progress",
    "Reason",
    "Recipient",
    "RecoverReport",
    "Role",
    "Root",
    "SalvageReport",
    "Sensitivity",
    "SetAside",
    "Skipped",
    "Source",
    "Totals",
    "UnpackReport",
    "VerifyReport",
    "Workspace",
    "__version__",
    "errors",
    "generate_identity",
    "pack",
    "parse_recipient",
    "read_identities",
    "read_recipients",
    "recover",
    "salvage",
    "unpack",
    "verify",
]

# A name is imported when it is first asked for (PEP 562): who only reads a bundle doesn't wait for what packs one.
# The imports above tell the same to type checkers and editors.
_HOMES: Final = {
    "bundle": ("Bundle", "BundleInfo"),
    "model": (
        "Capture",
        "Entry",
        "Extent",
        "Host",
        "Kind",
        "Level",
        "Manifest",
        "Profile",
        "Progress",
        "Reason",
        "Role",
        "Root",
        "Skipped",
        "Totals",
        "Workspace",
    ),
    "outcomes": (
        "Casualty",
        "Change",
        "Condition",
        "Found",
        "PackReport",
        "RecoverReport",
        "SalvageReport",
        "SetAside",
        "UnpackReport",
    ),
    "packing": ("pack",),
    "salvaging": ("salvage",),
    "keyholders": (
        "Identity",
        "Recipient",
        "generate_identity",
        "parse_recipient",
        "read_identities",
        "read_recipients",
    ),
    "sources": ("Leave", "Sensitivity", "Source"),
    "unpacking": ("recover", "unpack"),
    "verifying": ("VerifyReport", "verify"),
}


if not TYPE_CHECKING:  # or any name would pass for one that is there

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(f"ocbundle.{home}"), name)
                return value
        raise AttributeError(f"module 'ocbundle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
