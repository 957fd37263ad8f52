"""The verb ``verify``: wiring, and no logic of its own; and what it tells.

It never prints, prompts or reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ocbundle import limits
from ocbundle.bundle import Bundle, IdentityLike, Readable
from ocbundle.errors import InvalidRequest, UnexpectedContent
from ocbundle.model import Level, Manifest, ProgressCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What ``verify`` found sound; it raises otherwise."""

    level: Level
    digest: str
    bundle_id: str
    size: int
    sections: int
    manifest: Manifest | None
    """``None`` without a key."""


def verify(
    source: Readable,
    *,
    identities: Iterable[IdentityLike] = (),
    passphrase: str | None = None,
    expect: str | None = None,
    max_work_factor: int = limits.SCRYPT_READ_WORK_FACTOR,
    spool: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> VerifyReport:
    """Verify a bundle (section 11 of the specification).

    Without a key: no accidental damage since it was written, and nothing about who wrote it. With *expect*, the digest
    that :func:`pack` reported: the content is the one packed then. With a key: every byte of every file, and the
    framing, is what the holder of the bundle key packed.

    Raises:
        DamagedBundle: it isn't; the subclass and its data tell what and where.
        UnexpectedContent: it is sound, but not the bundle that *expect* names.
        UnsupportedVersion, KeyFailure, OSError: as :meth:`Bundle.open`.
    """
    wanted = None if expect is None else _digest(expect)
    with Bundle.open(
        source, identities=identities, passphrase=passphrase, max_work_factor=max_work_factor, spool=spool
    ) as bundle:
        info = bundle.info
        if wanted not in {None, info.digest}:
            raise UnexpectedContent(
                f"the bundle's digest is {info.digest}, another than the one expected",
                rule="R-11.2",
                hint="it is another bundle, perhaps an older or a forged one",
            )
        level = bundle.check(progress)
        if level is Level.CHECKSUMS and wanted is not None:
            level = Level.EXPECTED
        return VerifyReport(
            level=level,
            digest=info.digest,
            bundle_id=info.bundle_id,
            size=info.size,
            sections=len(info.sections),
            manifest=bundle.manifest if level is Level.FULL else None,
        )


def _digest(text: str) -> str:
    digest = text.strip().lower()
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise InvalidRequest("a digest is 64 hexadecimal digits, as pack prints them")
    return digest
