"""Images to answers: decoded in a bounded pool of threads, classified in batches."""

import asyncio
import base64
import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.contract import Contract
from torchloupe.data.image.formats import ImageError, inspect
from torchloupe.deploy.serving.batches import Batches
from torchloupe.deploy.serving.counts import Counts
from torchloupe.deploy.serving.limits import Limits, Load, RefusalError
from torchloupe.deploy.serving.turns import Turns
from torchloupe.report.colours import enlarge, lay_over
from torchloupe.report.look import Look
from torchloupe.system.limits import usable_cores

_LOOK_SIDE = 448  # pixels


class Served(Protocol):
    """What is served: a run, an exported folder, or what has the same methods.

    Where it has a method `look` too, as a run has, it can be asked where it looked.
    """

    @property
    def class_names(self) -> tuple[str, ...]: ...

    contract: Contract

    def probabilities(self, pixels: NDArray[Any]) -> NDArray[np.float32]: ...


class Service:
    """One worker's model, threads and counts; so many `model_threads` use the model at once."""

    def __init__(self, served: Served, limits: Limits, model_threads: int = 1) -> None:
        self.served = served
        self.limits = limits
        self.counts = Counts()
        self.load = Load(limits, started=time.monotonic())
        threads = usable_cores()
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.decoding = Turns(2 * threads)  # so many that no thread waits for the next image
        is_on_cpu = _is_on_cpu(served)
        self.batches = Batches(
            served.probabilities,
            most=limits.batch_on_cpu if is_on_cpu else limits.batch,
            wait_seconds=limits.batch_seconds,
            threads=model_threads,
            count=self.counts.batches.add,
            addresses=lambda: self.load.images.addresses if is_on_cpu else 1,
        )

    async def in_pool(self, function: Any, *arguments: Any) -> Any:
        """What a function returns, called in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    async def predict(
        self, images: Sequence[bytes], top: int, address: str
    ) -> list[dict[str, Any]]:
        """An answer for each encoded image, or the reason why it has none. Raises RefusalError.

        Images of one `address` take turns with those of others.
        """
        try:
            self.load.images.take(len(images), address)
        except RefusalError:
            self.counts.images["refused"] += len(images)
            raise
        try:
            if len(images) == 1:
                return [await self._predict_one(images[0], top, address)]
            each = (self._predict_one(image, top, address) for image in images)
            return list(await asyncio.gather(*each))
        finally:
            self.load.images.give_back(len(images), address)

    async def _predict_one(self, image: bytes, top: int, address: str) -> dict[str, Any]:
        try:
            async with self.decoding.take(address):
                pixels = await self._decode(image)
        except ImageError as error:
            self.counts.images["unreadable"] += 1
            return {"error": error.message}
        row = await self.batches.classify(pixels, address)
        self.counts.images["classified"] += 1
        return self._describe(row, top)

    async def _decode(self, image: bytes) -> NDArray[Any]:
        self.batches.expected += 1
        try:
            async with asyncio.timeout(self.limits.decode_seconds):
                pixels: NDArray[Any] = await self.in_pool(self._read, image)
        except TimeoutError:
            raise ImageError(f"it takes more than {self.limits.decode_seconds:g} s") from None
        finally:
            self.batches.expected -= 1
        return pixels

    def _read(self, image: bytes) -> NDArray[Any]:
        width, height = inspect(image).size
        if width * height > self.limits.pixels:
            raise ImageError(
                f"{width} x {height} pixels, more than {self.limits.pixels / 1e6:g} million"
            )
        return self.served.contract.decode(image)

    def _describe(self, row: NDArray[np.float32], top: int) -> dict[str, Any]:
        names, contract = self.served.class_names, self.served.contract
        order = np.argsort(-row, kind="stable")
        best = int(order[0])
        several = [names[k] for k in order if row[k] > 0.5]
        confidence, threshold = float(row[best]), contract.threshold
        return {
            "label": names[best],
            "confidence": confidence,
            "labels": several if contract.multi_label else [names[best]],
            "probabilities": {names[k]: float(row[k]) for k in order[:top]},
            "unsure": None if threshold is None else confidence < threshold,
        }

    @property
    def can_look(self) -> bool:
        """Whether it can be asked where the model looked: an exported graph has no layers."""
        return hasattr(self.served, "look")

    async def look(self, image: bytes, address: str) -> dict[str, Any]:
        """Where the model sees its most likely class, as a PNG in base64. Raises ImageError."""
        if not self.can_look:
            raise RefusalError(
                501, "an exported model can't say where it looked", "serve the run for that"
            )
        self.load.images.take(1, address)
        try:
            async with self.decoding.take(address):
                await self._decode(image)
            seen: Look = await self.batches.alone(lambda: self.served.look(image))  # type: ignore[attr-defined]
            return await self.in_pool(_draw, seen)  # type: ignore[no-any-return]
        finally:
            self.load.images.give_back(1, address)

    def gauges(self) -> dict[str, float]:
        """What is so right now, for /metrics."""
        return {
            "images_in_flight": self.load.images.total,
            "images_waiting": self.batches.waiting,
            "body_bytes": self.load.body_bytes.total,
            "uptime_seconds": time.monotonic() - self.load.started,
        }

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.batches.close()


def _is_on_cpu(served: Served) -> bool:
    """A run says its device; exports and folded runs are computed on the CPU."""
    return getattr(getattr(served, "device", None), "type", "cpu") == "cpu"


def _draw(seen: Look) -> dict[str, Any]:
    name, heat = seen.heat[0]
    picture = lay_over(enlarge(seen.pixels, _LOOK_SIDE, _LOOK_SIDE), heat)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    return {"label": name, "layer": seen.heat_layer, "png": encoded}
