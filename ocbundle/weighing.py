"""How much there is of what a bundle leaves out, for a dry run to tell. Only sizes are looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

from ocbundle.model import Reason, Skipped
from ocbundle.sources import Source

_MOST: Final = 100_000
"""Files that are looked at altogether: somebody waits for the answer."""
_ELSEWHERE: Final = frozenset({Reason.NESTED, Reason.DATABASE_PART, Reason.SELF})
"""What isn't left out because it isn't wanted, but because the bundle has it in another place, or is it."""


def weigh(sources: Iterable[Source], rows: Iterable[Skipped]) -> dict[Skipped, int]:
    """Logical bytes of the files and directories of *rows*, as far as they can be told in little time."""
    tops = {source.name: os.path.realpath(source.path) for source in sources}
    scale = _Scale()
    sizes = {}
    for row in rows:
        if row.reason in _ELSEWHERE or row.kind not in {"file", "directory"}:
            continue
        size = scale.weigh(os.path.join(tops[row.root], row.path) if row.path else tops[row.root])
        if size is not None:
            sizes[row] = size
    return sizes


class _Scale:
    def __init__(self) -> None:
        self._left = _MOST

    def weigh(self, path: bytes) -> int | None:
        """Bytes of *path* and all below it, without following a link; ``None`` if it can't be told."""
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        total = 0
        directories = [path]
        while directories:
            try:
                with os.scandir(directories.pop()) as children:
                    for child in children:
                        self._left -= 1
                        if self._left < 0:
                            return None
                        if child.is_dir(follow_symlinks=False):
                            directories.append(child.path)
                        elif child.is_file(follow_symlinks=False):
                            total += child.stat(follow_symlinks=False).st_size
            except OSError:
                continue
        return total
