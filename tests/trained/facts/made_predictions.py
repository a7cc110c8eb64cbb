"""Predictions made of plain lists, for the tests of this folder."""

import numpy as np

from torchloupe.trained.facts.predictions import Predictions


def make_predictions(labels, probabilities, names=None):
    """Predictions of the likeliest class; with rows of labels, of all above one half."""
    p, truth = np.array(probabilities, dtype=np.float64), np.array(labels)
    said = (p > 0.5).astype(np.int64) if truth.ndim == 2 else p.argmax(axis=1)
    names = tuple(names or [chr(97 + k) for k in range(p.shape[1])])
    ids = tuple(f"{k}.png" for k in range(len(truth)))
    return Predictions(ids, truth, said, p.max(axis=1), p, names)
