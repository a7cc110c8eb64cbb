"""Tar shards: pairs of image and label, read in place; hostile members are only names."""

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tar_files import pairs, put

from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def test_shards_give_ids_labels_and_bytes(tmp_path):
    put(tmp_path / "b.tar", pairs(3, 5))
    put(tmp_path / "a.tar", pairs(0, 3))
    data = open_data(tmp_path)
    assert (data.name, data.kind, data.given) == (tmp_path.name, "shards", None)
    assert data.samples.ids.tolist() == [
        *("a.tar/00000.jpg", "a.tar/00001.jpg", "a.tar/00002.jpg"),
        *("b.tar/00003.jpg", "b.tar/00004.jpg"),
    ]
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 1, 0, 1, 0]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(data.reader.read, range(5)))
    assert found == [b"image %d" % k for k in range(5)]


def test_shards_open_as_one_file_or_a_pattern(tmp_path):
    for k in range(3):
        put(tmp_path / f"set-{k}.tar", pairs(k * 2, k * 2 + 2))
    assert len(open_data(tmp_path / "set-1.tar").samples) == 2
    assert len(open_data(f"{tmp_path}/set-[02].tar").samples) == 4


def test_shards_read_class_numbers_with_names_on_request(tmp_path):
    path = put(tmp_path / "a.tar", pairs(0, 4, ("10", " 9\n")))
    assert open_data(path).samples.class_names == ("9", "10")
    path = put(tmp_path / "a.tar", pairs(0, 4, ("1", "0")))
    assert open_data(path, class_names=("no", "yes")).samples.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "names",
    [("train-000.tar", "val_000.tar", "test.tar"), ("train/a.tar", "val/b.tar", "test/c.tar")],
)
def test_shards_take_splits_from_names_and_folders(tmp_path, names):
    for name in names:
        put(tmp_path / name, pairs(0, 2))
    data = open_data(tmp_path)
    found = {
        str(i).partition("/")[0]: int(g) for i, g in zip(data.samples.ids, data.given, strict=True)
    }
    assert found == dict(zip((Path(name).name for name in names), (0, 1, 2), strict=True))


@pytest.mark.parametrize("words", [("train", "validation"), ("train", "val"), ("trainset", "dev")])
def test_shards_take_splits_from_the_middle_of_names(tmp_path, words):
    for word in words:
        put(tmp_path / f"imagenet1k-{word}-0000.tar", pairs(0, 2))
    assert sorted(open_data(tmp_path).given.tolist()) == [0, 0, 1, 1]


def test_shards_whose_set_is_called_like_a_split_are_not_divided(tmp_path):
    for number in range(2):
        put(tmp_path / f"my_test_{number}.tar", pairs(0, 2))
    assert open_data(tmp_path).given is None


def test_shards_of_one_name_in_two_folders_give_other_ids(tmp_path):
    for name in ("train/0.tar", "val/0.tar"):
        put(tmp_path / name, pairs(0, 2))
    assert open_data(tmp_path).samples.ids.tolist() == [
        *("train/0.tar/00000.jpg", "train/0.tar/00001.jpg"),
        *("val/0.tar/00000.jpg", "val/0.tar/00001.jpg"),
    ]


def test_shards_with_several_images_a_sample_ask_which(tmp_path):
    path = put(tmp_path / "a.tar", [*pairs(0, 2), ("00000.png", b"mask"), ("00001.png", b"mask")])
    error = fail(path)
    assert error.message == "a.tar/00000 has several images: '.jpg', '.png'"
    assert error.hint == "say which is to be classified: data.image_column=jpg"
    assert open_data(path, image_column="png").reader.read(0) == b"mask"


@pytest.mark.parametrize(
    ("ending", "word"), [("target", "label_column=target"), ("npy", "NAME.jpg beside NAME.cls")]
)
def test_shards_without_a_pair_say_what_may_be_the_label(tmp_path, ending, word):
    path = put(tmp_path / "a.tar", [("1.jpg", b"x"), (f"1.{ending}", b"0")])
    assert word in fail(path).hint


def test_shards_with_labels_in_text_say_how_to_take_them(tmp_path):
    texts = [(f"{k}.{end}", text) for k in range(4) for end, text in (("jpg", b"x"), ("txt", b"a"))]
    path = put(tmp_path / "a.tar", texts)
    error = fail(path)
    assert error.message == "a: 1 shard without one pair of image and label (passed over: .txt (4))"
    assert error.hint.endswith("data.label_column=txt")
    assert open_data(path, label_column="txt").samples.class_names == ("a",)


def test_shards_refuse_a_mixture_of_named_and_unnamed_splits(tmp_path):
    for name in ("train-0.tar", "val-0.tar", "more.tar"):
        put(tmp_path / name, pairs(0, 2))
    assert fail(tmp_path).message == (
        "some shards name a split ('train-0.tar', 'val-0.tar') and some don't ('more.tar')"
    )


def test_shards_refuse_a_class_that_train_lacks(tmp_path):
    put(tmp_path / "train.tar", pairs(0, 4))
    put(tmp_path / "test.tar", pairs(0, 4, ("cat", "cow")))
    assert fail(tmp_path).message == "test has a class that train lacks: 'cow'"


def test_shards_count_what_they_pass_over(tmp_path):
    members = [*pairs(0, 2), ("00001.json", b"{}"), ("x/readme.txt", b""), ("lonely.jpg", b"x")]
    members += [("label-only.cls", b"cat"), (".hidden.jpg", b"x"), ("2.seg.png", b"x")]
    data = open_data(put(tmp_path / "a.tar", members))
    assert len(data.samples) == 2
    assert data.ignored == {".json": 1, ".txt": 1, ".seg.png": 1}
    assert data.notes == (
        "2 members of the shards lack their partner (image or label), for example a.tar/lonely",
    )


def test_shards_treat_hostile_members_as_names(tmp_path):
    link = tarfile.TarInfo("00009.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("00008.jpg")
    hard.type, hard.linkname = tarfile.LNKTYPE, "00000.jpg"
    device = tarfile.TarInfo("00007.jpg")
    device.type = tarfile.CHRTYPE
    outside = [("../../out.jpg", b"1"), ("../../out.cls", b"cat")]
    absolute = [("/tmp/abs.jpg", b"2"), ("/tmp/abs.cls", b"dog")]
    odd = [("a\nb\x1b[1m.jpg", b"3"), ("a\nb\x1b[1m.cls", b"dog"), ("ü" * 200 + ".jpg", b"x")]
    path = put(
        tmp_path / "one" / "two" / "a.tar",
        [*pairs(0, 2), (link, b""), (hard, b""), (device, b""), *outside, *absolute, *odd],
    )
    data = open_data(path)
    assert data.samples.ids.tolist()[2:] == [
        *("a.tar/../../out.jpg", "a.tar//tmp/abs.jpg", "a.tar/a\nb\x1b[1m.jpg"),
    ]
    assert [data.reader.read(row) for row in (2, 3, 4)] == [b"1", b"2", b"3"]
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]
    assert not Path("/tmp/abs.jpg").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "can't be read as a tar file"),
        (lambda content: b"<html>" * 200, "can't be read as a tar file"),
        (lambda content: b"\x1f\x8b" + content, "can't be read as a tar file"),
        (lambda content: content[:1000], "can't be read as a tar file"),
        (lambda content: content[:1024], "can't be read as a tar file"),
        (lambda content: content[:1100], "can't be read as a tar file"),
        (lambda content: content[:512] + b"x" * 512 + content[1024:1536] + b"y" * 512,
         "can't be read as a tar file"),
    ],
)  # fmt: skip
def test_shards_refuse_damaged_files(tmp_path, change, message):
    path = put(tmp_path / "a.tar", pairs(0, 2))
    path.write_bytes(change(path.read_bytes()))
    error = fail(path)
    assert isinstance(error, DataError)
    assert message in error.message
    assert "\n" not in error.message


def test_shards_refuse_labels_of_megabytes(tmp_path):
    path = put(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.cls", b"c" * 5000)])
    assert fail(path).message == f"{path}: 1.cls is not a label: 5,000 bytes"


def test_shards_say_when_there_is_no_pair(tmp_path):
    put(tmp_path / "a.tar", [("1.jpg", b"x"), ("2.jpg", b"x")])
    error = fail(tmp_path)
    assert error.message == f"{tmp_path.name}: 1 shard without one pair of image and label"


def test_shards_reader_notices_a_shard_that_was_cut_since(tmp_path):
    path = put(tmp_path / "a.tar", pairs(0, 2))
    data = open_data(path)
    path.write_bytes(path.read_bytes()[:514])
    with pytest.raises(ImageError, match="the file ends before the image does"):
        data.reader.read(0)


def test_shards_beside_class_folders_are_not_the_data(tmp_path):
    put(tmp_path / "backup.tar", pairs(0, 2))
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
    data = open_data(tmp_path)
    assert data.kind == "folder"
    assert data.ignored == {".tar": 1}


def described(path, splits):
    """A shard of 12 images, whose `.json` members hold label, name, split and patient."""
    members = []
    for k, split in enumerate(splits):
        told = {"label": k % 2, "class_name": "ba"[k % 2], "split": split, "patient_id": k // 2}
        members += [(f"{k}.jpg", b"x"), (f"{k}.json", json.dumps(told).encode())]
    return put(path, members)


def test_shards_take_splits_groups_and_names_from_json(tmp_path):
    data = open_data(described(tmp_path / "a.tar", ["train"] * 8 + ["val", "test"] * 2))
    assert data.given.tolist() == [0] * 8 + [1, 2] * 2
    assert data.samples.groups.tolist() == [k // 2 for k in range(12)]
    assert data.samples.class_names == ("a", "b")
    assert data.samples.labels.tolist() == [1, 0] * 6


def test_shards_named_by_split_come_before_splits_in_json(tmp_path):
    described(tmp_path / "train-0.tar", ["train"] * 10 + ["val"] * 2)
    described(tmp_path / "test-0.tar", ["test"] * 12)
    data = open_data(tmp_path)
    assert sorted(data.given.tolist()) == [0] * 12 + [2] * 12
    assert any("the names of the shards say another split of 2 rows" in n for n in data.notes)


def test_shards_of_several_labels_have_groups(tmp_path):
    members = []
    for k in range(12):
        told = {"labels": ["a", f"b{k // 3}"], "patient_id": k // 2}
        members += [(f"{k}.jpg", b"x"), (f"{k}.json", json.dumps(told).encode())]
    data = open_data(put(tmp_path / "a.tar", members))
    assert data.samples.groups.tolist() == [k // 2 for k in range(12)]
