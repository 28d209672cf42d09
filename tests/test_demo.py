"""`make demo` shows the default project, and ends when it is told to."""

import os
import re
import signal
import socket
import subprocess

import httpx
import pytest
from emitted import clean_environ
from matrix import TEMPLATE
from servers import end_group, free_port, wait_until

pytestmark = pytest.mark.xdist_group("demo")  # they share build/demo


@pytest.fixture
def start(tmp_path):
    """A function that starts `make demo` on a port; returns the process, and the file that it writes to."""
    processes = []

    def start(port):
        output = tmp_path / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["make", "demo", f"PORT={port}"],
                cwd=TEMPLATE,
                env=clean_environ(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.append(process)
        return process, output

    yield start
    for process in processes:
        end_group(process)


def test_demo_is_ready_and_stops_on_ctrl_c(start):
    """The ready line names the URL, the page is there, and Ctrl-C leaves neither a process nor a traceback."""
    port = free_port()
    process, output = start(port)
    line = wait_until(lambda: re.search("^Ready: .*$", output.read_text(), re.MULTILINE), "the ready line", 120)[0]
    assert line == f"Ready: http://127.0.0.1:{port} (open it in two windows; Ctrl-C ends it)"
    page = httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True, trust_env=False)
    assert (page.status_code, "Talking Site" in page.text) == (200, True)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(15)
    text = output.read_text()
    assert "Stopped." in text.splitlines()
    assert not re.search(r"Traceback|\*\*\*", text)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_demo_refuses_a_busy_port(start):
    """One line says what to do; nothing else happens before."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        process, output = start(port)
        assert process.wait(15) == 2
    line, end = output.read_text().splitlines()
    assert line == f"Port {port} cannot be used (Address already in use): choose another, such as make demo PORT=8001."
    assert re.fullmatch(r"make: \*\*\* .*", end)


@pytest.mark.parametrize("port", ["0", "65536", "http", "8000; ls", ""])
def test_demo_refuses_what_is_no_port(port, start):
    """One line says what a port is."""
    process, output = start(port)
    assert process.wait(15) == 2
    line, _ = output.read_text().splitlines()
    assert line == f"PORT={port} is no port: use a number from 1 to 65535, such as PORT=8001."
