"""The peers of benchmarks/serve.py: one model behind plain FastAPI, and behind LitServe.

    python benchmarks/servers/peers.py fastapi|litserve|litserve-same RUN PORT

`fastapi` and `litserve` are what their documentation shows for images: base64 in JSON, Pillow,
torchvision's transforms, and the model in eval mode under `inference_mode`. LitServe collects
batches of up to 64. `litserve-same` decodes and classifies with torchloupe's own functions, so
that only the servers differ.
"""

import base64
import io
import sys

import litserve
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from torchvision.transforms import v2

import torchloupe as loupe

BATCH, BATCH_SECONDS = 64, 0.01


class Plain:
    """The run's model as people serve it: Pillow, transforms, a forward in float32."""

    def __init__(self, folder: str) -> None:
        run = loupe.open_run(folder, device="cpu")
        contract = run.contract
        self.model, self.names = run.model.float().eval(), run.class_names
        size = list(contract.size)
        self.transform = v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize(size[0], antialias=True),
                v2.CenterCrop(size),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(contract.mean, contract.std),
            ]
        )

    def decode(self, data: bytes) -> torch.Tensor:
        """The normalised image [C, H, W]."""
        return self.transform(Image.open(io.BytesIO(data)).convert("RGB"))

    def classify(self, images: list[torch.Tensor]) -> np.ndarray:
        """Probabilities [B, K]."""
        with torch.inference_mode():
            return self.model(torch.stack(images)).softmax(dim=1).numpy()


class Same(Plain):
    """The same with the decoder, the number format and the memory format of the run."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.run = loupe.open_run(folder, device="cpu")

    def decode(self, data: bytes) -> np.ndarray:
        """The pixels [H, W, C]."""
        return self.run.contract.decode(data)

    def classify(self, images: list[np.ndarray]) -> np.ndarray:
        """Probabilities [B, K]."""
        return self.run.probabilities(np.stack(images))


def answer(names: tuple[str, ...], row: np.ndarray) -> dict[str, object]:
    """What is sent back: the best class and all probabilities."""
    best = int(row.argmax())
    return {
        "label": names[best],
        "confidence": float(row[best]),
        "probabilities": {name: float(p) for name, p in zip(names, row, strict=True)},
    }


class Api(litserve.LitAPI):
    """LitServe's own interface."""

    def __init__(self, kind: type[Plain], folder: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS, api_path="/predict")
        self.kind, self.folder = kind, folder

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Open the model in the worker."""
        self.served = self.kind(self.folder)

    def decode_request(self, request: dict) -> object:
        """An image from JSON."""
        return self.served.decode(base64.b64decode(request["image"]))

    def batch(self, inputs: list) -> list:
        """A list stays a list."""
        return list(inputs)

    def predict(self, batch: list) -> np.ndarray:
        """Probabilities of a batch."""
        return self.served.classify(batch)

    def unbatch(self, output: np.ndarray) -> list:
        """A row each."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, object]:
        """The answer."""
        return answer(self.served.names, output)


def serve_fastapi(folder: str, port: int) -> None:
    """One process; each request is decoded and classified alone, in a thread of the pool."""
    served, app = Plain(folder), FastAPI()

    @app.post("/predict")
    def predict(body: dict) -> dict[str, object]:
        """One image."""
        image = served.decode(base64.b64decode(body["image"]))
        return answer(served.names, served.classify([image])[0])

    @app.get("/health")
    def health() -> str:
        """Whether it is there."""
        return "ok"

    uvicorn.run(app, port=port, log_level="warning")


def main() -> None:
    """Serve until it is ended."""
    kind, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "fastapi":
        serve_fastapi(folder, port)
        return
    api = Api(Same if kind == "litserve-same" else Plain, folder)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(port=port, generate_client_file=False, log_level="warning", num_api_servers=1)


if __name__ == "__main__":
    main()
