"""Pieces of a damaged bundle that are whole, and break a rule all the same."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from support import assembled, fill_small, identity, packed, parts_of

import ocbundle
from ocbundle import wire
from ocbundle.errors import AuthenticationFailed


def test_keys_that_were_changed_open_nothing_and_that_is_told(tmp_path: Path) -> None:
    bundle = packed(fill_small)
    changed = [
        replace(part, body=part.body[:-1] + bytes([part.body[-1] ^ 1])) if part.type == wire.KEYS else part
        for part in parts_of(bundle.data)
    ]
    data = assembled(changed, preamble=bundle.container.frame.preamble)
    with pytest.raises(AuthenticationFailed, match="a KEYS section was changed"):
        ocbundle.salvage(io.BytesIO(data), tmp_path / "out", identities=identity())
