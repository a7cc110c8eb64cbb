"""Signatures of classes and functions of all kinds."""

import functools

import torch

from torchloupe.model.signature import parameters_of


def test_parameters_of_classes_functions_and_partials():
    def names(factory):
        return [parameter.name for parameter in parameters_of(factory)]

    assert names(torch.nn.Linear)[:3] == ["in_features", "out_features", "bias"]
    assert names(lambda a, *, b=1: a) == ["a", "b"]
    assert names(functools.partial(pow, exp=2))[0] == "base"


def test_parameters_of_what_does_not_tell_is_none():
    assert parameters_of(torch.add) is None
