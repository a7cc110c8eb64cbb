"""What follows from images and labels: the same whether it is worked out or was kept."""

import numpy as np
import pytest
from pictures import encode, noise

from torchloupe.config.schema import DataConfig
from torchloupe.data import split_cache
from torchloupe.data.shards.sharding import plan_shards, write_shards
from torchloupe.data.sources import open_data
from torchloupe.data.split import split_samples
from torchloupe.prepare.data import prepare_data
from torchloupe.system import cache


@pytest.fixture(autouse=True)
def small_is_large(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LARGE", 10)


@pytest.fixture
def photos(tmp_path):
    for number in range(60):
        path = tmp_path / "photos" / "abc"[number % 3] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(noise(6, 5, seed=number // 2), "PNG"))  # every image twice
    (tmp_path / "photos" / "a" / "030.png").write_bytes(b"no image")
    return tmp_path / "photos"


def show(source, seed=0, **options):
    found = prepare_data(
        source, DataConfig(mode="RGB", size="6", bad_fraction=0.5, **options), seed=seed
    )
    rows = [getattr(found.splits, part).tolist() for part in ("train", "val", "test")]
    return rows, found.splits.notes, found.fingerprint, found.contract.mean, found.contract.std


def kept(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.kept"))


@pytest.fixture
def worked_out(monkeypatch):
    """How often the split and the statistics were worked out."""
    counts = {"split_samples": 0, "statistics": 0}

    def counting(name, real):
        def count(*args, **options):
            counts[name] += 1
            return real(*args, **options)

        return count

    for name in counts:
        monkeypatch.setattr(split_cache, name, counting(name, getattr(split_cache, name)))
    return counts


def test_division_is_kept_and_is_the_same(photos, tmp_path, worked_out, monkeypatch):
    first, again = show(photos), show(photos)
    assert worked_out == {"split_samples": 1, "statistics": 1}
    assert [path.name for path in kept(tmp_path)] == ["split.kept", "statistics.kept"]
    assert again == first and any("under a different label" in note for note in first[1])
    monkeypatch.setattr(cache, "LARGE", 61)
    assert show(photos) == first and worked_out == {"split_samples": 2, "statistics": 2}


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"val_fraction": 0.2}, {"test_fraction": 0.3}, {"fold": 1, "folds": 5}],
    ids=str,
)
def test_other_division_is_worked_out(photos, monkeypatch, other):
    show(photos)
    found = show(photos, **other)
    monkeypatch.setattr(cache, "LARGE", 61)
    assert found == show(photos, **other) != show(photos)


def test_other_labels_are_divided_anew(photos, monkeypatch):
    ids = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]

    def show_table(turn):
        lines = [f"{name},{'xy'[(k // 7 + turn) % 2]}" for k, name in enumerate(ids)]
        table = photos / "table.csv"
        table.write_text("\n".join(["image,label", *lines]))
        return show(table)

    first, second = show_table(0), show_table(1)
    monkeypatch.setattr(cache, "LARGE", 61)
    assert (first, second) == (show_table(0), show_table(1)) and first[2] != second[2]


def test_damaged_division_is_worked_out_again(photos, tmp_path, worked_out):
    first = show(photos)
    for path in kept(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    assert show(photos) == first and worked_out == {"split_samples": 2, "statistics": 2}
    assert show(photos) == first and worked_out == {"split_samples": 2, "statistics": 2}


def test_small_sets_keep_nothing(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 61)
    rows = show(photos)[0]
    assert kept(tmp_path) == [] and len(np.concatenate(rows)) == 59


def test_division_without_copies_is_kept_apart(photos, monkeypatch):
    for number in range(5):
        (photos / "a" / f"copy{number}.png").write_bytes((photos / "a" / "000.png").read_bytes())
    every, once = show(photos), show(photos, copies="once")
    assert (len(np.concatenate(every[0])), len(np.concatenate(once[0]))) == (64, 59)
    assert once[0][1:] == every[0][1:]
    assert any(note.endswith("train has one of each") for note in once[1])
    monkeypatch.setattr(cache, "LARGE", 100)
    assert (show(photos), show(photos, copies="once")) == (every, once)


def test_division_of_streamed_shards_is_kept_too(tmp_path, worked_out):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 6, 5, 3), dtype=np.uint8)
    data = open_data((pixels, np.arange(60) % 3))
    write_shards(data, plan_shards(data, split_samples(data.samples), 30_000, 0), tmp_path / "set")
    first = show(tmp_path / "set", pack="stream")
    assert show(tmp_path / "set", pack="stream") == first
    assert worked_out["split_samples"] == 1
    assert [path.name.partition("-")[2] for path in kept(tmp_path)] == ["split.kept"]
    show(tmp_path / "set", pack="stream", copies="once")
    assert worked_out["split_samples"] == 2
