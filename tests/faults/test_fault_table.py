"""The table of all faults names tests that are there."""

import ast
from pathlib import Path

import fault_table as table
import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("case", table.CASES)
def test_every_case_of_the_table_has_tests(case: str) -> None:
    for test in table.CASES[case][1]:
        file, _, prefix = test.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert any(name.startswith(prefix or "test_") for name in names), test


def test_table_counts_tries_comparisons_and_failures() -> None:
    counter = table.Counter(["R1", "R7"])

    def report(name: str, when: str, outcome: str, **numbers: int) -> pytest.TestReport:
        return pytest.TestReport(
            f"tests/{name}",
            ("", 0, ""),
            {},
            outcome,
            None,
            when,
            user_properties=list(numbers.items()),
        )

    for when in ("setup", "call", "teardown"):
        numbers = {"tries": 200, "compared": 50, "bit_equal": 49}
        counter.pytest_runtest_logreport(
            report("faults/test_kills.py::test_a", when, "passed", **numbers)
        )
        outcome = "failed" if when == "call" else "passed"
        counter.pytest_runtest_logreport(report("laws/test_exact_resume.py::test_b", when, outcome))
    lines = [line.split() for line in counter.show().splitlines()]
    assert lines[1][-3:] == ["200", "200", "49/50"]
    assert lines[2][-3:] == ["1", "0", "-"]
    assert lines[3] == ["FAILED", "tests/laws/test_exact_resume.py::test_b"]
