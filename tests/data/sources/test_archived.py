"""Archives of any layout: images are read in them, nothing is written elsewhere, caps hold."""

import io
import json
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import labels, plant, write

from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources import archived, open_data
from torchloupe.data.sources.archived import Skeleton, is_shard, name_archive, safe_name
from torchloupe.errors import DataError, LoupeError, ResourceError


def encode(value):
    buffer = io.BytesIO()
    Image.new("L", (6, 6), value).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = {
    f"{name}/{k}.png": encode(20 * k + len(name)) for name in ("cat", "horse") for k in (1, 2)
}


def pack(path, members):
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name, content)
        return path
    mode = {".tar": "w", ".tgz": "w:gz", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    with tarfile.open(path, mode[path.suffix]) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


ENDINGS = [".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("above", ["", "photos/", "a/photos/"])
def test_archives_of_class_folders_are_read_in_place(tmp_path, ending, above):
    members = {above + name: content for name, content in IMAGES.items()}
    path = pack(tmp_path / f"pets{ending}", {**members, "__MACOSX/._x": b"", ".DS_Store": b""})
    before = names_in(tmp_path)
    data = open_data(path)
    assert (data.name, data.kind) == ("pets", "folder")
    assert data.samples.class_names == ("cat", "horse")
    assert data.samples.ids.tolist() == list(IMAGES)
    assert [data.reader.read(row) for row in range(4)] == list(IMAGES.values())
    is_compressed = ending not in (".zip", ".tar")
    note = f"{path} is decompressed again for each run; a .zip or a folder avoids that"
    assert data.notes == ((note,) if is_compressed else ())
    assert open_data(path).stamp == data.stamp
    assert names_in(tmp_path) == before
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(data.reader.read, [3, 0] * 20)) == [
            list(IMAGES.values())[row] for row in [3, 0] * 20
        ]


def test_archives_of_splits(tmp_path):
    members = {f"{part}/{n}": c for part in ("train", "val") for n, c in IMAGES.items()}
    data = open_data(pack(tmp_path / "a.zip", members))
    assert data.given.tolist() == [0] * 4 + [1] * 4


def test_archives_of_tables(tmp_path):
    table = "image,label\ncat/1.png,a\nhorse/1.png,b\n../x.png,a\n/etc/hostname,b\ncat/2.png,a\n"
    members = {**{f"set/{name}": c for name, c in IMAGES.items()}, "set/labels.csv": table}
    path = tmp_path / "a.zip"
    pack(path, members)
    skeleton = Skeleton(path)
    data = skeleton.adopt(open_data(skeleton.folder / "set" / "labels.csv"))
    assert data.reader.read(0) == IMAGES["cat/1.png"]
    assert data.reader.read(4) == IMAGES["cat/2.png"]
    for row in (2, 3):  # paths that lead out of the archive
        with pytest.raises(ImageError, match="there is no such file in the archive"):
            data.reader.read(row)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_archives_of_arrays(tmp_path, ending):
    arrays = io.BytesIO()
    np.save(arrays, np.arange(96, dtype=np.uint8).reshape(6, 4, 4))
    labels = io.BytesIO()
    np.save(labels, np.array([0, 1, 2, 0, 1, 2]))
    members = {"set/images.npy": arrays.getvalue(), "set/labels.npy": labels.getvalue()}
    data = open_data(pack(tmp_path / f"a{ending}", members))
    assert (data.name, data.kind) == ("a", "arrays")
    assert data.reader.read(5)[3, 3, 0] == 95


def test_archives_say_their_own_name_in_errors(tmp_path):
    path = pack(tmp_path / "a.zip", {"notes/readme.md": b"x"})
    error = fail(path)
    assert error.message == f"{path} holds no images (passed over: 1 .md)"
    assert error.hint == "give a folder that holds one folder of images per class"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz", "a.tgz"])
def test_archives_that_are_damaged_are_named(tmp_path, name):
    path = tmp_path / name
    for content in (b"", b"no archive", b"\x1f\x8bxxxxxxxx", b"PK\x03\x04xxxxxxxxx"):
        path.write_bytes(content)
        error = fail(path)
        assert isinstance(error, DataError)
        assert error.message.startswith(f"{path} can't be read as an archive: ")
        assert error.hint == "fetch the file again"


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_archives_that_are_cut_are_named(tmp_path, ending):
    noise = np.random.default_rng(0).bytes(30_000)
    whole = pack(tmp_path / f"a{ending}", {**IMAGES, "cat/9.png": noise}).read_bytes()
    path = tmp_path / f"b{ending}"
    path.write_bytes(whole[:-12_000])
    assert fail(path).message.startswith(f"{path} can't be read as ")


def test_archives_find_a_damaged_member(tmp_path):
    path = pack(tmp_path / "a.zip", IMAGES)
    content = bytearray(path.read_bytes())
    at = content.index(b"horse/2.png") + 40
    content[at] ^= 1
    path.write_bytes(content)
    data = open_data(path)
    assert data.reader.read(0) == IMAGES["cat/1.png"]
    with pytest.raises(ImageError, match="the archive is damaged there"):
        data.reader.read(3)


HOSTILE = [
    "../out.csv",
    "/out.csv",
    "a/../../out.csv",
    "..\\out.csv",
    "C:/out.csv",
    "x" * 300 + ".csv",
]


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_archives_write_nothing_outside(tmp_path, ending):
    inner = tmp_path / "in"
    inner.mkdir()
    members = {**IMAGES, **dict.fromkeys(HOSTILE, b"image,label\n")}
    path = pack(inner / f"a{ending}", members)
    data = open_data(path)
    assert data.notes[-1] == f"6 members have names in {path} that can't be used"
    assert names_in(tmp_path) == ["in"]
    assert names_in(inner) == [path.name]
    assert len(data.samples) == 4


def test_archives_leave_links_and_devices_out(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for name, content in IMAGES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"cat/link{int(kind)}.png")
            info.type, info.linkname = kind, "/etc/hostname"
            file.addfile(info)
    assert open_data(path).samples.ids.tolist() == list(IMAGES)


def test_archives_with_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archived, "MAX_MEMBERS", 3)
    path = pack(tmp_path / "a.zip", IMAGES)
    error = fail(path)
    assert error.message == f"{path} has more than 3 members"
    assert error.hint == "unpack it and give the folder"


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_archives_that_would_fill_the_disk_are_refused(tmp_path, monkeypatch, ending):
    path = pack(tmp_path / f"a{ending}", {**IMAGES, "big.csv": bytes(10**6)})
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    error = fail(path)
    assert isinstance(error, ResourceError)
    assert error.message == f"what {path} holds would fill more than half of the free disk"
    assert error.hint == "unpack it where there is more space and give the folder"


def test_archives_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = pack(tmp_path / "a.tar.gz", IMAGES)
    data = open_data(path)
    assert len(names_in(tmp_path)) == 2
    del data
    assert names_in(tmp_path) == ["a.tar.gz"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b.png", "a/b.png"),
        ("./a//b.png", "a/b.png"),
        ("a\\b.png", "a/b.png"),
        ("../b.png", None),
        ("/b.png", None),
        ("a/../b.png", None),
        ("C:\\b.png", None),
        ("", None),
        ("a\0b", None),
        ("é" * 200, None),
    ],
)
def test_safe_name_leads_nowhere_else(name, safe):
    assert safe_name(name) == safe


def test_name_archive_leaves_endings_out():
    names = ["pets.zip", "pets.tar.gz", "a.b.TGZ", ".zip"]
    assert [name_archive(Path(name)) for name in names] == ["pets", "pets", "a.b", "data"]


def test_tars_of_shards_stay_shards(tmp_path):
    pairs = {"1.png": encode(1), "1.cls": b"0", "2.png": encode(2), "2.cls": b"1"}
    assert is_shard(pack(tmp_path / "a.tar", pairs))
    assert open_data(tmp_path / "a.tar").kind == "shards"
    assert is_shard(pack(tmp_path / "b.tar", {"1.png": encode(1)}))
    assert not is_shard(pack(tmp_path / "c.tar", IMAGES))


def test_archive_in_an_archive_is_opened(tmp_path):
    inner = pack(tmp_path / "inner.zip", IMAGES).read_bytes()
    outer = pack(tmp_path / "photos.tar.gz", {"set/inner.zip": inner})
    data = open_data(outer)
    assert (data.name, data.samples.class_names) == ("photos", ("cat", "horse"))
    assert data.reader.read(0) == IMAGES["cat/1.png"]
    damaged = pack(tmp_path / "damaged.zip", {"inner.zip": inner[:100]})
    error = fail(damaged)
    assert error.message.startswith(f"{damaged}/inner.zip can't be read as an archive")


def test_archives_in_one_another_are_opened_to_a_limit(tmp_path):
    content, path = IMAGES, tmp_path / "set.zip"
    for _ in range(5):
        content = {"inner.zip": pack(path, content).read_bytes()}
    assert "holds no images" in fail(pack(path, content)).message


def test_archives_of_splits_are_joined_and_a_test_without_labels_is_not_used(tmp_path):
    train, val = pack(tmp_path / "train.zip", IMAGES), pack(tmp_path / "val.tar.gz", IMAGES)
    test = pack(tmp_path / "test.zip", {f"{k}.png": encode(k) for k in range(3)})
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 4 + [1] * 4
    assert data.samples.class_names == ("cat", "horse")
    assert str(data.samples.ids[5]).startswith("val/")
    assert data.reader.read(4) == data.reader.read(0) == IMAGES["cat/1.png"]
    assert data.reader.read(7) == IMAGES["horse/2.png"]
    assert any(note.startswith("test.zip is not used: ") for note in data.notes)
    named = open_data((train, val))
    assert named.samples.ids.tolist() == data.samples.ids.tolist()
    with pytest.raises(DataError, match="but no class folders"):
        open_data({"train": train, "test": test})


def test_archives_that_name_no_splits_are_not_joined(tmp_path):
    for name in ("cats.zip", "dogs.zip"):
        pack(tmp_path / name, {f"{k}.png": encode(k) for k in range(3)})
    with pytest.raises(DataError, match="holds no images") as caught:
        open_data(tmp_path)
    assert caught.value.hint.startswith("unpack 'cats.zip', 'dogs.zip'")


@pytest.mark.parametrize("name", ["labels.csv", "metadata.jsonl"])
def test_the_only_table_in_an_archive_is_used(tmp_path, name):
    plant(tmp_path / "set", "images/1.jpg", "images/2.jpg", "images/3.jpg", "images/4.jpg")
    rows = [(f"images/{k}.jpg", "ab"[k % 2]) for k in range(1, 5)]
    lines = ["image,label", *map(",".join, rows)]
    if name.endswith("l"):
        lines = [json.dumps({"image": image, "label": label}) for image, label in rows]
    write(tmp_path / "set", name, *lines)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for path in sorted((tmp_path / "set").rglob("*.*")):
            file.write(path, f"archive/{path.relative_to(tmp_path / 'set')}")
    data = open_data(tmp_path / "set.zip")
    assert labels(data) == ["b", "a", "b", "a"]
    assert data.notes[0] == f"the labels are those in {name}, the only table in the archive"


def test_tars_of_folders_with_labels_in_json_are_shards(tmp_path):
    members = {}
    for k in range(6):
        members[f"{k // 3:03d}/{k}.png"] = encode(k)
        members[f"{k // 3:03d}/{k}.json"] = b'{"label": "%d"}' % (k % 2)
    members["labels.json"] = b'{"labels": ["a", "b"]}'
    assert open_data(pack(tmp_path / "a.tar", members)).samples.labels.tolist() == [0, 1] * 3
    with pytest.raises(DataError) as caught:
        open_data(pack(tmp_path / "b.tar.gz", members))
    assert caught.value.message == (
        f"{tmp_path}/b.tar.gz is a compressed shard: labels are in it, such as 000/0.json"
    )


def test_tars_of_class_folders_with_other_json_stay_archives(tmp_path):
    members = {f"{name}/{k}.png": encode(k) for k in range(3) for name in ("cat", "dog")}
    members |= {f"{name[:-4]}.json": b'{"author": "x"}' for name in list(members)}
    members["info.json"] = b'{"labels": ["cat", "dog"]}'
    assert open_data(pack(tmp_path / "a.tar", members)).samples.class_names == ("cat", "dog")
