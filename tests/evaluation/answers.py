"""Random answers of a classifier, right as often as a margin says."""

import numpy as np

from torchloupe.evaluation.resampling import Answers


def make_answers(counts, margin=2.0, seed=0, *, digits=None):
    """Answers for `counts` images of each class; with `digits`, probabilities tie."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    logits = random.normal(size=(len(labels), len(counts)))
    logits[np.arange(len(labels)), labels] += margin
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p = p if digits is None else p.round(digits)
    return Answers(labels, p.argmax(axis=1), p.astype(np.float32), len(counts))


def make_several(images=80, classes=4, seed=0):
    """Answers where an image may have several labels; each label is on some image."""
    random = np.random.default_rng(seed)
    labels = (random.random((images, classes)) < 0.4).astype(np.int64)
    labels[0], labels[1] = 1, 0
    p = 1 / (1 + np.exp(-random.normal(size=labels.shape) - 2.0 * labels + 1))
    return Answers(labels, (p > 0.5).astype(np.int64), p.astype(np.float32), classes)


def random_counts(random):
    """Images of each class: two to six classes, two to thirty of each."""
    return random.integers(2, 30, random.integers(2, 7))
