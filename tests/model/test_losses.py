"""Losses: torch's own bits, formulas from the papers, soft rows, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchloupe.errors import DataError, UsageError
from torchloupe.model.losses import make_loss

K = 5
torch.manual_seed(0)
LOGITS = torch.randn(16, K)
LABELS = torch.randint(0, K, (16,))
SHARES = torch.rand(16, K).softmax(dim=1)
ONE_HOT = F.one_hot(LABELS, K).float()
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 3.0]


@pytest.mark.parametrize("weights", ["none", WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [LABELS, SHARES])
def test_cross_entropy_gives_the_bits_of_torch(labels, smoothing, weights):
    weight = None if weights == "none" else torch.tensor(weights)
    theirs = nn.CrossEntropyLoss(weight, label_smoothing=smoothing)
    ours = make_loss("cross_entropy", classes=K, smoothing=smoothing, weights=weights)
    mine, other = (LOGITS.clone().requires_grad_() for _ in range(2))
    given, expected = ours(mine, labels), theirs(other, labels)
    given.backward()
    expected.backward()
    assert torch.equal(given, expected)
    assert torch.equal(mine.grad, other.grad)


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int64, torch.float32])
def test_cross_entropy_takes_class_numbers_of_any_type(kind):
    loss = make_loss("cross_entropy", classes=K)
    expected = F.cross_entropy(LOGITS, LABELS)
    assert torch.equal(loss(LOGITS, LABELS.to(kind)), expected)
    assert torch.equal(loss(LOGITS, LABELS.to(kind)[:, None]), expected)


def test_cross_entropy_takes_whole_rows():
    loss = make_loss("cross_entropy", classes=K)
    assert torch.allclose(loss(LOGITS, ONE_HOT.long()), loss(LOGITS, LABELS))


def test_balanced_weights_are_inverse_to_the_counts():
    loss = make_loss("cross_entropy", classes=3, weights="balanced", counts=[50, 25, 25])
    assert torch.allclose(loss.criterion.weight, torch.tensor([100 / 150, 100 / 75, 100 / 75]))


@pytest.mark.parametrize("name", ["cross_entropy", "binary", "focal", "nll"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", WEIGHTS])
def test_named_losses_take_rows_as_they_take_numbers(name, smoothing, weights):
    loss = make_loss(name, classes=K, smoothing=smoothing)
    logits = LOGITS.log_softmax(1) if name == "nll" else LOGITS
    assert torch.allclose(loss(logits, LABELS), loss(logits, ONE_HOT))
    mixed = loss(logits, SHARES)
    assert mixed.ndim == 0
    assert torch.isfinite(mixed)


@pytest.mark.parametrize("name", ["cross_entropy", "binary", "focal", "nll"])
def test_named_losses_are_in_float32_when_the_model_is_not(name):
    logits = LOGITS.log_softmax(1).bfloat16()
    assert make_loss(name, classes=K)(logits, LABELS).dtype == torch.float32


def test_binary_equals_torch():
    assert torch.equal(
        make_loss("binary", classes=K)(LOGITS, LABELS),
        F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT),
    )
    several = (SHARES > 0.2).float()
    loss = make_loss("auto", classes=K, multi_label=True, weights=WEIGHTS)
    expected = F.binary_cross_entropy_with_logits(LOGITS, several, weight=torch.tensor(WEIGHTS))
    assert loss.name == "binary"
    assert torch.equal(loss(LOGITS, several), expected)


def test_binary_smoothing_moves_labels_towards_a_half_when_there_are_several():
    several = (SHARES > 0.2).float()
    smooth = make_loss("binary", classes=K, multi_label=True, smoothing=0.2)
    expected = F.binary_cross_entropy_with_logits(LOGITS, several * 0.8 + 0.1)
    assert torch.allclose(smooth(LOGITS, several), expected)


def test_binary_takes_two_classes():
    loss = make_loss("binary", classes=2)
    labels = torch.tensor([0, 1, 1])
    logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]])
    assert loss(logits, labels) < 1e-3


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_follows_the_paper(gamma):
    loss = make_loss("focal", classes=K, gamma=gamma, weights=WEIGHTS)
    p = LOGITS.softmax(dim=1)[torch.arange(16), LABELS]
    alpha = torch.tensor(WEIGHTS)[LABELS]
    expected = (-alpha * (1 - p) ** gamma * p.log()).mean()
    assert torch.allclose(loss(LOGITS, LABELS), expected)


def test_focal_is_cross_entropy_when_gamma_is_0():
    for smoothing in (0.0, 0.1):
        focal = make_loss("focal", classes=K, gamma=0.0, smoothing=smoothing)
        expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
        assert torch.allclose(focal(LOGITS, LABELS), expected)


def test_focal_follows_the_paper_when_there_are_several_labels():
    several = (SHARES > 0.2).float()
    p = LOGITS.sigmoid()
    p_t = torch.where(several > 0, p, 1 - p)
    loss = make_loss("focal", classes=K, multi_label=True)
    assert torch.allclose(loss(LOGITS, several), (-((1 - p_t) ** 2) * p_t.log()).mean())


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal_has_a_gradient_when_the_model_is_certain(gamma):
    logits = (ONE_HOT * 200).requires_grad_()
    make_loss("focal", classes=K, gamma=gamma)(logits, LABELS).backward()
    assert torch.isfinite(logits.grad).all()


def test_nll_equals_torch():
    log_p = LOGITS.log_softmax(dim=1)
    loss = make_loss("nll", classes=K, weights=WEIGHTS)
    assert torch.equal(loss(log_p, LABELS), F.nll_loss(log_p, LABELS, torch.tensor(WEIGHTS)))


def test_nll_smoothing_is_that_of_cross_entropy():
    loss = make_loss("nll", classes=K, smoothing=0.1)
    expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    assert torch.allclose(loss(LOGITS.log_softmax(dim=1), LABELS), expected)


@pytest.mark.parametrize(
    "own",
    [
        nn.CrossEntropyLoss,
        nn.CrossEntropyLoss(),
        F.cross_entropy,
        "torch.nn:CrossEntropyLoss",
        lambda logits, labels: F.nll_loss(logits.log_softmax(1), labels),
    ],
)
def test_own_loss_is_called_as_it_is(own):
    given = make_loss(own, classes=K)(LOGITS, LABELS)
    assert torch.equal(given, F.cross_entropy(LOGITS, LABELS))


@pytest.mark.parametrize("own", ["torch.nn:CrossEntropyLoss", nn.CrossEntropyLoss, F.cross_entropy])
def test_own_loss_takes_options(own):
    given = make_loss(own, classes=K, options={"label_smoothing": 0.2})(LOGITS, LABELS)
    assert torch.equal(given, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.2))


def test_own_loss_from_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def loss(logits, labels, scale=1.0):\n    return scale * logits.square().mean()\n"
    )
    loss = make_loss(f"{tmp_path}/mine.py:loss", classes=K, options={"scale": 2.0})
    assert torch.equal(loss(LOGITS, LABELS), 2 * LOGITS.square().mean())


def test_torch_losses_get_the_labels_they_want():
    margin = make_loss("torch.nn:MultiMarginLoss", classes=K)
    assert torch.equal(margin(LOGITS, LABELS.int()), nn.MultiMarginLoss()(LOGITS, LABELS))
    square = make_loss(nn.MSELoss, classes=K)
    assert torch.equal(square(LOGITS, LABELS), F.mse_loss(LOGITS, ONE_HOT))


def error_of(call, kind=UsageError):
    with pytest.raises(kind) as caught:
        call()
    return f"{caught.value.message} | {caught.value.hint}"


def make_error(*arguments, **keywords):
    return error_of(lambda: make_loss(*arguments, **{"classes": K, **keywords}))


def test_make_loss_error_texts():
    assert make_error("cros_entropy") == (
        "there is no loss 'cros_entropy' | did you mean 'cross_entropy'? (torch's: torch.nn:NAME)"
    )
    assert make_error("cross_entropy", multi_label=True) == (
        "cross_entropy takes one label per image, but these images may have several | "
        "use binary or focal"
    )
    assert make_error("focal", weights=[1, 2]) == (
        "loss.weights has 2 numbers for 5 classes | give one number per class, in the order of "
        "the class names"
    )
    assert make_error("focal", weights="even").startswith(
        "loss.weights is none, balanced or one number per class, got even"
    )
    assert make_error("focal", weights=[1, 1, -1, 1, 1]).startswith(
        "loss.weights must be 0 or more"
    )
    assert make_error("binary", weights="balanced").startswith("balanced weights need the number")
    assert make_error("binary", gamma=3.0).startswith("loss.gamma is for focal, not for binary")
    assert make_error("focal", gamma=-1.0).startswith("loss.gamma must be at least 0, got -1.0")
    assert make_error("binary", smoothing=1.0).startswith(
        "loss.smoothing must be at least 0 and below 1"
    )
    assert make_error("binary", options={"reduction": "sum"}).startswith(
        "loss binary has no option reduction | it takes loss.smoothing"
    )
    assert make_error(nn.L1Loss, smoothing=0.1) == (
        "loss.smoothing is for the losses known by name, not for one of your own | give it to "
        "your loss as loss.options, under the name it has there"
    )
    assert make_error(nn.L1Loss(), options={"reduction": "sum"}).startswith(
        "loss.options can't be applied to L1Loss, which is already made"
    )
    assert make_error(nn.L1Loss, options={"reductoin": "sum"}).startswith(
        "loss L1Loss can't be made with {'reductoin': 'sum'}"
    )
    assert make_error(nn.Linear(K, 1)).startswith("loss Linear has parameters of its own")
    assert make_error(3.0).startswith("loss float is a float, not a class, module or function")


def test_balanced_weights_refuse_an_empty_class():
    message = error_of(
        lambda: make_loss("auto", classes=3, weights="balanced", counts=[5, 0, 2]), DataError
    )
    assert message.startswith("balanced weights need an image of every class; class 1 has none")


def test_loss_error_texts_when_it_is_called():
    ce = make_loss("cross_entropy", classes=K)
    assert error_of(lambda: ce(LOGITS[:, :3], LABELS)).startswith(
        "the model gives [16, 3], the loss needs [batch, 5]: one number per class"
    )
    for loss in (ce, make_loss("focal", classes=K)):
        assert error_of(lambda loss=loss: loss(LOGITS, LABELS + 3), DataError).startswith(
            "a label lies outside 0 to 4"
        )
    assert error_of(lambda: ce(LOGITS, LABELS + 0.5), DataError).startswith(
        "labels are fractions (torch.float32), a class number is whole"
    )
    assert error_of(lambda: ce(LOGITS, LABELS[:3]), DataError) == (
        "labels are [3] for logits [16, 5] | give class numbers [batch] or rows of shares "
        "[batch, classes]"
    )
    margin = make_loss("torch.nn:MultiMarginLoss", classes=K)
    assert error_of(lambda: margin(LOGITS, SHARES)).startswith(
        "loss torch.nn:MultiMarginLoss failed on logits [16, 5] and labels [16, 5] of "
        "torch.float32: "
    )
    assert error_of(lambda: make_loss("nll", classes=K)(LOGITS, LABELS)).startswith(
        "nll takes log-probabilities; the exponentials of the model's outputs sum to "
    )
    several = make_loss("binary", classes=K, multi_label=True)
    assert error_of(lambda: several(LOGITS, LABELS), DataError).startswith(
        "labels are [16], images with several labels have rows of 0 and 1"
    )


def test_loss_that_is_no_number_is_refused():
    each = make_loss(nn.CrossEntropyLoss(reduction="none"), classes=K)
    assert error_of(lambda: each(LOGITS, LABELS)) == (
        "loss CrossEntropyLoss gave [16], training needs one number | average it: "
        "reduction='mean', or .mean() at its end"
    )
    number = make_loss(lambda logits, labels: float(logits.mean()), classes=K)
    assert error_of(lambda: number(LOGITS, LABELS)).startswith("loss <lambda> gave a float")
    detached = make_loss(lambda logits, labels: logits.detach().mean(), classes=K)
    assert error_of(lambda: detached(LOGITS.clone().requires_grad_(), LABELS)).startswith(
        "loss <lambda> gave a number without a gradient to the model"
    )


def test_shapes_that_were_seen_before_are_not_looked_at_again_but_others_are():
    loss = make_loss("cross_entropy", classes=3)
    logits, labels = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])
    first = loss(logits, labels)
    assert torch.equal(loss(logits, labels), first)
    assert torch.equal(loss(logits.bfloat16(), labels), loss(logits.bfloat16().float(), labels))
    assert torch.equal(loss(logits, labels.double()), first)  # whole numbers of another type
    with pytest.raises(UsageError):
        loss(torch.randn(4, 5), labels)
    with pytest.raises(DataError, match="outside 0 to 2"):
        loss(logits, torch.tensor([0, 1, 3, 0]))
