"""Cells that say yes or no, and label columns of them with cells that say neither."""

from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data

# As CheXpert has them: 1, 0, -1 for uncertain, and nothing where the report says nothing.
HEAD = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Fracture"
ROWS = (
    "CheXpert-small/train/patient1/study1/view1.jpg,Female,68,Frontal,AP,1.0,,",
    "CheXpert-small/train/patient2/study1/view1.jpg,Male,87,Frontal,AP,,-1.0,1.0",
    "CheXpert-small/train/patient3/study1/view1.jpg,Male,22,Lateral,,,1.0,0.0",
)
PICTURES = [f"CheXpert-small/train/patient{k}/study1/view1.jpg" for k in (1, 2, 3)]
COLUMNS = "No Finding,Edema,Fracture"


def test_uncertain_and_empty_labels_are_counted_as_0_and_named(tmp_path):
    plant(tmp_path, *PICTURES)
    path = write(tmp_path, "CheXpert-small/train.csv", HEAD, *ROWS)
    error = fail(path)
    assert "no column that is surely the label" in error.message
    assert error.hint == f"say which: data.label_column={COLUMNS}"
    data = open_data(path, label_column=COLUMNS)
    assert labels(data) == ["No Finding", "Fracture", "Edema"]
    assert data.notes[0] == (
        "1 label of 9 is -1 beside 0 and 1, which may mean uncertain, and counted as 0: write 1, "
        "or take these rows out, to have it otherwise"
    )
    assert data.notes[1] == "4 empty label cells of 9 are counted as 0"


def test_a_folder_of_such_tables_is_one_of_splits(tmp_path):
    plant(tmp_path, *PICTURES, "CheXpert-small/valid/patient9/study1/view1.jpg")
    folder = tmp_path / "CheXpert-small"
    write(folder, "train.csv", HEAD, *ROWS)
    row = "CheXpert-small/valid/patient9/study1/view1.jpg,Male,22,Lateral,,0.0,1.0,0.0"
    write(folder, "valid.csv", HEAD, row)
    assert fail(folder).hint == f"say which: data.label_column={COLUMNS}"
    data = open_data(folder, label_column=COLUMNS)
    assert data.given.tolist() == [0, 0, 0, 1]
    assert labels(data)[3] == "Edema"


def test_minus_one_without_zeros_says_no(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    path = write(tmp_path, "t.csv", "image,hat,tie", "a.png,1,1", "b.png,-1,1")
    data = open_data(path, label_column="hat,tie")
    assert labels(data) == ["hat+tie", "tie"]
    assert not any("-1" in note for note in data.notes)


def test_a_few_empty_cells_are_a_mistake(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(8)))
    rows = [f"{k}.png,1,0" for k in range(7)]
    path = write(tmp_path, "t.csv", "image,hat,tie", *rows, "7.png,,1")
    assert "holds '', not 0 or 1" in fail(path, label_column="hat,tie").message
