"""Finding what makes a user's OpenClaw gateways theirs: state directories, workspaces, and what they point to.

The environment is handed in; only names, configurations and the first bytes of databases are read, and nothing is
written. Nothing found is dropped in silence: it's in a source, or left out by that source's rules, or in
:attr:`Discovery.left`, or a warning tells of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from ocbundle.model import Leave, Profile, Role, Rules, Source, Workspace
from ocbundle.openclaw import config, files, rules, states, survey
from ocbundle.openclaw.config import Config
from ocbundle.openclaw.roots import Root, Roots, Wanted
from ocbundle.openclaw.states import Left, Names, StateDirectory
from ocbundle.paths import display, root_name

_LINKED: Final = ((b"skills", "skill"), (b"", "link"), (b"agents", "link"), (b"extensions", "link"))
"""Directories of a state in which a user replaces entries by links to elsewhere."""
_BESIDE: Final = (
    (b".config/openclaw/gateway.env", "gateway-env"),
    (b".config/openclaw/auth-profile-secret-key", "auth-profile-secret-key"),
    (b".openclaw-auth-profile-secrets", "auth-profile-secrets"),
)
"""Secrets that OpenClaw keeps outside of any state directory, for all profiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found, ready to be packed."""

    sources: tuple[Source, ...]
    profiles: tuple[Profile, ...]
    warnings: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    """What was found and knowingly isn't in any source."""


def discover(
    environ: Mapping[str, str],
    *,
    profiles: Collection[str] | None = None,
    state_dir: str | None = None,
    workspaces: bool = True,
    only_config: bool = False,
    everything: bool = False,
) -> Discovery:
    """Find the OpenClaw gateways of the user whose environment *environ* is.

    Args:
        environ: the variables that OpenClaw looks at: ``HOME``, ``OPENCLAW_HOME``, ``OPENCLAW_STATE_DIR``,
            ``OPENCLAW_CONFIG_PATH``, ``OPENCLAW_OAUTH_DIR``, ``OPENCLAW_WORKSPACE_DIR``, ``OPENCLAW_INCLUDE_ROOTS``.
        profiles: only these; ``None`` for all.
        state_dir: only this state directory, as if ``OPENCLAW_STATE_DIR`` named it.
        workspaces: take the agents' workspaces.
        only_config: take only the configurations, with what they include, and their ``.env``.
        everything: take what can be made again too, such as logs, caches and installed plugins.

    Raises:
        SourceMissing: there is no OpenClaw here, or not the one that was asked for.
    """
    home = states.home(environ)
    names = Names()
    found, warnings, left = states.find(environ, home, state_dir=state_dir, names=names)
    chosen = states.choose(found, profiles, home)
    configs = [config.read(state.config, home=home, state=state.path, environ=environ) for state in chosen]
    roots = Roots(home=home, names=names, warnings=warnings)
    unwanted = None if workspaces else {path for each in configs for path in _workspace_paths(each)}
    installations = [
        _Installation(
            state=state,
            config=each,
            environ=environ,
            everything=everything,
            only_config=only_config,
            roots=roots,
            # States first: what stands inside one is no root of its own.
            root=roots.add(state.path, _state_wanted(state, each, unwanted, everything=everything, only=only_config)),
            left=left,
        )
        for state, each in zip(chosen, configs, strict=True)
    ]
    described = [installation.take(workspaces=workspaces) for installation in installations]
    if not only_config:
        installations[0].take_beside()
    return Discovery(
        sources=roots.sources(),
        profiles=tuple(described),
        warnings=tuple(dict.fromkeys(warnings)),
        left=tuple(dict.fromkeys(left)),
    )


def _workspace_paths(config: Config) -> list[bytes]:
    return [os.path.realpath(agent.workspace) for agent in config.agents if agent.workspace]


def _state_wanted(
    state: StateDirectory, config: Config, unwanted: Collection[bytes] | None, *, everything: bool, only: bool
) -> Wanted:
    # A configuration may be a link in the state: the link is wanted as well as the file.
    here = [(path, state.path) for path in config.files] + [(os.path.realpath(p), state.real) for p in config.files]
    secrets = {inside for path, top in here if (inside := files.inside(path, top)) is not None}
    make_rules: Callable[..., Rules]
    if only:
        make_rules = partial(rules.only, {*secrets, b".env"})
    else:
        cut = (
            None if unwanted is None else {p for path in unwanted if (p := files.inside(path, state.real)) is not None}
        )
        make_rules = partial(rules.state, everything=everything, secrets=secrets, without_workspaces=cut)
    return Wanted(name=state.profile, role=Role.STATE, profile=state.profile, make_rules=make_rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Installation:
    """One profile being gathered into *roots*; *warnings* and *left* are shared by all."""

    state: StateDirectory
    config: Config
    environ: Mapping[str, str]
    everything: bool
    only_config: bool
    roots: Roots
    root: Root
    left: list[Left]

    def take(self, *, workspaces: bool) -> Profile:
        """Take all that belongs to this profile, and describe it."""
        self._warn()
        self._take_configs()
        placed: tuple[Workspace, ...] = ()
        if not self.only_config:
            self._take_credentials()
            self._take_agents()
            if workspaces:
                placed = self._take_workspaces()
            self._take_links()
            self._note_elsewhere()
        return survey.profile(self.state, self.config, placed)

    def take_beside(self) -> None:
        """The secrets that all profiles share; they go with the first."""
        for path, word in _BESIDE:
            full = os.path.join(self.roots.home, path)
            if os.path.exists(full):
                self.roots.take(full, self._wanted(word, Role.CREDENTIALS, rules.secret))

    def _wanted(self, suffix: str, role: Role, make_rules: Callable[..., Rules]) -> Wanted:
        profile = self.state.profile
        return Wanted(name=f"{profile}.{suffix}", role=role, profile=profile, make_rules=make_rules)

    def _warn(self) -> None:
        profile = display(self.state.profile)
        warnings = self.roots.warnings
        warnings += [f"profile {profile}: {problem}" for problem in self.config.problems]
        if self.state.config is None:
            warnings.append(f"profile {profile} has no configuration")
        if self.config.mode == "remote":
            where = display(self.config.remote_url) if self.config.remote_url else "another machine"
            warnings.append(
                f"profile {profile} is a client of {where}: its sessions, credentials and channel logins are there, "
                "not here; pack them there"
            )

    def _take_configs(self) -> None:
        """The configuration and what it includes, where they stand outside of the state or are linked into it."""
        for path in self.config.files:
            if os.path.exists(path):
                self.roots.take(path, self._wanted("config", Role.CONFIG, rules.secret))

    def _take_credentials(self) -> None:
        named = states.variable(self.environ, "OPENCLAW_OAUTH_DIR") if self.state.selected else None
        if named is not None:
            path = states.expand(named, self.roots.home)
            wanted = self._wanted("credentials", Role.CREDENTIALS, rules.secret)
            self.roots.take_named(path, wanted, what="OPENCLAW_OAUTH_DIR")

    def _take_agents(self) -> None:
        """Agents' own directories, with their databases, where the configuration puts them elsewhere."""
        for agent in self.config.agents:
            usual = os.path.join(self.state.path, b"agents", agent.id.encode(), b"agent")
            # OpenClaw writes the usual place into the configuration, and makes it at the agent's first turn.
            if agent.directory is None or agent.directory == usual:
                continue
            prefix = b"agents/" + agent.id.encode() + b"/agent"
            make_rules = partial(rules.state, everything=self.everything, prefix=prefix)
            wanted = self._wanted(f"agent.{agent.id}", Role.EXTRA, make_rules)
            self.roots.take_named(agent.directory, wanted, what=self._of("the directory", agent.id))

    def _take_workspaces(self) -> tuple[Workspace, ...]:
        placed = []
        for agent in self.config.agents:
            if agent.workspace is None or not (agent.workspace_named or os.path.isdir(agent.workspace)):
                continue
            wanted = self._wanted(f"workspace.{agent.id}", Role.WORKSPACE, rules.workspace)
            place = self.roots.take_named(agent.workspace, wanted, what=self._of("the workspace", agent.id))
            if place is not None:
                placed.append(Workspace(agent=agent.id, root=place[0], path=place[1]))
        return tuple(placed)

    def _of(self, what: str, agent: str) -> str:
        return f"{what} of agent {agent} of profile {display(self.state.profile)}"

    def _take_links(self) -> None:
        """What symbolic links in the usual places of the state point to, where no root holds it."""
        decide = self.root.wanted.make_rules()
        for directory, word in _LINKED:
            for name in files.names(os.path.join(self.state.path, directory)):
                inside = os.path.join(directory, name)
                link = os.path.join(self.state.path, inside)
                if not os.path.islink(link) or isinstance(decide(inside, "symlink"), Leave):
                    continue
                shown = f"{display(self.state.profile)}/{display(inside)}"
                target = os.path.realpath(link)
                if b"node_modules" in target.split(b"/"):
                    self.left.append(Left(path=target, detail=f"{shown} links to it; it's an installed package"))
                    continue
                suffix = f"{word}.{root_name(name)}"
                if word == "skill":
                    wanted = self._wanted(suffix, Role.SKILL, rules.workspace)
                else:
                    make_rules = partial(rules.state, everything=self.everything, prefix=inside)
                    wanted = self._wanted(suffix, Role.EXTRA, make_rules)
                self.roots.take_named(link, wanted, what=f"the target of {shown}")

    def _note_elsewhere(self) -> None:
        """Name what the gateway needs and no root holds: it may be anything, so it isn't taken unasked."""
        for key, path in self.config.elsewhere:
            if os.path.exists(path) and self.roots.place(path) is None:
                self.left.append(Left(path=path, detail=f"named by {key} of the configuration; name it to pack it"))
        if "signal" in self.config.channels:
            data = states.variable(self.environ, "XDG_DATA_HOME")
            base = states.expand(data or "~/.local/share", self.roots.home)
            if os.path.isdir(signal := os.path.join(base, b"signal-cli")):
                self.left.append(Left(path=signal, detail="the keys of signal-cli; name it to pack it"))
