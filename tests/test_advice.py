"""What to do after a move, and what is told of it."""

from __future__ import annotations

import dataclasses

import pytest

from ocbundle.errors import InstalledTooOld
from ocbundle.model import Host, Manifest, Profile, Role, Root
from ocbundle.openclaw import advice
from ocbundle.openclaw.installed import Installed
from ocbundle.openclaw.placement import Placement

PACKED_S = 1_800_000_000
WORK = Profile(name="work", state="work", version="2026.9.6", era="C", schemas={"state/openclaw.sqlite": 18})
HERE = Installed(path=b"/opt/openclaw", version="2026.9.6", schemas={"state": 18}, plugins=frozenset({"telegram"}))


def steps(
    profile: Profile, *, installed: Installed | None = HERE, name: str = "work", days: int = 0
) -> tuple[str, ...]:
    manifest = Manifest(
        bundle_id=bytes(16),
        created=PACKED_S,
        generator="test",
        source=Host(host="old"),
        roots=(Root(name="work", role=Role.STATE, source=b"/home/alice/.openclaw-work", profile="work"),),
        profiles=(profile,),
    )
    placement = Placement(destinations={"work": b"/home/bob/.openclaw-work"}, profiles={"work": name})
    advice.check_version(manifest, placement, installed)
    return advice.next_steps(manifest, placement, installed, now=PACKED_S + days * 86_400)


def having(**fields: object) -> Profile:
    return dataclasses.replace(WORK, **fields)  # type: ignore[arg-type]


def test_commands_are_for_the_profile_that_was_placed() -> None:
    assert steps(WORK, name="ops")[:4] == (
        "$ openclaw --profile ops doctor",
        "$ openclaw --profile ops gateway install",
        "$ openclaw --profile ops gateway restart",
        "$ openclaw --profile ops status",
    )


@pytest.mark.parametrize("fields", [{"era": "A"}, {"era": "B"}, {"version": "2026.8.1"}], ids=str)
def test_an_older_state_is_migrated_first(fields: dict[str, object]) -> None:
    assert steps(having(**fields), name="default")[0] == "$ openclaw doctor --fix"


@pytest.mark.parametrize(
    ("fields", "text"),
    [({"version": "2026.10.1"}, "2026.10.1"), ({"schemas": {"state/openclaw.sqlite": 19}}, "2026.9.6")],
)
def test_an_older_openclaw_is_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(InstalledTooOld, match=text):
        steps(having(**fields))


def test_without_openclaw_it_is_to_be_installed() -> None:
    assert steps(WORK, installed=None)[0] == "install OpenClaw: $ npm install -g openclaw@2026.9.6"


def test_plugins_that_openclaw_brings_along_need_not_be_installed() -> None:
    profile = having(plugins=("npm:@openclaw/telegram@2026.9.6", "@openclaw/whatsapp", "clawhub:notes"))
    assert "install again, for profile work: plugins @openclaw/whatsapp, clawhub:notes" in steps(profile)


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        (("A_TOKEN",), "profile work needs A_TOKEN, which isn't in the bundle"),
        (("A_TOKEN", "/etc/key"), "profile work needs A_TOKEN, /etc/key, which aren't in the bundle"),
    ],
)
def test_what_is_needed_and_not_in_the_bundle_is_told(needs: tuple[str, ...], text: str) -> None:
    assert text in steps(having(needs=needs))


@pytest.mark.parametrize(("days", "age"), [(0, "less than a day"), (1, "1 day"), (30, "30 days")])
def test_a_login_that_moves_on_is_told_with_the_age_of_the_bundle(days: int, age: str) -> None:
    text = f"whatsapp may ask to be linked again: the bundle is {age} old, and these logins move on"
    assert text in steps(having(channels=("telegram", "whatsapp")), days=days)


def test_the_old_gateway_is_not_to_be_started_again() -> None:
    assert (
        "don't start the old gateway on old again: there, $ openclaw gateway stop; openclaw gateway uninstall"
        in steps(WORK)
    )


def test_kinds_of_secret_are_told_last() -> None:
    assert steps(having(secrets=("env file", "auth profiles")))[-1] == (
        "if the bundle or its key may have leaked, change: auth profiles, env file"
    )
