"""A training loop of your own, with torchloupe's parts: data, precision, evaluation.

Run it: python examples/own_loop.py [--epochs N]; about 10 seconds on two CPU cores.
"""

import argparse

import torch
from torch import nn

import torchloupe as loupe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs

    device = loupe.choose_device().device
    data = loupe.prepare_data("digits", seed=0)  # opened, decoded, split
    augment = loupe.data.Augment(translate=0.1)
    feed = data.feed(batch_total=64, seed=0, augment=augment, device=device)
    precision = loupe.Precision("fp32", device)  # or bf16; fp16 on a GPU scales by itself

    model = loupe.models.CNN(in_channels=1, classes=10).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    criterion = nn.CrossEntropyLoss()

    batches = feed.batches()  # endless; batches(start_step=n) starts anywhere at no cost
    model.train()
    for step in range(epochs * feed.steps_per_epoch):
        batch = next(batches)
        with precision.autocast():
            loss = criterion(model(batch.images), batch.labels)
        precision.backward(loss)
        precision.step(optimizer, loss.detach(), max_norm=1.0)  # unscale, clip, step, zero
        if (step + 1) % feed.steps_per_epoch == 0:
            values = loupe.evaluate(model, data.scan("val", device), loss=criterion)
            print(f"step {step + 1}: loss {loss.item():.3f}, val accuracy {values['accuracy']:.1%}")


if __name__ == "__main__":
    main()
