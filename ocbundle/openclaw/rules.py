"""What of an OpenClaw state directory is taken, how, and what is left behind: one table, and nothing else decides.

Only names are looked at, never contents. What the table doesn't know is taken, as content: OpenClaw grows new files
with every release, and a file too many is a smaller loss than one too few.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

from ocbundle.model import Reason
from ocbundle.sources import Leave, Rules, Sensitivity, Verdict

ONLY_CONFIG: Final = "only the configuration was asked for"
"""Why everything else was left out: by this a reader can tell."""

_CONTENT: Final = Sensitivity.CONTENT
_SECRET: Final = Sensitivity.SECRET
_MIXED: Final = Sensitivity.MIXED

_Table = tuple[tuple[str, Verdict], ...]

# --- The tables ------------------------------------------------------------------------------------------------------
#
# The first pattern that fits decides. "*" stops at a slash, "**" doesn't, "{a,b}" is either. "x/**" is x and all below
# it; only such a pattern speaks of directories, so that a directory is left only when all of it is.

_SECRET_NAMES: Final[_Table] = (
    ("**/.env{,.*}", _SECRET),
    ("**/*.env", _SECRET),
    ("**/{.envrc,.netrc,.npmrc,.pypirc,.pgpass,.git-credentials}", _SECRET),
    ("**/.git/config", _SECRET),  # a remote's URL may carry a token
    ("**/{.ssh,.aws,.gnupg}/**", _SECRET),
    ("**/*.{key,pem,p12,pfx,keystore,kdbx,token,password}", _SECRET),
    ("**/id_{rsa,dsa,ecdsa,ed25519}{,_sk}", _SECRET),
    ("**/{auth,auth-profiles,auth-state,credentials,creds,oauth,secrets,token,tokens}.json", _SECRET),
)

_CAPTURES: Final[_Table] = (
    ("**/*.update-captures/**", Leave(Reason.HOST_BOUND, "private captures of an update, not to be exported")),
)
"""OpenClaw forbids exporting these, wherever they stand."""

_STATE: Final[_Table] = (
    *_CAPTURES,
    # Of this machine and its running processes.
    ("*.sock", Leave(Reason.HOST_BOUND, "socket of a running process")),
    ("*.pid", Leave(Reason.HOST_BOUND, "names a running process")),
    ("service-env/**", Leave(Reason.HOST_BOUND, "generated for this machine's services")),
    ("gateway.{cmd,vbs}", Leave(Reason.HOST_BOUND, "generated for this machine's services")),
    ("plugin-skills/**", Leave(Reason.HOST_BOUND, "links into the OpenClaw installation, made anew by it")),
    ("state/openclaw-quarantine.sqlite{,-*}", Leave(Reason.HOST_BOUND, "checks of databases by device and inode")),
    ("{delivery-queue*,session-delivery-queue}/**", Leave(Reason.HOST_BOUND, "would send old messages again")),
    ("browser/**/Singleton{Lock,Cookie,Socket}", Leave(Reason.HOST_BOUND, "names this host and a process")),
    # What a crash or a running process leaves behind.
    ("tmp/**", Leave(Reason.TRANSIENT, "locks and temporary files")),
    (
        ".openclaw.*.{replaced,staging}/**",
        Leave(Reason.TRANSIENT, "an older state that unpack kept beside its successor"),
    ),
    ("{*.tmp,*.tmp.*}", Leave(Reason.TRANSIENT, "a write that wasn't finished")),
    ("agents/*/{agent,sessions}/**/*.tmp", Leave(Reason.TRANSIENT, "a write that wasn't finished")),
    ("agents/*/sessions/**/*.lock", Leave(Reason.TRANSIENT, "lock of a running process")),
    ("{agents/*/agent,state}/*.sqlite.memory-reindex-*", Leave(Reason.TRANSIENT, "an index that wasn't finished")),
    (
        "{agents/*/agent,state}/*.sqlite.{generation-lock,generation-writer,reindex-lock}.sqlite{,-*}",
        Leave(Reason.TRANSIENT, "lock of a running process"),
    ),
    ("{agents/*/agent,state}/*.sqlite.{backup,tmp}-*", Leave(Reason.TRANSIENT, "a copy that wasn't finished")),
    ("agents/*/agent/**/{tmp,.tmp}/**", Leave(Reason.TRANSIENT, "temporary files")),
    # What OpenClaw, npm or a browser makes again.
    ("{npm,npm-runtime,git,dev,tools}/**", Leave(Reason.REGENERABLE, "installed by OpenClaw")),
    ("extensions/**/node_modules/**", Leave(Reason.REGENERABLE, "installed with the extension")),
    ("{cache,completions}/**", Leave(Reason.REGENERABLE, "cache")),
    ("models/**", Leave(Reason.REGENERABLE, "downloaded models")),
    ("update-check.json", Leave(Reason.REGENERABLE, "cache")),
    ("sandbox/skills-workspaces/**", Leave(Reason.REGENERABLE, "copies of skills")),
    ("logs/**", Leave(Reason.REGENERABLE, "logs")),
    (
        "browser/*/user-data/**/{Cache,Code Cache,GPUCache,ShaderCache,GrShaderCache,Dawn*Cache}/**",
        Leave(Reason.REGENERABLE, "browser cache"),
    ),
    # The user's history, whatever it's called.
    ("agents/*/sessions/**/*.jsonl{,.*}", _CONTENT),
    # Databases that hold both secrets and what strangers wrote.
    ("{state,tasks,memory}/**/*.sqlite{,-wal,-shm,-journal}", _MIXED),
    ("agents/*/agent/**/*.sqlite{,-wal,-shm,-journal}", _MIXED),
    ("browser/*/user-data/**/{Cookies,Login Data*,Web Data,Account Web Data,History}{,-journal}", _MIXED),
    ("browser/*/user-data/**/{Local Storage,Session Storage,IndexedDB,Sessions}/**", _MIXED),
    # Secrets.
    ("{openclaw,clawdbot}.json{,.*}", _SECRET),
    ("{secrets.json,gateway.token,gateway.password,exec-approvals.json,node.json}", _SECRET),
    ("{credentials,secrets,identity,devices,nodes,push}/**", _SECRET),
    ("matrix/**", _SECRET),
    ("agents/*/{agent,copilot}/*.json{,.*}", _SECRET),
    ("agents/*/agent/codex-home/config.toml", _SECRET),
    ("browser/*/user-data/**/{Local State,Preferences,Secure Preferences}", _SECRET),
    # Files that came from strangers: a photo called "x.key" is no secret.
    ("{media,canvas,transcripts}/**", _CONTENT),
    *_SECRET_NAMES,
    ("**/*.{sqlite,sqlite3,db}{,-wal,-shm,-journal}", _MIXED),
    # Known places: with these a workspace can't be mistaken for one of them.
    (
        "{agents,browser,cron,extensions,hooks,memory,migration,plugins,settings,skills,state,tasks,tts,wiki}/**",
        _CONTENT,
    ),
    ("{sandbox,sandboxes,workspace-attestations}/**", _CONTENT),
)

_WORKSPACE: Final[_Table] = (*_CAPTURES, *_SECRET_NAMES)
"""A workspace is the user's own: all of it is taken, hidden files, ``.git`` and ``node_modules`` too."""

_WORKSPACE_PLACES: Final[_Table] = (("workspace{,-*}/**", Leave(Reason.EXCLUDED, "workspaces weren't asked for")),)

_SPECIAL: Final[Mapping[str, Reason]] = {"socket": Reason.SOCKET, "fifo": Reason.FIFO, "device": Reason.DEVICE}


# --- Rules made from them --------------------------------------------------------------------------------------------


def state(
    *,
    everything: bool = False,
    prefix: bytes = b"",
    secrets: Collection[bytes] = (),
    nested: Mapping[bytes, str] | None = None,
    without_workspaces: Collection[bytes] | None = None,
) -> Rules:
    """Rules for a state directory, or for the part of one that stands elsewhere.

    Args:
        everything: take regenerable files too.
        prefix: where in a state directory the root would be, such as ``agents/main/agent``.
        secrets: paths that are secret whatever their names, such as files that the configuration includes.
        nested: paths that other roots hold, with those roots' names.
        without_workspaces: leave out workspaces: those in the usual places, and these.
    """
    match = _matcher(_STATE, everything=everything)
    usual = _matcher(_WORKSPACE_PLACES, everything=False)
    # A workspace that is one of OpenClaw's own directories (agents/main, say) isn't cut out of the state.
    unwanted = frozenset(p for p in without_workspaces or () if p and match(p, "directory") is None)

    def decide(path: bytes, kind: str) -> Verdict:
        if path in secrets:
            return _SECRET
        full = prefix + b"/" + path if prefix and path else prefix + path
        if without_workspaces is not None:
            if (verdict := usual(full, kind)) is not None:
                return verdict
            if path in unwanted:
                return _WORKSPACE_PLACES[0][1]
        return match(full, kind) or _CONTENT

    return _around(decide, nested)


def workspace(*, nested: Mapping[bytes, str] | None = None) -> Rules:
    """Rules for a workspace or a skill outside the state directory: all of it, secrets by their names."""
    match = _matcher(_WORKSPACE, everything=False)
    return _around(lambda path, kind: match(path, kind) or _CONTENT, nested)


def secret(*, nested: Mapping[bytes, str] | None = None) -> Rules:
    """Rules for what is secret as a whole: a directory of credentials, a configuration file."""
    return _around(lambda _path, _kind: _SECRET, nested)


def only(wanted: Iterable[bytes], *, nested: Mapping[bytes, str] | None = None) -> Rules:
    """Rules that take these files, as secrets, and nothing else."""
    files = frozenset(wanted)
    parents = {b"", *(path[:i] for path in files for i in range(len(path)) if path[i : i + 1] == b"/")}
    leave = Leave(Reason.EXCLUDED, ONLY_CONFIG)

    def decide(path: bytes, kind: str) -> Verdict:
        if kind == "directory":
            return _CONTENT if path in parents else leave
        return _SECRET if path in files else leave

    return _around(decide, nested)


def _around(decide: Rules, nested: Mapping[bytes, str] | None) -> Rules:
    """*decide*, after what holds for every root: kinds that can't be stored, and paths that another root holds."""
    held = {path: Leave(Reason.NESTED, f"in {name}") for path, name in (nested or {}).items()}

    def rules(path: bytes, kind: str) -> Verdict:
        if kind in _SPECIAL:
            return Leave(_SPECIAL[kind])
        return held.get(path) or decide(path, kind)

    return rules


# --- From patterns to one regular expression -------------------------------------------------------------------------

_TOKENS: Final = re.compile(r"\*\*/|/\*\*|\*|[{},]|[^*{},/]+|/")
_TRANSLATION: Final[Mapping[str, str]] = {
    "**/": "(?:.*/)?",
    "/**": "(?:/.*)?",
    "*": "[^/]*",
    "{": "(?:",
    ",": "|",
    "}": ")",
}


def _expression(pattern: str) -> str:
    return "".join(_TRANSLATION.get(token) or re.escape(token) for token in _TOKENS.findall(pattern))


@lru_cache(maxsize=16)
def _matcher(table: _Table, *, everything: bool) -> Callable[[bytes, str], Verdict | None]:
    """A function that finds the first pattern of *table* that fits; ``None`` if none does.

    The alternatives of one regular expression are tried in order, so its last group is the rule that fits.
    """
    verdicts = [None, *(_CONTENT if everything and _is_regenerable(verdict) else verdict for _, verdict in table)]
    files = _compile(pattern for pattern, _ in table)
    # A group that never matches keeps the numbering of both expressions the same.
    trees = _compile(pattern if pattern.endswith("/**") else "" for pattern, _ in table)

    def match(path: bytes, kind: str) -> Verdict | None:
        found = (trees if kind == "directory" else files).fullmatch(path)
        return verdicts[found.lastindex or 0] if found else None

    return match


def _compile(patterns: Iterable[str]) -> re.Pattern[bytes]:
    groups = (f"({_expression(pattern)})" if pattern else "((?!))" for pattern in patterns)
    return re.compile("|".join(groups).encode(), re.DOTALL)


def _is_regenerable(verdict: Verdict) -> bool:
    return isinstance(verdict, Leave) and verdict.reason is Reason.REGENERABLE
