"""The house rules that no linter knows: what an import costs, and what the front door shows."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import ocbundle

HOUSE: Final = Path(ocbundle.__file__).parent
HEAVY: Final = ("click", "pathspec", "pyjson5", "rich", "sqlite3")
"""What only some of the verbs or the command line need, and so nobody else waits for."""
CODECS: Final = ("cryptography", "msgpack", "pyrage", "zstandard")
"""What every verb needs, but not the import of the library."""

MODULES = sorted(
    ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in HOUSE.rglob("*.py")
    if path.name != "__main__.py"  # it runs the program
)


def loaded(program: str, *arguments: str) -> set[str]:
    """What a fresh interpreter has loaded after *program*, beyond what it loads for itself."""
    shown = f"import sys; before = set(sys.modules)\n{program}\nprint(*sys.modules.keys() - before, file=sys.stderr)"
    # A run that measures coverage loads modules of its own, before it can be asked what there is.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", shown, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return set(done.stderr.split())


def test_importing_the_library_loads_nothing_that_is_heavy() -> None:
    assert loaded("import ocbundle") & {*HEAVY, *CODECS, "ocbundle.model"} == set()


@pytest.mark.parametrize("name", ["Bundle", "pack", "unpack", "verify"])
def test_no_verb_loads_what_only_some_uses_of_it_need(name: str) -> None:
    assert loaded(f"from ocbundle import {name}") & {*HEAVY} == set()


def test_what_reads_a_bundle_does_not_load_what_packs_one() -> None:
    assert loaded("from ocbundle import Bundle, verify") & {"ocbundle.packing", "ocbundle.writer"} == set()


RUN: Final = "import os; from ocbundle.cli import run; run(sys.argv[1:], os.environ)"


def test_the_version_is_told_by_what_parses_the_command_line_alone() -> None:
    names = loaded(RUN, "--version")
    assert names & {*HEAVY, *CODECS, "ocbundle.model", "ocbundle.report"} == {"click"}
    assert {name for name in names if name.startswith("ocbundle.cli.")} == {
        f"ocbundle.cli.{name}" for name in ("app", "console", "exits", "signals")
    }


def test_a_listing_loads_neither_what_writes_nor_threads(tmp_path: Path) -> None:
    text, recipient = ocbundle.generate_identity(now=datetime.now(UTC))
    key = tmp_path / "key.txt"
    key.write_text(text, "utf-8")
    ocbundle.pack(tmp_path / "b", [tmp_path / "key.txt"], recipients=[recipient])
    names = loaded(RUN, "list", "-i", str(key), str(tmp_path / "b"))
    assert "ocbundle.reader" in names
    unused = {
        "concurrent.futures",
        "subprocess",
        *(f"ocbundle.{name}" for name in ("publish", "verification", "writer")),
    }
    assert names & unused == set()


@pytest.mark.ci
@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_the_first_to_be_imported(module: str) -> None:
    assert module in loaded(f"import {module}")


def test_the_public_names_are_sorted_and_unique() -> None:
    assert list(ocbundle.__all__) == sorted(set(ocbundle.__all__))


def test_every_public_name_exists() -> None:
    assert [name for name in ocbundle.__all__ if not hasattr(ocbundle, name)] == []


def test_what_type_checkers_see_at_the_front_door_is_what_is_there() -> None:
    tree = ast.parse(inspect.getsource(ocbundle))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in {"__future__", "importlib", "typing"}
        for alias in node.names
    }
    homes = {name: f"ocbundle.{home}" for home, names in ocbundle._HOMES.items() for name in names}
    early = {"errors": "ocbundle", "BundleError": "ocbundle.errors", "__version__": "ocbundle._version"}
    assert seen == homes | early
    assert sorted(seen) == ocbundle.__all__


def test_the_front_door_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="module 'ocbundle' has no attribute 'unpak'"):
        ocbundle.unpak  # type: ignore[attr-defined] # noqa: B018 - that is the test


def test_the_front_door_shows_its_names_before_anybody_asks_for_them() -> None:
    program = "import ocbundle; print(*dir(ocbundle))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(ocbundle.__all__) - set(shown.split()) == set()


def test_all_that_the_front_door_offers_can_be_imported_at_once() -> None:
    assert "ocbundle.unpacking" in loaded("from ocbundle import *")


def test_the_types_of_the_library_are_shipped() -> None:
    assert (HOUSE / "py.typed").is_file()


@pytest.mark.ci
def test_every_module_imports_only_from_floors_below_its_own() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    root = Path(__file__).parent.parent
    done = subprocess.run([program, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
