"""Which paths move where, and how they are rewritten inside text documents."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocbundle.errors import InvalidRequest
from ocbundle.model import Host, Manifest, Role, Root
from ocbundle.openclaw import documents, json5
from ocbundle.openclaw.documents import Edited, NotEdited
from ocbundle.openclaw.moves import Moves


def moves(
    *mapped: tuple[str, str], home: str | None = "/home/alice", new: str = "/home/bob", os: str = "Linux 6"
) -> Moves:
    manifest = Manifest(
        bundle_id=bytes(16),
        created=0,
        generator="",
        source=Host(home=(home or "").encode(), os=os),
        roots=(),
    )
    return Moves.plan(manifest, {}, home=new.encode(), mapped=[(old.encode(), to.encode()) for old, to in mapped])


# --- Paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/home/alice", "/home/bob"),
        ("/home/alice/", "/home/bob/"),
        ("/home/alice/.openclaw/x y", "/home/bob/.openclaw/x y"),
        ("/home/alice/skills/*", "/home/bob/skills/*"),
        ("/home/al", "/home/al"),
        ("/home/alice.old/x", "/home/alice.old/x"),
        ("/home/alice2", "/home/alice2"),
        ("/mnt/home/alice/x", "/mnt/home/alice/x"),
        ("/home/alice/../carol/x", "/home/alice/../carol/x"),
        ("~/notes", "~/notes"),
        ("${HOME}/notes", "${HOME}/notes"),
        ("home/alice/x", "home/alice/x"),
        ("file:///home/alice/a%20b?q#f", "file:///home/bob/a%20b?q#f"),
        ("file://localhost/home/alice/x", "file://localhost/home/bob/x"),
        ("https://example.org/home/alice/x", "https://example.org/home/alice/x"),
        ("cat /home/alice/x", "cat /home/alice/x"),
        ("/home/alice/bin:/home/alice/.local/bin", "/home/alice/bin:/home/alice/.local/bin"),
        ("/home/alice/x\nmore", "/home/alice/x\nmore"),
        ("\ud800", "\ud800"),
    ],
)
def test_a_string_moves_only_if_it_is_a_path_below_a_whole_prefix(old: str, new: str) -> None:
    assert moves().text(old) == new


def test_of_two_prefixes_the_longer_decides() -> None:
    plan = moves(("/home/alice/ws", "/srv/ws"))

    assert [plan.path(b"/home/alice/ws/a"), plan.path(b"/home/alice/wsx")] == [b"/srv/ws/a", b"/home/bob/wsx"]


def test_what_stays_inside_a_home_that_moves_stays() -> None:
    assert moves(("/home/alice/keep", "/home/alice/keep")).path(b"/home/alice/keep/x") == b"/home/alice/keep/x"


def test_a_root_moves_to_its_destination_and_the_user_has_the_last_word() -> None:
    state = Root(name="default", role=Role.STATE, source=b"/home/alice/.openclaw")
    work = Root(name="work", role=Role.STATE, source=b"/home/alice/.openclaw-work")
    manifest = Manifest(
        bundle_id=bytes(16), created=0, generator="", source=Host(home=b"/home/alice"), roots=(state, work)
    )

    plan = Moves.plan(
        manifest, {"default": b"/data/oc", "work": b"/data/work"}, mapped=[(b"/home/alice/.openclaw-work/", b"/w")]
    )

    assert [plan.path(b"/home/alice/.openclaw/x"), plan.path(b"/home/alice/.openclaw-work/x")] == [
        b"/data/oc/x",
        b"/w/x",
    ]


def test_a_root_that_is_not_restored_moves_with_the_home() -> None:
    root = Root(name="work", role=Role.STATE, source=b"/home/alice/.openclaw-work")
    manifest = Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(home=b"/home/alice"), roots=(root,))

    assert Moves.plan(manifest, {}, home=b"/home/bob").path(root.source) == b"/home/bob/.openclaw-work"


@pytest.mark.parametrize("pair", [("x", "/y"), ("/x", "y"), ("/", "/y"), ("/x/..", "/y")])
def test_a_mapping_that_is_not_between_absolute_paths_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        moves(pair)


def test_a_symbolic_link_that_is_absolute_moves_and_a_relative_one_does_not() -> None:
    plan = moves()

    assert [plan.link_target(b"/home/alice/x"), plan.link_target(b"../alice/x")] == [b"/home/bob/x", b"../alice/x"]


def test_the_real_name_of_a_destination_leaves_out_its_links(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "home").symlink_to("data")

    plan = moves(new=str(tmp_path / "home"))

    assert plan.real(b"/home/alice/ws") == bytes(tmp_path / "data" / "ws")


def test_from_a_mac_composed_and_decomposed_names_are_the_same() -> None:
    plan = moves(home="/Users/" + unicodedata.normalize("NFD", "zoë"), os="Darwin 24.1 arm64")

    assert plan.text("/Users/zoë/x") == "/home/bob/x"


def test_on_linux_composed_and_decomposed_names_are_two() -> None:
    plan = moves(home="/home/" + unicodedata.normalize("NFD", "zoë"))

    assert plan.text("/home/zoë/x") == "/home/zoë/x"


def test_a_path_that_is_no_text_moves_as_bytes() -> None:
    assert moves().path(b"/home/alice/\xff") == b"/home/bob/\xff"


@given(st.lists(st.sampled_from(["home", "alice", "al", "..", "x"]), max_size=5))
def test_moving_twice_is_moving_once(parts: list[str]) -> None:
    path = ("/" + "/".join(parts)).encode()

    assert moves().path(moves().path(path)) == moves().path(path)


# --- Configurations --------------------------------------------------------------------------------------------------


def edited(text: str) -> str:
    return documents.config(text.encode(), moves()).data.decode()


def test_comments_order_and_layout_stay_byte_for_byte() -> None:
    text = """\ufeff// /home/alice/in/a/comment
{
  agents : { defaults: {workspace:'/home/alice/ws', /* "/home/alice" */ }, },\r
  "z": "/home/alice", a: +.5, \t b: [0xFF, NaN, "/home/\\u0061lice/x",],
  "/home/alice/key": 'it\\'s',
}
"""
    wanted = (
        text.replace("'/home/alice/ws'", "'/home/bob/ws'")
        .replace('"z": "/home/alice"', '"z": "/home/bob"')
        .replace('"/home/\\u0061lice/x"', '"/home/bob/x"')
    )

    assert edited(text) == wanted


def test_a_document_without_moved_paths_is_the_same_bytes() -> None:
    text = '{"a": "/srv/\\u0061" , }'

    assert edited(text) == text


def test_the_last_of_two_equal_keys_and_the_first_are_both_rewritten() -> None:
    assert edited('{a: "/home/alice/1", a: "/home/alice/2"}') == '{a: "/home/bob/1", a: "/home/bob/2"}'


def test_a_path_with_quotes_in_it_stays_one_string() -> None:
    new = documents.config(b"{a: '/home/alice/x'}", moves(new="/home/o'b\"o\\b")).data

    assert new == b"{a: '/home/o\\'b\"o\\\\b/x'}"


def test_a_command_that_names_an_old_path_is_left_and_told() -> None:
    found = documents.config(b'{hooks: {run: "cat /home/alice/x"}, list: ["--dir=/home/alice"]}', moves())

    assert (found.count, found.left) == (0, ("hooks.run", "list.0"))


@pytest.mark.parametrize(
    "value",
    ["see /home/alice2", "see /home/alice.old/x", "see /mnt/home/alice", "~/home/alice", "https://x.org/home/alice"],
)
def test_what_only_looks_like_an_old_path_is_not_told(value: str) -> None:
    assert documents.config(json.dumps([value]).encode(), moves()).left == ()


def test_an_edit_that_would_change_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(text: str) -> list[json5.String]:
        return [json5.String(text.index("'/"), text.index("}"), "/home/alice", ("a",), is_key=False)]

    monkeypatch.setattr(json5, "strings", blind)

    with pytest.raises(NotEdited, match="more than its paths"):
        documents.config(b"{a: '/home/alice', b: 1}", moves())


def test_history_is_told_by_its_place_not_by_its_name_alone() -> None:
    entry = b'{"skillsSnapshot": "/home/alice", "a": {"b": {"skillsSnapshot": "/home/alice"}}}'

    new = documents.plain(entry, moves(), documents.but_history).data

    assert new == b'{"skillsSnapshot": "/home/alice", "a": {"b": {"skillsSnapshot": "/home/bob"}}}'


@pytest.mark.parametrize("text", ["{a: '/home/alice/secret'", "\udcff{}", "[" * 300 + "]" * 300])
def test_what_is_no_json5_is_not_edited_and_not_shown(text: str) -> None:
    with pytest.raises(NotEdited) as caught:
        documents.config(text.encode("utf-8", "surrogateescape"), moves())
    assert "secret" not in str(caught.value)


@given(
    st.recursive(
        st.sampled_from(["/home/alice", "/home/alice/x", "/home/al", "x /home/alice"]) | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    )
)
def test_rewriting_json_is_replacing_its_strings(tree: object) -> None:
    def replaced(value: object) -> object:
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item) for item in value]
        return value.replace("/home/alice", "/home/bob") if isinstance(value, str) and value[0] == "/" else value

    assert json.loads(documents.plain(json.dumps(tree).encode(), moves()).data) == replaced(tree)


# --- Env files, transcripts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A=/home/alice/x\n", "A=/home/bob/x\n"),
        ("export A = '/home/alice/x y' # why\r\n", "export A = '/home/bob/x y' # why\r\n"),
        ('A="/home/alice/x"', 'A="/home/bob/x"'),
        ("A=/home/alice/x # /home/alice\n", "A=/home/bob/x # /home/alice\n"),
        ("# A=/home/alice\n", "# A=/home/alice\n"),
        ("A=sk-/home/alice\n", "A=sk-/home/alice\n"),
        ("A=\n\nB\n", "A=\n\nB\n"),
    ],
)
def test_in_an_env_file_values_that_are_a_path_are_rewritten(old: str, new: str) -> None:
    assert documents.environment(old.encode(), moves()).data == new.encode()


def test_a_list_of_paths_in_an_env_file_is_left_and_told() -> None:
    found = documents.environment(b"export PATH=/usr/bin:/home/alice/bin\n", moves())

    assert (found.count, found.left) == (0, ("PATH",))


def test_only_the_working_directory_of_a_transcripts_header_is_rewritten() -> None:
    line = b'{"type":"session","cwd":"/home/alice/ws","note":"/home/alice/ws"}'

    new = documents.transcript_header(line, moves()).data

    assert new == b'{"type":"session","cwd":"/home/bob/ws","note":"/home/alice/ws"}'


@pytest.mark.parametrize("line", [b'{"type":"message","cwd":"/home/alice/ws"}', b"{torn", b"[]", b"\xff", b""])
def test_a_first_line_that_is_no_header_stays(line: bytes) -> None:
    assert documents.transcript_header(line, moves()).data == line


def test_a_new_place_that_no_text_can_name_is_not_written_into_one() -> None:
    manifest = Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(), roots=())
    to_bytes = Moves.plan(manifest, {}, mapped=[(b"/home/alice", b"/srv/caf\xe9")])
    assert (to_bytes.text("/home/alice/x"), to_bytes.path(b"/home/alice/x")) == ("/home/alice/x", b"/srv/caf\xe9/x")


def test_on_a_system_that_folds_names_one_that_is_not_utf_8_is_itself() -> None:
    assert moves(os="Darwin 23").path(b"/home/alic\xe9/x") == b"/home/alic\xe9/x"


def test_a_value_of_an_env_file_that_is_not_utf_8_moves_as_bytes() -> None:
    assert documents.environment(b"A=/home/alice/caf\xe9\n", moves()).data == b"A=/home/bob/caf\xe9\n"


def test_json_that_is_nested_too_deeply_to_be_proven_is_left() -> None:
    with pytest.raises(NotEdited, match="nested too deeply"):
        documents.plain(b"[" * 900 + b'"/home/alice/x"' + b"]" * 900, moves())


def test_json_that_is_nested_too_deeply_beside_its_paths_is_left() -> None:
    deep = b"[" * 64 + b"]" * 64
    assert documents.plain(b'["/home/alice", ' + deep[1:-1] + b"]", moves()).count == 1
    with pytest.raises(NotEdited, match="nested too deeply"):
        documents.plain(b'["/home/alice", [' + deep + b"]]", moves())


@pytest.mark.parametrize("rewrite", [documents.plain, documents.config])
@pytest.mark.parametrize(
    ("much", "told"),
    [(b"[]," * (1 << 19), "too many parts"), (b'"' + b"\\n" * (1 << 20) + b'\\n",', "too many escapes")],
)
def test_a_document_that_would_take_too_much_memory_is_left(
    rewrite: Callable[[bytes, Moves], Edited], much: bytes, told: str
) -> None:
    with pytest.raises(NotEdited, match=told):
        rewrite(b"[" + much + b'"/home/alice/x"]', moves())


def test_a_session_store_of_a_thousand_long_prompts_moves() -> None:
    prompt = "You are helpful, brief, and kind.\n" * 100
    store = {
        f"agent:main:{number}": {"sessionFile": f"/home/alice/{number}", "updatedAt": number, "note": prompt}
        for number in range(1000)
    }
    assert documents.plain(json.dumps(store, indent=2).encode(), moves(), documents.but_history).count == 1000


def test_only_some_of_what_is_left_is_named_and_none_at_length() -> None:
    told = json.dumps({"k" * 1000: ["see /home/alice"] * 50}).encode()
    assert documents.plain(told, moves()).left == ("k" * 200,) * 20
    settings = b"".join(b"%s%d=see /home/alice\n" % (b"K" * 1000, number) for number in range(50))
    assert documents.environment(settings, moves()).left == ("K" * 200,) * 20


def test_a_string_that_is_longer_than_any_path_is_none() -> None:
    assert moves().text("/home/alice/" + "a" * 16000) == "/home/bob/" + "a" * 16000
    assert moves().text("/home/alice/" + "a" * 17000) == "/home/alice/" + "a" * 17000


def test_a_document_that_can_not_be_taken_apart_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_text: str) -> Iterator[json5.String]:
        raise json5.NotJson5

    monkeypatch.setattr(json5, "strings", lost)
    with pytest.raises(NotEdited, match="can't be taken apart"):
        documents.config(b"{a: '/home/alice'}", moves())
