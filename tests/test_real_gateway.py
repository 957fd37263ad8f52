"""A real OpenClaw: its gateway is found while it runs, and the doctor finds what a copy to another home breaks.

Needs npm and a minute or two.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from ocbundle.openclaw import doctor, gateway
from ocbundle.openclaw.gateway import Gateway, Manner

pytestmark = pytest.mark.ci

LAB: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "ocbundle-ci/openclaw-2026.9.6"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("gateway") / "alice"
    script = Path(__file__).parent / "openclaw/make_gateway.py"
    subprocess.run([sys.executable, script, LAB, directory], check=True)
    # It names another host, on purpose.
    (directory / ".openclaw/browser/openclaw/user-data/SingletonLock").unlink()
    return directory


def environ(home: Path) -> dict[str, str]:
    quiet = {"OPENCLAW_NO_AUTO_UPDATE": "1", "OPENCLAW_DISABLE_BONJOUR": "1", "OPENCLAW_OFFLINE": "1"}
    path = f"{LAB}/node_modules/.bin:{os.environ['PATH']}"
    return quiet | {"PATH": path, "HOME": str(home), "NO_COLOR": "1", "OPENCLAW_SKIP_CHANNELS": "1"}


@contextmanager
def started(home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway that is ready."""
    with log.open("wb") as words:
        command = [f"{LAB}/node_modules/.bin/openclaw", "gateway", "run"]
        process = subprocess.Popen(command, cwd=home, env=environ(home), stdout=words, stderr=words)
    with process:
        deadline = time.monotonic() + 90
        while b"gateway] ready" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        try:
            yield process
        finally:
            process.kill()


def running(home: Path) -> Gateway | None:
    state = os.fsencode(home / ".openclaw")
    return gateway.running(state, state + b"/openclaw.json", uid=os.getuid(), environ=environ(home))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_is_found_until_it_ends(home: Path, tmp_path: Path, how: signal.Signals) -> None:
    before = running(home)
    with started(home, tmp_path / "log") as process:
        found = running(home)
        process.send_signal(how)
        process.wait()
    assert found is not None
    assert (before, found.pid, found.manner, running(home)) == (None, process.pid, Manner.FOREGROUND, None)


def test_the_command_that_is_given_stops_it(home: Path, tmp_path: Path) -> None:
    with started(home, tmp_path / "log") as process:
        found = running(home)
        assert found is not None
        assert found.stop_command is not None
        subprocess.run(found.stop_command, shell=True, check=True)  # noqa: S602 - that is what it is for
        assert process.wait(60) == 0


def test_doctor_finds_what_a_copy_to_another_home_breaks_and_nothing_before(home: Path, tmp_path: Path) -> None:
    def said() -> list[str]:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        host = os.uname().nodename
        findings = doctor.examine(environ(home), uid=os.getuid(), host=host, scratch=str(scratch))
        # The gateway that was killed above left its lock.
        return [finding.what for finding in findings if "names a process that is gone" not in finding.what]

    before = said()
    home = home.rename(home.with_name("bob"))
    after = said()
    telling = (
        "agents.entries.research.workspace",
        "agents.entries.main.agentDir",
        "cron jobs of profile default are filed",
    )
    assert (before, [word for word in telling if not any(word in what for what in after)]) == ([], [])
