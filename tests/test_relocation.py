"""Staged trees rewritten for another home: which files change, what in them, and nothing outside."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocbundle.errors import TargetFailure
from ocbundle.model import Host, Manifest, Profile, Role, Root, Workspace
from ocbundle.openclaw import documents, staged
from ocbundle.openclaw.moves import Moves
from ocbundle.openclaw.relocation import Relocated, relocate
from ocbundle.openclaw.staged import Tree
from ocbundle.outcomes import Change

OLD, NEW = "/home/alice/.openclaw", "/home/robert/.openclaw"


class Staging:
    """Trees of a gateway of /home/alice, staged for /home/robert."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.roots = [Root(name="default", role=Role.STATE, source=OLD.encode(), profile="default")]
        (top / "default").mkdir()

    def write(self, name: str, content: str | dict[str, object]) -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def root(self, name: str, role: Role, source: str) -> None:
        self.roots.append(Root(name=name, role=role, source=source.encode(), profile="default"))

    def relocate(self, config: str = f"{OLD}/openclaw.json") -> Relocated:
        profile = Profile(
            name="default",
            state="default",
            config=config.encode(),
            workspaces=(Workspace(agent="main", root="default", path=b"workspace"),),
        )
        manifest = Manifest(
            bundle_id=bytes(16),
            created=0,
            generator="",
            source=Host(home=b"/home/alice"),
            roots=tuple(self.roots),
            profiles=(profile,),
        )
        moves = Moves.plan(manifest, {"default": NEW.encode()}, home=b"/home/robert")
        trees = {root.name: bytes(self.top / root.name) for root in self.roots}
        return relocate({name: path for name, path in trees.items() if os.path.lexists(path)}, manifest, moves)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


def test_the_configuration_its_copies_and_all_it_includes_move(staging: Staging) -> None:
    staging.write("default/openclaw.json", f"{{agents: {{$include: ['parts/a.json5', '{OLD}/b.json']}}, w: '{OLD}/w'}}")
    staging.write("default/openclaw.json.bak", f"{{w: '{OLD}/w'}}")
    staging.write("default/openclaw.json.last-good", f"{{w: '{OLD}/w'}}")
    staging.write("default/parts/a.json5", f"{{$include: './c.json5', w: '{OLD}/w'}} // kept")
    staging.write("default/parts/c.json5", f"['{OLD}/w']")
    staging.write("default/b.json", f'{{"w": "{OLD}/w"}}')

    report = staging.relocate()

    assert [(change.where, change.count) for change in report.changes] == [
        ("default/openclaw.json", 2),
        ("default/openclaw.json.bak", 1),
        ("default/openclaw.json.last-good", 1),
        ("default/parts/a.json5", 1),
        ("default/b.json", 1),
        ("default/parts/c.json5", 1),
    ]
    assert (staging.top / "default/parts/a.json5").read_text() == f"{{$include: './c.json5', w: '{NEW}/w'}} // kept"


def test_an_included_file_is_looked_for_in_the_innermost_tree(staging: Staging) -> None:
    staging.root("default.link.parts", Role.EXTRA, f"{OLD}/parts")
    staging.write("default/openclaw.json", "{$include: 'parts/a.json5'}")
    path = staging.write("default.link.parts/a.json5", f"{{w: '{OLD}/w'}}")

    staging.relocate()

    assert path.read_text() == f"{{w: '{NEW}/w'}}"


def test_a_configuration_outside_of_the_state_moves(staging: Staging) -> None:
    staging.root("default.config", Role.CONFIG, "/etc/openclaw/main.json")
    path = staging.write("default.config", f"{{w: '{OLD}/w'}}")

    staging.relocate(config="/etc/openclaw/main.json")

    assert path.read_text() == f"{{w: '{NEW}/w'}}"


def test_a_configuration_that_is_broken_is_left_and_told(staging: Staging) -> None:
    path = staging.write("default/openclaw.json", f"{{w: '{OLD}/secret'")

    report = staging.relocate()

    assert path.read_text() == f"{{w: '{OLD}/secret'"
    assert report.warnings == ("default/openclaw.json names an old path, but it isn't valid JSON5: left as it is",)


def test_a_command_in_the_configuration_is_left_and_told_without_its_text(staging: Staging) -> None:
    staging.write("default/openclaw.json", "{hooks: {run: 'secret=1 /home/alice/x'}}")

    assert staging.relocate() == Relocated(notes=("default/openclaw.json: hooks.run holds an old path: left as it is",))


def test_env_files_move_in_the_state_and_beside_it(staging: Staging) -> None:
    staging.root("default.gateway-env", Role.CREDENTIALS, "/home/alice/.config/openclaw/gateway.env")
    inside = staging.write("default/.env", "KEYS=/home/alice/keys\nTOKEN=x\n")
    beside = staging.write("default.gateway-env", "KEYS='/home/alice/keys'\n")

    staging.relocate()

    assert (inside.read_text(), beside.read_text()) == (
        "KEYS=/home/robert/keys\nTOKEN=x\n",
        "KEYS='/home/robert/keys'\n",
    )


def test_conversations_of_the_file_era_go_on_where_they_are_now(staging: Staging) -> None:
    sessions = "default/agents/main/sessions"
    history = {"systemPromptReport": {"workspaceDir": f"{OLD}/workspace"}, "skillsSnapshot": {"prompt": OLD}}
    store = staging.write(
        f"{sessions}/sessions.json", {"agent:main:main": {"sessionFile": f"{OLD}/a/s.jsonl", **history}}
    )
    pointer = staging.write(f"{sessions}/s.trajectory-path.json", {"runtimeFile": f"{OLD}/a/s.trajectory.jsonl"})

    staging.relocate()

    assert json.loads(store.read_text()) == {"agent:main:main": {"sessionFile": f"{NEW}/a/s.jsonl", **history}}
    assert json.loads(pointer.read_text()) == {"runtimeFile": f"{NEW}/a/s.trajectory.jsonl"}


@pytest.mark.parametrize("home", ["/home/robert", "/h/b", "/home/alica"])
def test_of_a_transcript_only_the_directory_in_its_first_line_moves(
    tmp_path: Path, staging: Staging, home: str
) -> None:
    rest = "\n" + json.dumps({"type": "message", "text": f"{OLD}/x"}) * 60_000
    path = staging.write("default/agents/main/sessions/s.jsonl", f'{{"type":"session","cwd":"{OLD}/ws"}}{rest}')
    moves = Moves.plan(
        Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(home=b"/home/alice"), roots=()),
        {},
        home=home.encode(),
    )
    manifest = Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(), roots=tuple(staging.roots))

    relocate({"default": bytes(tmp_path / "default")}, manifest, moves)

    assert path.read_text() == f'{{"type":"session","cwd":"{home}/.openclaw/ws"}}{rest}'


def test_a_transcript_of_one_line_without_end_moves(staging: Staging) -> None:
    path = staging.write("default/agents/main/sessions/s.jsonl", {"type": "session", "cwd": f"{OLD}/ws"})

    staging.relocate()

    assert json.loads(path.read_text())["cwd"] == f"{NEW}/ws"


@pytest.mark.parametrize(
    "name",
    [
        "agents/main/sessions/s.trajectory.jsonl",
        "agents/main/sessions/s.jsonl.deleted.1",
        "workspace/openclaw.json",
        "workspace/.env",
        "media/inbound/x.json",
        "credentials/whatsapp/creds.json",
        "secrets.json",
    ],
)
def test_history_workspaces_media_and_credentials_stay(staging: Staging, name: str) -> None:
    content = json.dumps({"type": "session", "cwd": f"{OLD}/x"})
    path = staging.write(f"default/{name}", content)

    assert (staging.relocate(), path.read_text()) == (Relocated(), content)


def test_what_vouches_for_a_workspace_is_named_by_its_new_path(staging: Staging) -> None:
    def named(path: str) -> str:
        return f"default/workspace-attestations/{hashlib.sha256(path.encode()).hexdigest()}.attested"

    staging.write(named(f"{OLD}/workspace"), "mine")
    staging.write(named("/srv/other"), "another's")

    report = staging.relocate()

    assert report.changes == (Change(where=named(f"{OLD}/workspace"), count=1),)
    assert {name: (staging.top / name).read_text() for name in (named(f"{NEW}/workspace"), named("/srv/other"))} == {
        named(f"{NEW}/workspace"): "mine",
        named("/srv/other"): "another's",
    }


@pytest.mark.parametrize(
    ("root", "source", "name"),
    [
        ("default.link.agents", "/ext/agents", "main/sessions/sessions.json"),
        ("default.link.main", "/ext/main", "sessions/sessions.json"),
    ],
)
def test_parts_of_the_state_that_stand_elsewhere_move(staging: Staging, root: str, source: str, name: str) -> None:
    staging.root(root, Role.EXTRA, source)
    path = staging.write(f"{root}/{name}", {"s": {"sessionFile": f"{OLD}/s.jsonl"}})

    staging.relocate()

    assert json.loads(path.read_text()) == {"s": {"sessionFile": f"{NEW}/s.jsonl"}}


def test_a_tree_that_has_nothing_to_do_with_openclaw_stays(staging: Staging) -> None:
    staging.roots.append(Root(name="data", role=Role.EXTRA, source=b"/home/alice/data"))
    path = staging.write("data/sessions/sessions.json", {"sessionFile": f"{OLD}/s.jsonl"})
    before = path.read_bytes()

    assert (staging.relocate(), path.read_bytes()) == (Relocated(), before)


def test_a_root_that_is_not_restored_is_not_looked_for(staging: Staging) -> None:
    staging.root("work", Role.STATE, "/home/alice/.openclaw-work")

    assert staging.relocate() == Relocated()


def test_a_file_that_becomes_shorter_ends_where_it_should(staging: Staging) -> None:
    path = staging.write("default/openclaw.json", f"{{w: '{OLD}/w'}}")
    manifest = Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(), roots=tuple(staging.roots))

    relocate({"default": bytes(staging.top / "default")}, manifest, Moves.plan(manifest, {"default": b"/oc"}))

    assert path.read_text() == "{w: '/oc/w'}"


def test_a_rewritten_file_keeps_owner_mode_and_times(staging: Staging) -> None:
    path = staging.write("default/openclaw.json", f"{{w: '{OLD}/w'}}")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1500, 1501)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    before = path.stat()

    staging.relocate()

    after = path.stat()
    kept = ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ino")
    assert path.read_text() == f"{{w: '{NEW}/w'}}"
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]


@pytest.mark.parametrize("link", ["openclaw.json", "agents", "agents/main/sessions/sessions.json"])
def test_links_planted_in_a_staged_tree_are_not_followed(staging: Staging, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    target = staging.write("outside/main/sessions/sessions.json", {"s": {"sessionFile": f"{OLD}/s.jsonl"}})
    before = target.read_bytes()
    planted = staging.top / "default" / link
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(outside if link == "agents" else target)

    assert (staging.relocate(), target.read_bytes()) == (Relocated(), before)


def test_a_file_that_can_not_be_written_ends_the_relocation(staging: Staging) -> None:
    staging.write("default/openclaw.json", f"{{w: '{OLD}/w'}}")

    with largest_file(8), pytest.raises(TargetFailure) as caught:
        staging.relocate()
    assert caught.value.path == "default/openclaw.json"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A system that refuses to write beyond *size* bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_its_owner_changes_a_read_only_file_without_being_root() -> None:
    with tempfile.TemporaryDirectory() as top:
        staging = Staging(Path(top))
        path = staging.write("default/openclaw.json", f"{{w: '{OLD}/w'}}")
        path.chmod(0o400)
        if os.geteuid() == 0:
            for each in (top, f"{top}/default", path):
                os.chown(each, 1500, 1500)

        relocate_as_owner(staging)

        assert (path.read_text(), path.stat().st_mode & 0o777) == (f"{{w: '{NEW}/w'}}", 0o400)


def relocate_as_owner(staging: Staging) -> None:
    if os.geteuid() != 0:
        staging.relocate()
        return
    documents.parse_json5("{}")  # imported before this user's right to read packages is gone
    child = os.fork()
    if child == 0:
        os.setresgid(1500, 1500, 1500)
        os.setresuid(1500, 1500, 1500)
        status = 1
        try:
            staging.relocate()
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)


def test_an_include_with_a_star_in_its_name_is_no_pattern(staging: Staging) -> None:
    staging.write("default/openclaw.json", "{$include: 'parts/*.json5'}")
    path = staging.write("default/parts/a.json5", f"{{w: '{OLD}/w'}}")

    assert (staging.relocate(), path.read_text()) == (Relocated(), f"{{w: '{OLD}/w'}}")


def test_a_file_that_is_too_large_to_rewrite_is_left_and_told(staging: Staging) -> None:
    path = staging.write("default/openclaw.json", f"{{w: '{OLD}/w'}}")
    os.truncate(path, 1 << 30)

    told = "default/openclaw.json is too large to rewrite: its paths are those of before"
    assert staging.relocate() == Relocated(warnings=(told,))


@pytest.mark.ci
@pytest.mark.parametrize(("name", "limit"), [(".env", 1 << 20), ("exec-approvals.json", 1 << 26)])
def test_a_file_is_rewritten_up_to_its_limit(staging: Staging, name: str, limit: int) -> None:
    content = f'A="{OLD}/w"' if name == ".env" else f'["{OLD}/w"]'
    path = staging.write(f"default/{name}", content.ljust(limit))
    assert staging.relocate().changes == (Change(where=f"default/{name}", count=1),)

    staging.write(f"default/{name}", content.ljust(limit + 1))
    told = f"default/{name} is too large to rewrite: its paths are those of before"
    assert staging.relocate() == Relocated(warnings=(told,))
    assert path.read_text() == content.ljust(limit + 1)


def test_what_a_configuration_of_too_many_parts_includes_is_not_looked_for(staging: Staging) -> None:
    text = "{$include: 'parts/a.json5', w: '" + OLD + "/w', x: [" + "[]," * (1 << 19) + "]}"
    path = staging.write("default/openclaw.json", text)
    part = staging.write("default/parts/a.json5", f"{{w: '{OLD}/w'}}")

    told = "default/openclaw.json names an old path, but it has too many parts: left as it is"
    assert staging.relocate() == Relocated(warnings=(told,))
    assert (path.read_text(), part.read_text()) == (text, f"{{w: '{OLD}/w'}}")


# --- Single files of a staged tree -----------------------------------------------------------------------------------


def test_nothing_is_below_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert list(Tree(root="r", path=bytes(tmp_path / "f")).find(b"x")) == []


def test_a_root_that_is_a_directory_is_no_file(tmp_path: Path) -> None:
    assert list(Tree(root="r", path=bytes(tmp_path)).find(b"")) == []


def test_what_the_system_does_not_look_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        list(Tree(root="r", path=bytes(tmp_path)).find(b"x" * 300 + b"/y"))


def test_a_file_that_is_longer_than_its_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("four")
    (content,) = [staged.read(place, 3) for place in Tree(root="r", path=bytes(tmp_path)).find(b"f")]
    assert content is None


def test_a_file_is_not_renamed_to_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "taken").touch()
    (was_renamed,) = [staged.rename(place, b"taken") for place in Tree(root="r", path=bytes(tmp_path)).find(b"f")]
    assert (was_renamed, sorted(os.listdir(tmp_path))) == (False, ["f", "taken"])


def test_a_pipe_that_takes_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for place in Tree(root="r", path=bytes(tmp_path)).find(b"f"):
        (tmp_path / "f").unlink()
        os.mkfifo(tmp_path / "f")
        with pytest.raises(TargetFailure, match="not a regular file"):
            staged.read(place, 3)
