"""From evidence to findings: outputs that a loss would misread."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchloupe.checks.model import describe_idle, find_output_mistake, input_of, list_names
from torchloupe.checks.outputs import judge_outputs

RAW = torch.tensor([[2.0, -1.0, 0.5, 3.0], [0.1, -0.7, 1.5, -2.0]] * 3)


@pytest.mark.parametrize(
    ("name", "criterion", "takes"),
    [
        ("cross_entropy", nn.CrossEntropyLoss(), "logits"),
        ("binary", nn.BCEWithLogitsLoss(), "binary_logits"),
        ("nll", nn.NLLLoss(), "log_probabilities"),
        ("NLLLoss", nn.NLLLoss(), "log_probabilities"),
        ("nll_loss", F.nll_loss, "log_probabilities"),
        ("BCEWithLogitsLoss", nn.BCEWithLogitsLoss(), "binary_logits"),
        ("mine", lambda logits, labels: logits.sum(), ""),
        ("MSELoss", nn.MSELoss(), ""),
    ],
)
def test_input_of_knows_the_losses_of_torch(name, criterion, takes):
    assert input_of(name, criterion) == takes
    assert input_of("focal", None, multi_label=True) == "binary_logits"


@pytest.mark.parametrize(
    ("takes", "outputs", "function", "part"),
    [
        ("logits", RAW.softmax(1), "Softmax", "the model ends in softmax"),
        ("logits", RAW.softmax(1), "Mul", "the model ends in softmax"),
        ("logits", RAW.sigmoid(), "Sigmoid", "the model ends in a sigmoid"),
        ("binary_logits", RAW.sigmoid(), "Sigmoid", "applies a sigmoid again"),
        ("binary_logits", RAW.sigmoid(), "Add", "applies a sigmoid again"),
        ("binary_logits", RAW.softmax(1), "Softmax", "the model ends in softmax"),
        ("log_probabilities", RAW, "Addmm", "can fall below 0 without limit"),
        ("log_probabilities", RAW.softmax(1), "Softmax", "end it with log_softmax(dim=1)"),
    ],
)
def test_find_output_mistake_names_it(takes, outputs, function, part):
    assert part in find_output_mistake(takes, outputs, function)


@pytest.mark.parametrize(
    ("takes", "outputs", "function"),
    [
        ("logits", RAW, "Addmm"),
        ("logits", RAW.log_softmax(1), "LogSoftmax"),
        ("binary_logits", RAW, "Addmm"),
        ("binary_logits", RAW.clamp(0, 1), "Relu"),
        ("log_probabilities", RAW.log_softmax(1), "LogSoftmax"),
        ("", RAW.softmax(1), "Softmax"),
        ("logits", RAW * float("nan"), "Addmm"),
    ],
)
def test_find_output_mistake_is_silent_on_what_fits(takes, outputs, function):
    assert find_output_mistake(takes, outputs, function) == ""


def test_names_are_listed_up_to_three():
    assert list_names(["a", "b"]) == "a, b"
    assert list_names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert describe_idle([], 5) == ""


def test_one_logit_made_a_pair_is_judged_by_what_was_padded():
    pair = F.pad(torch.linspace(0.05, 0.3, 32)[:, None], (1, 0))
    assert judge_outputs("logits", pair, "ConstantPadNd Addmm", "fc") == []
    (found,) = judge_outputs("logits", pair, "ConstantPadNd Sigmoid", "fc")
    assert found.verdict == "probabilities-before-binary-loss"
