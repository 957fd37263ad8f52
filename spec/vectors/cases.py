"""The table of vectors: what each is called, which rules it is about, how it ends, and the function that makes it.

A file is a header of ``key: value`` lines, an empty line, and the bytes of a bundle:

    expect      success, or the class of the error that ends a full verification (of level checksums, without a key)
    rule        the rule that is broken; for a success, the rules that it is an example of
    keyless     how a verification without a key ends
    identity    an age identity to open it with
    passphrase  a passphrase to open it with
    root-digest of a success, like what follows: what the manifest holds, in its order
    directory, file, symlink, hardlink, skipped
    comment     what is special about it

Names are percent-encoded (RFC 3986).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from spec.vectors import age
from spec.vectors.builder import KIND, PASSPHRASE, PATH, SHA256, TARGET, Draft

Make = Callable[[Draft], bytes | None]
MakeWith = Callable[[Draft, Any], bytes | None]
"""As :data:`Make`, with the value that one of several vectors is made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One vector. *make* changes a draft, and gives the bytes if they aren't just the draft's."""

    name: str
    comment: str
    rules: str
    expect: str
    keyless: str
    make: Make

    def encode(self) -> bytes:
        """The file."""
        draft = Draft(self.name)
        data = self.make(draft)
        if data is None:
            data = draft.build()
        lines = [f"expect: {self.expect}", f"rule: {self.rules}", f"keyless: {self.keyless}"]
        if draft.identity is not None:
            lines.append(f"identity: {age.identity(draft.identity)}")
        if draft.passphrase is not None:
            lines.append(f"passphrase: {draft.passphrase}")
        if self.expect == "success":
            lines.append(f"root-digest: {draft.root_digest.hex()}")
            lines += _content(draft)
        lines.append(f"comment: {self.comment}")
        return "\n".join(lines).encode("ascii") + b"\n\n" + data


CASES: dict[str, Case] = {}


def vector(rules: str, expect: str = "success", keyless: str = "success") -> Callable[[Make], Make]:
    """Enter a function as a vector: its name is the vector's, its docstring the comment."""

    def enter(make: Make) -> Make:
        _enter(make, make, make.__name__, make.__doc__, rules=rules, expect=expect, keyless=keyless)
        return make

    return enter


def vectors(
    rules: str, values: Mapping[str, Any], expect: str = "success", keyless: str = "success"
) -> Callable[[MakeWith], None]:
    """Enter a function as several vectors, one for each of the named values."""

    def enter(make: MakeWith) -> None:
        for name, value in values.items():
            words = name.replace("_", " ")
            comment = f"{(make.__doc__ or '').rstrip('.')}: {words}."

            _enter(
                _with(make, value),
                make,
                f"{make.__name__}_{name}",
                comment,
                rules=rules,
                expect=expect,
                keyless=keyless,
            )

    return enter


def _with(make: MakeWith, value: object) -> Make:
    return lambda draft: make(draft, value)


def _enter(
    make: Make, source: Make | MakeWith, name: str, comment: str | None, *, rules: str, expect: str, keyless: str
) -> None:
    full = f"{source.__module__.rpartition('.')[2]}-{name}".replace("_", "-")
    if full in CASES or not comment:
        raise ValueError(f"{full}: entered twice, or without a comment")
    CASES[full] = Case(
        name=full, comment=" ".join(comment.split()), rules=rules, expect=expect, keyless=keyless, make=make
    )


def framing(rules: str, expect: str) -> Callable[[Make], Make]:
    """As :func:`vector`, for a fault that shows without a key just the same."""
    return vector(rules, expect, expect)


def framings(rules: str, expect: str, values: Mapping[str, Any]) -> Callable[[MakeWith], None]:
    """As :func:`vectors`, for faults that show without a key just the same."""
    return vectors(rules, values, expect, expect)


def opened_by_passphrase(draft: Draft) -> None:
    """Let the vector's header give the passphrase, and no identity."""
    draft.identity, draft.passphrase = None, PASSPHRASE


def _content(draft: Draft) -> list[str]:
    names = [entry["name"].encode() for entry in draft.head["roots"]]

    def name(row: list[object]) -> str:
        path = row[PATH]
        assert isinstance(path, bytes)  # noqa: S101 - the vectors of successes hold sound rows
        return quote(names[int(str(row[0]))] + (b"/" + path if path else b""))

    lines = []
    for row in [row for batch in draft.batches for row in batch["entries"]]:
        match row[KIND]:
            case 0:
                lines.append(f"directory: {name(row)}")
            case 1:
                lines.append(f"file: {row[SHA256].hex()} {name(row)}")
            case kind:
                lines.append(f"{'symlink' if kind == 2 else 'hardlink'}: {name(row)} {quote(row[TARGET])}")
    skipped = [row for batch in draft.batches for row in batch["skipped"]]
    return [*lines, *(f"skipped: {row[3]} {name(row)}" for row in skipped)]
