"""Paths inside a bundle: which are refused, in which order they ascend, and how they are shown to a person."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocbundle import paths
from ocbundle.errors import BundleError, LimitExceeded, Malformed

LONG = b"a" * 250
"""A name so long that a path with two of them is past the short cut for short paths."""


# --- what a path may be ---------------------------------------------------------------------------------------------


@pytest.mark.rule("R-9.7")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"", id="the root itself"),
        pytest.param(b"a", id="a name"),
        pytest.param(b"a/b/c", id="names"),
        pytest.param(b".openclaw", id="hidden"),
        pytest.param(b"a/.b", id="hidden below"),
        pytest.param(b"...", id="three dots"),
        pytest.param(b"..a/a../a..b", id="dots at the ends"),
        pytest.param(b"a\n\xff\\:", id="no text"),
        pytest.param(b"a" * 255, id="the longest component"),
        pytest.param(b"." + b"a" * 254, id="the longest hidden component"),
        pytest.param(LONG + b"/" + b"b" * 255, id="the longest component of a long path"),
        pytest.param(b"/".join([b"a"] * 255), id="the greatest depth"),
        pytest.param(b"/".join([b"a" * 255] * 16), id="4095 bytes"),
        pytest.param(b"/".join([b"a" * 240] * 17), id="4096 bytes"),
    ],
)
def test_a_path_below_the_root_is_accepted(path: bytes) -> None:
    paths.check(path)


@pytest.mark.rule("R-9.7")
@pytest.mark.parametrize("before", [b"", LONG + b"/" + LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    "path", [b"/a", b"a/", b"a//b", b"/", b".", b"..", b"./a", b"../a", b"a/.", b"a/..", b"a/./b", b"a/../b"]
)
def test_an_empty_component_or_one_of_dots_alone_is_refused(path: bytes, before: bytes) -> None:
    whole = before + b"/" + path if before else path
    with pytest.raises(Malformed) as caught:
        paths.check(whole)
    assert (caught.value.rule, caught.value.path) == ("R-9.7", whole.decode())


@pytest.mark.rule("R-9.7")
@pytest.mark.parametrize("path", [b"\0", b"a\0", b"\0a", b"a/b\0c", b".\0", LONG + b"/" + LONG + b"\0"], ids=repr)
def test_a_path_with_nul_is_refused(path: bytes) -> None:
    with pytest.raises(Malformed, match="NUL") as caught:
        paths.check(path)
    assert (caught.value.rule, caught.value.path) == ("R-9.7", path.decode().replace("\0", "\\x00"))


@pytest.mark.rule("R-9.7")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param(b"/".join([b"a" * 240] * 16) + b"/" + b"a" * 241, "4097 bytes", id="a path"),
        pytest.param(b"/".join([b"a"] * 256), "256 components", id="a depth"),
        pytest.param(b"a" * 256, "256 bytes", id="a component"),
        pytest.param(b"." + b"a" * 255, "256 bytes", id="a hidden component"),
        pytest.param(b"a/" + b"b" * 256, "256 bytes", id="a later component"),
    ],
)
def test_one_more_than_a_limit_is_refused_and_the_path_is_shown_by_its_beginning(path: bytes, words: str) -> None:
    with pytest.raises(LimitExceeded, match=words) as caught:
        paths.check(path)
    assert (caught.value.rule, caught.value.path) == ("R-9.7", path[:64].decode())


@given(st.text("a./\0", max_size=12).map(str.encode))
def test_a_short_path_is_accepted_if_each_of_its_components_is(path: bytes) -> None:
    sound = not path or all(part not in {b"", b".", b".."} and b"\0" not in part for part in path.split(b"/"))
    try:
        paths.check(path)
    except BundleError:
        assert not sound
    else:
        assert sound


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-9.6")
def test_paths_ascend_as_a_walk_by_byte_order_meets_them() -> None:
    walk = [b"", b"a", b"a/b", b"a/b/c", b"a/b-", b"a\x01", b"a-", b"b"]
    backwards = walk[::-1]
    assert sorted(backwards, key=paths.sort_key) == walk


@pytest.mark.parametrize(("path", "above"), [(b"a", b""), (b"a/b", b"a"), (b"a/b/c", b"a/b")])
def test_the_parent_of_a_path_is_the_directory_that_holds_it(path: bytes, above: bytes) -> None:
    assert paths.parent(path) == above


# --- names of roots -------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-9.4")
@pytest.mark.parametrize("name", ["a", "default", "work.workspace.main", "a~2", "...", " ", "ü", "a" * 255, "é" * 127])
def test_a_root_may_have_any_plain_name(name: str) -> None:
    paths.check_root_name(name)


@pytest.mark.rule("R-9.4")
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "a/b", "a\0", "a\n", "\x1b[31m", "a\x7f", "a\x85", "a\ud800", "a" * 256, "é" * 128],
    ids=ascii,
)
def test_a_root_name_that_is_no_plain_component_is_refused(name: str) -> None:
    with pytest.raises(Malformed) as caught:
        paths.check_root_name(name)
    assert caught.value.rule == "R-9.4"


def test_a_root_name_that_is_refused_is_shown_escaped_and_by_its_beginning() -> None:
    with pytest.raises(Malformed) as caught:
        paths.check_root_name("\n" + "a" * 300)
    assert caught.value.path == "\\n" + "a" * 63
    with pytest.raises(Malformed) as caught:
        paths.check_root_name("a\ud800")
    assert caught.value.path == "a\\xed\\xa0\\x80"


@pytest.mark.parametrize(
    ("basename", "name"),
    [
        (b"data", "data"),
        (b"a b-c_d.e", "a b-c_d.e"),
        ("ü".encode(), "ü"),
        (b"a\nb", "a_b"),
        (b"a\x00b\x7f", "a_b_"),
        (b"a\xffb", "a_b"),
        (b"a/b", "a_b"),
        (b"", "root"),
        (b".", "root"),
        (b"..", "root"),
        (b"...", "..."),
        (b"a" * 247, "a" * 247),
        (b"a" * 248, "a" * 247),
        ("é".encode() * 127, "é" * 123),
    ],
    ids=repr,
)
def test_a_root_is_named_after_its_directory(basename: bytes, name: str) -> None:
    assert paths.root_name(basename) == name


@given(st.binary(max_size=300))
def test_whatever_a_directory_is_called_its_root_has_a_valid_name_with_room_for_a_number(basename: bytes) -> None:
    paths.check_root_name(paths.root_name(basename) + "~1234567")


# --- how a path is shown --------------------------------------------------------------------------------------------


@pytest.mark.rule("R-10.15")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"plain/path.txt", "plain/path.txt"),
        ("text", "text"),
        ("ünïcödé 🦞".encode(), "ünïcödé 🦞"),
        (b"a\\b", "a\\\\b"),
        ("ü\\".encode(), "ü\\\\"),
        (b"a\nb", "a\\nb"),
        (b"a\rb", "a\\rb"),
        (b"a\tb", "a\\tb"),
        (b"\0", "\\x00"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\x7f", "\\x7f"),
        (b"\x80\xff", "\\x80\\xff"),
        (b"ok\xc3", "ok\\xc3"),
        ("\x80", "\\x80"),
        ("\x9b", "\\x9b"),
        ("\xad", "\\xad"),
        ("\u0600", "\\u0600"),
        ("\u200b", "\\u200b"),
        ("\u202e", "\\u202e"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
        ("\ufeff", "\\ufeff"),
        ("\uffff", "\\uffff"),
        ("\ue000", "\\ue000"),
        ("\ud800", "\\ud800"),
        ("\udc7f", "\\udc7f"),
        ("\udc80", "\\x80"),
        ("\udcff", "\\xff"),
        ("\udd00", "\\udd00"),
        ("\U000e0001", "\\U000e0001"),
        ("\U0010ffff", "\\U0010ffff"),
    ],
    ids=ascii,
)
def test_what_could_deceive_a_person_is_shown_escaped(text: bytes | str, shown: str) -> None:
    assert paths.display(text) == shown


@pytest.mark.rule("R-10.15")
@given(st.text() | st.binary())
def test_whatever_is_shown_is_one_line_without_anything_invisible(text: bytes | str) -> None:
    shown = paths.display(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}


@given(st.binary(), st.binary())
def test_two_paths_that_differ_are_shown_differently(one: bytes, other: bytes) -> None:
    assert (paths.display(one) == paths.display(other)) == (one == other)


@given(st.text(st.characters(exclude_characters="\\")))
def test_a_message_is_shown_as_a_path_is(text: str) -> None:
    assert paths.one_line(text) == paths.display(text)


def test_the_backslashes_of_a_message_stay_as_they_are() -> None:
    assert paths.one_line("a\\x1b") == "a\\x1b"
    assert paths.one_line("\n\\n") == "\\n\\n"


@pytest.mark.parametrize(
    "path", [b"", b"/a", b"a/", b"a//b", b".", b"a/.", b"./a", b"..", b"../a", b"a/..", b"a\0b", b"x" * 256]
)
def test_paths_are_plain_only_if_each_of_them_is(path: bytes) -> None:
    assert not paths.are_plain([path])
    assert not paths.are_plain([b"a", path])
    assert not paths.are_plain([path, b"a"])
    assert paths.are_plain([b"a", b"a/.b", b"..c/...", b"x" * 255])
    assert paths.are_plain([b"a"])
