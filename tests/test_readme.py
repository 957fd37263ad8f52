"""What the README shows is what happens: its programs run, and its help texts are the real ones.

``python tests/test_readme.py`` writes the help texts anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from ocbundle.cli import run, sample
from ocbundle.cli.app import COMMANDS, app

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
HELP: Final = re.compile(r"<!-- help: ?(\w*) -->\n(?:```text\n.*?```\n)?", re.DOTALL)
PROGRAM: Final = "from ocbundle.cli import main; main()"


def block(marker: str) -> str:
    """The one block of the README that stands behind *marker*."""
    found = re.findall(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)```\n", README.read_text("utf-8"), re.DOTALL)
    assert len(found) == 1, f"{marker}: {len(found)} blocks"
    return str(found[0])


def help_block(command: str) -> str:
    arguments = [command] * bool(command) + ["--help"]
    output = CliRunner().invoke(app, arguments, prog_name="ocbundle").output
    return f"<!-- help: {f'{command} '.lstrip()}-->\n```text\n$ {' '.join(['ocbundle', *arguments])}\n{output}```\n"


def with_help_texts(text: str) -> str:
    return HELP.sub(lambda found: help_block(found.group(1)), text)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    sample.build(os.fsencode(made))
    return made


def environ(home: Path, programs: Path | None = None) -> dict[str, str]:
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
    return {"HOME": str(home), "PATH": path}


def test_the_help_texts_are_the_real_ones() -> None:
    text = README.read_text("utf-8")
    assert text == with_help_texts(text)


def test_there_is_a_help_text_for_the_program_and_for_each_command() -> None:
    assert [found.group(1) for found in HELP.finditer(README.read_text("utf-8"))] == ["", *COMMANDS]


def test_every_link_to_a_file_leads_somewhere() -> None:
    text = README.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text)
    assert [path for path, _ in links if not (ROOT / path).exists()] == []


def test_every_link_into_the_specification_leads_to_a_heading() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", (ROOT / "spec/ocbundle-v1.md").read_text("utf-8"), re.MULTILINE)
    }
    wanted = re.findall(r"\]\(spec/ocbundle-v1\.md#([^)]*)\)", README.read_text("utf-8"))
    assert [name for name in wanted if name not in headings] == []


def test_the_gate_runs_the_commands_that_the_readme_shows() -> None:
    gate = (ROOT / ".ci/run").read_text("utf-8")
    assert [marker for marker in ("main job", "test command") if f"readme_command '{marker}'" not in gate] == []


def test_the_example_of_the_library_runs(home: Path, tmp_path: Path) -> None:
    program = block("run: library") + block("run: errors")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, env=environ(home), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert "['default', 'work']" in done.stdout


def test_the_lines_with_stock_tools_give_content(home: Path, tmp_path: Path) -> None:
    assert shutil.which("age"), "age isn't installed"
    assert shutil.which("zstd"), "zstd isn't installed"
    bundle, key = str(tmp_path / "gateway.ocbundle"), str(tmp_path / "key.txt")
    assert run(["keygen", "--json", "-o", key], environ(home)) == 0
    assert run(["pack", "-q", "-i", key, "-o", bundle, str(home / "research")], environ(home)) == 0
    subprocess.run(["sh", "-euc", block("run: stock tools")], cwd=tmp_path, check=True)
    assert b"Hidden, and not forgotten." in (tmp_path / "content").read_bytes()


def test_the_lines_for_a_move_move_a_gateway(home: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    programs = tmp_path / "programs"
    new.mkdir()
    programs.mkdir()
    # A machine called "new": another home on this one.
    script(programs / "ssh", f'[ "$1" = new ] && shift && cd "{new}" && HOME="{new}" exec sh -c "$*"')
    script(programs / "ocbundle", f'exec {sys.executable} -c "{PROGRAM}" "$@"')
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("run: move")], cwd=home, env=environ(home, programs), check=True
    )
    shutil.rmtree(home)
    kept = [".openclaw/.env", ".openclaw-work/openclaw.json", "research/.hidden/notes.txt"]
    assert [(new / path).is_file() for path in kept] == [True] * 3
    config = (new / ".openclaw/openclaw.json").read_text("utf-8")
    assert (f'"{new}/research"' in config, str(home) in config) == (True, False)


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
    path.chmod(0o755)


if __name__ == "__main__":
    README.write_text(with_help_texts(README.read_text("utf-8")), "utf-8")
