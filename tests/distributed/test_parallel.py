"""One model on several ranks: gradients add up, and the model outside stays the plain one."""

import os
from pathlib import Path

import pytest
import torch
from ranks import run_on_ranks
from torch import nn

from torchloupe.distributed.parallel import (
    OneProcess,
    Parallel,
    Part,
    Replicas,
    Shards,
    make_parallel,
    read_like,
    shard_like,
    snapshot,
    whole,
)
from torchloupe.distributed.world import ALONE, World, join
from torchloupe.errors import UsageError

CPU = torch.device("cpu")
gloo = pytest.mark.skipif(os.name == "nt", reason="gloo between processes")
KINDS = {"ddp": Replicas, "fsdp": Shards}


def make_model() -> nn.Sequential:
    """A network with a layer that no forward uses."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Identity())


IMAGES = torch.arange(18.0).reshape(6, 3) / 18


def wanted_gradients() -> dict[str, torch.Tensor]:
    """Those of one process that sees all images."""
    model = make_model()
    model(IMAGES).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "dp"])
def test_model_of_one_process_is_left_as_it_is(kind: str) -> None:
    model = make_model()
    parallel = make_parallel(model, ALONE, kind)
    assert type(parallel) is Parallel
    assert parallel.module is parallel.model is parallel.gather_model() is model
    assert parallel.agree([3, 1]) == [3, 1]
    loss = torch.tensor(2.0)
    assert parallel.share(loss) is loss
    with parallel.for_inference(model) as found:
        assert found is model


def test_several_devices_of_one_process_keep_the_names_of_the_plain_model() -> None:
    model = make_model()
    parallel = make_parallel(model, ALONE, "dp", [CPU])
    assert isinstance(parallel, OneProcess)
    assert list(parallel.model.state_dict()) == list(make_model().state_dict())


def test_one_process_for_all_devices_is_refused_among_ranks() -> None:
    world = World()
    world.is_joined = True
    with pytest.raises(UsageError, match="torchrun started several"):
        make_parallel(make_model(), world, "dp")


def test_tensors_that_are_whole_stay_as_they_are() -> None:
    tensor = torch.ones(2)
    tree = {"a": [tensor, 3], "b": {"c": "text"}}
    assert whole(tree) == tree
    assert whole(tree)["a"][0] is tensor
    assert shard_like(tensor, torch.zeros(2)) is tensor
    taken = snapshot(tree)
    tensor.zero_()
    assert taken["a"][0].tolist() == [1, 1]
    assert (taken["a"][1], taken["b"]) == (3, {"c": "text"})
    assert snapshot(tree, keeps=False) == {"a": [None, 3], "b": {"c": "text"}}
    assert read_like(tensor, lambda start, stop: tensor[start:stop]) is None


def compare_parts(model: nn.Module, world: World) -> None:
    """The parts of all ranks are the whole tensors, and are read back as they were."""
    weights = model.state_dict()
    for name, part in snapshot(weights, keeps=world.leads, in_parts=True).items():
        full = whole(weights[name]).detach()
        assert isinstance(part, Part)
        assert part.total == len(full)
        parts = world.gather((part.start, part.rows.tolist()))
        assert [row for _, rows in parts for row in rows] == full.tolist()
        assert [start for start, _ in parts] == [0, -(-len(full) // 2)]
        again = read_like(weights[name], lambda start, stop, full=full: full[start:stop])
        assert again.placements == weights[name].placements
        assert torch.equal(again.full_tensor(), full)
        assert shard_like(again, weights[name]) is again


def train_on_ranks(folder: Path) -> None:
    """Each rank sees its own images; rank 1 begins with other weights, which don't count."""
    with join(CPU, timeout_seconds=30) as world:
        for kind, expected in KINDS.items():
            model = make_model()
            if world.rank == 1:
                nn.init.zeros_(model[0].weight)
            parallel = make_parallel(model, world, kind)
            assert type(parallel) is expected
            images = IMAGES[:4] if world.leads else IMAGES[4:]
            loss = parallel.module(images).square().sum()
            loss.backward()
            assert parallel.agree([world.rank]) == [1]
            assert float(parallel.total(torch.tensor(1.0 + world.rank))) == 3
            total = parallel.share(loss.detach().clone())
            gradients = whole({name: p.grad for name, p in model.named_parameters()})
            if kind == "fsdp":
                compare_parts(model, world)
            plain = parallel.gather_model()
            taken = snapshot(model.state_dict(), keeps=world.leads)
            for name, tensor in plain.state_dict().items():
                assert torch.equal(taken[name], tensor) if world.leads else taken[name] is None
            if world.leads:
                found = {"loss": total, "gradients": gradients, "model": plain.state_dict()}
                torch.save(found, folder / f"{kind}.pt")


@gloo
def test_gradients_of_ranks_add_up_to_those_of_one_process(tmp_path: Path) -> None:
    assert run_on_ranks(train_on_ranks, tmp_path) == [0, 0]
    model, gradients = make_model(), wanted_gradients()
    loss = model(IMAGES).square().sum().detach()
    for kind in KINDS:
        found = torch.load(tmp_path / f"{kind}.pt")
        torch.testing.assert_close(found["loss"], loss)
        torch.testing.assert_close(dict(found["gradients"]), gradients)
        torch.testing.assert_close(dict(found["model"]), dict(model.state_dict()))
