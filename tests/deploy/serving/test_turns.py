"""Lines of different addresses move alike, and places are passed on."""

import asyncio

import pytest

from torchloupe.deploy.serving.turns import FairQueue, Turns, address_of


def test_addresses_take_turns_and_each_keeps_its_order() -> None:
    async def fill() -> list[tuple[str, int]]:
        queue: FairQueue[int] = FairQueue()
        for number in range(5):
            queue.put_nowait(("many", number))
        queue.put_nowait(("few", 100))
        first = queue.get_nowait()
        queue.put_nowait(("late", 200))
        assert queue.qsize() == 6
        return [first, *(queue.get_nowait() for _ in range(6))]

    order = asyncio.run(fill())
    assert [one for one in order if one[0] == "many"] == [("many", k) for k in range(5)]
    assert [address for address, _ in order[:4]] == ["many", "few", "many", "late"]


async def hold(turns: Turns, address: str, until: asyncio.Event, seen: list[str]) -> None:
    async with turns.take(address):
        seen.append(address)
        await until.wait()


def test_who_waits_for_a_place_gets_it_in_turn_and_who_left_is_passed_over() -> None:
    async def run() -> list[str]:
        turns, seen, end = Turns(1), [], asyncio.Event()
        names = ["holder", "many", "many", "gone", "many", "few"]
        tasks = [asyncio.create_task(hold(turns, name, end, seen)) for name in names]
        await asyncio.sleep(0)
        assert seen == ["holder"]
        tasks[3].cancel()
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(10), turns.take("next"):  # no place was lost
            return seen

    assert asyncio.run(run()) == ["holder", "many", "few", "many", "many"]


def test_a_place_given_to_one_who_just_left_is_passed_on() -> None:
    async def run() -> list[str]:
        turns, seen, held, end = Turns(1), [], asyncio.Event(), asyncio.Event()
        end.set()
        holder = asyncio.create_task(hold(turns, "holder", held, seen))
        leaving = asyncio.create_task(hold(turns, "leaving", end, seen))
        waiting = asyncio.create_task(hold(turns, "waiting", end, seen))
        await asyncio.sleep(0)
        held.set()
        await asyncio.wait([holder])  # its place now belongs to the second, which has not run yet
        leaving.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(leaving, waiting, return_exceptions=True)
        return seen

    assert asyncio.run(run())[-1] == "waiting"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("", ""),
        ("testclient", ""),
    ],
)
def test_an_address_is_who_has_it(host: str, address: str) -> None:
    assert address_of(host) == address
