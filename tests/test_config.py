"""Reading OpenClaw configurations: both shapes of agents, includes, and everything that can be wrong with one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ocbundle.openclaw import config
from ocbundle.openclaw.config import Config

STATE = b"/home/alice/.openclaw"


def read(tmp_path: Path, content: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
    path = tmp_path / "openclaw.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return config.read(os.fsencode(path), home=b"/home/alice", state=STATE, environ=environ or {})


def workspaces(read_config: Config) -> dict[str, bytes | None]:
    return {agent.id: agent.workspace for agent in read_config.agents}


def test_json5_with_comments_and_trailing_commas_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, "{ // mine\n gateway: { mode: 'local', port: 18790, }, }")
    assert (found.mode, found.port, found.problems) == ("local", 18790, ())


def test_agents_of_the_sqlite_era_are_a_table(tmp_path: Path) -> None:
    found = read(tmp_path, '{agents: {entries: {main: {workspace: "/w/m"}, Research: {workspace: "~/r"}}}}')
    assert workspaces(found) == {"main": b"/w/m", "research": b"/home/alice/r"}


def test_agents_of_the_file_era_are_a_list(tmp_path: Path) -> None:
    found = read(tmp_path, '{agents: {list: [{id: "main", workspace: "/w/m"}, {id: "ops", agentDir: "/a/ops"}]}}')
    assert [(agent.id, agent.directory) for agent in found.agents] == [("main", None), ("ops", b"/a/ops")]


def test_without_agents_there_is_main_in_the_state_directory(tmp_path: Path) -> None:
    found = read(tmp_path, "{}")
    assert workspaces(found) == {"main": b"/home/alice/.openclaw/workspace"}


def test_a_default_workspace_is_the_default_agents(tmp_path: Path) -> None:
    found = read(tmp_path, '{agents: {defaults: {workspace: "/ws"}, list: [{id: "a"}, {id: "b", default: true}]}}')
    assert workspaces(found) == {"a": b"/ws/a", "b": b"/ws"}


def test_other_agents_without_a_default_workspace_have_their_own_in_the_state(tmp_path: Path) -> None:
    found = read(tmp_path, "{agents: {entries: {main: {}, ops: {}}}}")
    assert workspaces(found)["ops"] == b"/home/alice/.openclaw/workspace-ops"


def test_the_environment_names_the_default_workspace_where_the_configuration_does_not(tmp_path: Path) -> None:
    found = read(tmp_path, "{}", {"OPENCLAW_WORKSPACE_DIR": "/elsewhere"})
    assert workspaces(found) == {"main": b"/elsewhere"}


def test_variables_in_a_path_come_from_the_environment(tmp_path: Path) -> None:
    found = read(tmp_path, '{agents: {defaults: {workspace: "${DATA}/ws"}}}', {"DATA": "/data"})
    assert workspaces(found) == {"main": b"/data/ws"}


def test_an_unset_variable_in_a_path_is_a_problem_and_no_guess(tmp_path: Path) -> None:
    found = read(tmp_path, '{agents: {entries: {main: {workspace: "${DATA}/ws"}}}}')
    assert (workspaces(found), found.problems) == (
        {"main": None},
        ("the workspace of agent main is named with ${DATA}, which isn't set here",),
    )


def test_a_relative_workspace_is_a_problem_and_no_guess(tmp_path: Path) -> None:
    found = read(tmp_path, '{agents: {entries: {main: {workspace: "ws"}}}}')
    assert found.problems == (
        "the workspace of agent main is named by a relative path, ws, so where it is can't be told",
    )


def test_channels_and_version_are_named(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '{channels: {telegram: {botToken: "t"}, defaults: {}}, meta: {lastTouchedVersion: "2026.9.6"}}',
    )
    assert (found.channels, found.version) == (("telegram",), "2026.9.6")


def test_a_remote_url_is_shown_without_what_may_be_secret(tmp_path: Path) -> None:
    found = read(tmp_path, '{gateway: {mode: "remote", remote: {url: "wss://u:pw@gw.example:443/x?token=t#f"}}}')
    assert found.remote_url == "wss://gw.example:443/x"


@pytest.mark.parametrize("port", ["true", "0", "70000", '"18789"', "Infinity", "NaN"])
def test_what_is_no_port_is_none(tmp_path: Path, port: str) -> None:
    assert read(tmp_path, f"{{gateway: {{port: {port}}}}}").port is None


def test_a_repr_shows_no_secret(tmp_path: Path) -> None:
    assert "sk-secret" not in repr(read(tmp_path, '{models: {providers: {x: {apiKey: "sk-secret"}}}}'))


# --- Includes ---


def test_an_include_takes_the_place_of_its_object(tmp_path: Path) -> None:
    (tmp_path / "gateway.json5").write_text("{port: 4000}")
    found = read(tmp_path, '{gateway: {$include: "./gateway.json5", mode: "local"}}')
    assert (found.port, found.mode, found.files) == (
        4000,
        "local",
        (os.fsencode(tmp_path / "openclaw.json"), os.fsencode(tmp_path / "gateway.json5")),
    )


def test_a_list_of_includes_is_merged_in_order_and_own_keys_win(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{gateway: {port: 1, mode: "local"}, channels: {a: {}}}')
    (tmp_path / "b.json").write_text("{gateway: {port: 2}, channels: {b: {}}}")
    found = read(tmp_path, '{$include: ["a.json", "b.json"], gateway: {port: 3}}')
    assert (found.port, found.mode, found.channels) == (3, "local", ("a", "b"))


def test_an_include_in_an_include_is_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.json").write_text('{$include: "b.json"}')
    (tmp_path / "d" / "b.json").write_text("{gateway: {port: 5}}")
    assert read(tmp_path, '{$include: "d/a.json"}').port == 5


def test_a_circle_of_includes_is_a_problem_and_the_rest_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{$include: "openclaw.json", gateway: {port: 6}}')
    found = read(tmp_path, '{$include: "a.json"}')
    assert (found.port, len(found.problems)) == (6, 1)


def test_ten_levels_of_includes_are_read(tmp_path: Path) -> None:
    for number in range(1, 10):
        (tmp_path / f"{number}.json").write_text(f'{{$include: "{number + 1}.json"}}')
    (tmp_path / "10.json").write_text("{gateway: {port: 7}}")
    assert read(tmp_path, '{$include: "1.json"}').port == 7


def test_an_eleventh_level_is_a_problem(tmp_path: Path) -> None:
    for number in range(1, 11):
        (tmp_path / f"{number}.json").write_text(f'{{$include: "{number + 1}.json"}}')
    (tmp_path / "11.json").write_text("{gateway: {port: 7}}")
    found = read(tmp_path, '{$include: "1.json"}')
    assert (found.port, len(found.problems)) == (None, 1)


def test_includes_that_multiply_come_to_an_end(tmp_path: Path) -> None:
    for number in range(9):
        names = ", ".join([f"'{number + 1}.json'"] * 20)
        (tmp_path / f"{number}.json").write_text(f"{{$include: [{names}]}}")
    (tmp_path / "9.json").write_text("{}")
    assert "includes too many files, or too deeply" in read(tmp_path, '{$include: "0.json"}').problems[0]


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "link.json"])
def test_an_include_outside_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.json").write_text("{gateway: {port: 8}}")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.json").symlink_to("../outside.json")
    found = read(inner, f'{{$include: "{name}"}}')
    assert (found.port, len(found.problems), len(found.files)) == (None, 1, 1)


def test_an_include_from_an_allowed_directory_is_read(tmp_path: Path) -> None:
    shared, inner = tmp_path / "shared", tmp_path / "inner"
    shared.mkdir()
    inner.mkdir()
    (shared / "a.json").write_text("{gateway: {port: 9}}")
    found = read(inner, f'{{$include: "{shared}/a.json"}}', {"OPENCLAW_INCLUDE_ROOTS": str(shared)})
    assert (found.port, found.problems) == (9, ())


def test_an_include_of_more_than_two_mebibytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text("{}" + " " * (2 << 20))
    assert "larger than its limit" in read(tmp_path, '{$include: "big.json"}').problems[0]


# --- Broken ---


@pytest.mark.parametrize("content", [b"{token: 'sk-secret', b: }", b"\xff\xfe", b"", b"[" * 100_000, b"[1]"])
def test_a_broken_configuration_is_a_problem_without_its_content(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content)
    assert (len(found.problems), "sk-secret" in repr(found), workspaces(found)) == (
        1,
        False,
        {"main": STATE + b"/workspace"},
    )


def test_a_missing_configuration_is_a_problem(tmp_path: Path) -> None:
    found = config.read(os.fsencode(tmp_path / "no"), home=b"/home/alice", state=STATE, environ={})
    assert "No such file" in found.problems[0]


def test_a_pipe_in_place_of_a_configuration_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "openclaw.json")
    found = config.read(os.fsencode(tmp_path / "openclaw.json"), home=b"/home/alice", state=STATE, environ={})
    assert "not a regular file" in found.problems[0]


@pytest.mark.parametrize(
    "content",
    [
        "{agents: 5, gateway: [], channels: 'x', plugins: null, meta: 1}",
        "{agents: {list: 5, entries: []}}",
        "{agents: {list: [null, 5, {}, {id: 7}]}}",
        "{agents: {entries: {'../..': null, '': {workspace: 5}}}}",
        "{agents: {defaults: {workspace: '\\ud800'}}}",
    ],
)
def test_a_configuration_of_the_wrong_shape_is_read_as_far_as_it_goes(tmp_path: Path, content: str) -> None:
    assert [agent.id for agent in read(tmp_path, content).agents] == ["main"]


@pytest.mark.parametrize("named", ["5", "['a.json', null]", "'a\\0b'"])
def test_an_include_that_is_no_file_name_is_a_problem(tmp_path: Path, named: str) -> None:
    (tmp_path / "a.json").write_text("{gateway: {port: 9}}")
    found = read(tmp_path, f"{{$include: {named}}}")
    assert [problem.endswith("neither a file name nor a list of them") for problem in found.problems] == [True]


def test_lists_of_two_included_files_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{agents: {list: [{id: 'a'}]}}")
    (tmp_path / "b.json").write_text("{agents: {list: [{id: 'b'}]}}")
    found = read(tmp_path, "{$include: ['a.json', 'b.json']}")
    assert [agent.id for agent in found.agents] == ["a", "b"]


def test_includes_that_nest_beyond_any_use_are_a_problem(tmp_path: Path) -> None:
    for number in range(config.MAX_INCLUDE_DEPTH):
        inner = f"{{$include: '{number + 1}.json'}}"
        for _ in range(config.MAX_NESTING - 2):
            inner = f"{{a: {inner}}}"
        (tmp_path / f"{number}.json").write_text(inner)
    found = read(tmp_path, "{$include: '0.json'}")
    assert [problem.endswith("is nested too deeply") for problem in found.problems] == [True]


def test_a_place_that_is_named_by_half_a_character_is_a_problem(tmp_path: Path) -> None:
    found = read(tmp_path, "{agents: {entries: {main: {workspace: '/w/${HALF}'}}}}", {"HALF": "\ud800"})
    assert (workspaces(found), found.problems) == (
        {"main": None},
        ("the workspace of agent main is named by half a character, so where it is can't be told",),
    )


def test_a_session_store_of_no_place_is_nowhere(tmp_path: Path) -> None:
    assert read(tmp_path, "{session: {store: 5}}").elsewhere == ()


@pytest.mark.parametrize("url", ["ws://[::1", "ws://host:port/", "//host"])
def test_a_remote_gateway_whose_address_makes_no_sense_is_not_shown(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, f"{{gateway: {{mode: 'remote', remote: {{url: '{url}'}}}}}}").remote_url is None
