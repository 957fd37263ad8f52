"""The head of the manifest, to canonical MessagePack and back.

Implements sections 9.1 to 9.3 of the specification.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from ocbundle import limits, paths
from ocbundle.canonical import Map, encoding_first, pack, unpack_map
from ocbundle.errors import AuthenticationFailed, LimitExceeded, Malformed
from ocbundle.model import Host, Manifest, Profile, Role, Root, Totals, Workspace


def encode_manifest(manifest: Manifest) -> bytes:
    """The raw bytes of MANI (section 9.1)."""
    return pack(_head(manifest))


def _head(manifest: Manifest) -> dict[str, object]:
    return {
        "bundle_id": manifest.bundle_id,
        "created": manifest.created,
        "generator": manifest.generator,
        "groups": [[gid, name] for gid, name in sorted(manifest.groups.items())],
        "profiles": [_profile(profile) for profile in manifest.profiles],
        "roots": [_root(root) for root in manifest.roots],
        "source": _host(manifest.source),
        "totals": _totals(manifest.totals),
        "users": [[uid, name] for uid, name in sorted(manifest.users.items())],
    }


def _host(host: Host) -> dict[str, object]:
    return {
        "gid": host.gid,
        "home": host.home,
        "host": host.host,
        "os": host.os,
        "uid": host.uid,
        "user": host.user,
    }


def _totals(totals: Totals) -> dict[str, object]:
    return {
        "batches": totals.batches,
        "bytes": totals.size,
        "entries": totals.entries,
        "segments": totals.segments,
        "skipped": totals.skipped,
    }


def _root(root: Root) -> dict[str, object]:
    return {"name": root.name, "profile": root.profile, "role": str(root.role), "source": root.source}


def _profile(profile: Profile) -> dict[str, object]:
    return {
        "agents": list(profile.agents),
        "channels": list(profile.channels),
        "config": profile.config,
        "era": profile.era,
        "mode": profile.mode,
        "name": profile.name,
        "needs": list(profile.needs),
        "plugins": list(profile.plugins),
        "port": profile.port,
        "schemas": dict(sorted(profile.schemas.items(), key=lambda item: item[0].encode())),
        "secrets": list(profile.secrets),
        "state": profile.state,
        "version": profile.version,
        "workspaces": [_workspace(workspace) for workspace in profile.workspaces],
    }


def _workspace(workspace: Workspace) -> dict[str, object]:
    return {"agent": workspace.agent, "path": workspace.path, "root": workspace.root}


# The keys that a decoder knows are those that the encoder writes.
_KNOWN_HOST: Final = _host(Host())
_KNOWN_TOTALS: Final = _totals(Totals())
_KNOWN_ROOT: Final = _root(Root(name="x", role=Role.EXTRA, source=b""))
_KNOWN_WORKSPACE: Final = _workspace(Workspace(agent="", root=""))
_KNOWN_PROFILE: Final = _profile(Profile(name="", state=""))
_KNOWN_HEAD: Final = _head(Manifest(bundle_id=b"", created=0, generator="", source=Host(), roots=()))


def decode_manifest(data: bytes, *, bundle_id: bytes) -> Manifest:
    """Read MANI's raw bytes.

    Raises:
        AuthenticationFailed: it is another bundle's.
        Malformed, LimitExceeded, UnsupportedVersion: a rule of sections 8 and 9 is broken.
    """
    value = unpack_map(data)
    with encoding_first(value):
        if type(value.get("bundle_id")) is bytes and value["bundle_id"] != bundle_id:
            raise AuthenticationFailed("the manifest is another bundle's", rule="R-9.1")
        manifest = _decode_head(Map(value, "manifest", frozenset(_KNOWN_HEAD), 1))
        _check_names(manifest.roots, manifest.profiles)
        for key in ("users", "groups"):
            if any(row[0] >= following[0] for row, following in itertools.pairwise(value[key])):
                raise Malformed(f"manifest: {key} aren't ascending", rule="R-9.3")
        return manifest


def _decode_head(head: Map) -> Manifest:
    # Fields are asked for in the order in which they stand in the file: of several faults, the first is reported.
    return Manifest(
        bundle_id=head.get("bundle_id", bytes),
        created=head.get("created", int),
        generator=head.get("generator", str),
        groups=_decode_owners(head, "groups"),
        profiles=tuple(_decode_profile(item) for item in head.maps("profiles", _KNOWN_PROFILE)),
        roots=_decode_roots(head),
        source=_decode_host(head.map("source", _KNOWN_HOST)),
        totals=_decode_totals(head.map("totals", _KNOWN_TOTALS)),
        users=_decode_owners(head, "users"),
    )


def _decode_host(source: Map) -> Host:
    return Host(
        gid=source.get("gid", int),
        home=source.get("home", bytes),
        host=source.get("host", str),
        os=source.get("os", str),
        uid=source.get("uid", int),
        user=source.get("user", str),
    )


def _decode_totals(totals: Map) -> Totals:
    return Totals(
        batches=totals.get("batches", int),
        size=totals.get("bytes", int),
        entries=totals.get("entries", int),
        segments=totals.get("segments", int),
        skipped=totals.get("skipped", int),
    )


def _check_names(roots: Sequence[Root], profiles: Sequence[Profile]) -> None:
    names = {root.name for root in roots}
    if len(names) < len(roots):
        raise Malformed("two roots have one name", rule="R-9.4")
    if len({profile.name for profile in profiles}) < len(profiles):
        raise Malformed("two profiles have one name", rule="R-9.5")
    for profile in profiles:
        if not names.issuperset({profile.state, *(workspace.root for workspace in profile.workspaces)}):
            raise Malformed("a profile names a root that isn't there", path=paths.display(profile.name), rule="R-9.5")


def _decode_owners(head: Map, key: str) -> dict[int, str]:
    owners: dict[int, str] = {}
    for row in head.get(key, list):
        if type(row) is not list or [type(item) for item in row] != [int, str]:
            raise Malformed(f"manifest: {key} isn't a list of number and name", rule="R-9.0")
        number, name = row
        if not 0 <= number <= limits.MAX_INTEGER:
            raise Malformed(f"manifest: a number of {key} is out of range", rule="R-8.8")
        owners[number] = name
    return owners


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:  # a newer writer's
        return Role.EXTRA


def _decode_roots(head: Map) -> tuple[Root, ...]:
    count = len(head.get("roots", list))
    if count > limits.MAX_ROOTS:
        raise LimitExceeded(f"{count} roots", rule="R-9.4")
    return tuple(
        Root(
            name=item.get("name", str),
            profile=item.optional("profile", str),
            role=_role(item.get("role", str)),
            source=item.get("source", bytes),
        )
        for item in head.maps("roots", _KNOWN_ROOT)
    )


def _decode_profile(item: Map) -> Profile:
    return Profile(
        agents=item.strings("agents"),
        channels=item.strings("channels"),
        config=item.optional("config", bytes),
        era=item.optional("era", str),
        mode=item.optional("mode", str),
        name=item.get("name", str),
        needs=item.strings("needs") if "needs" in item.value else (),
        plugins=item.strings("plugins"),
        port=item.optional("port", int),
        schemas=_decode_schemas(item),
        secrets=item.strings("secrets"),
        state=item.get("state", str),
        version=item.optional("version", str),
        workspaces=tuple(_decode_workspace(workspace) for workspace in item.maps("workspaces", _KNOWN_WORKSPACE)),
    )


def _decode_schemas(item: Map) -> dict[str, int]:
    schemas: dict[str, int] = item.get("schemas", dict)
    for version in schemas.values():
        if type(version) is not int:
            raise Malformed("manifest profiles: schemas aren't versions by path", rule="R-9.0")
        if not 0 <= version <= limits.MAX_INTEGER:
            raise Malformed("manifest profiles: a version of schemas is out of range", rule="R-8.8")
    return schemas


def _decode_workspace(item: Map) -> Workspace:
    workspace = Workspace(agent=item.get("agent", str), path=item.get("path", bytes), root=item.get("root", str))
    paths.check(workspace.path)
    return workspace
