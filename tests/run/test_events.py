"""Events as values and as lines of events.jsonl."""

import json
from pathlib import Path

from torchloupe.run import events


def test_event_is_a_mapping_of_its_json_fields() -> None:
    note = events.Note("something")
    assert note == {"note": "something"}
    assert ("note" in note, note.get("step"), len(note)) == (True, None, 1)


def test_evaluation_has_its_values_as_fields() -> None:
    values = {"val_loss": 0.5, "val_accuracy": 0.75}
    event = events.Evaluation(4, 1.0, 2.5, values, best=True)
    assert event == {"step": 4, "epoch": 1.0, "seconds": 2.5, **values, "best": True}


def test_log_line_leaves_out_what_it_has_not() -> None:
    step = events.Step(4, 1.0, 2.5, 0.5, 0.1, 2.0, None, "0f", 100.0)
    assert "signals" not in step
    assert "total_steps" not in step
    assert step["train_loss"] == 0.5


def test_progress_and_announcements_are_not_kept() -> None:
    assert not events.Progress("pack", 1, 2).is_kept
    assert not events.Announcement("reading").is_kept
    assert events.Note("x").is_kept


def test_read_events_skips_an_incomplete_last_line(tmp_path: Path) -> None:
    lines = [json.dumps(events.Note(text).as_json()) for text in ("one", "two")]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + '\n{"note": "thr')
    assert events.read_events(tmp_path) == [{"note": "one"}, {"note": "two"}]


def test_read_events_of_a_run_without_any_is_empty(tmp_path: Path) -> None:
    assert events.read_events(tmp_path) == []


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    lines = [b'{"step": 1}', b"", b"[1, 2]", b"nonsense", b"[" * 20_000, b"\xff\xfe", b"3"]
    cut = b'{"step": 2, "train_lo'
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*lines, b'{"step": 3}', cut]))
    assert events.read_events(tmp_path) == [{"step": 1}, {"step": 3}]


def test_verdict_is_one_line_of_json() -> None:
    verdict = events.Verdict(
        "one-class", "warning", "all 90 predictions are 3", "train longer", samples=("a.jpg",)
    )
    kept = json.loads(json.dumps(verdict.as_json()))
    assert (kept["verdict"], kept["level"], kept["samples"]) == ("one-class", "warning", ["a.jpg"])
    assert verdict.is_kept
