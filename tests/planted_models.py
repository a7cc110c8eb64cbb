"""Mistakes as people write them, each with the name of the verdict and a part of its place.

A mistake is a function that gives the arguments of `loupe.check`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Case = dict[str, Any]
PLANTED: dict[str, tuple[str, str, Callable[[], Case]]] = {}


def planted(name: str, where: str = "") -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def keep(make: Callable[[], Case]) -> Callable[[], Case]:
        PLANTED[make.__name__] = (name, where, make)
        return make

    return keep


def data(count: int = 48, classes: int = 5, channels: int = 1, side: int = 12) -> Any:
    """Images with a class each that can be seen in them, and labels in turn."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, side, side, generator=draw)
    labels = torch.arange(count) % classes
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, label : label + 3] += 1.5
    return images, labels


class Net(nn.Module):
    """The network of many tutorials."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc1 = nn.Linear(16 * 9, 32)
        self.fc2 = nn.Linear(32, classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.fc1(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.features(x))


def case(model: nn.Module, loss: Any = None, optimizer: Any = None, batches: Any = None) -> Case:
    loss = nn.CrossEntropyLoss() if loss is None else loss
    batches = data() if batches is None else batches
    return {"model": model, "loss": loss, "optimizer": optimizer, "batches": batches}


@planted("softmax-before-cross-entropy")
def softmax_in_forward() -> Case:
    class Softly(Net):
        def forward(self, x: Tensor) -> Tensor:
            return F.softmax(super().forward(x), dim=1)

    return case(Softly())


@planted("softmax-before-cross-entropy", "1")
def softmax_as_last_layer_and_a_loss_in_a_lambda() -> Case:
    model = nn.Sequential(Net(), nn.Softmax(dim=-1))
    return case(model, lambda out, y: F.cross_entropy(out, y, label_smoothing=0.1))


@planted("log-softmax-before-cross-entropy")
def log_softmax_and_cross_entropy() -> Case:
    return case(nn.Sequential(Net(), nn.LogSoftmax(dim=1)))


@planted("sigmoid-before-cross-entropy")
def sigmoid_and_cross_entropy() -> Case:
    class Squashed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(super().forward(x))

    return case(Squashed())


@planted("relu-before-the-loss")
def relu_on_the_last_layer() -> Case:
    class Cut(Net):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.fc2(self.features(x)))

    return case(Cut())


@planted("tanh-before-the-loss")
def tanh_on_the_last_layer() -> Case:
    return case(nn.Sequential(Net(), nn.Tanh()))


@planted("probabilities-before-binary-loss")
def sigmoid_and_bce_with_logits() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float()
    return case(nn.Sequential(Net(), nn.Sigmoid()), nn.BCEWithLogitsLoss(), batches=(images, rows))


@planted("probabilities-before-binary-loss")
def sigmoid_and_bce_with_logits_for_two_classes() -> Case:
    images, labels = data(classes=2)
    model = nn.Sequential(Net(1), nn.Sigmoid())

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out.squeeze(1), y.float())

    return case(model, loss, batches=(images, labels))


@planted("nll-without-log-softmax")
def logits_and_nll() -> Case:
    return case(Net(), nn.NLLLoss())


@planted("nll-without-log-softmax")
def softmax_and_nll() -> Case:
    return case(
        nn.Sequential(Net(), nn.Softmax(dim=1)), lambda out, y: F.nll_loss(out, y, reduction="sum")
    )


@planted("dropout-on-logits", "1")
def dropout_after_the_last_layer() -> Case:
    return case(nn.Sequential(Net(), nn.Dropout(0.5)))


@planted("more-outputs-than-classes")
def a_thousand_outputs_for_five_classes() -> Case:
    return case(Net(1000))


@planted("output-ignores-image")
def the_image_is_multiplied_by_zero() -> Case:
    class Blind(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(torch.zeros_like(self.features(x)) + 0.1)

    return case(Blind())


@planted("output-ignores-image")
def pooled_to_a_norm_of_one_number() -> Case:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)
            self.norm = nn.LayerNorm(1)
            self.fc = nn.Linear(1, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(self.conv(x).relu().mean(dim=(2, 3))))

    return case(Normed())


@planted("output-depends-on-other-images")
def softmax_over_the_batch() -> Case:
    class Attending(Net):
        def forward(self, x: Tensor) -> Tensor:
            h = self.features(x)
            return self.fc2(torch.softmax(h @ h.T, dim=1) @ h)

    return case(Attending())


@planted("output-depends-on-other-images", "bn")
def batchnorm_without_running_statistics() -> Case:
    class Batchwise(Net):
        def __init__(self) -> None:
            super().__init__()
            self.bn1 = nn.BatchNorm2d(8, track_running_stats=False)

    return case(Batchwise())


@planted("output-differs-between-evaluations")
def functional_dropout_without_training() -> Case:
    class Noisy(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(F.dropout(self.features(x), 0.5))

    return case(Noisy())


@planted("unregistered-layers", "layers[0]")
def layers_in_a_plain_list() -> Case:
    class Listed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(32, 32) for _ in range(2)]

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x)
            for layer in self.layers:
                x = layer(x).relu()
            return self.fc2(x)

    return case(Listed())


@planted("unregistered-layers", "heads['a']")
def heads_in_a_plain_dict() -> Case:
    class Headed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.heads = {"a": nn.Linear(32, 5)}

        def forward(self, x: Tensor) -> Tensor:
            return self.heads["a"](self.features(x))

    return case(Headed())


@planted("unregistered-layers", "Linear")
def a_layer_made_in_forward() -> Case:
    class Fresh(Net):
        def forward(self, x: Tensor) -> Tensor:
            return nn.Linear(32, 5)(self.features(x))

    return case(Fresh())


@planted("unregistered-parameters", "scale")
def a_tensor_that_wants_a_gradient() -> Case:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.ones(32, requires_grad=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.features(x) * self.scale)

    return case(Scaled())


@planted("repeated-block", "blocks.0")
def a_block_times_three() -> Case:
    class Deep(Net):
        def __init__(self) -> None:
            super().__init__()
            block = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
            self.blocks = nn.Sequential(*[block] * 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.blocks(self.features(x)))

    return case(Deep())


@planted("repeated-block", "layers.0")
def one_layer_appended_in_a_loop() -> Case:
    class Deep(Net):
        def __init__(self) -> None:
            super().__init__()
            layer, layers = nn.Linear(32, 32), []
            for _ in range(3):
                layers += [layer, nn.ReLU()]
            self.layers = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.layers(self.features(x)))

    return case(Deep())


@planted("parameters-without-gradient", "conv1")
def features_detached() -> Case:
    class Detached(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.features(x).detach())

    return case(Detached())


@planted("parameters-without-gradient", "conv1")
def features_under_no_grad() -> Case:
    class Watched(Net):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = F.relu(self.bn1(self.conv1(x)))
            x = F.max_pool2d(x, 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            return self.fc2(F.relu(self.fc1(x.flatten(1))))

    return case(Watched())


@planted("no-gradient-at-all")
def the_whole_forward_under_no_grad() -> Case:
    class Frozen(Net):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    return case(Frozen())


@planted("unused-branch", "skip")
def a_branch_nobody_calls() -> Case:
    class Branched(Net):
        def __init__(self) -> None:
            super().__init__()
            self.skip = nn.Sequential(nn.Linear(32, 32), nn.ReLU())

    return case(Branched())


@planted("frozen-random-weights", "conv2")
def a_stem_frozen_before_its_weights_are_loaded() -> Case:
    model = Net()
    for layer in (model.conv1, model.conv2, model.fc1):
        layer.requires_grad_(False)
    return case(model)


@planted("parameters-not-optimized", "conv1")
def an_optimizer_for_the_last_layer_of_a_random_net() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.SGD(model.fc2.parameters(), lr=0.05))


@planted("parameters-not-optimized", "bias")
def groups_that_forget_the_biases() -> Case:
    model = Net()
    weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
    return case(model, optimizer=torch.optim.SGD(weights, lr=0.05))


@planted("optimizer-of-other-parameters", "fc2")
def a_head_replaced_after_the_optimizer() -> Case:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    model.fc2 = nn.Linear(32, 5)
    return case(model, optimizer=optimizer)


@planted("mode-not-reaching", "bn1")
def train_without_super() -> Case:
    class Stuck(Net):
        def train(self, mode: bool = True) -> "Stuck":
            self.training = mode
            return self

    return case(Stuck())


@planted("mode-not-reaching", "bn1")
def batchnorm_put_into_eval_by_the_model() -> Case:
    class Half(Net):
        def train(self, mode: bool = True) -> "Half":
            super().train(mode)
            self.bn1.eval()
            return self

    return case(Half())


@planted("batchnorm-never-moves", "bn1")
def batchnorm_with_momentum_zero() -> Case:
    model = Net()
    model.bn1.momentum = 0.0
    return case(model)


@planted("batchnorm-momentum", "bn1")
def the_momentum_of_another_library() -> Case:
    model = Net()
    model.bn1 = nn.BatchNorm2d(8, momentum=0.99)
    return case(model)


@planted("symmetric-weights", "conv1")
def all_weights_the_same() -> Case:
    model = Net()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01)
    return case(model)


@planted("symmetric-weights", "fc1")
def linear_layers_at_zero() -> Case:
    model = Net()
    for layer in (model.fc1, model.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return case(model)


@planted("dead-relus", "fc1")
def biases_far_below_zero() -> Case:
    model = Net()
    nn.init.constant_(model.fc1.bias, -10.0)
    return case(model)


@planted("saturated-activations", "0")
def a_tanh_net_with_weights_of_one() -> Case:
    body = [nn.Flatten(), nn.Linear(144, 64), nn.Tanh(), nn.Linear(64, 5)]
    nn.init.normal_(body[1].weight, std=10.0)
    return case(nn.Sequential(nn.Sequential(*body[:3]), body[3]))


@planted("vanishing-gradients", "1")
def a_deep_net_of_sigmoids() -> Case:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(144, 32), nn.Sigmoid()]
    for _ in range(14):
        layers += [nn.Linear(32, 32), nn.Sigmoid()]
    return case(nn.Sequential(*layers, nn.Linear(32, 5)))


@planted("vanishing-gradients", "conv1")
def features_rounded() -> Case:
    class Rounded(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2((self.features(x) * 255).round() / 255)

    return case(Rounded())


@planted("no-nonlinearity", "")
def relus_forgotten() -> Case:
    return case(
        nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.Linear(64, 32), nn.Linear(32, 5))
    )


@planted("no-nonlinearity", "fc1")
def one_relu_forgotten() -> Case:
    class Straight(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            return self.fc2(self.fc1(x.flatten(1)))

    return case(Straight())


@planted("step-raises")
def class_numbers_from_one() -> Case:
    images, labels = data()
    return case(Net(), batches=(images, labels + 1))


@planted("loss-without-gradient", "loss")
def a_loss_of_predictions() -> Case:
    return case(Net(), lambda out, y: (out.argmax(dim=1) != y).float().mean())


@planted("loss-rewards-wrong-answers", "loss")
def a_loss_with_the_wrong_sign() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return out.log_softmax(dim=1)[torch.arange(len(y)), y].mean()

    return case(Net(), loss)


@planted("loss-ignores-labels", "loss")
def a_loss_that_broadcasts() -> Case:
    images, labels = data(classes=2)
    return case(Net(1), lambda out, y: ((out - y.float()) ** 2).mean(), batches=(images, labels))


@planted("loss-ignores-labels", "loss")
def a_loss_of_the_own_predictions() -> Case:
    return case(Net(), lambda out, y: F.cross_entropy(out, out.argmax(dim=1)) + 0 * y.sum())


@planted("first-loss-too-high", "loss")
def images_from_0_to_255() -> Case:
    images, labels = data()
    images = (images - images.min()) / (images.max() - images.min()) * 255
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 5))
    return case(model, batches=(images, labels))


@planted("first-loss-too-high", "loss")
def a_head_drawn_too_large() -> Case:
    model = Net()
    nn.init.normal_(model.fc2.weight, std=20.0)
    return case(model)


@planted("learning-rate-too-high", "optimizer")
def adam_with_the_rate_of_sgd() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.Adam(model.parameters(), lr=1.0))


@planted("learning-rate-too-high", "optimizer")
def sgd_that_blows_up() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.SGD(model.parameters(), lr=30.0, momentum=0.9))


@planted("learning-rate-too-low", "optimizer")
def a_rate_with_too_many_zeros() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.SGD(model.parameters(), lr=1e-8))


@planted("batch-not-learned")
def logits_divided_by_ten_thousand() -> Case:
    class Cold(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 1e5

    return case(Cold())


class Scaled(Net):
    """A network whose forward scales its images first."""

    def __init__(self, scale: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.scale(x))


@planted("images-scaled-again")
def divided_by_255_in_forward() -> Case:
    return case(Scaled(lambda x: x / 255))


@planted("images-scaled-again")
def brought_from_bytes_to_minus_one_in_forward() -> Case:
    return case(Scaled(lambda x: x / 127.5 - 1))


@planted("images-scaled-again")
def divided_by_255_in_place() -> Case:
    return case(Scaled(lambda x: x.clone().mul_(1 / 255)))


@planted("images-scaled-again")
def normalised_in_forward_again() -> Case:
    images, labels = data(channels=3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    model = Scaled(lambda x: (x - mean[:, None, None]) / std[:, None, None])
    model.conv1 = nn.Conv2d(3, 8, 3, padding=1)
    return case(model, batches=(images, labels))
