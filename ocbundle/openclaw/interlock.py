"""Refusing to work on the state of a gateway that runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ocbundle.errors import GatewayRunning
from ocbundle.openclaw import gateway
from ocbundle.paths import display


def demand_stopped(
    states: Iterable[tuple[str, bytes, bytes | None]], *, uid: int, environ: Mapping[str, str], otherwise: str
) -> None:
    """Refuse if a gateway works on one of *states*: names of profiles, state directories and configurations.

    *otherwise* is what can be done instead of stopping it.

    Raises:
        GatewayRunning: it does; the hint is the command that stops it.
    """
    for profile, state, config in states:
        found = gateway.running(state, config, uid=uid, environ=environ)
        if found is not None:
            who = "the gateway" if found.role == "gateway" else f"OpenClaw ({display(found.role)})"
            where = "out of this process's sight" if found.pid is None else f"process {found.pid}"
            stop = "stop it where it runs" if found.stop_command is None else f"stop it: {found.stop_command}"
            raise GatewayRunning(
                f"{who} of profile {display(profile)} is running ({where})",
                path=display(state),
                hint=f"{stop}; {otherwise}",
            )
