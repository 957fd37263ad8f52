"""Paths inside text documents: configurations, session stores, the first line of a transcript, env files.

Bytes in, bytes out, no I/O. Only strings that are a path change; comments, order and layout stay byte for byte. Every
edit of a JSON document is proven: parsed again, it must be the old tree with those strings replaced and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ocbundle.openclaw import json5
from ocbundle.openclaw.json5 import Keys
from ocbundle.openclaw.moves import Moves

_MAX_NESTING: Final = 64
_MAX_PARTS: Final = 1 << 20
"""Brackets and commas: as many values at the most, which take 400 MiB and 8 s. A real session store has thousands."""
_MAX_ESCAPES: Final = 1 << 20
_MAX_LEFT: Final = 20
"""How many strings left as they are are named for one document; more would hide the rest of the report."""
_MAX_NAME: Final = 200
"""Characters of such a name: a key can be as long as its document."""
_SETTING: Final = re.compile(
    rb"""([ \t]*(?:export[ \t]+)?[A-Za-z_][\w.-]*[ \t]*=[ \t]*)("[^"\\\n]*"|'[^'\n]*'|[^"'\r\n]*)"""
)
_HISTORY: Final = frozenset({"systemPromptReport", "skillsSnapshot"})
"""What a session's last turn was told and saw. OpenClaw makes both anew at the next turn."""

Scope = Callable[[Keys], bool]
"""Whether the string at this place may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A document with its paths rewritten."""

    data: bytes
    count: int = 0
    left: tuple[str, ...] = ()
    """Where strings stand that hold a moved path among other things, and were left as they are."""


class NotEdited(Exception):
    """The document can't be changed safely; the message says why, and shows nothing of it."""


def everywhere(_keys: Keys) -> bool:
    """All of a document."""
    return True


def but_history(keys: Keys) -> bool:
    """A session's entry, or a store of them by session key, without the record of its last turn."""
    return not _HISTORY.intersection(keys[:2])


def only_cwd(keys: Keys) -> bool:
    """The working directory at the top of a transcript."""
    return keys == ("cwd",)


def config(data: bytes, moves: Moves) -> Edited:
    """Rewrite the JSON5 document *data*.

    Raises:
        NotEdited: it isn't JSON5, or the proof failed.
    """
    return _document(data, moves, everywhere, parse_json5)


def plain(data: bytes, moves: Moves, scope: Scope = everywhere) -> Edited:
    """Rewrite the JSON document *data*, where *scope* allows it.

    Raises:
        NotEdited: it isn't JSON, or the proof failed.
    """
    return _document(data, moves, scope, _parse_json)


def transcript_header(line: bytes, moves: Moves) -> Edited:
    """Rewrite the first line of a transcript; any other line stays as it is."""
    try:
        tree = _parse_json(line.decode())
    except (NotEdited, UnicodeDecodeError):
        return Edited(data=line)
    if not isinstance(tree, dict) or tree.get("type") != "session":
        return Edited(data=line)
    edited = plain(line, moves, only_cwd)
    return Edited(data=edited.data, count=edited.count)


def environment(data: bytes, moves: Moves) -> Edited:
    """Rewrite an env file: values that are a path, quoted or not."""
    edited = bytearray()
    left: list[str] = []
    count = 0
    for line in data.splitlines(keepends=True):
        setting = _SETTING.match(line)
        if setting is None:
            edited += line
            continue
        start, written = setting.groups()
        quote = written[:1] if written[:1] in {b'"', b"'"} else b""
        bare = written.strip(quote) if quote else written.split(b" #", 1)[0].rstrip()
        new = _moved(bare, moves)
        if new != bare:
            count += 1
            line = start + quote + new + quote + line[len(start) + len(bare) + 2 * len(quote) :]  # noqa: PLW2901
        elif len(left) < _MAX_LEFT and moves.mentions(bare.decode("utf-8", "replace")):
            left.append(start.split(b"=")[0].split()[-1].decode("ascii", "replace")[:_MAX_NAME])
        edited += line
    return Edited(data=bytes(edited), count=count, left=tuple(left))


def parse_json5(text: str) -> object:
    """The tree of a JSON5 document.

    Raises:
        NotEdited: it isn't one, or would take too much memory.
    """
    import pyjson5  # noqa: PLC0415 - most uses of the library read no configuration

    _demand_moderate(text)
    try:
        return pyjson5.decode(text.removeprefix("\ufeff"), maxdepth=_MAX_NESTING)
    except (pyjson5.Json5Exception, ValueError, RecursionError):
        # Not chained: the parser's exception carries what it had read so far, secrets and all.
        raise NotEdited("it isn't valid JSON5") from None


def _parse_json(text: str) -> object:
    _demand_moderate(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NotEdited("it isn't valid JSON") from None


def _demand_moderate(text: str) -> None:
    if sum(map(text.count, "[{,")) > _MAX_PARTS:
        raise NotEdited("it has too many parts")
    if text.count("\\") > _MAX_ESCAPES:
        raise NotEdited("it has too many escapes")


def _document(data: bytes, moves: Moves, scope: Scope, parse: Callable[[str], object]) -> Edited:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NotEdited("it isn't UTF-8") from None
    parse(text)  # the tree isn't kept: it may take more memory than all that follows
    pieces = []
    left: list[str] = []
    position = count = 0
    for string in _strings(text):  # one at a time: there may be more of them than memory has room for
        _demand_flat(string.keys)
        if not scope(string.keys):
            continue
        new = string.value if string.is_key else moves.text(string.value)
        if new != string.value:
            pieces += [text[position : string.start], json5.quoted(new, text[string.start])]
            position = string.end
            count += 1
        elif len(left) < _MAX_LEFT and moves.mentions(string.value):
            left.append(_named(string.keys))
    if not count:
        return Edited(data=data, left=tuple(left))
    edited = "".join([*pieces, text[position:]]).encode()
    del text, pieces, string  # one character beyond the others makes text take four times as much as its bytes
    expected = _said(_expected(parse(data.decode()), moves, scope, ()))
    if _said(parse(edited.decode())) != expected:
        raise NotEdited("rewriting it would have changed more than its paths")
    return Edited(data=edited, count=count, left=tuple(left))


def _demand_flat(keys: Keys) -> None:
    if len(keys) > _MAX_NESTING:
        raise NotEdited("it is nested too deeply")


def _strings(text: str) -> Iterator[json5.String]:
    try:
        yield from json5.strings(text)
    except json5.NotJson5 as error:
        raise NotEdited("it can't be taken apart") from error


def _expected(tree: object, moves: Moves, scope: Scope, keys: Keys) -> object:
    """What the document must say afterwards, found without the lexer."""
    _demand_flat(keys)
    if isinstance(tree, dict):
        return {key: _expected(item, moves, scope, (*keys, key)) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_expected(item, moves, scope, (*keys, index)) for index, item in enumerate(tree)]
    return moves.text(tree) if isinstance(tree, str) and scope(keys) else tree


def _said(tree: object) -> bytes:
    """A digest of what a document says, so that the proof needs only one tree at a time."""
    # As text: it tells 1 from 1.0 and true, keeps the order of keys, and NaN equals itself.
    return hashlib.sha256(json.dumps(tree).encode()).digest()


def _named(keys: Keys) -> str:
    return ".".join(str(key)[:_MAX_NAME] for key in keys)[:_MAX_NAME] or "the document itself"


def _moved(value: bytes, moves: Moves) -> bytes:
    try:
        return moves.text(value.decode()).encode()
    except UnicodeDecodeError:
        return moves.path(value)
