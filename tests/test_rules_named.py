"""Each rule of the specification is named by a vector or a test, and no test names a rule that doesn't exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SPECIFICATION = REPOSITORY / "spec" / "ocbundle-v1.md"
VECTORS = REPOSITORY / "spec" / "vectors"

_ID = re.compile(r"R-[0-9]+\.[0-9]+")

NOTHING_TO_TEST_YET = {
    # Rewriters, such as one for other recipients.
    "R-3.9",
    "R-3.10",
    "R-4.15",
    "R-12.11",
}
"""Rules for kinds of program that this project doesn't have yet."""


def _number(rule: str) -> tuple[int, ...]:
    return tuple(map(int, rule.removeprefix("R-").split(".")))


def _stated() -> list[str]:
    """The rules that the specification states, in its order."""
    return re.findall(r"^- \*\*(R-[0-9]+\.[0-9]+)\*\*", SPECIFICATION.read_text(encoding="utf-8"), re.MULTILINE)


def _named() -> set[str]:
    named: set[str] = set()
    for test in (REPOSITORY / "tests").rglob("*.py"):
        if test != Path(__file__):
            named.update(_ID.findall(test.read_text(encoding="utf-8")))
    for vector in VECTORS.glob("*.vector"):
        header = vector.read_bytes().partition(b"\n\n")[0].decode("ascii")
        rules = next(line for line in header.split("\n") if line.startswith("rule: "))
        named.update(_ID.findall(rules))
    return named


def test_every_rule_is_named_by_a_vector_or_a_test() -> None:
    missing = set(_stated()) - _named() - NOTHING_TO_TEST_YET
    assert sorted(missing, key=_number) == []


def test_every_rule_that_is_named_is_in_the_specification() -> None:
    assert sorted(_named() - set(_stated()), key=_number) == []


def test_the_specification_states_each_rule_once() -> None:
    stated = _stated()
    assert [rule for rule in sorted(set(stated), key=_number) if stated.count(rule) > 1] == []


def test_the_rules_without_tests_are_still_without() -> None:
    assert sorted(NOTHING_TO_TEST_YET & _named(), key=_number) == []


def test_errors_name_only_rules_of_the_specification() -> None:
    sources = (REPOSITORY / "ocbundle").rglob("*.py")
    raised = {rule for path in sources for rule in re.findall(r'rule="(R-[0-9.]+)"', path.read_text(encoding="utf-8"))}
    assert sorted(raised - set(_stated()), key=_number) == []
