"""Signatures of classes and functions of all kinds."""

import functools

import torch
from torch import nn

from torchloupe.model.signature import labels_taken, parameters_of


def test_parameters_of_classes_functions_and_partials():
    def names(factory):
        return [parameter.name for parameter in parameters_of(factory)]

    assert names(torch.nn.Linear)[:3] == ["in_features", "out_features", "bias"]
    assert names(lambda a, *, b=1: a) == ["a", "b"]
    assert names(functools.partial(pow, exp=2))[0] == "base"


def test_parameters_of_what_does_not_tell_is_none():
    assert parameters_of(torch.add) is None


def test_labels_that_a_forward_takes_are_found():
    class Margin(nn.Module):
        def forward(self, x, labels=None):
            return x if labels is None else x - labels

    class Plain(nn.Module):
        def forward(self, labels):
            return labels

    assert labels_taken(Margin()) == "labels"
    assert labels_taken(Plain()) == ""
    assert labels_taken(nn.Linear(2, 2)) == ""
