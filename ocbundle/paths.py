"""The rules for a path inside a bundle, and how a path is shown (sections 9.5 and 10 of the specification).

Paths are bytes, as the kernel has them. Nothing here touches a file system.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from ocbundle import limits
from ocbundle.errors import LimitExceeded, Malformed

_PLAIN: Final = re.compile(rb"(?:[^/.\0][^/\0]*(?:/[^/.\0][^/\0]*)*)?")
"""Most paths, short ones without hidden components: none of the finer checks has anything to find in them."""


def check(path: bytes) -> None:
    """Refuse a path that could mean something else than an entry below its root.

    Raises:
        Malformed: a component is empty, ``.``, ``..`` or holds NUL (R-9.7).
            With that, the format can't express an absolute path or a way out.
        LimitExceeded: the path, a component or the depth passes its limit.
    """
    if len(path) <= limits.MAX_COMPONENT and _PLAIN.fullmatch(path):
        return
    if len(path) > limits.MAX_PATH:
        raise LimitExceeded(f"a path of {len(path)} bytes", path=display(path[:64]), rule="R-9.7")
    components = path.split(b"/")
    if len(components) > limits.MAX_PATH_DEPTH:
        raise LimitExceeded(f"a path of {len(components)} components", path=display(path[:64]), rule="R-9.7")
    if b"\0" in path:
        raise Malformed("a path holds NUL", path=display(path), rule="R-9.7")
    for component in components:
        if component in {b"", b".", b".."}:
            raise Malformed("a path has an empty component, '.' or '..'", path=display(path), rule="R-9.7")
        if len(component) > limits.MAX_COMPONENT:
            raise LimitExceeded(f"a path component of {len(component)} bytes", path=display(path[:64]), rule="R-9.7")


def are_plain(paths: Sequence[bytes]) -> bool:
    """Whether :func:`check` has nothing against any of *paths*; of long ones, and of a root's own, it must be asked."""
    text = b"/%b/" % b"/\0/".join(paths)
    return (
        text.count(b"\0") == len(paths) - 1
        and not any(component in text for component in (b"//", b"/./", b"/../"))
        and max(map(len, paths)) <= limits.MAX_COMPONENT
    )


def sort_key(path: bytes) -> bytes:
    """The key by which entries ascend: the order of a walk that takes names in byte order (R-9.6)."""
    return path.replace(b"/", b"\0")


def parent(path: bytes) -> bytes:
    """The path of the directory that holds *path*; of a top-level name, the root itself, ``b""``."""
    return path.rpartition(b"/")[0]


def check_root_name(name: str) -> None:
    """Refuse a root name that isn't one harmless path component (R-9.4).

    Raises:
        Malformed: it is empty, too long, ``.`` or ``..``, or holds a slash or a control character.
    """
    encoded = name.encode("utf-8", "surrogatepass")
    if (
        not name
        or name in {".", ".."}
        or len(encoded) > limits.MAX_ROOT_NAME
        or "/" in name
        or any(unicodedata.category(c) in {"Cc", "Cs"} for c in name)
    ):
        raise Malformed("a root's name isn't one plain path component", path=display(encoded[:64]), rule="R-9.4")


def root_name(basename: bytes) -> str:
    """A valid root name made from a directory's own name: what can't stand in one becomes ``_``."""
    text = basename.decode("utf-8", "replace")
    name = "".join("_" if c in "/\ufffd" or unicodedata.category(c) == "Cc" else c for c in text)
    while len(name.encode()) > limits.MAX_ROOT_NAME - 8:  # leaves room for a "~2"
        name = name[:-1]
    return name if name not in {"", ".", ".."} else "root"


def display(text: bytes | str) -> str:
    """*text* for a person's eyes: one line, every control, bidi and undecodable byte escaped.

    A file name may hold an escape sequence that rewrites a terminal (CWE-150), or a newline that fakes a line of a log.
    """
    decoded = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    if decoded.isprintable() and "\\" not in decoded:
        return decoded
    return "".join(_escape(c) for c in decoded)


def one_line(text: str) -> str:
    """*text* with its control characters escaped: what a name smuggles into a message can't move the cursor.

    Backslashes stay as they are: a name in *text* is escaped already.
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\\" else _escape(c) for c in text)


@functools.lru_cache(maxsize=256)
def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that isn't UTF-8, as surrogateescape carries it
        return f"\\x{code - 0xDC00:02x}"
    if character == "\\":
        return "\\\\"
    # Cc control, Cf format (bidi, zero width), Cs surrogates, Zl and Zp line breaks, Cn and Co: no glyph.
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}:
        short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
        if short is not None:
            return short
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character
