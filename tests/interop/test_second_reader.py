"""The second reader agrees with the vectors: what the text says is enough to read, and to reject, what they hold."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
VECTORS = sorted((HERE.parents[1] / "spec" / "vectors").glob("*.vector"))
MOST_LINES = 300
QUICK = 6
"""The quick tests take one vector of so many, since each starts age and zstd several times."""
LISTED = ("root-digest", "directory", "file", "symlink", "hardlink", "skipped")

pytestmark = pytest.mark.skipif(not (shutil.which("age") and shutil.which("zstd")), reason="needs age and zstd")


def load_reader() -> Any:  # noqa: ANN401
    spec = importlib.util.spec_from_file_location("second_reader", HERE / "second_reader.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


second_reader = load_reader()


class Vector(NamedTuple):
    lines: list[list[str]]
    bundle: bytes

    def field(self, key: str) -> bytes | None:
        return next((value.encode() for name, value in self.lines if name == key), None)

    def expected(self) -> list[str]:
        if self.field("expect") == b"success":
            return [f"{key}: {value}" for key, value in self.lines if key in LISTED]
        return [" ".join(value for key, value in self.lines if key in ("expect", "rule"))]


def read_vector(path: Path) -> Vector:
    header, _, bundle = path.read_bytes().partition(b"\n\n")
    return Vector([line.split(": ", 1) for line in header.decode().split("\n")], bundle)


def read_twice(path: Path) -> tuple[list[str], str]:
    """What a full verification says, and the class that one of checksums alone ends in."""
    vector = read_vector(path)
    lines, _ = second_reader.outcome(vector.bundle, vector.field("identity"), vector.field("passphrase"))
    keyless, status = second_reader.outcome(vector.bundle)
    return lines, keyless[0].split()[0] if status else "success"


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[Path, Future[tuple[list[str], str]]]]:
    """The outcomes of the vectors that are run: the reader waits for age and zstd, so several are read at a time."""
    names = {item.name for item in request.session.items}
    chosen = [path for path in VECTORS if f"test_a_vector_ends_as_its_header_says[{path.stem}]" in names]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {path: pool.submit(read_twice, path) for path in chosen}
        pool.shutdown(cancel_futures=True)


def test_the_reader_is_short_and_stands_alone() -> None:
    text = (HERE / "second_reader.py").read_text()
    nodes = list(ast.walk(ast.parse(text)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    assert len(text.splitlines()) <= MOST_LINES


def test_there_are_vectors() -> None:
    assert len(VECTORS) > 600


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.ci] * (n % QUICK > 0)) for n, path in enumerate(VECTORS)],
)
def test_a_vector_ends_as_its_header_says(path: Path, outcomes: dict[Path, Future[tuple[list[str], str]]]) -> None:
    lines, keyless = outcomes[path].result()
    vector = read_vector(path)
    assert lines == vector.expected()
    assert keyless.encode() == vector.field("keyless")


def test_a_full_verification_needs_a_key() -> None:
    vector = read_vector(HERE.parents[1] / "spec" / "vectors" / "sound-manifest-sample.vector")
    with pytest.raises(second_reader.Fault) as caught:
        second_reader.Reader(vector.bundle).verify(None, None)
    assert caught.value.args == ("KeyRequired", "R-6.12")


def run(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, str(HERE / "second_reader.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "option", "status"),
    [
        ("sound-manifest-hard-links", "-i", 0),
        ("sound-passphrase", "-p", 0),
        ("together-digest-file", "-i", 4),
        ("keys-wrong-passphrase", "-p", 5),
        ("manifest-important-key-head", "-i", 6),
    ],
)
def test_the_program_says_the_same(tmp_path: Path, name: str, option: str, status: int) -> None:
    vector = read_vector(HERE.parents[1] / "spec" / "vectors" / f"{name}.vector")
    (tmp_path / "bundle").write_bytes(vector.bundle)
    key = vector.field("identity") or vector.field("passphrase")
    assert key
    (tmp_path / "key").write_bytes(key + b"\n")
    assert run(option, tmp_path / "key", tmp_path / "bundle") == (status, "\n".join([*vector.expected(), ""]))


def test_without_a_key_the_program_claims_little(tmp_path: Path) -> None:
    vector = read_vector(HERE.parents[1] / "spec" / "vectors" / "ends-mac-of-zeros.vector")
    (tmp_path / "bundle").write_bytes(vector.bundle)
    status, said = run(tmp_path / "bundle")
    assert status == 0
    assert "nothing against an attacker" in said
