"""What the doctor finds after a move gone wrong, and that it finds nothing after one that went well."""

from __future__ import annotations

import json
import os
import plistlib
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from ocbundle.model import Host, Manifest, Profile
from ocbundle.openclaw import doctor
from ocbundle.openclaw.findings import Finding, Severity, shell

HOST: Final = "newhost"
VERSION: Final = "2026.9.6"


class Home:
    """A home with one gateway, as OpenClaw leaves it, in which things can go wrong."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.state = path / ".openclaw"
        self.scratch = scratch
        self.environ = {"HOME": str(path), "PATH": str(path / "bin")}
        self.unit = path / ".config/systemd/user/openclaw-gateway.service"

    def write(self, name: str, text: str = "", mode: int = 0o600) -> Path:
        path = self.path / name
        private(path.parent)
        path.write_text(text)
        path.chmod(mode)
        return path

    def database(self, name: str, version: int, *statements: str) -> None:
        path = self.path / name
        private(path.parent)
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in (f"PRAGMA user_version={version}", "CREATE TABLE meta (x)", *statements):
                connection.execute(statement)
        path.chmod(0o600)

    def configure(self, **changes: object) -> None:
        """Write the configuration: that of a sound gateway, with these keys changed."""
        tree: dict[str, Any] = {
            "agents": {
                "defaults": {"workspace": f"{self.state}/workspace"},
                "entries": {
                    "main": {"workspace": f"{self.state}/workspace"},
                    "research": {
                        "workspace": f"{self.path}/research-ws",
                        "agentDir": f"{self.state}/agents/research/agent",
                    },
                },
            },
            "gateway": {"mode": "local", "port": 18789, "auth": {"token": "${GATEWAY_TOKEN}"}},
            "channels": {"whatsapp": {"enabled": True}, "telegram": {}},
            "hooks": {"path": "/hooks"},
            "meta": {"lastTouchedVersion": VERSION},
        }
        self.write(".openclaw/openclaw.json", json.dumps(tree | changes, indent=2))

    def store(self, *, key: str | None = None, agents: Mapping[str, str] | None = None, version: int = 18) -> None:
        """Write the state database."""
        job = (key or f"{self.state}/cron/jobs.json").replace("'", "''")
        listed = {"main": "agents/main/agent/openclaw-agent.sqlite"} if agents is None else agents
        self.database(
            ".openclaw/state/openclaw.sqlite",
            version,
            "CREATE TABLE cron_jobs (store_key TEXT, job_id TEXT, PRIMARY KEY (store_key, job_id))",
            f"INSERT INTO cron_jobs VALUES ('{job}', 'nightly')",  # noqa: S608 - a test's own words
            "CREATE TABLE agent_databases (agent_id TEXT, path TEXT)",
            *(f"INSERT INTO agent_databases VALUES ('{agent}', '{path}')" for agent, path in listed.items()),  # noqa: S608
        )

    def install(self, version: str = VERSION, schemas: Mapping[str, int] | None = None) -> None:
        """Install OpenClaw, as npm would."""
        said = {"state": 18, "agent": 23} if schemas is None else schemas
        package = {"name": "openclaw", "version": version, "openclaw": {"schemaVersions": said}}
        self.write("lib/openclaw/package.json", json.dumps(package))
        self.write("lib/openclaw/openclaw.mjs", "#!/usr/bin/env node\n", 0o755)
        self.write("lib/openclaw/dist/extensions/telegram/index.js")
        (self.path / "bin").mkdir(exist_ok=True)
        (self.path / "bin/openclaw").unlink(missing_ok=True)
        (self.path / "bin/openclaw").symlink_to("../lib/openclaw/openclaw.mjs")

    def serve(self, *environment: str, name: str = "openclaw-gateway.service", program: str = "") -> None:
        """Write a unit of systemd, as OpenClaw would."""
        lines = ["[Service]", f"ExecStart={program or '/bin/sh -c gateway'}"]
        lines += [f"Environment={setting}" for setting in environment]
        self.write(f".config/systemd/user/{name}", "\n".join(lines))

    def examine(
        self, *, manifest: Manifest | None = None, environ: Mapping[str, str] | None = None
    ) -> tuple[Finding, ...]:
        return doctor.examine(
            self.environ | dict(environ or {}), uid=os.getuid(), host=HOST, scratch=str(self.scratch), manifest=manifest
        )


def private(directory: Path) -> None:
    """Make a directory, and those above it, for its user alone."""
    if not directory.exists():
        private(directory.parent)
        directory.mkdir(mode=0o700)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "scratch").mkdir(mode=0o700)
    made = Home(tmp_path / "bob", tmp_path / "scratch")
    made.configure()
    made.write(".openclaw/.env", "export GATEWAY_TOKEN=FAKE\nTELEGRAM_BOT_TOKEN=FAKE\n")
    made.write(".openclaw/credentials/whatsapp/default/creds.json", "{}")
    made.write(".openclaw/workspace/AGENTS.md", "agents\n", 0o644)
    made.write("research-ws/AGENTS.md", "agents\n", 0o644)
    made.store()
    made.database(".openclaw/agents/main/agent/openclaw-agent.sqlite", 23)
    made.install()
    return made


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, [finding.what for finding in findings]
    return findings[0]


def run(command: str | None, home: Home) -> None:
    """What a shell does with the command of a finding."""
    assert command is not None
    subprocess.run(["bash", "-c", command], cwd=home.path, check=True)


# --- nothing is wrong ------------------------------------------------------------------------------------------------


def test_a_sound_gateway_has_no_findings(home: Home) -> None:
    assert home.examine() == ()


def test_a_sound_gateway_with_its_service_has_no_findings(home: Home) -> None:
    home.serve(f"OPENCLAW_STATE_DIR={home.state}", "OPENCLAW_GATEWAY_PORT=18789", f'"HOME={home.path}"')
    assert home.examine() == ()


def test_examining_changes_nothing(home: Home) -> None:
    before = sorted((path, path.lstat().st_mtime_ns) for path in home.path.rglob("*"))
    home.examine()
    assert sorted((path, path.lstat().st_mtime_ns) for path in home.path.rglob("*")) == before


def test_nothing_is_left_of_the_copies_of_databases(home: Home) -> None:
    home.examine()
    assert list(home.scratch.iterdir()) == []


def test_an_agent_that_never_had_a_turn_is_no_finding(home: Home) -> None:
    home.store(agents={})
    shutil.rmtree(home.state / "agents")
    assert home.examine() == ()


def test_a_named_profile_with_a_service_of_its_own_needs_no_default_one(home: Home) -> None:
    make_work(home)
    home.serve(f"OPENCLAW_STATE_DIR={home.path}/.openclaw-work", name="openclaw-gateway-work.service")
    assert home.examine() == ()


def make_work(home: Home) -> None:
    """Turn the default profile into the profile "work"."""
    work = home.path / ".openclaw-work"
    home.state.rename(work)
    text = (work / "openclaw.json").read_text()
    (work / "openclaw.json").write_text(text.replace("/.openclaw/", "/.openclaw-work/"))
    with closing(sqlite3.connect(work / "state/openclaw.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE cron_jobs SET store_key = replace(store_key, '/.openclaw/', '/.openclaw-work/')")


# --- one thing is wrong ----------------------------------------------------------------------------------------------


def legacy(home: Home, *, file: str | None = None, transcript: bool = True) -> None:
    """Conversations of the file era."""
    directory = home.state / "agents/main/sessions"
    entry = {"sessionId": "1234", "sessionFile": file or f"{directory}/1234.jsonl"}
    home.write(".openclaw/agents/main/sessions/sessions.json", json.dumps({"agent:main:main": entry}))
    if transcript:
        home.write(".openclaw/agents/main/sessions/1234.jsonl", "{}\n")


def remove(*names: str) -> Callable[[Home], None]:
    def act(home: Home) -> None:
        for name in names:
            path = home.state / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def chmod(name: str, mode: int) -> Callable[[Home], None]:
    return lambda home: (home.state / name).chmod(mode)


def plugin(name: str) -> dict[str, Any]:
    return {"entries": {name: {"enabled": True}}}


def singleton(home: Home) -> None:
    lock = home.state / "browser/openclaw/user-data/SingletonLock"
    lock.parent.mkdir(parents=True)
    lock.symlink_to("oldhost-4242")


def lock(home: Home) -> None:
    home.write(f".openclaw/tmp/openclaw-{os.getuid()}/gateway.state.lock", '{"pid": 4194304, "startTime": 1}')


ONE: Final[Mapping[str, tuple[Callable[[Home], object], Severity, str, str]]] = {
    # Files that weren't copied.
    "no configuration": (remove("openclaw.json"), Severity.ERROR, "has no configuration", "openclaw onboard"),
    "no configuration, but a copy of it": (
        lambda home: (home.state / "openclaw.json").rename(home.state / "openclaw.json.bak"),
        Severity.ERROR,
        "has no configuration",
        "cp -p -- {state}/openclaw.json.bak {state}/openclaw.json",
    ),
    "a broken configuration": (
        lambda home: home.write(".openclaw/openclaw.json", "{"),
        Severity.ERROR,
        "isn't valid JSON5",
        "openclaw doctor",
    ),
    "no state database": (
        remove("state"),
        Severity.ERROR,
        "has a configuration, but no state database",
        "ocbundle pack",
    ),
    "a log without its database": (
        lambda home: (home.state / "state/openclaw.sqlite").rename(home.state / "state/openclaw.sqlite-wal"),
        Severity.ERROR,
        "is missing, though its log is there",
        "ocbundle pack",
    ),
    "a damaged database": (
        lambda home: home.write(".openclaw/state/openclaw.sqlite", "SQLite format 3\0" + "x" * 5000),
        Severity.ERROR,
        "can't be read",
        "",
    ),
    "no database of an agent": (
        remove("agents"),
        Severity.ERROR,
        "the database of agent main of profile default is missing",
        "ocbundle pack",
    ),
    "no transcript": (
        lambda home: legacy(home, transcript=False),
        Severity.ERROR,
        "1 of 1 conversations of agent main",
        "ocbundle pack",
    ),
    "no .env": (
        lambda home: home.write(".openclaw/.env", "TELEGRAM_BOT_TOKEN=FAKE\n"),
        Severity.ERROR,
        "counts on the variable GATEWAY_TOKEN, which is set nowhere",
        "GATEWAY_TOKEN VALUE {state}/.env",
    ),
    "no login of a channel": (
        remove("credentials"),
        Severity.ERROR,
        "channel whatsapp of profile default has no login",
        "openclaw channels login --channel whatsapp",
    ),
    "no token of a channel": (
        lambda home: home.write(".openclaw/.env", "GATEWAY_TOKEN=FAKE\n"),
        Severity.ERROR,
        "channel telegram of profile default has no login",
        "openclaw channels add --channel telegram",
    ),
    "no plugin": (
        lambda home: home.configure(plugins=plugin("matrix")),
        Severity.WARNING,
        "plugin matrix of profile default isn't installed",
        "openclaw plugins install @openclaw/matrix",
    ),
    "no packages of a plugin": (
        lambda home: home.write(".openclaw/extensions/demo/package.json", '{"dependencies": {"x": "1"}}'),
        Severity.WARNING,
        "the packages of plugin demo",
        "npm install --omit=dev --prefix {state}/extensions/demo",
    ),
    # Rights.
    "a state that others can read": (chmod("", 0o755), Severity.WARNING, "the state directory", "chmod go= -- {state}"),
    "a configuration that others can read": (
        chmod("openclaw.json", 0o644),
        Severity.WARNING,
        "the configuration and secrets",
        "chmod go= -- {state}/openclaw.json",
    ),
    "an .env that others can read": (
        chmod(".env", 0o640),
        Severity.WARNING,
        "the configuration and secrets",
        "chmod go= -- {state}/.env",
    ),
    "credentials that others can read": (
        chmod("credentials/whatsapp/default/creds.json", 0o644),
        Severity.WARNING,
        "credentials",
        "chmod -R go= -- {state}/credentials",
    ),
    "a database that others can read": (
        chmod("state/openclaw.sqlite", 0o644),
        Severity.WARNING,
        "databases and logins",
        "chmod go= -- {state}/state/openclaw.sqlite",
    ),
    "a file that its user can't read": (
        chmod("credentials/whatsapp", 0o000),
        Severity.ERROR,
        "can't be read by their own user",
        "chmod u+rwX -- {state}/credentials/whatsapp",
    ),
    # Paths.
    "a workspace that isn't there": (
        lambda home: shutil.rmtree(home.path / "research-ws"),
        Severity.ERROR,
        "agents.entries.research.workspace of profile default names {home}/research-ws, which isn't there",
        "openclaw config set agents.entries.research.workspace",
    ),
    "a path of another home in a plugin's settings": (
        lambda home: home.configure(plugins={"entries": {"x": {"config": {"vault": "/home/no-such-user/notes"}}}}),
        Severity.WARNING,
        "plugins.entries.x.config.vault of profile default names /home/no-such-user/notes",
        "openclaw config set plugins.entries.x.config.vault WHERE-IT-IS-NOW",
    ),
    "cron jobs of another place": (
        lambda home: home.store(key="/home/no-such-user/.openclaw/cron/jobs.json"),
        Severity.ERROR,
        "a cron job of profile default is filed under /home/no-such-user/.openclaw/cron/jobs.json",
        "sqlite3 {state}/state/openclaw.sqlite",
    ),
    "conversations of another place": (
        lambda home: legacy(home, file="/home/no-such-user/.openclaw/agents/main/sessions/1234.jsonl"),
        Severity.ERROR,
        "are looked for in /home/no-such-user/.openclaw/agents/main/sessions",
        "sed -i.moved",
    ),
    # Versions.
    "a schema of a newer release": (
        lambda home: home.install("2026.9.6", {"state": 17, "agent": 23}),
        Severity.ERROR,
        "state schema 18, and 2026.9.6 reads up to 17",
        "npm install -g openclaw@2026.9.6",
    ),
    "an agent's schema of a newer release": (
        lambda home: home.install("2026.9.6", {"state": 18, "agent": 2}),
        Severity.ERROR,
        "agent schema 23, and 2026.9.6 reads up to 2",
        "npm install -g openclaw@2026.9.6",
    ),
    "a configuration of a newer release": (
        lambda home: home.install("2026.6.10", {}),
        Severity.ERROR,
        "2026.9.6 wrote its configuration, and 2026.6.10 is installed",
        "npm install -g openclaw@2026.9.6",
    ),
    # Where the gateway starts.
    "a client": (
        lambda home: home.configure(gateway={"mode": "remote", "remote": {"url": "wss://user:pw@big.example/x"}}),
        Severity.WARNING,
        "is a client of wss://big.example/x",
        "openclaw config set gateway.mode local",
    ),
    "only a named profile": (
        make_work,
        Severity.NOTE,
        "there is no default profile, only work",
        "openclaw --profile work status",
    ),
    "a service without its state": (
        lambda home: home.serve(f"OPENCLAW_STATE_DIR={home.path}/old"),
        Severity.ERROR,
        "service openclaw-gateway.service starts a gateway on {home}/old, which isn't there",
        "openclaw gateway install --force",
    ),
    "a service of a profile that isn't there": (
        lambda home: home.serve(
            program="/bin/sh openclaw --profile work gateway", name="openclaw-gateway-work.service"
        ),
        Severity.ERROR,
        "starts a gateway on {home}/.openclaw-work, which isn't there",
        "openclaw --profile work gateway install --force",
    ),
    "a service that names a profile and starts another": (
        lambda home: home.serve("OPENCLAW_PROFILE=work"),
        Severity.ERROR,
        "is for profile work, but starts the default",
        "openclaw --profile work gateway install --force",
    ),
    "a service without its program": (
        lambda home: home.serve(program="/opt/gone/node /bin/sh"),
        Severity.ERROR,
        "names /opt/gone/node, which isn't there",
        "openclaw gateway install --force",
    ),
    # What is left behind.
    "a lock": (
        lock,
        Severity.NOTE,
        "names a process that is gone",
        "rm -- {state}/tmp/openclaw-{uid}/gateway.state.lock",
    ),
    "a browser's lock": (
        singleton,
        Severity.WARNING,
        "is locked by another host, oldhost",
        "rm -f -- {state}/browser/openclaw/user-data/SingletonLock",
    ),
    "an old state": (
        lambda home: (home.path / ".openclaw.default.20261124T214200Z.replaced").mkdir(),
        Severity.NOTE,
        "an old state is kept",
        "rm -r -- {home}/.openclaw.default.20261124T214200Z.replaced",
    ),
    "a staging directory": (
        lambda home: (home.path / ".openclaw.0123456789abcdef.staging").mkdir(),
        Severity.NOTE,
        "was left behind by a run that was killed",
        "rm -r -- {home}/.openclaw.0123456789abcdef.staging",
    ),
    "a state of old": (
        lambda home: (home.path / ".clawdbot").mkdir(),
        Severity.NOTE,
        "looks like an OpenClaw state",
        "ls -la -- {home}/.clawdbot",
    ),
}


@pytest.mark.parametrize("trouble", ONE)
def test_one_trouble_gives_one_finding_with_the_command_that_mends_it(home: Home, trouble: str) -> None:
    act, severity, what, command = ONE[trouble]
    act(home)
    found = only(home.examine())
    filled = {"state": str(home.state), "home": str(home.path), "uid": str(os.getuid())}
    said = (found.severity, what.format(**filled) in found.what, command.format(**filled) in (found.command or ""))
    assert said == (severity, True, True), found


@pytest.mark.parametrize(
    "trouble",
    [
        "no configuration, but a copy of it",
        "a state that others can read",
        "a configuration that others can read",
        "credentials that others can read",
        "a database that others can read",
        "a file that its user can't read",
        "conversations of another place",
        "a lock",
        "a browser's lock",
        "an old state",
        "a staging directory",
        "no .env",
    ],
)
def test_the_command_mends_it(home: Home, trouble: str) -> None:
    ONE[trouble][0](home)
    run(only(home.examine()).command, home)
    assert home.examine() == ()


def test_the_command_for_cron_jobs_files_them_where_openclaw_looks(home: Home) -> None:
    home.store(key="/home/o'brien/.openclaw/cron/jobs.json")
    command = only(home.examine()).command
    assert command is not None
    _, path, statements = shlex.split(command)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(statements)
    assert home.examine() == ()


def test_the_command_for_an_agents_directory_mends_the_configuration(home: Home) -> None:
    text = (home.state / "openclaw.json").read_text()
    moved = text.replace(f"{home.state}/agents/research", "/home/no-such-user/.openclaw/agents/research")
    (home.state / "openclaw.json").write_text(moved)
    (home.state / "agents/research").mkdir()
    run(only(home.examine()).command, home)
    assert ((home.state / "openclaw.json").read_text(), home.examine()) == (text, ())


def test_a_path_that_several_keys_name_is_one_finding(home: Home) -> None:
    shutil.rmtree(home.state / "workspace")
    assert "agents.defaults.workspace and agents.entries.main.workspace" in only(home.examine()).what


def test_a_moved_workspace_is_looked_for_in_the_new_home(home: Home) -> None:
    text = (home.state / "openclaw.json").read_text()
    (home.state / "openclaw.json").write_text(
        text.replace(f"{home.path}/research-ws", "/home/no-such-user/research-ws")
    )
    command = f"openclaw config set agents.entries.research.workspace {home.path}/research-ws"
    assert only(home.examine()).command == command


# --- a database without its log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["state/openclaw.sqlite", "agents/main/agent/openclaw-agent.sqlite"])
def test_a_database_that_was_copied_without_its_log_is_empty(home: Home, name: str) -> None:
    path = home.state / name
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE meta (x)")
        shutil.copy(path, home.path / "copy")
    (home.path / "copy").rename(path)
    path.chmod(0o600)
    assert "is empty" in only(home.examine()).what


def test_a_database_whose_rows_are_all_in_its_log_is_whole(home: Home) -> None:
    path = home.state / "state/openclaw.sqlite"
    path.rename(home.path / "full")
    with (
        closing(sqlite3.connect(home.path / "full")) as full,
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        script = "\n".join(full.iterdump())
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(script)
        for part in ("", "-wal", "-shm"):
            Path(f"{path}{part}").chmod(0o600)
        assert home.examine() == ()


# --- owners ----------------------------------------------------------------------------------------------------------


def test_files_of_another_user_are_found_and_the_command_gives_them_back(home: Home) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    for path in (home.path, *home.path.rglob("*")):
        os.chown(path, 1500, 1500, follow_symlinks=False)
    for path in (home.state / "state", home.state / "state/openclaw.sqlite", home.path / "research-ws"):
        os.chown(path, 0, 0)
    found = only(home.examine())
    command = f"sudo chown -R 1500: -- {home.state} {home.path}/research-ws"
    assert (found.severity, found.command) == (Severity.ERROR, command)


def test_one_file_of_another_user_is_named_by_itself(home: Home) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    os.chown(home.state / ".env", 1500, 1500)
    assert only(home.examine()).command == f"sudo chown -R 0: -- {home.state}/.env"


def test_a_workspace_of_another_user_is_to_be_named_anew_and_not_to_be_taken_away(home: Home, tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    shutil.copytree(home.path / "research-ws", tmp_path / "alice/research-ws")
    os.chown(tmp_path / "alice/research-ws", 1500, 1500)
    text = (home.state / "openclaw.json").read_text()
    moved = text.replace(f"{home.path}/research-ws", f"{tmp_path}/alice/research-ws")
    (home.state / "openclaw.json").write_text(moved)
    found = only(home.examine())
    assert ("which belongs to another user" in found.what, found.command) == (
        True,
        f"openclaw config set agents.entries.research.workspace {home.path}/research-ws",
    )


# --- profiles and the environment ------------------------------------------------------------------------------------


def test_without_any_state_that_is_the_finding(home: Home) -> None:
    shutil.rmtree(home.state)
    assert "there is no OpenClaw state" in only(home.examine()).what


def test_a_client_needs_nothing_of_a_gateway(home: Home) -> None:
    home.configure(gateway={"mode": "remote", "remote": {"url": "wss://big.example"}})
    for name in ("state", "agents", "credentials"):
        shutil.rmtree(home.state / name)
    assert "is a client of wss://big.example" in only(home.examine()).what


def test_an_empty_default_profile_beside_a_full_one_is_told_of_once(home: Home) -> None:
    make_work(home)
    home.database(".openclaw/state/openclaw.sqlite", 18)
    found = only(home.examine())
    assert ("is empty, and was made by OpenClaw" in found.what, found.command) == (
        True,
        f"mv -n -- {home.state} {home.state}.empty",
    )


@pytest.mark.parametrize(
    ("name", "value", "what", "command"),
    [
        ("OPENCLAW_STATE_DIR", "/srv/gone", "OPENCLAW_STATE_DIR names /srv/gone", "unset OPENCLAW_STATE_DIR"),
        ("OPENCLAW_PROFILE", "work", "but {home}/.openclaw-work isn't there", "unset OPENCLAW_PROFILE"),
    ],
)
def test_a_variable_that_leads_nowhere_is_a_finding(home: Home, name: str, value: str, what: str, command: str) -> None:
    found = only(home.examine(environ={name: value}))
    assert (what.format(home=home.path) in found.what, found.command) == (True, command)


def test_a_configuration_that_a_variable_names_in_vain_is_an_error(home: Home) -> None:
    findings = home.examine(environ={"OPENCLAW_CONFIG_PATH": "/srv/gone.json"})
    assert "OPENCLAW_CONFIG_PATH names /srv/gone.json, which isn't there" in [finding.what for finding in findings]


def test_a_profile_that_is_only_named_by_its_variable_is_not_selected(home: Home) -> None:
    shutil.copytree(home.state, home.path / ".openclaw-work")
    findings = home.examine(environ={"OPENCLAW_PROFILE": "work"})
    assert "OPENCLAW_PROFILE is work, which by itself selects nothing" in [finding.what for finding in findings]


def test_a_command_for_a_state_that_stands_elsewhere_names_it(home: Home, tmp_path: Path) -> None:
    shutil.move(home.state, tmp_path / "my state")
    (tmp_path / "my state/openclaw.json").unlink()
    findings = home.examine(environ={"OPENCLAW_STATE_DIR": f"{tmp_path}/my state"})
    assert f"OPENCLAW_STATE_DIR='{tmp_path}/my state' openclaw onboard" in [finding.command for finding in findings]


def test_an_agent_of_launchd_is_read_like_a_unit_of_systemd(home: Home) -> None:
    path = home.write("Library/LaunchAgents/ai.openclaw.work.plist")
    agent = {
        "ProgramArguments": ["/bin/sh", "gateway"],
        "EnvironmentVariables": {"OPENCLAW_STATE_DIR": "/Users/alice/.openclaw-work", "OPENCLAW_PROFILE": "work"},
    }
    path.write_bytes(plistlib.dumps(agent))
    found = only(home.examine())
    assert (found.path, found.command) == (os.fsencode(path), "openclaw --profile work gateway install --force")


def test_a_service_whose_file_makes_no_sense_is_passed_over(home: Home) -> None:
    home.write("Library/LaunchAgents/ai.openclaw.gateway.plist", "<nonsense")
    home.write(".config/systemd/user/openclaw-gateway.service", "[Service]\nExecStart='\nEnvironment=\"x\n")
    assert home.examine() == ()


def test_a_variable_that_the_service_sets_is_set(home: Home) -> None:
    home.write(".openclaw/.env", "TELEGRAM_BOT_TOKEN=FAKE\n")
    home.serve("GATEWAY_TOKEN=FAKE")
    assert home.examine() == ()


def test_a_variable_in_the_file_of_the_service_is_set(home: Home) -> None:
    home.write(".openclaw/.env", "TELEGRAM_BOT_TOKEN=FAKE\n")
    home.write("service.env", "GATEWAY_TOKEN=FAKE\n")
    home.serve()
    home.unit.write_text(f"{home.unit.read_text()}\nEnvironmentFile=-%h/service.env\n")
    assert home.examine() == ()


# --- a bundle beside it ----------------------------------------------------------------------------------------------


def manifest(*profiles: Profile) -> Manifest:
    return Manifest(bundle_id=bytes(16), created=0, generator="test", source=Host(), roots=(), profiles=profiles)


def test_a_profile_of_the_bundle_that_is_not_here_is_missed(home: Home) -> None:
    bundle = manifest(Profile(name="default", state="default"), Profile(name="work", state="work"))
    assert only(home.examine(manifest=bundle)).what == "profile work of the bundle isn't on this machine"


def test_an_agent_of_the_bundle_that_is_not_here_is_missed(home: Home) -> None:
    bundle = manifest(Profile(name="default", state="default", agents=("gone", "main")))
    assert "agent gone of profile default is in the bundle" in only(home.examine(manifest=bundle)).what


def test_an_unpack_that_was_cut_short_is_told_of(home: Home) -> None:
    found = doctor.examine(
        home.environ, uid=os.getuid(), host=HOST, scratch=str(home.scratch), unfinished=[b"/home/bob/log"]
    )
    assert (only(found).severity, only(found).path) == (Severity.ERROR, b"/home/bob/log")


# --- how findings are told -------------------------------------------------------------------------------------------


def test_the_worst_comes_first(home: Home) -> None:
    lock(home)
    home.state.chmod(0o755)
    home.store(key="/elsewhere")
    assert [finding.severity for finding in home.examine()] == [Severity.ERROR, Severity.WARNING, Severity.NOTE]


def test_no_finding_shows_a_secret(home: Home) -> None:
    home.configure(
        gateway={"auth": {"token": "hunter2-${GONE}"}, "remote": {"url": "wss://u:hunter2@x"}, "mode": "remote"}
    )
    home.state.chmod(0o755)
    assert "hunter2" not in repr(home.examine())


@pytest.mark.parametrize(
    "name",
    [b"plain", b"with space", b"quote'", b"$HOME;rm", b"new\nline", b"\x1b[2J", b"\xff\xfe", b"back\\slash\x07", b""],
)
def test_a_word_reaches_the_shell_as_it_is(name: bytes) -> None:
    done = subprocess.run(["bash", "-c", shell(b"printf", b"%s", name)], capture_output=True, check=True)
    assert done.stdout == name


def test_a_word_for_the_shell_has_no_control_characters() -> None:
    assert shell(b"rm", b"\x1b[2J\n").isprintable()


# --- what is no trouble, or can't be looked at -----------------------------------------------------------------------


def test_a_file_that_vanishes_while_it_is_looked_for_is_no_finding(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def listdir(path: bytes) -> list[bytes]:
        return [*listed(path), b"gone"] if path == os.fsencode(home.state) else listed(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert home.examine() == ()


def test_a_browser_that_runs_here_may_hold_its_lock(home: Home) -> None:
    lock = home.state / "browser/openclaw/user-data/SingletonLock"
    private(lock.parent)
    lock.symlink_to(f"{HOST}-4242")
    assert home.examine() == ()


def test_of_a_channel_that_is_not_known_here_no_login_is_missed(home: Home) -> None:
    home.configure(channels={"carrier-pigeon": {}})
    assert home.examine() == ()


@pytest.mark.parametrize("package", ["", "[1]", '{"dependencies": {}}'])
def test_a_plugin_that_names_no_packages_needs_none(home: Home, package: str) -> None:
    home.write(".openclaw/extensions/demo/package.json", package)
    assert home.examine() == ()


def test_a_workspace_that_is_a_dangling_link_elsewhere_is_a_finding(home: Home, tmp_path: Path) -> None:
    (tmp_path / "ws").symlink_to("nowhere")
    text = (home.state / "openclaw.json").read_text()
    (home.state / "openclaw.json").write_text(text.replace(f"{home.path}/research-ws", f"{tmp_path}/ws"))
    assert only(home.examine()).path == os.fsencode(tmp_path / "ws")


def test_a_path_in_a_list_is_named_by_its_place(home: Home) -> None:
    home.configure(skills={"load": {"extraDirs": ["/home/no-such-user/skills"]}})
    assert only(home.examine()).what.startswith("skills.load.extraDirs[0] of profile default names /home/no-such-user/")


@pytest.mark.parametrize(
    "settings",
    [
        {"skills": {"load": {"extraDirs": ["/home/no-such-user/*/skills"]}}},
        {"skills": {"load": {"extraDirs": ["/home/no-such-user/run -v"]}}},
        {"logging": {"file": "/home/no-such-user/openclaw.log"}},
    ],
    ids=["a pattern", "a command line", "what OpenClaw makes itself"],
)
def test_what_need_not_be_there_is_no_finding(home: Home, settings: dict[str, object]) -> None:
    home.configure(**settings)
    assert home.examine() == ()


def test_captures_of_an_update_are_no_lost_state(home: Home) -> None:
    private(home.path / ".openclaw.update-captures")
    assert home.examine() == ()


def test_a_user_who_is_not_root_asks_for_themselves(home: Home) -> None:
    found = doctor.examine(home.environ, uid=4242, host=HOST, scratch=str(home.scratch))
    assert any("belong to another user than the gateway's (4242)" in finding.what for finding in found)


def test_a_home_that_is_not_there_holds_no_state(home: Home, tmp_path: Path) -> None:
    found = doctor.examine({"HOME": f"{tmp_path}/no"}, uid=0, host=HOST, scratch=str(home.scratch))
    assert "there is no OpenClaw state" in only(found).what


def test_a_service_may_name_its_profile_in_one_word(home: Home) -> None:
    home.serve(program="/bin/sh openclaw --profile=work gateway", name="openclaw-gateway-work.service")
    assert "starts a gateway on" in only(home.examine()).what


def test_another_programs_agent_of_launchd_is_no_service(home: Home) -> None:
    home.write("Library/LaunchAgents/org.example.plist", "<nonsense")
    assert home.examine() == ()


@pytest.mark.parametrize("said", ['{"name": "openclaw", "version": "2026.9.6"}', '{"name": "other"}', "{"])
def test_a_release_that_does_not_say_what_it_reads_is_not_judged_by_it(home: Home, said: str) -> None:
    home.write("lib/openclaw/package.json", said)
    assert home.examine() == ()
