"""A save of its own: what the loop does to the disk, without the training around it."""

import hashlib
import json
from pathlib import Path

import torch
from files import FileLayer, die

from torchloupe.hardware.precision import Precision
from torchloupe.run import checkpoint
from torchloupe.run.draft import checkpoint_name
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State


def make_state(step: int) -> State:
    """A small state whose weights tell the step, and which is the best so far."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    state = State(model, optimizer, Precision("fp32", torch.device("cpu")))
    state.step = state.best_step = step
    state.best_value = step / 10
    return state


def begin(run: Path) -> None:
    """A run folder with the checkpoints of steps 1 and 2; the next save prunes one."""
    run.mkdir()
    with RunFolder(run, keep=1) as folder:
        for step in (1, 2):
            folder.save(make_state(step))
            folder.finish_saving()


def save(run: Path, step: int) -> None:
    """What the loop does at a save, and at the end."""
    with RunFolder(run, keep=1) as folder:
        folder.save(make_state(step))
        folder.finish_saving()
        folder.write_json("metrics.json", {"step": step})


def save_and_die_at(run: Path, step: int, at: int) -> None:
    """In a child: a save that is the last thing it ever does. Exit code 0 where it lived."""
    with FileLayer(run, at, die):
        save(run, step)


def check_intact(run: Path, old: int, new: int) -> int:
    """The step of the newest checkpoint: the old or the new one, whole and not passed over."""
    trees, path, passed_over = checkpoint.read_newest(run / "checkpoints")
    step = int(trees["state"]["step"])
    assert step in (old, new)
    assert not passed_over
    assert path.name == checkpoint_name(step)
    assert torch.equal(trees["model"]["bias"], torch.full((2,), float(step)))
    for link in ("best", "last"):  # never one that leads nowhere
        assert (run / link).resolve() in checkpoint.list_checkpoints(run / "checkpoints")
    return step


def forge_manifest(path: Path, name: str, content: bytes) -> None:
    """Change a file of a checkpoint, and its manifest so that its hash is the new one."""
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]
    (path / name).write_bytes(content)
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    own = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps({**manifest, "sha256": own}, indent=1))
