"""Memory for sections on their way in and out: used again, or given back to the system at once.

Fresh pages take as long as hashing what goes into them; and what a thread has freed, malloc keeps for that thread.
It knows nothing of what lies in it. Threads may share it.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Final

from ocbundle import limits

Piece = bytearray | mmap.mmap
Take = Callable[[int], Piece]
"""Gives as many bytes of anything as it is asked for, or more."""
Give = Callable[[memoryview], None]
"""Takes back what nobody looks at any more, if it was taken there."""

_LONG: Final = 2 * limits.MIB
_FLAGS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE


def fresh(length: int) -> Piece:
    """*length* bytes. If they are many, they go back to the system with their last view.

    Raises:
        MemoryError: there aren't so many.
    """
    if length <= _LONG:
        return bytearray(length)
    try:
        return mmap.mmap(-1, length, flags=_FLAGS)
    except OSError as error:
        raise MemoryError from error


def drop(view: memoryview) -> None:
    """Nothing: what is fresh goes with its last view."""


class Memory:
    """Pieces of any length that are used again."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, length: int) -> bytearray:
        """At least *length* bytes of anything."""
        while True:
            try:
                piece = self._free.pop()
            except IndexError:
                return bytearray(length)
            if len(piece) >= length:  # segments grow in the course of a bundle
                return piece

    def give(self, view: bytes | memoryview) -> None:
        """Take back what nobody looks at any more, if it was taken from here."""
        if isinstance(view, memoryview) and isinstance(view.obj, bytearray):
            self._free.append(view.obj)


class SizedMemory:
    """Pieces of a few sizes that are used again, and fresh ones for all that is longer."""

    def __init__(self, *sizes: int) -> None:
        """Keep pieces of these *sizes*, in bytes and ascending."""
        self._free: dict[int, list[Piece]] = {size: [] for size in sizes}

    def take(self, length: int) -> Piece:
        """At least *length* bytes of anything."""
        for size, free in self._free.items():
            if length <= size:
                try:
                    return free.pop()
                except IndexError:
                    return fresh(size)
        return fresh(length)

    def give(self, view: memoryview) -> None:
        """Take back what nobody looks at any more, if it is kept here."""
        if isinstance(view.obj, Piece) and len(view.obj) in self._free:
            self._free[len(view.obj)].append(view.obj)

    def forget(self) -> None:
        """Keep nothing of what was taken back."""
        for free in self._free.values():
            free.clear()
