"""The routes of the server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Any, TextIO

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from torchloupe.data.image.formats import ImageError
from torchloupe.deploy.serving.bodies import receive_body, take_apart
from torchloupe.deploy.serving.guard import Guard, known_hosts
from torchloupe.deploy.serving.limits import RefusalError, too_busy
from torchloupe.deploy.serving.openapi import describe_api
from torchloupe.deploy.serving.service import Service
from torchloupe.deploy.serving.turns import address_of

_SMALL_BODY = 2**18  # bytes that are taken apart sooner than another thread is asked

Endpoint = Callable[[Request], Awaitable[Response]]


def make_application(
    service: Service, *, host: str, token: str, log: TextIO | None = None
) -> Guard:
    """The application of one worker bound to `host`; with an empty `token` none is asked for."""
    routes = [
        Route("/", _asset("serve.html", "text/html")),
        Route("/page.js", _asset("serve.js", "text/javascript")),
        Route("/page.css", _asset("serve.css", "text/css")),
        Route("/predict", _predict(service), methods=["POST"]),
        Route("/look", _look(service), methods=["POST"]),
        Route("/classes", _classes(service)),
        Route("/healthz", _health(service)),
        Route("/readyz", _readiness(service)),
        Route("/metrics", _metrics(service)),
        Route("/openapi.json", _openapi(service)),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(service.batches.run())
        try:
            yield
        finally:
            service.load.is_draining = True
            running.cancel()
            service.close()

    handlers: dict[Any, Any] = {
        RefusalError: _refuse,
        HTTPException: _refuse_route,
        ClientDisconnect: _gone,
        Exception: _fail,
    }
    inner = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    hosts, any_address = known_hosts(host)
    return Guard(
        inner,
        hosts=hosts,
        any_address=any_address,
        token=token,
        routes=[route.path for route in routes],
        counts=service.counts,
        log=log,
    )


def _predict(service: Service) -> Endpoint:
    async def predict(request: Request) -> Response:
        """Classes of one image or several."""
        top = _read_top(request, service)
        async with _images_of(request, service) as (images, is_single):
            request.scope["state"]["images"] = len(images)
            answers = await service.predict(images, top, _address_of(request))
        if is_single:
            return JSONResponse(answers[0], status_code=422 if "error" in answers[0] else 200)
        return JSONResponse({"predictions": answers})

    return predict


def _look(service: Service) -> Endpoint:
    async def look(request: Request) -> Response:
        """Where the model looked."""
        async with _images_of(request, service) as (images, is_single):
            if not is_single:
                raise RefusalError(400, "look takes one image", "send one image as the raw body")
            request.scope["state"]["images"] = 1
            try:
                return JSONResponse(await service.look(images[0], _address_of(request)))
            except ImageError as error:
                return JSONResponse({"error": error.message}, status_code=422)

    return look


@contextlib.asynccontextmanager
async def _images_of(request: Request, service: Service) -> AsyncIterator[tuple[list[bytes], bool]]:
    """The encoded images of a request, and whether it is a single one; their bytes count inside."""
    load, address = service.load, _address_of(request)
    if not load.images.has_room(1, address):
        raise too_busy()  # not even the body is received
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise RefusalError(415, "forms are not read", "send the image as the raw body")
    body = await receive_body(request, load, address)
    try:
        kind = request.headers.get("content-type", "")
        if len(body) < _SMALL_BODY:
            yield take_apart(body, kind, service.limits)
        else:
            yield await service.in_pool(take_apart, body, kind, service.limits)
    finally:
        load.body_bytes.give_back(len(body), address)


def _address_of(request: Request) -> str:
    return address_of(request.client.host if request.client else "")


def _read_top(request: Request, service: Service) -> int:
    said = request.query_params.get("top", "5")
    if not (said.isascii() and said.isdigit() and 0 < len(said) <= 6 and int(said) > 0):
        raise RefusalError(400, "top is a whole number of 1 or more", "/predict?top=5")
    return min(int(said), len(service.served.class_names))


def _asset(name: str, kind: str) -> Endpoint:
    content = files("torchloupe.deploy").joinpath("templates", name).read_bytes()

    async def asset(_: Request) -> Response:
        """A part of the page."""
        return Response(content, media_type=kind)

    return asset


def _classes(service: Service) -> Endpoint:
    async def classes(_: Request) -> Response:
        """The class names in order."""
        contract = service.served.contract
        return JSONResponse(
            {
                "classes": list(service.served.class_names),
                "several_labels": contract.multi_label,
                "size": list(contract.size),
                "can_look": service.can_look,
            }
        )

    return classes


def _health(service: Service) -> Endpoint:
    async def health(_: Request) -> Response:
        """Whether the process lives."""
        return JSONResponse({"status": "ok", "draining": service.load.is_draining})

    return health


def _readiness(service: Service) -> Endpoint:
    async def readiness(request: Request) -> Response:
        """Whether it takes more images from who asks."""
        is_full = not service.load.images.has_room(1, _address_of(request))
        if service.load.is_draining or is_full:
            return JSONResponse({"status": "busy" if is_full else "draining"}, status_code=503)
        return JSONResponse({"status": "ready"})

    return readiness


def _metrics(service: Service) -> Endpoint:
    async def metrics(_: Request) -> Response:
        """Counts for Prometheus."""
        text = service.counts.text(service.gauges())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    return metrics


def _openapi(service: Service) -> Endpoint:
    async def openapi(_: Request) -> Response:
        """The routes as OpenAPI."""
        return JSONResponse(describe_api(service.limits))

    return openapi


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    body = {"error": error.error, "hint": error.hint}
    return JSONResponse(body, status_code=error.status, headers=error.headers)


async def _refuse_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = "there is no such route" if error.status_code == 404 else "the request is not answered"
    if error.status_code == 405:
        what = "the route has no such method"
    body = {"error": what, "hint": "GET /openapi.json lists the routes"}
    return JSONResponse(body, status_code=error.status_code, headers=dict(error.headers or {}))


async def _gone(_: Request, _error: Exception) -> Response:
    return Response(status_code=499)


async def _fail(_: Request, _error: Exception) -> Response:
    body = {"error": "the server failed at this request", "hint": "its log says why"}
    return JSONResponse(body, status_code=500)
