"""Sets of shards at paths and URLs: with an index, without one, in part, and wrongly named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from tar_files import facts, pairs, put, put_foreign
from web_server import serving

from torchloupe.config.schema import DataConfig
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.shards.sharding import plan_shards, write_shards
from torchloupe.data.sources import open_data
from torchloupe.data.split import split_samples
from torchloupe.errors import DataError, LoupeError, UsageError
from torchloupe.prepare.data import prepare_evaluation_data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    pixels = np.random.default_rng(0).integers(0, 255, (150, 8, 8, 3), dtype=np.uint8)
    data = open_data((pixels, np.arange(150) % 3))
    write_shards(data, plan_shards(data, split_samples(data.samples), 20_000, 0), folder)
    return folder


@pytest.fixture
def foreign(tmp_path):
    return put_foreign(tmp_path / "foreign")


def test_a_set_is_the_same_from_a_folder_braces_and_a_url(whole):
    near = open_data(whole)
    assert near.given is not None
    names = sorted(path.stem for path in whole.glob("*.tar"))
    assert facts(open_data(f"{whole}/{{{','.join(names)}}}.tar")) == facts(near)
    with serving(whole) as server:
        far = open_data(server.url)
        assert facts(far) == facts(near)
        assert np.array_equal(far.given, near.given)
        assert far.reader.read(7) == near.reader.read(7)
        part = open_data(f"{server.url}/val-000000.tar")
        assert set(part.samples.ids) <= set(near.samples.ids)
        assert part.given is None
        before = len(server.asked)
        open_data(server.url)
        assert not [path for kind, path in server.asked[before:] if kind == "GET"]  # kept


def test_a_set_without_a_web_server_goes_through_fsspec(foreign):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in foreign.iterdir():
        memory.pipe_file(f"/fs/{path.name}", path.read_bytes())
    assert facts(open_data("memory://fs/*.tar"))[:3] == facts(open_data(foreign))[:3]
    assert facts(open_data("memory://fs"))[:3] == facts(open_data(foreign))[:3]


@pytest.mark.parametrize(
    ("address", "kind", "text"),
    [
        ("{url}/{{000..009}}.tar", DataError, "004.tar is not there"),
        ("{url}/*.tar", UsageError, "a web server does not list its files"),
        ("{url}/", DataError, "has no index.safetensors"),
        ("{folder}/{{000..009}}.tar", DataError, "6 of 10 shards are not there"),
        ("hf:somebody/set", UsageError, "is not on this machine"),
    ],
)
def test_addresses_of_nothing_are_named(foreign, address, kind, text):
    with serving(foreign) as server, pytest.raises(kind, match=text):
        open_data(address.format(url=server.url, folder=foreign))


def test_a_shard_of_another_size_or_missing_in_the_index_is_named(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    with (copy / "train-000000.tar").open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(DataError, match=r"train-000000\.tar changed since its index was written"):
        open_data(copy)
    put(copy / "train-900000.tar", pairs(0, 4))
    with pytest.raises(DataError, match=r"not in the index beside them, the first is .*900000"):
        open_data(f"{copy}/*.tar")
    (copy / "train-000001.tar").unlink()
    shutil.copy(whole / "train-000000.tar", copy)
    with pytest.raises(DataError, match=r"train-000001\.tar is not there, and the index"):
        open_data(copy)


def test_class_names_that_are_given_replace_numbers(whole):
    data = open_data(whole, class_names=("a", "b", "c"))
    assert data.samples.class_names == ("a", "b", "c")
    assert data.samples.labels.tolist() == open_data(whole).samples.labels.tolist()
    with pytest.raises(LoupeError):
        open_data(whole, class_names=("a", "b"))


def test_a_set_with_an_index_refuses_columns(whole):
    with pytest.raises(UsageError, match="are for shards without an index"):
        open_data(whole, label_column="txt")


def test_columns_of_the_run_s_own_table_are_left_out_for_other_data_with_an_index(whole):
    contract = choose_contract(open_data(whole))
    config = DataConfig(source="table.csv", label_column="species", pack="memory")
    found = prepare_evaluation_data(config, str(whole), contract)
    assert len(found.samples) == 150
    with pytest.raises(UsageError, match="are for shards without an index"):
        prepare_evaluation_data(replace(config, source=str(whole)), str(whole), contract)
