"""Whether a gateway runs on a state directory, and the command that stops it.

OpenClaw leaves two kinds of evidence, and both are only looked at: no lock is taken, no database is opened, nothing is
written, and no program is run.

- Lock files that name a process: in the state directory since 2026.7, in the temporary directory before. A process
  counts if it lives, and began when the lock says: numbers of processes are used again.
- Locks that the kernel holds for the process, on files beside those. They vanish with it, however it ends, and they
  are seen across containers that share a kernel.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import pwd
import re
import shlex
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle.openclaw import files, states

_MAX_LOCK_BYTES: Final = 1 << 16
_LOCK: Final = re.compile(rb"gateway\.(?:state|[0-9a-f]{8})\.lock")
_COORDINATOR: Final = b".sqlite"
"""What follows a lock's name in that of the file on which the kernel's lock is held."""
_SHARED: Final = (0x40000002, 510)
"""The bytes of a database that SQLite locks for writing while it is held exclusively (os_unix.c)."""
_UNIT: Final = re.compile(r"/([^/]+\.service)(?:/|$)")
_USER_MANAGER: Final = re.compile(r"user@\d+\.service")
_CONTAINER: Final = re.compile(r"(docker|libpod|containerd|crio|kubepods)[^\n]*?([0-9a-f]{64})")
_STOPPERS: Final = {"docker": "docker stop", "libpod": "podman stop"}


class Manner(enum.StrEnum):
    """How a gateway was started, which decides how it must be stopped."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd user"
    LAUNCHD = "launchd"
    CONTAINER = "container"
    FOREGROUND = "foreground"
    OUT_OF_SIGHT = "out of sight"
    """It holds its lock, but runs where this process can't see it: another container, or outside of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A process that works on a state directory."""

    pid: int | None
    """Its number here; ``None`` if it runs out of sight."""
    role: str
    """``gateway``, or another program of OpenClaw's that holds the state, such as ``agent-embedded``."""
    port: int | None
    manner: Manner
    lock: bytes
    """The file that gave it away."""
    stop_command: str | None
    """A shell's words that stop it, and keep it stopped; ``None`` if no exact ones are known."""


def running(
    state: bytes,
    config: bytes | None,
    *,
    uid: int,
    environ: Mapping[str, str],
    proc: str = "/proc",
    tmp: str = "/tmp",  # noqa: S108 - OpenClaw's own place, whatever TMPDIR says
) -> Gateway | None:
    """The gateway that works on the state directory *state*, or on the configuration *config*; ``None`` if none does.

    *uid* is who asks. A state directory that belongs to another user is looked for in that user's places too.
    """
    owner = _owner(state, uid)
    system = _System(proc=os.fsencode(proc), uid=uid, owner=owner, environ=environ, state=state)
    temporary = {os.fsencode(tmp), os.fsencode(states.variable(environ, "TMPDIR") or tmp)}
    for path in _locks(state, config, {uid, owner}, sorted(temporary)):
        found = system.holder(path)
        if found is not None:
            return found
    coordinator = _lifecycle(state)
    for user in sorted({uid, owner}):
        path = os.path.join(os.fsencode(tmp), b"openclaw-state-locks-%d" % user, coordinator)
        held = _kernel_holder(path)
        if held is not None:
            return system.describe(held, "gateway", None, path)
    return None


def stale_locks(state: bytes, *, proc: str = "/proc") -> tuple[bytes, ...]:
    """Lock files in *state* whose processes are gone: what a gateway that was killed leaves behind."""
    system = _System(proc=os.fsencode(proc), uid=0, owner=0, environ={}, state=state)
    there = (path for path in _locks(state, None, (), ()) if os.path.isfile(path))
    return tuple(path for path in there if system.holder(path) is None)


# --- Where locks are -------------------------------------------------------------------------------------------------


def _owner(state: bytes, uid: int) -> int:
    try:
        return os.stat(state).st_uid
    except OSError:
        return uid


def _locks(state: bytes, config: bytes | None, uids: Collection[int], temporary: Collection[bytes]) -> Iterator[bytes]:
    """The lock files, there or not, that may speak of this state."""
    inside = os.path.join(state, b"tmp")
    for name in files.directories(inside):
        if name.startswith(b"openclaw"):
            yield from _named(os.path.join(inside, name))
    for place in temporary:
        for user in sorted(uids):
            directory = os.path.join(place, b"openclaw-%d" % user)
            # A stranger can make a directory of that name, and fill it with locks.
            if _owner(directory, -1) in {user, 0}:
                yield from (path for path in _named(directory) if _speaks_of(path, state, config))


def _named(directory: bytes) -> Iterator[bytes]:
    names = {name.removesuffix(_COORDINATOR) for name in files.names(directory)}
    yield from (os.path.join(directory, name) for name in sorted(names, reverse=True) if _LOCK.fullmatch(name))


def _speaks_of(path: bytes, state: bytes, config: bytes | None) -> bool:
    """Whether a lock in a directory that all of a user's gateways share is one on this state."""
    lock = _read(path)
    named = lock.get("configPath")
    if not isinstance(named, str):
        return False
    real = files.real(os.fsencode(named))
    return real == files.real(config or b"/") or os.path.dirname(real) == files.real(state)


def _lifecycle(state: bytes) -> bytes:
    """Name of the file that a gateway locks in the temporary directory as long as it runs."""
    database = files.real(os.path.join(state, b"state/openclaw.sqlite"))
    return b"gateway-lifecycle.%s.lock.sqlite" % hashlib.sha256(database).hexdigest()[:8].encode()


def _read(path: bytes) -> Mapping[str, object]:
    try:
        content = json.loads(files.read(path, _MAX_LOCK_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


# --- Who holds them --------------------------------------------------------------------------------------------------


def _kernel_holder(path: bytes) -> int | None:
    """The process that holds the database *path* exclusively: its number, 0 if it is out of sight, ``None`` for nobody.

    Only asks: a lock taken for a test would make a gateway fail that starts just then.
    """
    import fcntl  # noqa: PLC0415 - doesn't exist on Windows, where bundles can be read

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not hasattr(fcntl, "F_OFD_GETLK"):  # another system, whose structure has another shape
            return None
        question = struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, *_SHARED, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = struct.unpack_from("hhqqi", answer)
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _System:
    """The processes of this machine, as *proc* shows them to *uid*; *owner* is whose the directory *state* is."""

    proc: bytes
    uid: int
    owner: int
    environ: Mapping[str, str]
    state: bytes

    def holder(self, path: bytes) -> Gateway | None:
        """The process that holds the lock file *path*, or the kernel's lock beside it."""
        lock = _read(path)
        role = lock.get("role")
        port = _number(lock.get("port"))
        pid = _kernel_holder(path + _COORDINATOR)
        if pid is None:
            pid = self._living(lock)
        if pid is None:
            return None
        return self.describe(pid, role if isinstance(role, str) and role else "gateway", port, path)

    def describe(self, pid: int, role: str, port: int | None, lock: bytes) -> Gateway:
        manner, command = self._manner(pid)
        return Gateway(pid=pid or None, role=role, port=port, manner=manner, lock=lock, stop_command=command)

    # --- Is it alive? ---

    def _living(self, lock: Mapping[str, object]) -> int | None:
        """The number here of the process that wrote *lock*, if it still runs."""
        pid, began = _number(lock.get("pid")), _number(lock.get("startTime"))
        if pid is None:
            return None
        if not os.path.isdir(self.proc):
            return pid if _exists(pid) else None
        there = self._began(pid)
        if there is not None and (there == began if began is not None else self._is_gateway(pid)):
            return pid
        return self._in_namespace(pid, began) if began is not None else None

    def _in_namespace(self, pid: int, began: int) -> int | None:
        """The number here of a process that has the number *pid* in a container of its own."""
        for name in files.names(self.proc):
            if name.isdigit() and self._began(int(name)) == began:
                numbers = re.search(r"^NSpid:\s*(.+)$", self._text(int(name), "status"), re.MULTILINE)
                if numbers and numbers[1].split()[-1] == str(pid):
                    return int(name)
        return None

    def _began(self, pid: int) -> int | None:
        """When a process began, in ticks since the system did; ``None`` if it isn't there, or is over."""
        fields = self._text(pid, "stat").rpartition(")")[2].split()  # the program's name may hold anything
        if len(fields) < 20 or fields[0] in {"Z", "X", "x"}:
            return None
        return int(fields[19]) if fields[19].isdigit() else None

    def _is_gateway(self, pid: int) -> bool:
        """Whether a process looks like a gateway; old releases didn't note when it began."""
        words = [word.replace("\\", "/").lower() for word in self._text(pid, "cmdline").split("\0")]
        program = os.path.basename(words[0])
        if program == "openclaw-gateway":
            return True
        is_openclaw = program == "openclaw" or any(re.search(r"openclaw.*\.m?js$", word) for word in words)
        return is_openclaw and "gateway" in words

    def _text(self, pid: int, name: str) -> str:
        try:
            data = files.read(os.path.join(self.proc, b"%d" % pid, name.encode()), _MAX_LOCK_BYTES)
        except OSError:
            return ""
        return data.decode("utf-8", "replace")

    # --- How does it run? ---

    def _manner(self, pid: int) -> tuple[Manner, str | None]:
        if pid == 0:
            return Manner.OUT_OF_SIGHT, None
        if not os.path.isdir(self.proc):
            return self._launchd() or (Manner.FOREGROUND, f"kill -TERM {pid}")
        groups = self._text(pid, "cgroup")
        own = self._text(os.getpid(), "cgroup")
        container = _CONTAINER.search(groups)
        if container is not None and container[2] not in own:
            stop = _STOPPERS.get(container[1])
            return Manner.CONTAINER, stop and f"{stop} {container[2][:12]}"
        for line in groups.splitlines():
            units = _UNIT.findall(line)
            if units and not _USER_MANAGER.fullmatch(units[-1]):
                return self._systemd(units[-1], user=any(_USER_MANAGER.fullmatch(unit) for unit in units))
        return Manner.FOREGROUND, f"kill -TERM {pid}"

    def _systemd(self, unit: str, *, user: bool) -> tuple[Manner, str]:
        if not user:
            return Manner.SYSTEMD, shlex.join(["sudo", "systemctl", "stop", unit])
        machine = [] if self.owner == self.uid else ["-M", f"{_user_name(self.owner)}@"]
        return Manner.SYSTEMD_USER, shlex.join(["systemctl", "--user", *machine, "stop", unit])

    def _launchd(self) -> tuple[Manner, str] | None:
        """The agent of launchd, which would start the gateway again if it were only killed."""
        profile = os.fsdecode(os.path.basename(self.state).removeprefix(b".openclaw").removeprefix(b"-"))
        label = f"ai.openclaw.{profile or 'gateway'}"
        agents = os.path.join(states.home(self.environ), b"Library/LaunchAgents")
        if not os.path.exists(os.path.join(agents, os.fsencode(f"{label}.plist"))):
            return None
        return Manner.LAUNCHD, shlex.join(["launchctl", "bootout", f"gui/{self.owner}/{label}"])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
