"""A PostgreSQL server for tests, on a free port of this machine."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = "postgres"  # the server refuses to run as root


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a new, empty database; the server is stopped at the end.

    Its folder is not one of pytest's, which only their owner may enter.
    """
    pytest.importorskip("psycopg")
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("PostgreSQL is not installed")
    is_root = hasattr(os, "getuid") and os.getuid() == 0
    before = ["setpriv", f"--reuid={USER}", "--clear-groups"] if is_root else []
    with tempfile.TemporaryDirectory(prefix="loupe-postgresql-", dir="/tmp") as place:
        data = Path(place, "data")
        data.mkdir()
        if is_root:
            if not shutil.which("setpriv"):
                pytest.skip("PostgreSQL can't run as root, and setpriv is not installed")
            try:
                for folder in (place, data):
                    shutil.chown(folder, USER)
            except LookupError:
                pytest.skip(f"PostgreSQL can't run as root, and there is no user {USER}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def run(*words: str) -> None:
            done = subprocess.run(
                [*before, *words], capture_output=True, text=True, check=False, cwd=place
            )
            assert done.returncode == 0, done.stdout + done.stderr

        run("initdb", "-D", str(data), "--auth=trust", f"--username={USER}", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k '' -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start")
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
