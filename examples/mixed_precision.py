"""Mixed precision in a training loop of your own: one object owns scale, clip, step and zero.

Run it: python examples/mixed_precision.py [--format bf16|fp16|fp32]; about 10 seconds on two cores.
"""

import argparse

import torch
from torch import nn

import torchloupe as loupe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--format", default="bf16")
    asked = parser.parse_args()

    device = loupe.choose_device().device
    name, why = loupe.hardware.choose_precision(asked.format, device)
    print(f"{name} ({why}) on {device}, which has {', '.join(loupe.hardware.formats_of(device))}")
    precision = loupe.Precision(name, device)

    data = loupe.prepare_data("digits", seed=0)
    feed = data.feed(batch_total=64, seed=0, device=device)
    model = loupe.models.CNN(in_channels=1, classes=10).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    criterion = nn.CrossEntropyLoss()

    batches = feed.batches()
    for _ in range(asked.epochs):
        for _ in range(feed.steps_per_epoch):
            batch = next(batches)
            with precision.autocast():  # the forward and the loss; never the backward
                loss = criterion(model(batch.images), batch.labels)
            precision.backward(loss)  # fp16: scaled, so that small gradients don't vanish
            precision.step(optimizer, loss.detach(), max_norm=1.0)  # skipped if not finite
        values = loupe.evaluate(model, data.scan("val", device), precision=precision)
        print(f"val accuracy {values['accuracy']:.1%}, loss {loss.item():.3f}")
    print(f"{precision.skipped_steps} steps skipped; the scale is {precision.scale:g}")


if __name__ == "__main__":
    main()
