"""Packing refuses while a gateway runs, and says how to stop it; with ``live`` it packs all the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocbundle
from ocbundle.errors import GatewayRunning


@pytest.fixture
def home(tmp_path: Path) -> Path:
    state = tmp_path / "home/.openclaw"
    (state / "state").mkdir(parents=True)
    (state / "openclaw.json").write_text("{}")
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        began = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        lock = home / f".openclaw/tmp/openclaw-{os.getuid()}/gateway.state.lock"
        lock.parent.mkdir(parents=True)
        lock.write_text(json.dumps({"pid": process.pid, "startTime": began}))
        yield process.pid
        process.kill()


@pytest.fixture
def recipient() -> str:
    return "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"


def test_packing_a_running_gateway_is_refused(home: Path, running: int, recipient: str) -> None:
    with pytest.raises(GatewayRunning) as caught:
        ocbundle.pack(home / "b.ocbundle", recipients=[recipient], environ={"HOME": str(home)})
    assert str(running) in caught.value.message
    assert caught.value.hint is not None
    assert "--live" in caught.value.hint
    assert not (home / "b.ocbundle").exists()


@pytest.mark.usefixtures("running")
def test_a_rehearsal_is_refused_as_the_real_run_is(home: Path) -> None:
    with pytest.raises(GatewayRunning):
        ocbundle.pack(None, environ={"HOME": str(home)}, dry_run=True)


@pytest.mark.usefixtures("running")
def test_a_running_gateway_is_packed_live(home: Path, recipient: str) -> None:
    report = ocbundle.pack(home / "b.ocbundle", recipients=[recipient], environ={"HOME": str(home)}, live=True)
    assert report.losses == 0


def test_a_stopped_gateway_s_lock_stops_nobody(home: Path, running: int, recipient: str) -> None:
    os.kill(running, 9)
    os.waitpid(running, 0)
    assert ocbundle.pack(home / "b.ocbundle", recipients=[recipient], environ={"HOME": str(home)}).digest
