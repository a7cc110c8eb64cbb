"""Mistakes that people ask about in forums: batches first or not, targets, noise, odd weights."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planted_kinds import sgd
from planted_models import Case, Net, case, data, planted


def adam(model: nn.Module, rate: float = 1e-3, **options: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), rate, **options)  # type: ignore[arg-type]


class Rows(nn.Module):
    """The rows of an image as a sequence for an LSTM."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(12, 32, batch_first=batch_first)
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.squeeze(1))[0][:, -1])


class Attending(nn.Module):
    """The rows of an image as tokens."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=batch_first)
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.squeeze(1))
        return self.fc((x + self.attention(x, x, x)[0]).mean(1))


@planted("output-depends-on-other-images", "rnn")
def an_lstm_along_the_batch() -> Case:
    return case(Rows(batch_first=False))


@planted("output-depends-on-other-images", "attention")
def attention_along_the_batch() -> Case:
    return case(Attending(batch_first=False))


@planted("output-depends-on-other-images")
def log_softmax_over_the_batch() -> Case:
    class Over(Net):
        def forward(self, x: Tensor) -> Tensor:
            return F.log_softmax(super().forward(x), dim=0)

    return case(Over(), nn.NLLLoss())


@planted("outputs-not-told-apart", "loss")
def squared_distance_to_class_numbers() -> Case:
    return case(Net(), lambda out, y: ((out - y.float()[:, None]) ** 2).mean())


@planted("softmax-for-several-labels", "loss")
def cross_entropy_for_several_labels() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float()
    rows[::3, 0] = 1
    return case(Net(), nn.CrossEntropyLoss(), batches=(images, rows))


@planted("loss-without-gradient", "loss")
def cross_entropy_of_one_output() -> Case:
    images, labels = data(classes=2)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y.float()[:, None])

    return case(Net(1), loss, batches=(images, labels))


@planted("output-ignores-image")
def softmax_of_one_output() -> Case:
    images, labels = data(classes=2)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy(out.squeeze(1), y.float())

    return case(nn.Sequential(Net(1), nn.Softmax(dim=1)), loss, batches=(images, labels))


@planted("loss-not-finite", "loss")
def class_weights_from_counts_with_a_zero() -> Case:
    weight = 1 / torch.tensor([10.0, 10.0, 0.0, 10.0, 10.0])
    return case(Net(), nn.CrossEntropyLoss(weight=weight))


@planted("loss-not-finite", "model")
def a_temperature_that_begins_at_zero() -> Case:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / self.temperature

    return case(Scaled())


@planted("optimizer-maximizes", "optimizer")
def an_optimizer_that_climbs() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.SGD(model.parameters(), 0.05, maximize=True))


@planted("optimizer-of-other-parameters")
def an_optimizer_of_a_copy() -> Case:
    model = Net()
    return case(model, optimizer=adam(copy.deepcopy(model)))


@planted("vanishing-gradients", "conv1")
def a_hook_that_forgets_its_mask() -> Case:
    model = Net()
    for parameter in model.conv1.parameters():
        parameter.register_hook(lambda gradient: gradient * 0)
    return case(model, optimizer=sgd(model))


@planted("output-differs-between-evaluations")
def positions_drawn_in_each_forward() -> Case:
    class Placed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.features(x) + torch.randn(32) * 0.5)

    return case(Placed())


@planted("parameters-without-gradient", "layers.0")
def a_loop_that_goes_on_with_its_first_input() -> Case:
    class Stacked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x)
            for layer in self.layers:
                out = layer(x).relu()
            return self.fc2(out)

    return case(Stacked())


@planted("learning-rate-too-low", "optimizer")
def an_epsilon_that_outweighs_every_gradient() -> Case:
    model = Net()
    return case(model, optimizer=adam(model, 1e-4, eps=1e3))


@planted("learning-rate-too-high", "optimizer")
def a_momentum_that_never_fades() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.SGD(model.parameters(), 0.1, momentum=1.0))


@planted("loss-ignores-labels", "loss")
def labels_sorted_without_their_images() -> Case:
    return case(Net(), lambda out, y: F.cross_entropy(out, y.sort().values))


@planted("loss-rewards-wrong-answers", "loss")
def labels_from_the_other_end_of_the_batch() -> Case:
    return case(Net(), lambda out, y: F.cross_entropy(out, y.flip(0)))
