"""What a gateway needs and no bundle holds, which secrets are inside, and which plugins are to be installed again."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ocbundle.cli import listing
from ocbundle.model import Host, Manifest, Profile, Role
from ocbundle.openclaw import Discovery, discover, holdings, services, stores
from ocbundle.sources import Sensitivity


def write(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def find(home: Path, **options: object) -> Discovery:
    return discover({"HOME": str(home)}, **options)  # type: ignore[arg-type]


def profile(found: Discovery, name: str = "default") -> Profile:
    return next(profile for profile in found.profiles if profile.name == name)


def needs(home: Path, **options: object) -> tuple[str, ...]:
    return profile(find(home, **options)).needs


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home" / "alice"
    write(home / ".openclaw" / "openclaw.json", "{}")
    return home


@pytest.fixture
def scratch(tmp_path: Path) -> str:
    directory = tmp_path / "scratch"
    directory.mkdir(0o700)
    return str(directory)


def configure(home: Path, content: str) -> None:
    write(home / ".openclaw" / "openclaw.json", content)


def unit(home: Path, body: str, name: str = "openclaw-gateway.service") -> Path:
    return write(home / ".config" / "systemd" / "user" / name, f"[Service]\n{body}\n")


# --- Variables ---


def test_a_variable_without_a_value_anywhere_is_needed(home: Path) -> None:
    configure(home, '{models: {providers: {x: {apiKey: "${X_API_KEY}"}}}}')
    assert needs(home) == ("X_API_KEY",)


def test_a_value_in_the_env_file_is_enough(home: Path) -> None:
    write(home / ".openclaw" / ".env", "export X_API_KEY = 'hunter2'\n")
    configure(home, '{models: {providers: {x: {apiKey: "${X_API_KEY}"}}}}')
    assert needs(home) == ()


@pytest.mark.parametrize("value", ["", "  ", "''", '""', "# later"])
def test_an_empty_value_in_the_env_file_is_none(home: Path, value: str) -> None:
    write(home / ".openclaw" / ".env", f"X_API_KEY={value}\nOTHER=1\n")
    configure(home, '{models: {providers: {x: {apiKey: "${X_API_KEY}"}}}}')
    assert needs(home) == ("X_API_KEY",)


def test_a_value_in_the_shared_env_file_is_enough_where_that_is_packed(home: Path) -> None:
    write(home / ".config" / "openclaw" / "gateway.env", "X_API_KEY=hunter2\n")
    configure(home, '{models: {providers: {x: {apiKey: "${X_API_KEY}"}}}}')
    assert (needs(home), needs(home, only_config=True)) == ((), ("X_API_KEY",))


def test_a_value_in_the_configuration_is_enough(home: Path) -> None:
    configure(home, '{env: {vars: {X_API_KEY: "hunter2"}}, hooks: {token: "${X_API_KEY}"}}')
    assert needs(home) == ()


def test_an_escaped_variable_is_text(home: Path) -> None:
    configure(home, '{hooks: {token: "$${X_API_KEY}"}}')
    assert needs(home) == ()


def test_a_variable_in_short_is_one(home: Path) -> None:
    configure(home, '{hooks: {token: "$X_API_KEY", path: "$not", name: "pay $US"}}')
    assert needs(home) == ("X_API_KEY",)


def test_a_variable_of_an_included_file_counts(home: Path) -> None:
    write(home / ".openclaw" / "keys.json5", '{token: "${X_API_KEY}"}')
    configure(home, '{hooks: {$include: "keys.json5"}}')
    assert needs(home) == ("X_API_KEY",)


def test_a_reference_to_the_environment_is_needed(home: Path) -> None:
    configure(home, '{hooks: {token: {source: "env", provider: "default", id: "X_API_KEY"}}}')
    assert needs(home) == ("X_API_KEY",)


def test_a_reference_to_the_store_is_not_for_the_store_is_packed(home: Path) -> None:
    configure(home, '{hooks: {token: {source: "store", provider: "default", id: "X_API_KEY"}}}')
    assert needs(home) == ()


def test_references_of_an_agents_logins_count(home: Path) -> None:
    logins = {"profiles": {"x:default": {"type": "api_key", "keyRef": {"source": "env", "id": "X_API_KEY"}}}}
    write(home / ".openclaw" / "agents" / "main" / "agent" / "auth-profiles.json", json.dumps(logins))
    assert needs(home) == ("X_API_KEY",)


# --- Programs ---


def test_a_provider_that_runs_a_program_is_needed_by_name(home: Path) -> None:
    configure(
        home,
        """{secrets: {providers: {vault: {source: "exec", command: "/opt/bin/vault-get", args: ["hunter2"],
            passEnv: ["PATH", "VAULT_ADDR", "VAULT_TOKEN"]}, unused: {source: "exec", command: "/opt/bin/op"}}},
            hooks: {token: {source: "exec", provider: "vault", id: "a/b"}}}""",
    )
    assert needs(home) == ("VAULT_TOKEN", "the program vault-get (secret provider vault)")


def test_a_provider_of_a_plugin_is_needed_by_name(home: Path) -> None:
    configure(
        home,
        """{secrets: {providers: {team: {source: "exec", pluginIntegration: {pluginId: "acme"}}}},
            hooks: {token: {source: "exec", provider: "team", id: "a"}},
            talk: {token: {source: "exec", provider: "gone", id: "a"}}}""",
    )
    assert needs(home) == ("the plugin acme (secret provider team)", "the secret provider gone")


def test_a_program_that_is_packed_is_not_needed(home: Path) -> None:
    write(home / ".openclaw" / "bin" / "resolve")
    configure(
        home,
        """{secrets: {providers: {own: {source: "exec", command: "~/.openclaw/bin/resolve"}}},
            hooks: {token: {source: "exec", provider: "own", id: "a"}}}""",
    )
    assert needs(home) == ()


# --- Files ---


def test_a_file_of_secrets_in_the_home_is_a_secret_root(home: Path) -> None:
    write(home / "vault" / "keys.json")
    configure(home, '{secrets: {providers: {f: {source: "file", path: "~/vault/keys.json"}}}}')
    found = find(home)
    (root,) = (source for source in found.sources if source.name == "default.secret.keys.json")
    assert root.rules is not None
    assert (root.role, root.rules(b"", "file"), profile(found).needs, profile(found).secrets) == (
        Role.CREDENTIALS,
        Sensitivity.SECRET,
        (),
        ("secret store",),
    )


def test_a_file_of_secrets_outside_of_the_home_is_needed(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "etc" / "keys.json")
    configure(home, f'{{secrets: {{providers: {{f: {{source: "file", path: "{tmp_path}/etc/keys.json"}}}}}}}}')
    found = find(home)
    assert (profile(found).needs, [left.path for left in found.left]) == (
        (f"{tmp_path}/etc/keys.json",),
        [os.fsencode(tmp_path / "etc" / "keys.json")],
    )


def test_a_file_of_secrets_inside_the_state_is_taken_with_it(home: Path) -> None:
    write(home / ".openclaw" / "secrets.json", "{}")
    configure(home, '{secrets: {providers: {f: {source: "file", path: "~/.openclaw/secrets.json"}}}}')
    found = find(home)
    assert ([source.name for source in found.sources], profile(found).needs) == (["default"], ())


# --- Services ---


def test_a_secret_of_the_service_is_needed_and_other_settings_are_not(home: Path) -> None:
    unit(home, 'Environment=OPENAI_API_KEY=hunter2 "PATH=/usr/bin" OPENCLAW_SERVICE_MANAGED_ENV_KEYS=X')
    assert needs(home) == ("OPENAI_API_KEY",)


def test_a_secret_of_the_service_that_is_in_the_env_file_too_is_not(home: Path) -> None:
    write(home / ".openclaw" / ".env", "OPENAI_API_KEY=hunter2\n")
    unit(home, "Environment=OPENAI_API_KEY=hunter2")
    assert needs(home) == ()


def test_the_gateways_own_token_is_not_needed_where_the_configuration_has_it(home: Path) -> None:
    configure(home, '{gateway: {auth: {token: "hunter2"}}}')
    unit(home, "Environment=OPENCLAW_GATEWAY_TOKEN=hunter2")
    assert needs(home) == ()


def test_secrets_of_an_environment_file_elsewhere_are_needed_by_name(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "etc" / "gateway.env", "BRAVE_API_KEY=hunter2\nLANG=C\n")
    unit(home, f"EnvironmentFile=-{tmp_path}/etc/gateway.env")
    assert needs(home) == ("BRAVE_API_KEY",)


def test_an_environment_file_in_the_state_is_packed_as_a_secret(home: Path) -> None:
    write(home / ".openclaw" / "gateway.systemd.env", "BRAVE_API_KEY=hunter2\n")
    unit(home, "EnvironmentFile=%h/.openclaw/gateway.systemd.env")
    found = find(home)
    rules = found.sources[0].rules
    assert rules is not None
    assert (profile(found).needs, rules(b"gateway.systemd.env", "file")) == ((), Sensitivity.SECRET)


def test_settings_added_to_a_unit_count(home: Path) -> None:
    unit(home, "ExecStart=/usr/bin/openclaw gateway run")
    unit(home, "Environment=BRAVE_API_KEY=hunter2", "openclaw-gateway.service.d/override.conf")
    assert needs(home) == ("BRAVE_API_KEY",)


def test_a_unit_speaks_of_the_profile_that_it_starts(home: Path) -> None:
    write(home / ".openclaw-work" / "openclaw.json", "{}")
    unit(
        home,
        "ExecStart=/usr/bin/openclaw --profile work gateway run\nEnvironment=BRAVE_API_KEY=hunter2",
        "openclaw-gateway-work.service",
    )
    found = find(home)
    assert (profile(found).needs, profile(found, "work").needs) == ((), ("BRAVE_API_KEY",))


def test_an_environment_file_that_cant_be_read_tells_nothing(home: Path) -> None:
    assert services.variables(os.fsencode(home / "no-such.env")) == frozenset()


def test_what_is_needed_is_a_warning_without_a_value(home: Path) -> None:
    configure(home, '{hooks: {token: "${A_TOKEN}"}}')
    unit(home, "Environment=B_TOKEN=hunter2")
    found = find(home)
    assert (found.warnings, "hunter2" in repr(found)) == (
        ("profile default needs A_TOKEN, B_TOKEN, which aren't in the bundle",),
        False,
    )


def test_what_is_needed_stands_in_the_manifest(home: Path) -> None:
    configure(home, '{hooks: {token: "${A_TOKEN}"}}')
    (described,) = find(home).profiles
    manifest = Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(), roots=(), profiles=(described,))
    assert "  needed, and not inside: A_TOKEN" in listing.manifest_lines(manifest, {})
    assert listing.manifest_fields(manifest, {})["profiles"][0]["needs"] == ["A_TOKEN"]


# --- Kinds of secret, told by databases ---


def state_database(home: Path, *statements: str, log: bool = False) -> None:
    path = home / ".openclaw" / "state" / "openclaw.sqlite"
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 18")
        connection.execute("CREATE TABLE config_machine_state (state_key TEXT, value_json TEXT)")
        connection.execute("CREATE TABLE device_identities (x)")
        connection.execute("CREATE TABLE secret_store_entries (x)")
        connection.commit()
        if log:
            connection.execute("PRAGMA journal_mode = WAL")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        if log:  # as a gateway leaves it
            for part in ("", "-wal"):
                shutil.copyfile(f"{path}{part}", f"{path}{part}.kept")
    if log:
        for part in ("", "-wal"):
            os.replace(f"{path}{part}.kept", f"{path}{part}")


def machine_state(key: str, value: object) -> str:
    return f"INSERT INTO config_machine_state VALUES ('{key}', '{json.dumps(value)}')"  # noqa: S608 - our words


def test_tables_without_rows_are_no_secrets(home: Path, scratch: str) -> None:
    state_database(home, machine_state("authProfiles.store", {"version": 1, "profiles": {}}))
    assert profile(find(home, scratch=scratch)).secrets == ()


def test_rows_are_secrets_of_their_kind(home: Path, scratch: str) -> None:
    state_database(
        home,
        "INSERT INTO device_identities VALUES (1)",
        machine_state("authProfiles.store", {"profiles": {"x:default": {"key": "hunter2"}}}),
        machine_state("nodeHost.token", "hunter2"),
    )
    found = find(home, scratch=scratch)
    assert (profile(found).secrets, "hunter2" in repr(found)) == (
        ("auth profiles", "device identity", "node credentials"),
        False,
    )


def test_rows_that_are_only_in_the_log_count(home: Path, scratch: str) -> None:
    state_database(home, "INSERT INTO secret_store_entries VALUES (1)", log=True)
    assert profile(find(home, scratch=scratch)).secrets == ("secret store",)


def test_without_a_private_copy_every_kind_counts(home: Path) -> None:
    state_database(home)
    assert {"auth profiles", "device identity", "secret store"} <= {*profile(find(home)).secrets}


def test_a_damaged_database_counts_as_holding_every_kind_and_is_a_warning(home: Path, scratch: str) -> None:
    write(home / ".openclaw" / "state" / "openclaw.sqlite", "SQLite format 3\0" + "x" * 5000)
    found = find(home, scratch=scratch)
    assert ("secret store" in profile(found).secrets, len(found.warnings), os.listdir(scratch)) == (True, 1, [])


def test_looking_into_a_database_leaves_nothing_beside_it_and_nothing_behind(home: Path, scratch: str) -> None:
    state_database(home)
    find(home, scratch=scratch)
    assert (os.listdir(home / ".openclaw" / "state"), os.listdir(scratch)) == (["openclaw.sqlite"], [])


def test_references_in_the_shared_logins_count(home: Path, scratch: str) -> None:
    logins = {"profiles": {"x:default": {"keyRef": {"source": "env", "provider": "default", "id": "X_API_KEY"}}}}
    state_database(home, machine_state("authProfiles.store", logins))
    assert needs(home, scratch=scratch) == ("X_API_KEY",)


def test_an_agents_logins_are_found_in_its_database(home: Path, scratch: str) -> None:
    directory = home / ".openclaw" / "agents" / "main" / "agent"
    directory.mkdir(parents=True)
    with closing(sqlite3.connect(directory / "openclaw-agent.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE auth_profile_store (store_key TEXT, store_json TEXT)")
        connection.execute("""INSERT INTO auth_profile_store VALUES ('a', '{"profiles": {"x": {"key": "hunter2"}}}')""")
    assert profile(find(home, scratch=scratch)).secrets == ("auth profiles",)


def test_only_what_is_packed_counts(home: Path, scratch: str) -> None:
    state_database(home, "INSERT INTO secret_store_entries VALUES (1)")
    write(home / ".openclaw" / "identity" / "device.json")
    write(home / ".openclaw" / ".env")
    assert profile(find(home, scratch=scratch, only_config=True)).secrets == ("env file",)


def test_a_configuration_that_only_refers_to_secrets_holds_none(home: Path) -> None:
    configure(
        home,
        """{gateway: {auth: {mode: "token", token: "${T}"}}, auth: {profiles: {"x:default": {mode: "api_key"}}},
            models: {providers: {x: {apiKey: {source: "env", id: "T"}, maxTokens: 5}}}, channels: {telegram: {}}}""",
    )
    assert profile(find(home)).secrets == ()


def test_secrets_of_the_configuration_are_told_by_section(home: Path) -> None:
    configure(
        home,
        """{gateway: {auth: {password: "p"}}, channels: {slack: {accounts: {a: {signingSecret: "s"}}}},
            hooks: {token: "t"}, plugins: {entries: {x: {config: {apiKey: "k"}}}}}""",
    )
    assert profile(find(home)).secrets == ("channel tokens", "gateway password", "hook token", "provider keys")


# --- Plugins ---


def index(**records: object) -> str:
    plugins = [{"pluginId": "anthropic", "origin": "bundled", "enabled": True}]
    return machine_state("plugins.installedIndex", {"index": {"installRecords": records, "plugins": plugins}})


def test_installed_plugins_are_told_by_what_installs_them(home: Path, scratch: str) -> None:
    records = {
        "whatsapp": {"source": "npm", "spec": "@openclaw/whatsapp@2026.9.6"},
        "hub": {"source": "clawhub", "spec": "clawhub:some-plugin"},
        "private": {"source": "npm", "spec": "https://token:hunter2@registry.example/x.tgz"},
        "repo": {"source": "git", "spec": "git:https://hunter2@example.org/x.git"},
        "mine": {"source": "path", "sourcePath": "/srv/mine"},
    }
    state_database(home, index(**records))
    configure(home, "{plugins: {entries: {anthropic: {enabled: true}, codex: {}}}}")
    assert profile(find(home, scratch=scratch)).plugins == (
        "@openclaw/whatsapp@2026.9.6",
        "clawhub:some-plugin",
        "private",
        "repo",
    )


def test_records_in_the_configuration_are_those_of_earlier_releases(home: Path) -> None:
    configure(home, '{plugins: {installs: {matrix: {source: "npm", spec: "@openclaw/matrix"}}}}')
    assert profile(find(home)).plugins == ("@openclaw/matrix",)


def test_an_extension_whose_modules_stay_behind_is_to_be_installed_again(home: Path, scratch: str) -> None:
    for name in ("built", "known"):
        write(home / ".openclaw" / "extensions" / name / "node_modules" / "x" / "index.js")
    write(home / ".openclaw" / "extensions" / "plain" / "index.js")
    state_database(home, index(known={"source": "npm", "spec": "@x/known"}))
    found = find(home, scratch=scratch)
    assert (profile(found).plugins, profile(find(home, scratch=scratch, everything=True)).plugins) == (
        ("@x/known", "built"),
        (),
    )


# --- What isn't taken ---


def left(found: Discovery) -> dict[str, str]:
    return {os.fsdecode(os.path.basename(each.path)): each.detail for each in found.left}


def test_a_profile_that_was_not_asked_for_is_named(home: Path) -> None:
    write(home / ".openclaw-work" / "openclaw.json", "{}")
    assert left(find(home, profiles=["default"])) == {".openclaw-work": "profile work wasn't asked for"}


def test_a_workspace_elsewhere_that_was_not_asked_for_is_named(home: Path) -> None:
    (home / "ws").mkdir()
    configure(home, '{agents: {defaults: {workspace: "~/ws"}}}')
    assert left(find(home, workspaces=False)) == {"ws": "workspaces weren't asked for"}


def test_what_stands_elsewhere_is_named_when_only_the_configuration_is_asked_for(home: Path) -> None:
    for name in ("ws", "fast"):
        (home / name).mkdir()
    write(home / ".config" / "openclaw" / "gateway.env")
    write(home / "token")
    configure(
        home,
        """{agents: {defaults: {workspace: "~/ws"}, entries: {main: {agentDir: "~/fast"}}},
            channels: {telegram: {tokenFile: "~/token"}}}""",
    )
    reason = "only the configuration was asked for"
    found = find(home, only_config=True)
    assert ([source.name for source in found.sources], left(found)) == (
        ["default"],
        {"ws": reason, "fast": reason, "gateway.env": reason, "token": reason},
    )


def test_the_service_of_a_gateway_is_named(home: Path) -> None:
    unit(home, "ExecStart=/usr/bin/openclaw gateway run")
    assert left(find(home)) == {"openclaw-gateway.service": "the service, which openclaw gateway install makes anew"}


def test_logins_of_other_programs_are_named(home: Path) -> None:
    write(home / ".codex" / "auth.json")
    assert left(find(home)) == {
        "auth.json": "the login of the program codex, which a gateway may use; name it to pack it"
    }


def test_a_client_behind_a_tunnel_is_told_the_host(home: Path) -> None:
    configure(
        home,
        '{gateway: {mode: "remote", remote: {url: "ws://127.0.0.1:18789", sshTarget: "alice@gw.example:22"}}}',
    )
    assert find(home).warnings[0].startswith("profile default is a client of gw.example:22: ")


# --- What can't be looked into ---


def test_a_database_that_is_too_long_to_copy_may_hold_anything(tmp_path: Path, scratch: str) -> None:
    path = write(tmp_path / "a.sqlite", "x" * 100)
    found = holdings.read(os.fsencode(path), scratch, limit=99, at_most=holdings.OF_AN_AGENT)
    assert (found.secrets, found.problem) == (holdings.OF_AN_AGENT, "it is longer than 0 MiB")


@pytest.mark.parametrize("login", ["{torn", None, "[" * 100_000])
def test_a_login_that_makes_no_sense_is_passed_over(tmp_path: Path, scratch: str, login: str | None) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE auth_profile_store (store_json)")
        connection.execute("INSERT INTO auth_profile_store VALUES (?)", (login,))
    path = os.fsencode(tmp_path / "a.sqlite")
    found = holdings.read(path, scratch, limit=1 << 20, at_most=holdings.OF_AN_AGENT)
    assert found == holdings.Holdings()


def test_a_database_in_a_directory_that_is_gone_is_unreadable(tmp_path: Path, scratch: str) -> None:
    with pytest.raises(stores.Unreadable, match="No such file"), stores.opened(b"%s/no/a" % bytes(tmp_path), scratch):
        pass


def test_what_sqlite_can_not_read_is_unreadable(tmp_path: Path, scratch: str) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
    path = os.fsencode(tmp_path / "a.sqlite")
    with pytest.raises(stores.Unreadable, match="no such table: u"), stores.opened(path, scratch) as copy:
        copy.execute("SELECT * FROM u")


def test_a_copy_for_which_there_is_no_room_is_unreadable(tmp_path: Path, scratch: str) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a)")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        found = stores.read(os.fsencode(tmp_path / "a.sqlite"), scratch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found is not None
    assert found.problem == f"there is no room for a private copy in {scratch}"
