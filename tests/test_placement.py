from __future__ import annotations

import pytest

from ocbundle.errors import EntryMissing, InvalidRequest
from ocbundle.model import Host, Manifest, Profile, Role, Root
from ocbundle.openclaw.placement import place


def manifest(*roots: Root, home: bytes = b"/home/alice") -> Manifest:
    names = dict.fromkeys(root.profile for root in roots if root.profile)
    states = {root.profile: root.name for root in roots if root.role is Role.STATE}
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
    Root(name="work.workspace.main", role=Role.WORKSPACE, source=b"/srv/work", profile="work"),
)


def test_what_was_in_the_old_home_goes_to_the_new_one() -> None:
    assert place(ALICE, home=b"/home/bob").destinations == {
        "default": b"/home/bob/.openclaw",
        "work": b"/home/bob/.openclaw-work",
        "default.workspace.research": b"/home/bob/research-ws",
        "work.workspace.main": b"/srv/work",
    }


def test_a_map_goes_before_the_home() -> None:
    placed = place(ALICE, home=b"/home/bob", maps={b"/home/alice/research-ws": b"/data/ws"})
    assert placed.destinations["default.workspace.research"] == b"/data/ws"


def test_a_map_moves_a_root_from_outside_the_home() -> None:
    assert place(ALICE, home=b"/home/bob", maps={b"/srv": b"/opt"}).destinations["work.workspace.main"] == b"/opt/work"


def test_a_prefix_ends_at_a_component() -> None:
    moved = manifest(state("default", b"/home/alice.old/.openclaw"))
    assert place(moved, home=b"/home/bob").destinations["default"] == b"/home/alice.old/.openclaw"


def test_one_profile_can_be_chosen() -> None:
    assert set(place(ALICE, home=b"/home/bob", profiles=["work"]).destinations) == {"work", "work.workspace.main"}


def test_a_profile_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(EntryMissing) as caught:
        place(ALICE, home=b"/home/bob", profiles=["wrok"])
    assert "wrok" in caught.value.message
    assert caught.value.hint == "it holds default, work"


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
