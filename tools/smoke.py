"""Sets the default project up, and lets two people talk on it: `python -m tools.smoke`, on Linux, macOS and Windows.

With the URL of a site that runs already, and a file with its certificate, it lets them talk there.
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
    """The sockets of two, of whom one said something that both heard."""
    ann, ben = Person(site, "session"), Person(site, "session")
    with ann.connect("smoke") as one, ben.connect("smoke") as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        message = say(one, "1", "hello")
        assert (message["user"], message["text"]) == (ann.name, "hello")
        assert receive(other) == message
        print(f"Two people talked at {site.url}", flush=True)
        yield [one, other]


def set_up(folder: Path) -> Path:
    """Generate the default project, and type the commands of its `make setup`."""
    generate = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "--output-dir", str(folder)]
    subprocess.run([*generate, str(TEMPLATE)], check=True)
    project = folder / "talking-site"
    recipe = re.search(r"^setup:\n((?:\t.+\n)+)", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
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
    """Two people talk on the project's own server, which ends when it is told to."""
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
