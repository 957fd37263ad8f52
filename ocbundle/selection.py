"""What the caller wants packed, as sources with names: unique names, and patterns to leave out.

Pure but for resolving a path against the working directory.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence

from ocbundle import paths
from ocbundle.errors import InvalidRequest
from ocbundle.model import Reason
from ocbundle.sources import Leave, Rules, Sensitivity, Source, Verdict

SourceLike = Source | str | bytes | os.PathLike[str]


def resolve(sources: Iterable[SourceLike], exclude: Sequence[str] = ()) -> tuple[Source, ...]:
    """Sources with absolute paths and unique names; *exclude* are gitignore patterns, matched inside each root.

    Raises:
        InvalidRequest: there is no source, a source is named by hand twice, or a pattern doesn't parse.
    """
    taken: set[str] = set()
    resolved = []
    for item in sources:
        source = item if isinstance(item, Source) else _from_path(item)
        name = source.name
        number = 2
        while name in taken:
            name = f"{source.name}~{number}"
            number += 1
        taken.add(name)
        resolved.append(dataclasses.replace(source, name=name))
    if not resolved:
        raise InvalidRequest("there is nothing to pack")
    return tuple(_excluding(resolved, exclude) if exclude else resolved)


def _from_path(item: str | bytes | os.PathLike[str]) -> Source:
    if not os.fspath(item):
        raise InvalidRequest("an empty path was given as a source")  # abspath would make it the working directory
    path = os.path.abspath(os.fsencode(item))
    return Source(path=path, name=paths.root_name(os.path.basename(path)))


def _excluding(sources: Iterable[Source], exclude: Sequence[str]) -> list[Source]:
    import pathspec  # noqa: PLC0415 - only whoever excludes something waits for it

    try:
        spec = pathspec.GitIgnoreSpec.from_lines(exclude)
    except ValueError as error:
        raise InvalidRequest(f"not a gitignore pattern: {paths.display(str(error))}") from error

    def excluded(path: bytes, kind: str) -> bool:
        text = path.decode("utf-8", "surrogateescape")
        return bool(path) and spec.match_file(f"{text}/" if kind == "directory" else text)

    def rules(inner: Rules | None) -> Rules:
        def verdict(path: bytes, kind: str) -> Verdict:
            if excluded(path, kind):
                return Leave(Reason.EXCLUDED)
            return inner(path, kind) if inner else Sensitivity.CONTENT

        return verdict

    return [dataclasses.replace(source, rules=rules(source.rules)) for source in sources]
