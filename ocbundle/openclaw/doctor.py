"""Is every pitfall of a move absent on this machine? Wires the checks together, and decides nothing itself.

Read-only: names, modes, configurations and the headers of databases are looked at where they are, and what only a
database can tell is read from a private copy. No program is run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ocbundle.model import Manifest
from ocbundle.openclaw import config, installed, services, states, stores
from ocbundle.openclaw.checks import access, contents, places, profiles
from ocbundle.openclaw.findings import STATE_DATABASE, Finding, Severity, Subject
from ocbundle.openclaw.states import Names, StateDirectory
from ocbundle.paths import display

_ORDER: Final = tuple(Severity)
_CHECKS: Final = (
    contents.configuration,
    contents.versions,
    access.owners,
    access.modes,
    places.named_by_configuration,
)
_CHECKS_OF_A_GATEWAY: Final = (
    contents.databases,
    contents.sessions,
    contents.secrets,
    contents.plugins,
    places.jobs,
)
"""A client of another machine's gateway needs none of what these look for."""


def examine(
    environ: Mapping[str, str],
    *,
    uid: int,
    host: str,
    scratch: str,
    manifest: Manifest | None = None,
    unfinished: Collection[bytes] = (),
) -> tuple[Finding, ...]:
    """Examine the OpenClaw of the user whose environment *environ* is: what is wrong with it, the worst first.

    Args:
        environ: The variables that OpenClaw looks at, and ``PATH``.
        uid: Who asks. Root is taken to ask for the owner of the home directory.
        host: The name of this machine.
        scratch: A private directory, with room for a copy of the largest state database.
        manifest: That of a bundle, whose profiles should all be here.
        unfinished: Logs of runs of ``unpack`` that were killed while they put things in place.

    Raises:
        SourceMissing: the environment names no home directory.
    """
    home = states.home(environ)
    found, _, left = states.find(environ, home, state_dir=None, names=Names())
    units = services.find(home)
    programs = [os.fsencode(word) for unit in units for word in unit.program if word.startswith("/")]
    package = installed.find(environ, programs)
    owner = _owner(home, uid)

    def subject(state: StateDirectory) -> Subject:
        return Subject(
            state=state,
            config=config.read(state.config, home=home, state=state.path, environ=environ),
            home=home,
            environ=environ,
            owner=owner,
            store=stores.read(os.path.join(state.real, STATE_DATABASE), scratch),
            installed=package,
            services=units,
        )

    subjects = [subject(state) for state in found]
    findings = [_unfinished(log) for log in unfinished]
    findings += profiles.environment(environ, home, found)
    findings += profiles.services(units, home)
    findings += profiles.alone(subjects, home, units)
    findings += profiles.beside(left)
    findings += _each(subjects, host)
    findings += access.set_aside(_places(home, subjects))
    if manifest is not None:
        findings += profiles.of_bundle(manifest, subjects)
    if not subjects:
        findings.append(_nothing(home))
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def _each(subjects: list[Subject], host: str) -> Iterator[Finding]:
    for subject in subjects:
        others = [other for other in subjects if other is not subject]
        if others and profiles.is_fresh(subject):
            yield from profiles.fresh(subject, others)
            continue
        is_client = subject.config.mode == "remote"
        yield from profiles.remote(subject)
        for check in _CHECKS if is_client else (*_CHECKS, *_CHECKS_OF_A_GATEWAY):
            yield from check(subject)
        yield from access.leftovers(subject, host)


def _places(home: bytes, subjects: list[Subject]) -> list[bytes]:
    """Directories in which unpacking puts old states aside: those that hold a state or a workspace."""
    beside = [os.path.dirname(subject.state.real) for subject in subjects]
    beside += [
        os.path.dirname(os.path.realpath(agent.workspace))
        for subject in subjects
        for agent in subject.config.agents
        if agent.workspace
    ]
    return list(dict.fromkeys([os.path.realpath(home), *beside]))


def _owner(home: bytes, uid: int) -> int:
    """The user that the gateway runs as."""
    if uid != 0:
        return uid
    try:
        return os.stat(home).st_uid
    except OSError:
        return uid


def _unfinished(log: bytes) -> Finding:
    return Finding(
        what=f"an unpack was killed while it put things in place: its log is {display(log)}",
        why="some of what stands here may be old and some new, until it is finished, or taken back with --undo",
        command="ocbundle unpack --resume",
        severity=Severity.ERROR,
        path=log,
    )


def _nothing(home: bytes) -> Finding:
    return Finding(
        what=f"there is no OpenClaw state in {display(home)}",
        why="it wasn't moved here, is another user's, or stands where only OPENCLAW_STATE_DIR would lead",
        command="ocbundle unpack -i IDENTITY-FILE BUNDLE",
        severity=Severity.ERROR,
        path=home,
    )
