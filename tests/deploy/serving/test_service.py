"""Answers of a live server: right, alike alone and together, and bounded."""

import base64
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import png
from servers import Served, Slow, encode

from torchloupe.deploy.folded import CLOSE
from torchloupe.deploy.serving.limits import Limits
from torchloupe.trained.run import Run


def text_of(image: bytes) -> str:
    return base64.b64encode(image).decode()


def test_answer_is_that_of_predict(live: Served, run: Run, digit: bytes) -> None:
    wanted = run.predict(digit, top=3)
    answer = live.client.post("/predict?top=3", content=digit).json()
    assert answer["label"] == wanted.label
    assert answer["probabilities"] == pytest.approx(dict(wanted.probabilities or {}), abs=CLOSE)
    assert answer["unsure"] == wanted.unsure
    seen = live.client.post("/look", content=digit).json()
    assert base64.b64decode(seen["png"]).startswith(b"\x89PNG")
    assert seen["label"] == wanted.label


def test_images_get_the_same_bits_alone_and_among_others_with_a_bad_one(live: Served) -> None:
    images = [encode(k) for k in range(24)]
    alone = [live.client.post("/predict?top=10", content=image).json() for image in images]
    together = [text_of(image) for image in images]
    together.insert(5, text_of(b"\xff\xd8no JPEG"))
    found = live.client.post("/predict?top=10", json={"images": together}).json()["predictions"]
    assert "error" in found.pop(5)
    assert found == alone
    with ThreadPoolExecutor(12) as pool:
        send = lambda image: live.client.post("/predict?top=10", content=image).json()  # noqa: E731
        assert list(pool.map(send, images)) == alone


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "image/png", 400),
        (b"no image", "image/png", 422),
        (b"/etc/passwd", "text/plain", 415),
        (b"a=1", "multipart/form-data; boundary=x", 415),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"images": []}', "application/json", 400),
        (b'{"images": ["!!"]}', "application/json", 400),
        (b'{"images": [1]}', "application/json", 400),
        (b'{"images": "aGk="}', "application/json", 400),
        (b'{"image": "aGk="}', "application/json", 422),
        (b'{"url": "http://127.0.0.1/x.png"}', "application/json", 400),
        (b'{"images": [' + b'"",' * 64 + b'""]}', "application/json", 413),
    ],
)
def test_odd_bodies_are_refused(live: Served, content: bytes, kind: str, status: int) -> None:
    answer = live.client.post("/predict", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert "error" in answer.json()


def test_of_many_images_the_one_that_is_no_base64_is_named(live: Served, digit: bytes) -> None:
    address = "data:image/png;base64," + text_of(digit)
    answer = live.client.post("/predict", json={"images": [text_of(digit), address]})
    wanted = {
        "error": "image 2 of 2 is no base64",
        "hint": "leave out what stands before the comma",
    }
    assert (answer.status_code, answer.json()) == (400, wanted)


@pytest.mark.parametrize("top", ["0", "-1", "x", "1.5", "9" * 30, "\u0665"])
def test_odd_numbers_are_refused(live: Served, digit: bytes, top: str) -> None:
    assert live.client.post("/predict", params={"top": top}, content=digit).status_code == 400


def test_pictures_beyond_the_limit_are_refused_unread(
    start: Callable[..., Served], digit: bytes
) -> None:
    server = start(Limits(pixels=1000, body_bytes=5000))
    large = server.client.post("/predict", content=encode(0, 40))
    assert (large.status_code, large.json()["error"]) == (
        422,
        "40 x 40 pixels, more than 0.001 million",
    )
    assert server.client.post("/predict", content=encode(0, 100)).status_code == 413
    assert server.client.post("/predict", content=digit).status_code == 200
    assert server.service.load.body_bytes.total == 0


def test_a_large_body_is_read_at_a_pace(start: Callable[..., Served]) -> None:
    server = start(Limits(body_at_once=1000, body_bytes_per_second=2_000_000))
    begin = time.monotonic()
    assert server.client.post("/predict", content=bytes(500_000)).status_code == 422
    assert time.monotonic() - begin >= 0.25


@pytest.mark.parametrize("headers", [{}, {"host": "elsewhere.example"}])
def test_a_client_that_still_sends_gets_its_answer(
    start: Callable[..., Served], headers: dict[str, str]
) -> None:
    server = start(Limits(body_bytes=5000))
    for _ in range(3):
        answer = server.client.post("/predict", content=bytes(3_000_000), headers=headers)
        assert answer.status_code == (421 if headers else 413)
        assert "error" in answer.json()


def test_decompression_bombs_leave_the_server_well(live: Served, digit: bytes) -> None:
    bomb = png(30_000, 30_000)
    assert live.client.post("/predict", content=bomb).status_code == 422
    assert live.client.post("/predict", content=digit).status_code == 200


def test_flood_is_answered_with_503_and_the_server_recovers(
    start: Callable[..., Served], run: Run, digit: bytes
) -> None:
    slow = Slow(run, 0.0)
    server = start(Limits(waiting=8), slow)
    slow.gate.clear()
    with ThreadPoolExecutor(24) as pool:
        sent = [pool.submit(server.client.post, "/predict", content=digit) for _ in range(24)]
        while server.service.load.images.total < 4 or sum(future.done() for future in sent) < 20:
            time.sleep(0.01)
        assert server.client.get("/readyz").status_code == 503
        assert server.client.get("/healthz").status_code == 200
        slow.gate.set()
        codes = sorted(future.result().status_code for future in sent)
        refused = next(f.result() for f in sent if f.result().status_code == 503)
    assert codes == [200] * 4 + [503] * 20
    assert refused.headers["retry-after"] == "1"
    assert server.client.post("/predict", content=digit).status_code == 200
    assert server.client.get("/readyz").status_code == 200


def test_a_flood_from_one_address_leaves_room_for_others(
    start: Callable[..., Served], run: Run, digit: bytes
) -> None:
    slow = Slow(run, 0.0)
    server = start(Limits(waiting=8), slow)
    slow.gate.clear()
    flood = client_at("127.0.0.2", server)
    with ThreadPoolExecutor(13) as pool, flood:
        sent = [pool.submit(flood.post, "/predict", content=digit) for _ in range(12)]
        while sum(future.done() for future in sent) < 8:
            time.sleep(0.01)
        assert flood.get("/readyz").status_code == 503
        assert server.client.get("/readyz").status_code == 200
        honest = pool.submit(server.client.post, "/predict", content=digit)
        while server.service.load.images.total < 5:
            time.sleep(0.01)
        slow.gate.set()
        assert honest.result().status_code == 200
    assert sorted(future.result().status_code for future in sent) == [200] * 4 + [503] * 8


def client_at(address: str, server: Served) -> httpx.Client:
    """A client that comes from another address of this machine."""
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        pytest.skip(f"this machine has no {address}")
    place = httpx.HTTPTransport(local_address=address)
    headers = dict(server.client.headers)
    return httpx.Client(
        base_url=server.client.base_url, headers=headers, timeout=30, transport=place
    )


def test_metrics_count_what_was_done(live: Served, digit: bytes) -> None:
    live.client.post("/predict", content=digit)
    text = live.client.get("/metrics").text
    assert 'loupe_requests_total{route="/predict",status="200"}' in text
    assert 'loupe_images_total{outcome="classified"}' in text
    assert 'loupe_request_seconds_bucket{le="+Inf"}' in text
    assert "loupe_images_in_flight 0" in text


def test_the_description_says_of_each_answer_which_it_is(live: Served, digit: bytes) -> None:
    about = live.client.get("/openapi.json").json()
    assert {"/predict", "/look", "/metrics"} <= set(about["paths"])
    schemas = about["components"]["schemas"]

    def kinds_of(answer: dict[str, Any]) -> list[str]:
        return [name for name, kind in schemas.items() if {*kind["required"]} <= {*answer}]

    several = {"images": [text_of(digit), text_of(b"no image")]}
    found = live.client.post("/predict", json=several).json()
    assert kinds_of(found) == ["Answers"]
    assert list(map(kinds_of, found["predictions"])) == [["Answer"], ["Error"]]
    assert kinds_of(live.client.post("/look", content=digit).json()) == ["Look"]
    assert kinds_of(live.client.post("/predict", content=b"no image").json()) == ["Error"]


def test_what_fails_within_is_told_without_its_place(
    start: Callable[..., Served], run: Run, digit: bytes
) -> None:
    class Broken(Slow):
        def probabilities(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
            raise RuntimeError("at /some/place/model.py")

    server = start(Limits(), Broken(run, 0.0))
    answer = server.client.post("/predict", content=digit)
    assert answer.status_code == 500
    assert answer.json()["error"] == "the server failed at this request"
    assert server.client.get("/healthz").status_code == 200
