"""A run to serve, and real servers in threads of the test's process."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import TOKEN, Served, encode

import torchloupe as loupe
from torchloupe.deploy.folded import fold_run
from torchloupe.deploy.serving.application import make_application
from torchloupe.deploy.serving.limits import Limits
from torchloupe.deploy.serving.server import ServerOptions, bind, make_server, warm_up
from torchloupe.deploy.serving.service import Service
from torchloupe.trained.run import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run on digits."""
    folder = tmp_path_factory.mktemp("served") / "net"
    settings: dict[str, Any] = {"hardware.threads": 1}
    return loupe.fit("digits", model="net", epochs=0.3, out=folder, settings=settings)


@pytest.fixture(scope="session")
def digit() -> bytes:
    """One image as a PNG."""
    return encode(0)


@pytest.fixture(scope="session")
def start(run: Run) -> Iterator[Callable[..., Served]]:
    """Starts servers within `limits`; what they serve may be given. All end with the session."""
    ends, warmed = [], fold_run(run) or warm_up(run)

    def begin(limits: Limits | None = None, served: Any = None) -> Served:
        limits = limits or Limits()
        service, log = Service(served or warmed, limits), io.StringIO()
        listening = bind("127.0.0.1", 0)
        application = make_application(service, host="127.0.0.1", token=TOKEN, log=log)
        options = ServerOptions(str(Path()), limits=limits)
        server = make_server(options, application)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)
        while not server.started:
            time.sleep(0.01)

        def end() -> None:
            client.close()
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the server did not end"

        ends.append(end)
        return Served(port, service, client, log)

    yield begin
    for end in ends:
        end()


@pytest.fixture(scope="session")
def live(start: Callable[..., Served]) -> Served:
    """A server with the usual limits."""
    return start()
