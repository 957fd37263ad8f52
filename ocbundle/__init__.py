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

from ocbundle import errors
from ocbundle._version import __version__
from ocbundle.bundle import Bundle, BundleInfo, verify
from ocbundle.errors import BundleError
from ocbundle.model import (
    Capture,
    Change,
    Entry,
    Extent,
    Host,
    Kind,
    Leave,
    Level,
    Manifest,
    PackReport,
    Profile,
    Progress,
    Reason,
    RecoverReport,
    Role,
    Root,
    Sensitivity,
    SetAside,
    Skipped,
    Source,
    Totals,
    UnpackReport,
    VerifyReport,
    Workspace,
)
from ocbundle.packing import pack
from ocbundle.sealing import (
    Identity,
    Recipient,
    generate_identity,
    parse_recipient,
    read_identities,
    read_recipients,
)
from ocbundle.unpacking import recover, unpack

__all__ = [
    "Bundle",
    "BundleError",
    "BundleInfo",
    "Capture",
    "Change",
    "Entry",
    "Extent",
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
    "unpack",
    "verify",
]
