"""Images a second of each change to training images, on one CPU thread.

    python benchmarks/augment.py [--runs 30]

Prints a line for each change: the median of so many batches and the middle half of them, in time
that this thread spent, so that other work on the machine counts little.
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch

from torchloupe.data.augmentation.augment import Augment
from torchloupe.system.counter_rng import make_keys

CHANGES = {
    "shift and mirror": Augment(translate=0.125, flip=True),
    "the same, reflected": Augment(translate=0.125, flip=True, padding="reflect"),
    "the same, zero": Augment(translate=0.125, flip=True, padding="zero"),
    "resized crop": Augment(resized_crop=0.35, flip=True),
    "turn, zoom, shift": Augment(rotate_degrees=8, scale=0.1, translate=0.1),
    "erase": Augment(erase=0.25),
    "brightness": Augment(brightness=0.4),
    "brightness, contrast": Augment(brightness=0.4, contrast=0.4),
    "brightness, contrast, saturation": Augment(brightness=0.4, contrast=0.4, saturation=0.4),
    "hue": Augment(hue=0.1),
    "RandAugment": Augment(policy="randaugment"),
    "TrivialAugment": Augment(policy="trivialaugment"),
    "mixup": Augment(mixup=0.2),
    "cutmix": Augment(cutmix=1.0),
    "mixup or cutmix": Augment(mixup=0.2, cutmix=1.0),
}
SIZES = ((1, 28, 128), (3, 32, 128), (3, 224, 32))  # channels, side, batch


def measure(augment: Augment, channels: int, side: int, batch: int, runs: int) -> list[float]:
    """Images a second of each of `runs` batches."""
    images = torch.rand(batch, side, side, channels).permute(0, 3, 1, 2)
    labels, keys = torch.arange(batch) % 10, make_keys(map(str, range(batch)))
    rates = []
    for epoch in range(runs + 1):
        start = time.thread_time()
        augment(images, labels, keys, seed=0, epoch=epoch, classes=10)
        rates.append(batch / (time.thread_time() - start))
    return rates[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="batches timed of each change")
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"# {platform.processor() or platform.machine()}, torch {torch.__version__}, n={runs}")
    print(f"{'images/s of one thread':34}" + "".join(f"{c}x{s}x{s}".rjust(26) for c, s, _ in SIZES))
    for name, augment in CHANGES.items():
        cells = []
        for channels, side, batch in SIZES:
            if channels == 1 and (augment.saturation or augment.hue):
                cells.append("-")
                continue
            rates = measure(augment, channels, side, batch, runs)
            low, _, high = np.percentile(rates, [25, 50, 75])
            cells.append(f"{statistics.median(rates):,.0f} ({low:,.0f}-{high:,.0f})")
        print(f"{name:34}" + "".join(cell.rjust(26) for cell in cells), flush=True)


if __name__ == "__main__":
    main()
