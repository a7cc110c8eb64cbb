"""More mistakes as people write them: losses, labels, images, decay and dropout."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from planted_models import Case, Net, case, data, planted


def sgd(model: nn.Module, rate: float = 0.05, decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate, weight_decay=decay)


def with_loss(loss: object) -> Case:
    model = Net()
    return case(model, loss, sgd(model))


@planted("loss-summed", "loss")
def a_sum_over_the_batch() -> Case:
    return with_loss(nn.CrossEntropyLoss(reduction="sum"))


@planted("loss-summed", "loss")
def a_sum_in_a_function_of_several_labels() -> Case:
    images, labels = data()

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, y, reduction="none").sum()

    model = Net()
    return case(model, loss, sgd(model), (images, F.one_hot(labels, 5).float()))


@planted("class-without-loss", "class 0")
def the_first_class_is_ignored() -> Case:
    return with_loss(nn.CrossEntropyLoss(ignore_index=0))


@planted("class-without-loss", "class 2")
def a_class_weight_of_zero() -> Case:
    return with_loss(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])))


@planted("loss-of-few-images", "loss")
def the_loss_of_the_first_image() -> Case:
    return with_loss(lambda out, y: F.cross_entropy(out, y, reduction="none")[0])


@planted("loss-ignores-labels", "loss")
def smoothing_that_leaves_nothing() -> Case:
    return with_loss(nn.CrossEntropyLoss(label_smoothing=1.0))


@planted("loss-without-gradient", "loss")
def a_number_made_into_a_tensor() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return torch.tensor(F.cross_entropy(out, y).item(), requires_grad=True)

    return with_loss(loss)


@planted("softmax-before-cross-entropy", "loss")
def a_softmax_inside_the_loss() -> Case:
    return with_loss(lambda out, y: F.cross_entropy(out.softmax(dim=1), y))


@planted("probabilities-before-binary-loss", "loss")
def a_sigmoid_inside_the_loss() -> Case:
    images, labels = data()

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out.sigmoid(), y)

    model = Net()
    return case(model, loss, sgd(model), (images, F.one_hot(labels, 5).float()))


@planted("loss-rewards-wrong-answers", "loss")
def a_focal_loss_without_its_minus() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        log_p = F.log_softmax(out, dim=1).gather(1, y[:, None])
        return ((1 - log_p.exp()) ** 2 * log_p).mean()

    return with_loss(loss)


@planted("nll-without-log-softmax", "1")
def a_divergence_of_probabilities() -> Case:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.kl_div(out, F.one_hot(y, 5).float(), reduction="batchmean")

    return case(nn.Sequential(Net(), nn.Softmax(dim=1)), loss)


@planted("weight-decay-too-strong", "optimizer")
def half_of_the_weights_as_decay() -> Case:
    model = Net()
    return case(model, optimizer=sgd(model, 0.1, decay=0.5))


@planted("weight-decay-too-strong", "optimizer")
def a_decoupled_decay_of_five() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=5))


@planted("weight-decay-too-strong", "optimizer")
def a_decay_of_one_within_adam() -> Case:
    model = Net()
    return case(model, optimizer=torch.optim.Adam(model.parameters(), weight_decay=1.0))


@planted("dropout-too-strong", "drop")
def the_share_that_other_libraries_keep() -> Case:
    class Dropped(Net):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.95)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.drop(self.features(x)))

    return case(Dropped())


@planted("labels-constant", "labels")
def labels_all_the_same() -> Case:
    images, labels = data()
    return case(Net(), batches=(images, labels // 5 // 99))


@planted("batches-of-one-class", "labels")
def a_loader_in_the_order_of_folders() -> Case:
    images, labels = data(200)
    pairs = TensorDataset(images, labels.sort().values)
    return case(Net(), batches=DataLoader(pairs, 16))


@planted("more-outputs-than-classes")
def labels_that_begin_at_one() -> Case:
    images, labels = data(192)
    return case(Net(6), batches=(images, labels + 1))


@planted("step-raises")
def labels_that_begin_at_one_and_no_output_for_the_last() -> Case:
    images, labels = data()
    return case(Net(), batches=(images, labels + 1))


@planted("images-badly-scaled")
def normalised_with_the_numbers_of_bytes() -> Case:
    images, labels = data()
    images = (images - images.min()) / (images.max() - images.min())
    return case(Net(), batches=((images - 123.7) / 58.4, labels))


@planted("images-not-finite")
def divided_by_a_deviation_of_zero() -> Case:
    images, labels = data()
    return case(Net(), batches=((images - images) / 0, labels))


@planted("blank-images")
def bytes_divided_as_integers() -> Case:
    images, labels = data()
    return case(Net(), batches=(images.abs().byte() // 255 * 1.0, labels))


@planted("unused-branch", "conv3")
def one_convolution_called_in_place_of_another() -> Case:
    class Again(Net):
        def __init__(self) -> None:
            super().__init__()
            self.conv3 = nn.Conv2d(16, 16, 3, padding=1)

        def features(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # and conv3 was meant to follow
            return F.relu(self.fc1(x.flatten(1)))

    return case(Again())


@planted("output-depends-on-other-images", "conv1")
def normalised_over_the_whole_batch() -> Case:
    class Standardised(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward((x - x.mean()) / x.std())

    return case(Standardised())
