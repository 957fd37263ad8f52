"""What is wrong with an OpenClaw on this machine, and the command that mends it: the values that checks make.

Nothing here looks at a file, and no value of a secret is ever in a finding: names only.
"""

from __future__ import annotations

import enum
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle.openclaw.config import Config
from ocbundle.openclaw.installed import Installed
from ocbundle.openclaw.services import Service
from ocbundle.openclaw.states import StateDirectory
from ocbundle.openclaw.stores import Store
from ocbundle.paths import display

STATE_DATABASE: Final = b"state/openclaw.sqlite"
AGENT_DATABASE: Final = b"openclaw-agent.sqlite"


class Severity(enum.StrEnum):
    """How bad a finding is; in this order."""

    ERROR = "error"
    """The gateway won't start, or something of its user's is missing for it."""
    WARNING = "warning"
    """Something won't work, or others can read what they shouldn't."""
    NOTE = "note"
    """It works, but should be cleared up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that isn't as it should be."""

    what: str
    why: str
    """Why it matters."""
    command: str | None
    """A shell's words that mend it; in capitals what only the reader knows. ``None`` where no command can."""
    severity: Severity
    path: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One state directory under examination, and what is known of it."""

    state: StateDirectory
    config: Config
    home: bytes
    environ: Mapping[str, str]
    owner: int
    """Who should own all of it: the user that the gateway runs as."""
    store: Store | None
    """What the state database says; ``None`` if there is none."""
    installed: Installed | None
    services: tuple[Service, ...]

    @property
    def shown(self) -> str:
        """The profile's name, for a sentence."""
        return display(self.state.profile)

    def path(self, *names: bytes) -> bytes:
        """A path inside the state directory."""
        return os.path.join(self.state.path, *names)

    def openclaw(self, *words: str | bytes) -> str:
        """The command line of OpenClaw for this state."""
        profile = self.state.profile
        named = self.state.path == os.path.join(self.home, b".openclaw-" + os.fsencode(profile))
        usual = named or self.state.path == os.path.join(self.home, b".openclaw")
        setting = "" if usual else f"OPENCLAW_STATE_DIR={shell(self.state.path)} "
        return setting + shell(b"openclaw", *(["--profile", profile] if named else []), *words)


def shell(*words: str | bytes) -> str:
    """*words* as a shell reads them; a byte that isn't UTF-8 in the form that bash and zsh know."""
    return " ".join(_quoted(os.fsencode(word)) for word in words)


def substitute(old: bytes, new: bytes, *paths: bytes) -> str:
    """A command that writes *new* for *old* in text files; the files as they were stay beside them."""
    before = re.sub(rb"([\\.*^$\[\]|])", rb"\\\1", old)
    after = re.sub(rb"([\\&|])", rb"\\\1", new)
    return shell(b"sed", b"-i.moved", b"s|%s|%s|g" % (before, after), *paths)


def _quoted(word: bytes) -> str:
    try:
        text = word.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text:
        return shlex.quote(text)
    # Control characters must not reach a terminal, and must survive being copied from it.
    escaped = "".join(chr(b) if 0x20 <= b < 0x7F and b not in b"\\'" else f"\\x{b:02x}" for b in word)
    return f"$'{escaped}'"
