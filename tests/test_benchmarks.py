"""The benchmarks run: what needs no peer, at sizes that say nothing of speed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from children import run_python
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ANSWER = "answer: "
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def measure(script: str, **case: object) -> dict[str, float]:
    """What a benchmark's script answers for one case, with torch loaded already."""
    return answer_of(run_python([str(BENCHMARKS / script), json.dumps(case)]))


def measure_memory(script: str, **case: object) -> dict[str, float]:
    """The same from an interpreter of its own, whose memory nothing else has used."""
    command = [sys.executable, str(BENCHMARKS / script), json.dumps(case)]
    return answer_of(subprocess.run(command, capture_output=True, text=True, check=False))


def answer_of(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    """The answer among the lines that a benchmark printed."""
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    return json.loads(lines[-1].removeprefix(ANSWER))


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the folder's modules importable, and forgets them afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", "") or "").startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture
def turns(benchmarks: None) -> ModuleType:
    """The module that takes measurements in turns."""
    return import_module("turns")


@pytest.fixture
def table(benchmarks: None) -> ModuleType:
    """The module that writes tables."""
    return import_module("table")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two class folders of four JPEGs each, larger than the pixels they are brought to."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(8):
        path = root / f"class-{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (240, 250, 3), dtype=np.uint8)).save(path)
    return root


@pytest.mark.long
def test_every_benchmark_can_be_imported() -> None:
    """Those that need minutes or peers aren't run by any test; their names are checked at least."""
    names = [path.stem for path in sorted(BENCHMARKS.glob("*.py"))]
    code = f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)"
    done = run_python(["-c", code], BENCHMARKS)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.long
def test_steps_times_the_loop_and_a_bare_one() -> None:
    found = measure("steps.py", contender="torchloupe", steps=40)
    assert found["whole"] > 0
    assert found["bare"] > 0
    assert found["beyond"] == pytest.approx(found["whole"] - found["bare"])


@pytest.mark.long
def test_images_gives_a_rate() -> None:
    found = measure("images.py", contender="torchloupe", batch=8, steps=4)
    assert found["images_per_second"] > 0
    assert "precision=" in found["settings"]


@pytest.mark.long
def test_folder_gives_a_rate(photographs: Path) -> None:
    what = "torchloupe, first pass into the pack"
    assert measure("folder.py", what=what, root=str(photographs))["images_per_second"] > 0


@pytest.mark.long
@linux
def test_large_counts_seconds_and_bytes(tmp_path: Path, photographs: Path) -> None:
    found = measure_memory("large.py", root=str(photographs), cache=str(tmp_path))
    assert found["listed"] > 0
    assert found["first_batch"] > 0
    assert 0 <= found["index_bytes"] < found["peak_bytes"]


@pytest.mark.long
@linux
def test_memory_is_flat_below_a_cap(photographs: Path) -> None:
    found = measure_memory("memory.py", root=str(photographs), cap_bytes=200 * 10**6, epochs=3)
    assert found["growth"] < 50 * 2**20


def test_in_turns_begins_each_round_with_another_case(turns: ModuleType) -> None:
    order: list[str] = []

    def asker(name: str):
        def ask():
            order.append(name)
            return {"x": len(order)}

        return ask

    found = turns.in_turns({name: asker(name) for name in "abc"}, 2)
    assert "".join(order) == "abcbca"
    assert found["a"] == [{"x": 1}, {"x": 6}]


def test_in_turns_asks_a_case_that_failed_no_more(turns: ModuleType) -> None:
    asked: list[int] = []

    def fail():
        asked.append(1)
        return turns.Failure("no such package")

    assert turns.in_turns({"a": fail}, 3) == {"a": turns.Failure("no such package")}
    assert len(asked) == 1


def test_ask_says_why_a_case_failed(turns: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise ValueError('not today')")
    assert turns.ask(str(script), {}) == turns.Failure("ValueError: not today")


def test_spread_shows_the_median_and_the_range(turns: ModuleType) -> None:
    assert turns.Spread((3.0, 1.0, 2000.0)).show(1) == "3.0 (1.0..2,000.0)"


def test_table_shows_rows_goals_and_notes(table: ModuleType) -> None:
    made = table.Table("x", "A title", ("", "ms"))
    made.add("a", "5")
    made.expect("a", "<= 4 ms", "5 ms", is_met=False)
    made.notes.append("n = 5")
    assert made.to_markdown() == (
        "## A title\n\n|  | ms |\n|---|---|\n| a | 5 |\n\n"
        "- a: wanted <= 4 ms, seen 5 ms: NOT met\n\n- n = 5\n"
    )


def test_table_is_saved_under_its_name_hardware_and_month(
    table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    path = table.Table("steps", "T", ("",)).save("python benchmarks/run.py --only steps")
    what, cores, *_, year, month = path.stem.split("-")
    assert (what, cores[-4:], len(year), len(month)) == ("steps", "core", 4, 2)
    assert "`python benchmarks/run.py --only steps`" in path.read_text()


@pytest.mark.slow
@linux
def test_streaming_loses_nothing_and_resumes_bit_equal() -> None:
    command = [sys.executable, str(BENCHMARKS / "shards.py"), "--images", "8000", "--shards", "20"]
    command += ["--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line[:22].strip(): line[24:] for line in done.stdout.splitlines()}
    assert rows["lost, doubled"] == "0, 0"
    assert rows["resume, empty cache"].startswith("bit-equal")
    assert rows["resume, cache there"].startswith("bit-equal")


@pytest.mark.slow
@linux
def test_predictions_that_were_killed_equal_undisturbed_ones() -> None:
    command = [sys.executable, str(BENCHMARKS / "bulk.py"), "--images", "6000", "--shards", "24"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all equal, byte for byte" in done.stdout


@pytest.mark.parametrize(("ranks", "lanes", "often"), [(1, 8, 1.0), (8, 8, 2.2), (16, 2, 17.0)])
def test_simulated_ranks_read_every_image_once(
    benchmarks: None, monkeypatch: pytest.MonkeyPatch, ranks: int, lanes: int, often: float
) -> None:
    scaling = import_module("scaling")
    monkeypatch.setattr(scaling, "IMAGES", 40_000)
    monkeypatch.setattr(scaling, "SHARDS", 160)
    fetched, held, whole = scaling.simulate_reading(ranks, lanes)
    assert whole
    assert 1 <= fetched <= often
    assert 1 <= held <= 160


def test_ranks_that_meet_at_a_store_are_timed(benchmarks: None) -> None:
    assert import_module("scaling").measure_meeting(4) > 0


def test_no_round_begins_that_would_not_end_in_time(benchmarks: None) -> None:
    turns = import_module("turns")
    cases = {"slow": lambda: time.sleep(0.2) or {"n": 1}, "bad": lambda: turns.Failure("no")}
    begin = time.monotonic()
    found = turns.in_turns(cases, 50, until=begin + 1.1)
    assert 1 <= turns.rounds_of(found) <= 5
    assert turns.rounds_of(turns.in_turns(cases, 3, until=begin)) == 1
    assert turns.rounds_of(turns.in_turns(cases, 3)) == 3


def test_the_fair_comparison_chooses_workers_once(
    benchmarks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fair = import_module("fair")
    asked: list[str] = []
    given: list[dict[str, object]] = []
    monkeypatch.setattr(
        fair.images, "best_settings", lambda peer, *_: asked.append(peer) or {"workers": 1}
    )
    for module in (fair.images, fair.accuracy):
        monkeypatch.setattr(module, "make_table", lambda repeats, **rest: given.append(rest))
    tables = fair.tables(30)
    assert list(tables) == ["start", "steps", "images", "accuracy"]
    tables["images"]()
    tables["accuracy"]()
    assert asked == list(fair.PEERS)
    assert given[0]["known"] == given[1]["known"] == {peer: {"workers": 1} for peer in asked}
    assert given[0]["until"] < given[1]["until"]


def test_versions_are_pinned_without_addresses() -> None:
    lines = (BENCHMARKS / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) >= 10
    assert all("==" in pin and "/" not in pin and "@" not in pin for pin in pins)


@pytest.mark.long
def test_signals_are_timed_with_and_without() -> None:
    done = run_python([str(BENCHMARKS / "signals.py"), "--rounds", "1", "--steps", "2"])
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("default")]
    assert len(lines) == 2
    assert all(float(line[-1]) > 0 for line in lines)


@linux
def test_first_pass_over_large_photographs_is_measured(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            file = tmp_path / name / f"{number}.jpg"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (300, 240), (number * 40, 0, 90)).save(file)
    found = measure("camera.py", root=str(tmp_path), threads=1)
    assert found["images_per_second"] > 0
    assert 0 < found["busy"] < 1.5


@pytest.mark.long
@linux
def test_machine_times_what_comes_before_the_first_step(benchmarks: None, tmp_path: Path) -> None:
    machine = import_module("machine")
    wall, processor, before, imported, stepping = machine.start(tmp_path / "run", dict(os.environ))
    assert 50 < imported < stepping
    assert 0 < processor < 60 and 0 < wall < 300 and before > 0
    assert (tmp_path / "run" / "config.json").exists()  # it went as far as the loop, no further
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert machine.choices(tmp_path / "run").count("(") == 5
