"""R6: whatever was changed in a checkpoint or a pack, by a bit or more, is found."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from children import run_loupe
from PIL import Image
from runs import is_bit_equal, resume_words, train_words, write_model
from saves import begin, make_state

import torchloupe
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack.format import PackError, read_pack
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import open_data
from torchloupe.errors import CheckpointError
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder

FLIPS = 1000
Record = Callable[[str, object], None]


@contextmanager
def damaged(path: Path, damage: Callable[[bytes], bytes]) -> Iterator[None]:
    """A file with other content, for a while."""
    content = path.read_bytes()
    path.write_bytes(damage(content))
    try:
        yield
    finally:
        path.write_bytes(content)


def flip_a_bit(chance: random.Random) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    return flip


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "one byte cut": lambda content: content[:-1],
    "the first byte cut": lambda content: content[1:],
    "one byte more": lambda content: content + b"\0",
    "tail zeroed": lambda content: content[: -len(content) // 3] + bytes(-(-len(content) // 3)),
    "all zero": lambda content: bytes(len(content)),
    "empty": lambda _: b"",
}


def check_passed_over(run: Path, file: Path) -> None:
    """Step 3 is damaged: step 2 is used and the damaged file named; step 3 itself is refused."""
    trees, path, passed_over = checkpoint.read_newest(run / "checkpoints")
    assert path.name == "step-00000002"
    assert trees["state"]["step"] == 2
    assert len(passed_over) == 1
    assert f"step-00000003/{file.name} " in passed_over[0]
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read_checkpoint(file.parent)
    assert caught.value.exit_code == 4


def check_sound(run: Path) -> None:
    assert checkpoint.read_newest(run / "checkpoints")[1].name == "step-00000003"


@pytest.fixture
def run(quick_folder: Path) -> Path:
    """A run folder with the checkpoints of steps 2 and 3."""
    begin(quick_folder / "run")
    with RunFolder(quick_folder / "run", keep=2) as folder:
        folder.save(make_state(3))
    return quick_folder / "run"


def test_every_flipped_bit_of_a_checkpoint_is_found(run: Path, record_property: Record) -> None:
    record_property("tries", FLIPS)
    chance = random.Random(0)
    files = sorted((run / "checkpoints" / "step-00000003").iterdir())
    assert len(files) == 4
    for _ in range(FLIPS):
        file = chance.choice(files)
        with damaged(file, flip_a_bit(chance)):
            check_passed_over(run, file)
    check_sound(run)


@pytest.mark.parametrize("cut", CUTS)
def test_every_cut_of_a_checkpoint_is_found(run: Path, cut: str) -> None:
    for file in sorted((run / "checkpoints" / "step-00000003").iterdir()):
        with damaged(file, CUTS[cut]):
            check_passed_over(run, file)
    check_sound(run)


def test_swapped_and_missing_files_of_a_checkpoint_are_found(run: Path) -> None:
    folder = run / "checkpoints" / "step-00000003"
    model, optimizer, state = (
        folder / name for name in ("model.safetensors", "optimizer.safetensors", "state.json")
    )
    was = {file: file.read_bytes() for file in folder.iterdir()}
    with (
        damaged(optimizer, lambda _: was[model]),
        damaged(model, lambda _: was[optimizer]),
    ):
        check_passed_over(run, model)
    for name in ("model.safetensors", "manifest.json"):  # from the checkpoint before
        older = (run / "checkpoints" / "step-00000002" / name).read_bytes()
        with damaged(folder / name, lambda _, older=older: older):
            check_passed_over(run, model)
    state.unlink()
    check_passed_over(run, state)
    state.write_bytes(was[state])
    check_sound(run)


@pytest.fixture
def pack(quick_folder: Path) -> Path:
    """A pack of 60 images, one of which can't be read and has a name beyond ASCII."""
    chance = np.random.default_rng(0)
    for row in range(60):
        path = quick_folder / "photos" / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    (quick_folder / "photos" / "a" / "é.png").write_bytes(b"no image")
    data = open_data(quick_folder / "photos")
    open_pixels(data, choose_contract(data), pack="disk", cache_folder=quick_folder / "cache")
    (folder,) = (p for p in (quick_folder / "cache" / "packs").iterdir() if p.name[0] != ".")
    return folder


def pack_files(pack: Path) -> list[Path]:
    """The files of a pack that decide what is trained on; `about.json` is for people."""
    return sorted(path for path in pack.iterdir() if path.name != "about.json")


def test_every_flipped_bit_of_a_pack_is_found(pack: Path, record_property: Record) -> None:
    record_property("tries", FLIPS)
    chance = random.Random(1)
    assert len(pack_files(pack)) == 4
    for _ in range(FLIPS):
        with damaged(chance.choice(pack_files(pack)), flip_a_bit(chance)), pytest.raises(PackError):
            read_pack(pack)
    assert read_pack(pack).bad[0].id == "a/é.png"


@pytest.mark.parametrize("cut", CUTS)
def test_every_cut_of_a_pack_is_found(pack: Path, cut: str) -> None:
    for file in pack_files(pack):
        with damaged(file, CUTS[cut]), pytest.raises(PackError):
            read_pack(pack)
    assert len(read_pack(pack).content) == 61


def test_swapped_files_of_a_pack_are_found(pack: Path) -> None:
    was = {file: file.read_bytes() for file in pack_files(pack)}
    for one, other in combinations(was, 2):
        with (
            damaged(one, lambda _, other=other: was[other]),
            damaged(other, lambda _, one=one: was[one]),
            pytest.raises(PackError),
        ):
            read_pack(pack)
    assert len(read_pack(pack).content) == 61


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `whole`."""
    folder = tmp_path_factory.mktemp("bits")
    write_model(folder)
    code, said = run_loupe(
        train_words(folder / "whole", folder / "model.py", epochs=1, train__keep=3),
        folder / "whole.txt",
    )
    assert code == 0, said
    return folder


def test_damaged_checkpoint_is_named_and_the_one_before_goes_on_to_the_same_bits(
    home: Path,
) -> None:
    run = home / "damaged"
    shutil.copytree(home / "whole", run, symlinks=True)
    newest, before = checkpoint.list_checkpoints(run / "checkpoints")[:2]
    weights = newest / "average.safetensors"
    weights.write_bytes(flip_a_bit(random.Random(0))(weights.read_bytes()))

    (run / "best").unlink()
    (run / "best").symlink_to(newest)
    code, said = run_loupe(["eval", str(run), "--model", f"{home}/model.py:net"], home / "said.txt")
    assert code == 4, said
    assert f"hint: `loupe resume {run}` continues from {before.name}, which is sound" in said
    with pytest.raises(CheckpointError) as caught:
        torchloupe.open_run(run, trust_code=True, which=newest.name)
    assert caught.value.exit_code == 4
    assert f"{newest.name}/average.safetensors is damaged" in caught.value.message
    assert before.name in caught.value.hint

    code, said = run_loupe(resume_words(run), home / "said.txt")
    assert code == 0, said
    notes = [event["note"] for event in read_events(run) if "note" in event]
    assert any(f"{newest.name}/average.safetensors is damaged" in note for note in notes)
    assert f"resumed from {before.name}" in notes
    assert is_bit_equal(home / "whole", run)


def test_checkpoint_that_is_not_there_is_refused_by_name(home: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint step-00000099") as caught:
        torchloupe.open_run(home / "whole", trust_code=True, which="step-00000099")
    assert "step-" in caught.value.hint
    last = home / "whole" / "last"
    last.unlink()
    last.symlink_to("checkpoints/step-00000099")
    with pytest.raises(CheckpointError, match="checkpoint last is damaged"):
        torchloupe.open_run(home / "whole", trust_code=True, which="last")
