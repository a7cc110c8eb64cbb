"""A hook of your own while a model trains: print the shape of each layer's output, now and then.

Run it: python examples/print_shapes.py [--epochs N]; about 5 seconds on two CPU cores.
"""

import argparse

import torch
from torch import Tensor, nn

import torchloupe as loupe


def print_shape(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
    # Any hook of torch works. Its return value is ignored, so that it changes nothing.
    share = (output > 0).float().mean().item()
    print(f"{type(module).__name__:<10} {tuple(output.shape)!s:<20} {share:.0%} above zero")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2)
    epochs = parser.parse_args().epochs

    model = loupe.models.CNN(in_channels=1, classes=10)
    # By type here; names and patterns work too: "0|conv*". The hooks come off with the block.
    with loupe.lens.watch(model, (nn.Conv2d, nn.Linear), print_shape, every=20) as seen:
        run = loupe.fit("digits", model=model, optimizer=torch.optim.Adam, epochs=epochs)
    print(f"looked at {seen.calls} in {seen.forwards} forwards")

    # The same in a forward of your own, keeping the output of the last convolution:
    with loupe.lens.watch(run.model, "3", keep=1) as seen:
        run.model(torch.rand(1, 1, 8, 8))
    print("feature maps:", tuple(seen["3"].shape))
    print(f"test accuracy {run.metrics['test']['accuracy']:.1%}")


if __name__ == "__main__":
    main()
