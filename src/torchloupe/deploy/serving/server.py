"""The server as processes: a socket, one worker or several, and the end of both.

With several workers each has a model, limits and counts of its own; the parent starts one anew
where one died.
"""

import gc
import math
import multiprocessing
import multiprocessing.connection
import resource
import secrets
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import uvicorn

from torchloupe.deploy.artefact.folder import is_export
from torchloupe.deploy.artefact.opened import open_trained
from torchloupe.deploy.folded import fold_run, make_trial_pixels
from torchloupe.deploy.serving.application import make_application
from torchloupe.deploy.serving.connections import make_protocol
from torchloupe.deploy.serving.guard import Guard, is_loopback
from torchloupe.deploy.serving.limits import Limits
from torchloupe.deploy.serving.service import Served, Service
from torchloupe.errors import LoupeError, ResourceError, UsageError, printable
from torchloupe.evaluation.inference import LARGE_IMAGE, eval_mode, find_equal_sizes
from torchloupe.hardware.device import choose_device
from torchloupe.trained.outputs import laid_out, precision_of
from torchloupe.trained.run import Run

NO_TOKEN = "none"  # says that no token is wanted
BACKLOG = 1024  # connections that wait to be taken
AT_ONCE = 8  # of them are taken before the server does something else
MODEL_THREADS = 4  # at most, each with its share of the cores: a lone image still has a quarter
SWITCH_SECONDS = 0.001  # so long a thread may hold the interpreter while others wait for it
_RESTART_SECONDS = 1.0
_FAILED = 6  # exit code of a worker that can't open the run
_SPARE_FILES = 100  # descriptors of a process besides its connections


@dataclass(frozen=True)
class ServerOptions:
    """What `loupe serve` was asked for."""

    run: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str = ""  # empty: one is drawn
    device: str | None = None  # of a run; an exported folder runs on the CPU
    model: str | None = None
    trust_code: bool = False
    limits: Limits = field(default_factory=Limits)


def settle(options: ServerOptions) -> ServerOptions:
    """The options with a token; UsageError for a server that others reach without one."""
    token = options.token
    if token == NO_TOKEN:
        if not is_loopback(options.host):
            raise UsageError(
                f"--host {printable(options.host)} is reached by others, and needs a token",
                "leave --token out to have one drawn, or give one in LOUPE_TOKEN",
            )
        return replace(options, token="")
    if token and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        raise UsageError(
            "the token has fewer than 16 characters, or others than letters, digits and signs",
            "leave it out to have one drawn",
        )
    return replace(options, token=token or secrets.token_urlsafe(24))


def serve(options: ServerOptions, say: Any = None) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in flight are answered first.

    `say(text)` hears the address once the socket is bound. Raises ResourceError for a port that
    is taken.
    """
    options = settle(options)
    listening = bind(options.host, options.port)
    try:
        if options.workers == 1:
            application = make_worker(options)
            _say_address(options, listening, say)
            _run(options, application, listening)
        else:
            _say_address(options, listening, say)
            run_workers(options, listening)
    finally:
        listening.close()


def run_workers(options: ServerOptions, listening: socket.socket) -> None:
    """Keep as many workers as wanted, until an exception such as Ctrl-C; then end them."""
    context = multiprocessing.get_context("spawn")

    def start() -> Any:
        process = context.Process(target=run_worker, args=(options, listening))
        process.start()
        return process

    workers = [start() for _ in range(options.workers)]
    try:
        while True:
            multiprocessing.connection.wait([worker.sentinel for worker in workers])
            time.sleep(_RESTART_SECONDS)
            if all(worker.exitcode == _FAILED for worker in workers):
                raise ResourceError("no worker could be started", "look at what they said above")
            workers = [w if w.is_alive() or w.exitcode == _FAILED else start() for w in workers]
    finally:
        listening.close()  # else connections wait in it for nobody, and are reset at the end
        for worker in workers:
            worker.terminate()
        end = time.monotonic() + options.limits.drain_seconds + 5
        for worker in workers:
            worker.join(max(0.1, end - time.monotonic()))
            if worker.is_alive():
                worker.kill()


def run_worker(options: ServerOptions, listening: socket.socket) -> None:
    """One of several workers, in a process of its own."""
    try:
        application = make_worker(options)
    except LoupeError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr, flush=True)
        sys.exit(_FAILED)
    _run(options, application, listening)


def _run(options: ServerOptions, application: Guard, listening: socket.socket) -> None:
    """Serve until the end, which is all that this process does from now on."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # all that is loaded stays; a pass of the collector over it stops every request
    try:
        make_server(options, application).run(sockets=[listening])
    finally:
        gc.unfreeze()  # else libraries report at the exit what was never freed


def make_worker(options: ServerOptions) -> Guard:
    """The application of a worker: the run or export opened, and warmed up by one batch."""
    cores = max(1, torch.get_num_threads() // options.workers)
    served: Served = open_trained(
        options.run, model=options.model, trust_code=options.trust_code, device=options.device
    )
    served.contract.refuse_files()
    threads = min(cores, MODEL_THREADS)
    torch.set_num_threads(max(1, cores // threads))
    folded = fold_run(served) if isinstance(served, Run) else None
    if folded is None:
        threads = 1
        torch.set_num_threads(cores)
    service = Service(folded or warm_up(served), _within_files(options.limits), threads)
    if folded is not None:
        service.batches.warm_up(make_trial_pixels(folded.contract))
    return make_application(service, host=options.host, token=options.token)


def warm_up(served: Served) -> Served:
    """What is served, warmed up: so that the first request need not wait for what happens once.

    Of a run also trials of which small batches give the bits of large ones, so that a lone image
    need not be computed 16 times.
    """
    contract = served.contract
    pixels = make_trial_pixels(contract)
    served.probabilities(pixels[:1])
    if isinstance(served, Run) and math.prod(pixels.shape[1:]) < LARGE_IMAGE:
        precision = precision_of(served.config, served.device)
        with eval_mode(served.model), laid_out(served.model, served.config):
            images = contract.normalise(torch.from_numpy(pixels).to(served.device))
            served.equal_sizes = find_equal_sizes(served.model, images, precision)
    return served


class _Server(uvicorn.Server):
    """uvicorn's, in whose settings `backlog` is how many connections are taken at once.

    asyncio takes it for the length of the system's queue too, which stays BACKLOG.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to take connections."""
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)


def make_server(options: ServerOptions, application: Any) -> uvicorn.Server:
    """The server of one worker, for sockets that listen already."""
    limits = _within_files(options.limits)
    settings = uvicorn.Config(
        application,
        loop="asyncio",  # of which AT_ONCE is true, whatever else is installed
        http=make_protocol(limits),
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=round(limits.drain_seconds),
        h11_max_incomplete_event_size=limits.header_bytes,
        backlog=AT_ONCE,
    )
    return _Server(settings)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket: who connects before a worker is ready waits for it."""
    listening = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        if listening is not None:
            listening.close()
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(
            f"can't listen on {printable(host)}:{port}: {reason}",
            "give another --port, or stop what listens there",
        ) from None
    listening.set_inheritable(True)
    return listening


def _within_files(limits: Limits) -> Limits:
    """The limits, with no more connections than this process may open files."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return replace(limits, connections=max(8, min(limits.connections, most - _SPARE_FILES)))


def _say_address(options: ServerOptions, listening: socket.socket, say: Any) -> None:
    port = listening.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    mark = f"/#token={options.token}" if options.token else "/"
    text = f"serving {options.run} on http://{host}:{port}{mark}" + advise(options)
    if say is None:
        print(text, file=sys.stderr, flush=True)
    else:
        say(text)


def advise(options: ServerOptions) -> str:
    """Another line for a run that PyTorch computes on the CPU: what would be faster."""
    if is_export(options.run) or choose_device(options.device or "auto").device.type != "cpu":
        return ""
    return (
        "\nnote: PyTorch computes it on the CPU; an export took four fifths of the time: "
        f"loupe export {options.run} --to openvino, and serve that folder"
    )
