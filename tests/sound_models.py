"""Set-ups without a mistake, each a function that gives the arguments of `loupe.check`."""

from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planted_models import Case, Net, case, data
from torchloupe.model.losses import make_loss
from torchloupe.model.muon import Muon
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.zoo import CNN
from torchloupe.model.zoo import Net as Linear
from torchloupe.model.zoo import ResidualNet as Residual

SOUND: dict[str, Callable[[], Case]] = {}
SLOW: dict[str, Callable[[], Case]] = {}  # of seconds each

FAMILIES = {
    "resnet10t": 64,
    "efficientnet_lite0": 64,
    "mobilenetv3_small_050": 64,
    "convnext_atto": 64,
    "regnetx_002": 64,
    "vit_tiny_patch16_224": 224,
    "deit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "mixer_s32_224": 224,
    "nf_regnet_b0": 64,
    "densenet121": 64,
    "ghostnet_050": 64,
    "xcit_nano_12_p16_224": 224,
    "repvgg_a0": 64,
    "poolformerv2_s12": 64,
}


def sound(make: Callable[[], Case]) -> Callable[[], Case]:
    SOUND[make.__name__] = make
    return make


def adam(model: nn.Module, rate: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=rate)


def family(name: str) -> Callable[[], Case]:
    def make() -> Case:
        model = timm.create_model(name, pretrained=False, num_classes=5)
        batch = data(16, channels=3, side=FAMILIES[name])
        return case(model, optimizer=torch.optim.AdamW(model.parameters(), 1e-3), batches=batch)

    return make


for _name in FAMILIES:
    SLOW[_name] = family(_name)
for _name, _kind in (("net", Linear), ("cnn", CNN), ("residual", Residual)):
    for _optimizer in ("adam", "sgd", "muon"):

        def _zoo(kind: Any = _kind, optimizer: str = _optimizer) -> Case:
            model = kind(in_channels=1, classes=5)
            lr = 0.05 if optimizer == "sgd" else 0.0
            return case(model, optimizer=make_optimizer(optimizer, model, lr=lr))

        SOUND[f"{_name}_with_{_optimizer}"] = _zoo


@sound
def sgd_with_momentum_and_decay() -> Case:
    model = Net()
    rule = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    return case(model, optimizer=rule)


@sound
def muon() -> Case:
    model = Net()
    return case(model, optimizer=Muon(model.parameters()))


@sound
def focal_loss() -> Case:
    model = Net()
    return case(model, make_loss("focal", classes=5), adam(model))


@sound
def focal_loss_of_ones_own() -> Case:
    def focal(out: Tensor, y: Tensor) -> Tensor:
        ce = F.cross_entropy(out, y, reduction="none")
        return ((1 - (-ce).exp()) ** 2 * ce).mean()

    model = Net()
    return case(model, focal, adam(model))


@sound
def smoothing() -> Case:
    return case(Net(), nn.CrossEntropyLoss(label_smoothing=0.2), None)


@sound
def class_weights() -> Case:
    return case(Net(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 2.0, 1.0, 9.0])))


@sound
def log_softmax_and_nll() -> Case:
    return case(nn.Sequential(Net(), nn.LogSoftmax(dim=1)), nn.NLLLoss())


@sound
def sigmoid_and_bce() -> Case:
    images, labels = data()
    return case(
        nn.Sequential(Net(), nn.Sigmoid()),
        nn.BCELoss(),
        batches=(images, F.one_hot(labels).float()),
    )


@sound
def softmax_and_squared_error() -> Case:
    return case(nn.Sequential(Net(), nn.Softmax(dim=1)), nn.MSELoss())


@sound
def minus_log_of_probabilities() -> Case:
    def loss(p: Tensor, y: Tensor) -> Tensor:
        return -(p[torch.arange(len(y)), y] + 1e-8).log().mean()

    return case(nn.Sequential(Net(), nn.Softmax(dim=1)), loss)


@sound
def hinge() -> Case:
    return case(Net(), nn.MultiMarginLoss())


@sound
def one_logit_for_two_classes() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out.squeeze(1), y.float())

    return case(Net(1), loss, batches=data(classes=2))


@sound
def two_classes() -> Case:
    model = Net(2)
    return case(model, optimizer=adam(model), batches=data(classes=2))


@sound
def five_hundred_classes() -> Case:
    model = Net(500)
    images, _ = data(64)
    return case(model, optimizer=adam(model), batches=(images, torch.arange(64) * 7 % 500))


@sound
def few_images() -> Case:
    model = Net()
    return case(model, optimizer=adam(model), batches=data(6, classes=3))


@sound
def multi_label() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float() + F.one_hot((labels + 2) % 5, 5).float()
    model = Net()
    return case(model, nn.BCEWithLogitsLoss(), adam(model), (images, rows))


@sound
def multi_label_focal() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float()
    return case(Net(), make_loss("focal", classes=5, multi_label=True), None, (images, rows))


@sound
def soft_margin_for_many_labels() -> Case:
    images, labels = data()
    return case(Net(), nn.MultiLabelSoftMarginLoss(), None, (images, F.one_hot(labels, 5).float()))


@sound
def colour() -> Case:
    model = CNN(in_channels=3, classes=5)
    return case(model, optimizer=adam(model), batches=data(channels=3, side=16))


@sound
def images_from_minus_one_to_one() -> Case:
    images, labels = data()
    return case(Net(), batches=((images / images.abs().max()), labels))


@sound
def images_from_0_to_1() -> Case:
    images, labels = data()
    low = images.min()
    return case(Net(), batches=((images - low) / (images.max() - low), labels))


@sound
def group_norm() -> Case:
    body = [nn.Conv2d(1, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 32, 3, 2, 1)]
    body += [nn.GroupNorm(8, 32), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*body, nn.Dropout(0.2), nn.Linear(32, 5))
    return case(model, optimizer=adam(model))


@sound
def plain_perceptron() -> Case:
    layers = [nn.Flatten(), nn.Linear(144, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 64)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5))
    return case(model, optimizer=torch.optim.SGD(model.parameters(), 0.01, 0.9))


@sound
def logistic_regression() -> Case:
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 5))
    return case(model, optimizer=torch.optim.SGD(model.parameters(), 0.01))


@sound
def leaky_tanh_and_elu() -> Case:
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.LeakyReLU(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(512, 32), nn.ELU(), nn.Linear(32, 5)),
    )
    return case(model, optimizer=adam(model))


@sound
def lenet_of_tanh() -> Case:
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 3)),
        *(nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.Tanh()),
        nn.Linear(32, 5),
    )
    return case(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))


@sound
def linear_bottlenecks_and_separable_convolutions() -> Case:
    def block(inside: int, outside: int) -> list[nn.Module]:
        return [
            *(nn.Conv2d(inside, 4 * inside, 1, bias=False), nn.BatchNorm2d(4 * inside)),
            *(nn.ReLU6(), nn.Conv2d(4 * inside, 4 * inside, 3, 1, 1, groups=4 * inside)),
            *(nn.BatchNorm2d(4 * inside), nn.ReLU6(), nn.Conv2d(4 * inside, outside, 1)),
            nn.BatchNorm2d(outside),
        ]

    body = [nn.Conv2d(1, 8, 3, 2, 1), *block(8, 12), *block(12, 16)]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    return case(model, optimizer=adam(model))


@sound
def a_head_of_low_rank() -> Case:
    class Low(Net):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(32, 2, bias=False), nn.Linear(2, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.features(x)) + self.up(self.down(self.features(x)))

    return case(Low())


class Rezero(nn.Module):
    """A residual block that begins as nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


@sound
def zero_head_and_zero_gammas() -> Case:
    head = nn.Linear(16, 5)
    nn.init.zeros_(head.weight)
    body = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), Rezero(), Rezero()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return case(model, optimizer=adam(model))


@sound
def weights_tied_on_purpose() -> Case:
    class Tied(Net):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.b(self.a(self.features(x)).relu()).relu())

    model = Tied()
    return case(model, optimizer=adam(model))


@sound
def one_block_called_three_times() -> Case:
    class Looped(Net):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(32, 32), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x)
            for _ in range(3):
                x = x + self.block(x)
            return self.fc2(x)

    return case(Looped())


@sound
def a_shared_block_with_a_name_of_its_own() -> Case:
    class Shared(Net):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
            self.layers = nn.ModuleList([self.shared] * 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x)
            for layer in self.layers:
                x = layer(x)
            return self.fc2(x)

    return case(Shared())


@sound
def one_relu_object_everywhere() -> Case:
    relu = nn.ReLU(inplace=True)
    body = [nn.Conv2d(1, 8, 3), relu, nn.Conv2d(8, 8, 3), relu, nn.Flatten(), nn.Linear(512, 5)]
    return case(nn.Sequential(*body))


def trained(model: nn.Module) -> nn.Module:
    """The model after some steps."""
    images, labels = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


@sound
def a_frozen_pretrained_stem() -> Case:
    model = trained(Net())
    for layer in (model.conv1, model.bn1, model.conv2):
        layer.requires_grad_(False)
    model.fc2 = nn.Linear(32, 5)
    weights = [p for p in model.parameters() if p.requires_grad]
    return case(model, optimizer=torch.optim.AdamW(weights, 1e-3))


@sound
def a_frozen_stem_that_stays_in_eval_mode() -> Case:
    class Stemmed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            body = trained(Net())
            self.stem = nn.Sequential(body.conv1, body.bn1, nn.ReLU(), nn.Dropout(0.1))
            self.stem.requires_grad_(False)
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5))

        def train(self, mode: bool = True) -> "Stemmed":
            super().train(mode)
            self.stem.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.stem(x)
            return self.head(x)

    return case(Stemmed())


@sound
def a_loss_like_that_of_a_critic() -> Case:
    def critic(out: Tensor, y: Tensor) -> Tensor:
        truth = F.one_hot(y, out.shape[1]).bool()
        return out[~truth].mean() - out[truth].mean() + 0.01 * (out**2).mean()

    return case(Net(), critic)


@sound
def least_squares_like_those_of_a_gan() -> Case:
    def squares(out: Tensor, y: Tensor) -> Tensor:
        truth = F.one_hot(y, out.shape[1]).float()
        return 0.5 * ((out - truth) ** 2).mean()

    return case(Net(), squares)


@sound
def a_saturating_gan_loss() -> Case:
    def adversarial(out: Tensor, y: Tensor) -> Tensor:
        truth = F.one_hot(y, out.shape[1]).bool()
        return F.softplus(-out[truth]).mean() + F.softplus(out[~truth]).mean()

    return case(Net(), adversarial)


@sound
def gated_and_squeezed() -> Case:
    class Gated(Net):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 32), nn.Sigmoid())

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x)
            return self.fc2(x * self.gate(x))

    return case(Gated())


@sound
def a_transformer_of_ones_own() -> Case:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(1, 32, 4, 4)
            self.place = nn.Parameter(torch.zeros(1, 9, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x).flatten(2).transpose(1, 2) + self.place
            return self.head(self.body(x).mean(dim=1))

    model = Attention()
    return case(model, optimizer=torch.optim.AdamW(model.parameters(), 1e-3))


@sound
def a_dict_of_outputs() -> Case:
    class Named(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": super().forward(x)}

    return case(Named(), lambda out, y: F.cross_entropy(out["logits"], y))


@sound
def a_warm_up_from_zero() -> Case:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 100))
    return case(model, optimizer=optimizer)


@sound
def a_small_rate_for_finetuning() -> Case:
    model = trained(Net())
    return case(model, optimizer=torch.optim.AdamW(model.parameters(), 1e-5))


@sound
def batches_from_a_loader() -> Case:
    draw = torch.Generator().manual_seed(5)
    pairs = torch.utils.data.TensorDataset(*data())
    loader = torch.utils.data.DataLoader(pairs, 8, shuffle=True, generator=draw)
    return case(Net(), batches=loader)
