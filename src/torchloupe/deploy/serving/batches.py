"""Dynamic batches: images from many requests are classified together, in one thread or several.

A batch starts as soon as a thread is free. It waits a few milliseconds only for images that are
being decoded at that moment, so that a lone request never waits.
"""

import asyncio
import math
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

    So many `threads` call it, each with a batch of its own. What else needs the model goes through
    `alone`.
    """

    def __init__(
        self,
        classify: Classify,
        *,
        most: int,
        wait_seconds: float,
        threads: int = 1,
        count: Callable[[int], None] = lambda _: None,
        addresses: Callable[[], int] = lambda: 1,
    ) -> None:
        """`count` hears the size of every batch. `addresses` says how many clients wait now: where
        there are several, a batch is one turn of each, so that nobody waits for many of another's.
        """
        self.expected = 0  # images that are being decoded
        self._classify = classify
        self._most = most
        self._wait_seconds = wait_seconds
        self._count = count
        self._addresses = addresses
        self._queue: FairQueue[Waiting] = FairQueue()
        self._threads = threads
        self._free = 0  # threads that wait for an image
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._turn = asyncio.Lock()

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
        """What `function` returns, called in a thread of the model while no other such call is."""
        async with self._turn:
            return await self._in_thread(function)

    def warm_up(self, pixels: NDArray[Any]) -> None:
        """Classify these images in each thread: then it has the memory that it will need."""
        for done in [self._pool.submit(self._classify, pixels) for _ in range(self._threads)]:
            done.result()

    async def run(self) -> None:
        """Classify batch after batch until cancelled."""
        await asyncio.gather(*(self._work() for _ in range(self._threads)))

    def close(self) -> None:
        """End the threads once their work is done."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """What one thread does."""
        while True:
            batch = [one for one in await self._gather() if not one[1].done()]
            if batch:
                self._count(len(batch))
                await self._answer(batch)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    async def _gather(self) -> list[Waiting]:
        self._free += 1
        try:
            batch = [(await self._queue.get())[1]]
        finally:
            self._free -= 1
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait_seconds
        while len(batch) < self._room(len(batch)):
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

    def _room(self, taken: int) -> int:
        """How many images a batch may have that has `taken`: free threads share those that wait."""
        clients = self._addresses()
        most = self._most if clients < 2 else min(self._most, clients)
        waiting = self._queue.qsize()
        return most if not waiting else min(most, math.ceil((taken + waiting) / (1 + self._free)))

    async def _answer(self, batch: list[Waiting]) -> None:
        """Give each its row; where all together fail, each is tried alone."""
        try:
            rows = await self._in_thread(lambda: self._classify(np.stack([p for p, _ in batch])))
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
