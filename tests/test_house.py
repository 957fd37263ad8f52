"""The house rules that no linter knows: what an import costs, and what the front door shows."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ocbundle

HEAVY = ("click", "pathspec", "pyjson5", "rich", "sqlite3")
"""What only some of the verbs or the command line need, and so nobody else waits for."""


@pytest.mark.parametrize("module", HEAVY)
def test_importing_the_library_does_not_load(module: str) -> None:
    program = f"import sys, ocbundle; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_public_names_are_sorted_and_unique() -> None:
    assert list(ocbundle.__all__) == sorted(set(ocbundle.__all__))


def test_every_public_name_exists() -> None:
    assert [name for name in ocbundle.__all__ if not hasattr(ocbundle, name)] == []


def test_every_name_that_the_front_door_imports_is_public() -> None:
    tree = ast.parse(inspect.getsource(ocbundle))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__"
        for alias in node.names
    }
    assert imported - set(ocbundle.__all__) == set()


def test_the_front_door_holds_nothing_but_a_docstring_imports_and_the_public_names() -> None:
    tree = ast.parse(inspect.getsource(ocbundle))
    others = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign)]
    assert others == []


def test_the_types_of_the_library_are_shipped() -> None:
    assert (Path(ocbundle.__file__).parent / "py.typed").is_file()


@pytest.mark.ci
def test_every_module_imports_only_from_floors_below_its_own() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    root = Path(__file__).parent.parent
    done = subprocess.run([program, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
