"""A real OpenClaw moves to another user in another home, the old home is gone, and it goes on where it stopped.

What the program itself says and does is what counts: its next turn, its jobs, its doctor. Two releases: one of the
SQLite era, packed when stopped and again while it runs, and one of the file era, which the newer one takes over. Needs
root, npm and some minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pytest
from openclaw import make_gateway
from openclaw.make_gateway import Model, OpenClaw

pytestmark = pytest.mark.ci

ALICE: Final = 1500
PROFILES: Final = ((), ("--profile", "work"))
ROOTS: Final = (".openclaw", ".openclaw-work", "research-ws", "external-skill")

HISTORY: Final = (
    # The record of the last turn.
    ".openclaw/agents/*/agent/openclaw-agent.sqlite:session_nodes.entry_json/systemPromptReport",
    ".openclaw/agents/*/agent/openclaw-agent.sqlite:trajectory_runtime_events.event_json/*",
    # What was written into the configuration, by which command, and when.
    ".openclaw*/state/openclaw.sqlite:diagnostic_events.payload_json/*",
    # What the newer release keeps of the files that it has taken over.
    ".openclaw/agents/*/session-sqlite-import-archive/*",
)
"""All that may go on to name the old home: files, and keys in columns of tables. No program acts on them."""

AS_USER: Final = """
import ast, difflib, importlib, os, pkgutil, sys
from pathlib import Path
user, *sys.argv[1:] = sys.argv[1:]
import ocbundle
# That user may not be able to read this Python: all that is imported later is imported now.
for found in pkgutil.walk_packages(ocbundle.__path__, "ocbundle."):
    if not found.name.endswith("__main__"):
        for node in ast.walk(ast.parse(Path(importlib.import_module(found.name).__file__).read_bytes())):
            if isinstance(node, ast.Import):
                [importlib.import_module(name.name) for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                [getattr(module, name.name, None) for name in node.names]  # some are imported when they are asked for
os.setgroups([])
os.setresgid(int(user), int(user), int(user))
os.setresuid(int(user), int(user), int(user))
from ocbundle.cli import main
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with a home, and OpenClaw in it."""

    user: int
    home: Path
    openclaw: OpenClaw

    def ocbundle(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            [sys.executable, "-c", AS_USER, str(self.user), *arguments],
            cwd=self.home, env=self.openclaw.environ, input=stdin, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr)
        return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What became of one gateway."""

    old: Path
    new: Person
    unpacked: dict[str, Any]
    """What ``unpack --json`` said in the end."""
    modes: Mapping[str, int]
    """Of all that was unpacked, before the program ran."""
    doctor: list[dict[str, Any]]
    """What ``ocbundle doctor --json`` said."""
    known: set[str]
    """What the program's own doctor found where the gateway was before."""
    found: set[str]
    """What it finds where the gateway is now."""
    turn: str
    """All messages that the model was shown at the next turn."""
    agents: list[dict[str, Any]]
    status: dict[str, Any]
    jobs: list[str]
    configuration: str
    """The one that the running gateway works with."""
    old_home_came_back: bool
    mentions: list[str]
    """What names the old home: files, and keys in columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Directories that every user can reach, and the model that the gateways in them ask."""

    base: Path
    lab: Path
    model: Model

    def person(self, name: str, user: int, place: str, lab: Path | None = None) -> Person:
        temporary = self.base / f"tmp-{name}"
        home = self.base / place / name
        for directory in (temporary, home):
            directory.mkdir(parents=True, exist_ok=True)
            os.chown(directory, user, user)
        # Whoever would make the old home anew can.
        home.parent.chmod(0o777)
        return Person(user=user, home=home, openclaw=OpenClaw(lab or self.lab, home, temporary=temporary, user=user))

    def built(self, lab: Path) -> Person:
        """Alice, who has run the release in *lab* for a while."""
        alice = self.person("alice", ALICE, "old", lab)
        make_gateway.run_in(alice.openclaw, self.model)
        make_gateway.add_made_up(alice.home)
        for directory, _, files in os.walk(alice.home):
            for name in (".", *files):
                os.chown(os.path.join(directory, name), ALICE, ALICE, follow_symlinks=False)
        return alice

    def move(self, bundle: bytes, old: Person, new: Person, known: set[str], *, upgrade: bool) -> Moved:
        """Unpack *bundle* as *new*, and let the gateway go on. The old home is gone already."""
        assert not old.home.exists()
        said = new.ocbundle("unpack", "--json", "-i", "move.key", "-", stdin=bundle)
        modes = looked_at(new.home)
        openclaw = new.openclaw
        if upgrade:
            for profile in PROFILES:
                openclaw.run(*profile, "doctor", "--fix", "--non-interactive")
        doctor = [json.loads(line) for line in new.ocbundle("doctor", "--json").splitlines()]
        openclaw.run("agent", "--local", "--agent", "main", "--message", "what did I say")
        turn = self.model.asked[-1]
        agents = openclaw.json("agents", "list")
        status = openclaw.json("status", "--timeout", "1000")
        with openclaw.gateway():
            jobs = [job["name"] for job in openclaw.json("cron", "list")["jobs"]]
            configuration = openclaw.json("gateway", "status")["config"]["daemon"]["path"]
        return Moved(
            old=old.home,
            new=new,
            unpacked=json.loads(said.splitlines()[-1]),
            modes=modes,
            doctor=doctor,
            known=known,
            found=linted(new),
            turn=turn,
            agents=agents,
            status=status,
            jobs=jobs,
            configuration=configuration,
            old_home_came_back=old.home.exists(),
            mentions=sorted(mentions(new.home, os.fsencode(old.home))),
        )


@pytest.fixture(scope="module")
def scenes() -> Iterator[dict[str, Moved]]:
    """All moves, two of them at a time: most of what they do is to wait for one program."""
    for version in (make_gateway.VERSION, make_gateway.OLD_VERSION):
        make_gateway.install(make_gateway.cached(version), version)
    base = Path(tempfile.mkdtemp(prefix="move-"))
    base.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base)
        lab, old_lab = (
            stack.enter_context(make_gateway.shared(make_gateway.cached(version), base / version))
            for version in (make_gateway.VERSION, make_gateway.OLD_VERSION)
        )
        one, other = (stack.enter_context(make_gateway.fake_model()) for _ in range(2))
        with ThreadPoolExecutor() as pool:
            current = pool.submit(moved_at_once, World(base=base / "current", lab=lab, model=one))
            older = pool.submit(moved_and_upgraded, World(base=base / "older", lab=lab, model=other), old_lab)
            done = {**current.result(), **older.result()}
        yield done


def moved_at_once(world: World) -> dict[str, Moved]:
    """The SQLite era: packed when stopped for Bob, and while it runs and writes for Carol."""
    alice = world.built(world.lab)
    bob, carol = world.person("bob", 1600, "homes"), world.person("carol", 1700, "homes")
    keys = [keygen(person) for person in (bob, carol)]
    stopped = alice.ocbundle("pack", "-q", "-r", keys[0], "-o", "-")
    with alice.openclaw.gateway():
        live = packed_while_it_writes(alice, keys[1])
    known = linted(alice)
    shutil.rmtree(alice.home)
    return {
        "stopped": world.move(stopped, alice, bob, known, upgrade=False),
        "live": world.move(live, alice, carol, known, upgrade=False),
    }


def moved_and_upgraded(world: World, old_lab: Path) -> dict[str, Moved]:
    """The file era: the newer release takes it over, in the old home too, so that there is something to compare."""
    alice = world.built(old_lab)
    bob = world.person("bob", 1600, "homes")
    bundle = alice.ocbundle("pack", "-q", "-r", keygen(bob), "-o", "-")
    upgraded = Person(
        user=ALICE,
        home=alice.home,
        openclaw=OpenClaw(world.lab, alice.home, temporary=alice.openclaw.log.parent, user=ALICE),
    )
    for profile in PROFILES:
        upgraded.openclaw.run(*profile, "doctor", "--fix", "--non-interactive")
    known = linted(upgraded)
    shutil.rmtree(alice.home)
    return {"older": world.move(bundle, alice, bob, known, upgrade=True)}


@pytest.fixture(params=["stopped", "live", "older"])
def moved(scenes: dict[str, Moved], request: pytest.FixtureRequest) -> Moved:
    return scenes[request.param]


def keygen(person: Person) -> str:
    return person.ocbundle("keygen", "-o", "move.key").decode().strip()


def packed_while_it_writes(person: Person, recipient: str) -> bytes:
    """The last of many bundles that were made while the gateway answered and wrote down what it said."""
    bundles = []
    with ThreadPoolExecutor() as pool:
        turn = pool.submit(person.openclaw.run, "agent", "--agent", "main", "--message", "remember 333")
        while not turn.done():
            bundles.append(person.ocbundle("pack", "-q", "--live", "-r", recipient, "-o", "-"))
        turn.result()
    assert len(bundles) > 1
    return bundles[-1]


def linted(person: Person) -> set[str]:
    """What OpenClaw's doctor finds, wherever the home is."""
    with ThreadPoolExecutor() as pool:
        said = pool.map(lambda p: person.openclaw.json(*p, "doctor", "--lint", codes=(0, 1)), PROFILES)
        return {
            json.dumps([profile, finding]).replace(str(person.home), "HOME")
            for profile, report in zip(PROFILES, said, strict=True)
            for finding in report["findings"]
        }


def looked_at(home: Path) -> dict[str, int]:
    found = {}
    for root in ROOTS:
        for path in (home / root, *(home / root).rglob("*")):
            status = path.lstat()
            assert (status.st_uid, status.st_gid) == (home.stat().st_uid, home.stat().st_gid), path
            if not stat.S_ISLNK(status.st_mode):
                found[str(path.relative_to(home))] = stat.S_IMODE(status.st_mode)
    return found


def mentions(top: Path, old: bytes) -> Iterator[str]:
    """Everything below *top* that names *old*: links, files, and each column of each table of each database."""
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(directory, name)
            where = str(path.relative_to(top))
            if path.is_symlink():
                if old in os.fsencode(path.readlink()):
                    yield f"{where} (link)"
            elif path.is_file():
                content = path.read_bytes()
                if content.startswith(b"SQLite format 3\0") and len(content) > 100:
                    yield from (f"{where}:{column}" for column in set(columns(path, old)))
                elif old in content and not name.endswith(("-wal", "-shm")):
                    yield where


def columns(database: Path, old: bytes) -> Iterator[str]:
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        # A virtual table keeps its rows in ordinary ones, so none is missed.
        for table in (name.decode() for name, sql in tables if not sql.startswith(b"CREATE VIRTUAL")):
            cursor = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name from the database itself
            labels = [column[0] for column in cursor.description]
            for row in cursor:
                for label, value in zip(labels, row, strict=True):
                    if isinstance(value, bytes) and old in value:
                        yield from (f"{table}.{label}{key}" for key in telling_keys(value, old))


def telling_keys(value: bytes, old: bytes) -> list[str]:
    """The keys of a JSON object below which *old* is named; of anything else, nothing to tell it by."""
    try:
        tree = json.loads(value)
    except ValueError:
        tree = None
    found = tree.items() if isinstance(tree, dict) else ()
    return [f"/{key}" for key, below in found if old.decode() in json.dumps(below)] or [""]


def test_the_next_turn_goes_on_with_the_same_conversation(moved: Moved) -> None:
    assert [said for said in ("remember 111", "remember 222", "what did I say") if said not in moved.turn] == []


def test_the_job_is_there(moved: Moved) -> None:
    assert "nightly" in moved.jobs


def test_each_agent_works_in_the_new_home(moved: Moved) -> None:
    state = moved.new.home / ".openclaw"
    assert {agent["id"]: (agent["workspace"], agent["agentDir"]) for agent in moved.agents} == {
        "main": (str(state / "workspace"), str(state / "agents/main/agent")),
        "research": (str(moved.new.home / "research-ws"), str(state / "agents/research/agent")),
    }


def test_the_status_names_the_new_places(moved: Moved) -> None:
    workspaces = [agent["workspaceDir"] for agent in moved.status["agents"]["agents"]]
    assert workspaces == [str(moved.new.home / ".openclaw/workspace"), str(moved.new.home / "research-ws")]
    assert str(moved.old) not in json.dumps(moved.status)


def test_the_gateway_runs_with_the_new_configuration(moved: Moved) -> None:
    assert moved.configuration == str(moved.new.home / ".openclaw/openclaw.json")


def test_openclaw_s_doctor_finds_nothing_that_it_did_not_find_before(moved: Moved) -> None:
    assert moved.found - moved.known == set()


def test_ocbundle_s_doctor_finds_nothing(moved: Moved) -> None:
    assert [finding for finding in moved.doctor if finding.get("status") == "finding"] == []


def test_the_old_home_does_not_come_back(moved: Moved) -> None:
    assert not moved.old_home_came_back


def test_nothing_but_history_names_the_old_home(moved: Moved) -> None:
    unexpected = [where for where in moved.mentions if not any(fnmatchcase(where, known) for known in HISTORY)]
    assert unexpected == []


def test_no_secret_is_open_to_others(moved: Moved) -> None:
    states = (".openclaw", ".openclaw-work")
    secrets = ("*.env", "*.sqlite", "*/openclaw.json*", "*/creds.json", "*/secrets.json")
    open_to_others = {path for path, mode in moved.modes.items() if mode & 0o077}
    assert open_to_others.intersection(states) == set()
    assert {path for path in open_to_others if any(fnmatchcase(path, secret) for secret in secrets)} == set()


def test_the_channel_s_login_comes_along(moved: Moved) -> None:
    login = moved.new.home / ".openclaw/credentials/whatsapp/default"
    assert len(list(login.glob("pre-key-*.json"))) == 200
    assert json.loads((login / "creds.json").read_bytes())["me"]["id"] == "15550000000:1@s"
