"""The bottleneck of training: data, model, or both."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.image.formats import ImageError
from torchloupe.hardware.device import wait_for
from torchloupe.units import format_bytes, format_count

_FEW = 0.15  # of a step: below, the data don't matter
_MANY = 0.4  # above, they are the bottleneck
_MATRIX_SIDE = 1024
_COPY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Rates:
    """Measured rates, in images a second unless said otherwise."""

    data: float  # batches ready for the model, with no model running
    model: float  # steps on the same batch
    together: float  # as in training
    decode: float  # decoding files, one core; 0 if nothing is decoded
    decode_bytes: float  # the same in bytes of files a second
    copy_bytes: float  # a second, from memory to memory, one thread
    flops: float  # of a product of two large fp32 matrices, a second

    @property
    def data_fraction(self) -> float:
        """The fraction of a step's time that its data take."""
        return min(1.0, max(0.0, 1 - self.together / self.model)) if self.model else 0.0


def measure_rates(
    batches: Callable[[], Iterator[Batch]],
    step: Callable[[Batch], object],
    decode: tuple[float, float],
    seconds: float,
) -> Rates:
    """Time the data, the model and both for `seconds` each; `decode` is from `time_decoding`."""
    stream = batches()
    first = next(stream)
    step(first)
    device = first.images.device

    def rate(work: Callable[[], Batch]) -> float:
        work()
        wait_for(device)
        images, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            images += len(work())
            wait_for(device)
        return images / (time.perf_counter() - start)

    def take() -> Batch:
        return next(stream)

    def compute() -> Batch:
        step(first)
        return first

    def both() -> Batch:
        batch = next(stream)
        step(batch)
        return batch

    return Rates(rate(take), rate(compute), rate(both), *decode, *_ceilings(device, seconds / 4))


def time_decoding(
    read: Callable[[int], object], rows: Sequence[int], contract: Contract
) -> tuple[float, float]:
    """Images and bytes of files that one core decodes a second; zeros for images in arrays."""
    files = [content for row in rows if isinstance(content := read(row), bytes)]
    done = size = 0
    start = time.perf_counter()
    for content in files:
        try:
            contract.decode(content)
        except ImageError:
            continue
        done, size = done + 1, size + len(content)
    took = time.perf_counter() - start
    return (done / took, size / took) if done else (0.0, 0.0)


def describe_rates(rates: Rates) -> list[tuple[str, str]]:
    """Each rate with its name, for a table."""
    rows = [
        ("data alone", f"{format_count(rates.data)} images/s"),
        ("model alone", f"{format_count(rates.model)} images/s"),
        ("both, as in training", f"{format_count(rates.together)} images/s"),
    ]
    if rates.decode:
        rows.append(
            (
                "decoding, one core",
                f"{format_count(rates.decode)} images/s, "
                f"{format_bytes(rates.decode_bytes)} of files a second",
            )
        )
    return [
        *rows,
        ("copying memory, one thread", f"{format_bytes(rates.copy_bytes)}/s"),
        ("matrix product, fp32", f"{rates.flops / 1e9:,.0f} GFLOP/s"),
    ]


def name_bottleneck(rates: Rates, *, where: str, cores: int) -> list[str]:
    """What limits training, and what would help; `where` is where the pixels are kept."""
    share = f"{100 * rates.data_fraction:.0f} % of a step"
    if rates.data_fraction < _FEW:
        return [
            f"the model is the limit: its data take {share}",
            "a smaller model, smaller images (--set data.size=...) or a GPU would be faster",
        ]
    what = (
        "the data are the limit" if rates.data_fraction > _MANY else "data and model share the time"
    )
    if where == "decoded on the fly":
        return [
            f"{what}: decoding takes {share}, on {cores} cores",
            "decode once into a pack: --set data.pack=disk",
        ]
    if where:
        return [
            f"{what}: gathering and changing the images takes {share}",
            "fewer or cheaper changes (--set augment....) or a larger batch would be faster",
        ]
    return [
        f"{what}: your Dataset takes {share}",
        "give it workers (--set data.workers=...), or a folder or arrays, which can be packed",
    ]


def _ceilings(device: torch.device, seconds: float) -> tuple[float, float]:
    """Bytes copied a second on the CPU by one thread, and fp32 operations a second on `device`."""
    source = torch.ones(_COPY_BYTES // 4)
    target = torch.empty_like(source)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        copies = _per_second(lambda: target.copy_(source), seconds, torch.device("cpu"))
    finally:
        torch.set_num_threads(threads)
    matrix = torch.ones(_MATRIX_SIDE, _MATRIX_SIDE, device=device)
    products = _per_second(lambda: matrix @ matrix, seconds, device)
    return copies * _COPY_BYTES, products * 2 * _MATRIX_SIDE**3


def _per_second(work: Callable[[], object], seconds: float, device: torch.device) -> float:
    work()
    wait_for(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        work()
        wait_for(device)
        count += 1
    return count / (time.perf_counter() - start)
