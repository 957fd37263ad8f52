"""The trees that go into a bundle, each once: which of them holds a path, and which is taken apart.

Compares paths without their symbolic links, for a tree reached by two names is one tree. Never writes, and never looks
into a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ocbundle.model import Role
from ocbundle.openclaw import files
from ocbundle.openclaw.states import Names
from ocbundle.paths import display, root_name
from ocbundle.sources import Leave, Rules, Source

_MAX_LINKS: Final = 40
"""As many symbolic links as Linux follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a root would be called and how it would be taken, should one be needed."""

    name: str
    role: Role
    profile: str
    make_rules: Callable[..., Rules]
    """Called with ``nested``, the paths that other roots hold, once all roots are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A source in the making."""

    path: bytes
    """Absolute, as it is named: links before it aren't followed, for the configuration will name the same path."""
    real: bytes
    wanted: Wanted

    @property
    def name(self) -> str:
        """Its name in the bundle."""
        return self.wanted.name

    def takes(self, path: bytes) -> bool:
        """Whether the rules of this root take *path* of it."""
        decide = self.wanted.make_rules()
        parents = [b"", *(path[:i] for i in range(len(path)) if path[i : i + 1] == b"/")]
        kind = "directory" if os.path.isdir(os.path.join(self.real, path)) else "file"
        verdicts = [*(decide(parent, "directory") for parent in parents), decide(path, kind)]
        return not any(isinstance(verdict, Leave) for verdict in verdicts)


@dataclass(slots=True, kw_only=True)
class Roots:
    """Gathers roots; of trees that are equal, or inside one another, the first is taken and then referred to."""

    home: bytes
    names: Names
    warnings: list[str]
    _roots: list[Root] = field(default_factory=list)

    def add(self, path: bytes, wanted: Wanted) -> Root:
        """A root of its own, whatever others hold."""
        root = Root(path=path, real=os.path.realpath(path), wanted=wanted)
        self._roots.append(root)
        return root

    def take(self, path: bytes, wanted: Wanted) -> tuple[str, bytes]:
        """Where *path* is in the bundle: a root's name, and the path in it. A new root, if none holds it yet."""
        place = self.place(path)
        if place is None:
            name = self.names.unique(root_name(wanted.name.encode()))
            renamed = Wanted(name=name, role=wanted.role, profile=wanted.profile, make_rules=wanted.make_rules)
            self.add(self._through_links(path), renamed)
            place = name, b""
        return place

    def take_named(self, path: bytes, wanted: Wanted, *, what: str) -> tuple[str, bytes] | None:
        """The same for what a configuration or a link names, which may not be there, or be far too much: a warning."""
        real = os.path.realpath(path)
        if not os.path.exists(path):
            self.warnings.append(f"{what} is {display(real)}, which isn't there")
            return None
        if files.inside(os.path.realpath(self.home), real) is not None:
            self.warnings.append(
                f"{what} is {display(real)}, which is or holds the home directory: not packed unless it is named"
            )
            return None
        return self.take(path, wanted)

    def holds(self, path: bytes) -> bool:
        """Whether *path* stands in a root, which takes it or lists it as left out."""
        real = os.path.realpath(path)
        return any(files.inside(real, root.real) is not None for root in self._roots)

    def place(self, path: bytes) -> tuple[str, bytes] | None:
        """The innermost root that holds *path* and takes it, with the path in it."""
        real = os.path.realpath(path)
        found: tuple[Root, bytes] | None = None
        for root in self._roots:
            inside = files.inside(real, root.real)
            if inside is not None and (found is None or len(root.real) > len(found[0].real)):
                found = root, inside
        if found is None or not found[0].takes(found[1]):
            return None
        return found[0].name, found[1]

    def sources(self) -> tuple[Source, ...]:
        """The roots, each with rules that leave to the others what is theirs."""
        return tuple(
            Source(
                path=root.path,
                name=root.name,
                role=root.wanted.role,
                profile=root.wanted.profile,
                rules=root.wanted.make_rules(nested=self._nested(root)),
            )
            for root in self._roots
        )

    def _nested(self, outer: Root) -> dict[bytes, str]:
        inside = ((files.inside(root.real, outer.real), root.name) for root in self._roots if root is not outer)
        return {path: name for path, name in inside if path}

    def _through_links(self, path: bytes) -> bytes:
        """*path*, with those symbolic links followed that a root holds: they are packed as links."""
        for _ in range(_MAX_LINKS):
            link = self._link_in_root(path)
            if link is None:
                return path
            target = os.path.join(os.path.dirname(link), os.readlink(link))
            path = files.absolute(target + path[len(link) :])
        return os.path.realpath(path)

    def _link_in_root(self, path: bytes) -> bytes | None:
        for root in self._roots:
            inside = files.inside(path, root.path)
            parts = inside.split(b"/") if inside else []
            for depth in range(1, len(parts) + 1):
                candidate = os.path.join(root.path, *parts[:depth])
                if os.path.islink(candidate):
                    return candidate
        return None
