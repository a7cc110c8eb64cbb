"""More set-ups without a mistake: losses of one's own, odd heads, optimizers, finetuning."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
from torchvision.ops import StochasticDepth

from planted_models import Case, Net, Scaled, case, data
from sound_models import adam, sound, trained

LR = 1e-3


def with_loss(loss: object) -> Case:
    model = Net()
    return case(model, loss, adam(model))


@sound
def sgd_without_momentum() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))


@sound
def hinge_of_a_gan() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        z = out.squeeze(1)
        return (F.relu(1 - z) * y + F.relu(1 + z) * (1 - y)).mean()

    model = Net(1)
    rule = torch.optim.Adam(model.parameters(), 2e-4, betas=(0.5, 0.999))
    return case(model, loss, rule, data(classes=2))


@sound
def wasserstein() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return ((1 - 2 * y) * out.squeeze(1)).mean()

    model = Net(1)
    return case(model, loss, torch.optim.RMSprop(model.parameters(), 5e-5), data(classes=2))


@sound
def a_weight_and_its_transpose() -> Case:
    class Mirrored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 144) * 0.05)
            self.fc = nn.Linear(144, 5)

        def forward(self, x: Tensor) -> Tensor:
            inside = F.gelu(F.linear(x.flatten(1), self.weight))
            return self.fc(F.linear(inside, self.weight.t()))

    return case(Mirrored())


@sound
def rates_by_layer_for_finetuning() -> Case:
    model = trained(Net())
    body = [*model.conv1.parameters(), *model.bn1.parameters(), *model.conv2.parameters()]  # type: ignore[operator, union-attr]
    groups = [
        {"params": body, "lr": 1e-6},
        {"params": list(model.fc1.parameters()), "lr": 1e-4},  # type: ignore[union-attr]
        {"params": list(model.fc2.parameters()), "lr": LR},  # type: ignore[union-attr]
    ]
    return case(model, optimizer=torch.optim.AdamW(groups))


@sound
def a_tiny_rate_and_the_decay_of_a_transformer() -> Case:
    model = trained(Net())
    return case(model, optimizer=torch.optim.AdamW(model.parameters(), 1e-6, weight_decay=0.3))


@sound
def decay_for_weights_alone() -> Case:
    model = Net()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return case(model, optimizer=torch.optim.AdamW(groups, LR))


@sound
def decay_within_adam() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.Adam(model.parameters(), LR, weight_decay=1e-2))


@sound
def mixed_images_with_rows() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float()
    mixed = 0.3 * images + 0.7 * images.roll(1, 0)
    model = Net()
    return case(model, None, adam(model), (mixed, 0.3 * rows + 0.7 * rows.roll(1, 0)))


@sound
def two_classes_smoothed() -> Case:
    model = Net(2)
    loss = nn.CrossEntropyLoss(label_smoothing=0.2)
    return case(model, loss, adam(model), data(classes=2))


@sound
def strokes_of_ones_on_zeros() -> Case:
    images, labels = data()
    return case(Net(), batches=((images > 1.2).float(), labels))


@sound
def much_dropout() -> Case:
    class Dropped(Net):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.8)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.drop(self.features(x)))

    return case(Dropped())


@sound
def one_body_for_two_views() -> Case:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = Net(), nn.Linear(64, 5)
            del self.body.fc2

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.body.features(x), self.body.features(x.flip(3))
            return self.head(torch.cat([a, (a - b).abs()], dim=1))

    return case(Twins())


class Cosine(Net):
    """Cosines to one direction a class."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.ways = scale, nn.Parameter(torch.randn(5, 32))
        del self.fc2

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(self.features(x)), F.normalize(self.ways))


@sound
def scaled_cosines() -> Case:
    return case(Cosine(16.0))


@sound
def a_margin_between_angles() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        angle = torch.acos(out.clamp(-1 + 1e-6, 1 - 1e-6))
        return F.cross_entropy(16 * torch.cos(angle + 0.2 * F.one_hot(y, 5)), y)

    return case(Cosine(1.0), loss)


@sound
def parametrised_layers() -> Case:
    model = Net()
    model.fc1 = nn.utils.parametrizations.weight_norm(model.fc1)
    model.conv2 = nn.utils.parametrizations.spectral_norm(model.conv2)
    return case(model, optimizer=adam(model))


@sound
def the_hardest_images_of_a_batch() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        each = F.cross_entropy(out, y, reduction="none")
        return each.topk(max(1, len(each) * 7 // 10)).values.mean()

    return with_loss(loss)


@sound
def logits_moved_by_the_frequencies() -> Case:
    moved = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1]).log()
    return with_loss(lambda out, y: F.cross_entropy(out + moved, y))


@sound
def a_bounded_loss() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return ((1 - out.softmax(dim=1).gather(1, y[:, None]) ** 0.7) / 0.7).mean()

    return with_loss(loss)


@sound
def a_sum_divided_by_its_images() -> Case:
    return with_loss(lambda out, y: F.cross_entropy(out, y, reduction="sum") / len(y))


@sound
def one_output_for_ordered_classes() -> Case:
    return case(Net(1), lambda out, y: F.mse_loss(out.squeeze(1), y.float()))


@sound
def an_auxiliary_head() -> Case:
    class Helped(Net):
        def __init__(self) -> None:
            super().__init__()
            self.aux = nn.Linear(32, 5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            inside = self.features(x)
            return self.fc2(inside), self.aux(inside)

    def loss(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return F.cross_entropy(out[0], y) + 0.3 * F.cross_entropy(out[1], y)

    return case(Helped(), loss)


@sound
def images_without_a_label() -> Case:
    images, labels = data()
    labels[::7] = -100
    return case(Net(), batches=(images, labels))


@sound
def rare_positives() -> Case:
    images, _ = data()
    return case(Net(2), batches=(images, (torch.arange(48) % 16 == 3).long()))


@sound
def tiny_shuffled_batches_of_two_classes() -> Case:
    pairs = TensorDataset(*data(200, classes=2))
    return case(Net(2), batches=DataLoader(pairs, 2, shuffle=True))


@sound
def a_weighted_sampler() -> Case:
    sampler = WeightedRandomSampler(torch.ones(200).tolist(), 200)
    return case(Net(), batches=DataLoader(TensorDataset(*data(200)), 16, sampler=sampler))


@sound
def paths_dropped_at_random() -> Case:
    class Residual(Net):
        def __init__(self) -> None:
            super().__init__()
            self.branch, self.drop = nn.Linear(32, 32), StochasticDepth(0.3, "row")

        def forward(self, x: Tensor) -> Tensor:
            inside = self.features(x)
            return self.fc2(inside + self.drop(self.branch(inside).relu()))

    return case(Residual())


@sound
def an_average_of_the_model() -> Case:
    rule = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    return case(torch.optim.swa_utils.AveragedModel(Net(), multi_avg_fn=rule))


@sound
def bytes_divided_in_forward() -> Case:
    images, labels = data()
    pixels = ((images + 4) * 25).clamp(0, 255).round()
    return case(Scaled(lambda x: x / 255), batches=(pixels, labels))


@sound
def pixels_normalised_in_forward() -> Case:
    images, labels = data()
    pixels = ((images + 4) / 10).clamp(0, 1)
    return case(Scaled(lambda x: (x - 0.45) / 0.22), batches=(pixels, labels))


@sound
def one_normalisation_made_another() -> Case:
    return case(Scaled(lambda x: ((x * 0.229 + 0.485) - 0.5) / 0.5))


@sound
def from_minus_one_to_that_of_clip() -> Case:
    images, labels = data()
    return case(
        Scaled(lambda x: ((x + 1) / 2 - 0.48) / 0.27), batches=(images.div(5).clamp(-1, 1), labels)
    )
