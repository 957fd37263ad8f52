"""What the verbs that write something tell when they are done: for a caller to look into, for the program to show.

Nothing here is printed, and nothing here decides an exit code.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ocbundle import paths
from ocbundle.model import Manifest, Profile, Root, Skipped, Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What ``pack`` did."""

    path: str | None
    """Where the bundle is; ``None`` when it went to a stream, or nowhere (a dry run)."""
    digest: str
    """The root digest, 64 hexadecimal digits; empty for a dry run."""
    bundle_id: str
    size: int
    """Length of the bundle in bytes."""
    totals: Totals
    roots: tuple[Root, ...]
    profiles: tuple[Profile, ...]
    skipped: tuple[Skipped, ...]
    """At most the first :data:`ocbundle.model.REPORT_ROWS`; ``skipped_counts`` counts all."""
    skipped_counts: Mapping[str, int]
    changed: tuple[str, ...]
    """Files that changed each time they were read, as ``root/path``."""
    losses: int
    """How much is missing or torn: unreadable, vanished, beyond a limit, changed."""
    warnings: tuple[str, ...]
    recipients: tuple[str, ...]
    """Kinds of the recipients, such as ``X25519`` or ``passphrase``."""
    dry_run: bool = False
    root_totals: Mapping[str, Totals] = field(default_factory=dict)
    """What each root holds, by name."""
    skipped_sizes: Mapping[Skipped, int] = field(default_factory=dict)
    """Logical bytes of what would be left out, as far as only a dry run measures them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a relocation changed in one place: ``root/path``, for a database with ``:table.column``."""

    where: str
    count: int
    """How many strings, lines or rows."""
    cleared: bool = False
    """They were removed, not rewritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """What stood where a root is now: kept, in plain text."""

    path: str
    size: int
    """Bytes of its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackReport:
    """What ``unpack`` did."""

    path: str | None
    """The directory given with *to*; ``None`` when everything went to its own place."""
    digest: str
    bundle_id: str
    created: int
    roots: tuple[str, ...]
    """Where each restored root now is."""
    entries: int
    size: int
    warnings: tuple[str, ...]
    dry_run: bool = False
    set_aside: tuple[SetAside, ...] = ()
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    """Old paths that were left as they are, on purpose."""
    next_steps: tuple[str, ...] = ()
    """What to do now, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverReport:
    """What ``recover`` did about unpacks that were killed."""

    undone: bool
    """Whether everything is as it was before them, and not as they meant it to be."""
    roots: tuple[str, ...]
    """The places that they were about; none if there was nothing to do."""
    warnings: tuple[str, ...]


class Condition(enum.StrEnum):
    """What became of a file in a damaged bundle."""

    WHOLE = "whole"
    UNCONFIRMED = "not confirmed"
    """Every byte is authentic, but the digest of the whole is lost."""
    DAMAGED = "damaged"
    """A part of it is lost, or it isn't what its digest says."""
    LOST = "lost"
    """Only its name is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Casualty:
    """A file or link that isn't whole, or isn't confirmed to be."""

    root: str
    path: bytes
    condition: Condition
    size: int
    note: str
    """What is the matter with it."""

    @property
    def name(self) -> str:
        """``root/path``, escaped for display."""
        return paths.display(f"{self.root}/".encode() + self.path) if self.path else paths.display(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How many sections of a kind are whole."""

    whole: int
    total: int
    """How many there were; if the head of the manifest is lost, at least so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SalvageReport:
    """What ``salvage`` got out of a damaged bundle."""

    path: str
    """The directory that it was laid out in."""
    bundle_id: str
    manifest: Manifest | None
    """The head; ``None`` if it is lost, and then nobody can tell how much there was."""
    roots: tuple[str, ...]
    """Where each root now is, with those of damaged files and the list."""
    entries: int
    """How many are laid out."""
    size: int
    conditions: Mapping[Condition, int]
    """How many files and links are in which condition."""
    casualties: tuple[Casualty, ...]
    """At most the first :data:`ocbundle.model.REPORT_ROWS`; the file *list_path* names all of them."""
    list_path: str | None
    """``None`` if everything is whole, or nothing was written."""
    journaled: int
    """Entries that only a journal told of."""
    remade: int
    """Directories whose entries are lost: made anew, closed to others."""
    unnamed: int | None
    """Entries of which not even the name is left; ``None`` if nobody can tell."""
    segments: Found
    batches: Found
    framing: str | None
    """Why the framing isn't authentic, so that parts may have been dropped; ``None`` if it is (R-5.10)."""
    warnings: tuple[str, ...]
    dry_run: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every entry that the bundle was made of is whole, and confirmed to be."""
        return self.unnamed == 0 and not self.remade and not set(self.conditions) - {Condition.WHOLE}
