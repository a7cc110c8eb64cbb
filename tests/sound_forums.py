"""Set-ups that look like a mistake of planted_forums and are none."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planted_forums import Attending, Rows, adam
from planted_models import Case, Net, case, data
from sound_models import sound


@sound
def an_lstm_along_the_rows() -> Case:
    model = Rows(batch_first=True)
    return case(model, optimizer=adam(model))


@sound
def an_lstm_of_a_permuted_batch() -> Case:
    class Permuted(Rows):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x.squeeze(1).transpose(0, 1))[0][-1])

    model = Permuted(batch_first=False)
    return case(model, optimizer=adam(model))


@sound
def attention_along_the_rows() -> Case:
    model = Attending(batch_first=True)
    return case(model, optimizer=adam(model))


@sound
def lengths_of_capsules() -> Case:
    class Capsules(Net):
        def __init__(self) -> None:
            super().__init__(20)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).view(len(x), 5, 4).norm(dim=2)

    model = Capsules()
    return case(model, nn.MultiMarginLoss(), adam(model))


@sound
def a_likelihood_that_is_climbed() -> Case:
    def likelihood(out: Tensor, y: Tensor) -> Tensor:
        return out.log_softmax(dim=1).gather(1, y[:, None]).mean()

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, maximize=True)
    return case(model, likelihood, optimizer)


@sound
def labels_that_share_an_image() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float() + F.one_hot((labels + 1) % 5, 5).float()
    model = Net()
    return case(model, nn.CrossEntropyLoss(), adam(model), (images, rows / 2))


@sound
def a_mixture_with_the_next_image() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return 0.7 * F.cross_entropy(out, y) + 0.3 * F.cross_entropy(out, y.flip(0))

    model = Net()
    return case(model, loss, adam(model))


@sound
def what_a_teacher_says() -> Case:
    images, labels = data()
    rows = torch.softmax(F.one_hot(labels, 5) * 3.0, dim=1)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.kl_div(out.log_softmax(dim=1), y, reduction="batchmean")

    model = Net()
    return case(model, loss, adam(model), (images, rows))


@sound
def features_rounded_with_a_gradient() -> Case:
    class Rounded(Net):
        def forward(self, x: Tensor) -> Tensor:
            h = self.features(x)
            return self.fc2(h + ((h * 16).round() / 16 - h).detach())

    model = Rounded()
    return case(model, optimizer=adam(model))


@sound
def the_larger_of_two_outputs_a_class() -> Case:
    class Maxed(Net):
        def __init__(self) -> None:
            super().__init__(10)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).view(-1, 5, 2).amax(dim=2)

    model = Maxed()
    return case(model, optimizer=adam(model))


@sound
def paths_dropped_in_training_alone() -> Case:
    class Dropping(Net):
        def forward(self, x: Tensor) -> Tensor:
            h = self.features(x)
            return self.fc2(h * (torch.rand(len(x), 1) < 0.8) / 0.8 if self.training else h)

    model = Dropping()
    return case(model, optimizer=adam(model))


@sound
def evidence_for_classes() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        alpha = F.softplus(out) + 1
        right = alpha.gather(1, y[:, None]).squeeze(1)
        return (torch.digamma(alpha.sum(dim=1)) - torch.digamma(right)).mean()

    model = Net()
    return case(model, loss, adam(model))


@sound
def a_positive_for_most_images() -> Case:
    images, labels = data()
    rows = F.one_hot(labels, 5).float()
    rows[:, 0] = 1
    model = Net()
    return case(model, nn.BCEWithLogitsLoss(), adam(model), (images, rows))


@sound
def weights_of_one_length() -> Case:
    layers = [nn.Flatten(), nn.Linear(144, 64), nn.SiLU(), nn.Linear(64, 5)]
    nn.utils.parametrizations.weight_norm(layers[1])
    model = nn.Sequential(*layers)
    return case(model, optimizer=adam(model))


@sound
def patches_mixed_without_attention() -> Case:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Linear(12, 32), nn.LayerNorm(32)
            self.rows = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
            self.head = nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x.squeeze(1))
            x = x + self.rows(self.norm(x).transpose(1, 2)).transpose(1, 2)
            return self.head(x.mean(dim=1))

    model = Mixer()
    return case(model, optimizer=torch.optim.AdamW(model.parameters(), 1e-3))


@sound
def features_that_a_hook_keeps() -> Case:
    class Hooked(Net):
        def __init__(self) -> None:
            super().__init__()
            kept: list[Tensor] = []
            self.fc1.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
            self.kept = lambda: kept[-1]

        def forward(self, x: Tensor) -> Tensor:
            self.features(x)
            return self.fc2(self.kept().relu())

    model = Hooked()
    return case(model, optimizer=adam(model))


@sound
def images_that_forward_changes_in_place() -> Case:
    class InPlace(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2).sub_(1))

    model = InPlace()
    return case(model, optimizer=adam(model))


@sound
def a_compiled_part() -> Case:
    model = Net()
    model.fc1 = torch.compile(model.fc1, backend="eager")
    return case(model, optimizer=adam(model))


@sound
def centres_that_the_loss_reads_from_the_model() -> Case:
    class Centred(Net):
        def __init__(self) -> None:
            super().__init__()
            self.centers = nn.Parameter(torch.randn(5, 5))

    model = Centred()

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y) + 0.01 * (out - model.centers[y]).square().mean()

    return case(model, loss, adam(model))


@sound
def a_penalty_that_forward_keeps() -> Case:
    class Penalised(Net):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            self.penalty = out.square().mean()
            return out

    model = Penalised()

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y) + 0.01 * model.penalty

    return case(model, loss, adam(model))


@sound
def batch_norm_that_train_keeps_in_eval_mode() -> Case:
    class Kept(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def train(self, mode: bool = True) -> "Kept":
            super().train(mode)
            self.norm.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(super().forward(x))

    model = Kept()
    return case(model, optimizer=adam(model))


@sound
def layers_left_out_for_a_whole_batch() -> Case:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(144, 32), nn.Linear(32, 5)
            self.blocks = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x.flatten(1)).relu()
            for block in self.blocks:
                kept = 2 * (torch.rand(()) < 0.5) if self.training else 1
                x = x + block(x).relu() * kept
            return self.last(x)

    model = Deep()
    return case(model, optimizer=adam(model))


@sound
def one_logit_without_a_second_dimension() -> Case:
    class Squeezed(Net):
        def __init__(self) -> None:
            super().__init__(1)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze(1)

    model = Squeezed()
    images, labels = data()
    batches = [(images, (labels > 1).float())]
    return case(model, nn.BCEWithLogitsLoss(), adam(model), batches)


@sound
def features_before_the_logits() -> Case:
    class Both(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.flatten(1).relu(), super().forward(x)

    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs[1], labels)

    model = Both()
    return case(model, loss, adam(model))


@sound
def an_optimizer_with_a_closure() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.LBFGS(model.parameters()))
