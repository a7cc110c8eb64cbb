"""A data set written as shards from what `train` takes: checked, divided, and not twice."""

import numpy as np
import pytest
from PIL import Image

from torchloupe.config.schema import DataConfig
from torchloupe.data.sources import open_data
from torchloupe.errors import UsageError
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.sharding import write_set


@pytest.fixture
def photos(tmp_path):
    drawn = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.v1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(path.read_bytes()[:50])
    (tmp_path / "photos" / "dog" / "copy.png").write_bytes(path.read_bytes())
    return tmp_path / "photos"


def write(source, out, shard_bytes=20_000, **settings):
    events = []
    config = DataConfig(bad_fraction=0.1, **settings)
    return write_set(str(source), config, 0, out, shard_bytes, events.append), events


def test_a_folder_becomes_shards_with_the_split_of_a_run(photos, tmp_path):
    written, _ = write(photos, tmp_path / "out")
    assert [bad.id for bad in written.bad] == ["cat/broken.png"]
    assert "cat/broken.png,truncated" in (tmp_path / "out" / "set-aside.csv").read_text()
    run = prepare_data(photos, DataConfig(bad_fraction=0.1, pack="off"))
    shards = open_data(tmp_path / "out")
    assert len(shards.samples) == 61
    for part, name in enumerate(("train", "val", "test")):
        wanted = set(run.samples.ids[run.rows(name)].tolist())
        assert set(shards.samples.ids[shards.given == part].tolist()) == wanted
    for row, name in enumerate(shards.samples.ids.tolist()):
        assert shards.reader.read(row) == (photos / name).read_bytes()


def test_writing_again_does_nothing_and_other_data_are_refused(photos, tmp_path):
    out = tmp_path / "out"
    write(photos, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    written, _ = write(photos, out)
    assert written.was_there
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(UsageError, match="holds"):
        write(photos, out, val_fraction=0.3)
    with pytest.raises(UsageError, match="holds other shards"):
        write("digits", out, shard_bytes=10**9)


def test_places_and_sizes_that_can_not_be_are_refused(photos, tmp_path):
    with pytest.raises(UsageError, match="is a URL"):
        write(photos, "s3://bucket/set")
    with pytest.raises(UsageError, match="too small"):
        write(photos, tmp_path / "out", shard_bytes=10)
