"""Host, origin and token on every route and method, from the list of the router itself."""

import asyncio
import io
import json
from typing import Any

import httpx
import pytest
from servers import TOKEN
from starlette.applications import Starlette

from torchloupe.deploy.serving.application import make_application
from torchloupe.deploy.serving.guard import OPEN, Guard, is_loopback, known_hosts
from torchloupe.deploy.serving.limits import Limits
from torchloupe.deploy.serving.service import Service
from torchloupe.trained.run import Run

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ODD")
GOOD = [("host", "127.0.0.1:8000"), ("authorization", f"Bearer {TOKEN}")]


@pytest.fixture(scope="module")
def guard(run: Run) -> Guard:
    return make_application(
        Service(run, Limits()), host="127.0.0.1", token=TOKEN, log=io.StringIO()
    )


def routes_of(guard: Guard) -> list[str]:
    inner: Any = guard._inner
    assert isinstance(inner, Starlette)
    return [route.path for route in inner.routes]


def ask(
    guard: Guard, method: str, path: str, headers: list[tuple[str, str]], query: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer, below HTTP: headers may be missing or doubled."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    asyncio.run(guard(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.mark.parametrize(
    "hosts",
    [
        *([], ["evil.example"], ["evil.example:8000"], ["127.0.0.1.evil.example"], ["[::2]:8000"]),
        *(["127.0.0.1:8000", "127.0.0.1:8000"], ["127.0.0.1:8000@evil"], ["10.0.0.1"], [""]),
        *(["localhost:80x"], ["\xe9vil"], ["127.0.0.1:8000", "evil.example"], ["2130706433"]),
    ],
)
def test_other_hosts_are_refused_on_every_route_and_method(guard: Guard, hosts: list[str]) -> None:
    headers = [*(("host", host) for host in hosts), GOOD[1]]
    seen = {ask(guard, m, path, headers)[0] for path in routes_of(guard) for m in METHODS}
    assert seen == {421}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "LOCALHOST:8000", "[::1]:8000"])
def test_the_names_of_this_machine_are_good(guard: Guard, host: str) -> None:
    assert ask(guard, "GET", "/healthz", [("host", host)])[0] == 200


@pytest.mark.parametrize(
    "added",
    [
        *([("origin", "http://evil.example")], [("origin", "null")], [("origin", "")]),
        [("origin", "http://127.0.0.1:8000"), ("origin", "http://evil.example")],
        [("origin", "http://127.0.0.1:8001")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
    ],
)
def test_other_sites_are_refused_on_every_route_and_method(
    guard: Guard, added: list[tuple[str, str]]
) -> None:
    seen = {ask(guard, m, path, [*GOOD, *added])[0] for path in routes_of(guard) for m in METHODS}
    assert seen == {403}


def test_a_link_from_another_site_opens_the_page(guard: Guard) -> None:
    link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    assert ask(guard, "GET", "/", [*GOOD, *link])[0] == 200
    own = [("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "same-origin")]
    assert ask(guard, "GET", "/classes", [*GOOD, *own])[0] == 200


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], ""),
        ([], f"token={TOKEN}"),
        ([("authorization", f"Bearer {TOKEN[:-1]}")], ""),
        ([("authorization", f"Bearer {TOKEN}x")], ""),
        ([("authorization", f"Basic {TOKEN}")], ""),
        ([("authorization", TOKEN)], ""),
        ([("authorization", "Bearer ")], ""),
        ([("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer x")], ""),
        ([("cookie", f"token={TOKEN}")], ""),
    ],
)
def test_every_route_but_the_open_ones_asks_for_the_token(
    guard: Guard, headers: list[tuple[str, str]], query: str
) -> None:
    closed = [path for path in routes_of(guard) if path not in OPEN]
    assert len(closed) >= 5
    seen = {ask(guard, m, p, [GOOD[0], *headers], query)[0] for p in closed for m in METHODS}
    assert seen == {401}


def test_tokens_are_compared_in_constant_time(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    assert ask(guard, "GET", "/classes", GOOD)[0] == 200
    assert compared == [(TOKEN.encode(), TOKEN.encode())]


@pytest.mark.parametrize(
    "path",
    [
        *("/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd"),
        *("/page.css/../../../etc/passwd", "/\\..\\..\\windows", "/page.js%00.png", "/.git/config"),
        *("/etc/passwd", "/file:///etc/passwd", "/static/../../etc/passwd", "/%c0%ae%c0%ae/x"),
    ],
)
def test_no_route_leads_to_a_file(guard: Guard, path: str) -> None:
    for added in ("", "/predict", "/look"):
        status, _, body = ask(guard, "GET", added + path, GOOD)
        assert status in (404, 405)
        assert b"root:" not in body


def test_answers_have_safe_headers_and_tell_nothing_of_the_machine(guard: Guard) -> None:
    for path in (*routes_of(guard), "/nothing"):
        for method in ("GET", "DELETE"):
            status, headers, body = ask(guard, method, path, GOOD)
            assert "frame-ancestors 'none'" in headers["content-security-policy"], (path, status)
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers
            if status >= 400:
                assert set(json.loads(body)) == {"error", "hint"}
                for word in (b"Traceback", b".py", b"uvicorn", b"starlette", b"0.1.0"):
                    assert word not in body


def test_other_protocols_are_closed(guard: Guard) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guard({"type": "websocket", "path": "/", "headers": []}, send, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_an_address_names_a_server_that_others_reach_and_no_foreign_name_does(run: Run) -> None:
    service = Service(run, Limits())
    guard = make_application(service, host="0.0.0.0", token=TOKEN, log=io.StringIO())
    assert ask(guard, "GET", "/healthz", [("host", "192.168.0.7:8000")])[0] == 200
    assert ask(guard, "GET", "/healthz", [("host", "evil.example:8000")])[0] == 421
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "x")] == [
        *(True, True, True),
        *(False, False),
    ]
    assert known_hosts("127.0.0.1")[1] is False


def test_log_has_a_line_a_request_without_its_content(run: Run) -> None:
    log = io.StringIO()
    guard = make_application(Service(run, Limits()), host="127.0.0.1", token=TOKEN, log=log)
    ask(guard, "GET", "/classes", GOOD, "secret=1")
    ask(guard, "GET", "/\x1b[31m\n", GOOD)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/classes", 200),
        ("other", 404),
    ]
    assert "secret" not in log.getvalue()
    assert TOKEN not in log.getvalue()
    assert httpx.codes(lines[0]["status"]) == 200
