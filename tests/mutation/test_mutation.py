"""What is mutated and what is left alone; and the row of the scoreboard, as a sample and as a whole (S12)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mutation.operators import mutations

RUN = Path(__file__).with_name("run.py")


def changes(source: str) -> list[str]:
    return [mutation.change for mutation in mutations("module", ast.parse(source), source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("f(a < b)", {"a < b → a <= b", "a < b → a >= b", "f(a < b) → pass"}, id="a comparison"),
        pytest.param("X: Final = 7", {"7 → 8", "7 → 6"}, id="a number"),
        pytest.param("X: Final = True", {"True → False"}, id="a truth"),
        pytest.param("X: Final = b'ab'", {"b'ab' → b'aba'"}, id="bytes"),
        pytest.param("X: Final = a + b", {"a + b → a - b"}, id="arithmetic"),
        pytest.param("X: Final = not a", {"not a → a"}, id="a negation"),
        pytest.param("X: Final = a and b", {"a and b → a or b", "a and b → a", "a and b → b"}, id="a conjunction"),
        pytest.param("X: Final = a[b:c]", {"b:c → :c", "b:c → b:"}, id="a slice"),
        pytest.param("X: Final = f(key=a)", {"f(key=a) → f()"}, id="a keyword argument"),
        pytest.param("X: Final = any(a)", {"any → all"}, id="a name with an opposite"),
        pytest.param("if a: raise E", {"a → not a", "raise E → pass"}, id="a check"),
        pytest.param("for a in b: break", {"b → ()", "break → pass"}, id="a loop"),
        pytest.param("def f(): return a", {"return a → return None"}, id="a result"),
        pytest.param("a.b = c", set(), id="another name at the top"),
        pytest.param("def f(): a.b = c", {"a.b = c → pass"}, id="an assignment that others see"),
        pytest.param(
            "try: a()\nexcept (B, C): raise",
            {"a() → pass", "(B, C) → (C,)", "(B, C) → (B,)", "raise → pass"},
            id="a handler",
        ),
    ],
)
def test_each_thing_that_can_go_wrong_is_tried(source: str, expected: set[str]) -> None:
    assert set(changes(source)) == expected


@pytest.mark.parametrize(
    "source",
    [
        "'''A docstring.'''",
        "import a",
        "from a import b",
        "Row = list[1]",
        "X: list[1]",
        "@d(1)\ndef f(a: 'int') -> 'int': pass",
    ],
)
def test_what_is_for_people_and_the_type_checker_is_left_alone(source: str) -> None:
    assert changes(source) == []


def test_the_words_of_an_error_are_left_alone_and_what_it_carries_is_not() -> None:
    found = set(changes("raise E(f'{1} bytes', hint='copy it', rule='R-1')"))
    assert "'R-1' → 'R-1a'" in found
    assert not [change for change in found if "copy ita" in change or "bytesa" in change or change.startswith("1")]


def test_a_mutation_says_where_it_is_and_is_put_into_the_tree() -> None:
    source = "class A:\n    def f(self):\n        return 1 + x\n"
    tree = ast.parse(source)
    found = next(mutation for mutation in mutations("module", tree, source) if mutation.change == "1 + x → 1 - x")
    assert found.key == ("module", "A.f", "return 1 + x", "1 + x → 1 - x")
    found.apply()
    assert ast.unparse(tree) == ast.unparse(ast.parse(source.replace("+", "-")))


@pytest.mark.ci
def test_a_text_that_no_line_holds_is_said_to_be_in_none() -> None:
    done = subprocess.run(
        [sys.executable, RUN, "--match", "no such line", "paths"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "no line of paths that can be mutated holds 'no such line'\n")


def row(*options: str) -> None:
    done = subprocess.run([sys.executable, RUN, *options], capture_output=True, text=True, check=False)
    print(*(line for line in done.stdout.splitlines() if line.startswith("counted:")), sep="\n")  # noqa: T201
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.ci
def test_a_sample_of_the_mutants_is_killed_or_named_with_a_reason() -> None:
    row("--quick")


@pytest.mark.long
def test_every_mutant_is_killed_or_named_with_a_reason() -> None:
    row()
