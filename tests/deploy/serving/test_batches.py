"""Batches of what comes at the same time, and errors that stay with the image that has them."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from torchloupe.deploy.serving.batches import Batches


def sums(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """The sum of each image [B, 1]; refuses a batch in which one is 13."""
    if (pixels == 13).any():
        raise ValueError("thirteen")
    return pixels.reshape(len(pixels), -1).sum(axis=1, keepdims=True).astype(np.float32)


async def classify_all(batches: Batches, values: list[int]) -> list[Any]:
    running = asyncio.create_task(batches.run())
    images = [np.full((2, 2, 1), value, dtype=np.uint8) for value in values]
    found = await asyncio.gather(*map(batches.classify, images), return_exceptions=True)
    running.cancel()
    batches.close()
    return [row if isinstance(row, BaseException) else float(row[0]) for row in found]


def test_images_that_wait_are_classified_together() -> None:
    sizes: list[int] = []
    batches = Batches(sums, most=4, wait_seconds=0.01, count=sizes.append)
    assert asyncio.run(classify_all(batches, [1, 2, 3, 4, 5, 6])) == [4, 8, 12, 16, 20, 24]
    assert sizes == [4, 2]


def test_an_image_that_fails_harms_no_other() -> None:
    batches = Batches(sums, most=8, wait_seconds=0.01)
    found = asyncio.run(classify_all(batches, [1, 13, 3]))
    assert [found[0], found[2]] == [4, 12]
    assert isinstance(found[1], ValueError)


@pytest.mark.parametrize(("expected", "least", "most"), [(0, 0.0, 0.15), (1, 0.2, 5.0)])
def test_a_lone_image_waits_only_for_one_that_is_being_decoded(
    expected: int, least: float, most: float
) -> None:
    async def measure() -> float:
        batches = Batches(sums, most=4, wait_seconds=0.2)
        batches.expected = expected
        begin = asyncio.get_running_loop().time()
        await classify_all(batches, [1])
        return asyncio.get_running_loop().time() - begin

    assert least <= asyncio.run(measure()) < most


def test_an_answer_that_nobody_waits_for_is_left_out() -> None:
    sizes: list[int] = []

    async def leave() -> float:
        batches = Batches(sums, most=4, wait_seconds=0.01, count=sizes.append)
        image = np.ones((2, 2, 1), dtype=np.uint8)
        gone = asyncio.create_task(batches.classify(image))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        return (await classify_all(batches, [2]))[0]

    assert asyncio.run(leave()) == 8
    assert sizes == [1]


def test_images_of_another_address_need_not_wait_behind_many() -> None:
    seen: list[int] = []

    def note(pixels: NDArray[Any]) -> NDArray[np.float32]:
        seen.extend(int(image[0, 0, 0]) for image in pixels)
        return sums(pixels)

    async def ask() -> None:
        batches = Batches(note, most=2, wait_seconds=0.0)
        sent = [("many", value) for value in (1, 2, 3, 4, 5)] + [("few", 9)]
        images = [(np.full((2, 2, 1), v, dtype=np.uint8), address) for address, v in sent]
        rows = [asyncio.create_task(batches.classify(*one)) for one in images]
        await asyncio.sleep(0)
        running = asyncio.create_task(batches.run())
        assert [float((await row)[0]) for row in rows] == [4, 8, 12, 16, 20, 36]
        running.cancel()
        batches.close()

    asyncio.run(ask())
    assert seen == [1, 9, 2, 3, 4, 5]


def test_where_several_clients_wait_a_batch_is_one_turn_of_each() -> None:
    seen: list[list[int]] = []

    def note(pixels: NDArray[Any]) -> NDArray[np.float32]:
        seen.append([int(image[0, 0, 0]) for image in pixels])
        return sums(pixels)

    async def ask() -> None:
        clients = ["many", "few"]
        batches = Batches(note, most=16, wait_seconds=0.0, addresses=lambda: len(clients))
        sent = [("many", value) for value in range(1, 8)] + [("few", 9)]
        images = [(np.full((2, 2, 1), v, dtype=np.uint8), address) for address, v in sent]
        rows = [asyncio.create_task(batches.classify(*one)) for one in images]
        await asyncio.sleep(0)
        running = asyncio.create_task(batches.run())
        await rows[-1]
        clients.pop()
        await asyncio.gather(*rows)
        running.cancel()
        batches.close()

    asyncio.run(ask())
    assert seen[0] == [1, 9]
    assert [value for batch in seen for value in batch] == [1, 9, 2, 3, 4, 5, 6, 7]
    assert max(map(len, seen)) > 2  # one client alone has large batches


def test_two_threads_work_at_once_and_share_what_waits() -> None:
    both, sizes = threading.Barrier(2, timeout=30), []

    def meet(pixels: NDArray[Any]) -> NDArray[np.float32]:
        both.wait()  # no batch ends before another one is in progress
        return sums(pixels)

    async def ask() -> list[float]:
        batches = Batches(meet, most=16, wait_seconds=0.0, threads=2, count=sizes.append)
        images = [np.full((2, 2, 1), value, dtype=np.uint8) for value in range(8)]
        running = asyncio.create_task(batches.run())
        await asyncio.sleep(0)  # both wait
        rows = await asyncio.gather(*map(batches.classify, images))
        running.cancel()
        batches.close()
        return [float(row[0]) for row in rows]

    assert asyncio.run(ask()) == [4.0 * value for value in range(8)]
    assert sizes == [4, 4]


def test_what_goes_alone_meets_no_other_of_its_kind() -> None:
    inside: list[int] = []

    def look() -> int:
        inside.append(1)
        most = len(inside)
        threading.Event().wait(0.02)
        inside.pop()
        return most

    async def ask() -> list[int]:
        batches = Batches(sums, most=16, wait_seconds=0.0, threads=2)
        found = await asyncio.gather(*(batches.alone(look) for _ in range(4)))
        batches.close()
        return found

    assert asyncio.run(ask()) == [1, 1, 1, 1]
