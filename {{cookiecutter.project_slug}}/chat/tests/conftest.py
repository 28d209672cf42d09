"""Fixture of the chat's tests: a server in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.db import connection
from dotenv import dotenv_values

from config.settings import BASE_DIR

type Serve = Callable[[], tuple[str, subprocess.Popen[bytes]]]


@pytest.fixture
def serve(database: None) -> Iterator[Serve]:
    """Return a function that starts the server on the test's database: its address, and it."""
    servers: list[subprocess.Popen[bytes]] = []

    def serve() -> tuple[str, subprocess.Popen[bytes]]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        variables = {"PORT": str(port), "DATABASE_URL": url_of_test_database()}
        command = [sys.executable, "manage.py", "serve", "--exit-with-parent"]
        server = subprocess.Popen(command, env=os.environ | variables, cwd=BASE_DIR)
        servers.append(server)
        deadline = time.monotonic() + 20
        while True:
            assert server.poll() is None, "the server ended before it accepted connections"
            assert time.monotonic() < deadline, "the server accepts no connections"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return f"127.0.0.1:{port}", server
            except ConnectionRefusedError:
                time.sleep(0.05)

    yield serve
    for server in servers:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def url_of_test_database() -> str:
    """Return the URL of the database that the tests use."""
    url = {**dotenv_values(BASE_DIR / ".env"), **os.environ}["DATABASE_URL"] or ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{connection.settings_dict['NAME']}?{parts.query}"
