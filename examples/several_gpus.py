"""One script for one process and for many: the same steps on the same samples.

Run it: python examples/several_gpus.py [--epochs N]
or: torchrun --nproc-per-node 2 examples/several_gpus.py; about 15 seconds on two CPU cores.
"""

import argparse

import torch
from torch import nn

import torchloupe as loupe
from torchloupe.distributed import find_rank, join, make_parallel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs

    device = loupe.choose_device("auto", find_rank()).device  # each rank has a GPU of its own
    with join(device) as world:  # a world of one without torchrun
        data = loupe.prepare_data("digits", seed=0, world=world)  # its share of each batch and scan
        augment = loupe.data.Augment(mixup=0.1)
        feed = data.feed(batch_total=64, seed=0, augment=augment, device=device)
        torch.manual_seed(0)
        model = loupe.models.CNN(in_channels=1, classes=10).to(device)
        parallel = make_parallel(model, world)  # or "fsdp"; every rank gets rank 0's weights
        optimizer = torch.optim.Adam(model.parameters())
        criterion, precision = nn.CrossEntropyLoss(), loupe.Precision("fp32", device)

        batches = feed.batches()
        for step in range(1, epochs * feed.steps_per_epoch + 1):
            for micro, fraction in next(batches).micro(1):  # and its fraction of the whole step
                loss = criterion(parallel.module(micro.images), micro.labels) * fraction
                precision.backward(loss)
            total = parallel.share(loss.detach())  # sums gradients and loss over ranks
            precision.step(optimizer, total)
            if step % feed.steps_per_epoch == 0:
                values = loupe.evaluate(model, data.scan("val", device), world=world)
                if world.leads:
                    print(f"step {step}: loss {total:.3f}, accuracy {values['accuracy']:.1%}")


if __name__ == "__main__":
    main()
