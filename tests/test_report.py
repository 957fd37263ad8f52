"""What reports say, to a person and in JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ocbundle import paths, report
from ocbundle.cli import listing
from ocbundle.errors import Malformed
from ocbundle.model import (
    Entry,
    Extent,
    Host,
    Kind,
    Level,
    Manifest,
    Profile,
    Progress,
    Reason,
    Role,
    Root,
    Skipped,
    Totals,
    Workspace,
)
from ocbundle.outcomes import PackReport, UnpackReport
from ocbundle.verifying import VerifyReport

ROOT = Root(name="default", role=Role.STATE, source=b"/home/alice/.openclaw", profile="default")
MANIFEST = Manifest(
    bundle_id=bytes(16),
    created=1_764_020_534,
    generator="ocbundle 1",
    source=Host(host="alpha", os="Linux", user="alice", uid=1000, gid=1000, home=b"/home/alice"),
    roots=(ROOT,),
    profiles=(
        Profile(
            name="default",
            state="default",
            mode="local",
            port=18789,
            channels=("whatsapp",),
            secrets=("env file",),
            workspaces=(Workspace(agent="main", root="default", path=b"workspace"),),
        ),
    ),
    users={1000: "alice"},
    groups={},
    totals=Totals(entries=3, skipped=2, size=2048, segments=1, batches=1),
)
PACKED = PackReport(
    path="a.ocbundle",
    digest="d" * 64,
    bundle_id="0" * 32,
    size=1536,
    totals=Totals(entries=3, size=2048),
    roots=(ROOT,),
    profiles=MANIFEST.profiles,
    skipped=(
        Skipped(root="default", path=b"run.sock", kind="socket", reason=Reason.SOCKET),
        Skipped(root="default", path=b"a", kind="file", reason=Reason.UNREADABLE, detail="permission denied"),
    ),
    skipped_counts={"socket": 1, "unreadable": 1},
    changed=("default/log",),
    losses=2,
    warnings=(),
    recipients=("X25519",),
)


def entry(kind: Kind, path: bytes = b"x", **fields: object) -> Entry:
    described = Entry(
        root="default", path=b"p", kind=Kind.DIRECTORY, mode=0o755, uid=1000, gid=50, mtime_ns=1_764_020_534 * 10**9
    )
    return described.replace(kind=kind, path=path, **fields)


def verified(level: Level) -> VerifyReport:
    return VerifyReport(level=level, digest="d" * 64, bundle_id="0" * 32, size=1536, sections=5, manifest=None)


def test_one_line_escapes_what_moves_a_cursor_but_no_backslash() -> None:
    assert paths.one_line("a\x1b[2J\nb\\x00 é\u202e") == "a\\x1b[2J\\nb\\x00 é\\u202e"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 50, "3072.0 TiB")],
)
def test_sizes_are_binary(count: int, words: str) -> None:
    assert report.size(count) == words


def test_a_moment_is_utc() -> None:
    assert report.moment(1_764_020_534) == "2025-11-24 21:42:14"


def test_a_moment_beyond_any_calendar_stays_a_number() -> None:
    assert report.moment(2**53 - 1) == "@9007199254740991"


def test_a_path_in_json_is_as_it_is() -> None:
    assert report.path_fields("a\\é\n".encode()) == {"path": "a\\é\n"}


def test_a_path_that_isnt_utf8_comes_escaped_and_in_base64() -> None:
    assert report.path_fields(b"caf\xe9") == {"path": "caf\\xe9", "path_b64": "Y2Fm6Q=="}


def test_an_error_says_where() -> None:
    error = Malformed("no good", path="a.ocbundle", offset=64, rule="R-4.1", hint="try another")
    assert report.error_fields(error, 4) == {
        "error": "Malformed",
        "message": "a.ocbundle: no good (at byte 64, R-4.1)",
        "path": "a.ocbundle",
        "offset": 64,
        "rule": "R-4.1",
        "hint": "try another",
        "exit_code": 4,
    }


def test_an_error_names_its_path_once() -> None:
    assert (
        report.error_fields(Malformed("a.ocbundle is broken", path="a.ocbundle"), 4)["message"]
        == "a.ocbundle is broken"
    )


def test_progress_without_a_total_gives_no_percentage() -> None:
    progress = Progress(stage="pack", size=1024, total_size=None, entries=1, total_entries=None)
    assert report.progress_text(progress) == "1.0 KiB, 1 entry"


def test_progress_never_passes_a_hundred_percent() -> None:
    progress = Progress(stage="pack", size=3000, total_size=1000, entries=2000, total_entries=2000)
    assert report.progress_text(progress) == "100 %, 2.9 KiB of 1000 B, 2,000 entries"


def test_pack_reports_everything_that_matters() -> None:
    assert report.pack_lines(PACKED) == [
        "packed 3 entries, 2.0 KiB into a.ocbundle (1.5 KiB)",
        "  default  state        /home/alice/.openclaw",
        "sealed to: X25519",
        "left out: 1 socket, 1 unreadable (-v names each)",
        f"digest: {'d' * 64}",
    ]


def test_pack_can_name_each_path_that_was_left_out() -> None:
    lines = report.pack_lines(PACKED, each=True)
    assert "  default/run.sock: socket" in lines
    assert "  default/a: unreadable (permission denied)" in lines


def test_pack_says_how_many_rows_its_report_doesnt_hold() -> None:
    lines = report.pack_lines(dataclasses.replace(PACKED, skipped_counts={"socket": 1005}), each=True)
    assert "  and 1,003 more, listed in the bundle" in lines


def test_a_dry_run_says_would() -> None:
    lines = report.pack_lines(dataclasses.replace(PACKED, dry_run=True, digest="", path=None))
    assert lines[0] == "would pack 3 entries, 2.0 KiB"


def test_losses_are_told_one_by_one() -> None:
    assert report.loss_lines(PACKED) == [
        "not packed: default/a: unreadable (permission denied)",
        "default/log changed each time it was read: it may be torn",
    ]


def test_many_losses_are_counted() -> None:
    many = dataclasses.replace(PACKED, losses=100, changed=tuple(f"default/{n}" for n in range(99)))
    assert report.loss_lines(many)[-1] == "and 80 more missing or torn"


def test_all_losses_are_told_when_asked_for() -> None:
    many = dataclasses.replace(PACKED, losses=100, changed=tuple(f"default/{n}" for n in range(99)))
    assert len(report.loss_lines(many, each=True)) == 100


def test_verify_without_a_key_claims_nothing_against_an_attacker() -> None:
    assert report.verify_lines(verified(Level.CHECKSUMS), expected=False)[-1] == (
        "checksums verified: no accidental damage since it was written; without a key this says nothing about who "
        "wrote it, and nothing against an attacker"
    )


def test_verify_against_a_digest_claims_the_content_only() -> None:
    assert report.verify_lines(verified(Level.EXPECTED), expected=True)[-1] == (
        "checksums and digest verified: the content is the one packed under the expected digest, whoever has held the "
        "file since; nothing was decrypted"
    )


def test_verify_with_a_key_claims_every_byte_but_not_whose_backup_it_is() -> None:
    assert report.verify_lines(verified(Level.FULL), expected=False)[-1] == (
        "fully verified: every byte of every file, and the framing, is what the holder of the bundle key packed; "
        "whether that is your own backup, and the newest, only its digest and date can tell"
    )


def test_verify_with_a_key_and_a_digest_claims_both() -> None:
    assert report.verify_lines(verified(Level.FULL), expected=True)[-1] == (
        "fully verified: every byte of every file, and the framing, is what the holder of the bundle key packed, and "
        "the digest is the expected one"
    )


def test_unpack_says_where_everything_is() -> None:
    unpacked = UnpackReport(
        path="/r", digest="", bundle_id="", created=0, roots=("/r/default",), entries=1, size=1, warnings=()
    )
    assert report.unpack_lines(unpacked)[:2] == [
        "unpacked 1 entry, 1 B (packed 1970-01-01 00:00:00 UTC)",
        "  /r/default",
    ]


def test_a_long_row_shows_names_where_they_are_known_and_numbers_elsewhere() -> None:
    row = entry(Kind.FILE, size=1, extents=(Extent(0, 0, 1),), sha256=bytes(32))
    assert listing.entry_line(row, MANIFEST, long=True) == (
        "-rwxr-xr-x alice 50                     1 2025-11-24 21:42:14 default/x"
    )


def test_a_long_row_shows_where_a_symbolic_link_leads() -> None:
    assert listing.entry_line(entry(Kind.SYMLINK, target=b"a\x1bb"), MANIFEST, long=True).endswith(
        "default/x -> a\\x1bb"
    )


def test_a_long_row_shows_what_a_hard_link_is_a_link_to() -> None:
    line = listing.entry_line(entry(Kind.HARDLINK, target=b"first"), MANIFEST, long=True)
    assert line.startswith("h---------")
    assert line.endswith("default/x link to default/first")


def test_a_time_before_the_epoch_is_shown() -> None:
    assert "1969-12-31 23:59:59" in listing.entry_line(entry(Kind.DIRECTORY, mtime_ns=-1), MANIFEST, long=True)


def test_a_root_is_listed_by_its_name_alone() -> None:
    assert listing.entry_line(entry(Kind.DIRECTORY, path=b""), MANIFEST) == "default"


def test_every_kind_of_entry_fits_into_json() -> None:
    rows = [
        entry(Kind.DIRECTORY),
        entry(Kind.FILE, sha256=bytes(32)),
        entry(Kind.SYMLINK, target=b"\xff"),
        entry(Kind.HARDLINK, target=b"y"),
    ]
    kinds = [json.loads(json.dumps(listing.entry_fields(row, MANIFEST)))["kind"] for row in rows]
    assert kinds == ["directory", "file", "symlink", "hardlink"]


def test_a_manifest_shows_kinds_of_secret_and_what_was_left_out() -> None:
    assert listing.manifest_lines(MANIFEST, {"socket": 2}) == [
        "packed 2025-11-24 21:42:14 UTC on alpha by alice (Linux) with ocbundle 1",
        "3 entries, 2.0 KiB unpacked",
        "roots:",
        "  default  state        /home/alice/.openclaw",
        "profile default: gateway local, port 18789",
        "  channels: whatsapp",
        "  workspaces: main in default/workspace",
        "  secrets inside: env file",
        "left out: 2 socket",
    ]


def test_a_manifest_fits_into_json() -> None:
    fields = json.loads(json.dumps(listing.manifest_fields(MANIFEST, {"socket": 2})))
    assert fields["profiles"][0]["workspaces"] == [{"agent": "main", "path": "default/workspace"}]


def test_a_pack_report_fits_into_json() -> None:
    fields = json.loads(json.dumps(report.pack_fields(PACKED)))
    assert fields["left_out"] == {"socket": 1, "unreadable": 1}
