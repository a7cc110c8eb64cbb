"""Which columns are images and labels: by name, by what they hold, by what is left."""

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.column_names import names_groups
from torchloupe.data.sources.column_roles import plain_name


@pytest.fixture
def folder(tmp_path):
    return plant(tmp_path, "img/0.png", "img/1.png", "img/2.png")


@pytest.mark.parametrize(
    "lines",
    [
        ("id,breed", "0,a", "1,b", "2,a"),
        ("id_code,diagnosis", "0,a", "1,b", "2,a"),
        ("lesion_id,image_id,dx,age", "H1,0,a,3", "H2,1,b,4", "H3,2,a,5"),
        ("Image Index,Finding Labels,Age", "0.png,a,50", "1.png,b,51", "2.png,a,52"),
        ("class id,filepaths,labels", "0,img/0.png,a", "1,img/1.png,b", "0,img/2.png,a"),
        ("Width,ClassId,Path", "3,a,img/0.png", "3,b,img/1.png", "3,a,img/2.png"),
        ("what,where,how", "a,0.png,x", "b,1.png,y", "a,2.png,z"),
        ("case,doctor_says", "0,a", "1,b", "2,a"),
        ("__index_level_0__,case,doctor_says", "0,0,a", "1,1,b", "2,2,a"),
        ("doctor_says,case", "a,0", "b,1", "a,2"),
        (",label", "0.png,a", "1.png,b", "2.png,a"),  # as pandas writes a frame by its index
        (",0", "0.png,a", "1.png,b", "2.png,a"),
        (",label", "0,a", "1,b", "2,a"),
        ("Unnamed: 0.1,Unnamed: 0,image,level", "0,0,0,a", "1,1,1,b", "2,2,2,a"),
        ("'image','label'", "'0.png','a'", "'1.png','b'", "'2.png','a'"),
        (",label,sure", "0.png,a,.5", "1.png,b,.7", "2.png,a,.9"),
        ("img_id,img_file_there,y,where", "7,0.png,a,x.jpg", "8,1.png,b,y.jpg", "9,2.png,a,z.jpg"),
    ],
)
def test_columns_are_found(folder, lines):
    wanted = {"label_column": "what"} if lines[0].startswith("what") else {}
    data = open_data(write(folder, "t.csv", *lines), **wanted)
    assert ids(data) == ["img/0.png", "img/1.png", "img/2.png"]
    assert labels(data) == ["a", "b", "a"]


def test_addresses_are_no_files_where_ids_are(tmp_path):
    plant(tmp_path, "train/0/a/1/0a1c.jpg", "train/0/b/2/0b2d.jpg")
    rows = ("0a1c,https://host.org/a/x.jpg,17", "0b2d,https://host.org/b/y.jpg,90001")
    data = open_data(write(tmp_path, "train.csv", "id,url,landmark_id", *rows))
    assert ids(data) == ["train/0/a/1/0a1c.jpg", "train/0/b/2/0b2d.jpg"]
    assert labels(data) == ["17", "90001"]
    error = fail(write(tmp_path, "only.csv", "url,label", "https://host.org/a/x.jpg,a"))
    assert error.hint == "download the images, and list the files"


def test_columns_of_flags_are_classes_where_each_row_has_one(folder):
    path = write(folder, "t.csv", "image_id,healthy,rust,scab", "0,1,0,0", "1,0,1,0", "2,0.0,0,1.0")
    data = open_data(path)
    assert data.samples.class_names == ("healthy", "rust", "scab")
    assert data.samples.labels.tolist() == [0, 1, 2]
    assert data.notes[0] == "the labels are read from the columns 'healthy', 'rust', 'scab'"


def test_columns_of_flags_are_asked_for_where_a_row_has_several(folder):
    path = write(folder, "t.csv", "image_id,healthy,rust,scab", "0,1,1,0", "1,0,1,0", "2,0,0,1")
    error = fail(path)
    assert error.message == (
        f"{path} has no column that is surely the label: its columns are 'image_id', 'healthy', "
        "'rust', 'scab'"
    )
    assert error.hint == "say which: data.label_column=healthy,rust,scab"
    data = open_data(path, label_column="healthy,rust,scab")
    assert labels(data) == ["healthy+rust", "rust", "scab"]
    assert data.notes[0] == "an image may have several of the 3 labels: this is multi-label"


def test_a_table_without_labels_is_for_predict(folder):
    path = write(folder, "test.csv", "id", "0", "1")
    error = fail(path)
    assert error.message == f"{path} has no column of labels: its columns are 'id'"
    assert error.hint == "to label its images with a trained model: loupe predict RUN FOLDER"


@pytest.mark.parametrize(
    ("column", "plain"),
    [("Finding Labels", "finding_labels"), ("ClassId", "class_id"), (" Unnamed: 0", "unnamed_0")],
)
def test_plain_name(column, plain):
    assert plain_name(column) == plain


@pytest.mark.parametrize(
    ("header", "label", "noted"),
    [
        ("file-name;class-name;split-index", "class-name", "split-index"),
        ("path;is_final_validation;label", "label", "is_final_validation"),
    ],
)
def test_columns_are_known_however_words_are_joined(tmp_path, header, label, noted):
    plant(tmp_path, *(f"{k}.png" for k in range(4)))
    place = header.split(";").index(label)
    rows = [[f"{k}.png", str(k % 2), str(k % 2)] for k in range(4)]
    for row in rows:
        row[place] = "ab"[int(row[place])]
    data = open_data(write(tmp_path, "t.csv", header, *map(";".join, rows)))
    assert data.samples.class_names == ("a", "b")
    assert any(f"column '{noted}' looks like a split column" in note for note in data.notes)


@pytest.mark.parametrize(
    ("column", "is_one"),
    [
        *(
            (name, True)
            for name in ("group", "case", "Patient Number", "pid", "donor_id", "seq_id")
        ),
        *((name, True) for name in ("StudyInstanceUID", "writer_id", "Slide", "mrn", "session")),
        *((name, False) for name in ("label", "id", "user", "location", "case_type", "groups")),
    ],
)
def test_columns_of_groups(column, is_one):
    assert names_groups(plain_name(column)) == is_one
