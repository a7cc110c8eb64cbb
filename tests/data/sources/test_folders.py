"""Class folders on a real disk: what is a class, what is passed over, and odd names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError, UsageError

LOOSE = (
    "put the images of each class in a folder of its own, list them in a .csv, or say where the "
    "class is in their names: data.label_pattern=REGEX"
)


def put(folder, *names, color=0):
    """Small PNG files, one for each name, below `folder`."""
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            Image.new("L", (3, 2), color).save(file, "PNG")


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def test_folders_give_classes_ids_and_bytes(tmp_path):
    put(tmp_path / "photos", "dog/b.png", "cat/a.PNG", "cat/young/deep/c.jpg", "dog/.hidden.png")
    (tmp_path / "photos" / ".git").mkdir()
    put(tmp_path / "photos" / ".git", "x.png")
    data = open_data(tmp_path / "photos")
    assert (data.name, data.kind, data.given) == ("photos", "folder", None)
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.ids.tolist() == ["cat/a.PNG", "cat/young/deep/c.jpg", "dog/b.png"]
    assert data.samples.labels.tolist() == [0, 0, 1]
    assert data.reader.read(1) == (tmp_path / "photos/cat/young/deep/c.jpg").read_bytes()
    assert data.notes == ()


def test_folders_sort_numbers_as_numbers(tmp_path):
    put(tmp_path, *(f"{k}/x.png" for k in (10, 9, 2, 0)))
    assert open_data(tmp_path).samples.class_names == ("0", "2", "9", "10")


def test_folders_count_what_they_pass_over_by_ending(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    for name in ("a/1.txt", "a/2.TXT", "b/draw.svg", "b/README"):
        (tmp_path / name).write_text("x")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    data = open_data(tmp_path)
    assert data.ignored == {".txt": 2, ".svg": 1, "without ending": 1, "special files": 1}
    assert len(data.samples) == 2


@pytest.mark.parametrize("words", [("train", "val", "test"), ("Training", "VALID", "testing")])
def test_folders_take_splits_as_given(tmp_path, words):
    for word in words:
        put(tmp_path / word, "cat/1.png", "dog/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    found = {
        str(i).split("/")[0]: int(g) for i, g in zip(data.samples.ids, data.given, strict=True)
    }
    assert found == {words[0]: 0, words[1]: 1, words[2]: 2}


def test_folders_align_classes_by_name_when_val_lacks_one(tmp_path):
    put(tmp_path, "train/ant/1.png", "train/bee/1.png", "train/cow/1.png", "val/cow/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("ant", "bee", "cow")
    assert data.samples.labels.tolist() == [0, 1, 2, 2]
    assert data.notes == ("val has no image of 'ant', 'bee'",)


def test_folders_refuse_a_class_that_train_lacks(tmp_path):
    put(tmp_path, "train/ant/1.png", "train/bee/1.png", "test/zebra/1.png")
    (tmp_path / "train" / "zebra").mkdir()
    error = fail(tmp_path)
    assert isinstance(error, DataError)
    assert error.message == "test has a class that train lacks: 'zebra'"
    assert error.hint == "add training images of it, or take it out of test"


def test_folders_take_train_as_a_class_among_vehicles(tmp_path):
    put(tmp_path, "train/1.png", "bus/1.png", "car/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("bus", "car", "train")
    assert data.given is None


def test_folders_with_train_alone_leave_the_split_open(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    assert data.given is None


def test_folders_say_what_they_do_not_use(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "train/stray.png", "val/cat/1.png")
    put(tmp_path, "val/dog/1.png", "extra/x.png", "loose.png")
    (tmp_path / "train" / "empty").mkdir()
    assert open_data(tmp_path).notes == (
        "beside 'train', 'val', folders are not used: 'extra'",
        "1 image in train/ outside any class folder",
        "'train/empty' holds no images",
        "1 image outside any class folder, not used",
    )


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([], "{path} is empty", "give a folder that holds one folder of images per class"),
        (["a.png", "b.png"], "{path} holds 2 images but no class folders",
         LOOSE),
        (["a.png", "labels.csv"], "{path} holds 1 image but no class folders",
         "did you mean '{path}/labels.csv'?"),
        (["labels.csv"], "{path} holds no images (passed over: 1 .csv)",
         "did you mean '{path}/labels.csv'?"),
        (["images/1.png", "a.parquet", "b.npz"], "{path} has only one class folder, 'images'",
         "did you mean '{path}/a.parquet', '{path}/b.npz'?"),
        (["a/b.txt", "c/d.svg"], "{path} holds no images (passed over: 1 .svg, 1 .txt)",
         "give a folder that holds one folder of images per class"),
        (["val/a/1.png", "test/a/1.png"], "{path} has 'test', 'val' and no train folder",
         "name the folder of training images 'train'"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"],
         "{path} has several folders for val: 'val', 'valid'", "keep one of them"),
        (["train/cat.1.png", "train/dog.1.png", "test1/1.png", "sample_submission.csv"],
         "{path} holds 2 images in 'train/' but no class folders",
         LOOSE),
        (["a.zip"], "{path} holds no images (passed over: 1 .zip)",
         "give the archive itself: {path}/a.zip"),
        (["a.zip", "b.tar.gz"], "{path} holds no images (passed over: 1 .gz, 1 .zip)",
         "unpack 'a.zip', 'b.tar.gz' and give the folder, or give one of them"),
    ],
)  # fmt: skip
def test_folders_refuse_with_one_thing_to_do(tmp_path, files, message, hint):
    path = tmp_path / "here"
    path.mkdir()
    put(path, *(name for name in files if name.endswith(".png")))
    for name in files:
        if not name.endswith(".png"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("x")
    error = fail(path)
    assert isinstance(error, DataError)
    assert (error.message, error.hint) == (message.format(path=path), hint.format(path=path))


def test_folders_name_a_folder_that_cannot_be_read(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    inner = os.open(tmp_path / "a", os.O_DIRECTORY)
    for _ in range(40):  # deeper than a path may be long
        os.mkdir("d" * 200, dir_fd=inner)
        deeper = os.open("d" * 200, os.O_DIRECTORY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    error = fail(tmp_path)
    assert isinstance(error, DataError)
    shutil.rmtree(tmp_path / "a")
    assert error.message.endswith("can't be read: File name too long")


def test_folders_keep_a_link_to_itself_as_an_image_that_fails_to_read(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "self.png").symlink_to(tmp_path / "a" / "self.png")
    data = open_data(tmp_path)
    with pytest.raises(ImageError, match="symbolic links"):
        data.reader.read(data.samples.ids.tolist().index("a/self.png"))


def test_folders_follow_links_and_survive_loops(tmp_path):
    root = tmp_path / "root"
    put(tmp_path / "elsewhere", "far/1.png", "far/2.png")
    put(root, "cat/1.png", "dog/1.png")
    (root / "cat" / "linked").symlink_to(tmp_path / "elsewhere" / "far")
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "up").symlink_to(root)
    (root / "again").symlink_to(root)
    (root / "dog" / "first.png").symlink_to(root / "cat" / "1.png")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (tmp_path / "elsewhere" / "far" / "self").symlink_to(tmp_path / "elsewhere")
    data = open_data(root)
    assert data.samples.class_names == ("bird", "cat", "dog")
    assert data.samples.ids.tolist() == [
        *("bird/far/1.png", "bird/far/2.png", "cat/1.png"),
        *("cat/linked/1.png", "cat/linked/2.png", "dog/1.png", "dog/first.png"),
    ]


def test_folders_keep_a_broken_link_as_an_image_that_fails_to_read(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere")
    data = open_data(tmp_path)
    with pytest.raises(ImageError, match="there is no such file"):
        data.reader.read(data.samples.ids.tolist().index("a/gone.png"))


def test_folders_take_odd_names_as_data(tmp_path):
    names = ["-rf/-x.png", "two\nlines/a\nb.png", "ünï/日本.png", "a b/c'd\".png", "%41/%.png"]
    put(tmp_path, *names)
    data = open_data(tmp_path)
    assert sorted(data.samples.ids.tolist()) == sorted(names)
    for row in range(len(names)):
        assert data.reader.read(row)[:4] == b"\x89PNG"


def test_folders_escape_names_that_are_not_unicode(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    odd = os.fsencode(tmp_path) + b"/cl\xff/im\xfe\xe4.png"
    Path(os.fsdecode(odd)).parent.mkdir()
    Path(os.fsdecode(odd)).write_bytes(b"any bytes")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "cl%FF", "dog")
    assert data.samples.ids.tolist() == ["cat/1.png", "cl%FF/im%FE%E4.png", "dog/1.png"]
    assert data.reader.read(1) == b"any bytes"
    assert data.reader.read(2) == (tmp_path / "dog/1.png").read_bytes()
    data.samples.fingerprint()


def test_folders_take_class_names_as_order_and_refuse_missing_ones(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    assert open_data(tmp_path, class_names=("dog", "cat")).samples.labels.tolist() == [1, 0]
    error = fail(tmp_path, class_names=("dog", "bird"))
    assert isinstance(error, UsageError)
    assert error.message == "data.class_names lacks 'cat', found in the data"
    assert fail(tmp_path, class_names=("a", "b", "a")).message == (
        "data.class_names holds a name twice: 'a'"
    )


def test_folders_stamp_follows_the_files(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    first = open_data(tmp_path).stamp
    assert open_data(tmp_path).stamp == first
    put(tmp_path, "dog/1.png", color=9)
    second = open_data(tmp_path).stamp
    assert second != first
    (tmp_path / "dog/1.png").rename(tmp_path / "dog/2.png")
    assert open_data(tmp_path).stamp not in (first, second)


def test_folders_write_nothing(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    before = sorted(tmp_path.rglob("*"))
    open_data(tmp_path).reader.read(0)
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_read_the_tuxpaint_stamps():
    path = Path("/usr/share/tuxpaint/stamps")
    if not path.is_dir():
        pytest.skip("tuxpaint-stamps-default is not installed")
    data = open_data(path)
    # A class for each folder; the version of the package decides how many there are.
    assert len(data.samples.class_names) == sum(1 for each in path.iterdir() if each.is_dir())
    assert data.samples.class_names[0] == "animals"
    assert len(data.samples) == sum(1 for _ in path.rglob("*.png"))
    assert data.ignored[".svg"] == sum(1 for _ in path.rglob("*.svg"))
    assert data.samples.class_counts()[data.samples.class_names.index("naturalforces")] == 3


def test_folders_index_fifty_thousand_files_in_little_memory(tmp_path):
    for part in range(10):
        (tmp_path / f"class-{part}").mkdir()
    for k in range(50_000):
        name = f"class-{k % 10}/a-rather-long-name-of-a-photo-{k:08d}.jpg"
        os.close(os.open(tmp_path / name, os.O_CREAT))
    script = (
        "import resource, sys\n"
        "from torchloupe.data.sources.folders import open_folder\n"
        "from pathlib import Path\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "data = open_folder(Path(sys.argv[1]))\n"
        "print(len(data.samples), peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    count, kilobytes = map(int, done.stdout.split())
    assert count == 50_000
    assert kilobytes * 1024 / count < 600  # bytes a file at the peak, chunk included


def test_folders_reader_refuses_what_became_no_file(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    data = open_data(tmp_path)
    (tmp_path / "a/1.png").unlink()
    os.mkfifo(tmp_path / "a/1.png")
    with pytest.raises(ImageError, match="not a regular file"):
        data.reader.read(0)  # and does not wait for a writer
    (tmp_path / "b/1.png").unlink()
    with (tmp_path / "b/1.png").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageError, match="1 TB is too large for an image"):
        data.reader.read(1)


def test_folders_labels_are_int64_numbers(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    assert open_data(tmp_path).samples.labels.dtype == np.int64


def test_folders_know_images_without_ending_by_their_content(tmp_path):
    put(tmp_path, "cat/0001", "cat/scan.0042", "dog/b.png")
    (tmp_path / "dog" / "README").write_text("about these")
    data = open_data(tmp_path)
    assert data.samples.ids.tolist() == ["cat/0001", "cat/scan.0042", "dog/b.png"]
    assert data.ignored == {"without ending": 1}
    assert data.reader.read(0).startswith(b"\x89PNG")
