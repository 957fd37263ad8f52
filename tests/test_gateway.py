"""Finding a gateway that runs, and the command that stops it, by what OpenClaw leaves behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ocbundle.openclaw import gateway
from ocbundle.openclaw.gateway import Gateway, Manner

CONTAINER: Final = "0123456789ab" + "c" * 52
HOLDER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "home/.openclaw"
    directory.mkdir(parents=True, mode=0o700)
    return directory


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as running:
        yield running
        running.kill()


def began(pid: int) -> int:
    """Field 22 of the process's statistics."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def write_lock(path: Path, **content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\t \t\n")
    return path


def state_lock(state: Path, uid: int | None = None) -> Path:
    return state / f"tmp/openclaw-{os.getuid() if uid is None else uid}/gateway.state.lock"


def old_lock(tmp: Path) -> Path:
    return tmp / f"openclaw-{os.getuid()}/gateway.917dc02b.lock"


def find(state: Path, *, proc: Path | str = "/proc", environ: dict[str, str] | None = None) -> Gateway | None:
    return gateway.running(
        os.fsencode(state),
        os.fsencode(state / "openclaw.json"),
        uid=os.getuid(),
        environ=environ or {"HOME": str(state.parent)},
        proc=str(proc),
        tmp=str(state.parent.parent / "tmp"),
    )


def found(state: Path, *, proc: Path | str = "/proc", environ: dict[str, str] | None = None) -> Gateway:
    running = find(state, proc=proc, environ=environ)
    assert running is not None
    return running


def fake_process(
    proc: Path,
    pid: int,
    *,
    began: int = 7,
    cgroup: str = "0::/",
    numbers: str = "",
    words: str = "node",
    mode: str = "S",
) -> None:
    directory = proc / str(pid)
    directory.mkdir(parents=True)
    (directory / "stat").write_text(f"{pid} (a (b) c) {mode} " + "0 " * 18 + f"{began} 0 0\n")
    (directory / "cgroup").write_text(cgroup + "\n")
    (directory / "status").write_text(f"Name:\tx\nNSpid:\t{numbers or pid}\n")
    (directory / "cmdline").write_text(words.replace(" ", "\0") + "\0")


# --- which process ---------------------------------------------------------------------------------------------------


def test_without_any_lock_no_gateway_runs(state: Path) -> None:
    assert find(state) is None


def test_a_state_directory_that_is_not_there_has_no_gateway(tmp_path: Path) -> None:
    assert find(tmp_path / "home/.openclaw") is None


def test_a_lock_whose_process_lives_is_a_gateway(state: Path, process: subprocess.Popen[bytes]) -> None:
    path = write_lock(state_lock(state), pid=process.pid, startTime=began(process.pid), port=18789)
    assert found(state) == Gateway(
        pid=process.pid,
        role="gateway",
        port=18789,
        manner=Manner.FOREGROUND,
        lock=os.fsencode(path),
        stop_command=f"kill -TERM {process.pid}",
    )


def test_a_lock_whose_process_is_gone_is_no_gateway(state: Path, process: subprocess.Popen[bytes]) -> None:
    write_lock(state_lock(state), pid=process.pid, startTime=began(process.pid))
    process.kill()
    process.wait()
    assert find(state) is None


def test_another_process_that_got_the_same_number_is_no_gateway(state: Path, process: subprocess.Popen[bytes]) -> None:
    write_lock(state_lock(state), pid=process.pid, startTime=began(process.pid) - 1)
    assert find(state) is None


def test_a_process_that_has_ended_and_was_not_waited_for_is_no_gateway(state: Path, tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 42, mode="Z")
    write_lock(state_lock(state), pid=42, startTime=7)
    assert find(state, proc=tmp_path / "proc") is None


def test_a_lock_that_does_not_say_when_counts_for_a_process_that_is_called_a_gateway(
    state: Path, tmp_path: Path
) -> None:
    fake_process(tmp_path / "proc", 42, words="node /opt/openclaw/openclaw.mjs gateway run")
    write_lock(state_lock(state), pid=42)
    assert found(state, proc=tmp_path / "proc").pid == 42


def test_a_lock_that_does_not_say_when_does_not_count_for_any_other_process(state: Path, tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 42, words="node /opt/openclaw/openclaw.mjs status")
    write_lock(state_lock(state), pid=42)
    assert find(state, proc=tmp_path / "proc") is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"pid": "1"}', '{"pid": -1}', '{"pid": true, "startTime": 1}', "[" * 100_000]
)
def test_a_lock_without_sense_is_no_gateway(state: Path, content: str) -> None:
    path = write_lock(state_lock(state))
    path.write_text(content)
    assert find(state) is None


def test_another_program_that_holds_the_state_is_named(state: Path, process: subprocess.Popen[bytes]) -> None:
    write_lock(state_lock(state), pid=process.pid, startTime=began(process.pid), role="sqlite-maintenance")
    assert found(state).role == "sqlite-maintenance"


def test_a_lock_by_the_configuration_alone_is_found(state: Path, process: subprocess.Popen[bytes]) -> None:
    path = state_lock(state).with_name("gateway.0123abcd.lock")
    write_lock(path, pid=process.pid, startTime=began(process.pid))
    assert found(state).lock == os.fsencode(path)


def test_the_locks_of_another_user_that_the_state_belongs_to_are_found(
    state: Path, process: subprocess.Popen[bytes]
) -> None:
    write_lock(state_lock(state, uid=54321), pid=process.pid, startTime=began(process.pid))
    assert found(state).pid == process.pid


# --- the locks of older releases, in the temporary directory ---------------------------------------------------------


def test_a_lock_in_the_temporary_directory_is_found(
    state: Path, tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    content = {"pid": process.pid, "startTime": began(process.pid), "configPath": f"{state}/openclaw.json"}
    write_lock(old_lock(tmp_path / "tmp"), **content)
    assert found(state).pid == process.pid


def test_a_lock_in_the_directory_that_the_environment_names_is_found(
    state: Path, tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    content = {"pid": process.pid, "startTime": began(process.pid), "configPath": f"{state}/openclaw.json"}
    write_lock(old_lock(tmp_path / "var"), **content)
    assert found(state, environ={"HOME": str(state.parent), "TMPDIR": f"{tmp_path}/var"}).pid == process.pid


def test_a_lock_that_names_no_path_is_not_taken_for_this_one(state: Path, tmp_path: Path) -> None:
    write_lock(old_lock(tmp_path / "tmp"), pid=os.getpid(), startTime=began(os.getpid()), configPath="/a\0b")
    assert find(state) is None


def test_a_lock_of_another_profile_is_not_taken_for_this_one(
    state: Path, tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    content = {"pid": process.pid, "startTime": began(process.pid), "configPath": f"{state}-work/openclaw.json"}
    write_lock(old_lock(tmp_path / "tmp"), **content)
    assert find(state) is None


def test_a_lock_in_a_directory_that_a_stranger_made_is_not_believed(
    state: Path, tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    if os.getuid():
        pytest.skip("only root can make a stranger's directory")
    content = {"pid": process.pid, "startTime": began(process.pid), "configPath": f"{state}/openclaw.json"}
    os.chown(write_lock(old_lock(tmp_path / "tmp"), **content).parent, 54321, 54321)
    assert find(state) is None


# --- the kernel's locks ----------------------------------------------------------------------------------------------


@pytest.fixture
def held(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock beside the state's lock file, as a gateway does."""
    path = state_lock(state)
    path.parent.mkdir(parents=True)
    with hold(Path(f"{path}.sqlite")) as holder:
        yield holder
        holder.kill()


def hold(path: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


def test_a_lock_of_the_kernel_tells_of_a_gateway_without_any_words(state: Path, held: subprocess.Popen[bytes]) -> None:
    assert found(state).pid == held.pid


def test_a_lock_of_the_kernel_vanishes_with_its_process(state: Path, held: subprocess.Popen[bytes]) -> None:
    held.kill()
    held.wait()
    assert find(state) is None


def test_looking_leaves_no_trace_beside_a_lock(state: Path, held: subprocess.Popen[bytes]) -> None:
    directory = state_lock(state).parent
    before = sorted(os.listdir(directory))
    assert found(state).pid == held.pid
    assert sorted(os.listdir(directory)) == before


def test_a_file_of_locks_that_nobody_holds_is_no_gateway(state: Path) -> None:
    path = state_lock(state)
    path.parent.mkdir(parents=True)
    Path(f"{path}.sqlite").touch()
    assert find(state) is None


def test_the_lock_on_the_whole_life_of_a_gateway_is_found(state: Path, tmp_path: Path) -> None:
    name = gateway._lifecycle(os.fsencode(state)).decode()
    path = tmp_path / "tmp" / f"openclaw-state-locks-{os.getuid()}" / name
    path.parent.mkdir(parents=True)
    with hold(path) as holder:
        try:
            assert found(state).pid == holder.pid
        finally:
            holder.kill()


def test_the_lock_on_the_whole_life_of_a_gateway_has_the_name_that_openclaw_gives_it() -> None:
    assert gateway._lifecycle(b"/home/alice/.openclaw") == b"gateway-lifecycle.a7db776e.lock.sqlite"


def test_a_gateway_beyond_the_walls_of_this_container_is_out_of_sight(
    state: Path, held: subprocess.Popen[bytes]
) -> None:
    program = (
        "from ocbundle.openclaw import gateway; import sys;"
        f"print(gateway.running({os.fsencode(state)!r}, None, uid=0, environ={{}}).manner)"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("no right to a namespace of its own")
    assert done.stdout.strip() == Manner.OUT_OF_SIGHT, held.pid


# --- how it is stopped -----------------------------------------------------------------------------------------------

USER_SLICE: Final = "0::/user.slice/user-1000.slice/user@1000.service/app.slice"


@pytest.mark.parametrize(
    ("cgroup", "manner", "command"),
    [
        (
            f"{USER_SLICE}/openclaw-gateway.service",
            Manner.SYSTEMD_USER,
            "systemctl --user stop openclaw-gateway.service",
        ),
        (
            f"{USER_SLICE}/openclaw-gateway-work.service",
            Manner.SYSTEMD_USER,
            "systemctl --user stop openclaw-gateway-work.service",
        ),
        ("0::/system.slice/claw.service", Manner.SYSTEMD, "sudo systemctl stop claw.service"),
        (f"{USER_SLICE}/vte-spawn-1.scope", Manner.FOREGROUND, "kill -TERM 42"),
        ("0::/user.slice/user-0.slice/session-1.scope", Manner.FOREGROUND, "kill -TERM 42"),
        (f"0::/system.slice/docker-{CONTAINER}.scope", Manner.CONTAINER, "docker stop 0123456789ab"),
        (f"12:pids:/docker/{CONTAINER}\n1:name=systemd:/", Manner.CONTAINER, "docker stop 0123456789ab"),
        (f"{USER_SLICE}/libpod-{CONTAINER}.scope/x", Manner.CONTAINER, "podman stop 0123456789ab"),
        (f"0::/kubepods.slice/pod1/cri-containerd-{CONTAINER}.scope", Manner.CONTAINER, None),
    ],
)
def test_the_command_that_stops_it_fits_how_it_runs(
    state: Path, tmp_path: Path, cgroup: str, manner: Manner, command: str | None
) -> None:
    fake_process(tmp_path / "proc", 42, cgroup=cgroup)
    write_lock(state_lock(state), pid=42, startTime=7)
    running = found(state, proc=tmp_path / "proc")
    assert (running.manner, running.stop_command) == (manner, command)


def test_a_gateway_in_the_same_container_is_in_the_foreground(state: Path, tmp_path: Path) -> None:
    for pid in (42, os.getpid()):
        fake_process(tmp_path / "proc", pid, cgroup=f"0::/docker/{CONTAINER}")
    write_lock(state_lock(state), pid=42, startTime=7)
    assert found(state, proc=tmp_path / "proc").manner is Manner.FOREGROUND


def test_a_gateway_that_has_another_number_in_its_container_is_found_by_it(state: Path, tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 7, began=1)
    fake_process(tmp_path / "proc", 4242, began=99, numbers="4242\t7", cgroup=f"0::/docker/{CONTAINER}")
    write_lock(state_lock(state), pid=7, startTime=99, stateDir="/home/node/.openclaw")
    assert found(state, proc=tmp_path / "proc").pid == 4242


def test_the_service_of_another_user_is_stopped_as_that_user(state: Path, tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give a directory away")
    os.chown(state, 54321, 54321)
    fake_process(tmp_path / "proc", 42, cgroup=f"{USER_SLICE}/openclaw-gateway.service")
    write_lock(state_lock(state, uid=54321), pid=42, startTime=7)
    command = "systemctl --user -M 54321@ stop openclaw-gateway.service"
    assert found(state, proc=tmp_path / "proc").stop_command == command


@pytest.mark.parametrize(("name", "label"), [(".openclaw", "gateway"), (".openclaw-work", "work")])
def test_an_agent_of_launchd_is_taken_out_so_that_it_is_not_started_again(
    tmp_path: Path, process: subprocess.Popen[bytes], name: str, label: str
) -> None:
    state = tmp_path / "home" / name
    write_lock(state_lock(state), pid=process.pid)
    agent = tmp_path / f"home/Library/LaunchAgents/ai.openclaw.{label}.plist"
    agent.parent.mkdir(parents=True)
    agent.touch()
    # A system without /proc stands for macOS.
    command = f"launchctl bootout gui/{os.getuid()}/ai.openclaw.{label}"
    assert found(state, proc=tmp_path / "none").stop_command == command


# --- what is left behind ---------------------------------------------------------------------------------------------


def test_a_lock_whose_process_is_gone_is_named_as_left_behind(state: Path) -> None:
    path = write_lock(state_lock(state), pid=1 << 22, startTime=1)
    assert gateway.stale_locks(os.fsencode(state)) == (os.fsencode(path),)


def test_a_lock_whose_process_lives_is_not_left_behind(state: Path, process: subprocess.Popen[bytes]) -> None:
    write_lock(state_lock(state), pid=process.pid, startTime=began(process.pid))
    assert gateway.stale_locks(os.fsencode(state)) == ()


# --- what only looks like a gateway, and what can't be told -----------------------------------------------------------


def test_a_lock_in_another_programs_directory_is_no_gateways(state: Path, process: subprocess.Popen[bytes]) -> None:
    write_lock(state / "tmp/other/gateway.state.lock", pid=process.pid, startTime=began(process.pid))
    assert find(state) is None


def test_a_shared_lock_that_names_no_configuration_speaks_of_no_state(
    state: Path, tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    write_lock(old_lock(tmp_path / "tmp"), pid=process.pid, startTime=began(process.pid))
    assert find(state) is None


def test_a_file_system_without_locks_tells_of_nobody(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lock(state_lock(state), role="gateway")
    path.with_name(f"{path.name}.sqlite").touch()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    assert find(state) is None


def test_a_holder_that_the_kernel_does_not_name_is_out_of_sight(state: Path) -> None:
    path = write_lock(state_lock(state), role="gateway")
    path.with_name(f"{path.name}.sqlite").touch()
    with path.with_name(f"{path.name}.sqlite").open("r+b") as holder:
        # A lock of an open file has no process: so does one of a process in another container.
        fcntl.fcntl(holder, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0x40000002, 510, 0))
        running = found(state)
    assert (running.pid, running.manner, running.stop_command) == (None, Manner.OUT_OF_SIGHT, None)


def test_a_process_that_began_then_but_has_another_number_inside_is_no_gateway(state: Path, tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 4242, began=99, numbers="4242\t8")
    write_lock(state_lock(state), pid=7, startTime=99)
    assert find(state, proc=tmp_path / "proc") is None


def test_the_gateway_of_an_old_release_is_known_by_its_title(state: Path, tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 42, words="openclaw-gateway")
    write_lock(state_lock(state), pid=42)
    assert found(state, proc=tmp_path / "proc").pid == 42


@pytest.mark.parametrize(
    ("refused", "command"),
    [(ProcessLookupError, None), (PermissionError, "kill -TERM 4242")],
    ids=["gone", "another's"],
)
def test_without_proc_a_process_is_there_if_a_signal_could_be_sent(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: type[OSError], command: str | None
) -> None:
    def kill(_pid: int, _signal: int) -> None:
        raise refused

    write_lock(state_lock(state), pid=4242)
    monkeypatch.setattr(os, "kill", kill)
    running = find(state, proc=tmp_path / "none")
    assert (running and running.stop_command) == command


def test_a_system_without_such_locks_tells_of_nobody(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lock(state_lock(state), role="gateway")
    path.with_name(f"{path.name}.sqlite").touch()
    monkeypatch.delattr(fcntl, "F_OFD_GETLK")
    assert find(state) is None
