"""How each peer trains a model: the shortest way its documentation shows, at its fastest settings.

All of them take the same model, the same batches and torch's Adam; progress bars, logs and
checkpoints are off. Each function imports its own library, so that none needs the others.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

LEARNING_RATE = 1e-3
Forward = Callable[[Tensor], Tensor]
AfterEpoch = Callable[[Forward], bool]  # sees the model as a function; True ends the training
Tick = Callable[[], None]


class BatchList(Dataset[tuple[Tensor, Tensor]]):
    """Batches that are ready: an iterable, and a Dataset for those that insist on a DataLoader."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.batches[number]


def go_on(_forward: Forward) -> bool:
    """Train all epochs."""
    return False


@dataclass(frozen=True)
class Work:
    """What to train, and who looks on."""

    model: nn.Module
    loader: DataLoader[Any] | BatchList
    epochs: int = 1
    after_epoch: AfterEpoch = go_on
    tick: Tick | None = None  # called as each step's forward begins
    fused: bool = False  # Adam in the plain loop


def train(peer: str, work: Work) -> None:
    """Do `work` with one of PEERS."""
    if work.tick:
        call_in_training(work.model, work.tick)
    PEERS[peer](work)


def call_in_training(model: nn.Module, tick: Tick) -> None:
    """Call `tick` as each forward of `model` in training mode begins."""
    model.register_forward_pre_hook(lambda module, _: tick() if module.training else None)


def make_adam(model: nn.Module, *, fused: bool = False) -> torch.optim.Optimizer:
    """The optimizer that all use."""
    return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=fused or None)


def train_plain(work: Work) -> None:
    """The loop of torch's own tutorial."""
    model, criterion = work.model, nn.CrossEntropyLoss()
    optimizer = make_adam(model, fused=work.fused)
    for _ in range(work.epochs):
        model.train()
        for images, labels in work.loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        if work.after_epoch(model):
            return


def train_accelerate(work: Work) -> None:
    """Accelerate's quick tour; ready batches are not prepared: there is nothing to do."""
    from accelerate import Accelerator

    accelerator, criterion = Accelerator(cpu=True), nn.CrossEntropyLoss()
    model, optimizer = accelerator.prepare(work.model, make_adam(work.model))
    loader = work.loader
    if isinstance(loader, DataLoader):
        loader = accelerator.prepare(loader)
    for _ in range(work.epochs):
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
        if work.after_epoch(model):
            return


def train_ignite(work: Work) -> None:
    """Ignite's quick start."""
    from ignite.engine import Events, create_supervised_trainer

    trainer = create_supervised_trainer(work.model, make_adam(work.model), nn.CrossEntropyLoss())

    @trainer.on(Events.EPOCH_COMPLETED)
    def judge(engine: Any) -> None:
        if work.after_epoch(work.model):
            engine.terminate()

    trainer.run(work.loader, max_epochs=work.epochs)


def train_lightning(work: Work) -> None:
    """Lightning with `barebones=True`, its own setting for measuring the Trainer's overhead."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = work.model
            self.criterion = nn.CrossEntropyLoss()

        def training_step(self, batch: Any, _number: int) -> Tensor:
            images, labels = batch
            loss: Tensor = self.criterion(self.model(images), labels)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_adam(self.model)

        def on_train_epoch_end(self) -> None:
            if work.after_epoch(self.model):
                self.trainer.should_stop = True

    trainer = lightning.Trainer(barebones=True, max_epochs=work.epochs, accelerator="cpu")
    trainer.fit(Module(), work.loader)


def train_skorch(work: Work) -> None:
    """skorch without its default callbacks; stopping is by KeyboardInterrupt, as in its own."""
    from skorch import NeuralNet
    from skorch.callbacks import Callback

    class Judge(Callback):
        def on_epoch_end(self, _net: Any, **_: Any) -> None:
            if work.after_epoch(work.model):
                raise KeyboardInterrupt

    net = NeuralNet(
        work.model,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        max_epochs=work.epochs,
        train_split=None,
        callbacks=[("judge", Judge())],
        callbacks__epoch_timer=None,
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        callbacks__print_log=None,
        iterator_train=lambda *_args, **_options: work.loader,
        verbose=0,
    )
    nothing = TensorDataset(torch.zeros(1, 1), torch.zeros(1))  # the iterator has the data
    net.fit(nothing, y=None)


def train_fastai(work: Work) -> None:
    """fastai's Learner over torch's DataLoader and torch's Adam, without its validation pass."""
    from fastai.callback.core import Callback, CancelFitException, CancelValidException
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    class Judge(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

        def after_epoch(self) -> None:
            if work.after_epoch(work.model):
                raise CancelFitException

    batches = as_loader(work.loader)
    learner = Learner(
        DataLoaders(batches, batches, device=torch.device("cpu")),
        work.model,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=partial(OptimWrapper, opt=torch.optim.Adam),
        lr=LEARNING_RATE,
        cbs=[Judge()],
    )
    learner.remove_cb(ProgressCallback)  # which came with its import
    with learner.no_logging():
        learner.fit(work.epochs, lr=LEARNING_RATE)


def train_keras(work: Work) -> None:
    """Keras on torch with its own layers of the same shapes, channels first as torch has them."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.config.set_image_data_format("channels_first")
    twin = keras.Sequential([layer for part in work.model for layer in _in_keras(part)])
    twin.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    class Judge(keras.callbacks.Callback):
        def on_train_batch_begin(self, *_: Any, **__: Any) -> None:
            if work.tick:
                work.tick()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            if work.after_epoch(twin):
                self.model.stop_training = True

    twin.fit(as_loader(work.loader), epochs=work.epochs, verbose=0, callbacks=[Judge()])


def _in_keras(part: nn.Module) -> list[Any]:
    """The Keras layers that do what `part` does; none for one that only matters at other sizes."""
    from keras import layers

    if isinstance(part, nn.Flatten):
        return [layers.Flatten()]
    if isinstance(part, nn.Linear):
        return [layers.Dense(part.out_features)]
    if isinstance(part, nn.Conv2d):
        return [layers.Conv2D(part.out_channels, part.kernel_size, padding="same")]
    if isinstance(part, nn.ReLU):
        return [layers.ReLU()]
    if isinstance(part, nn.MaxPool2d):
        return [layers.MaxPooling2D(part.kernel_size)]
    return []


def as_loader(batches: DataLoader[Any] | BatchList) -> DataLoader[Any]:
    """A DataLoader as it is; ready batches in the cheapest DataLoader there is."""
    if isinstance(batches, DataLoader):
        return batches
    return DataLoader(batches, batch_size=None)


PEERS: dict[str, Callable[[Work], None]] = {
    "plain": train_plain,
    "lightning": train_lightning,
    "accelerate": train_accelerate,
    "ignite": train_ignite,
    "skorch": train_skorch,
    "keras": train_keras,
    "fastai": train_fastai,
}
