"""The rows of the scoreboard about faults: S5 (a system call fails), S6 (a kill, a full disk)."""

from __future__ import annotations

import os
import random
import re
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from trees import mounted

from faults.judging import DEAD, Counts, judged
from faults.scenes import Scene
from ocbundle.errors import BundleError

WRITING: Final = {
    "write": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC"),
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
    "syncfs": ("EIO",),
    "rename": ("EIO",),
    "renameat": ("EIO",),
    "renameat2": ("EIO", "ENOSPC", "EINVAL"),
    "link": ("EIO",),
    "linkat": ("EIO", "EPERM"),
    "symlinkat": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "unlinkat": ("EIO",),
    "rmdir": ("EIO",),
    "mkdir": ("EIO", "ENOSPC"),
    "mkdirat": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "chmod": ("EIO",),
    "fchmod": ("EIO",),
    "fchmodat": ("EIO",),
    "fchown": ("EIO",),
    "fchownat": ("EIO",),
    "utimensat": ("EIO",),
    "setxattr": ("ENOSPC",),
    "fsetxattr": ("ENOSPC",),
}
"""System calls that change something, and how they fail."""
OTHERS: Final = {
    "openat": ("EIO", "EMFILE"),
    "close": ("EIO",),
    "read": ("EIO",),
    "pread64": ("EIO",),
    "getdents64": ("EIO",),
    "newfstatat": ("EIO",),
    "fstat": ("EIO",),
    "lseek": ("EIO",),
    "fcntl": ("EIO",),
    "flock": ("ENOLCK",),
    "statfs": ("EIO",),
    "fstatfs": ("EIO",),
    "statx": ("EIO",),
    "readlink": ("EIO",),
    "readlinkat": ("EIO",),
    "removexattr": ("EIO",),
    "fremovexattr": ("EIO",),
    "flistxattr": ("EIO",),
    "clone3": ("EAGAIN",),
    "clone": ("EAGAIN",),
}
"""Those that only look or allocate."""
KILL: Final = "KILL"

# --- S5 --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One call that fails, or before which the process is killed."""

    call: str
    error: str
    number: int

    def __str__(self) -> str:
        """As strace takes it, without the rest."""
        return f"{self.call}:{self.error}:{self.number}"

    @property
    def inject(self) -> str:
        """For strace."""
        what = "signal=KILL" if self.error == KILL else f"error={self.error.rstrip(DEAD)}"
        return f"{self.call}:{what}:when={self.number}{DEAD if self.error.endswith(DEAD) else ''}"


def fail_system_calls(
    scene: Scene, *, sample: float = 1.0, seed: int = 0, calls: Iterable[str] | None = None
) -> Counts:
    """Let each system call of *scene* fail in turn, and kill the process before each that changes something.

    Only some of the faults with a *sample* under 1.
    """
    scene.learn()
    scene.prepare()
    made = scene.run.counts()
    chosen = random.Random(seed)  # noqa: S311 - the same faults in every run
    counts = Counts()
    for fault in _faults(made, calls):
        if chosen.random() < sample:
            scene.prepare()
            ended, _ = scene.run.traced(fault.call, fault.inject)
            if ended.hits or ended.code is None:
                counts.add(judged(scene, ended, str(fault), heal=chosen.choice(("--resume", "--undo"))))
    return counts


def _faults(made: dict[str, int], calls: Iterable[str] | None) -> Iterator[Fault]:
    for call, errors in (WRITING | OTHERS).items():
        if calls is not None and call not in calls:
            continue
        kinds = (*errors, KILL, f"{errors[0]}{DEAD}") if call in WRITING else errors
        for error in kinds:
            for number in range(1, made.get(call, 0) + 2):
                yield Fault(call=call, error=error, number=number)


def write_shortly(scene: Scene, lengths: Iterable[int]) -> Counts:
    """Let each write of Python's take only so many bytes at a time."""
    scene.learn()
    counts = Counts()
    for length in lengths:
        scene.prepare()
        ended = scene.run.plainly(partial(_shorten, length))
        counts.add(judged(scene, ended, f"short writes of {length}", heal="--undo"))
    return counts


def _shorten(length: int) -> None:
    for name in ("write", "pwrite"):
        setattr(os, name, _shortened(getattr(os, name), length))


def _shortened(real: Callable[..., int], length: int) -> Callable[..., int]:
    return lambda fd, data, *offset: real(fd, memoryview(data)[:length], *offset)


def limit_files(scene: Scene, sizes: Iterable[int]) -> Counts:
    """Let the kernel end each file at a size: it takes the part of a write that fits, then refuses."""
    scene.learn()
    counts = Counts()
    for size in sizes:
        scene.prepare()
        ended = scene.run.plainly(partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)))
        counts.add(judged(scene, ended, f"files of at most {size}", heal="--undo"))
    return counts


# --- S6 --------------------------------------------------------------------------------------------------------------


def kill_randomly(scene: Scene, *, times: int, seed: int = 0) -> Counts:
    """Kill a run at random moments, more often near its end, where things are put in place."""
    scene.learn()
    scene.prepare()
    began = time.monotonic()
    scene.run.plainly()
    whole = time.monotonic() - began
    moments = random.Random(seed)  # noqa: S311 - the same moments in every run
    counts = Counts()
    for number in range(times):
        part = moments.random() if number % 2 else 1 - moments.random() ** 2 * 0.3
        scene.prepare()
        ended = scene.run.plainly(kill_after_s=part * whole)
        counts.add(judged(scene, ended, f"killed after {part:.4f}", heal=moments.choice(("--resume", "--undo"))))
    return counts


def fill_disks(scene: Scene, sizes: Iterable[int], *, successes: int = 3) -> Counts:
    """Play *scene* on file systems of rising *sizes*, until it has had room some times.

    It is done, or it says that there is no space; and then nothing is left.
    """
    scene.learn()
    counts = Counts()
    room = 0
    for size in sizes:
        with mounted(scene.lab.bob if scene.moves else scene.lab.out, f"size={size}"):
            try:
                scene.prepare()
            except (OSError, BundleError):
                continue  # not even what is there before has room
            ended = scene.run.plainly()
            label = f"{size >> 10} KiB"
            counts.add(judged(scene, ended, label, heal="--undo"))
            if ended.code != 0 and not re.search("no space left|needed, .* free", ended.said):
                counts.problems.append(f"{scene.name} [{label}]: it isn't told that there is no space: {ended.said}")
            room += ended.code == 0
        if room == successes:
            return counts
    counts.problems.append(f"{scene.name}: it never had room")
    return counts
