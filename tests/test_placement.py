from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ocbundle.errors import EntryMissing, InstalledTooOld, InvalidRequest, TargetExists
from ocbundle.model import Host, Manifest, Profile, Role, Root
from ocbundle.openclaw import advice, occupants
from ocbundle.openclaw.installed import Installed
from ocbundle.openclaw.placement import place


def manifest(*roots: Root, home: bytes = b"/home/alice") -> Manifest:
    names = dict.fromkeys(root.profile for root in roots if root.profile)
    states = {root.profile: root.name for root in roots}
    return Manifest(
        bundle_id=bytes(16),
        created=0,
        generator="",
        source=Host(home=home),
        roots=roots,
        profiles=tuple(Profile(name=name, state=states[name]) for name in names),
    )


def state(profile: str, source: bytes) -> Root:
    return Root(name=profile, role=Role.STATE, source=source, profile=profile)


ALICE = manifest(
    state("default", b"/home/alice/.openclaw"),
    state("work", b"/home/alice/.openclaw-work"),
    Root(name="default.workspace.research", role=Role.WORKSPACE, source=b"/home/alice/research-ws", profile="default"),
    Root(name="work.workspace.main", role=Role.WORKSPACE, source=b"/home/alice/projects/work", profile="work"),
)
SERVER = manifest(
    state("work", b"/home/alice/.openclaw-work"),
    Root(name="work.workspace.main", role=Role.WORKSPACE, source=b"/srv/work", profile="work"),
)


def test_what_was_in_the_old_home_goes_to_the_new_one() -> None:
    assert place(ALICE, home=b"/home/bob").destinations == {
        "default": b"/home/bob/.openclaw",
        "work": b"/home/bob/.openclaw-work",
        "default.workspace.research": b"/home/bob/research-ws",
        "work.workspace.main": b"/home/bob/projects/work",
    }


def test_a_map_goes_before_the_home() -> None:
    placed = place(ALICE, home=b"/home/bob", maps={b"/home/alice/research-ws": b"/data/ws"})
    assert placed.destinations["default.workspace.research"] == b"/data/ws"


def test_a_map_moves_a_root_from_outside_the_home() -> None:
    assert place(SERVER, home=b"/home/bob", maps={b"/srv": b"/opt"}).destinations["work.workspace.main"] == b"/opt/work"


def test_a_prefix_ends_at_a_component() -> None:
    moved = manifest(state("default", b"/home/alice.old/.openclaw"))
    with pytest.raises(InvalidRequest, match=r"/home/alice\.old/\.openclaw"):
        place(moved, home=b"/home/bob")


def test_one_profile_can_be_chosen() -> None:
    assert set(place(ALICE, home=b"/home/bob", profiles=["work"]).destinations) == {"work", "work.workspace.main"}


def test_a_profile_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(EntryMissing) as caught:
        place(ALICE, home=b"/home/bob", profiles=["wrok"])
    assert "wrok" in caught.value.message
    assert caught.value.hint == "it holds default, work"


def extra(number: int, profile: str | None = None) -> Root:
    return Root(name=f"r{number}", role=Role.EXTRA, source=b"/home/alice/w%d" % number, profile=profile)


def test_many_roots_are_placed_and_more_than_a_gateway_can_have_are_refused() -> None:
    many = [extra(number) for number in range(128)]
    assert len(place(manifest(*many), home=b"/home/bob").destinations) == 128
    with pytest.raises(InvalidRequest, match="129 roots") as caught:
        place(manifest(*many, extra(128)), home=b"/home/bob")
    assert "--profile NAME" in (caught.value.hint or "")
    assert "--to DIR" in (caught.value.hint or "")


def test_only_roots_that_are_to_be_placed_count() -> None:
    others = [extra(number, "default") for number in range(128)]
    several = manifest(
        state("default", b"/home/alice/.openclaw"), state("work", b"/home/alice/.openclaw-work"), *others
    )
    with pytest.raises(InvalidRequest, match="130 roots"):
        place(several, home=b"/home/bob")
    assert set(place(several, home=b"/home/bob", profiles=["work"]).destinations) == {"work"}


def test_a_root_goes_only_so_deep() -> None:
    deep = Root(name="deep", role=Role.EXTRA, source=b"/home/alice" + b"/a" * 30)
    deeper = replace(deep, source=deep.source + b"/a")
    assert place(manifest(deep), home=b"/home/bob").destinations == {"deep": b"/home/bob" + b"/a" * 30}
    with pytest.raises(InvalidRequest, match="deep would go 33 directories deep") as caught:
        place(manifest(deeper), home=b"/home/bob")
    assert "--map OLD=NEW" in (caught.value.hint or "")
    assert place(manifest(deeper), home=b"/home/bob", maps={deeper.source: b"/srv/a"}).destinations == {
        "deep": b"/srv/a"
    }


def test_a_profile_can_take_another_name() -> None:
    placed = place(ALICE, home=b"/home/bob", renames={"work": "lab"})
    assert placed.destinations["work"] == b"/home/bob/.openclaw-lab"
    assert placed.profiles == {"work": "lab"}


def test_a_profile_can_become_the_default() -> None:
    assert place(ALICE, home=b"/h/b", renames={"work": "default"}).destinations["work"] == b"/h/b/.openclaw"


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b"])
def test_a_name_that_is_no_profile_s_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        place(ALICE, home=b"/home/bob", renames={"work": name})


def test_a_state_of_another_name_is_renamed_by_a_map_only() -> None:
    moved = manifest(state("lab", b"/srv/lab-state"))
    with pytest.raises(InvalidRequest, match="which no name decides"):
        place(moved, home=b"/home/bob", renames={"lab": "x"})


def test_two_roots_in_one_place_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="two roots"):
        place(ALICE, home=b"/home/bob", renames={"work": "default"}, profiles=["default"])


@pytest.mark.parametrize("path", [b"relative", b"/"])
def test_a_map_to_no_directory_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        place(ALICE, home=b"/home/bob", maps={b"/srv": path})


def test_a_mac_s_home_becomes_a_linux_one() -> None:
    mac = manifest(state("default", b"/Users/a/.openclaw"), home=b"/Users/a")
    assert place(mac, home=b"/home/b").destinations["default"] == b"/home/b/.openclaw"


# --- what only the user can decide ------------------------------------------------------------------------------------


def workspace(source: bytes, role: Role = Role.WORKSPACE) -> Manifest:
    return manifest(state("work", b"/home/alice/.openclaw-work"), Root(name="w", role=role, source=source))


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    "source",
    [
        b"/etc/cron.d",
        b"/srv/work",
        b"/home/alice.old/ws",
        b"/home",
        b"/home/alice",
        b"/home/alice/.ssh",
        b"/home/alice/.SSH/config",
        b"/home/alice/.bashrc",
        b"/home/alice/.config/systemd/user",
        b"/home/alice/.config/openclawx",
        b"/home/alice/.openclawx",
        b"/home/alice/.agentsx",
        b"/home/alice/.local/bin",
        b"/home/alice/project/.git/hooks",
        b"/home/alice/bin",
        b"/home/alice/Library/LaunchAgents",
    ],
)
def test_a_root_goes_to_no_place_that_others_obey_unless_the_user_names_it(source: bytes, role: Role) -> None:
    with pytest.raises(InvalidRequest, match="only you can send a root there") as caught:
        place(workspace(source, role), home=b"/home/bob")
    new = source.replace(b"/home/alice/", b"/home/bob/") if source != b"/home/alice" else b"/home/bob"
    assert f"--map {source.decode()}={new.decode()}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "inside",
    [b"ws", b"a/b/c", b".openclaw/x/.y", b".openclaw-work2", b".clawdbot", b".agents/skills", b".config/openclaw/k"],
)
def test_a_root_goes_below_the_home_by_itself(inside: bytes) -> None:
    assert place(workspace(b"/home/alice/" + inside), home=b"/home/bob").destinations["w"] == b"/home/bob/" + inside


@pytest.mark.parametrize("source", [b"/home/alice/.ssh", b"/srv/work"])
def test_a_place_that_the_user_names_is_taken(source: bytes) -> None:
    placed = place(workspace(source), home=b"/home/bob", maps={source: source})
    assert (placed.destinations["w"], placed.named) == (source, frozenset({"w"}))


def test_a_map_of_all_above_names_no_hidden_place_below() -> None:
    with pytest.raises(InvalidRequest, match="only you can send a root there"):
        place(workspace(b"/srv/.ssh"), home=b"/home/bob", maps={b"/srv": b"/srv"})


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"ws",
        b"../x",
        b"/home/alice/../../etc",
        b"/home/alice/./ws",
        b"/home/alice//ws",
        b"/home/alice/ws/",
        b"/home/alice/ws\0",
        b"/home/alice/ws\0/../../../etc/cron.d",
        b"C:\\Users\\alice",
    ],
)
def test_a_source_that_is_no_plain_absolute_path_is_no_place(source: bytes) -> None:
    with pytest.raises(InvalidRequest, match="which is no place"):
        place(workspace(source), home=b"/home/bob")


@pytest.mark.parametrize(
    "home", [b"", b"/", b"alice", b"/home/alice/", b"/home/alice/..", b"/home\0", b"/home/alice/."]
)
def test_an_old_home_that_is_no_plain_absolute_path_moves_nothing(home: bytes) -> None:
    with pytest.raises(InvalidRequest, match="only you can send a root there"):
        place(manifest(state("default", b"/home/alice/.openclaw"), home=home), home=b"/home/bob")


# --- what stands there ------------------------------------------------------------------------------------------------


def occupied(home: Path, role: Role, *names: str, kind: str = "directory") -> None:
    """Refuse, or don't, to replace ``there``, which has these names, by a root of *role*."""
    there = home / "there"
    if kind == "file":
        there.touch()
    elif kind == "directory":
        there.mkdir()
    for name in names:
        (there / name).touch()
    held = manifest(Root(name="r", role=role, source=b"/home/alice/there"))
    occupants.check(held, place(held, home=bytes(home)))


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (Role.STATE, ["openclaw.json"]),
        (Role.STATE, ["state", "notes"]),
        (Role.STATE, ["lost+found"]),
        (Role.WORKSPACE, ["SOUL.md", "thesis.tex"]),
        (Role.SKILL, ["SKILL.md"]),
        *((role, []) for role in Role),
    ],
)
def test_what_looks_like_its_successor_may_be_replaced(tmp_path: Path, role: Role, names: list[str]) -> None:
    occupied(tmp_path, role, *names)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("kind", ["file", "nothing"])
def test_a_file_or_nothing_may_be_replaced(tmp_path: Path, role: Role, kind: str) -> None:
    occupied(tmp_path, role, kind=kind)


@pytest.mark.parametrize("role", list(Role))
def test_a_directory_of_something_else_is_not_replaced_unless_it_is_named(tmp_path: Path, role: Role) -> None:
    with pytest.raises(TargetExists, match="doesn't look like") as caught:
        occupied(tmp_path, role, "thesis.tex")
    assert caught.value.hint == (
        f"move it away; or, if it is to be replaced, and kept beside: --map /home/alice/there={tmp_path}/there"
    )


def test_a_directory_that_is_named_may_be_replaced_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.tex").touch()
    held = manifest(Root(name="r", role=Role.WORKSPACE, source=b"/home/alice/there"))
    occupants.check(held, place(held, home=bytes(tmp_path), maps={b"/home/alice/there": bytes(tmp_path / "there")}))


def test_whatever_a_manifest_calls_it_the_directory_that_a_root_goes_to_may_be_a_state() -> None:
    held = manifest(
        Root(name="w", role=Role.WORKSPACE, source=b"/home/alice/.openclaw"),
        Root(name="x", role=Role.EXTRA, source=b"/home/alice/.openclaw-work/agents", profile="work"),
    )
    assert occupants.states(held, place(held, home=b"/home/bob"), b"/home/bob") == [
        ("w", b"/home/bob/.openclaw", b"/home/bob/.openclaw/openclaw.json"),
        ("work", b"/home/bob/.openclaw-work/agents", b"/home/bob/.openclaw-work/agents/openclaw.json"),
        ("work", b"/home/bob/.openclaw-work", b"/home/bob/.openclaw-work/openclaw.json"),
    ]


# --- what to do next --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("2026.9.6", "2026.9.6"),
        ("2026.9.6-1", "2026.9.6-1"),
        (None, "latest"),
        ("https://evil.example/x.tgz", "latest"),
        ("npm:evil@1.0.0", "latest"),
        ("2026.9.6; rm -rf ~", "latest"),
        ("2026.9.6\n", "latest"),
        ("9" * 5000, "latest"),
    ],
)
def test_what_is_to_be_installed_is_a_release_whatever_the_bundle_says(version: str | None, wanted: str) -> None:
    profile = Profile(name="default", state="default", version=version)
    held = replace(manifest(state("default", b"/home/alice/.openclaw")), profiles=(profile,))
    where = place(held, home=b"/home/bob")
    assert advice.next_steps(held, where, None, now=0)[0] == f"install OpenClaw: $ npm install -g openclaw@{wanted}"


def test_a_version_beyond_all_numbers_is_only_too_new() -> None:
    profile = Profile(name="default", state="default", version="9" * 5000)
    held = replace(manifest(state("default", b"/home/alice/.openclaw")), profiles=(profile,))
    here = Installed(path=b"/usr/lib/openclaw", version="2026.9.6", schemas={}, plugins=frozenset())
    with pytest.raises(InstalledTooOld):
        advice.check_version(held, place(held, home=b"/home/bob"), here)
