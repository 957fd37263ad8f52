"""What OpenClaw's databases hold that a reader of a bundle should know of: kinds of secret, and installed plugins.

Read from private copies. Secrets are looked at only to tell whether there are any, and to what they refer; no value
leaves this module, not even in an error.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ocbundle import databases
from ocbundle.openclaw import config, stores
from ocbundle.openclaw.needs import References, references

STATE_LIMIT: Final = 256 << 20
AGENT_LIMIT: Final = 32 << 20
"""Bytes up to which a private copy is worth its time; an agent's holds all that was ever said."""

_TABLES: Final = (
    ("device_identities", "device identity"),
    ("device_auth_tokens", "device identity"),
    ("device_pairing_paired", "paired devices"),
    ("gateway_origin_device_tokens", "paired devices"),
    ("apns_registrations", "paired devices"),
    ("web_push_subscriptions", "paired devices"),
    ("secret_store_entries", "secret store"),
    ("mcp_oauth_stores", "MCP logins"),
    ("mcp_oauth_pending_authorizations", "MCP logins"),
    ("worker_environment_credentials", "worker credentials"),
)
"""Tables, and the kind of secret that a row of each is."""
_MACHINE_STATE: Final = (
    ("nodeHost.*", "node credentials"),
    ("webPush.vapidKeys*", "paired devices"),
)
"""Keys of ``config_machine_state``, as SQLite's GLOB has them."""
AUTH: Final = "auth profiles"
OF_A_STATE: Final = frozenset({AUTH, *(kind for _, kind in (*_TABLES, *_MACHINE_STATE))})
"""What a state database may hold."""
OF_AN_AGENT: Final = frozenset({AUTH})
_AUTH_STORES: Final = (
    ("config_machine_state", "SELECT value_json FROM config_machine_state WHERE state_key GLOB 'authProfiles.*'"),
    ("auth_profile_store", "SELECT store_json FROM auth_profile_store"),
)
_INDEX: Final = "SELECT value_json FROM config_machine_state WHERE state_key = 'plugins.installedIndex'"
_SPEC: Final = re.compile(r"(?:(?:npm|clawhub):)?@?[\w.-]+(?:/[\w.-]+)?(?:@[\w.^~<>=*+-]+)?", re.ASCII)
"""What can be installed by its name. A URL may carry a token, and isn't shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What one database holds."""

    secrets: frozenset[str] = frozenset()
    """Kinds; all that there may be where it can't be told."""
    references: References = field(default_factory=References)
    """What its logins refer to instead of holding it."""
    plugins: Mapping[str, str | None] | None = None
    """What was installed beside that which comes with OpenClaw: see :func:`installed`; ``None`` if it doesn't say."""
    problem: str | None = None
    """Why it couldn't be looked into."""


def read(path: bytes, scratch: str | None, *, limit: int, at_most: frozenset[str]) -> Holdings:
    """What the database *path* holds.

    Args:
        path: it may be missing.
        scratch: a private directory for the copy; without one, nothing is read.
        limit: the longest database to be copied.
        at_most: the kinds of secret to assume if it isn't read.
    """
    size = _size(path)
    if size == 0:
        return Holdings()
    if scratch is None:
        return Holdings(secrets=at_most)
    if size > limit:
        return Holdings(secrets=at_most, problem=f"it is longer than {limit >> 20} MiB")
    try:
        with stores.opened(path, scratch) as connection:
            return _look(connection)
    except stores.Unreadable as unreadable:
        return Holdings(secrets=at_most, problem=str(unreadable))


def installed(records: object) -> dict[str, str | None]:
    """The plugins that install records tell of, with what ``plugins install`` takes for each.

    ``None`` if it isn't to be installed again: what was installed from a path stays there.
    """
    found: dict[str, str | None] = {}
    for plugin, record in config.table(records).items():
        source, spec = config.table(record).get("source"), config.text(config.table(record).get("spec"))
        named = source in {"npm", "clawhub"} and spec is not None and _SPEC.fullmatch(spec)
        found[plugin] = None if source == "path" else spec if named else plugin
    return found


def _size(path: bytes) -> int:
    """Bytes of a database with its log; 0 if it isn't there."""
    total = 0
    for part in (b"", databases.WAL):
        try:
            total += os.stat(path + part).st_size
        except OSError:
            continue
    return total


def _look(connection: sqlite3.Connection) -> Holdings:
    logins = [
        store for name, query in _AUTH_STORES if stores.columns(connection, name) for store in _json(connection, query)
    ]
    referred = References()
    for store in logins:
        referred |= references(store)
    plugins = None
    if stores.columns(connection, "config_machine_state"):
        for index in _json(connection, _INDEX):
            records = config.table(config.table(index).get("index")).get("installRecords")
            plugins = installed(records) if isinstance(records, dict) else None
    kinds = set(_kinds(connection))
    if any(config.table(config.table(store).get("profiles")) for store in logins):
        kinds.add(AUTH)
    return Holdings(secrets=frozenset(kinds), references=referred, plugins=plugins)


def _kinds(connection: sqlite3.Connection) -> Iterator[str]:
    for table, kind in _TABLES:
        if stores.columns(connection, table) and _any(connection, f"SELECT 1 FROM {table}"):  # noqa: S608 - our names
            yield kind
    if stores.columns(connection, "config_machine_state"):
        for pattern, kind in _MACHINE_STATE:
            if _any(connection, "SELECT 1 FROM config_machine_state WHERE state_key GLOB ?", pattern):
                yield kind


def _any(connection: sqlite3.Connection, query: str, *values: str) -> bool:
    return connection.execute(f"{query} LIMIT 1", values).fetchone() is not None


def _json(connection: sqlite3.Connection, query: str) -> Iterator[object]:
    """The values that *query* gives and that are JSON."""
    for (value,) in connection.execute(query):
        try:
            yield json.loads(value)
        except (TypeError, ValueError, RecursionError):
            continue
