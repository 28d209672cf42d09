"""Smoke test on Linux, macOS and Windows: `python -m tools.smoke` sets up the default project, and two users chat.

With the URL of a running site and a file with its certificate, they chat there.
"""

import contextlib
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
from support.client import Person, close_code, receive, say

TEMPLATE = Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds for the first answer


@contextlib.contextmanager
def people_who_talk(site) -> Iterator[list]:
    """Yield the sockets of two users after a message from one to the other."""
    ann, ben = Person(site, "session"), Person(site, "session")
    with ann.connect("smoke") as one, ben.connect("smoke") as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        message = say(one, "1", "hello")
        assert (message["user"], message["text"]) == (ann.name, "hello")
        assert receive(other) == message
        print(f"Two people talked at {site.url}", flush=True)
        yield [one, other]


def set_up(folder: Path) -> Path:
    """Generate the default project, and run the commands of its `make setup`."""
    generate = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "--output-dir", str(folder)]
    subprocess.run([*generate, str(TEMPLATE)], check=True)
    project = folder / "talking-site"
    recipe = re.search(r"^setup:.*\n((?:\t.+\n)+)", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    for command in recipe[1].splitlines():
        subprocess.run(shlex.split(command), cwd=project, check=True)
    return project


def wait_for_answer(server: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        try:
            httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"no answer within {PATIENCE} s"
            time.sleep(0.1)


def serve_and_talk(project: Path) -> None:
    """Let two users chat on the project's own server, which exits on request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    python = project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    environ = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    server = subprocess.Popen([str(python), "manage.py", "serve"], cwd=project, env=environ)
    try:
        site = SimpleNamespace(url=f"http://127.0.0.1:{port}", tls=None)
        wait_for_answer(server, site.url)
        with people_who_talk(site) as sockets:
            server.terminate()
            codes = [close_code(connection) for connection in sockets]
        # Windows ends a process without asking it.
        assert os.name == "nt" or codes == [4012, 4012], codes
        server.wait(20)
        print("The server ended")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:]:
        url, certificate = sys.argv[1:]
        with people_who_talk(SimpleNamespace(url=url, tls=ssl.create_default_context(cafile=certificate))):
            pass
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            serve_and_talk(set_up(Path(folder)))
