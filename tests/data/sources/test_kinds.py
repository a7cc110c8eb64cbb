"""Kinds of sources: what each text and object is opened as, and what anything else gets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

import torchloupe.data.sources as sources
from torchloupe.config.schema import DataConfig
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.sources import Data, open_data
from torchloupe.data.sources.kinds import unfit_options
from torchloupe.errors import DataError, LoupeError, UsageError
from torchloupe.prepare.data import open_source, prepare_data, prepare_evaluation_data

KINDS = (
    "a source is a folder, .csv, .tsv, .parquet, .npz, .npy, .pt, .h5, .safetensors, .zip, .tar or "
    "IDX file, digits, torchvision:NAME, file.py:NAME or a URL of shards"
)
WANTED = "give a Dataset, a DataLoader, a pair (images, labels) of arrays, or (train, val) of these"


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def photos(folder):
    for name in ("cat/1.png", "dog/1.png"):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    return Path(folder)


def test_open_data_lets_data_pass():
    data = open_data("digits")
    assert open_data(data) is data


def write_table(folder):
    photos(folder)
    path = Path(folder, "t.csv")
    path.write_text("x,y,photo,is\n1,1,cat/1.png,cat\n2,2,dog/1.png,dog\n")
    return path


def test_open_data_lets_data_pass_with_the_options_it_was_opened_with(tmp_path):
    options = {"image_column": "photo", "label_column": "is", "image_folder": "."}
    data = open_data(write_table(tmp_path), **options)
    assert data.samples.class_names == ("cat", "dog")
    assert open_data(data, **options) is data
    assert open_data(data) is data


def test_open_data_notes_options_that_come_too_late(tmp_path):
    data = open_data(write_table(tmp_path), image_column="photo", label_column="is")
    again = open_data(data, image_column="photo", label_column="y")
    assert again.samples is data.samples
    assert again.notes == ("data.label_column=y is not used: the data were opened before",)
    assert open_data(again, label_column="y") is again


def test_a_run_of_a_table_uses_the_columns_that_were_asked_for(tmp_path):
    folder = tmp_path / "set"
    lines = ["x,y,photo,is"]
    for k in range(24):
        path = folder / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 200 * (k % 2)).save(path)
        lines.append(f"{k},{k},{k}.png,{'ab'[k % 2]}")
    Path(folder, "t.csv").write_text("\n".join(lines) + "\n")
    config = DataConfig(image_column="photo", label_column="is", pack="memory")
    data = open_source(config, folder / "t.csv")
    assert prepare_data(data, config, seed=0).samples.class_names == ("a", "b")


TABLE_OPTIONS = {
    *("image_column", "label_column", "label_separator", "image_folder", "split_column"),
}


@pytest.mark.parametrize(
    ("source", "unfit"),
    [
        ("digits", {*TABLE_OPTIONS, "label_pattern", "layout"}),
        ("{folder}/t.csv", {"label_pattern"}),
        (("{folder}/t.csv", "{folder}/t.csv"), {"label_pattern"}),
        ("{folder}", {*TABLE_OPTIONS, "layout"}),
        ((np.zeros(3), np.zeros(3)), {*TABLE_OPTIONS, "label_pattern"}),
    ],
)
def test_unfit_options_are_those_of_other_kinds(tmp_path, source, unfit):
    write_table(tmp_path)
    if isinstance(source, str):
        source = source.format(folder=tmp_path)
    elif isinstance(source[0], str):
        source = tuple(part.format(folder=tmp_path) for part in source)
    assert set(unfit_options(source)) == unfit


def test_a_run_of_a_table_is_evaluated_on_a_folder(tmp_path):
    config = DataConfig(source="t.csv", image_column="photo", image_folder="x", pack="memory")
    photos(tmp_path / "photos")
    contract = choose_contract(open_data(tmp_path / "photos"))
    data = prepare_evaluation_data(config, str(tmp_path / "photos"), contract)
    assert data.samples.class_names == ("cat", "dog")
    assert len(data.rows("test")) == 2


def test_open_data_takes_text_and_paths_alike(tmp_path, monkeypatch):
    photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    stamps = {
        open_data(spelling).stamp
        for spelling in ("photos", "photos/", "./photos", "~/photos", Path("photos"))
    }
    assert len(stamps) == 1
    monkeypatch.chdir("photos")
    assert open_data(".").name == "photos"


def test_open_data_makes_names_fit_for_folders(tmp_path):
    photos(tmp_path / "-my photos:\x1b[1m/../ünï--")
    assert open_data(tmp_path / "ünï--").name == "n"
    photos(tmp_path / "日本")
    assert open_data(tmp_path / "日本").name == "data"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no data was named", KINDS),
        ("  ", "no data was named", KINDS),
        ("photso", "there is no file or folder photso", "did you mean 'photos'?"),
        ("photso/", "there is no file or folder photso/", "did you mean 'photos'?"),
        ("digit", "there is no file or folder digit", "did you mean 'digits'?"),
        ("photos/cats", "there is no file or folder photos/cats", "did you mean 'photos/cat'?"),
        ("photoz/cat/deep", "there is no file or folder photoz/cat/deep (nor photoz)",
         "did you mean 'photos'?"),
        ("zzz", "there is no file or folder zzz", KINDS),
        ("*.tar", "there is no file or folder *.tar", KINDS),
        ("~nobody-here/x", "there is no file or folder ~nobody-here/x (nor ~nobody-here)", KINDS),
        ("a\0b", "there is no file or folder a\\x00b", KINDS),
        ("\x1b[31mred", "there is no file or folder \\x1b[31mred", KINDS),
        ("-rf", "there is no file or folder -rf", KINDS),
        ("https://x.org/a.zip", "https://x.org/a.zip is no tar shard, and only these are "
         "read from a web server", "download it first and give the path"),
        ("hf:mnist", "hf:mnist is not on this machine",
         "give shards on the hub, hf://datasets/NAME/{000..009}.tar, or download it"),
        ("/dev/null", "/dev/null is neither a file nor a folder", KINDS),
        ("own.py:Nope", "dataset own.py:Nope: own.py defines no 'Nope'",
         "known: Own, broken, make, text"),
        ("none.py:x", "dataset none.py:x: there is no file none.py", "did you mean 'own.py'?"),
        ("no_such_module:x", "dataset no_such_module:x: there is no module named no_such_module",
         "for a file, write its path: folder/file.py:Name"),
    ],
)  # fmt: skip
def test_open_data_answers_wrong_text(tmp_path, monkeypatch, text, message, hint):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    write_code(tmp_path)
    error = fail(text)
    assert isinstance(error, UsageError)
    assert (error.message, error.hint) == (message, hint)


def test_open_data_answers_a_name_that_is_too_long():
    error = fail("x" * 100_000)
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("name", "why", "hint"),
    [
        ("cat.jpg", "it is a single image", "give the folder that holds one folder per class"),
        ("model.pkl", "pickles can run code and are not read",
         "load it in a file of your own and give file.py:NAME"),
        ("a.7z", "such archives are not read", "unpack it and give the folder"),
        ("a.tar.zst", "such archives are not read", "unpack it and give the folder"),
        ("notes.md", ".md files are not read", KINDS),
        ("noending", "its name has no ending", KINDS),
        ("code.py", "which object in it is the data?", "for example {path}:dataset"),
    ],
)  # fmt: skip
def test_open_data_answers_files_of_unknown_kind(tmp_path, name, why, hint):
    path = tmp_path / name
    path.write_text("x")
    error = fail(path)
    assert isinstance(error, DataError)
    assert error.message == f"{path} can't be opened as data: {why}"
    assert error.hint == hint.format(path=path)


def write_code(folder):
    path = Path(folder, "own.py")
    path.write_text(
        "import numpy as np\n"
        "class Own:\n"
        "    def __len__(self): return 4\n"
        "    def __getitem__(self, row): return np.zeros((4, 4), np.uint8), row % 2\n"
        "def make():\n"
        "    return Own(), Own()\n"
        "def broken():\n"
        "    return [][1]\n"
        "text = 'digits'\n"
    )
    return path


def test_open_data_runs_code_that_is_named(tmp_path):
    path = write_code(tmp_path)
    data = open_data(f"{path}:Own")  # a class is called
    assert (data.name, data.kind, len(data.samples)) == ("own", "dataset", 4)
    assert open_data(f"{path}:make").given.tolist() == [0] * 4 + [1] * 4
    assert open_data(f"{path}:text").name == "digits"
    error = fail(f"{path}:broken")
    assert isinstance(error, UsageError)
    assert error.message == (
        f"dataset {path}:broken can't be loaded: {path}, line 8: "
        "IndexError: list index out of range"
    )


class NoLength(Dataset):
    def __getitem__(self, row):
        return torch.zeros(1, 4, 4), 0


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (None, "NoneType is not data", WANTED),
        (3, "int 3 is not data", WANTED),
        (b"digits", "bytes b'digits' is not data", WANTED),
        (object(), "object is not data", WANTED),
        (NoLength, "type is not data", WANTED),
        ({}, "a dict with the keys none is not data",
         "name its entries train, val and test, or images and labels"),
        ({"a": 1, "b": 2}, "a dict with the keys 'a', 'b' is not data",
         "name its entries train, val and test, or images and labels"),
        ({"val": [], "test": []}, "there is no train split",
         "give at least train, for example (train, val)"),
        ({"val": [], "valid": [], "train": []}, "two keys name one split: 'val', 'valid', 'train'",
         "keep one of them"),
        ((None, None), "there is no train split", "give at least train, for example (train, val)"),
        (("a.csv", "b.csv"), "there is no file or folder a.csv", KINDS),
        (("a.csv", 3), "train: str a.csv is not data", WANTED),
        (iter([1]), "an iterator (list_iterator) can be read only once",
         "give an IterableDataset, whose __iter__ starts anew each epoch, or the loader itself"),
        (np.zeros((3, 4, 4)), "an array of shape [3, 4, 4] comes without labels",
         "give a pair: (images, labels)"),
        (NoLength(), "NoLength has __getitem__ and no __len__",
         "give it a __len__, or make it an IterableDataset"),
    ],
)  # fmt: skip
def test_open_data_answers_wrong_objects(source, message, hint):
    error = fail(source)
    assert isinstance(error, UsageError)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize("source", [[], ()])
def test_open_data_answers_an_empty_list(source):
    error = fail(source)
    assert isinstance(error, DataError)
    assert error.message == "dataset has no samples"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "NCHW"}, "data.layout=NCHW is for arrays, and digits is none"),
        ({"layout": "HWC"}, "there is no layout 'HWC'"),
        (
            {"image_column": "a"},
            "data.image_column=a is for tables and shards, and digits is none",
        ),
        (
            {"label_column": "a"},
            "data.label_column=a is for tables and shards, and digits is none",
        ),
        ({"label_separator": ","}, "data.label_separator=, is for tables, and digits is none"),
        ({"image_folder": "a"}, "data.image_folder=a is for tables, and digits is none"),
        ({"class_names": "abc"}, "class_names is one text"),
    ],
)
def test_open_data_refuses_options_that_do_not_fit(options, message):
    error = fail("digits", **options)
    assert isinstance(error, UsageError)
    assert error.message == message
    assert error.hint


def test_open_data_looks_into_a_folder_to_see_what_it_is(tmp_path):
    photos(tmp_path / "mixed")
    np.save(tmp_path / "mixed" / "images.npy", np.zeros((2, 4, 4), np.uint8))
    assert open_data(tmp_path / "mixed").kind == "folder"


def test_sources_export_what_others_need():
    assert sorted(sources.__all__) == ["ArrayReader", "Data", "FileReader", "Reader", "open_data"]
    assert sources.Data is Data
