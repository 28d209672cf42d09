"""`make demo` serves the default project, and exits on request."""

import contextlib
import fcntl
import itertools
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import termios

import httpx
import pytest
from support.emitted import clean_environ, run
from support.matrix import TEMPLATE
from support.servers import end_group, free_port, listens, wait_until

pytestmark = pytest.mark.xdist_group("demo")  # one after the other: they share build/demo


@pytest.fixture
def start(tmp_path):
    """Return a function that starts `make demo` on a port, and returns the process and its output file."""
    processes = []

    def start(port, template=TEMPLATE):
        output = tmp_path / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["make", "demo", f"PORT={port}"],
                cwd=template,
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
    """The ready line names the URL, the page is served, and Ctrl-C leaves no process and no traceback."""
    port = free_port()
    process, output = start(port)
    line = wait_until(lambda: re.search("^Ready: .*$", output.read_text(), re.MULTILINE), "the ready line", 120)[0]
    assert line == f"Ready: http://127.0.0.1:{port} (open it in two windows; Ctrl-C ends it)"
    page = httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True, trust_env=False, timeout=30)
    assert (page.status_code, "Talking Site" in page.text) == (200, True)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(15)
    text = output.read_text()
    assert "Stopped." in text.splitlines()
    assert not re.search(r"Traceback|\*\*\*", text)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def hang_up(process):
    """Send the signal that a shell sends to its jobs when it exits."""
    os.killpg(process.pid, signal.SIGHUP)


@pytest.mark.parametrize("end", [subprocess.Popen.terminate, hang_up, end_group], ids=["TERM", "HUP", "KILL"])
def test_server_of_demo_ends_with_it(end, start):
    """The port is free soon, however `make demo` ends."""
    port = free_port()
    process, output = start(port)
    wait_until(lambda: "Ready: " in output.read_text(), "the ready line", 120)
    end(process)
    wait_until(lambda: not listens(port), "the end of the server")


@pytest.mark.parametrize("shell", [["sh", "-c", '"$@"; true', "sh"], []], ids=["shell", "no-shell"])
def test_server_of_demo_ends_with_its_terminal(shell):
    """A closed terminal leaves no server behind, whether a shell or make gets the signal."""
    port = free_port()
    with on_terminal([*shell, "make", "demo", f"PORT={port}"], TEMPLATE, close=True) as read:
        read("Ready: ", 120)
    wait_until(lambda: not listens(port), "the end of the server")


def test_demo_refuses_a_busy_port(start):
    """A busy port makes one line with the fix, before anything else."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        process, output = start(port)
        assert process.wait(15) == 2
    line, end = output.read_text().splitlines()
    assert line == f"Port {port} cannot be used (Address already in use): choose another, such as make demo PORT=8001."
    assert re.fullmatch(r"make: \*\*\* .*", end)


@pytest.mark.parametrize("port", ["0", "65536", "http", "8000; ls", ""])
def test_demo_refuses_an_invalid_port(port, start):
    """An invalid port makes one line with a valid example."""
    process, output = start(port)
    assert process.wait(15) == 2
    line, _ = output.read_text().splitlines()
    assert line == f"PORT={port} is not a port: use a number from 1 to 65535, such as PORT=8001."


STEPS = [
    "Setting up build/venv",
    "Generating the default project in build/demo",
    "Installing its packages and making its database",
]


def steps(text):
    """Return the lines before the server's own, in their final state, without the seconds."""
    lines = [line.rpartition("\r")[2] for line in text.partition("\n20")[0].split("\n")]
    return [re.fullmatch(r"(.*) \.\.\. \d+\.\d s", line)[1] for line in lines]


def test_fresh_clone_prints_its_steps(start, tmp_path):
    """A fresh clone prints each step with its seconds. A terminal shows them count, other output is plain."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Makefile", "demo.py", "pyproject.toml", "cookiecutter.json"):
        shutil.copy(TEMPLATE / name, clone)
    for name in ("hooks", "{{cookiecutter.project_slug}}"):
        shutil.copytree(TEMPLATE / name, clone / name)

    with on_terminal(["make", "demo", f"PORT={free_port()}"], clone) as read:
        text = read("Ready: ", 200).replace("\r\n", "\n")
    assert steps(text) == STEPS
    assert [int(seconds) for seconds in re.findall(r"\rSetting up build/venv \.\.\. (\d+) s(?=\r)", text)][:2] == [1, 2]

    (clone / "build" / "demo" / "stamp").unlink()
    _, output = start(free_port(), clone)
    wait_until(lambda: "Ready: " in output.read_text(), "the ready line", 120)
    text = output.read_bytes().decode()
    assert steps(text) == STEPS[1:]
    assert not re.search(r"[\r\x1b]", text)


def test_setup_is_quiet_except_on_a_terminal():
    """`make test` shows uv's progress on a terminal, and prints one line per step elsewhere."""
    command = ["make", "--dry-run", "--always-make", "build/venv/devtools"]
    with on_terminal(command, TEMPLATE) as read:
        assert "--quiet --python" not in read("touch build/venv/devtools", 15)
    text = run(command, TEMPLATE, clean_environ())
    assert len(re.findall("^uv pip install --quiet --python", text, re.MULTILINE)) == 2
    assert re.findall('^echo "(.*)"$', text, re.MULTILINE) == [
        "Setting up build/venv ...",
        "Installing what the tests need ...",
    ]


@contextlib.contextmanager
def on_terminal(command, folder, close=False):
    """Start a command on a terminal of its own. Yield a function that reads its screen up to a text.

    With `close` the terminal is closed at the end, otherwise the command is killed.
    """
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=clean_environ(),
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its_end)
    os.set_blocking(terminal, False)
    shown = bytearray()

    def reached(text):
        with contextlib.suppress(OSError):  # no new output, or the end
            shown.extend(os.read(terminal, 65536))
        return text in shown.decode(errors="replace")

    def read(text, patience):
        wait_until(lambda: reached(text), text, patience)
        return shown.decode()

    try:
        yield read
        if close:
            os.close(terminal)
            process.wait(30)
    finally:
        end_group(process)
        if not close:
            os.close(terminal)


def test_pictures_are_taken(tmp_path):
    """`make screenshots` takes the pictures of docs/screenshots in a real browser."""
    run(["make", "screenshots", f"FOLDER={tmp_path}"], TEMPLATE, clean_environ())
    wanted = [path.name for path in (TEMPLATE / "docs" / "screenshots").iterdir()]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(wanted)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_every_look_is_taken(tmp_path):
    """A page has a picture of each width, colour scheme and direction, and a sheet with all of them."""
    arguments = "ARGS=--everything --pages password-changed --locales de-DE"
    run(["make", "screenshots", f"FOLDER={tmp_path}", arguments], TEMPLATE, clean_environ())
    looks = itertools.product(("ltr", "rtl"), ("320", "768", "1920"), ("light", "dark"))
    pictures = {f"de-DE-{'-'.join(look)}.png" for look in looks}
    assert {path.name for path in (tmp_path / "password-changed").iterdir()} == pictures
    assert (tmp_path / "password-changed.png").read_bytes().startswith(b"\x89PNG")
