"""What is taken of a state directory, and how. The expectations are literal: nothing here asks the table."""

from __future__ import annotations

import time

import pytest

from ocbundle.model import Reason
from ocbundle.openclaw import rules
from ocbundle.sources import Leave, Sensitivity, Verdict

# One line a path: what becomes of it, its kind, its path.
SQLITE_ERA = """
content     d .
content     d agents
content     d agents/main
content     d agents/main/agent
mixed       f agents/main/agent/openclaw-agent.sqlite
mixed       f agents/main/agent/openclaw-agent.sqlite-shm
mixed       f agents/main/agent/openclaw-agent.sqlite-wal
transient   f agents/main/agent/openclaw-agent.sqlite.memory-reindex-44c41891-6aa3-48c1-8342-176f21d3a114
transient   f agents/main/agent/openclaw-agent.sqlite.memory-reindex-44c41891-6aa3-48c1-8342-176f21d3a114-shm
transient   f agents/main/agent/openclaw-agent.sqlite.memory-reindex-44c41891-6aa3-48c1-8342-176f21d3a114-wal
transient   f agents/main/agent/openclaw-agent.sqlite.reindex-lock.sqlite
transient   f agents/main/agent/openclaw-agent.sqlite.reindex-lock.sqlite-journal
transient   f agents/research/agent/openclaw-agent.sqlite.generation-lock.sqlite
transient   f agents/research/agent/openclaw-agent.sqlite.generation-writer.sqlite
transient   f agents/research/agent/openclaw-agent.sqlite.backup-44c41891-6aa3-48c1-8342-176f21d3a114
transient   f agents/research/agent/openclaw-agent.sqlite.tmp-44c41891-6aa3-48c1-8342-176f21d3a114
content     d agents/main/sessions
content     f agents/main/sessions/cold/9f86d081.jsonl.zst
secret      f agents/main/agent/models.json
secret      f agents/main/agent/codex-home/auth.json
content     f agents/main/agent/codex-home/sessions/2026/rollout.jsonl
mixed       f agents/main/agent/codex-home/state.sqlite
transient   d agents/main/agent/codex-home/tmp
content     d browser
content     d browser/openclaw/user-data
content     d browser/openclaw/user-data/Default
mixed       f browser/openclaw/user-data/Default/Cookies
regenerable d browser/openclaw/user-data/Default/Code Cache
host-bound  l browser/openclaw/user-data/SingletonLock
regenerable d cache
regenerable d cache/control-ui-assets
secret      f config-journal-fingerprint.key
secret      d credentials
secret      d credentials/whatsapp/default
secret      f credentials/whatsapp/default/creds.json
secret      f credentials/whatsapp/default/pre-key-17.json
socket      s exec-approvals.sock
content     d extensions
content     d extensions/demo
regenerable d extensions/demo/node_modules
regenerable f extensions/demo/node_modules/x/index.js
content     f extensions/demo/openclaw.plugin.json
regenerable d logs
regenerable f logs/gateway.log
content     d media
content     f media/inbound/photo.bin
content     f media/inbound/from-a-stranger.key
content     d migration
secret      f openclaw.json
secret      f openclaw.json.bak
secret      f openclaw.json.bak.2
host-bound  d plugin-skills
host-bound  l plugin-skills/canvas
content     d sandboxes
content     f sandboxes/agent-main/notes.txt
secret      f secrets.json
content     d skills
content     f skills/my-skill/SKILL.md
content     l skills/ext
content     d state
host-bound  f state/openclaw-quarantine.sqlite
mixed       f state/openclaw.sqlite
mixed       f state/openclaw.sqlite-wal
transient   d tmp
transient   f tmp/openclaw-0/gateway.state.lock.sqlite
content     d workspace
content     d workspace/.git
secret      f workspace/.git/config
secret      f workspace/.env
content     f workspace/AGENTS.md
content     f workspace/tmp/notes.tmp
content     d workspace/node_modules
secret      f .env
regenerable d npm
regenerable d npm-runtime
regenerable d git
regenerable d dev
regenerable d tools
regenerable d completions
regenerable d models
host-bound  d service-env
host-bound  f gateway.pid
host-bound  d delivery-queue
host-bound  d delivery-queue-failed
host-bound  d session-delivery-queue
host-bound  d x.update-captures
content     f something-new-in-2027/data.bin
"""

FILE_ERA = """
secret      f agents/main/agent/auth-profiles.json
content     f agents/main/sessions/sessions.json
content     f agents/main/sessions/a84e6762-68de-4389-a962-7cfe9429b982.jsonl
content     f agents/main/sessions/a84e6762-68de-4389-a962-7cfe9429b982.trajectory.jsonl
content     f agents/main/sessions/a84e6762-68de-4389-a962-7cfe9429b982.jsonl.deleted.2026-01-01
transient   f agents/main/sessions/a84e6762-68de-4389-a962-7cfe9429b982.jsonl.lock
content     f canvas/index.html
content     f cron/jobs.json
content     f cron/runs/nightly.jsonl
secret      f devices/paired.json
secret      f identity/device.json
regenerable f logs/config-audit.jsonl
secret      f openclaw.json.last-good
secret      f clawdbot.json
mixed       f tasks/runs.sqlite
mixed       f tasks/runs.sqlite-wal
regenerable f update-check.json
content     f workspace/.openclaw/workspace-state.json
content     f workspace-attestations/9f86d081.attested
"""

KINDS = {"d": "directory", "f": "file", "l": "symlink", "s": "socket"}


def rows(text: str) -> list[tuple[str, str, bytes]]:
    split = (line.split(None, 2) for line in text.splitlines() if line)
    return [(verdict, KINDS[kind], b"" if path == "." else path.encode()) for verdict, kind, path in split]


def word(verdict: Verdict) -> str:
    return verdict.reason.value if isinstance(verdict, Leave) else verdict.name.lower()


@pytest.mark.parametrize(("verdict", "kind", "path"), rows(SQLITE_ERA + FILE_ERA))
def test_each_path_of_a_state_directory_has_its_verdict(verdict: str, kind: str, path: bytes) -> None:
    assert word(rules.state()(path, kind)) == verdict


@pytest.mark.parametrize("path", [p for v, k, p in rows(SQLITE_ERA + FILE_ERA) if v == "regenerable"])
def test_what_can_be_made_again_is_taken_when_everything_is_asked_for(path: bytes) -> None:
    assert rules.state(everything=True)(path, "file") is Sensitivity.CONTENT


@pytest.mark.parametrize("path", [p for v, k, p in rows(SQLITE_ERA + FILE_ERA) if v in {"host-bound", "transient"}])
def test_what_belongs_to_this_machine_is_never_taken(path: bytes) -> None:
    assert isinstance(rules.state(everything=True)(path, "symlink"), Leave)


def test_a_directory_named_like_a_file_that_is_left_is_still_entered() -> None:
    assert rules.state()(b"old.tmp", "directory") is Sensitivity.CONTENT


def test_a_name_with_a_newline_is_no_way_around_a_rule() -> None:
    assert word(rules.state()(b"tmp/a\nb", "file")) == "transient"


def test_a_name_that_only_begins_like_a_rule_is_not_left() -> None:
    assert rules.state()(b"tmp2", "directory") is Sensitivity.CONTENT


@pytest.mark.parametrize(("kind", "reason"), [("fifo", Reason.FIFO), ("device", Reason.DEVICE)])
def test_kinds_that_cannot_be_stored_are_left_with_their_reason(kind: str, reason: Reason) -> None:
    assert rules.workspace()(b"thing", kind) == Leave(reason)


def test_an_included_configuration_is_secret_whatever_its_name() -> None:
    assert rules.state(secrets={b"conf.d/channels.json5"})(b"conf.d/channels.json5", "file") is Sensitivity.SECRET


def test_a_tree_that_another_root_holds_is_left_to_it() -> None:
    assert rules.state(nested={b"alt": "alt"})(b"alt", "directory") == Leave(Reason.NESTED, "in alt")


def test_part_of_a_state_that_stands_elsewhere_is_judged_by_where_it_would_be() -> None:
    decide = rules.state(prefix=b"agents/main/agent")
    assert [word(decide(path, "file")) for path in (b"auth-profiles.json", b"openclaw-agent.sqlite")] == [
        "secret",
        "mixed",
    ]


@pytest.mark.parametrize("path", [b"workspace", b"workspace-research", b"my-ws"])
def test_workspaces_in_the_state_are_left_out_when_they_are_not_wanted(path: bytes) -> None:
    assert word(rules.state(without_workspaces={b"my-ws"})(path, "directory")) == "excluded"


def test_an_agent_that_works_in_its_own_state_keeps_it_without_workspaces() -> None:
    decide = rules.state(without_workspaces={b"agents/main", b""})
    assert [decide(path, "directory") for path in (b"", b"agents/main")] == [Sensitivity.CONTENT] * 2


WORKSPACE = """
content     d node_modules
content     f node_modules/x/index.js
content     f run.pid
content     f logs/a.log
content     f .hidden/notes.md
content     f memory/main.sqlite
secret      f .env
secret      f site/.env.local
secret      f deploy/server.key
secret      f .git-credentials
secret      f .git/config
content     f .git/HEAD
host-bound  d .openclaw.update-captures
"""


@pytest.mark.parametrize(("verdict", "kind", "path"), rows(WORKSPACE))
def test_a_workspace_is_taken_whole(verdict: str, kind: str, path: bytes) -> None:
    assert word(rules.workspace()(path, kind)) == verdict


def test_credentials_elsewhere_are_secret_as_a_whole() -> None:
    assert rules.secret()(b"telegram/bot.txt", "file") is Sensitivity.SECRET


ONLY = """
content     d .
content     d conf.d
secret      f conf.d/a.json5
secret      f openclaw.json
excluded    f openclaw.json.bak
excluded    d agents
excluded    f conf.d/b.json5
"""


@pytest.mark.parametrize(("verdict", "kind", "path"), rows(ONLY))
def test_only_the_configuration_means_only_the_configuration(verdict: str, kind: str, path: bytes) -> None:
    assert word(rules.only({b"openclaw.json", b"conf.d/a.json5"})(path, kind)) == verdict


def test_a_hundred_thousand_paths_are_judged_in_seconds() -> None:
    decide = rules.state()
    began = time.perf_counter()
    for number in range(100_000):
        decide(b"sandboxes/agent-main/node_modules/package/lib/deep/%d/index.js" % number, "file")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("name", ["replaced", "staging"])
def test_an_older_state_kept_on_a_volume_is_not_packed_again(name: str) -> None:
    verdict = rules.state()(f".openclaw.default.20261124T225024Z.{name}".encode(), "directory")
    assert isinstance(verdict, Leave)
    assert verdict.reason is Reason.TRANSIENT
