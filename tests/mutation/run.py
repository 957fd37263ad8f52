"""Try the mutants of a module, and print the score of each module as a row of Markdown.

The tests run in a copy of the tree, which nothing writes to: a mutant is compiled in memory, and an import hook gives
it to its tests, in a fork of a process that has loaded all else. A mutant is killed by the first test that fails, or by
taking far longer than the tests do without it. The examples that hypothesis makes up are the same in every run.
"""

# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final, NoReturn

import hypothesis
import pytest

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from mutation.operators import Key, Mutation, mutations  # noqa: E402 - the path comes first

SUITES: Final = {
    "wire": ("test_wire.py", "test_vectors.py"),
    "paths": ("test_paths.py", "test_records.py"),
    "compression": ("test_compression.py", "test_vectors.py"),
    "records": ("test_records.py", "test_vectors.py"),
    "columns": ("test_columns.py", "test_records.py", "test_vectors.py"),
    "restore": ("test_restore.py",),
}
"""The modules, and for each the tests that must notice its mutants, the nearest first."""
_SHARE: Final = 25
"""A quick run tries one mutant of so many."""
_ENOUGH: Final = 90.0
"""Per cent of a module's mutants that must be killed."""
_OPTIONS: Final = (
    "-qx",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore:Module already imported:pytest.PytestAssertRewriteWarning",
)
_MEMORY: Final = 4 << 30
"""What a mutant may take. Some would take all."""
_PHASES: Final = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
"""The first failure is enough: nobody reads a small one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of the mutants of one module."""

    module: str
    whole: bool
    """Whether every mutant was tried."""
    tried: int
    explained: tuple[Mutation, ...]
    """Survivors that are named, with a reason."""
    unexplained: tuple[Mutation, ...]
    stale: tuple[Key, ...]
    """What is named, and no survivor."""

    @property
    def killed(self) -> int:
        """How many the tests noticed."""
        return self.tried - len(self.explained) - len(self.unexplained)

    @property
    def score(self) -> float:
        """Per cent killed."""
        return 100 * self.killed / self.tried


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"one mutant of {_SHARE}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--match", default="", metavar="TEXT", help="only mutants whose line holds TEXT")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(SUITES)}")
    options = parser.parse_args()
    unknown = set(options.modules) - set(SUITES)
    if unknown:
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    results = []
    with tempfile.TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as scratch:
        tree = copied(Path(scratch))
        warm(tree)
        print("| module | mutants | killed | score | survivors with a reason |\n|---|---|---|---|---|", flush=True)
        for module in options.modules or SUITES:
            step = _SHARE if options.quick else 1
            result = examine(module, tree, step=step, text=options.match, jobs=options.jobs)
            results.append(result)
            numbers = f"{result.tried} | {result.killed} | {result.score:.1f} % | {len(result.explained)}"
            print(f"| {module} | {numbers} |", flush=True)
    sys.exit(report(results))


def report(results: Sequence[Result]) -> bool:
    """Say what all came to, and what is wrong with it; whether anything is."""
    tried, killed = sum(result.tried for result in results), sum(result.killed for result in results)
    names = ", ".join(result.module for result in results)
    print(f"counted: {killed} of {tried} mutants of {names} killed ({100 * killed / tried:.1f} %)")
    low = [result.module for result in results if result.whole and result.score < _ENOUGH]
    for module in low:
        print(f"too few mutants of {module} are killed")
    for result in results:
        for mutation in result.unexplained:
            print("survives, and isn't named:\n" + _as_toml(mutation.key))
        for key in result.stale:
            print("is named, and no survivor:\n" + _as_toml(key))
    return bool(low) or any(result.unexplained or result.stale for result in results)


def _as_toml(key: Key) -> str:
    module, where, line, change = key
    return f"[[{module}]]\nwhere = '{where}'\nline = '''{line}'''\nchange = '''{change}'''\nreason = ''\n"


def named_survivors() -> set[Key]:
    """The keys of the mutants that live for a reason."""
    tables = tomllib.loads((HERE / "survivors.toml").read_text())
    return {
        (module, row["where"], row["line"], row["change"])
        for module, rows in tables.items()
        for row in rows
        if row["reason"]
    }


def copied(scratch: Path) -> Path:
    """A copy of what the tests need. Temporary files go beside it, and away with it."""
    tree = scratch / "tree"
    scratch.chmod(0o755)  # some tests do their work as another user
    for folder in ("ocbundle", "spec", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    tempfile.tempdir = str(scratch)
    os.environ["TMPDIR"] = str(scratch)
    return tree


def warm(tree: Path) -> None:
    """Load everything that the library and its tests import from elsewhere, so that a fork needn't."""
    sys.path[:0] = [str(tree), str(tree / "tests")]
    for name in ("_pytest.assertion.rewrite", "hypothesis.strategies", "ocbundle.cli"):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ocbundle"]:
        del sys.modules[name]


def examine(module: str, tree: Path, *, step: int, text: str, jobs: int) -> Result:
    """Try the mutants of *module*: each *step*-th of those whose line holds *text*."""
    source = (tree / "ocbundle" / f"{module}.py").read_text()
    syntax = ast.parse(source)
    known = list(mutations(module, syntax, source))
    chosen = [mutation for mutation in known if text in mutation.line][::step]
    if not chosen:
        sys.exit(f"no line of {module} that can be mutated holds {text!r}")
    run = Trial(module=module, tree=tree, syntax=syntax)
    seconds = run.without_a_fault()
    survivors = run.survivors(chosen, jobs=jobs, patience=30 + 10 * seconds)
    named = {key for key in named_survivors() if key[0] == module}
    alive = {mutation.key for mutation in survivors}
    killed = {mutation.key for mutation in chosen} - alive
    return Result(
        module=module,
        whole=len(chosen) == len(known),
        tried=len(chosen),
        explained=tuple(mutation for mutation in survivors if mutation.key in named),
        unexplained=tuple(mutation for mutation in survivors if mutation.key not in named),
        stale=tuple(sorted(named & killed | named - {mutation.key for mutation in known})),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The tests of one module, to be run on its mutants."""

    module: str
    tree: Path
    syntax: ast.Module

    @property
    def _log(self) -> Path:
        """What the tests say. Of use as long as only one runs."""
        return self.tree.parent / "log"

    @property
    def _durations(self) -> Path:
        """How long each test takes, without a fault."""
        return self.tree.parent / f"{self.module}.json"

    def without_a_fault(self) -> float:
        """How many seconds the tests take that nothing is wrong with.

        Raises:
            SystemExit: they fail.
        """
        start = time.monotonic()
        _, status = os.waitpid(self._start(None), 0)
        if status:
            sys.exit(f"the tests of {self.module} fail without any mutant:\n{self._log.read_text()}")
        return time.monotonic() - start

    def survivors(self, chosen: Sequence[Mutation], *, jobs: int, patience: float) -> list[Mutation]:
        """Those of *chosen* that no test notices in *patience* seconds."""
        waiting = list(enumerate(chosen))[::-1]
        running: dict[int, tuple[int, float]] = {}
        found = []
        while waiting or running:
            while waiting and len(running) < jobs:
                index, mutation = waiting.pop()
                running[self._start(mutation)] = index, time.monotonic() + patience
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                index, _ = running.pop(pid)
                if status == 0:
                    found.append(index)
                if index % 50 == 0:
                    print(f"{self.module}: {index} of {len(chosen)}", file=sys.stderr)
                continue
            for late in [pid for pid, (_, end) in running.items() if time.monotonic() > end]:
                os.killpg(late, signal.SIGKILL)
            time.sleep(0.01)
        return [chosen[index] for index in sorted(found)]

    def _start(self, mutation: Mutation | None) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.dup2(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
                os.dup2(1, 2)
                if mutation is not None:
                    mutation.apply()
                self._test(measure=mutation is None)
            except BaseException:  # noqa: BLE001 - a mutant may raise anything
                traceback.print_exc()
            os._exit(1)
        return pid

    def _test(self, *, measure: bool) -> NoReturn:
        os.chdir(self.tree)
        sys.meta_path.insert(0, _Faulty(f"ocbundle.{self.module}", self.syntax))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=_PHASES)
        hypothesis.settings.load_profile("mutation")
        order = _QuickestFirst({} if measure else json.loads(self._durations.read_text()))
        if not measure:  # seconds of the processor: while others keep it busy, nothing is late
            seconds = 5 + 3 * int(sum(order.durations.values()))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        for suite in SUITES[self.module]:
            status = pytest.main([*_OPTIONS, f"tests/{suite}"], plugins=[order])
            if status:
                os._exit(1)
        if measure:
            self._durations.write_text(json.dumps(order.durations))
        os._exit(0)


class _QuickestFirst:
    """Most mutants are killed by tests that take no time, if only they come first."""

    def __init__(self, durations: dict[str, float]) -> None:
        self.durations = durations

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.durations.get(item.nodeid, 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0) + report.duration


class _Faulty(MetaPathFinder, Loader):
    """Answers the import of one module with a syntax tree."""

    def __init__(self, name: str, syntax: ast.Module) -> None:
        self._name = name
        self._syntax = syntax

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._syntax, f"<{self._name}>", "exec"), module.__dict__)  # noqa: S102 - a mutant is made to be run


if __name__ == "__main__":
    main()
