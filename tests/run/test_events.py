"""events.jsonl read back: whole lines only, whatever stands between them."""

from pathlib import Path

from torchloupe.run.events import read_events


def test_events_of_a_run_that_has_none_are_none(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []


def test_events_come_in_the_order_of_their_lines(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"step": 1}\n{"step": 2, "note": "caf\\u00e9"}\n')
    assert read_events(tmp_path) == [{"step": 1}, {"step": 2, "note": "café"}]


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    lines = [b'{"step": 1}', b"", b"[1, 2]", b"nonsense", b"[" * 20_000, b"\xff\xfe", b"3"]
    cut = b'{"step": 2, "train_lo'
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*lines, b'{"step": 3}', cut]))
    assert read_events(tmp_path) == [{"step": 1}, {"step": 3}]
