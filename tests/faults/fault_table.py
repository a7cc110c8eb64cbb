"""All faults, injected by one command, in one table: case, tries, survived, bit-equal.

    python tests/faults/fault_table.py            # everything: about an hour
    python tests/faults/fault_table.py --quick    # what every test run has
    python tests/faults/fault_table.py R6 S2      # some cases

A case is survived where all that its tests demand holds. Bit-equal counts the runs that were
hurt and ended with the same losses, weights, averages and optimizer state as one that was not.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Case: what is injected, and the tests of it: a file of tests/, or words in a test's name there.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "R1": ("SIGKILL at random instants", ("faults/test_kills.py",)),
    "R2": ("death at each file call of a save", ("faults/test_files.py::test_process_that_dies",)),
    "R3": (
        "each file call fails with EIO, ENOSPC",
        ("faults/test_files.py::test_every_file_call", "faults/test_files.py::test_run_whose_disk"),
    ),
    "R4": (
        "a file system fills up",
        ("faults/test_files.py::test_disk_that", "faults/test_files.py::test_command_on_a_full"),
    ),
    "R6": ("flipped bits, cuts, swaps", ("faults/test_bits.py",)),
    "R7": ("stops at a step, twice, in evaluation", ("laws/test_exact_resume.py",)),
    "R8": (
        "other loader workers, other machine",
        (
            "data/feeds/test_loader.py::test_loader_gives_the_same_batches",
            "train/test_changes.py::test_resume_on",
        ),
    ),
    "R9, R10": ("SIGTERM, Ctrl-C once and twice", ("faults/test_signals.py",)),
    "R11": (
        "a loader that dies or hangs",
        (
            "faults/test_hangs.py",
            "data/feeds/test_loader.py::test_loader_names_a_worker",
            "data/feeds/test_loader.py::test_loader_does_not_wait",
        ),
    ),
    "R12": (
        "NaN and Inf",
        ("train/test_loop.py::test_loop_leaves_out", "train/test_loop.py::test_loop_gives_up"),
    ),
    "R13": ("corrupt and odd images", ("data/image/test_decode.py", "data/image/test_formats.py")),
    "R14": (
        "changed data",
        ("train/test_changes.py::test_resume_refuses", "train/test_changes.py::test_accept"),
    ),
    "R15": ("odd classes and splits", ("data/test_split.py",)),
    "R16": ("little data, batches of one", ("faults/test_places.py::test_batches_of_one",)),
    "R17": ("64 descriptors, 1 MB of /dev/shm", ("faults/test_places.py::test_run_needs",)),
    "R18": (
        "out of memory",
        ("prepare/test_objects.py", "faults/test_ranks.py::test_out_of_memory"),
    ),
    "R19": (
        "two owners, a dead owner",
        ("faults/test_places.py::test_run_folder_of", "run/test_folder.py::test_second_process"),
    ),
    "R20": ("two ranks", ("faults/test_ranks.py",)),
    "R21": (
        "odd paths, no home, read-only, clock jumps",
        (
            "faults/test_places.py::test_run_in_an_odd",
            "faults/test_places.py::test_run_without_a_home",
            "faults/test_places.py::test_clock",
            "faults/test_places.py::test_read_only",
            "faults/test_places.py::test_run_on_a_disk",
        ),
    ),
    "R22": ("500 short epochs", ("faults/test_leaks.py::test_many",)),
    "R23": (
        "other versions, changed settings",
        ("run/test_state.py", "train/test_changes.py::test_settings"),
    ),
    "R24": (
        "the log: cut, refused, read meanwhile",
        ("faults/test_leaks.py::test_log", "faults/test_files.py::test_events"),
    ),
    "S1": (
        "pickles, code in names",
        ("faults/test_abuse.py", "data/sources/test_arrays.py::test_arrays_never"),
    ),
    "S2": ("mutated safetensors and JSON", ("faults/test_fuzz.py",)),
    "S3": (
        "hostile names",
        ("faults/test_abuse.py::test_hostile", "faults/test_abuse.py::test_unknown"),
    ),
    "S14": (
        "planted links, umasks",
        ("faults/test_places.py::test_links", "faults/test_places.py::test_modes"),
    ),
}


@dataclass
class Row:
    """What became of one case."""

    tries: int = 0
    survived: int = 0
    compared: int = 0
    bit_equal: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)


class Counter:
    """A pytest plugin that counts by case; a test may report its own numbers as properties."""

    def __init__(self, cases: list[str]) -> None:
        self.rows = {case: Row() for case in cases}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test when it ran or could not, and its comparisons when all is done."""
        numbers = dict(report.user_properties)
        tries = int(numbers.get("tries", 1))
        for case, row in self.rows.items():
            if not any(f"tests/{test}" in report.nodeid for test in CASES[case][1]):
                continue
            if report.when == "teardown":
                row.compared += int(numbers.get("compared", 0))
                row.bit_equal += int(numbers.get("bit_equal", 0))
            if report.outcome == "skipped":
                row.skipped += 1
            elif report.outcome == "failed":
                row.problems.append(report.nodeid)
            if report.when == "call" and report.outcome != "skipped":
                row.tries += tries
                row.survived += tries if report.outcome == "passed" else 0

    def show(self) -> str:
        """The table."""
        lines = [f"{'case':<9}{'what':<44}{'tries':>9}{'survived':>10}{'bit-equal':>12}"]
        for case, row in self.rows.items():
            equal = f"{row.bit_equal}/{row.compared}" if row.compared else "-"
            left_out = f"  {row.skipped} skipped" if row.skipped else ""
            lines.append(
                f"{case:<9}{CASES[case][0]:<44}{row.tries:>9,}{row.survived:>10,}{equal:>12}{left_out}"
            )
            lines += [f"{'':<9}FAILED {problem}" for problem in row.problems]
        return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run the tests of the cases and print the table; 1 where one was not survived."""
    parser = argparse.ArgumentParser(description="Inject all faults and print one table.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="R1 ... S14; all if left out")
    parser.add_argument("--quick", action="store_true", help="without the tests that take minutes")
    asked = parser.parse_args(arguments)
    known = {word: case for case in CASES for word in case.split(", ")}
    if unknown := set(asked.cases) - known.keys():
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    cases = list(dict.fromkeys(known[word] for word in asked.cases)) or list(CASES)
    counter = Counter(cases)
    files = sorted({test.partition("::")[0] for case in cases for test in CASES[case][1]})
    names = {
        test.partition("::")[2] or Path(test).stem for case in cases for test in CASES[case][1]
    }
    marks = "not gpu and not slow" if asked.quick else "not gpu"
    code = pytest.main(
        [
            *("-q", "--no-header", "-p", "no:cacheprovider", "--tb=short", "-m", marks),
            *("-k", " or ".join(sorted(names)), "--rootdir", str(ROOT)),
            *(str(ROOT / "tests" / file) for file in files),
        ],
        plugins=[counter],
    )
    print(f"\n{counter.show()}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
