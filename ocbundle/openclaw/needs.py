"""Secrets that a gateway uses and that stand in none of its files: variables, programs, files elsewhere.

By names alone: a value is never kept or shown. Pure, but for the names in environment files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle.model import Profile
from ocbundle.openclaw import config, services
from ocbundle.openclaw.config import Config, Tree
from ocbundle.openclaw.services import Service
from ocbundle.paths import display

_SHORTHAND: Final = re.compile(r"\$([A-Z][A-Z0-9_]{0,127})")
"""A whole string: an ``env`` reference in short."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PROVIDER: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SECRET: Final = re.compile(
    r"(?:^|_)(?:API)?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|PAT)(?:_|\d|$)", re.IGNORECASE
)
_GATEWAY: Final = (("token", "OPENCLAW_GATEWAY_TOKEN"), ("password", "OPENCLAW_GATEWAY_PASSWORD"))
"""What OpenClaw writes into its services although the configuration has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What a configuration, or a store of logins, refers to instead of holding it."""

    variables: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    """Names of the providers that run a program."""

    def __or__(self, other: References) -> References:
        """Both."""
        return References(variables=self.variables | other.variables, providers=self.providers | other.providers)


def references(tree: object) -> References:
    """All that *tree* refers to: ``${NAME}``, ``$NAME`` and SecretRefs, wherever they stand."""
    variables: set[str] = set()
    providers: set[str] = set()
    todo = [tree]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            variables |= config.variables(value)
            short = _SHORTHAND.fullmatch(value)
            variables |= {short[1]} if short else set()
            continue
        fields = config.table(value)
        name, provider = fields.get("id"), fields.get("provider")
        if fields.get("source") == "env" and isinstance(name, str) and _NAME.fullmatch(name):
            variables.add(name)
        elif fields.get("source") == "exec" and name is not None and isinstance(provider, str):
            providers |= {provider} if _PROVIDER.fullmatch(provider) else set()
        todo += value if isinstance(value, list) else fields.values()
    return References(variables=frozenset(variables), providers=frozenset(providers))


def defined(tree: Tree) -> frozenset[str]:
    """Names of the variables that a configuration itself gives a value."""
    block = config.table(tree.get("env"))
    given = {**block, **config.table(block.get("vars"))}
    return frozenset(
        name
        for name, value in given.items()
        if isinstance(value, str) and value.strip() and not references(value).variables
    )


def find(
    read: Config,
    referred: References,
    *,
    env_files: Iterable[bytes],
    units: Iterable[Service],
    is_packed: Callable[[bytes], bool],
) -> tuple[str, ...]:
    """What the bundle won't hold of what a profile's secrets are read from, in words that show no secret.

    Args:
        read: the profile's configuration.
        referred: what its stores of logins refer to.
        env_files: files with variables that OpenClaw reads by itself.
        units: the services that start its gateway.
        is_packed: whether a path goes into the bundle.
    """
    own = references(read.tree) | referred
    held = set(defined(read.tree))
    held |= {name for key, name in _GATEWAY if _is_literal(config.find(read.tree, ("gateway", "auth", key)))}
    # What a service's own settings give: they are left behind, and made anew from what is there then.
    given: set[str] = set()
    for file in env_files:
        held |= services.variables(file) if is_packed(file) else set()
    for unit in units:
        given |= {name for name, value in unit.environment.items() if value.strip()}
        for file in unit.files:
            (held if is_packed(file) else given).update(services.variables(file))
    asked, programs = _providers(read.tree, own.providers, is_packed)
    wanted = own.variables | {name for name in given | asked if _SECRET.search(name) and _NAME.fullmatch(name)}
    elsewhere = {display(path) for key, path in read.elsewhere if key in config.SECRET_FILES and not is_packed(path)}
    return (*sorted(wanted - held), *sorted(programs), *sorted(elsewhere))


def told(profile: Profile) -> str:
    """What *profile* needs, as a sentence."""
    verb = "isn't" if len(profile.needs) == 1 else "aren't"
    return f"profile {display(profile.name)} needs {', '.join(map(display, profile.needs))}, which {verb} in the bundle"


def _is_literal(values: Iterable[object]) -> bool:
    return any(isinstance(value, str) and value.strip() and not references(value).variables for value in values)


def _providers(
    tree: Tree, names: Iterable[str], is_packed: Callable[[bytes], bool]
) -> tuple[frozenset[str], frozenset[str]]:
    """Variables that the providers *names* hand to their programs, and those programs."""
    registered = config.table(config.table(tree.get("secrets")).get("providers"))
    entries: Mapping[str, Tree] = {name: config.table(registered.get(name)) for name in names}
    passed = (value for entry in entries.values() for value in config.find(entry, ("passEnv", "*")))
    return (
        frozenset(value for value in passed if isinstance(value, str)),
        frozenset(_programs(entries, is_packed)),
    )


def _programs(entries: Mapping[str, Tree], is_packed: Callable[[bytes], bool]) -> Iterator[str]:
    for name, entry in entries.items():
        command = config.text(entry.get("command"))
        plugin = config.text(config.table(entry.get("pluginIntegration")).get("pluginId"))
        if command is not None:
            path = command.encode("utf-8", "replace").replace(b"\0", b"")
            if not is_packed(path):
                yield f"the program {display(os.path.basename(path))} (secret provider {name})"
        elif plugin is not None:
            yield f"the plugin {display(plugin)} (secret provider {name})"
        else:
            yield f"the secret provider {name}"
