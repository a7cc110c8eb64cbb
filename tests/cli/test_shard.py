"""`loupe shard`: what it writes and tells, and what it refuses."""

import json

from torchloupe.cli.main import run
from torchloupe.data.sources import open_data


def test_the_command_writes_and_tells(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["shard", "digits", str(out), "--quiet", "--megabytes", "1"]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"]
    assert told["images"] == {"train": 1349, "val": 179, "test": 269}
    assert {one["name"] for one in told["shards"]} == {path.name for path in out.glob("*.tar")}
    assert len(open_data(out).samples) == 1797
    assert run(words) == 0
    assert "there already" in capsys.readouterr().out


def test_places_that_can_not_be_are_refused(tmp_path, capsys):
    assert run(["shard", "digits", "s3://bucket/set"]) == 2
    assert "is a URL, and shards are written to this machine" in capsys.readouterr().err
    (tmp_path / "other.tar").write_bytes(b"")
    assert run(["shard", "digits", str(tmp_path)]) == 2
    assert "holds other shards, such as other.tar" in capsys.readouterr().err
