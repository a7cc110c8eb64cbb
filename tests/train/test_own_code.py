"""Models and losses with a state of their own: equal fits are equal, and resumes are exact."""

import random
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchloupe.run.events import read_events
from torchloupe.train.start import fit, resume
from torchloupe.trained.run import open_run

SETTINGS = {
    "hardware.threads": 1,
    "hardware.precision": "fp32",
    "train.report": False,
    "train.batch_total": 16,
    "train.save_every_epochs": 1.0,
    "train.keep": 10,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.1,
}
pytestmark = pytest.mark.usefixtures("own_cache")


def make_data(count=48):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.randn(count, 1, 6, 6, generator=draw) + labels[:, None, None, None]
    return TensorDataset(images, labels)


DATA = make_data()


class Plain(nn.Module):
    """A linear model, whose images `change` alters in training."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(36, 3)
        self.begin()

    def begin(self) -> None:
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.change(x) if self.training else x).flatten(1))

    def change(self, x: torch.Tensor) -> torch.Tensor:
        return x


class OfRandom(Plain):
    def change(self, x):
        return x * random.random() if random.random() < 0.7 else x


class OfNumpy(Plain):
    def change(self, x):
        return x * float(np.random.rand())


class Counter(Plain):
    def begin(self):
        self.n = 0

    def change(self, x):
        self.n += 1
        return x * (0.0 if self.n <= 2 else 1 / self.n)


class OwnGenerator(Plain):
    def begin(self):
        self.rng = np.random.default_rng(0)

    def change(self, x):
        return x * self.rng.random()


class TorchGenerator(Plain):
    def begin(self):
        self.generator = torch.Generator().manual_seed(0)

    def change(self, x):
        return x + torch.randn(x.shape, generator=self.generator)


class Memory(Plain):
    """A running mean in a plain tensor."""

    def begin(self):
        self.mean = torch.zeros(1, 1, 6, 6)

    def change(self, x):
        self.mean = 0.5 * self.mean + 0.5 * x.mean(0, keepdim=True).detach()
        return x - self.mean


class WarmLoss(nn.Module):
    """Begins with small losses; counts in a buffer and in an attribute."""

    def __init__(self):
        super().__init__()
        self.register_buffer("t", torch.zeros(()))
        self.n = 0

    def forward(self, logits, labels):
        if self.training:
            self.t += 1
            self.n += 1
        return nn.functional.cross_entropy(logits, labels) * (self.t + self.n) / 10


def loss_of_numpy(logits, labels):
    return nn.functional.cross_entropy(logits, labels) * float(0.5 + np.random.rand())


CASES = [
    *((make, None) for make in (OfRandom, OfNumpy, Counter, OwnGenerator, TorchGenerator, Memory)),
    *((Plain, make) for make in (WarmLoss, lambda: loss_of_numpy)),
]
NAMES = [make.__name__ if loss is None else f"loss-{loss.__name__}" for make, loss in CASES]


def run(out, make, loss=None, *, data=DATA, epochs=3, **settings):
    torch.manual_seed(1)
    given = {} if loss is None else {"loss": loss()}
    settings = {**SETTINGS, **settings}
    return fit((data, DATA), model=make(), epochs=epochs, out=out, settings=settings, **given)


@pytest.mark.parametrize(("make", "loss"), CASES, ids=NAMES)
def test_equal_fits_are_equal_whatever_was_drawn_before(tmp_path, make, loss):
    one = run(tmp_path / "one", make, loss)
    random.random(), np.random.rand(), torch.rand(1)
    other = run(tmp_path / "other", make, loss)
    assert torch.equal(one.model.fc.weight, other.model.fc.weight)


@pytest.mark.parametrize(
    ("make", "loss"), [case for case in CASES if case[1] is None], ids=NAMES[:-2]
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, make, loss):
    run(tmp_path / "run", make, loss)
    folder = tmp_path / "run"
    whole = open_run(folder, model=make(), which="last").model.fc.weight
    for path in ("checkpoints/step-00000006", "checkpoints/step-00000009"):
        shutil.rmtree(folder / path)
    for link in ("last", "best"):
        (folder / link).unlink(missing_ok=True)
    random.seed(99), np.random.seed(99)
    resume(folder, data=(DATA, DATA), model=make())
    again = open_run(folder, model=make(), which="last").model.fc.weight
    assert torch.equal(whole, again)


def test_a_plain_model_has_no_state_of_its_own_in_checkpoints(tmp_path):
    run(tmp_path / "run", Plain, epochs=1)
    names = {path.name for path in (tmp_path / "run" / "last").iterdir()}
    assert names == {"model.safetensors", "optimizer.json", "state.json", "manifest.json"}


def test_the_generators_of_the_user_are_where_they_were(tmp_path):
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    wanted = random.random(), np.random.rand(), torch.rand(1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    fit(DATA, model=OfRandom, epochs=1, out=tmp_path / "run", settings=SETTINGS)
    assert (random.random(), np.random.rand(), torch.rand(1)) == wanted


@pytest.mark.parametrize(("make", "loss"), [(Counter, None), (Plain, WarmLoss)])
def test_weights_are_those_of_a_bare_loop(tmp_path, make, loss):
    torch.manual_seed(1)
    model, criterion = make(), loss() if loss else nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for images, labels in DataLoader(DATA, 16):
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
    torch.manual_seed(1)
    mine, own_loss = make(), loss() if loss else nn.CrossEntropyLoss()
    fit(
        (DataLoader(DATA, 16), DATA),
        model=mine,
        loss=own_loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        epochs=2,
        out=tmp_path / "run",
        settings={k: v for k, v in SETTINGS.items() if not k.startswith(("opt", "train.batch"))},
    )
    last = open_run(tmp_path / "run", model=make(), which="last").model
    assert torch.equal(model.fc.weight, last.fc.weight)
    if loss is None:
        assert mine.n == model.n
    else:
        assert (own_loss.n, float(own_loss.t)) == (criterion.n, float(criterion.t))


def test_gradient_hooks_are_called_in_training_alone(tmp_path):
    torch.manual_seed(1)
    model, calls = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Linear(4, 3)), []
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: calls.append("gradient"))
        parameter.register_post_accumulate_grad_hook(lambda each: calls.append("added"))
    model[2].register_full_backward_hook(lambda *_: calls.append("layer"))
    fit(DATA, model=model, epochs=1, out=tmp_path / "run", settings=SETTINGS)
    steps = 3
    counts = {name: calls.count(name) for name in ("gradient", "added", "layer")}
    assert counts == {"gradient": 4 * steps, "added": 4 * steps, "layer": steps}


def test_what_can_not_be_saved_is_noted_by_name(tmp_path):
    class Odd(Plain):
        def begin(self):
            self.how = max

        def change(self, x):
            self.how = min
            return x

    run(tmp_path / "run", Odd, epochs=1)
    notes = [event.get("note", "") for event in read_events(tmp_path / "run")]
    assert (
        sum("model.how (builtin_function_or_method) changes in training" in n for n in notes) == 1
    )


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.LazyConv2d(4, 3), nn.LazyLinear(3)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


def first_weights(tmp_path, seed, model):
    settings = {**SETTINGS, "optimizer.lr": 1e-12, "train.seed": seed, "schedule.name": "constant"}
    done = fit(DATA, model=model, epochs=1, out=tmp_path / f"{seed}-{id(model)}", settings=settings)
    return done.model.fc.weight.detach().clone()


@pytest.mark.parametrize("make", [lambda: Lazy, Lazy], ids=["class", "instance"])
def test_the_seed_decides_the_weights_of_lazy_layers(tmp_path, make):
    one = first_weights(tmp_path / "a", 1, make())
    torch.rand(1)
    again = first_weights(tmp_path / "b", 1, make())
    other = first_weights(tmp_path / "c", 2, make())
    assert torch.equal(one, again)
    assert float((one - other).abs().max()) > 0.01


def test_a_model_whose_constructor_draws_from_numpy_follows_the_seed(tmp_path):
    class Drawn(Plain):
        def begin(self):
            with torch.no_grad():
                self.fc.weight.copy_(torch.from_numpy(np.random.randn(3, 36)) * 0.1)

    one, again = (first_weights(tmp_path / name, 1, Drawn) for name in "ab")
    assert torch.equal(one, again)


WEIGHT = torch.tensor([1.0, 0.2, 3.0])


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        ("auto", {"loss.weights": "balanced"}),
        ("auto", {"loss.weights": [1.0, 0.2, 3.0], "loss.smoothing": 0.1}),
        (nn.CrossEntropyLoss(WEIGHT), {}),
        (nn.CrossEntropyLoss(ignore_index=1), {}),
        (nn.CrossEntropyLoss(reduction="sum"), {"optimizer.lr": 0.01}),
        (lambda z, y: nn.functional.cross_entropy(z, y, reduction="sum"), {"optimizer.lr": 0.01}),
    ],
    ids=["balanced", "weights", "torch-weight", "ignored", "torch-sum", "own-sum"],
)
def test_micro_batches_give_the_weights_of_the_whole_batch(tmp_path, loss, settings):
    labels = torch.tensor([0] * 32 + [1] * 10 + [2] * 6)
    data = TensorDataset(DATA.tensors[0], labels)
    weights = []
    for parts in (1, 4):
        torch.manual_seed(1)
        more = {**SETTINGS, **settings, "train.micro_batches": parts}
        out = tmp_path / str(parts)
        fit((data, DATA), model=Plain(), loss=loss, epochs=2, out=out, settings=more)
        weights.append(open_run(out, model=Plain(), which="last").model.fc.weight)
    assert torch.allclose(*weights, atol=1e-6, rtol=0)


class Projected(Plain):
    def begin(self):
        self.register_buffer("table", torch.randn(6, 6), persistent=False)
        self.register_buffer("one", torch.ones(4), persistent=False)

    def forward(self, x):
        return super().forward(x @ self.table * self.one[0])


def test_a_buffer_that_another_model_would_have_otherwise_is_noted_by_name(tmp_path):
    run(tmp_path / "run", Projected, epochs=1)
    notes = [event.get("note", "") for event in read_events(tmp_path / "run")]
    (note,) = [note for note in notes if "not persistent" in note]
    assert note.startswith("buffers that are not persistent are not saved: table; a model that is")
