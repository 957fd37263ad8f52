"""Finding OpenClaw: profiles, workspaces, what they point to, and what is said of them."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ocbundle.errors import SourceFailure, SourceMissing
from ocbundle.model import Profile, Reason, Role, Workspace
from ocbundle.openclaw import Discovery, Left, discover
from ocbundle.sources import Leave, Sensitivity, Source


def write(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def database(path: Path, version: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("CREATE TABLE t (x)")


def find(home: Path, environ: dict[str, str] | None = None, **options: object) -> Discovery:
    return discover({"HOME": str(home), **(environ or {})}, **options)  # type: ignore[arg-type]


def names(found: Discovery) -> list[str]:
    return [source.name for source in found.sources]


def source(found: Discovery, name: str) -> Source:
    return next(source for source in found.sources if source.name == name)


def profile(found: Discovery, name: str = "default") -> Profile:
    return next(profile for profile in found.profiles if profile.name == name)


def path_of(found: Discovery, name: str) -> str:
    return os.fsdecode(source(found, name).path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home" / "alice"
    write(home / ".openclaw" / "openclaw.json", "{}")
    return home


def configure(home: Path, content: str, profile: str = "") -> None:
    write(home / f".openclaw{profile}" / "openclaw.json", content)


# --- Profiles ---


def test_the_default_profile_is_found(home: Path) -> None:
    found = find(home)
    assert [(s.name, s.role, s.profile, s.path) for s in found.sources] == [
        ("default", Role.STATE, "default", os.fsencode(home / ".openclaw"))
    ]


def test_every_profile_with_a_configuration_or_a_state_is_found(home: Path) -> None:
    configure(home, "{}", "-work")
    (home / ".openclaw-lab" / "state").mkdir(parents=True)
    assert names(find(home)) == ["default", "lab", "work"]


def test_a_directory_that_is_no_profile_is_named_as_left(home: Path) -> None:
    (home / ".openclaw-empty").mkdir()
    write(home / ".openclaw-b@d" / "openclaw.json", "{}")
    found = find(home)
    assert (names(found), [os.path.basename(left.path) for left in found.left]) == (
        ["default"],
        [b".openclaw-b@d", b".openclaw-empty"],
    )


def test_an_unpacking_in_progress_is_no_profile(home: Path) -> None:
    write(home / ".openclaw.staging" / "openclaw.json", "{}")
    assert names(find(home)) == ["default"]


def test_update_captures_are_never_taken_and_named_as_left(home: Path) -> None:
    captures = home / ".openclaw.update-captures"
    captures.mkdir()
    assert find(home).left == (
        Left(path=os.fsencode(captures), detail="private captures of an update, which OpenClaw forbids exporting"),
    )


def test_the_legacy_directory_is_used_when_there_is_no_other(tmp_path: Path) -> None:
    write(tmp_path / ".clawdbot" / "clawdbot.json", '{meta: {lastTouchedVersion: "2026.1.1"}}')
    found = find(tmp_path)
    assert (path_of(found, "default"), profile(found).version) == (str(tmp_path / ".clawdbot"), "2026.1.1")


def test_the_legacy_directory_beside_the_current_one_is_named_as_left(home: Path) -> None:
    write(home / ".clawdbot" / "clawdbot.json", "{}")
    assert [left.path for left in find(home).left] == [os.fsencode(home / ".clawdbot")]


def test_a_legacy_name_that_links_to_the_current_directory_is_no_second_one(home: Path) -> None:
    (home / ".clawdbot").symlink_to(".openclaw")
    found = find(home)
    assert (names(found), found.left) == (["default"], ())


def test_a_state_directory_behind_a_link_keeps_the_name_that_openclaw_looks_for(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "openclaw.json", "{}")
    (tmp_path / ".openclaw").symlink_to("disk")
    assert path_of(find(tmp_path), "default") == str(tmp_path / ".openclaw")


def test_openclaw_home_wins_over_home(home: Path, tmp_path: Path) -> None:
    found = discover({"HOME": str(tmp_path), "OPENCLAW_HOME": "~/home/alice"})
    assert path_of(found, "default") == str(home / ".openclaw")


@pytest.mark.parametrize("unset", ["", "  ", "undefined", "null"])
def test_a_variable_that_openclaw_takes_for_unset_is_unset(home: Path, unset: str) -> None:
    assert names(find(home, {"OPENCLAW_HOME": unset, "OPENCLAW_STATE_DIR": unset})) == ["default"]


def test_the_state_directory_of_the_environment_is_found_beside_the_others(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "srv" / ".gateway" / "openclaw.json", "{}")
    assert names(find(home, {"OPENCLAW_STATE_DIR": str(tmp_path / "srv" / ".gateway")})) == ["default", "gateway"]


def test_two_profiles_of_one_name_are_told_apart(home: Path, tmp_path: Path) -> None:
    configure(home, "{}", "-work")
    write(tmp_path / "work" / "openclaw.json", "{}")
    found = find(home, {"OPENCLAW_STATE_DIR": str(tmp_path / "work")})
    assert [p.name for p in found.profiles] == ["default", "work", "work~2"]


def test_a_state_directory_that_has_a_profile_already_is_taken_once(home: Path) -> None:
    assert names(find(home, {"OPENCLAW_STATE_DIR": "~/.openclaw/"})) == ["default"]


def test_a_missing_state_directory_of_the_environment_is_a_warning(home: Path) -> None:
    found = find(home, {"OPENCLAW_STATE_DIR": "/no/such"})
    assert found.warnings == ("OPENCLAW_STATE_DIR names /no/such, which isn't there",)


@pytest.mark.parametrize("call", ["listdir", "stat"])
def test_a_home_that_the_system_does_not_show_is_an_error(
    call: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, call, _failing(errno.EIO))
    with pytest.raises(SourceFailure, match="input/output error"):
        find(home)


def test_a_home_that_may_not_be_listed_is_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", _failing(errno.EACCES))
    found = find(home)
    assert names(found) == ["default"]
    assert any("can't be listed" in warning for warning in found.warnings)


def _failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_named_state_directory_is_the_only_one_taken(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "other" / "openclaw.json", "{}")
    assert names(find(home, state_dir=str(tmp_path / "other"))) == ["other"]


def test_a_named_state_directory_that_is_missing_is_an_error(home: Path) -> None:
    with pytest.raises(SourceMissing, match="the state directory isn't there"):
        find(home, state_dir="/no/such")


def test_only_the_profiles_asked_for_are_taken(home: Path) -> None:
    configure(home, "{}", "-work")
    assert names(find(home, profiles=["work"])) == ["work"]


def test_a_profile_that_is_not_there_is_an_error_that_names_those_that_are(home: Path) -> None:
    configure(home, "{}", "-work")
    with pytest.raises(SourceMissing) as raised:
        find(home, profiles=["lab"])
    assert (raised.value.message, raised.value.hint) == ("no profile lab", "found: default, work")


def test_finding_nothing_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing) as raised:
        find(tmp_path)
    assert str(tmp_path) in str(raised.value.hint)


def test_no_home_is_an_error() -> None:
    with pytest.raises(SourceMissing, match="names no home"):
        discover({})


# --- Workspaces ---


def test_a_workspace_inside_the_state_is_no_root_of_its_own(home: Path) -> None:
    write(home / ".openclaw" / "workspace" / "SOUL.md")
    found = find(home)
    assert (names(found), profile(found).workspaces) == (
        ["default"],
        (Workspace(agent="main", root="default", path=b"workspace"),),
    )


def test_a_workspace_elsewhere_is_a_root_named_after_its_agent(home: Path) -> None:
    write(home / "research-ws" / "SOUL.md")
    configure(home, '{agents: {entries: {main: {}, research: {workspace: "~/research-ws"}}}}')
    found = find(home)
    assert (names(found), source(found, "default.workspace.research").role, profile(found).workspaces) == (
        ["default", "default.workspace.research"],
        Role.WORKSPACE,
        (Workspace(agent="research", root="default.workspace.research"),),
    )


def test_a_workspace_that_two_profiles_share_is_taken_once(home: Path) -> None:
    (home / "ws").mkdir()
    for suffix in ("", "-work"):
        configure(home, '{agents: {defaults: {workspace: "~/ws"}}}', suffix)
    found = find(home)
    assert (names(found), profile(found, "work").workspaces) == (
        ["default", "work", "default.workspace.main"],
        (Workspace(agent="main", root="default.workspace.main"),),
    )


def test_a_workspace_inside_another_is_a_path_of_it(home: Path) -> None:
    (home / "ws" / "ops").mkdir(parents=True)
    configure(home, '{agents: {defaults: {workspace: "~/ws"}, entries: {main: {}, ops: {}}}}')
    assert profile(find(home)).workspaces == (
        Workspace(agent="main", root="default.workspace.main"),
        Workspace(agent="ops", root="default.workspace.main", path=b"ops"),
    )


def test_a_workspace_around_a_state_directory_leaves_that_to_its_own_root(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write(
        tmp_path / "srv" / ".openclaw" / "openclaw.json", f'{{agents: {{defaults: {{workspace: "{tmp_path}/srv"}}}}}}'
    )
    found = find(home, state_dir=str(tmp_path / "srv" / ".openclaw"))
    rules = source(found, "openclaw.workspace.main").rules
    assert rules is not None
    assert rules(b".openclaw", "directory") == Leave(Reason.NESTED, "in openclaw")


@pytest.mark.parametrize("workspace", ["/", "~", "~/..", "~/link"])
def test_a_workspace_that_holds_the_whole_home_is_refused(home: Path, workspace: str) -> None:
    (home / "link").symlink_to(home)
    configure(home, f'{{agents: {{defaults: {{workspace: "{workspace}"}}}}}}')
    found = find(home)
    assert (names(found), len(found.warnings)) == (["default"], 1)


def test_a_workspace_that_the_configuration_names_and_is_missing_is_a_warning(home: Path) -> None:
    configure(home, '{agents: {defaults: {workspace: "/no/such"}}}')
    assert find(home).warnings == ("the workspace of agent main of profile default is /no/such, which isn't there",)


def test_a_default_workspace_that_was_never_made_is_nothing_to_warn_of(home: Path) -> None:
    assert find(home).warnings == ()


def test_a_workspace_where_the_state_is_not_taken_is_a_root_of_its_own(home: Path) -> None:
    (home / ".openclaw" / "dev" / "ws").mkdir(parents=True)
    configure(home, '{agents: {defaults: {workspace: "~/.openclaw/dev/ws"}}}')
    assert path_of(find(home), "default.workspace.main") == str(home / ".openclaw" / "dev" / "ws")


def test_a_workspace_linked_into_the_state_is_taken_where_it_really_is(home: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "ws").mkdir(parents=True)
    (home / ".openclaw" / "workspace").symlink_to(tmp_path / "disk" / "ws")
    found = find(home)
    assert (names(found), path_of(found, "default.workspace.main")) == (
        ["default", "default.workspace.main"],
        str(tmp_path / "disk" / "ws"),
    )


def test_a_workspace_behind_a_link_elsewhere_keeps_the_name_in_the_configuration(home: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "ws").mkdir(parents=True)
    (home / "ws").symlink_to(tmp_path / "disk" / "ws")
    configure(home, '{agents: {defaults: {workspace: "~/ws"}}}')
    assert path_of(find(home), "default.workspace.main") == str(home / "ws")


def test_without_workspaces_none_is_taken_inside_or_outside(home: Path) -> None:
    (home / "ws").mkdir()
    (home / ".openclaw" / "my-ws").mkdir()
    configure(home, '{agents: {entries: {a: {workspace: "~/ws"}, b: {workspace: "~/.openclaw/my-ws"}}}}')
    found = find(home, workspaces=False)
    rules = source(found, "default").rules
    assert rules is not None
    assert (names(found), profile(found).workspaces, rules(b"my-ws", "directory")) == (
        ["default"],
        (),
        Leave(Reason.EXCLUDED, "workspaces weren't asked for"),
    )


# --- What stands elsewhere ---


def test_a_configuration_elsewhere_is_a_root(home: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "etc" / "oc.json", '{gateway: {mode: "local"}}')
    found = find(home, {"OPENCLAW_CONFIG_PATH": str(elsewhere)})
    assert (path_of(found, "default.config"), profile(found).config, profile(found).mode) == (
        str(elsewhere),
        os.fsencode(elsewhere),
        "local",
    )


def test_a_configuration_that_is_a_link_is_taken_where_it_really_is(home: Path) -> None:
    real = write(home / "dotfiles" / "oc.json", "{}")
    (home / ".openclaw" / "openclaw.json").unlink()
    (home / ".openclaw" / "openclaw.json").symlink_to(real)
    assert path_of(find(home), "default.config") == str(real)


def test_a_missing_configuration_of_the_environment_is_a_warning(home: Path) -> None:
    found = find(home, {"OPENCLAW_CONFIG_PATH": "/no/such.json"})
    assert (names(found), found.warnings) == (
        ["default"],
        ("profile default: can't read the configuration /no/such.json: No such file or directory",),
    )


def test_variables_of_the_environment_speak_of_the_profile_that_it_selects(home: Path, tmp_path: Path) -> None:
    configure(home, "{}", "-work")
    (tmp_path / "oauth").mkdir()
    environ = {"OPENCLAW_STATE_DIR": "~/.openclaw-work", "OPENCLAW_OAUTH_DIR": str(tmp_path / "oauth")}
    assert names(find(home, environ)) == ["default", "work", "work.credentials"]


def test_credentials_elsewhere_are_a_secret_root(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "oauth" / "x.txt")
    credentials = source(find(home, {"OPENCLAW_OAUTH_DIR": str(tmp_path / "oauth")}), "default.credentials")
    assert credentials.rules is not None
    assert (credentials.role, credentials.rules(b"x.txt", "file")) == (Role.CREDENTIALS, Sensitivity.SECRET)


def test_an_agents_directory_elsewhere_is_a_root_with_the_rules_of_its_usual_place(home: Path, tmp_path: Path) -> None:
    (tmp_path / "fast").mkdir()
    configure(home, f'{{agents: {{entries: {{main: {{agentDir: "{tmp_path}/fast"}}}}}}}}')
    agent = source(find(home), "default.agent.main")
    assert agent.rules is not None
    assert agent.rules(b"openclaw-agent.sqlite", "file") is Sensitivity.MIXED


def test_a_skill_that_is_a_link_is_taken_where_it_really_is(home: Path) -> None:
    write(home / "external-skill" / "SKILL.md")
    (home / ".openclaw" / "skills").mkdir()
    (home / ".openclaw" / "skills" / "ext").symlink_to(home / "external-skill")
    found = find(home)
    assert (path_of(found, "default.skill.ext"), source(found, "default.skill.ext").role) == (
        str(home / "external-skill"),
        Role.SKILL,
    )


def test_a_skill_whose_target_is_missing_is_a_warning(home: Path) -> None:
    (home / ".openclaw" / "skills").mkdir()
    (home / ".openclaw" / "skills" / "ext").symlink_to("/no/such")
    assert find(home).warnings == ("the target of default/skills/ext is /no/such, which isn't there",)


def test_a_skill_inside_a_root_is_taken_once(home: Path) -> None:
    write(home / ".openclaw" / "workspace" / "skills" / "s" / "SKILL.md")
    (home / ".openclaw" / "skills").mkdir()
    (home / ".openclaw" / "skills" / "s").symlink_to("../workspace/skills/s")
    assert names(find(home)) == ["default"]


def test_a_skill_of_an_installed_package_is_named_as_left(home: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "node_modules" / "openclaw" / "skills" / "s" / "SKILL.md").parent
    (home / ".openclaw" / "skills").mkdir()
    (home / ".openclaw" / "skills" / "s").symlink_to(target)
    found = find(home)
    assert (names(found), [left.path for left in found.left]) == (["default"], [os.fsencode(target)])


def test_a_link_to_the_home_is_refused(home: Path) -> None:
    (home / ".openclaw" / "all").symlink_to(home)
    found = find(home)
    assert (names(found), len(found.warnings)) == (["default"], 1)


def test_a_part_of_the_state_on_another_disk_is_taken(home: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "media").mkdir(parents=True)
    (home / ".openclaw" / "media").symlink_to(tmp_path / "disk" / "media")
    assert path_of(find(home), "default.link.media") == str(tmp_path / "disk" / "media")


def test_secrets_that_all_profiles_share_are_taken(home: Path) -> None:
    write(home / ".config" / "openclaw" / "gateway.env")
    write(home / ".openclaw-auth-profile-secrets" / "key")
    assert names(find(home)) == ["default", "default.gateway-env", "default.auth-profile-secrets"]


def test_a_file_that_the_configuration_names_elsewhere_is_named_as_left(home: Path, tmp_path: Path) -> None:
    token = write(tmp_path / "token")
    configure(home, f'{{channels: {{telegram: {{tokenFile: "{token}"}}}}}}')
    assert find(home).left == (
        Left(path=os.fsencode(token), detail="named by channels.*.tokenFile of the configuration; name it to pack it"),
    )


def test_the_keys_of_signal_are_named_as_left(home: Path) -> None:
    (home / ".local" / "share" / "signal-cli" / "data").mkdir(parents=True)
    configure(home, '{channels: {signal: {account: "+1"}}}')
    assert [left.detail for left in find(home).left] == ["the keys of signal-cli; name it to pack it"]


def test_a_root_may_be_one_file_and_its_rules_take_it(home: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "oc.json", "{}")
    rules = source(find(home, {"OPENCLAW_CONFIG_PATH": str(elsewhere)}), "default.config").rules
    assert rules is not None
    assert rules(b"", "file") is Sensitivity.SECRET


def test_only_the_configuration_is_that_of_every_profile_and_nothing_else(home: Path) -> None:
    (home / "ws").mkdir()
    write(home / ".openclaw" / "parts" / "a.json5", "{}")
    configure(home, '{$include: "parts/a.json5", agents: {defaults: {workspace: "~/ws"}}}')
    write(home / ".config" / "openclaw" / "gateway.env")
    found = find(home, only_config=True)
    rules = source(found, "default").rules
    assert rules is not None
    assert (names(found), [rules(path, "file") for path in (b"openclaw.json", b"parts/a.json5", b".env")]) == (
        ["default"],
        [Sensitivity.SECRET] * 3,
    )


def test_everything_includes_the_logs(home: Path) -> None:
    rules = source(find(home, everything=True), "default").rules
    assert rules is not None
    assert rules(b"logs", "directory") is Sensitivity.CONTENT


# --- Profiles' facts ---


def test_the_sqlite_era_is_known_by_its_schema(home: Path) -> None:
    database(home / ".openclaw" / "state" / "openclaw.sqlite", 18)
    database(home / ".openclaw" / "agents" / "main" / "agent" / "openclaw-agent.sqlite", 23)
    found = profile(find(home))
    assert (found.era, found.schemas) == (
        "C",
        {"state/openclaw.sqlite": 18, "agents/main/agent/openclaw-agent.sqlite": 23},
    )


def test_the_hybrid_era_is_known_by_its_schema(home: Path) -> None:
    database(home / ".openclaw" / "state" / "openclaw.sqlite", 1)
    assert profile(find(home)).era == "B"


def test_the_file_era_has_no_state_database(home: Path) -> None:
    write(home / ".openclaw" / "agents" / "main" / "sessions" / "sessions.json", "{}")
    assert (profile(find(home)).era, profile(find(home)).schemas) == ("A", {})


def test_an_empty_state_database_is_judged_by_the_configuration(home: Path) -> None:
    write(home / ".openclaw" / "state" / "openclaw.sqlite")
    configure(home, "{agents: {entries: {main: {}}}}")
    assert profile(find(home)).era == "C"


def test_looking_at_a_database_leaves_no_file_beside_it(home: Path) -> None:
    database(home / ".openclaw" / "state" / "openclaw.sqlite", 18)
    find(home)
    assert os.listdir(home / ".openclaw" / "state") == ["openclaw.sqlite"]


def test_agents_and_channels_are_those_of_the_configuration_and_of_the_disk(home: Path) -> None:
    for directory in ("agents/old/agent", "credentials/whatsapp/default"):
        (home / ".openclaw" / directory).mkdir(parents=True)
    configure(home, "{channels: {telegram: {}}}")
    found = profile(find(home))
    assert (found.agents, found.channels) == (("main", "old"), ("telegram", "whatsapp"))


def test_secrets_are_named_by_kind_and_never_shown(home: Path) -> None:
    write(home / ".openclaw" / ".env", "KEY=hunter2")
    write(home / ".openclaw" / "identity" / "device.json", "hunter2")
    write(home / ".openclaw" / "agents" / "main" / "agent" / "auth-profiles.json", "hunter2")
    (home / ".openclaw" / "credentials" / "whatsapp").mkdir(parents=True)
    configure(home, '{gateway: {auth: {token: "hunter2"}}, models: {providers: {x: {apiKey: "hunter2"}}}}')
    found = find(home)
    assert (profile(found).secrets, "hunter2" in repr(found)) == (
        ("auth profiles", "channel logins", "device identity", "env file", "gateway token", "provider keys"),
        False,
    )


def test_a_remote_client_is_told_that_its_state_is_elsewhere(home: Path) -> None:
    configure(home, '{gateway: {mode: "remote", remote: {url: "wss://user:hunter2@gw.example/?token=hunter2"}}}')
    (warning,) = find(home).warnings
    assert warning == (
        "profile default is a client of wss://gw.example/: its sessions, credentials and channel logins are there, "
        "not here; pack them there (what is here is packed all the same)"
    )


def test_a_broken_configuration_is_a_warning_and_its_profile_is_taken(home: Path) -> None:
    configure(home, "{")
    found = find(home)
    assert (names(found), found.warnings) == (
        ["default"],
        (f"profile default: the configuration {home}/.openclaw/openclaw.json isn't valid JSON5",),
    )


def test_a_state_without_a_configuration_is_taken_with_a_warning(home: Path) -> None:
    (home / ".openclaw" / "openclaw.json").unlink()
    found = find(home)
    assert (names(found), found.warnings) == (["default"], ("profile default has no configuration",))


def test_a_name_that_would_rewrite_a_terminal_is_escaped_in_warnings(home: Path) -> None:
    configure(home, "{agents: {defaults: {workspace: '/no/\\u001b[2Jsuch'}}}")
    assert "\\x1b[2J" in find(home).warnings[0]


# --- What isn't what it looks like ---


def test_a_home_that_is_not_there_has_no_openclaw(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        find(tmp_path / "no")


def test_a_state_that_is_a_circle_of_links_is_none(tmp_path: Path) -> None:
    (tmp_path / ".openclaw").symlink_to(".openclaw")
    with pytest.raises(SourceMissing):
        find(tmp_path)


def test_captures_of_a_profiles_update_are_no_second_profile(home: Path) -> None:
    configure(home, "{}", "-work")
    captures = home / ".openclaw-work.update-captures"
    captures.mkdir()
    found = find(home)
    assert (names(found), [left.path for left in found.left]) == (["default", "work"], [os.fsencode(captures)])


def test_a_named_state_that_has_no_profiles_name_is_called_as_it_is(home: Path) -> None:
    write(home / ".openclaw-default" / "openclaw.json", "{}")
    assert names(find(home, state_dir=str(home / ".openclaw-default"))) == ["openclaw-default"]


def test_a_directory_in_place_of_a_database_has_no_schema(home: Path) -> None:
    (home / ".openclaw/state/openclaw.sqlite").mkdir(parents=True)
    assert profile(find(home)).schemas == {}


def test_a_directory_that_is_not_utf_8_names_no_agent(home: Path) -> None:
    os.makedirs(os.fsencode(home) + b"/.openclaw/agents/caf\xe9")
    assert profile(find(home)).agents == ("main",)


def test_an_included_file_that_is_not_there_is_not_taken(home: Path) -> None:
    configure(home, "{$include: 'no.json'}")
    (home / ".openclaw/no.json").symlink_to("nowhere")
    assert names(find(home)) == ["default"]


def test_signal_without_keys_leaves_none(home: Path) -> None:
    configure(home, "{channels: {signal: {}}}")
    assert find(home).left == ()


def test_a_workspace_behind_a_circle_of_links_is_told_as_missing(home: Path) -> None:
    (home / ".openclaw/a").symlink_to("b")
    (home / ".openclaw/b").symlink_to("a")
    configure(home, "{agents: {defaults: {workspace: '~/.openclaw/a'}}}")
    assert any("isn't there" in warning for warning in find(home).warnings)


def test_links_that_follow_each_other_as_long_as_the_system_lets_them_are_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (home / ".openclaw/39").symlink_to(tmp_path / "ws")
    for number in range(39):
        (home / f".openclaw/{number}").symlink_to(str(number + 1))
    configure(home, "{agents: {defaults: {workspace: '~/.openclaw/0'}}}")
    assert path_of(find(home), "default.workspace.main") == str(tmp_path / "ws")
