"""One private directory (0700) beside the place of what it holds, and how it is removed with all that is in it.

Its descriptor is what counts: its name may be another directory's by the time it is filled or emptied.
"""

from __future__ import annotations

import contextlib
import os
import secrets

from ocbundle import paths, publish
from ocbundle.errors import TargetFailure
from ocbundle.places import Guard, Place


class Stage:
    """One staging directory."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = publish.STAGING % secrets.token_hex(8).encode()
        self.path = os.path.join(place.path, self.name)
        self.fd = -1
        self.is_published = False

    def create(self) -> None:
        """Make and lock it, if that hasn't been done.

        Raises:
            TargetFailure: the place can't be written to, or somebody else put a directory there.
        """
        if self.fd >= 0:
            return
        with Guard(self.path, "create the staging directory"):
            os.mkdir(self.name, 0o700, dir_fd=self.place.fd)
            with contextlib.ExitStack() as undo:
                fd = publish.open_directory(self.place.fd, self.name)
                undo.callback(os.close, fd)
                # Whoever may rename in the place could have put another directory there: not to be filled, nor emptied.
                if os.fstat(fd).st_uid != os.geteuid() or os.listdir(fd):
                    raise TargetFailure(
                        "the new staging directory isn't this user's, or isn't empty",
                        path=paths.display(self.path),
                        hint="choose a place on a file system that keeps owners, where only you may write",
                    )
                self.fd = fd
                undo.pop_all()
        publish.lock(self.fd)
        # What is created inside would inherit these lists, and a setgid bit, and be open to more people than its mode
        # says.
        for attribute in ("system.posix_acl_default", "system.posix_acl_access"):
            with contextlib.suppress(OSError):
                os.removexattr(self.fd, attribute)
        with Guard(self.path, "close the staging directory to others"):
            os.fchmod(self.fd, 0o700)

    def close(self) -> None:
        """Let go of it, and leave it there."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self) -> None:
        """Remove it with all that is left in it, by its descriptor: its name may be another directory's by now."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            with contextlib.suppress(OSError):
                os.rmdir(self.name, dir_fd=self.place.fd)
            return
        try:
            if not self.is_published:
                empty(fd)
                os.rmdir(self.name, dir_fd=self.place.fd)
        finally:
            os.close(fd)


def empty(fd: int) -> None:
    """Remove all that is in the directory *fd*."""
    with os.scandir(fd) as children:
        found = [(os.fsencode(child.name), child.is_dir(follow_symlinks=False)) for child in children]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
            continue
        inner = publish.open_directory(fd, name)
        try:
            os.fchmod(inner, 0o700)
            empty(inner)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=fd)
