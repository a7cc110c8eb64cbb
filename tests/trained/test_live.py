"""The page of a run that goes on."""

import html
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from torchloupe.trained.live import (
    HOST,
    GrowingEvents,
    LivePage,
    is_locked,
    open_server,
    serve_until_end,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def ask(server, path, host=HOST):
    address = f"http://{HOST}:{server.server_address[1]}{path}"
    request = urllib.request.Request(address, headers={"Host": f"{host}:1"})
    # urlopen would keep the proxies of the first call in this process, which another test may set
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return answer.read().decode()


def test_a_lock_is_seen_and_not_touched(tmp_path):
    assert not is_locked(tmp_path)
    with FileLock(tmp_path / ".lock"):
        assert is_locked(tmp_path)
    (tmp_path / ".lock").touch()  # as a killed process leaves it
    assert is_locked(tmp_path) == (not Path("/proc/locks").exists())


def test_events_that_grow_are_read_once_and_a_file_begun_anew_from_its_start(tmp_path):
    path = tmp_path / "events.jsonl"
    growing = GrowingEvents(path)
    assert growing.read() == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st', encoding="utf-8")
    assert [event["step"] for event in growing.read()] == [1, 2]
    first = growing.events[0]
    with path.open("a", encoding="utf-8") as file:
        file.write('ep": 3}\nno event\n[4]\n')
    assert [event["step"] for event in growing.read()] == [1, 2, 3]
    assert growing.events[0] is first
    path.write_text('{"step": 7}\n' * 9, encoding="utf-8")  # longer than what was there
    assert [event["step"] for event in growing.read()] == [7] * 9
    path.write_text('{"step": 8}\n', encoding="utf-8")
    assert [event["step"] for event in growing.read()] == [8]


def test_charts_follow_the_events_of_a_run_begun_anew(tmp_path):
    live = LivePage(tmp_path)
    for loss in (0.5, 0.25):  # as many events, and of the same length
        line = json.dumps({"step": 1, "epoch": 1.0, "seconds": 1.0, "train_loss": loss})
        (tmp_path / "events.jsonl").write_text(f"{line:40}\n", encoding="utf-8")
        facts = json.loads(live.facts())
        assert facts["charts"]["loss"]["series"][0]["y"] == [loss]
        assert facts["words"]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A training in a process of its own that lasts longer than any test waits for."""
    run = tmp_path_factory.mktemp("live") / "run"
    words = ["train", "digits", "--model", "net", "--out", str(run), "--quiet"]
    words += [
        "--epochs",
        "100000",
        "--set",
        "train.log_every_steps=1",
        "--set",
        "train.report=false",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "torchloupe", *words], stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 120
    while not (run / "events.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert process.poll() is None
    assert is_locked(run)
    yield process, run
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def test_the_page_follows_a_training_and_ends_when_it_is_killed(training):
    process, run = training
    live = LivePage(run)
    server = open_server(live)
    serving = threading.Thread(target=serve_until_end, args=(server, live))
    serving.start()
    page = ask(server, "/")
    assert 'id="state"' in page
    assert "connect-src 'self'" in html.unescape(page)
    seen = set()
    end = time.monotonic() + 60
    while len(seen) < 3 and time.monotonic() < end:
        found = json.loads(ask(server, "/facts.json"))
        seen.add(found["charts"]["loss"]["series"][0]["x"][-1])
        assert not found["has_ended"]
        time.sleep(0.2)
    assert len(seen) == 3  # each answer has what was written meanwhile
    for path, host, code in (("/config.json", HOST, 404), ("/", "elsewhere.example", 403)):
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(server, path, host)
        assert error.value.code == code
        error.value.close()
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = json.loads(ask(server, "/facts.json"))
    assert last["has_ended"]
    assert "no process trains this run" in last["words"]
    serving.join(timeout=30)
    assert not serving.is_alive()
    with pytest.raises(urllib.error.URLError):
        ask(server, "/")
