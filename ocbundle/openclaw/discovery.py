"""Finding what makes a user's OpenClaw gateways theirs: state directories, workspaces, and what they point to.

The environment is handed in. Names, configurations, services and databases are read; nothing is written but private
copies of databases, where the caller says. Nothing found is dropped in silence: it's in a source, or left out by that
source's rules, or in :attr:`Discovery.left`, or a warning tells of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ocbundle.model import Profile, Role, Workspace
from ocbundle.openclaw import config, files, needs, rules, services, states, survey
from ocbundle.openclaw.config import Config
from ocbundle.openclaw.roots import Root, Roots, Wanted
from ocbundle.openclaw.services import Service
from ocbundle.openclaw.states import Left, Names, StateDirectory
from ocbundle.openclaw.survey import Surroundings
from ocbundle.paths import display, root_name
from ocbundle.sources import Leave, Rules, Source

_LINKED: Final = ((b"skills", "skill"), (b"", "link"), (b"agents", "link"), (b"extensions", "link"))
"""Directories of a state in which a user replaces entries by links to elsewhere."""
_GATEWAY_ENV: Final = b".config/openclaw/gateway.env"
_BESIDE: Final = (
    (_GATEWAY_ENV, "gateway-env", "env file"),
    (b".config/openclaw/auth-profile-secret-key", "auth-profile-secret-key", "auth profiles"),
    (b".openclaw-auth-profile-secrets", "auth-profile-secrets", "auth profiles"),
)
"""Secrets that OpenClaw keeps outside of any state directory, for all profiles, and their kinds."""
_OF_OTHERS: Final = (
    (b".agents/skills", "skills for agents of every make"),
    (b".codex/auth.json", "the login of the program codex, which a gateway may use"),
    (b".claude/.credentials.json", "the login of the program claude, which a gateway may use"),
)
"""What isn't OpenClaw's own, although it may be using it."""
_NO_WORKSPACES: Final = "workspaces weren't asked for"


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
    scratch: str | None = None,
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
        scratch: a private directory for copies of databases while they are looked into. Without one none is: each kind
            of secret that they may hold counts as inside, and plugins that only they know of aren't told.

    Raises:
        SourceMissing: there is no OpenClaw here, or not the one that was asked for.
    """
    home = states.home(environ)
    names = Names()
    found, warnings, left = states.find(environ, home, state_dir=state_dir, names=names)
    chosen = states.choose(found, profiles, home)
    left += [
        Left(path=state.path, detail=f"profile {display(state.profile)} wasn't asked for")
        for state in found
        if state not in chosen
    ]
    configs = [config.read(state.config, home=home, state=state.path, environ=environ) for state in chosen]
    roots = Roots(home=home, names=names, warnings=warnings)
    unwanted = None if workspaces else {path for each in configs for path in _workspace_paths(each)}
    units = services.find(home)
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
            units=tuple(unit for unit in units if os.path.realpath(unit.state(home)) == state.real),
            left=left,
        )
        for state, each in zip(chosen, configs, strict=True)
    ]
    placed = [installation.take(workspaces=workspaces) for installation in installations]
    beside = installations[0].take_beside()
    return Discovery(
        profiles=tuple(
            installation.describe(each, scratch=scratch, beside=beside if installation is installations[0] else ())
            for installation, each in zip(installations, placed, strict=True)
        ),
        sources=roots.sources(),
        warnings=tuple(dict.fromkeys(warnings)),
        left=tuple({each.path: each for each in reversed(left)}.values())[::-1],  # of several reasons, the first
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
    units: tuple[Service, ...]
    """The services that start its gateway."""
    left: list[Left]

    def take(self, *, workspaces: bool) -> tuple[Workspace, ...]:
        """Take all that belongs to this profile; where its workspaces are in the bundle."""
        self._warn()
        self._take_configs()
        self._take_credentials()
        self._take_agents()
        placed = self._take_workspaces(wanted=workspaces)
        self._take_links()
        self._take_secret_files()
        self._note_elsewhere()
        return placed

    def take_beside(self) -> tuple[str, ...]:
        """The secrets that all profiles share; they go with the first. Their kinds."""
        kinds = []
        for path, word, kind in _BESIDE:
            full = os.path.join(self.roots.home, path)
            if os.path.exists(full) and self._take(full, self._wanted(word, Role.CREDENTIALS, rules.secret)):
                kinds.append(kind)
        for path, what in _OF_OTHERS:
            full = os.path.join(self.roots.home, path)
            if os.path.exists(full) and not self.roots.holds(full):
                self.left.append(Left(path=full, detail=f"{what}; name it to pack it"))
        return tuple(kinds)

    def describe(self, workspaces: Sequence[Workspace], *, scratch: str | None, beside: Sequence[str]) -> Profile:
        """What a reader may want to know of it; all that is needed and not taken is a warning."""
        home = self.roots.home
        around = Surroundings(
            takes=lambda path: self.roots.place(states.expand(os.fsdecode(path), home)) is not None,
            scratch=scratch,
            everything=self.everything,
            env_files=(os.path.join(self.state.path, b".env"), os.path.join(home, _GATEWAY_ENV)),
            units=self.units,
            beside=tuple(beside),
        )
        described, problems = survey.profile(self.state, self.config, workspaces, around)
        self.roots.warnings += problems
        if described.needs:
            self.roots.warnings.append(needs.told(described))
        return described

    def _take(self, path: bytes, wanted: Wanted) -> tuple[str, bytes] | None:
        """What belongs to this profile and stands elsewhere, unless only its configuration is asked for."""
        if self.only_config:
            self._decline(path, rules.ONLY_CONFIG)
            return None
        return self.roots.take(path, wanted)

    def _take_named(self, path: bytes, wanted: Wanted, *, what: str) -> tuple[str, bytes] | None:
        if self.only_config:
            self._decline(path, rules.ONLY_CONFIG)
            return None
        return self.roots.take_named(path, wanted, what=what)

    def _decline(self, path: bytes, why: str) -> None:
        """Name what isn't taken, where no root lists it as left out."""
        if os.path.exists(path) and not self.roots.holds(path):
            self.left.append(Left(path=path, detail=why))

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
                "not here; pack them there (what is here is packed all the same)"
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
            self._take_named(path, wanted, what="OPENCLAW_OAUTH_DIR")

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
            self._take_named(agent.directory, wanted, what=self._of("the directory", agent.id))

    def _take_workspaces(self, *, wanted: bool) -> tuple[Workspace, ...]:
        placed = []
        for agent in self.config.agents:
            if agent.workspace is None or not (agent.workspace_named or os.path.isdir(agent.workspace)):
                continue
            if not wanted:
                self._decline(agent.workspace, _NO_WORKSPACES)
                continue
            root = self._wanted(f"workspace.{agent.id}", Role.WORKSPACE, rules.workspace)
            place = self._take_named(agent.workspace, root, what=self._of("the workspace", agent.id))
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
                self._take_named(link, wanted, what=f"the target of {shown}")

    def _take_secret_files(self) -> None:
        """Secrets made for this gateway, which its configuration names: from the home, where only its user puts any."""
        home = os.path.realpath(self.roots.home)
        for key, path in self.config.elsewhere:
            is_own = os.path.isfile(path) and files.inside(os.path.realpath(path), home) is not None
            if key in config.SECRET_FILES and is_own:
                suffix = f"secret.{root_name(os.path.basename(path))}"
                self._take(path, self._wanted(suffix, Role.CREDENTIALS, rules.secret))

    def _note_elsewhere(self) -> None:
        """Name what the gateway needs and no root holds: it may be anything, so it isn't taken unasked."""
        for unit in self.units:
            self._decline(unit.path, "the service, which openclaw gateway install makes anew")
        for key, path in self.config.elsewhere:
            if os.path.exists(path) and self.roots.place(path) is None:
                self.left.append(Left(path=path, detail=f"named by {key} of the configuration; name it to pack it"))
        if "signal" in self.config.channels:
            data = states.variable(self.environ, "XDG_DATA_HOME")
            base = states.expand(data or "~/.local/share", self.roots.home)
            if os.path.isdir(signal := os.path.join(base, b"signal-cli")):
                self.left.append(Left(path=signal, detail="the keys of signal-cli; name it to pack it"))
