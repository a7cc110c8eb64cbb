"""Dynamic batches: images from many requests are classified together, in one thread.

A batch starts as soon as the model is free. It waits a few milliseconds only for images that are
being decoded at that moment, so that a lone request never waits.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.deploy.serving.turns import FairQueue

Classify = Callable[[NDArray[Any]], NDArray[np.float32]]
Waiting = tuple[NDArray[Any], "asyncio.Future[NDArray[np.float32]]"]


class Batches:
    """A queue of decoded images before `classify`, which gives [B, K] for [B, H, W, C].

    The thread is the only one that uses the model: what else needs it goes through `alone`.
    """

    def __init__(
        self,
        classify: Classify,
        *,
        most: int,
        wait_seconds: float,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`count` hears the size of every batch."""
        self.expected = 0  # images that are being decoded
        self._classify = classify
        self._most = most
        self._wait_seconds = wait_seconds
        self._count = count
        self._queue: FairQueue[Waiting] = FairQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """How many images wait for the model."""
        return self._queue.qsize()

    async def classify(self, pixels: NDArray[Any], address: str = "") -> NDArray[np.float32]:
        """The row [K] of one image [H, W, C]; images of one `address` take turns with others."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((address, (pixels, future)))
        row: NDArray[np.float32] = await future
        return row

    async def alone(self, function: Callable[[], Any]) -> Any:
        """What `function` returns, called in the thread of the model."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run(self) -> None:
        """Classify batch after batch until cancelled."""
        while True:
            batch = [one for one in await self._gather() if not one[1].done()]
            if batch:
                self._count(len(batch))
                await self._answer(batch)

    def close(self) -> None:
        """End the thread once its work is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _gather(self) -> list[Waiting]:
        batch = [(await self._queue.get())[1]]
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait_seconds
        while len(batch) < self._most:
            if not self._queue.empty():
                batch.append(self._queue.get_nowait()[1])
            elif self.expected == 0 or (left := end - loop.time()) <= 0:
                break
            else:
                try:
                    batch.append((await asyncio.wait_for(self._queue.get(), left))[1])
                except TimeoutError:
                    break
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        """Give each its row; where all together fail, each is tried alone."""
        try:
            rows = await self.alone(lambda: self._classify(np.stack([p for p, _ in batch])))
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), row in zip(batch, rows, strict=True):
            if not future.done():
                future.set_result(row)
