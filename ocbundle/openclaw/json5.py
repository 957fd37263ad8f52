"""Where the strings of a JSON5 document stand, so that one can be changed and every other byte kept.

A lexer, not a judge: what it makes of a document that isn't JSON5 is undefined, though it always ends. Whoever edits by
its spans parses the result with a real parser and compares. Pure; the grammar is that of json5.org, version 1.0.0.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

Keys = tuple[str | int, ...]
"""The way to a value: keys of objects and indices of arrays, outermost first."""

_TOKEN: Final = re.compile(
    r"""
    (?P<space> [\s\ufeff]+ | //[^\n\r\u2028\u2029]* | /\*.*?\*/ )
    | (?P<string> "[^"\\]*+(?:\\.[^"\\]*+)*+" | '[^'\\]*+(?:\\.[^'\\]*+)*+' )
    | (?P<mark> [{}\[\],:] )
    | (?P<word> [^\s\ufeff{}\[\],:"'/]+ )
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"""\\(?:
        u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})
        | u([0-9a-fA-F]{4}) | x([0-9a-fA-F]{2})
        | (\r\n|.)
    )""",
    re.DOTALL | re.VERBOSE,
)
_NAMED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_LINE_ENDS: Final = frozenset({"\r\n", "\n", "\r", "\u2028", "\u2029"})


class NotJson5(ValueError):
    """The text isn't JSON5."""


@dataclass(frozen=True, slots=True)
class String:
    """One string of a document, and where it stands in the text, quotes included."""

    start: int
    end: int
    value: str
    keys: Keys
    """Of a key: the way to its value."""
    is_key: bool


class _Frame:
    """An object or array that is still open."""

    __slots__ = ("awaits_key", "is_object", "key")

    def __init__(self, *, is_object: bool) -> None:
        self.is_object = is_object
        self.awaits_key = is_object
        self.key: str | int = "" if is_object else 0


def strings(text: str) -> Iterator[String]:
    """All strings of the document *text*, in order; keys that aren't quoted are no strings.

    Raises:
        NotJson5: there is something that no token of JSON5 begins with, or a bracket without its partner.
    """
    frames: list[_Frame] = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise NotJson5(f"nothing of JSON5 begins at character {position}")
        position = token.end()
        kind = token.lastgroup
        if kind == "mark":
            _enter(frames, token[0])
        elif kind == "word" and frames and frames[-1].awaits_key:
            frames[-1].key = unescape(token[0])
        elif kind == "string":
            value = unescape(token[0][1:-1])
            is_key = bool(frames) and frames[-1].awaits_key
            if is_key:
                frames[-1].key = value
            yield String(token.start(), position, value, tuple(frame.key for frame in frames), is_key)


def _enter(frames: list[_Frame], mark: str) -> None:
    if mark in "{[":
        frames.append(_Frame(is_object=mark == "{"))
        return
    if not frames:
        raise NotJson5(f"{mark!r} outside of any object or array")
    top = frames[-1]
    if mark in "}]":
        frames.pop()
    elif mark == ":":
        top.awaits_key = False
    elif top.is_object:
        top.awaits_key = True
    else:
        top.key = int(top.key) + 1


def unescape(inner: str) -> str:
    """The value of a string or a name whose text, without quotes, is *inner*."""
    if "\\" not in inner:
        return inner
    # Not by re.sub(), which keeps an object for every escape until the end.
    value, position = io.StringIO(), 0
    for escape in _ESCAPE.finditer(inner):
        value.write(inner[position : escape.start()] + _meaning(escape))
        position = escape.end()
    return value.getvalue() + inner[position:]


def _meaning(escape: re.Match[str]) -> str:
    high, low, single, short, other = escape.groups()
    if high is not None:  # two halves of one character
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00))
    if single is not None or short is not None:
        return chr(int(single or short, 16))
    return "" if other in _LINE_ENDS else _NAMED.get(other, other)


def quoted(value: str, mark: str) -> str:
    """*value* as a string literal between two of *mark*, ``"`` or ``'``; between ``"`` it's plain JSON as well."""
    return mark + "".join(_literal(character, mark) for character in value) + mark


def _literal(character: str, mark: str) -> str:
    if character in {mark, "\\"}:
        return "\\" + character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x20 or code in {0x2028, 0x2029} or 0xD800 <= code < 0xE000 else character
