"""The ledger of a run: loss, margin and correctness of every training sample in every epoch.

The values come from the logits of the training steps, augmented as they were, before the update.
They are kept on the device until a checkpoint is due, and then written to RUN/samples.npy, float16
[epochs, samples, 3], NaN where a sample was not read or had no single label (mixup).
At the end RUN/samples.parquet gets the id and label of each sample, in the same order.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.feeds.feed import Batch
from torchloupe.data.samples import Samples
from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import CheckpointError, ResourceError, printable
from torchloupe.system import files
from torchloupe.system.arrow import lists_column, read_table, text_column

VALUES, INDEX = "samples.npy", "samples.parquet"
COLUMNS = ("loss", "margin", "right")
HEADER_BYTES = 128
HELD_NUMBERS = 2**18  # logits that are kept until they are measured together
LARGEST = 60_000.0  # float16 ends soon after

Rows = NDArray[np.int64]
Answer = tuple[Batch, Tensor]  # a micro-batch, and its logits [B, K]


class Ledger:
    """The values of the samples at `rows`, ascending, of a run that begins or goes on."""

    def __init__(
        self,
        folder: Path,
        samples: Samples,
        rows: Rows,
        world: World = ALONE,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.folder = folder
        self._samples, self._rows = samples, rows
        self._world, self._warn = world, warn
        self._answers: list[Answer] = []
        self._held = 0
        self._measured: list[tuple[Rows, int, Tensor]] = []
        self._slabs: dict[int, NDArray[np.float16]] = {}  # the latest epoch, as it is on disk
        self._epochs = 0  # on disk
        self.is_broken = False

    def begin(self) -> None:
        """Forget what an earlier beginning of this run has left."""
        if self._world.leads:
            (self.folder / VALUES).unlink(missing_ok=True)
            (self.folder / INDEX).unlink(missing_ok=True)

    def go_on(self, epoch: int) -> None:
        """Continue in `epoch`; what later epochs left is forgotten."""
        if not self._world.leads:
            return
        path = self.folder / VALUES
        try:
            values = None if path.is_symlink() else np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            values = None
        if values is None:
            self.begin()  # missing, damaged, or planted
            return
        if values.dtype != np.float16 or values.shape[1:] != (len(self._rows), len(COLUMNS)):
            self.begin()  # of other data
            return
        self._epochs = min(len(values), epoch + 1)
        if epoch < len(values):
            self._slabs = {epoch: np.array(values[epoch])}

    def add(self, answers: Iterable[Answer]) -> None:
        """Note the logits of a step, in all its micro-batches. Doesn't wait for the device."""
        for batch, logits in answers:
            is_mixed = batch.labels.ndim == 2 and not self._samples.is_multi_label
            if batch.is_padding or is_mixed or logits.ndim != 2 or self.is_broken:
                continue
            self._answers.append((batch, logits))
            self._held += logits.numel()
        if self._held >= HELD_NUMBERS:
            self._measure()

    def flush(self) -> None:
        """Write all that was noted; every rank must call this. A disk that is full ends it."""
        self._measure()
        own = [(rows, epoch, v.cpu().numpy()) for rows, epoch, v in self._measured]
        self._measured = []
        parts = self._world.gather(own)
        if not self._world.leads or self.is_broken:
            return
        for rows, epoch, values in (each for part in parts for each in part):
            self._slab(epoch)[np.searchsorted(self._rows, rows)] = values
        try:
            self._write()
        except (OSError, ResourceError) as error:
            self.is_broken = True
            self._warn(f"{VALUES} is not written any more: {printable(error)}")

    def finish(self) -> None:
        """Write the ids and labels, once training is over: it takes longer than all the values."""
        if self._world.leads and (self.folder / VALUES).exists():
            write_index(self.folder / INDEX, self._samples, self._rows)

    def _measure(self) -> None:
        """Bring the logits that are held down to three numbers a sample."""
        if not self._answers:
            return
        logits = torch.cat([logits for _, logits in self._answers])
        labels = torch.cat([batch.labels for batch, _ in self._answers])
        values = measure(logits, labels)
        start = 0
        for batch, _ in self._answers:
            self._measured.append((batch.rows, batch.epoch, values[start : start + len(batch)]))
            start += len(batch)
        self._answers, self._held = [], 0

    def _slab(self, epoch: int) -> NDArray[np.float16]:
        if epoch not in self._slabs:
            shape = (len(self._rows), len(COLUMNS))
            self._slabs[epoch] = np.full(shape, np.nan, dtype=np.float16)
        return self._slabs[epoch]

    def _write(self) -> None:
        """Write the epochs that changed; the last one is kept, since more of it may come."""
        if not self._slabs:
            return
        path = self.folder / VALUES
        if not path.exists():
            self._epochs = 0
        slab_bytes = len(self._rows) * len(COLUMNS) * 2
        with path.open("r+b" if path.exists() else "xb") as file:
            for epoch in sorted(self._slabs):
                missing = range(self._epochs, epoch)  # epochs without any single label
                empty = np.full((len(self._rows), len(COLUMNS)), np.nan, dtype=np.float16)
                for number in missing:
                    file.seek(HEADER_BYTES + number * slab_bytes)
                    file.write(empty.tobytes())
                file.seek(HEADER_BYTES + epoch * slab_bytes)
                file.write(self._slabs[epoch].tobytes())
                self._epochs = max(self._epochs, epoch + 1)
            file.truncate(HEADER_BYTES + self._epochs * slab_bytes)
            file.seek(0)
            write_header(file, (self._epochs, len(self._rows), len(COLUMNS)))
            file.flush()
        last = max(self._slabs)
        self._slabs = {last: self._slabs[last]}


def measure(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss, margin and whether it was right [B, 3] float16 of logits [B, K].

    Labels [B]: cross entropy; the logit of the label less the highest other one. Labels [B, K] of 0
    and 1: binary cross entropy, averaged over classes; the least certain class decides the margin.
    """
    logits = logits.float()
    if labels.ndim == 2:
        signed = logits * (2 * labels.float() - 1)
        loss, margin = F.softplus(-signed).mean(dim=1), signed.min(dim=1).values
    else:
        own = logits.gather(1, labels[:, None])
        others = logits.scatter(1, labels[:, None], -torch.inf).max(dim=1).values
        loss, margin = logits.logsumexp(dim=1) - own[:, 0], own[:, 0] - others
    values = torch.stack([loss, margin, (margin > 0).float()], dim=1)
    return values.clamp(-LARGEST, LARGEST).half()


def write_index(path: Path, samples: Samples, rows: Rows) -> None:
    """Write the id and the label of each of `rows`; labels are class names, or lists of them."""
    names = np.array(samples.class_names, dtype=object)
    ids = text_column(str(name) for name in samples.ids[rows])
    labels: Any = samples.labels[rows]
    if samples.is_multi_label:
        column = lists_column([[str(n) for n in names[row > 0.5]] for row in labels])
    else:
        column = text_column(map(str, names[labels]))
    facts = {"columns": json.dumps(COLUMNS), "class_names": json.dumps(list(samples.class_names))}
    table = pa.table({"id": ids, "label": column}).replace_schema_metadata(facts)
    with files.replacing(path) as file:
        pq.write_table(table, file)


def write_header(file: Any, shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file of float16, HEADER_BYTES long whatever the shape is."""
    fields = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}"
    text = fields.ljust(HEADER_BYTES - 11) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little") + text.encode())


def read_ledger(folder: Path) -> tuple[NDArray[np.float16], pa.Table]:
    """The values [epochs, samples, 3], mapped from the disk, and the table of ids and labels.

    CheckpointError where the run has none, or where they are damaged.
    """
    try:
        values = np.load(folder / VALUES, mmap_mode="r", allow_pickle=False)
        index = read_table(folder / INDEX)
    except FileNotFoundError:
        raise CheckpointError(
            f"{printable(folder)} has no {VALUES}",
            "only runs that train on a table of samples have one; lens.samples=false leaves it out",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{printable(folder / VALUES)} can't be read ({printable(error)})", "copy the run anew"
        ) from None
    if values.ndim != 3 or values.shape[1:] != (len(index), len(COLUMNS)):
        raise CheckpointError(
            f"{printable(folder / VALUES)} doesn't fit {INDEX} beside it", "copy the run anew"
        )
    return values, index
