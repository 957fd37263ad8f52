"""What ``list`` and ``inspect`` show of a bundle, as lines for a person and as objects for JSON. Pure."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Mapping
from typing import Final

from ocbundle import BundleInfo, Entry, Kind, Manifest, Profile, paths
from ocbundle.report import (
    Fields,
    counted,
    counts,
    full_path,
    held,
    moment,
    packed,
    path_fields,
    root_fields,
    root_lines,
    size,
)

FILE_TYPES: Final = {Kind.DIRECTORY: stat.S_IFDIR, Kind.FILE: stat.S_IFREG, Kind.SYMLINK: stat.S_IFLNK}


def entry_line(entry: Entry, manifest: Manifest, *, long: bool = False) -> str:
    """``root/path``; with *long*, as ``ls -l`` shows it, and with the time in UTC."""
    if not long:
        return entry.name
    if entry.kind is Kind.HARDLINK:  # the rest is its target's
        mode, owner, length, when = "h---------", "", "", ""
    else:
        mode = stat.filemode(FILE_TYPES[entry.kind] | entry.mode)
        user = paths.display(manifest.users.get(entry.uid, str(entry.uid)))
        group = paths.display(manifest.groups.get(entry.gid, str(entry.gid)))
        owner, length, when = f"{user} {group}", str(entry.size), moment(entry.mtime_ns // 1_000_000_000)
    name = entry.name
    if entry.kind is Kind.SYMLINK:
        name += f" -> {paths.display(entry.target or b'')}"
    elif entry.kind is Kind.HARDLINK:
        name += f" link to {paths.display(full_path(entry.root, entry.target or b''))}"
    return f"{mode} {owner:<17} {length:>12} {when:<19} {name}"


def entry_fields(entry: Entry, manifest: Manifest) -> Fields:
    """An entry in JSON. What a hard link shares with its target is given there only."""
    fields: Fields = {
        "status": "entry",
        **path_fields(full_path(entry.root, entry.path)),
        "kind": entry.kind.name.lower(),
    }
    if entry.kind is Kind.HARDLINK:
        return fields | path_fields(full_path(entry.root, entry.target or b""), "target")
    fields |= {
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "user": manifest.users.get(entry.uid),
        "group": manifest.groups.get(entry.gid),
        "mtime_ns": entry.mtime_ns,
    }
    if entry.kind is Kind.FILE:
        fields |= {"size": entry.size, "sha256": (entry.sha256 or b"").hex(), "capture": str(entry.capture)}
    elif entry.kind is Kind.SYMLINK:
        fields |= path_fields(entry.target or b"", "target")
    return fields


def info_lines(info: BundleInfo) -> list[str]:
    """What anybody can tell of a bundle."""
    sections = Counter(section.type.decode("ascii") for section in info.sections)
    return [
        f"bundle {info.bundle_id}, format version {info.read_version} (written by version {info.write_version})",
        f"{size(info.size)} ({info.size:,} bytes) in {counted(len(info.sections), 'section')}: {counts(sections)}",
        f"sealed to: {', '.join(map(paths.display, info.recipients))}",
        f"digest: {info.digest}",
    ]


def info_fields(info: BundleInfo) -> Fields:
    """What anybody can tell of a bundle, in JSON."""
    return {
        "bundle_id": info.bundle_id,
        "read_version": info.read_version,
        "write_version": info.write_version,
        "size": info.size,
        "digest": info.digest,
        "recipients": list(info.recipients),
        "sections": [
            {"type": s.type.decode("ascii"), "number": s.number, "offset": s.offset, "length": s.body_length}
            for s in info.sections
        ],
    }


def manifest_lines(manifest: Manifest, left_out: Mapping[str, int]) -> list[str]:
    """What only a key shows of a bundle. *left_out* counts what was skipped, by reason."""
    lines = [packed(manifest), held(manifest), "roots:", *root_lines(manifest.roots)]
    for profile in manifest.profiles:
        lines += _profile_lines(profile)
    return [*lines, f"left out: {counts(left_out) or 'nothing'}"]


def manifest_fields(manifest: Manifest, left_out: Mapping[str, int]) -> Fields:
    """What only a key shows of a bundle, in JSON."""
    source = manifest.source
    return {
        "created": manifest.created,
        "generator": manifest.generator,
        "source": {
            "host": source.host,
            "os": source.os,
            "user": source.user,
            "uid": source.uid,
            "gid": source.gid,
            **path_fields(source.home, "home"),
        },
        "entries": manifest.totals.entries,
        "bytes": manifest.totals.size,
        "roots": [root_fields(root) for root in manifest.roots],
        "profiles": [_profile_fields(profile) for profile in manifest.profiles],
        "left_out": dict(left_out),
    }


def _profile_lines(profile: Profile) -> list[str]:
    gateway = [f"gateway {profile.mode or 'mode not set'}"]
    gateway += [f"port {profile.port}"] if profile.port else []
    gateway += [f"OpenClaw {profile.version}"] if profile.version else []
    gateway += [f"storage era {profile.era}"] if profile.era else []
    lines = [f"profile {paths.display(profile.name)}: {paths.display(', '.join(gateway))}"]
    named = {
        "agents": profile.agents,
        "channels": profile.channels,
        "workspaces": [
            f"{w.agent} in {full_path(w.root, w.path).decode('utf-8', 'surrogateescape')}" for w in profile.workspaces
        ],
        "plugins to install again": profile.plugins,
        "secrets inside": profile.secrets,
        "needed, and not inside": profile.needs,
    }
    return lines + [f"  {what}: {', '.join(map(paths.display, names))}" for what, names in named.items() if names]


def _profile_fields(profile: Profile) -> Fields:
    return {
        "name": profile.name,
        "state": profile.state,
        **({} if profile.config is None else path_fields(profile.config, "config")),
        "mode": profile.mode,
        "port": profile.port,
        "version": profile.version,
        "era": profile.era,
        "schemas": dict(profile.schemas),
        "agents": list(profile.agents),
        "channels": list(profile.channels),
        "plugins": list(profile.plugins),
        "secrets": list(profile.secrets),
        "needs": list(profile.needs),
        "workspaces": [{"agent": w.agent, **path_fields(full_path(w.root, w.path))} for w in profile.workspaces],
    }
