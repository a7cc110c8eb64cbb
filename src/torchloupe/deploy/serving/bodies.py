"""Bodies of requests: received within bounds, and taken apart into encoded images.

An image is bytes. No path and no address in a request is ever opened.
"""

import asyncio
import base64
import binascii
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from torchloupe.deploy.serving.limits import Limits, Load, RefusalError

_RAW = ("application/octet-stream", "application/x-www-form-urlencoded")  # the latter by curl
_JSON = 'send {"images": ["BASE64", ...]}, or one image as the raw body'


async def receive_body(request: Request, load: Load, address: str) -> bytes:
    """The whole body; its bytes are taken from the share of `address`. Raises RefusalError."""
    limits = load.limits
    said = request.headers.get("content-length", "0")
    if not said.isdigit() or int(said) > limits.body_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                if size + len(part) > limits.body_bytes:
                    raise _too_large(limits)
                load.body_bytes.take(len(part), address)
                size += len(part)
                parts.append(part)
                if size > limits.body_at_once:  # more of it must not keep others waiting
                    await asyncio.sleep(len(part) / limits.body_bytes_per_second)
    except TimeoutError:
        load.body_bytes.give_back(size, address)
        raise RefusalError(
            408, f"the body took more than {limits.body_seconds:g} s", headers=_CLOSE
        ) from None
    except (RefusalError, ClientDisconnect):
        load.body_bytes.give_back(size, address)
        raise
    return b"".join(parts)


_CLOSE = {"Connection": "close"}


def _too_large(limits: Limits) -> RefusalError:
    most = f"{limits.body_bytes / 2**20:g} MiB"
    return RefusalError(413, f"a request has at most {most}", "send smaller images", _CLOSE)


def take_apart(body: bytes, content_type: str, limits: Limits) -> tuple[list[bytes], bool]:
    """The encoded images of a body, and whether it was a single one. Raises RefusalError."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(body, limits)
    if kind and kind not in _RAW and not kind.startswith("image/"):
        raise RefusalError(415, "bodies of this type are not read", _JSON)
    if not body:
        raise RefusalError(400, "there is no image in the request", _JSON)
    return [body], True


def _from_json(body: bytes, limits: Limits) -> tuple[list[bytes], bool]:
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "the body is no JSON", _JSON) from None
    texts = content.get("images") if isinstance(content, dict) else None
    is_single = isinstance(content, dict) and isinstance(content.get("image"), str)
    if is_single:
        texts = [content["image"]]
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise RefusalError(400, "the JSON has no images", _JSON)
    if len(texts) > limits.images:
        raise RefusalError(413, f"a request has at most {limits.images} images", "send several")
    images = []
    for number, text in enumerate(texts, 1):
        try:
            images.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            which = f"image {number} of {len(texts)} is no base64"
            hint = "leave out what stands before the comma" if text.startswith("data:") else _JSON
            raise RefusalError(400, which, hint) from None
    return images, is_single
