"""Room for large images: as many at once as fit, and one always."""

import threading

import pytest

from torchloupe.data.image.room import Room


@pytest.mark.parametrize(("pixels", "at_once"), [(24, 4), (50, 2), (51, 1), (100, 1), (900, 1)])
def test_images_are_held_at_once_while_they_fit(pixels: int, at_once: int) -> None:
    room, inside, most = Room(100), 0, 0
    full, lock = threading.Event(), threading.Lock()

    def decode() -> None:
        nonlocal inside, most
        with room.take(pixels):
            with lock:
                inside += 1
                most = max(most, inside)
                if inside == at_once:
                    full.set()
            assert full.wait(10)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=decode) for _ in range(at_once * 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most, inside) == (at_once, 0)


def test_an_image_that_fails_gives_its_room_back() -> None:
    room = Room(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), room.take(10):
            raise ValueError("damaged")
    with room.take(10):
        pass
