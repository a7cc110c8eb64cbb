"""Files that tables list: ids without ending, folders beside, backslashes, paths of elsewhere."""

import pytest
from trees import fail, ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, UsageError


def table(folder, *names, header="image,label", name="labels.csv"):
    lines = [f"{text},{'ab'[k % 2]}" for k, text in enumerate(names)]
    return write(folder, name, header, *lines)


def test_ids_without_ending_are_found_in_a_folder_beside(tmp_path):
    plant(tmp_path, "train/000bec.jpg", "train/00.1.jpg", "test/1.jpg")
    path = table(tmp_path, "000bec", "00.1", header="id,breed")
    data = open_data(path)
    assert ids(data) == ["train/000bec.jpg", "train/00.1.jpg"]
    assert data.reader.read(0) == (tmp_path / "train/000bec.jpg").read_bytes()
    assert data.notes == (
        f"files of {path} were found as 'train/*.jpg'",
        f"the images in test/ are not listed and not used: `loupe predict RUN {tmp_path}/test` "
        "labels them",
    )


def test_names_with_ending_are_found_in_a_folder_below(tmp_path):
    plant(tmp_path, "data/train/train/a.png", "data/train/train/b.png")
    path = table(tmp_path, "a.png", "b.png")
    assert ids(open_data(path)) == ["data/train/train/a.png", "data/train/train/b.png"]


def test_names_may_lie_in_several_folders_where_each_lies_in_one(tmp_path):
    plant(tmp_path, "part_1/a.png", "part_2/b.png")
    path = table(tmp_path, "a", "b", header="image_id,dx")
    data = open_data(path)
    assert ids(data) == ["part_1/a.png", "part_2/b.png"]
    assert data.notes == (f"files of {path} were found as 'part_1/*.png', 'part_2/*.png'",)


def test_names_that_lie_in_two_folders_take_the_one_that_has_all(tmp_path):
    plant(tmp_path, "full/1.png", "full/2.png", "some/1.png")
    assert ids(open_data(table(tmp_path, "1", "2"))) == ["full/1.png", "full/2.png"]


def test_names_that_lie_in_two_folders_take_the_one_the_table_is_named_after(tmp_path):
    plant(tmp_path, "train/1.png", "train/2.png", "test/1.png", "test/2.png")
    path = table(tmp_path, "1", "2", name="train.csv")
    assert ids(open_data(path)) == ["train/1.png", "train/2.png"]


def test_names_that_lie_in_two_folders_take_the_one_of_their_split(tmp_path):
    plant(tmp_path, "train/1.png", "train/2.png", "val/1.png", "val/2.png")
    rows = ["1.png,a,train", "2.png,b,train", "1.png,a,val", "2.png,b,val"]
    data = open_data(write(tmp_path, "m.csv", "filename,label,split", *rows))
    assert ids(data) == ["train/1.png", "train/2.png", "val/1.png", "val/2.png"]
    assert data.given.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("files", "places", "hint"),
    [
        (["train/1.png", "train/2.png", "small/1.png", "small/2.png"],
         "'small/*.png', 'train/*.png'", "say which: data.image_folder=train"),
        (["img/1.png", "img/1.jpg", "img/2.png", "img/2.jpg"], "'img/*.jpg', 'img/*.png'",
         "write the ending of each file into the table"),
    ],
)  # fmt: skip
def test_names_that_fit_several_places_are_refused(tmp_path, files, places, hint):
    plant(tmp_path, *files)
    path = table(tmp_path, "1", "2")
    error = fail(path)
    assert isinstance(error, DataError)
    assert error.message == f"{path} lists names that fit files in several places: {places}"
    assert error.hint == hint


@pytest.mark.parametrize("typed", ["small", "./small", "{folder}/small"])
def test_image_folder_says_where_the_files_are(tmp_path, typed):
    plant(tmp_path, "train/1.png", "train/2.png", "small/1.png", "small/2.png")
    path = table(tmp_path, "1", "2")
    data = open_data(path, image_folder=typed.format(folder=tmp_path))
    assert data.reader.path(0).endswith("small/1.png")
    assert data.reader.read(1) == (tmp_path / "small/2.png").read_bytes()


def test_image_folder_may_be_beside_the_folder_of_the_table(tmp_path):
    plant(tmp_path, "images/1.png", "images/2.png")
    path = table(tmp_path, "1.png", "2.png", name="tables/t.csv")
    data = open_data(path, image_folder="../images")
    assert data.reader.read(0) == (tmp_path / "images/1.png").read_bytes()


def test_image_folder_that_is_not_there_is_refused(tmp_path):
    plant(tmp_path, "images/1.png")
    error = fail(table(tmp_path, "1"), image_folder="imgaes")
    assert isinstance(error, UsageError)
    assert error.message == f"there is no folder imgaes in {tmp_path} (data.image_folder)"
    assert error.hint == "did you mean 'images'?"


def test_image_folder_is_named_where_it_lacks_the_files(tmp_path):
    plant(tmp_path, "images/1.png")
    path = table(tmp_path, "x", "y")
    error = fail(path, image_folder="images")
    assert error.message == f"{path} lists 2 files of 2 that can't be found: 'x', 'y'"
    assert error.hint == f"paths are relative to data.image_folder, {tmp_path}/images"


def test_backslashes_are_read_as_slashes(tmp_path):
    plant(tmp_path, "img/deep/0.png", "img/1.png")
    data = open_data(table(tmp_path, "img\\deep\\0.png", ".\\img\\1.png"))
    assert ids(data) == ["img/deep/0.png", "img/1.png"]
    assert data.notes == ()


def test_a_name_with_a_backslash_in_it_is_taken_as_it_is(tmp_path):
    plant(tmp_path, "a\\b.png", "c.png")
    assert ids(open_data(table(tmp_path, "a\\b.png", "c.png"))) == ["a\\b.png", "c.png"]


@pytest.mark.parametrize("prefix", ["C:\\Users\\me\\set\\", "/kaggle/input/set/", "old/set/"])
def test_paths_of_another_machine_are_found_by_their_end(tmp_path, prefix):
    plant(tmp_path, "img/0.png", "img/1.png")
    sign = "\\" if "\\" in prefix else "/"
    path = table(tmp_path, f"{prefix}img{sign}0.png", f"{prefix}img{sign}1.png")
    data = open_data(path)
    assert ids(data) == ["img/0.png", "img/1.png"]
    assert data.notes == (
        f"2 paths of {path} lead elsewhere; the files were found by the last folders and names of "
        "the paths",
    )


def test_paths_through_another_folder_are_not_found(tmp_path):
    plant(tmp_path, "pics/dog/1.png", "pics/dog/2.png")
    path = table(tmp_path, "images/cat/1.png", "images/cat/2.png")
    assert fail(path).message.startswith(f"{path} lists 2 files of 2 that can't be found")


def test_few_missing_files_are_not_looked_for_elsewhere(tmp_path):
    plant(tmp_path, "0.png", "1.png", "2.png", "old/3.png")
    path = table(tmp_path, "0.png", "1.png", "2.png", "3.png")
    assert open_data(path).notes == (f"{path} lists 1 file of 4 that can't be found: '3.png'",)


def test_names_that_differ_in_case_or_accents_are_found(tmp_path):
    plant(tmp_path, "img/A.JPG", "img/cafe\u0301.png", "img/b.png")
    path = table(tmp_path, "img/a.jpg", "img/caf\u00e9.png", "img/b.png")
    data = open_data(path)
    assert ids(data) == ["img/A.JPG", "img/cafe\u0301.png", "img/b.png"]
    assert data.notes == (
        f"2 paths of {path} and the names of the files differ in case or in how accents are stored",
    )


def test_files_of_runs_and_systems_are_not_found(tmp_path):
    plant(tmp_path, "train/1.png", "train/2.png", "@eaDir/1.png", "runs/x/config.json")
    plant(tmp_path, "runs/x/contract.json", "runs/x/1.png", "__MACOSX/2.png")
    assert ids(open_data(table(tmp_path, "1", "2"))) == ["train/1.png", "train/2.png"]


@pytest.mark.parametrize("above", ["/mnt/disk/set", "C:\\\\data\\\\set", "~/set"])
def test_paths_of_another_machine_are_found_by_names_in_one_folder(tmp_path, above):
    plant(tmp_path, "images/1.png", "images/2.png")
    path = table(tmp_path, f"{above}/1.png", f"{above}/2.png")
    data = open_data(path)
    assert ids(data) == ["images/1.png", "images/2.png"]
    assert data.notes[0].startswith(f"2 paths of {path} lead elsewhere")
    (tmp_path / "images/2.png").unlink()
    assert "can't be found" in fail(path).message


def test_paths_of_another_machine_are_not_found_where_folders_contradict(tmp_path):
    plant(tmp_path, "dog/1.png", "dog/2.png")
    assert "can't be found" in fail(table(tmp_path, "/set/cat/1.png", "/set/cat/2.png")).message
    plant(tmp_path, "images/3.png")
    error = fail(table(tmp_path, "/set/a/3.png", "/set/b/3.png"))
    assert "can't be found" in error.message


def test_addresses_and_packed_images_have_a_next_step(tmp_path):
    table = write(tmp_path, "t.csv", "image,label", "https://example.org/1.jpg,cat")
    assert fail(table).hint == "download the images, and list the files"
    table = write(tmp_path, "t.csv", "image,label", "1.jpg,cat", "2.jpg,dog")
    plant(tmp_path, "train.zip")
    assert fail(table).hint == "unpack 'train.zip' beside it"


def test_images_in_a_folder_beside_that_of_the_table_are_offered(tmp_path):
    plant(tmp_path, "train2017/1.png", "train2017/2.png")
    path = write(tmp_path, "annotations/t.csv", "image,label", "1.png,a", "2.png,b")
    error = fail(path)
    assert error.hint == "say where they are, perhaps data.image_folder=../train2017"
    assert len(open_data(path, image_folder="../train2017").samples) == 2


@pytest.mark.parametrize(
    ("cells", "files", "place"),
    [
        ("t_1.jpg t_2.jpg", "face/t_1_aligned.jpg face/t_2_aligned.jpg", "face/*_aligned.jpg"),
        ("1 2 3", "a/img_1.png a/img_2.png a/img_3.png a/img_13.png", "a/img_*.png"),
        ("a/x.jpg b/x.jpg", "a/x-small.jpg b/x-small.jpg", "a/*-small.jpg', 'b/*-small.jpg"),
    ],
)
def test_names_of_files_may_have_one_text_more_than_all_cells(tmp_path, cells, files, place):
    plant(tmp_path, *files.split())
    data = open_data(table(tmp_path, *cells.split()))
    assert ids(data) == files.split()[: len(data.samples)]
    assert data.notes == (f"files of {tmp_path}/labels.csv were found as '{place}'",)


@pytest.mark.parametrize(
    ("cells", "files"),
    [
        ("x.jpg y.jpg", "x_1.jpg x_2.jpg y_1.jpg y_2.jpg"),  # two texts fit
        ("x.jpg y.jpg", "x_a.jpg y_b.jpg"),  # none fits both
        ("1.jpg 2.jpg", "10.jpg 20.jpg"),  # not set off
        ("x.jpg y.jpg", "x_mask.jpg y_mask.jpg"),
        ("x.jpg y.jpg", "x_a.png y_a.png"),  # other endings
        ("a/x.jpg b/y.jpg", "b/x_a.jpg a/y_a.jpg"),  # in other folders
    ],
)
def test_names_with_texts_that_are_not_certain_are_not_found(tmp_path, cells, files):
    plant(tmp_path, *files.split())
    assert "that can't be found: " in fail(table(tmp_path, *cells.split())).message


@pytest.mark.parametrize("cell", ["{}.jpg", "{}"])
def test_the_folder_called_like_the_label_is_taken(tmp_path, cell):
    plant(tmp_path, *(f"{label}/{k}.jpg" for label in ("cat", "dog") for k in range(3)))
    rows = [f"{cell.format(k)},{label}" for label in ("dog", "cat") for k in range(3)]
    data = open_data(write(tmp_path, "t.csv", "image,label", *rows))
    assert ids(data) == [f"{label}/{k}.jpg" for label in ("dog", "cat") for k in range(3)]


@pytest.mark.parametrize("ending", [".tif", ".ppm", ".JPG"])
def test_images_that_were_converted_are_found(tmp_path, ending):
    plant(tmp_path, "images/1.png", "images/2.png")
    data = open_data(table(tmp_path, f"1{ending}", f"2{ending}"))
    assert ids(data) == ["images/1.png", "images/2.png"]
    assert data.notes == (f"files of {tmp_path}/labels.csv were found as 'images/*.png'",)


@pytest.mark.parametrize("files", ["masks/1.png masks/2.png", "1.png 2.png 1.jpeg 2.jpeg"])
def test_masks_and_several_files_are_not_taken_for_converted_images(tmp_path, files):
    plant(tmp_path, *files.replace(".jpeg", ".jpg").split())
    assert "can't be found" in fail(table(tmp_path, "1.tif", "2.tif")).message


@pytest.mark.parametrize("cell", ['"""a b/{}.png"""', "file:///C:/x/a%20b/{}.png", "'a b/{}.png'"])
def test_quotes_and_addresses_of_files_are_read(tmp_path, cell):
    plant(tmp_path, "a b/1.png", "a b/2.png")
    assert ids(open_data(table(tmp_path, cell.format(1), cell.format(2)))) == [
        "a b/1.png",
        "a b/2.png",
    ]


def test_one_place_of_all_rows_comes_before_folders_called_like_labels(tmp_path):
    names = [f"{label}/{k}.png" for k, label in enumerate(("cat", "dog", "cat", "dog"))]
    plant(tmp_path, *(f"images/{k}.png" for k in range(4)), *(f"cam/{name}" for name in names))
    rows = [f"{k}.png,{label}" for k, label in enumerate(("cat", "dog", "cat", "dog"))]
    data = open_data(write(tmp_path, "t.csv", "image,label", *rows))
    assert ids(data) == [f"images/{k}.png" for k in range(4)]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("im/x1.jpg", "im/X1.jpg", "im/X2.jpg"), ("x1.jpg", "X1.jpg", "x2.jpg")),
        (("im/x1.jpg", "im/X1.jpg", "im/X2.jpg"), ("x1", "X1", "X2")),
        (("img/x1.jpg", "img/X1.jpg", "img/X2.jpg"), ("/h/u/x1.jpg", "/h/u/X1.jpg", "/h/u/x2.jpg")),
        (("im/x1_a.jpg", "im/X1_a.jpg", "im/X2_a.jpg"), ("x1.jpg", "X1.jpg", "X2.jpg")),
        (("cat/1.jpg", "Cat/1.jpg", "Cat/2.jpg"), ("/h/cat/1.jpg", "/h/Cat/1.jpg", "/h/Cat/2.jpg")),
    ],
)
def test_files_written_as_the_cell_go_before_those_that_differ_in_case(tmp_path, files, names):
    plant(tmp_path, *files)
    assert ids(open_data(table(tmp_path, *names))) == list(files)


@pytest.mark.parametrize("start", ["gs://bucket/a b/", "s3://b/", "https://host/x/", "wasb://c@d/"])
def test_addresses_of_files_that_lie_beside_are_found(tmp_path, start):
    plant(tmp_path, "images/1.jpg", "images/2.jpg")
    path = table(tmp_path, f"{start}1.jpg", f"{start}2.jpg", header="path,label")
    assert ids(open_data(path)) == ["images/1.jpg", "images/2.jpg"]
