"""R20, and that any number of ranks trains the same model on the same samples."""

import json
import signal
import time
from pathlib import Path

import pytest
from children import run_loupe, wait_until
from ranks import MODEL, accuracies, losses, run_ranks, start_ranks, train_words
from runs import is_bit_equal, resume_words
from safetensors.torch import load_file

from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.trained.run import open_run

pytestmark = pytest.mark.long

STEPS = 50
NEAR = 1e-6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, a run of one process in `one`, and of two ranks in `two`."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "model.py").write_text(MODEL)
    code, said = run_loupe(train_words(folder / "one", folder / "model.py"), folder / "one.txt")
    assert code == 0, said
    codes, texts = run_ranks(train_words(folder / "two", folder / "model.py"), folder)
    assert codes == [0, 0], texts
    return folder


def gap(one: Path, other: Path) -> float:
    """The largest difference of a step's loss."""
    first, second = losses(one), losses(other)
    assert list(first) == list(second) == list(range(1, STEPS + 1))
    return max(abs(first[step] - second[step]) for step in first)


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def shapes(run: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of all tensors of the last checkpoint."""
    trees = checkpoint.read_newest(run / "checkpoints")[0]
    return {name: {k: tuple(v.shape) for k, v in trees[name].items()} for name in ("model",)}


def test_two_ranks_have_the_losses_of_one_process(home: Path) -> None:
    assert gap(home / "one", home / "two") < NEAR
    assert accuracies(home / "one") == accuracies(home / "two")
    for split in ("val", "test"):
        one, two = metrics(home / "one")[split], metrics(home / "two")[split]
        assert one["count"] == two["count"]
        assert one["confusion"] == two["confusion"]
    assert shapes(home / "one") == shapes(home / "two")
    assert metrics(home / "two")["train"]["ranks"] == 2


def test_two_ranks_have_the_losses_of_one_process_with_weights_of_classes(home: Path) -> None:
    weights = ",".join(["5", "0.2", *["1"] * 8])
    more = ["--set", f"loss.weights=[{weights}]"]
    words = train_words(home / "one-weighted", home / "model.py", *more)
    code, said = run_loupe(words, home / "one-weighted.txt")
    assert code == 0, said
    codes, texts = run_ranks(train_words(home / "two-weighted", home / "model.py", *more), home)
    assert codes == [0, 0], texts
    assert gap(home / "one-weighted", home / "two-weighted") < 10 * NEAR
    assert gap(home / "one-weighted", home / "one") > 1e-3


def test_rank_without_a_sample_takes_part(home: Path) -> None:
    """Each epoch ends with a batch of one image, and validation is done by both."""
    events = [e for e in read_events(home / "two") if "val_accuracy" in e]
    assert [event["step"] for event in events] == [5 * n for n in range(1, 11)]


def test_two_ranks_repeat_themselves_bit_for_bit(home: Path) -> None:
    codes, texts = run_ranks(train_words(home / "again", home / "model.py"), home)
    assert codes == [0, 0], texts
    assert is_bit_equal(home / "two", home / "again")
    assert texts[1] == ""  # rank 0 alone says what happens


def test_a_killed_rank_ends_the_other_and_the_run_resumes(home: Path) -> None:
    out = home / "killed"
    words = train_words(out, home / "model.py", what="kill", at=20)
    start = time.monotonic()
    codes, texts = run_ranks(words, home)
    assert time.monotonic() - start < 60
    assert codes == [6, -signal.SIGKILL]
    assert "error: rank 0 of 2 lost the others" in texts[0]
    codes, texts = run_ranks([*resume_words(out), "--set", "model.options.what="], home)
    assert codes == [0, 0], texts
    assert is_bit_equal(home / "two", out)


def test_an_error_on_one_rank_ends_all_and_is_said_once(home: Path) -> None:
    codes, texts = run_ranks(
        train_words(home / "raised", home / "model.py", what="raise", at=7), home
    )
    assert codes == [2, 2]  # the rank whose model raised says so, as a mistake in its code
    assert texts[0] == ""
    assert texts[1].count("error:") == 1
    assert "this rank has had enough" in texts[1]


def test_an_error_of_every_rank_is_said_once(home: Path) -> None:
    words = [*train_words(home / "wrong", home / "model.py"), "--set", "optimizer.options.no=1"]
    codes, texts = run_ranks(words, home)
    assert codes == [2, 2]
    assert sum(text.count("error:") for text in texts) == 1
    assert not (home / "wrong").exists()


def test_a_signal_to_one_rank_stops_all_at_the_same_step(home: Path) -> None:
    out = home / "stopped"
    children = start_ranks(train_words(out, home / "model.py", seconds=0.03), home)
    assert wait_until(lambda: len(read_events(out)) > 8, children[0])
    children[1].send(signal.SIGTERM)
    assert [child.end(timeout=25) for child in children] == [143, 143]
    assert max(losses(out)) < STEPS
    codes, texts = run_ranks([*resume_words(out), "--set", "model.options.seconds=0"], home)
    assert codes == [0, 0], texts
    assert is_bit_equal(home / "two", out)


def test_ranks_come_and_go_between_resumes(home: Path) -> None:
    out = home / "moved"
    words = train_words(out, home / "model.py")
    words[words.index("train.epochs=10")] = "train.epochs=4"
    assert run_ranks(words, home)[0] == [0, 0]
    code, said = run_loupe([*resume_words(out), "--epochs", "8"], home / "moved.txt")
    assert code == 0, said
    assert "ranks 2 is now 1" in json.dumps(read_events(out))
    codes, texts = run_ranks([*resume_words(out), "--epochs", "10"], home)
    assert codes == [0, 0], texts
    assert gap(home / "one", out) < NEAR


@pytest.mark.parametrize("phase", ["forward", "backward", "judge"])
def test_out_of_memory_on_one_rank_splits_the_batch_on_all(home: Path, phase: str) -> None:
    out = home / phase
    codes, texts = run_ranks(train_words(out, home / "model.py", what=phase, at=9, most=70), home)
    assert codes == [0, 0], texts
    assert gap(home / "one", out) < NEAR
    assert metrics(home / "one")["test"]["confusion"] == metrics(out)["test"]["confusion"]
    splits = [e for e in read_events(out) if "images_at_once" in e]
    assert [e["images_at_once"] for e in splits] == ([] if phase == "judge" else [85, 43])


@pytest.fixture(scope="module")
def sharded(home: Path) -> Path:
    """A run of two ranks with a part of the model each."""
    out = home / "sharded"
    codes, texts = run_ranks(train_words(out, home / "model.py", "--parallel", "fsdp"), home)
    assert codes == [0, 0], texts
    return out


def test_shards_have_the_losses_of_one_process(home: Path, sharded: Path) -> None:
    assert gap(home / "one", sharded) < NEAR
    assert metrics(home / "one")["test"]["confusion"] == metrics(sharded)["test"]["confusion"]
    assert shapes(home / "one") == shapes(sharded)


def test_a_network_of_the_zoo_is_sharded_with_settings_left_open(home: Path) -> None:
    """Convolutions that would be channels_last, which FSDP2 refuses."""
    out = home / "zoo"
    words = ["train", "digits", "--device", "cpu", "--model", "cnn", "--epochs", "0.2", "--quiet"]
    words += ["--set", "train.report=false", "--parallel", "fsdp", "--out", str(out)]
    codes, texts = run_ranks(words, home)
    assert codes == [0, 0], texts
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert settings["hardware.channels_last"]["value"] is False


def test_a_missing_part_is_named_in_two_lines(home: Path) -> None:
    out = home / "missing"
    words = train_words(out, home / "model.py", "--parallel", "fsdp", "--set", "train.keep=1")
    assert run_ranks(words, home)[0] == [0, 0]
    for path in (out / "checkpoints").glob("*/optimizer-00002-of-00002.safetensors"):
        path.unlink()
    codes, texts = run_ranks([*resume_words(out), "--epochs", "11"], home)
    assert codes == [4, 4], texts
    assert texts[1] == ""
    assert [line.partition(" ")[0] for line in texts[0].splitlines()] == ["error:", "hint:"]
    assert "optimizer-00002-of-00002.safetensors can't be read (No such file" in texts[0]


def test_a_finished_sharded_run_has_plain_weights(sharded: Path) -> None:
    """Moments stay in parts; the weights of the best and the last step are one file each."""
    for link in ("best", "last"):
        names = {path.name for path in (sharded / link).iterdir()}
        assert {"model.safetensors", "optimizer-00002-of-00002.safetensors"} <= names
        assert not [name for name in names if name.startswith("model-")]
        weights = load_file(sharded / link / "model.safetensors")
        trees = checkpoint.read_checkpoint((sharded / link).resolve())
        assert checkpoint.hash_tensors(trees["model"]) == checkpoint.hash_tensors(weights)
    run = open_run(sharded, trust_code=True)
    assert run.evaluate()["accuracy"] == metrics(sharded)["test"]["accuracy"]


def test_a_killed_rank_of_a_sharded_run_resumes_bit_equal(home: Path, sharded: Path) -> None:
    out = home / "killed-shards"
    words = train_words(out, home / "model.py", "--parallel", "fsdp", what="kill", at=20)
    codes, texts = run_ranks(words, home)
    assert codes == [6, -signal.SIGKILL], texts
    assert list((out / "last").resolve().glob("model-00002-of-00002.safetensors"))
    trees, path, _ = checkpoint.read_newest(out / "checkpoints")
    opened = open_run(out, trust_code=True, which="last")  # as it is, in parts
    assert opened.step == trees["state"]["step"]
    assert checkpoint.hash_tensors(dict(opened.model.state_dict())) == checkpoint.hash_tensors(
        trees["model"]
    )
    codes, texts = run_ranks([*resume_words(out), "--set", "model.options.what="], home)
    assert codes == [0, 0], texts
    assert f"resumed from {path.name}" in json.dumps(read_events(out))
    assert is_bit_equal(sharded, out)


def test_a_sharded_run_goes_on_with_any_number_of_ranks(home: Path) -> None:
    out = home / "moved-shards"
    words = train_words(out, home / "model.py", "--parallel", "fsdp")
    words[words.index("train.epochs=10")] = "train.epochs=2"
    assert run_ranks(words, home, size=3)[0] == [0, 0, 0]
    for size, epochs in ((2, 4), (1, 6), (3, 8), (2, 10)):
        words = [*resume_words(out), "--epochs", str(epochs)]
        codes, texts = run_ranks(words, home, size=size)
        assert codes == [0] * size, texts
    assert gap(home / "one", out) < NEAR


def test_muon_of_a_sharded_model_is_refused_before_a_folder_is_made(home: Path) -> None:
    words = train_words(home / "muon", home / "model.py", "--parallel", "fsdp")
    words = [word.replace("optimizer.name=adam", "optimizer.name=muon") for word in words]
    codes, texts = run_ranks(words, home)
    assert codes == [2, 2], texts
    assert "error: muon needs whole matrices" in texts[0]
    assert "hint: use --parallel ddp" in texts[0]
    assert not (home / "muon").exists()


def test_rank_0_checks_for_all_and_an_error_ends_every_rank(home: Path) -> None:
    code = MODEL.replace("return self.last(x.flatten(1))", "return self.last(x.flatten(1)).tanh()")
    (home / "bounded.py").write_text(code)
    words = train_words(home / "bounded", home / "bounded.py")
    codes, texts = run_ranks([*words, "--set", "check.level=strict"], home)
    assert codes == [7, 7], texts
    assert "error: tanh-before-the-loss: the model ends in Tanh" in texts[0]
    assert texts[1] == ""  # rank 0 alone says it
    codes, texts = run_ranks(words, home)
    assert codes == [0, 0], texts
    told = [e["verdict"] for e in read_events(home / "bounded") if "verdict" in e]
    assert told.count("tanh-before-the-loss") == 1
