"""The lexer that finds strings of JSON5, held against a real parser."""

from __future__ import annotations

import json

import pyjson5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocbundle.openclaw import json5
from ocbundle.openclaw.json5 import Keys, NotJson5

SPACES = st.sampled_from(
    ["", " ", "\n", "\r\n", "\t", "\u00a0", "\ufeff", "\u2028", '// it\'s "so"\n', "/* ' } */", "/***/"]
)
NUMBERS = st.sampled_from(
    ["0", "-1", "+2", ".5", "5.", "0xfF", "1e3", "Infinity", "-Infinity", "true", "false", "null"]
)
NAMES = st.sampled_from(["a", "$x", "_", "ünï", "null", "\\u0061b", "a1"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["/home/al", "\U0001f600", "\u2028"]
)


@st.composite
def literals(draw: st.DrawFn) -> str:
    """A string as JSON5 may write it: any escape for any character, in either kind of quotes."""
    mark = draw(st.sampled_from("\"'"))
    written = []
    for character in draw(TEXT):
        code = ord(character)
        halves = character.encode("utf-16-be")
        forms = ["".join(f"\\u{halves[i]:02x}{halves[i + 1]:02X}" for i in range(0, len(halves), 2))]
        if code < 0x100:
            forms.append(f"\\x{code:02x}")
        if character not in "\n\r\\" + mark:
            forms.append(character)
        if character in "'\"\\":
            forms.append("\\" + character)
        written.append(draw(st.sampled_from(forms)) + draw(st.sampled_from(["", "", "", "\\\n", "\\\r\n"])))
    return mark + "".join(written) + mark


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    def spaced(text: str) -> str:
        return draw(SPACES) + text + draw(SPACES)

    kind = draw(st.sampled_from(["string", "number", "object", "array"] if depth else ["string", "number"]))
    if kind == "string":
        return spaced(draw(literals()))
    if kind == "number":
        return spaced(draw(NUMBERS))
    inner = [draw(documents(depth=depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "object":
        inner = [spaced(draw(NAMES | literals())) + ":" + item for item in inner]
    tail = draw(st.sampled_from(["", ","])) if inner else ""
    opening, closing = "{}" if kind == "object" else "[]"
    return spaced(opening + ",".join(inner) + tail + draw(SPACES) + closing)


def found(tree: object, keys: Keys = ()) -> dict[Keys, str]:
    if isinstance(tree, dict):
        return {k: v for key, item in tree.items() for k, v in found(item, (*keys, key)).items()}
    if isinstance(tree, list):
        return {k: v for index, item in enumerate(tree) for k, v in found(item, (*keys, index)).items()}
    return {keys: tree} if isinstance(tree, str) else {}


@given(documents())
def test_the_strings_of_any_document_are_those_a_parser_finds(text: str) -> None:
    lexed = {string.keys: string.value for string in json5.strings(text) if not string.is_key}

    parsed = found(pyjson5.decode(text.removeprefix("\ufeff")))

    # Of equal keys a parser keeps the last, which may hold fewer strings than one before.
    assert parsed.items() <= lexed.items()


@given(documents(), TEXT)
@settings(max_examples=50)
def test_replacing_one_string_changes_nothing_else(text: str, value: str) -> None:
    for string in json5.strings(text):
        edited = text[: string.start] + json5.quoted(value, text[string.start]) + text[string.end :]

        again = [(s.value, s.is_key) for s in json5.strings(edited)]

        before = [(s.value, s.is_key) for s in json5.strings(text)]
        index = [s.start for s in json5.strings(text)].index(string.start)
        assert again == [*before[:index], (value, string.is_key), *before[index + 1 :]]


@given(st.text(max_size=40))
def test_any_text_at_all_ends_in_strings_or_in_an_error(text: str) -> None:
    try:
        strings = list(json5.strings(text))
    except NotJson5:
        strings = []

    assert all(text[s.start] in "\"'" and s.end <= len(text) for s in strings)


@given(TEXT)
def test_a_string_quoted_for_json_is_json(value: str) -> None:
    assert json.loads(json5.quoted(value, '"')) == value


@pytest.mark.parametrize("text", ["]", "{}}", '{a: "', "[1, /]", ","])
def test_what_no_json5_can_be_is_an_error(text: str) -> None:
    with pytest.raises(NotJson5):
        list(json5.strings(text))


def test_a_string_knows_its_place_and_its_keys() -> None:
    text = "{a: [1, 'x', {\"b\": 'y'}]}"

    strings = [(text[s.start : s.end], s.keys, s.is_key) for s in json5.strings(text)]

    assert strings == [("'x'", ("a", 1), False), ('"b"', ("a", 2, "b"), True), ("'y'", ("a", 2, "b"), False)]


def test_a_line_that_goes_on_below_is_one_string() -> None:
    assert [s.value for s in json5.strings('"/home/\\\nal"')] == ["/home/al"]


def test_two_escaped_halves_are_one_character_and_a_single_half_stays() -> None:
    assert json5.unescape("\\ud83d\\ud83d\\ude00") == "\ud83d\U0001f600"
