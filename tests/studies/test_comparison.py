"""Runs compared on shared test images: the numbers, the tests, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.errors import CheckpointError, DataError, UsageError
from torchloupe.studies.comparison import compare
from torchloupe.studies.tested import read_tested

Capture = pytest.CaptureFixture[str]
WORDS = ["train", "digits", "--model", "cnn", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of half an epoch and of three."""
    folder = tmp_path_factory.mktemp("comparison")
    for name, epochs in (("short", "0.5"), ("long", "3")):
        assert main.run([*WORDS, "--epochs", epochs, "--out", str(folder / name)]) == 0
    return folder


def edit_predictions(run: Path, out: Path, change) -> Path:
    """A copy of `run` whose table of predictions is `change` of the old one."""
    shutil.copytree(run, out, symlinks=True)
    table = pq.read_table(run / "predictions.parquet")
    pq.write_table(change(table), out / "predictions.parquet")
    return out


def right_of(run: Path) -> np.ndarray:
    table = pq.read_table(run / "predictions.parquet").sort_by("id")
    pairs = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    return np.array([label == found for label, found in pairs])


def test_comparison_of_two_runs(home: Path) -> None:
    found = compare(loupe.open_run(home / "short"), home / "long")
    short, long = right_of(home / "short"), right_of(home / "long")
    table = [[(a & b).sum() for b in (long, ~long)] for a in (short, ~short)]
    (pair,) = found.pairs
    assert pair.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert pair.is_significant
    assert found.cochran is None
    assert [run.accuracy for run in found.runs] == [short.mean(), long.mean()]
    for run in found.runs:
        written = json.loads((Path(run.folder) / "metrics.json").read_text())
        scores = {score.name: score for score in pair.scores}
        place = "first" if run.name == "short" else "second"
        for name in ("accuracy", "macro_f1", "mcc", "kappa", "auroc", "average_precision"):
            value = getattr(scores[name], place)
            assert value == pytest.approx(written["test"][name], abs=1e-9)
        assert run.seconds == written["train"]["seconds"]
        assert run.weights_bytes > 1000
    for score in pair.scores:
        low, high = score.interval
        assert low <= score.difference <= high
    assert found.settings == {"train.epochs": (0.5, 3.0)}
    assert len(found.flips) == (short != long).sum()
    worst = found.flips[0]
    assert worst.right.count(True) == 1
    assert worst.predictions[worst.right.index(True)] == worst.label
    assert found.disagreement == pytest.approx((short != long).mean())
    json.dumps(found.as_dict())


def test_order_of_the_rows_does_not_count(home: Path, tmp_path: Path) -> None:
    other = edit_predictions(
        home / "long", tmp_path / "turned", lambda table: table.sort_by([("id", "descending")])
    )
    found = compare(home / "long", other)
    assert found.flips == ()
    assert found.pairs[0].p_value == 1.0
    assert {score.difference for score in found.pairs[0].scores} == {0.0}
    assert found.smallest_difference is None


def test_comparison_of_three_runs_has_cochrans_q(home: Path, tmp_path: Path) -> None:
    def worse(table: pa.Table) -> pa.Table:
        labels = table["label"].to_pylist()
        given = [labels[0] if k % 3 == 0 else label for k, label in enumerate(labels)]
        column = table.column_names.index("prediction")
        return table.set_column(column, "prediction", pa.array(given))

    third = edit_predictions(home / "long", tmp_path / "third", worse)
    runs = [home / "short", home / "long", third]
    found = compare(*runs)
    expected = cochrans_q(np.array([right_of(run) for run in runs], int).T)
    assert found.cochran.statistic == pytest.approx(expected.statistic)
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert all(pair.p_value >= pair.mcnemar.p_value for pair in found.pairs)


def test_other_images_are_refused_by_count(home: Path, tmp_path: Path) -> None:
    fewer = edit_predictions(home / "long", tmp_path / "fewer", lambda table: table.slice(5))
    with pytest.raises(
        DataError, match=r"264 are in both, 5 only in long, 0 only in fewer"
    ) as raised:
        compare(home / "long", fewer)
    assert "same seed" in raised.value.hint


def test_other_labels_are_refused_by_count(home: Path, tmp_path: Path) -> None:
    def relabel(table: pa.Table) -> pa.Table:
        labels = table["label"].to_pylist()
        labels[:2] = ["0" if label != "0" else "1" for label in labels[:2]]
        return table.set_column(table.column_names.index("label"), "label", pa.array(labels))

    other = edit_predictions(home / "long", tmp_path / "other", relabel)
    with pytest.raises(DataError, match="2 of 269 images have other labels in other than in long"):
        compare(home / "long", other)


def test_what_is_no_comparison_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a run is named twice"):
        compare(home / "long", home / "long")
    shutil.copytree(home / "long", tmp_path / "broken", symlinks=True)
    (tmp_path / "broken" / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(CheckpointError, match=r"predictions\.parquet can't be read"):
        compare(home / "long", tmp_path / "broken")


def test_command_prints_tables_and_json(home: Path, capsys: Capture) -> None:
    words = ["compare", str(home / "short"), str(home / "long")]
    assert main.run(words) == 0
    seen = capsys.readouterr().out
    assert seen.startswith("long is better than short (McNemar's exact test: p = ")
    assert "balanced accuracy" in seen
    assert "train.epochs" in seen
    assert main.run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 269
    assert main.run([*words, "--out", str(home / "page.html")]) == 0
    page = (home / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == min(48, len(found["flips"]))
    assert "long is better than short" in page
    assert main.run(words[:2]) == 2
    assert "nothing to compare it with" in capsys.readouterr().err


def test_several_labels_are_compared(tmp_path: Path) -> None:
    labels = [["a"], [], ["a", "b"]]
    columns = {
        "id": ["0", "1", "2"],
        "label": pa.array(labels, pa.list_(pa.string())),
        "prediction": pa.array([["a"], ["b"], ["a", "b"]], pa.list_(pa.string())),
        "confidence": [0.9, 0.6, 0.8],
        "probabilities": pa.FixedSizeListArray.from_arrays(
            pa.array(np.array([0.9, 0.1, 0.2, 0.6, 0.8, 0.7], np.float32)), 2
        ),
    }
    table = pa.table(columns).replace_schema_metadata({"class_names": json.dumps(["a", "b"])})
    pq.write_table(table, tmp_path / "predictions.parquet")
    tested = read_tested(tmp_path)
    assert tested.labels == ("a", "", "a, b")
    answers = tested.answers(["a", "b", "c"])
    assert answers.labels.tolist() == [[1, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert answers.right.tolist() == [True, False, True]
    assert answers.probabilities[1].tolist() == pytest.approx([0.2, 0.6, 0.0])
