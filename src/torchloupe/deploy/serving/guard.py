"""What every request passes before any route sees it: host, origin, token; and what it leaves with.

It stands around the whole application, so that a new route can't be forgotten.
"""

import asyncio
import hmac
import ipaddress
import json
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

from torchloupe.deploy.serving.counts import Counts

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/page.js", "/page.css", "/healthz", "/readyz"})  # without the token
LINGER_SECONDS = 5.0  # in which the rest of a refused body is read, ...
LINGER_BYTES = 30 * 2**20  # ... and how much of it, ...
LINGER_AT_ONCE = 2**20  # ... of which this much as fast as it comes
_HEADERS = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(self), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
)


class Guard:
    """An ASGI application around another one."""

    def __init__(
        self,
        inner: Application,
        *,
        hosts: Iterable[str],
        any_address: bool,
        token: str,
        routes: Iterable[str],
        counts: Counts,
        log: TextIO | None = None,
    ) -> None:
        """`hosts` are names that a request may give; with `any_address` also any IP address.

        A DNS name that an attacker points here is none of them. With an empty `token` none is
        asked for. The `log` gets a line of JSON a request (stderr if left out).
        """
        self._inner = inner
        self._hosts = frozenset(name.lower() for name in hosts)
        self._any_address = any_address
        self._token = token.encode()
        self._routes = frozenset(routes)
        self._counts = counts
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        began, status = time.perf_counter(), 0
        scope.setdefault("state", {})
        body = _IncomingBody(scope, receive)

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = scope["state"]["status"] = message["status"]
                own = [(name.encode(), value.encode()) for name, value in _HEADERS]
                message["headers"] = [*message.get("headers", ()), *own]
            elif body.is_open and not message.get("more_body"):
                await send({**message, "more_body": True})
                await body.discard()
                message = {"type": "http.response.body"}
            await send(message)

        try:
            refusal = self._refuse(scope)
            if refusal is None:
                await self._inner(scope, body, send_guarded)
            else:
                await _answer(send_guarded, *refusal)
        except Exception:  # the client has its answer; what happened is for the log alone
            scope["state"]["failure"] = traceback.format_exc()
            if not status:
                await _answer(send_guarded, 500, "the server failed at this request", "")
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _refuse(self, scope: Scope) -> tuple[int, str, str] | None:
        """Status, error and hint of a request that goes no further; None for a good one."""
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name.lower(), []).append(value)
        hosts = given.get(b"host", [])
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            return 421, "this server does not go by that name", "use the address that it printed"
        origins = given.get(b"origin", [])
        own = {b"http://" + hosts[0].lower(), b"https://" + hosts[0].lower()}
        if origins and (len(origins) > 1 or origins[0].lower() not in own):
            return 403, "requests from other sites are refused", "use the page of this server"
        site = given.get(b"sec-fetch-site", [b"none"])
        is_followed = scope["method"] == "GET" and given.get(b"sec-fetch-mode") == [b"navigate"]
        if site not in ([b"none"], [b"same-origin"]) and not is_followed:
            return 403, "requests from other sites are refused", "use the page of this server"
        if self._token and scope["path"] not in OPEN:
            said = given.get(b"authorization", [])
            kind, _, token = (said[0] if len(said) == 1 else b"").partition(b" ")
            if not hmac.compare_digest(token, self._token) or kind.lower() != b"bearer":
                hint = "send the header Authorization: Bearer TOKEN, with the token that it printed"
                return 401, "the token is missing or wrong", hint
        return None

    def _is_known(self, host: bytes) -> bool:
        try:
            name = host.decode("ascii").lower()
        except UnicodeDecodeError:
            return False
        name, _, port = name.rpartition(":") if not name.endswith("]") else (name, "", "")
        if not name:
            name, port = port, ""
        if port and not port.isdigit():
            return False
        if name in self._hosts:
            return True
        if not self._any_address:
            return False
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count the request, and log it: never its content, its query or its headers."""
        path = scope["path"] if scope["path"] in self._routes else "other"
        self._counts.requests[path, status] += 1
        self._counts.seconds.add(seconds)
        client = scope.get("client") or ("",)
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": client[0],
            "method": scope["method"][:16],
            "route": path,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "images": scope["state"].get("images", 0),
        }
        if "failure" in scope["state"]:
            line["failure"] = scope["state"]["failure"]
        print(json.dumps(line), file=self._log or sys.stderr, flush=True)


class _IncomingBody:
    """The body of a request, which knows whether there is more of it to come.

    A server that closes a connection while the client still sends resets it, and then the client
    may never see the answer. So an answer is sent at once, and the rest is read before the end.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        given = {name.lower(): value for name, value in scope["headers"]}
        self._receive = receive
        self.is_open = b"transfer-encoding" in given or given.get(b"content-length", b"0") != b"0"
        if b"expect" in given:  # sends nothing before it is told to
            self.is_open = False

    async def __call__(self) -> MutableMapping[str, Any]:
        """The next message, as an application receives it."""
        message = await self._receive()
        self.is_open = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read to the end of the body, within bounds, and no faster than needed for that."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self.is_open and size < LINGER_BYTES:
                    count = len((await self()).get("body", b""))
                    size += count
                    if size > LINGER_AT_ONCE:
                        await asyncio.sleep(count * LINGER_SECONDS / LINGER_BYTES)


async def _answer(send: Send, status: int, error: str, hint: str) -> None:
    body = json.dumps({"error": error, "hint": hint}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def known_hosts(bound: str) -> tuple[set[str], bool]:
    """The names of a server bound to this address, and whether any IP address names it too."""
    names = {"localhost", "127.0.0.1", "[::1]"}
    if is_loopback(bound):
        return names, False
    return names | {bound.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}, True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
