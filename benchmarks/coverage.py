"""How often each 95 % interval holds the truth: simulated test sets of known classifiers.

    python benchmarks/coverage.py --sets 2000 --draws 2000

For each setting, a classifier is a known distribution of logits. Its true scores are those of
about a million images; then --sets test sets with the same number of images of each class are
drawn, and the interval of every score is compared with the truth. The percentiles of the same
bootstrap draws stand beside it. A share of 2,000 sets has a standard error of 0.5 points.
"""

import argparse
import json
import math
import time

import numpy as np

from torchloupe.evaluation.calibration import brier_of_images, nll_of_images
from torchloupe.evaluation.certainty import measure_classes
from torchloupe.evaluation.folds import corrected_t_interval
from torchloupe.evaluation.intervals import f1_interval, score_interval, wilson_interval
from torchloupe.evaluation.resampling import Answers, bootstrap

SETTINGS = {  # images of each class, and by how much the right logit is above the others
    "three": ((100, 100, 100), 2.2),
    "two": ((150, 150), 1.6),
    "ten": ((50,) * 10, 3.6),
    "uneven": ((200, 120, 60, 40, 40), 2.6),
}


def draw_answers(random, counts, margin):
    """What the classifier says of `counts` images of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    logits = random.normal(size=(len(labels), len(counts)))
    logits[np.arange(len(labels)), labels] += margin
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    values = {"nll": nll_of_images(logits, labels), "brier": brier_of_images(p, labels)}
    return Answers(labels, logits.argmax(axis=1), p, len(counts), values)


def class_counts(answers, k):
    """Hits, predictions and labels of class `k`."""
    hits = ((answers.labels == k) & (answers.predictions == k)).sum()
    return int(hits), int((answers.predictions == k).sum()), int((answers.labels == k).sum())


def find_truth(counts, margin, images=1_000_000):
    times = images // sum(counts)
    many = draw_answers(np.random.default_rng(10**6), [times * count for count in counts], margin)
    truth = dict(bootstrap([many], draws=1)[0][0])
    hits, predicted, there = class_counts(many, 0)
    truth |= {
        "f1 of a class": 2 * hits / (predicted + there),
        "recall of a class": hits / there,
        "precision of a class": hits / predicted,
    }
    return truth


def intervals_of(answers, draws, seed):
    """The interval of each score, and the percentiles of its draws where there are any."""
    scores, drawn = bootstrap([answers], draws=draws, seed=seed)[0]
    images = len(answers.labels)
    found = {
        name: (
            score_interval(name, scores[name], values, images),
            tuple(np.percentile(values, (2.5, 97.5))),
        )
        for name, values in drawn.items()
    }
    found["accuracy"] = (wilson_interval(int(answers.right.sum()), images), found["accuracy"][1])
    hits, predicted, there = class_counts(answers, 0)
    found["f1 of a class"] = (f1_interval(hits, predicted, there), None)
    found["recall of a class"] = (wilson_interval(hits, there), None)
    precision = measure_classes(answers)[0]["precision_ci95"]
    found["precision of a class"] = (precision, None)
    return found


def measure_setting(name, sets, draws):
    counts, margin = SETTINGS[name]
    truth = find_truth(counts, margin)
    random = np.random.default_rng(0)
    inside = {score: [0, 0] for score in truth}
    start = time.perf_counter()
    for seed in range(sets):
        pairs = intervals_of(draw_answers(random, counts, margin), draws, seed)
        for score, (ours, percentiles) in pairs.items():
            inside[score][0] += ours[0] <= truth[score] <= ours[1]
            if percentiles is not None:
                inside[score][1] += percentiles[0] <= truth[score] <= percentiles[1]
    print(
        f"{name}: {sets} test sets of {sum(counts)} images, {draws} draws each, "
        f"{time.perf_counter() - start:.0f} s"
    )
    rows = {}
    for score, (ours, percentiles) in inside.items():
        plain = "" if " of a class" in score else f"  percentiles {100 * percentiles / sets:5.1f} %"
        print(f"  {score:<22}{truth[score]:8.4f}  {100 * ours / sets:5.1f} %{plain}", flush=True)
        rows[score] = [truth[score], ours / sets, percentiles / sets]
    return rows


def measure_folds(sets):
    """The corrected t interval: fold scores that share what their training sets share.

    Scores of k folds are m + t + e_i: t is common to all (the training images that they share),
    and e_i is each fold's own. Nadeau and Bengio take test/train for the correlation of scores,
    n2 / (n1 + n2) in their section 5, and the interval is exact where that is right.
    """
    random = np.random.default_rng(0)
    print(f"folds: {sets} cross-validations of 5 folds, 4/5 to train on")
    inside = [0, 0]
    correlation = 1 / 5
    for _ in range(sets):
        common = random.normal() * math.sqrt(correlation)
        values = 0.9 + 0.01 * (common + random.normal(size=5) * math.sqrt(1 - correlation))
        for k, test_count in enumerate((200, 1e-9)):
            _, low, high = corrected_t_interval(list(values), 800, test_count)
            inside[k] += low <= 0.9 <= high
    print(
        f"  corrected t {100 * inside[0] / sets:5.1f} %  ordinary t {100 * inside[1] / sets:5.1f} %"
    )
    return inside[0] / sets


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000, help="simulated test sets")
    parser.add_argument("--draws", type=int, default=2000, help="of each bootstrap")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {"folds": measure_folds(20_000)}
    for name in options.settings:
        found[name] = measure_setting(name, options.sets, options.draws)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
