"""Canonical MessagePack: every value has one encoding, and a decoder refuses every other.

Implements section 8 of the specification; the only module that knows msgpack. Two readers can't see two manifests in
the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgpack

from ocbundle import limits
from ocbundle.errors import BundleError, LimitExceeded, Malformed, UnsupportedVersion

_T = TypeVar("_T")
_C = TypeVar("_C", bound=list[Any])
_CONTAINER: Final = frozenset({*range(0x80, 0xA0), *range(0xDC, 0xE0)})
_NO_CONTAINER: Final = bytes(byte for byte in range(256) if byte not in _CONTAINER)
"""Bytes with which neither an array nor a map begins."""
_SCALARS: Final = frozenset({type(None), bool, int, str, bytes})


def pack(value: object) -> bytes:
    """The canonical encoding of *value*, whose maps have their keys in order."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack_map(data: bytes) -> dict[str, Any]:
    """The map that *data* encodes canonically."""
    value = unpack(data)
    if not isinstance(value, dict):
        raise Malformed("a record isn't a map", rule="R-8.2")
    return value


def unpack(data: bytes) -> Any:  # noqa: ANN401 - it is narrowed field by field
    """The value that *data* encodes canonically. A float or too deep a value may be in it: see :func:`encoding_first`.

    Raises:
        Malformed, LimitExceeded: a rule of section 8 is broken.
    """
    value = unpack_any(data)
    try:
        packed = pack(value)
    except ValueError as error:  # an older msgpack unpacks deeper nesting than it packs
        raise Malformed("a record is nested too deeply", rule="R-8.4") from error
    if packed != data:
        raise Malformed("a record isn't canonical MessagePack", rule=_broken_form(packed, data))
    return value


def unpack_any(data: bytes) -> Any:  # noqa: ANN401 - as unpack
    """The value that *data* encodes, canonically or not: for who compares *data* with what is canonical.

    Raises:
        Malformed, LimitExceeded: another rule of section 8 is broken.
    """
    count = 0

    def counted(items: _C) -> _C:
        nonlocal count
        count += 1
        if count > limits.MAX_CONTAINERS:
            raise LimitExceeded(f"a record of more than {limits.MAX_CONTAINERS} arrays and maps", rule="R-8.9")
        return items

    # Few records hold so many bytes that could begin one, and a call for each list takes as long as all the rest.
    may_be_too_many = len(data.translate(None, _NO_CONTAINER)) > limits.MAX_CONTAINERS
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            ext_hook=_refuse_extension,
            list_hook=counted if may_be_too_many else None,
            object_pairs_hook=(lambda pairs: _ordered_map(counted(pairs))) if may_be_too_many else _ordered_map,
        )
    except msgpack.StackError as error:
        raise Malformed("a record is nested too deeply", rule="R-8.4") from error
    except UnicodeDecodeError as error:
        raise Malformed("a record's text isn't UTF-8", rule="R-8.5") from error
    except ValueError as error:  # every other error of msgpack's is one
        raise Malformed("a record isn't MessagePack", rule="R-8.6") from error


def _broken_form(canonical: bytes, data: bytes) -> str:
    """The rule that *data* breaks where it first differs, by what stands there."""
    head = next(found for wanted, found in zip(canonical, data, strict=False) if wanted != found)
    if 0xCC <= head <= 0xD3:  # an integer
        return "R-8.1"
    return "R-8.3" if head == 0xCA else "R-8.5"  # a short float; a longer header


def _refuse_extension(_code: int, _data: bytes) -> object:
    raise Malformed("a record holds an extension type", rule="R-8.3")


def _ordered_map(pairs: list[tuple[object, object]]) -> dict[str, object]:
    # The library keeps the last of two equal keys, and takes any order.
    previous = ""
    for position, (key, _) in enumerate(pairs):
        if not isinstance(key, str):
            raise Malformed("a map key isn't text", rule="R-8.2")
        if position and key.encode() <= previous.encode():
            raise Malformed("map keys aren't unique and ascending", rule="R-8.2")
        previous = key
    return dict(pairs)  # type: ignore[arg-type]  # every key was found to be text


def _check_unknown(value: object, depth: int) -> None:
    """Hold a value that this version ignores to the profile all the same."""
    for item in _scalars(value, depth):
        if type(item) is int and not 0 <= item <= limits.MAX_INTEGER:
            raise Malformed("an integer is out of range", rule="R-8.8")


def _scalars(value: object, depth: int) -> Iterator[object]:
    """Everything in *value* but arrays and maps, held to R-8.3 and R-8.4."""
    if depth > limits.MAX_DEPTH:
        raise Malformed("a record is nested too deeply", rule="R-8.4")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            if type(item) in _SCALARS and depth < limits.MAX_DEPTH:  # as below, without a generator for each
                yield item
            else:
                yield from _scalars(item, depth + 1)
    elif type(value) in _SCALARS:
        yield value
    else:
        raise Malformed("a record holds a float or an extension type", rule="R-8.3")


@contextlib.contextmanager
def encoding_first(value: object) -> Iterator[None]:
    """Report a value that has no place in the profile before anything that is wrong with its meaning.

    Nothing of the kind passes as a field of the right type, so it is looked for only when something is wrong.
    """
    try:
        yield
    except BundleError:
        for _ in _scalars(value, 1):
            pass
        raise


@dataclass(frozen=True, slots=True)
class Map:
    """A decoded map and what it is called in messages; its fields are asked for by name and type."""

    value: dict[str, Any]
    label: str
    known: frozenset[str]
    depth: int

    def __post_init__(self) -> None:
        """Hold keys that this version doesn't know to R-8.7, and their values to the rest of section 8."""
        for key, item in self.value.items():
            if key in self.known:
                continue
            if key.startswith("!"):
                raise UnsupportedVersion(
                    f"{self.label} has a field that this reader must know and doesn't",
                    rule="R-8.7",
                    hint="install a newer ocbundle",
                )
            _check_unknown(item, self.depth + 1)

    def get(self, key: str, kind: type[_T]) -> _T:
        """The value of *key*, which must be there and of type *kind* (R-9.0)."""
        item = self.value.get(key)
        if type(item) is not kind:
            raise Malformed(f"{self.label}: {key} is missing or of another type", rule="R-9.0")
        if kind is int and not 0 <= item <= limits.MAX_INTEGER:  # type: ignore[operator]  # it is an int
            raise Malformed(f"{self.label}: {key} is out of range", rule="R-8.8")
        return item

    def optional(self, key: str, kind: type[_T]) -> _T | None:
        """The value of *key*, which may be nil or missing."""
        return None if self.value.get(key) is None else self.get(key, kind)

    def strings(self, key: str) -> tuple[str, ...]:
        """The value of *key*, a list of text."""
        items = self.get(key, list)
        if not all(type(item) is str for item in items):
            raise Malformed(f"{self.label}: {key} isn't a list of text", rule="R-9.0")
        return tuple(items)

    def maps(self, key: str, known: Mapping[str, object]) -> Iterator[Map]:
        """The value of *key*, a list of maps, whose known keys are those of *known*."""
        for item in self.get(key, list):
            if type(item) is not dict:
                raise Malformed(f"{self.label}: {key} isn't a list of maps", rule="R-9.0")
            yield Map(item, f"{self.label} {key}", frozenset(known), self.depth + 2)

    def map(self, key: str, known: Mapping[str, object]) -> Map:
        """The value of *key*, a map, whose known keys are those of *known*."""
        return Map(self.get(key, dict), f"{self.label} {key}", frozenset(known), self.depth + 1)
