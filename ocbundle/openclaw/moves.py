"""Where paths of the old machine are on the new one: whole prefixes, the longest first.

``/home/al`` is no prefix of ``/home/alice``: only whole components count. Everything that isn't absolute stays what it
is, ``~/notes`` too, for it already means the new home. Never writes; symbolic links are looked at only to tell where a
destination really is.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from ocbundle.errors import InvalidRequest
from ocbundle.model import Manifest
from ocbundle.openclaw import files
from ocbundle.paths import display

_FILE_URL: Final = re.compile(r"(file://(?:localhost)?)(/[^?#]*)(.*)", re.DOTALL)
_LONGEST: Final = 1 << 14
"""Characters of a string that may be a path: no system takes more than 4,096 bytes, and a URL may triple them."""
_NAME: Final = rb"[\w.~@+\x80-\xff-]"
"""What a name goes on with: a prefix that stands before or after it is another name's part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One prefix and what becomes of it; equal ones say that something stays while its surroundings move."""

    old: bytes
    new: bytes
    real: bytes
    """*new* without symbolic links, as programs name a directory that they have resolved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """All prefixes of one restore.

    Applying them twice changes nothing more, unless a new place is inside an old one.
    """

    moves: tuple[Move, ...] = ()
    """Longest first."""
    folded: bool = False
    """Compare composed and decomposed letters as equal: macOS does, and hands out either."""
    _by_old: Mapping[bytes, Move] = field(init=False, repr=False, compare=False)
    _depths: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """How many parts the prefixes have, the most first."""
    _pattern: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    """Finds every old prefix, the longest where several fit."""

    def __post_init__(self) -> None:
        """Make what every string is looked up in."""
        by_old: dict[bytes, Move] = {}
        for move in self.moves:
            by_old.setdefault(_fold(move.old) if self.folded else move.old, move)
        prefixes = b"|".join(re.escape(old) for old in by_old) or b"(?!)"
        object.__setattr__(self, "_by_old", by_old)
        object.__setattr__(self, "_depths", tuple(sorted({old.count(b"/") + 1 for old in by_old}, reverse=True)))
        object.__setattr__(self, "_pattern", re.compile(b"(?<!%b)(?:%b)(?!%b)" % (_NAME, prefixes, _NAME)))

    @classmethod
    def plan(
        cls,
        manifest: Manifest,
        destinations: Mapping[str, bytes],
        *,
        home: bytes | None = None,
        mapped: Iterable[tuple[bytes, bytes]] = (),
    ) -> Moves:
        """The moves of a restore.

        Args:
            manifest: says where everything was.
            destinations: where each root goes; roots that aren't restored are left out.
            home: the new home directory; ``None`` if it's the same.
            mapped: what the user adds, old and new; of two with the same old prefix the user's is taken.

        Raises:
            InvalidRequest: one of *mapped* isn't absolute, or would move everything.
        """
        pairs: dict[bytes, bytes] = {}
        if home is not None and manifest.source.home.startswith(b"/"):
            pairs[files.absolute(manifest.source.home)] = files.absolute(home)
        for root in manifest.roots:
            if root.name in destinations and root.source.startswith(b"/"):
                pairs[files.absolute(root.source)] = files.absolute(destinations[root.name])
        for old, new in mapped:
            pairs[_checked(old)] = _checked(new)
        pairs.pop(b"/", None)
        return cls(
            moves=tuple(
                Move(old=old, new=new, real=files.real(new))
                for old, new in sorted(pairs.items(), key=lambda pair: (-len(pair[0]), pair[0]))
            ),
            folded=sys.platform == "darwin" or manifest.source.os.lower().startswith("darwin"),
        )

    def path(self, path: bytes) -> bytes:
        """What the absolute *path* is called now; *path* itself if nothing moves it."""
        found = self._find(path)
        return path if found is None else _joined(found[0].new, found[1], path)

    def real(self, path: bytes) -> bytes:
        """The same for a path that was stored without its symbolic links."""
        found = self._find(path)
        return path if found is None else _joined(found[0].real, found[1], path)

    def link_target(self, target: bytes) -> bytes:
        """What a symbolic link with this target must point to now: the same, unless it's absolute and has moved."""
        return self.path(target)

    def text(self, value: str) -> str:
        """The same for a string that is a path or a ``file:`` URL; any other string stays as it is.

        A string that goes on to name a moved place again is a command or a list, not a path.
        """
        if len(value) > _LONGEST:
            return value
        url = _FILE_URL.fullmatch(value)
        if url is not None:
            old = unquote_to_bytes(url[2])
            new = self.path(old)
            return value if new == old else url[1] + quote(new, safe="/:@!$&'()*+,;=~") + url[3]
        if not value.startswith("/") or "\n" in value:
            return value
        try:
            old = value.encode()
            new = self.path(old)
            return value if new == old or self.mentions(value[1:]) else new.decode()
        except UnicodeError:  # half a character, or a new place that no text can name
            return value

    def mentions(self, value: str) -> bool:
        """Whether *value* holds, anywhere, a path that has moved."""
        encoded = value.encode("utf-8", "replace")
        found = self._pattern.finditer(_fold(encoded) if self.folded else encoded)
        return any(self._by_old[each[0]].old != self._by_old[each[0]].new for each in found)

    def knows(self, path: bytes) -> bool:
        """Whether one of the prefixes speaks of *path*."""
        return self._find(path) is not None

    def changed(self) -> tuple[Move, ...]:
        """Those that change anything."""
        return tuple(move for move in self.moves if move.old != move.new or move.old != move.real)

    def _find(self, path: bytes) -> tuple[Move, bytes] | None:
        if not path.startswith(b"/") or b".." in path.split(b"/"):
            return None  # where a ".." leads, only the old machine knows
        parts = path.split(b"/")
        for depth in self._depths:
            prefix = b"/".join(parts[:depth])
            move = self._by_old.get(_fold(prefix) if self.folded else prefix)
            if move is not None:
                return move, b"/".join(parts[depth:])
        return None


def _joined(new: bytes, inside: bytes, path: bytes) -> bytes:
    if inside or path.endswith(b"/"):
        return new.rstrip(b"/") + b"/" + inside
    return new


def _checked(path: bytes) -> bytes:
    if not path.startswith(b"/") or b"\0" in path or files.absolute(path) == b"/":
        raise InvalidRequest(
            "a mapping is from one absolute path to another, and not of the root directory", path=display(path)
        )
    return files.absolute(path)


def _fold(path: bytes) -> bytes:
    try:
        return unicodedata.normalize("NFC", path.decode()).encode()
    except UnicodeDecodeError:
        return path
