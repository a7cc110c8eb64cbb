"""A web server of files for tests and benchmarks: with ranges, a delay, and failures on purpose."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FileServer(ThreadingHTTPServer):
    """Serves the files of a folder; what it did is counted."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder, delay=0.0, failing=0.0, ranges=True):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = Path(folder)
        self.delay, self.failing, self.ranges = delay, failing, ranges
        self.requests = self.failures = self.bytes_sent = 0
        self.asked = []
        self.drawn = random.Random(1)
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Connections that a client cut are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(has_body=False)

    def do_GET(self):
        self._answer(has_body=True)

    def _answer(self, has_body):
        server = self.server
        time.sleep(server.delay)
        with server.lock:
            server.requests += 1
            server.asked.append((self.command, self.path))
            fails = server.drawn.random() < server.failing
            cuts = server.drawn.random() < 0.5
        path = server.folder / self.path.lstrip("/")
        if not path.is_file():
            return self._end(404)
        size = path.stat().st_size
        start, end = 0, size
        wanted = self.headers.get("Range")
        if wanted and server.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(size, int(last) + 1 if last else size)
        if fails:
            with server.lock:
                server.failures += 1
            if not cuts:
                return self._end(503)
        self.send_response(206 if wanted and server.ranges else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", f'"{size}-{path.stat().st_mtime_ns}"')
        if server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if not has_body:
            return None
        if fails:  # half of what was promised, and then the connection ends
            end = start + (end - start) // 2
            self.close_connection = True
        if end > start:
            with path.open("rb") as file:  # by the system, which takes the least processor time
                self.connection.sendfile(file, start, end - start)
        with server.lock:
            server.bytes_sent += end - start
        return None

    def _end(self, code):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder, **options) -> Iterator[FileServer]:
    """A running server of `folder`; its address is `.url`."""
    server = FileServer(folder, **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
