"""What tests of the server share: a running one, images, and a model that is held back."""

import io
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.deploy.serving.service import Service
from torchloupe.trained.run import Run

TOKEN = "a-token-of-the-tests"


@dataclass
class Served:
    """A server that runs, and a client with its token."""

    port: int
    service: Service
    client: httpx.Client
    log: io.StringIO = field(default_factory=io.StringIO)

    @property
    def host(self) -> str:
        """What the Host header says."""
        return f"127.0.0.1:{self.port}"


def encode(seed: int, side: int = 8) -> bytes:
    """A picture of noise as a PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Slow:
    """What it serves, but each batch takes a while; `gate` holds it back."""

    def __init__(self, run: Run, seconds: float) -> None:
        self.run = run
        self.contract = run.contract
        self.class_names = run.class_names
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()

    def probabilities(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        self.gate.wait(30)
        time.sleep(self.seconds)
        return self.run.probabilities(pixels)

    def look(self, image: Any) -> Any:
        return self.run.look(image)
