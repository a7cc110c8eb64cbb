"""What a resume says of settings and data that are not those the run was started with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchloupe.config.schema import Config
from torchloupe.config.text import change as change_settings
from torchloupe.data.samples import Samples, make_ids
from torchloupe.errors import CheckpointError, DataError, UsageError
from torchloupe.run.data_record import DataRecord
from torchloupe.run.events import read_events
from torchloupe.system.user_code import PYTHON_OBJECT
from torchloupe.train.changes import describe_new_run, refuse_fixed_settings
from torchloupe.train.start import resume, train
from torchloupe.trained.run import read_contract

SETTINGS = {
    "model.name": "cnn",
    "train.epochs": 1,
    "train.batch_total": 8,
    "data.val_fraction": 0.2,
    "data.test_fraction": 0.2,
    "augment.policy": "none",
    "data.pack": "memory",
}


def draw(path: Path, seed: int) -> None:
    """A small noisy image."""
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` and the run that was trained on them."""
    home = tmp_path_factory.mktemp("begun")
    for number, name in enumerate(("ant", "bee", "cow")):
        for k in range(10):
            draw(home / "photos" / name / f"{k}.png", 100 * number + k)
    train(home / "photos", SETTINGS, out=home / "run")
    return home


@pytest.fixture
def home(begun: Path, tmp_path: Path) -> Path:
    """A copy of that folder to spoil; the run looks for its photos there."""
    shutil.copytree(begun, tmp_path / "home", symlinks=True)
    config = tmp_path / "home" / "run" / "config.json"
    config.write_text(config.read_text().replace(str(begun), str(tmp_path / "home")))
    return tmp_path / "home"


def notes_of(run: Path) -> list[str]:
    """The remarks in the log of a run."""
    return [event["note"] for event in read_events(run) if "note" in event]


def test_finished_run_says_so_and_fewer_epochs_are_refused(home: Path) -> None:
    resume(home / "run")
    assert any(n.startswith("the run is finished, at epoch 1,") for n in notes_of(home / "run"))
    before = (home / "run" / "config.json").read_bytes()
    with pytest.raises(UsageError, match=r"already at epoch 1 of 1, and 0\.5 were asked for"):
        resume(home / "run", settings={"train.epochs": 0.5})
    assert (home / "run" / "config.json").read_bytes() == before
    assert resume(home / "run", settings={"train.epochs": 2}).step > 3


def test_run_that_stopped_early_goes_on_once_patience_is_changed(
    begun: Path, tmp_path: Path
) -> None:
    quick = {**SETTINGS, "train.epochs": 9, "train.patience": 1, "optimizer.lr": 1e-12}
    run = train(begun / "photos", quick, out=tmp_path / "run")
    assert any("has not improved on" in note for note in notes_of(tmp_path / "run"))
    assert resume(tmp_path / "run", settings={"train.epochs": 10}).step == run.step
    assert any("the run stopped early at epoch 2" in note for note in notes_of(tmp_path / "run"))
    patient = {"train.epochs": 3, "train.patience": 0}
    assert resume(tmp_path / "run", settings=patient).step == run.step // 2 * 3


def add(photos: Path) -> None:
    draw(photos / "ant" / "new-1.png", 1001)
    draw(photos / "ant" / "new-2.png", 1002)


def remove(photos: Path) -> None:
    (photos / "bee" / "3.png").unlink()


def edit(photos: Path) -> None:
    draw(photos / "cow" / "4.png", 1003)


def rename(photos: Path) -> None:
    (photos / "bee").rename(photos / "wasp")


def add_class(photos: Path) -> None:
    draw(photos / "dog" / "1.png", 1004)
    draw(photos / "dog" / "2.png", 1005)


def all_of_it(photos: Path) -> None:
    for change in (add, remove, edit, rename):
        change(photos)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add, "2 images added"),
        (remove, "1 image removed"),
        (edit, "1 image edited"),
        (rename, "1 class renamed (bee to wasp)"),
        (add_class, "2 images added, 1 class new (dog)"),
        (
            all_of_it,
            "11 images added, 10 images removed, 1 image edited, "
            "1 class new (wasp), 1 class missing (bee)",
        ),
    ],
)
def test_resume_refuses_changed_data_with_a_count_of_each(home, change, said):
    change(home / "photos")
    with pytest.raises(DataError) as caught:
        resume(home / "run", settings={"train.epochs": 2})
    assert caught.value.message == (
        f"the data of {home / 'run'} changed since the run was started: {said}"
    )
    if change in (add, remove, edit):
        wanted = "restore the data, or say --accept-new-data"
    else:  # accepting them can't give the model an output for a new class
        wanted = f"restore the data, or train a new run: loupe train {home / 'photos'} --model cnn"
    assert caught.value.hint == wanted


@pytest.mark.parametrize("change", [add, remove, edit])
def test_accepted_data_are_recorded_and_then_known(home, change):
    change(home / "photos")
    resume(home / "run", settings={"train.epochs": 2}, accept_new_data=True)
    assert sum(note.startswith("new data accepted: ") for note in notes_of(home / "run")) == 1
    resume(home / "run", settings={"train.epochs": 3})  # no longer a change
    environment = json.loads((home / "run" / "environment.json").read_text())
    count = sum(1 for _ in (home / "photos").rglob("*.png"))
    assert environment["data"]["images"] == count


def test_accepted_data_are_seen_by_the_contract_of_the_run(home):
    before = read_contract(home / "run")
    for k in range(10):
        path = home / "photos" / "ant" / f"{k}.png"
        Image.new("RGB", (40, 30), "white").save(path)
    run = resume(home / "run", settings={"train.epochs": 2}, accept_new_data=True)
    assert run.contract == read_contract(home / "run")
    assert (
        replace(run.contract, temperature=before.temperature) == before
    )  # fitted again at the end


def test_a_renamed_class_can_not_be_accepted_since_the_model_does_not_know_it(home):
    rename(home / "photos")
    with pytest.raises(DataError) as caught:
        resume(home / "run", accept_new_data=True)
    assert caught.value.message == (
        f"the data of {home / 'run'} have other classes than its model, which no resume can "
        "change: 1 class new ('wasp'), 1 class missing ('bee')"
    )
    assert caught.value.hint == (
        "put the classes back as they were, or train a new run: "
        f"loupe train {home / 'photos'} --model cnn"
    )


def test_a_lost_class_can_not_be_accepted_and_is_not_offered_to_be(home):
    shutil.rmtree(home / "photos" / "cow")
    with pytest.raises(DataError) as caught:
        resume(home / "run", settings={"train.epochs": 2})
    assert caught.value.message.endswith("10 images removed, 1 class missing (cow)")
    assert "--accept-new-data" not in caught.value.hint
    with pytest.raises(DataError) as caught:
        resume(home / "run", settings={"train.epochs": 2}, accept_new_data=True)
    assert caught.value.message.endswith("change: 1 class missing ('cow')")


def test_a_new_run_begins_from_the_weights_of_a_pretrained_one():
    settings = {"data.source": "my photos", "model.name": "timm:resnet18"}
    config = change_settings(Config(), {**settings, "train.strategy": "finetune"})
    assert describe_new_run(Path("runs/photos-001"), config) == (
        "train a new run from these weights: loupe train 'my photos' --model timm:resnet18 "
        "--weights runs/photos-001/best/model.safetensors"
    )
    own = change_settings(Config(), dict.fromkeys(("data.source", "model.name"), PYTHON_OBJECT))
    assert describe_new_run(Path("run"), own) == "train a new run: loupe train DATA"


def test_unchanged_data_are_taken_up_without_a_word(home):
    resume(home / "run", settings={"train.epochs": 2})
    assert not [note for note in notes_of(home / "run") if "data accepted" in note]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"train.seed": 1}, "train.seed (was 0, now 1)"),
        ({"data.size": "24"}, "data.size (was auto, now 24)"),
        ({"data.val_fraction": 0.3}, "data.val_fraction (was 0.2, now 0.3)"),
        ({"optimizer.name": "sgd"}, "optimizer.name (was"),
        ({"train.average": 0.9}, "train.average (was 0.0, now 0.9)"),
    ],
)
def test_settings_that_a_begun_run_can_not_change_are_refused(begun, typed, said):
    with pytest.raises(UsageError) as caught:
        resume(begun / "run", settings=typed)
    assert said in caught.value.message


def test_settings_changed_on_resume_are_noted_and_have_their_effect(home):
    resume(
        home / "run",
        settings={"train.epochs": 2, "optimizer.lr": 0.0625, "schedule.name": "constant"},
    )
    notes = notes_of(home / "run")
    assert [
        note for note in notes if note.startswith("from here on optimizer.lr is 0.0625; it was")
    ]
    settings = json.loads((home / "run" / "config.json").read_text())["settings"]
    assert settings["optimizer.lr"] == {"value": 0.0625, "source": "typed"}
    assert settings["train.batch_total"]["source"] == "typed"  # typed when the run was started
    rates = [event["lr"] for event in read_events(home / "run") if "lr" in event]
    assert rates[0] != 0.0625
    assert rates[-1] == 0.0625


def test_resume_on_another_machine_says_that_bits_may_differ(home):
    path = home / "run" / "environment.json"
    environment = json.loads(path.read_text())
    environment["hardware"]["threads"] += 3
    path.write_text(json.dumps(environment))
    resume(home / "run", settings={"train.epochs": 2})
    assert [
        note for note in notes_of(home / "run") if "bits may differ" in note and "threads" in note
    ]


@pytest.mark.parametrize("name", ["contract.json", "data.npz", "environment.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe nonsense"])
def test_partial_run_folder_is_refused_by_the_name_of_the_file(home, name, content):
    path = home / "run" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    if (name, content) == ("environment.json", b"{}"):
        resume(home / "run", settings={"train.epochs": 2})
        return
    with pytest.raises(CheckpointError) as caught:
        resume(home / "run", settings={"train.epochs": 2})
    assert name in caught.value.message
    assert caught.value.hint


def test_run_killed_before_its_first_checkpoint_begins_again(home, tmp_path):
    whole = train(home / "photos", SETTINGS, out=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed", symlinks=True)
    shutil.rmtree(tmp_path / "killed" / "checkpoints")
    for name in ("best", "last", "metrics.json", "predictions.parquet"):
        (tmp_path / "killed" / name).unlink()
    again = resume(tmp_path / "killed")
    assert again.metrics["test"] == whole.metrics["test"]
    assert "there is no checkpoint yet: the run begins again" in notes_of(tmp_path / "killed")
    steps = [event["step"] for event in again.events if "train_loss" in event]
    assert steps == sorted(set(steps))


def record(ids, labels, content, class_names=("a", "b")):
    samples = Samples(make_ids(ids), np.array(labels), class_names)
    return DataRecord.of(samples, np.array(content, dtype=np.uint64))


def test_record_is_the_same_in_any_order_of_the_samples_and_classes():
    one = record(["x", "y", "z"], [0, 1, 0], [1, 2, 3])
    assert not one.compare(record(["z", "x", "y"], [0, 0, 1], [3, 1, 2]))
    assert not one.compare(record(["x", "y", "z"], [1, 0, 1], [1, 2, 3], ("b", "a")))
    assert one.compare(record(["x", "y", "z"], [1, 1, 0], [1, 2, 3])).relabelled == 1


def test_record_read_back_is_the_one_written(tmp_path):
    one = record(["x", "y"], [0, 1], [2**64 - 1, 2], ("a\n", "猫"))
    one.write(tmp_path / "data.npz")
    back = DataRecord.read(tmp_path / "data.npz")
    assert not one.compare(back)
    assert back.class_names == ("a\n", "猫")


def test_record_with_objects_in_it_is_refused_and_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.mkdir, (tmp_path / "pwned",))

    names = np.array([Evil()], dtype=object)
    np.savez(tmp_path / "data.npz", class_names=names, ids=names, labels=names, content=names)
    with pytest.raises(CheckpointError, match="can't be read"):
        DataRecord.read(tmp_path / "data.npz")
    assert not (tmp_path / "pwned").exists()


def test_run_lists_all_images_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for row in range(40):
        path = tmp_path / "photos" / "ab"[row % 2] / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (8, 8), np.uint8)).save(path)
    for row in range(12):
        (tmp_path / "photos" / "a" / f"x{row:02}.png").write_bytes(b"")
    (tmp_path / "photos" / "b" / "y.png").write_bytes(b"no image")
    settings = {**SETTINGS, "data.size": "8", "hardware.device": "cpu"}
    with pytest.raises(DataError) as caught:
        train("photos", settings)
    listed = tmp_path / "runs" / "photos-001" / "set-aside.csv"
    assert "13 images of 53 can't be read, more than 1.0% (12 empty, 1 not an image): " in (
        caught.value.message
    )
    assert caught.value.hint == (
        f"{listed.relative_to(tmp_path)} lists them; repair or remove them, or allow more with "
        "--set data.bad_fraction=0.25"
    )
    above = listed.read_text()
    assert len(above.splitlines()) == 14
    assert above.splitlines()[1] == "a/x00.png,empty file (0 bytes),empty"
    settings["data.bad_fraction"] = 0.25
    run = train("photos", settings)
    assert (run.folder / "set-aside.csv").read_text() == above
    assert run.folder == listed.parent.relative_to(tmp_path)
    notes = [event["note"] for event in run.events if "note" in event]
    assert "set aside: 13 images in total (12 empty, 1 not an image)" in notes


@pytest.mark.parametrize(
    ("name", "value", "was"),
    [("data.copies", "once", "keep"), ("data.label_separator", ",", "auto")],
)
def test_changes_refuse_settings_that_decided_the_images_and_labels(name, value, was):
    with pytest.raises(UsageError) as caught:
        refuse_fixed_settings(Config(), change_settings(Config(), {name: value}))
    assert caught.value.message == (f"a started run can't change {name} (was {was}, now {value})")
