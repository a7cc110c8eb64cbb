"""The progress of a run from its events."""

import pytest

from torchloupe.display.progress import (
    Progress,
    describe_facts,
    describe_row,
    describe_trouble,
    format_fraction,
    format_loss,
)

FACTS = {
    "run": "runs/digits-001",
    "data": "digits",
    "train_count": 1340,
    "val_count": 150,
    "test_count": 307,
    "image_size": [1, 8, 8],
    "class_count": 10,
    "model": "residual",
    "parameters": 272474,
    "device": "cpu",
    "precision": "fp32",
    "epochs": 4.0,
    "total_steps": 40,
    "batch_total": 128,
}


def train_event(step: int, loss: float | None = 1.0, rate: float = 100.0) -> dict[str, object]:
    return {
        "step": step,
        "epoch": step / 10,
        "seconds": step / 5,
        "train_loss": loss,
        "lr": 0.1,
        "grad_norm": 1.0,
        "images_per_second": rate,
    }


def test_progress_makes_a_row_of_an_evaluation() -> None:
    progress = Progress()
    progress.start(FACTS)
    assert progress.record(train_event(4, loss=3.0, rate=50.0)) == []
    assert progress.record(train_event(10, loss=1.0, rate=100.0)) == []
    (row,) = progress.record(
        {
            "step": 10,
            "epoch": 1.0,
            "seconds": 2.0,
            "val_loss": 0.5,
            "val_accuracy": 0.9,
            "best": True,
        }
    )
    assert row.train_loss == pytest.approx((4 * 3.0 + 6 * 1.0) / 10)
    assert row.images_per_second == pytest.approx(10 / (4 / 50 + 6 / 100))
    assert (row.epoch, row.val_loss, row.val_accuracy, row.is_best) == (1.0, 0.5, 0.9, True)
    assert progress.best is row
    assert progress.finish_epoch() == []


def test_progress_makes_a_row_of_an_epoch_without_evaluation() -> None:
    progress = Progress()
    progress.start(FACTS)
    assert progress.record(train_event(5)) == []
    assert progress.record(train_event(10, loss=2.0)) == []
    (row,) = progress.record(train_event(15))
    assert (row.epoch, row.train_loss, row.val_accuracy) == (1.0, 1.5, None)
    (last,) = progress.finish_epoch()
    assert last.epoch == 1.5
    assert progress.finish_epoch() == []


def test_progress_tells_how_much_is_done_and_left() -> None:
    progress = Progress()
    progress.start(FACTS)
    assert (progress.fraction, progress.seconds_left) == (0.0, None)
    progress.record(train_event(10))
    assert progress.fraction == 0.25
    assert progress.seconds_left == pytest.approx(6.0)


def test_progress_measures_only_its_own_session_when_resumed() -> None:
    progress = Progress()
    progress.start({**FACTS, "start_step": 20})
    progress.record({**train_event(22), "seconds": 100.0})
    assert progress.seconds_left is None
    progress.record({**train_event(24), "seconds": 102.0})
    assert progress.seconds_left == pytest.approx(16.0)


def test_progress_takes_a_loss_that_is_not_a_number() -> None:
    progress = Progress()
    progress.start(FACTS)
    progress.record(train_event(5, loss=None))
    progress.record(train_event(10, loss=float("nan")))
    (row,) = progress.finish_epoch()
    assert row.train_loss is None
    assert format_loss(row.train_loss) == "-"


def test_progress_shows_a_phase_until_the_next_step() -> None:
    progress = Progress()
    progress.record({"phase": "pack", "done": 3, "total": 9})
    assert progress.phase == ("reading images", 3, 9)
    progress.record(train_event(1))
    assert progress.phase is None


def test_describe_facts_gives_data_model_and_plan() -> None:
    assert describe_facts(FACTS) == [
        "digits: 1,340 train, 150 val, 307 test images of 1 x 8 x 8 in 10 classes",
        "residual: 272,474 parameters, on cpu in fp32",
        "4 epochs, 40 steps of 128 images, in runs/digits-001",
    ]
    assert describe_facts({}) == []
    assert describe_facts({**FACTS, "augmentation": "mirrored"})[3:] == ["mirrored"]


def test_describe_facts_shows_names_as_text() -> None:
    lines = describe_facts({**FACTS, "data": "a\x1b[2J\nb", "run": "x\ny"})
    assert lines[0].startswith("a\\x1b[2J\\nb: 1,340 train")
    assert lines[2].endswith("in x\\ny")
    assert len(lines) == 3


def test_describe_row_is_one_line() -> None:
    progress = Progress()
    progress.start(FACTS)
    progress.record(train_event(10, loss=0.421, rate=12345.0))
    (row,) = progress.record(
        {
            "step": 10,
            "epoch": 1.0,
            "seconds": 2.0,
            "val_loss": 0.5,
            "val_accuracy": 0.9,
            "best": True,
        }
    )
    assert describe_row(row, progress) == (
        "epoch 1/4  loss 0.4210  val loss 0.5000  val accuracy 90.00 % (best)  "
        "12,345 images/s  6.0 s left"
    )


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"note": "a\nb"}, "note: a\\nb"),
        (
            {
                **{"verdict": "one-class", "level": "error", "where": "train"},
                **{"seen": "all are cats", "remedy": "add dogs"},
            },
            "error: one-class (train): all are cats\n  to do: add dogs",
        ),
        (
            {"step": 7, "bad_step": True, "loss": "nan", "rows": [4, 9]},
            "note: step 7 was not applied: its loss was nan (sample rows 4, 9)",
        ),
        ({"step": 7, "train_loss": 1.0}, ""),
    ],
)
def test_describe_trouble_speaks_of_notes_and_bad_steps(
    event: dict[str, object], text: str
) -> None:
    assert describe_trouble(event) == text


def test_format_share_and_loss_keep_four_digits() -> None:
    assert [format_fraction(0.98666), format_fraction(1), format_fraction(None)] == [
        "98.67 %",
        "100.00 %",
        "-",
    ]
    assert [format_loss(0.12345), format_loss(123456.0)] == ["0.1235", "1.235e+05"]
