"""Checkpoints that ranks write in parts: equal to gathered ones, read by any number of ranks."""

import json
import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from children import run_function
from files import FAULTS, FileLayer, die, fail_with
from ranks import run_on_ranks
from torch import nn

from torchloupe.distributed.parallel import make_parallel, snapshot, whole
from torchloupe.distributed.world import ALONE, World, join
from torchloupe.errors import CheckpointError, LoupeError, ResourceError
from torchloupe.hardware.precision import Precision
from torchloupe.run import checkpoint
from torchloupe.run.folder import RunFolder
from torchloupe.run.parts import find_blind, make_parts, merge_parts, read_newest
from torchloupe.run.state import State

CPU = torch.device("cpu")
IMAGES = torch.arange(36.0).reshape(12, 3) / 36
pytestmark = pytest.mark.skipif(os.name == "nt", reason="gloo between processes")


def make_state(world: World, seed: int = 0):
    """A sharded net with buffers; its last layer has fewer rows than there may be ranks."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 2))
    parallel = make_parallel(model, world, "fsdp")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.8, 0.9))
    return parallel, State(model, optimizer, Precision("fp32", CPU))


def step(parallel, state: State) -> None:
    """One step of training, each rank with images of its own."""
    images = IMAGES[parallel.world.rank :: parallel.world.size]
    loss = parallel.module(images).square().sum()
    loss.backward()
    parallel.agree([])
    parallel.share(loss.detach().clone())
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    state.best_step, state.best_value = state.step, 0.5


def hash_state(state: State) -> dict[str, str]:
    """The bits of all that a checkpoint holds, gathered; every rank calls this."""
    return {name: checkpoint.hash_tensors(tree) for name, tree in state.trees(whole).items()}


def open_together(folder: Path, parallel, keep: int = 2) -> RunFolder:
    """The run folder, entered, whose checkpoints are in parts."""
    world = parallel.world
    run = RunFolder(folder / "run", keep=keep, ranks=world.size, writes=world.leads)
    if world.leads:
        run.path.mkdir(exist_ok=True)
    run.__enter__()
    run.parts, notes = make_parts(run.path, parallel)
    assert notes == []
    assert (run.parts is None) == (world.size == 1)
    return run


def save_steps(folder: Path, steps: int = 1) -> None:
    """On each rank: train, and save every step in parts, and the last one whole too."""
    with join(CPU, timeout_seconds=30) as world:
        parallel, state = make_state(world)
        with open_together(folder, parallel) as run:
            for _ in range(steps):
                step(parallel, state)
                run.save(state)
            run.finish_saving()
        trees = state.trees(partial(snapshot, keeps=world.leads))
        if world.leads:
            checkpoint.write_checkpoint(folder / "whole", state.step, trees)


def newest(folder: Path) -> Path:
    return checkpoint.list_checkpoints(folder / "run" / "checkpoints")[0]


def hash_files(path: Path) -> dict[str, str]:
    """As `hash_state`, of what a checkpoint holds for one process."""
    trees = checkpoint.read_checkpoint(path)
    return {name: checkpoint.hash_tensors(tree) for name, tree in trees.items()}


@pytest.mark.parametrize("size", [2, 3])
def test_checkpoint_in_parts_holds_what_a_gathered_one_holds(tmp_path, size):
    assert run_on_ranks(save_steps, tmp_path, size) == [0] * size
    path = newest(tmp_path)
    names = {file.name for file in path.iterdir()}
    last = f"-of-{size:05d}.safetensors"
    assert names == {
        *(f"{tree}-{n + 1:05d}{last}" for tree in ("model", "optimizer") for n in range(size)),
        *("state.json", "manifest.json"),
    }
    assert hash_files(path) == hash_files(tmp_path / "whole" / path.name)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert {n: (path / n).stat().st_size for n in manifest["bytes"]} == manifest["bytes"]
    assert set(manifest["files"]) == names - {"manifest.json"}
    for link in ("best", "last"):
        assert (tmp_path / "run" / link).resolve() == path
    assert [p.name for p in (tmp_path / "run").rglob(".*")] == []


def test_old_checkpoints_go_with_their_parts(tmp_path):
    assert run_on_ranks(partial(save_steps, steps=4), tmp_path) == [0, 0]
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-00000003", "step-00000004"]


def go_on(folder: Path) -> None:
    """On each rank: read what is there, if it is, compare, and save a step more."""
    known = folder / "bits.json"
    with join(CPU, timeout_seconds=30) as world:
        parallel, state = make_state(world, seed=world.size)
        with open_together(folder, parallel) as run:
            if known.exists():
                trees, _, passed_over = read_newest(run.checkpoints, world, run.parts)
                assert passed_over == []
                state.load(trees)
                assert hash_state(state) == json.loads(known.read_text())
            step(parallel, state)
            run.save(state)
            run.finish_saving()
            bits = hash_state(state)
            world.wait()  # all have read the old ones
            if world.leads:
                known.write_text(json.dumps(bits))


@pytest.mark.long
def test_any_number_of_ranks_goes_on_from_any_other(tmp_path):
    """Each of 1, 2 and 3 follows each of the others, and itself."""
    for size in (2, 3, 1, 2, 2, 1, 3, 3, 2, 1, 1):
        assert run_on_ranks(go_on, tmp_path, size) == [0] * size, size
        assert hash_files(newest(tmp_path)) == json.loads((tmp_path / "bits.json").read_text())


def load_by_slices(folder: Path) -> None:
    """Each rank asks the files for its rows alone: of 7 rows 4 and 3."""
    asked = []
    with join(CPU, timeout_seconds=30) as world:
        parallel, state = make_state(world)
        run = open_together(folder, parallel)
        trees, _, _ = read_newest(run.checkpoints, world, run.parts)
        stored = trees["model"]["0.weight"]
        read, stored.whole = stored.read, None
        stored.read = lambda start, stop: asked.append((start, stop)) or read(start, stop)
        state.load(trees)
        assert asked == [((0, 4), (4, 7))[world.rank]]
        world.wait()
        run.__exit__()


def test_a_rank_reads_its_rows_alone(tmp_path):
    assert run_on_ranks(save_steps, tmp_path, 3) == [0, 0, 0]
    assert run_on_ranks(load_by_slices, tmp_path) == [0, 0]


def read_the_sound_one(folder: Path) -> None:
    with join(CPU, timeout_seconds=30) as world:
        parallel, _ = make_state(world)
        with open_together(folder, parallel) as run:
            _, path, passed_over = read_newest(run.checkpoints, world, run.parts)
            if world.leads:
                (folder / "found.json").write_text(json.dumps([path.name, passed_over]))


def spoil(path: Path, how: str) -> str:
    """Damage a file; what the error says of it."""
    if how == "gone":
        path.unlink()
        return "can't be read (No such file or directory)"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
        return "is damaged (it has "
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    return "is damaged (its SHA-256 is not the manifest's)"


@pytest.mark.long
@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_damaged_part_is_named_and_the_checkpoint_before_is_taken(tmp_path, how):
    assert run_on_ranks(partial(save_steps, steps=2), tmp_path) == [0, 0]
    part = newest(tmp_path) / "optimizer-00002-of-00002.safetensors"
    what = spoil(part, how)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read_checkpoint(newest(tmp_path))
    assert caught.value.message.startswith(f"checkpoint file {part} {what}")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert run_on_ranks(read_the_sound_one, tmp_path) == [0, 0]
    name, passed_over = json.loads((tmp_path / "found.json").read_text())
    assert name == "step-00000001"
    assert len(passed_over) == 1
    assert passed_over[0].startswith(f"checkpoint file {part} {what}")


def save_and_suffer(folder: Path, rank: int, at: int, fault: str) -> None:
    """A second save, during which something happens to the files that one rank writes."""
    strike = fail_with(FAULTS[fault]) if fault in FAULTS else die
    try:
        with join(CPU, timeout_seconds=30) as world:
            parallel, state = make_state(world)
            with open_together(folder, parallel) as run:
                step(parallel, state)
                run.save(state)
                run.finish_saving()
                step(parallel, state)
                with FileLayer(run.checkpoints, at if world.rank == rank else 0, strike):
                    run.save(state)
                    run.finish_saving()
    except LoupeError as error:
        (folder / f"said-{os.environ['RANK']}").write_text(error.message)
        raise SystemExit(error.exit_code) from error


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("at", [2, 5, 7])
def test_a_rank_that_is_killed_while_it_writes_leaves_the_old_checkpoint(tmp_path, rank, at):
    strike = partial(save_and_suffer, rank=rank, at=at, fault="kill")
    codes = run_on_ranks(strike, tmp_path)
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 6
    run = tmp_path / "run"
    assert [path.name for path in checkpoint.list_checkpoints(run / "checkpoints")] == [
        "step-00000001"
    ]
    assert checkpoint.read_newest(run / "checkpoints")[2] == []
    with RunFolder(run):  # its next owner clears up
        pass
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_of_one_rank_ends_all_and_leaves_the_old_checkpoint(tmp_path, rank):
    strike = partial(save_and_suffer, rank=rank, at=3, fault="ENOSPC")
    assert run_on_ranks(strike, tmp_path) == [6, 6]
    said = [(tmp_path / f"said-{n}").read_text() for n in range(2)]
    assert "No space left on device" in said[rank]
    if rank:
        assert said[0].startswith("rank 1 could not write its part of a checkpoint: can't write ")
    assert newest(tmp_path).name == "step-00000001"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]


def save_on_own_disks(folder: Path) -> None:
    """Each rank has a run folder of its own, as hosts without a shared disk have."""
    with join(CPU, timeout_seconds=30) as world:
        parallel, state = make_state(world)
        path = folder / f"host-{world.rank}"
        path.mkdir()
        with RunFolder(path, ranks=world.size, writes=world.leads) as run:
            run.parts, notes = make_parts(path, parallel)
            assert run.parts is None
            step(parallel, state)
            run.save(state)
            run.finish_saving()
            other = make_state(world, seed=5)[1]
            other.load(read_newest(run.checkpoints, world, run.parts)[0])
            assert hash_state(other) == hash_state(state)
            (folder / f"notes-{world.rank}").write_text("".join(notes))


def test_ranks_that_share_no_disk_gather_and_say_so(tmp_path):
    assert run_on_ranks(save_on_own_disks, tmp_path) == [0, 0]
    assert (tmp_path / "notes-0").read_text() == (
        "rank 1 can't write to the run folder, so rank 0 gathers each checkpoint in its memory; "
        "with an --out on a file system that all ranks share, each writes its part"
    )
    path = tmp_path / "host-0" / "checkpoints" / "step-00000001"
    names = {"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}
    assert {file.name for file in path.iterdir()} == names
    assert list((tmp_path / "host-1").iterdir()) == []


def find_the_blind(folder: Path) -> None:
    with join(CPU, timeout_seconds=30) as world:
        if world.rank == 1:
            real = Path.open

            def refuse(path: Path, mode: str = "r", *rest: object):
                if mode == "xb":
                    raise PermissionError(13, "Permission denied", str(path))
                return real(path, mode, *rest)

            Path.open = refuse
        assert find_blind(folder, world) == [1]
        world.wait()


def test_a_rank_that_may_only_read_the_folder_is_blind(tmp_path):
    assert run_on_ranks(find_the_blind, tmp_path, 3) == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_one_process_has_no_parts(tmp_path):
    assert make_parts(tmp_path, make_parallel(nn.Linear(2, 2), ALONE, "fsdp")) == (None, [])


def test_parts_are_merged_into_the_file_of_one_process(tmp_path):
    assert run_on_ranks(save_steps, tmp_path, 3) == [0, 0, 0]
    path = newest(tmp_path)
    before = hash_files(path)
    merge_parts(path, "model")
    gathered = tmp_path / "whole" / path.name
    assert (path / "model.safetensors").read_bytes() == (
        gathered / "model.safetensors"
    ).read_bytes()
    assert hash_files(path) == before
    assert not list(path.glob("model-*"))
    merge_parts(path, "model")  # nothing is left to do
    merge_parts(path, "optimizer")
    assert sorted(file.name for file in path.iterdir()) == sorted(
        file.name for file in gathered.iterdir()
    )
    assert (path / "manifest.json").read_bytes() != b""
    assert hash_files(path) == before
    assert json.loads((path / "manifest.json").read_text())["format"] == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_merge_that_fails_anywhere_leaves_a_whole_checkpoint(tmp_path, fault):
    assert run_on_ranks(save_steps, tmp_path) == [0, 0]
    path = newest(tmp_path)
    before = hash_files(path)
    for at in range(1, 100):
        with FileLayer(path, at, fail_with(FAULTS[fault])) as layer:
            try:
                merge_parts(path, "model")
            except ResourceError as error:
                assert re.search("No space|Input/output", error.message)
        assert hash_files(path) == before
        if not layer.struck:
            break
        if (path / "model.safetensors").exists() and not list(path.glob("model-*")):
            break  # it was done, but for what is removed
    assert at > 5
    merge_parts(path, "model")
    assert sorted(p.name for p in path.iterdir() if not p.name.startswith("optimizer")) == [
        *("manifest.json", "model.safetensors", "state.json"),
    ]


def merge_and_die_at(path: Path, at: int) -> None:
    """In a child: a merge that is the last thing it ever does. Exit code 0 where it lived."""
    with FileLayer(path, at, die):
        merge_parts(path, "model")


@pytest.mark.long
def test_a_merge_that_dies_anywhere_leaves_a_whole_checkpoint(tmp_path):
    assert run_on_ranks(save_steps, tmp_path) == [0, 0]
    kept = tmp_path / "kept"
    shutil.copytree(newest(tmp_path), kept)
    before = hash_files(kept)
    for at in range(1, 100):
        run = tmp_path / f"run-{at}"
        path = run / "checkpoints" / newest(tmp_path).name
        shutil.copytree(kept, path)
        code = run_function(merge_and_die_at, path, at)
        assert hash_files(path) == before
        with RunFolder(run):  # its next owner clears up
            pass
        assert [p.name for p in run.rglob(".*")] == []
        merge_parts(path, "model")
        assert hash_files(path) == before
        assert not list(path.glob("model-*"))
        if code == 0:
            break
    assert 10 < at < 99


def memory(name: str) -> int:
    """A line of this process's memory, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024


def measure_peak(folder: Path, in_parts: bool) -> None:
    """How much more memory rank 0 has at most while a checkpoint is taken and written."""
    with join(CPU, timeout_seconds=60) as world:
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(8)))
        parallel = make_parallel(model, world, "fsdp")
        optimizer = torch.optim.Adam(model.parameters())
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        state = State(model, optimizer, Precision("fp32", CPU))
        total = 3 * sum(p.numel() * 4 for p in model.parameters())
        with RunFolder(folder, ranks=world.size, writes=world.leads) as run:
            run.parts = make_parts(folder, parallel)[0] if in_parts else None
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            before = memory("VmRSS")
            run.save(state)
            run.finish_saving()
            peak = memory("VmHWM")
        if world.leads:
            (folder / "share.json").write_text(json.dumps((peak - before) / total))


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize("size", [2, 3])
def test_rank_0_needs_memory_for_its_part_alone(tmp_path, size):
    shares = {}
    for in_parts in (False, True):
        folder = tmp_path / str(in_parts)
        folder.mkdir()
        measure = partial(measure_peak, in_parts=in_parts)
        assert run_on_ranks(measure, folder, size) == [0] * size
        shares[in_parts] = json.loads((folder / "share.json").read_text())
    assert shares[False] > 0.85, shares  # of all weights and moments; some is in freed memory
    assert shares[True] < 1 / size + 0.15, shares
