"""Which profile a gateway would start with, and whether it is the one that holds the user's state."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from ocbundle.model import Manifest
from ocbundle.openclaw import files, states
from ocbundle.openclaw.findings import Finding, Severity, Subject, shell
from ocbundle.openclaw.services import Service
from ocbundle.openclaw.states import Left, StateDirectory
from ocbundle.paths import display

_EMPTY_HISTORY: Final = "the gateway starts with an empty history, and without channels, as if it were new"


def environment(environ: Mapping[str, str], home: bytes, found: Sequence[StateDirectory]) -> Iterator[Finding]:
    """Variables that lead to a state which isn't there, or not where their user thinks."""
    there = {os.path.realpath(state.path) for state in found}
    named = states.variable(environ, "OPENCLAW_STATE_DIR")
    if named is not None and os.path.realpath(states.expand(named, home)) not in there:
        yield Finding(
            what=f"OPENCLAW_STATE_DIR names {display(states.expand(named, home))}, which isn't there",
            why=_EMPTY_HISTORY,
            command="unset OPENCLAW_STATE_DIR",
            severity=Severity.ERROR,
            path=states.expand(named, home),
        )
    config = states.variable(environ, "OPENCLAW_CONFIG_PATH")
    if config is not None and not os.path.exists(states.expand(config, home)):
        yield Finding(
            what=f"OPENCLAW_CONFIG_PATH names {display(states.expand(config, home))}, which isn't there",
            why="the gateway starts without a configuration",
            command="unset OPENCLAW_CONFIG_PATH",
            severity=Severity.ERROR,
            path=states.expand(config, home),
        )
    profile = states.variable(environ, "OPENCLAW_PROFILE")
    if profile is not None and named is None and profile.lower() != "default":
        state = os.path.join(home, os.fsencode(f".openclaw-{profile}"))
        is_there = os.path.realpath(state) in there
        yield Finding(
            what=f"OPENCLAW_PROFILE is {display(profile)}, "
            + ("which by itself selects nothing" if is_there else f"but {display(state)} isn't there"),
            why="openclaw works on the default profile unless --profile is given, or OPENCLAW_STATE_DIR is set",
            command=shell("openclaw", "--profile", profile, "status") if is_there else "unset OPENCLAW_PROFILE",
            severity=Severity.WARNING,
            path=state,
        )


def services(found: Collection[Service], home: bytes) -> Iterator[Finding]:
    """Services that start a gateway on a state, or with a program, that isn't there."""
    for service in found:
        state = service.state(home)
        profile = service.profile
        selected = [] if profile is None or profile.lower() == "default" else ["--profile", profile]
        again = shell("openclaw", *selected, "gateway", "install", "--force")
        if not os.path.isdir(state):
            yield Finding(
                what=f"service {display(service.name)} starts a gateway on {display(state)}, which isn't there",
                why=_EMPTY_HISTORY,
                command=again,
                severity=Severity.ERROR,
                path=service.path,
            )
        elif selected and os.path.realpath(state) == os.path.realpath(os.path.join(home, b".openclaw")):
            yield Finding(
                what=f"service {display(service.name)} is for profile {display(str(profile))}, but starts the default",
                why="OPENCLAW_PROFILE by itself selects nothing",
                command=again,
                severity=Severity.ERROR,
                path=service.path,
            )
        named = [*service.program, *(service.environment.get(key, "") for key in ("HOME", "OPENCLAW_CONFIG_PATH"))]
        missing = [word for word in named if word.startswith("/") and not os.path.exists(word)]
        if missing:
            yield Finding(
                what=f"service {display(service.name)} names {display(missing[0])}, which isn't there",
                why="the gateway doesn't start with the machine, or starts in another place",
                command=again,
                severity=Severity.ERROR,
                path=service.path,
            )


def alone(subjects: Sequence[Subject], home: bytes, found: Collection[Service]) -> Iterator[Finding]:
    """Named profiles without a default one, which OpenClaw takes when nobody names a profile."""
    default = os.path.join(home, b".openclaw")
    named = [subject for subject in subjects if subject.state.path.startswith(default + b"-")]
    if not named or any(subject.state.profile == "default" for subject in subjects):
        return
    served = {os.path.realpath(service.state(home)) for service in found}
    if any(subject.state.real in served for subject in named):
        return
    yield Finding(
        what=f"there is no default profile, only {', '.join(subject.shown for subject in named)}",
        why="without --profile, openclaw shows an empty gateway and may make one",
        command=named[0].openclaw("status"),
        severity=Severity.NOTE,
        path=named[0].state.path,
    )


def is_fresh(subject: Subject) -> bool:
    """Whether OpenClaw made this state by itself, for want of another: it has neither a configuration nor agents."""
    return subject.state.config is None and not files.names(subject.path(b"agents"))


def fresh(subject: Subject, others: Collection[Subject]) -> Iterator[Finding]:
    """An empty state beside others: the one that a command without the right profile made."""
    aside = subject.state.path + b".empty"
    yield Finding(
        what=f"{display(subject.state.path)} is empty, and was made by OpenClaw for want of another",
        why=f"profile {', '.join(other.shown for other in others)} holds the state; {_EMPTY_HISTORY} "
        "when that profile isn't named",
        command=shell(b"mv", b"-n", b"--", subject.state.path, aside),
        severity=Severity.WARNING,
        path=subject.state.path,
    )


def beside(left: Collection[Left]) -> Iterator[Finding]:
    """Directories that look like a state, and that OpenClaw doesn't read."""
    for each in left:
        if not each.path.endswith(b".update-captures"):
            yield Finding(
                what=f"{display(each.path)} looks like an OpenClaw state: {each.detail}",
                why="if it holds your state, no gateway will find it there",
                command=shell(b"ls", b"-la", b"--", each.path),
                severity=Severity.NOTE,
                path=each.path,
            )


def remote(subject: Subject) -> Iterator[Finding]:
    """A profile that is only a client: its state is on another machine."""
    if subject.config.mode != "remote":
        return
    where = display(subject.config.remote_url) if subject.config.remote_url else "another machine"
    yield Finding(
        what=f"profile {subject.shown} is a client of {where}",
        why="its sessions, credentials and channel logins are there; no gateway starts here in this mode",
        command=subject.openclaw("config", "set", "gateway.mode", "local"),
        severity=Severity.WARNING,
        path=subject.config.path,
    )


def of_bundle(manifest: Manifest, subjects: Collection[Subject]) -> Iterator[Finding]:
    """What a bundle holds, and isn't on this machine."""
    there = {subject.state.profile: subject for subject in subjects}
    for profile in manifest.profiles:
        subject = there.get(profile.name)
        if subject is None:
            yield Finding(
                what=f"profile {display(profile.name)} of the bundle isn't on this machine",
                why="it was missed, or unpacked under another name",
                command=shell("ocbundle", "unpack", "--profile", profile.name, "BUNDLE"),
                severity=Severity.ERROR,
            )
            continue
        on_disk = set(map(os.fsdecode, files.directories(subject.path(b"agents"))))
        known = on_disk | {agent.id for agent in subject.config.agents}
        for agent in sorted(set(profile.agents) - known):
            yield Finding(
                what=f"agent {display(agent)} of profile {subject.shown} is in the bundle, and not on this machine",
                why="its sessions and memory are missing",
                command=shell("ocbundle", "unpack", "--profile", profile.name, "--replace", "BUNDLE"),
                severity=Severity.ERROR,
                path=subject.path(b"agents", os.fsencode(agent)),
            )
