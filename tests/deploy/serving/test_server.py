"""`loupe serve` as a process: its address, its end under load, and what it never opens."""

import configparser
import json
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from children import Child, run_python, wait_until
from servers import TOKEN, Served
from torch import nn
from torch.utils.data import TensorDataset

from torchloupe.cli import main
from torchloupe.deploy.artefact.opened import open_export
from torchloupe.deploy.serving.files import write_files
from torchloupe.deploy.serving.server import (
    NO_TOKEN,
    ServerOptions,
    advise,
    bind,
    make_worker,
    run_workers,
    settle,
    warm_up,
)
from torchloupe.errors import DataError, ResourceError, UsageError
from torchloupe.train.start import fit
from torchloupe.trained.run import Run, open_run


def find_address(said: Path) -> str:
    for line in said.read_text().splitlines():
        if line.startswith("serving "):
            return line.rpartition(" on ")[2]
    return ""


def end_under_load(server: Child, said: Path, digit: bytes) -> list[int]:
    """Send SIGTERM while four clients ask; the codes that they got."""
    assert wait_until(lambda: bool(said.exists() and find_address(said)), server, 200)
    address, _, token = find_address(said).partition("/#token=")
    assert token == TOKEN
    codes: list[int] = []
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def load() -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            while True:
                try:
                    codes.append(client.post("/predict", content=digit).status_code)
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                    return  # no new connection is taken, and idle ones are closed
                except httpx.HTTPError:
                    codes.append(0)

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    assert wait_until(lambda: len(codes) > 20, server, 200)
    server.send(signal.SIGTERM)
    assert server.end(60) == 143
    assert said.read_text().splitlines()[-1] == "stopped"
    for client in clients:
        client.join(30)
    return codes


def test_a_run_on_the_cpu_is_served_with_a_word_on_exports(run: Run, exported: Path) -> None:
    said = advise(ServerOptions(str(run.folder), device="cpu"))
    assert said.startswith("\nnote: ")
    assert f"loupe export {run.folder} --to openvino" in said
    assert advise(ServerOptions(str(exported))) == ""


def test_small_batches_of_a_run_that_is_not_folded_have_the_bits_of_its_predictions(
    run: Run,
) -> None:
    warmed = open_run(run.folder, device="cpu")
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    warmed.model = nn.Sequential(*layers).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (37, 8, 8, 1), dtype=np.uint8)
    wanted = warmed.probabilities(pixels)
    assert warm_up(warmed) is warmed
    for count in (1, 2, 3, 8, 11, 19, 37):
        assert np.array_equal(warmed.probabilities(pixels[:count]), wanted[:count]), count


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an ONNX file with what belongs to it."""
    return run.export(out=tmp_path_factory.mktemp("served-export") / "export", files=20)


def test_an_exported_folder_is_served_as_its_run(
    run: Run, exported: Path, digit: bytes, start: Callable[..., Served], tmp_path: Path
) -> None:
    server = start(served=open_export(exported))
    answer = server.client.post("/predict", content=digit).json()
    wanted = run.predict(digit)
    assert answer["label"] == wanted.label
    assert answer["confidence"] == pytest.approx(wanted.confidence, abs=1e-4)
    assert server.client.get("/classes").json()["can_look"] is False
    refused = server.client.post("/look", content=digit)
    assert (refused.status_code, refused.json()["hint"]) == (501, "serve the run for that")
    make_worker(ServerOptions(str(exported)))  # as the command opens it
    with pytest.raises(UsageError, match="--device is for a run"):
        make_worker(ServerOptions(str(exported), device="cpu"))
    written = write_files(exported, tmp_path / "deploy")
    assert "torchloupe[serve,export]==" in written[0].read_text()


def test_server_refuses_a_run_that_takes_no_files(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(36, 1, 8, 8), torch.arange(36) % 3)
    fit(data, model="net", epochs=1, out=tmp_path / "run", settings={"train.report": False})
    with pytest.raises(DataError, match="how these were made of images is not known"):
        make_worker(ServerOptions(str(tmp_path / "run")))


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_sigterm_under_load_answers_what_is_in_flight(
    run: Run, digit: bytes, tmp_path: Path, workers: str
) -> None:
    said = tmp_path / "said"
    words = ["serve", str(run.folder), "--port", "0", "--token", TOKEN, "--workers", workers]
    server = Child(words, said)
    try:
        codes = end_under_load(server, said, digit)
    finally:
        server.kill()
    assert set(codes) <= {200, 503}
    lines = [line for line in said.read_text().splitlines() if line.startswith("{")]
    assert sum(json.loads(line)["status"] == 200 for line in lines) >= codes.count(200)


def test_who_connects_before_a_worker_is_ready_waits_for_it() -> None:
    with bind("127.0.0.1", 0) as listening:
        early = socket.create_connection(listening.getsockname(), timeout=5)
        assert early.getpeername() == listening.getsockname()
        early.close()


def test_workers_that_can_not_start_end_the_server_and_its_socket(tmp_path: Path) -> None:
    listening = bind("127.0.0.1", 0)
    with pytest.raises(ResourceError, match="no worker could be started"):
        run_workers(ServerOptions(str(tmp_path / "nowhere"), workers=1), listening)
    assert listening.fileno() == -1  # before the workers end: nobody is to wait in it


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ResourceError, match="can't listen"):
            bind("127.0.0.1", other.getsockname()[1])


def test_a_server_that_others_reach_needs_a_token() -> None:
    with pytest.raises(UsageError, match="needs a token"):
        settle(ServerOptions("run", host="0.0.0.0", token=NO_TOKEN))
    with pytest.raises(UsageError, match="fewer than 16"):
        settle(ServerOptions("run", token="short"))
    assert settle(ServerOptions("run", token=NO_TOKEN)).token == ""
    drawn = {settle(ServerOptions("run")).token for _ in range(3)}
    assert len(drawn) == 3
    assert min(map(len, drawn)) >= 32


WATCH = """
import asyncio, io, json, sys
sys.path.insert(0, {tests!r})
from test_guard import GOOD, TOKEN, ask
from torchloupe.deploy.serving.application import make_application
from torchloupe.deploy.serving.limits import Limits
from torchloupe.deploy.serving.server import warm_up
from torchloupe.deploy.serving.service import Service
from torchloupe.trained.run import open_run
import httpx
run = open_run({run!r})
service = Service(run, Limits())
guard = make_application(service, host="127.0.0.1", token=TOKEN, log=io.StringIO())
seen = []
def hook(event, arguments):
    kinds = ("open", "socket.connect", "socket.getaddrinfo", "subprocess", "os.")
    if event.startswith(kinds):
        seen.append((event, str(arguments[0]) if arguments else ""))
async def main():
    running = asyncio.create_task(service.batches.run())
    transport = httpx.ASGITransport(guard)
    place = "http://127.0.0.1:8000"
    client = httpx.AsyncClient(transport=transport, base_url=place, headers=dict(GOOD[1:]))
    good = {image!r}
    await client.post("/predict", content=good)
    await client.post("/look", content=good)
    sys.addaudithook(hook)
    before = len(seen)
    for target in {targets!r}:
        await client.post("/predict", content=target.encode())
        await client.post("/look", content=target.encode())
        await client.post("/predict", json={{"image": target}})
        await client.post("/predict", json={{"images": [target], "url": target, "path": target}})
        await client.post("/predict", params={{"url": target, "path": target}}, content=good)
        await client.get("/" + target.replace(" ", ""))
        await client.post("/predict", content=good, headers={{"content-location": target}})
    running.cancel()
    words = ("passwd", "example", "secret", "9.9.9.9")
    opened = [one for one in seen if any(word in one[1] for word in words)]
    print(json.dumps([*opened, *(one for one in seen if one[0].startswith("socket"))]))
asyncio.run(main())
"""


def test_no_path_or_address_in_a_request_is_opened(run: Run, digit: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(digit)
    targets = [
        *("/etc/passwd", "file:///etc/passwd", str(tmp_path / "secret.png"), "../secret.png"),
        *("http://example.invalid/a.png", "http://9.9.9.9/a.png", "data:image/png;base64,AA=="),
    ]
    code = WATCH.format(
        tests=str(Path(__file__).parent), run=str(run.folder), image=digit, targets=targets
    )
    done = run_python(["-c", code])
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_files_to_set_a_server_up_are_written_once(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "deploy"
    assert main.run(["serve", str(run.folder), "--write-deploy", str(place)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    docker = (place / "Dockerfile").read_text()
    assert "COPY --chown=10001 net /run-folder" in docker
    assert "USER 10001" in docker
    unit = (place / "loupe-serve.service").read_text()
    assert "ExecStart=/opt/loupe/bin/loupe serve /srv/net --port 8000" in unit
    assert main.run(["serve", str(run.folder), "--write-deploy", str(place)]) == 6
    (place / "Dockerfile").unlink()
    assert main.run(["serve", str(run.folder), "--write-deploy", str(place)]) == 6
    assert [path.name for path in place.iterdir()] == ["loupe-serve.service"]  # both or none
    own = tmp_path / "own"  # whose code would be missing there
    own.mkdir()
    settings = json.loads((run.folder / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(settings).replace('"net"', '"mine.py:Net"'))
    capsys.readouterr()
    assert main.run(["serve", str(own), "--write-deploy", str(tmp_path / "more")]) == 2
    assert "loupe export" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()


def test_files_of_the_current_folder_have_its_name_and_weights_alone_get_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = run.export(to="safetensors", out=tmp_path / "weights")
    with pytest.raises(UsageError, match="weights without a graph"):
        write_files(weights, tmp_path / "deploy")
    monkeypatch.chdir(run.folder)
    docker, _ = write_files(Path(), tmp_path / "deploy")
    assert "COPY --chown=10001 net /run-folder" in docker.read_text()


def test_the_unit_is_one_that_systemd_reads_and_the_dockerfile_is_whole(
    run: Run, tmp_path: Path
) -> None:
    docker, unit = write_files(run.folder, tmp_path / "deploy")
    words = [line.split(" ", 1)[0] for line in join_lines(docker.read_text())]
    known = {"FROM", "RUN", "COPY", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}
    assert set(words) == known
    assert words[0] == "FROM"
    assert words.index("USER") < words.index("ENTRYPOINT")
    if linter := shutil.which("hadolint"):
        done = subprocess.run([linter, str(docker)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(unit.read_text())
    assert parser["Service"]["KillSignal"] == "SIGTERM"
    if analyse := shutil.which("systemd-analyze"):
        # it looks for the program too, which is installed on the machine that the unit is for
        there = unit.read_text().replace("/opt/loupe/bin/loupe", "/bin/true")
        place = tmp_path / "loupe-serve.service"
        place.write_text(there)
        done = subprocess.run(
            [analyse, "verify", "--recursive-errors=no", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def join_lines(text: str) -> list[str]:
    """The instructions of a Dockerfile, each in one line."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()
