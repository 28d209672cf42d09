"""Server processes: fast together, replaced when they die, and gone with the process that started them."""

import contextlib
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from support.client import Person, close_code, receive
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.servers import end_group, listens, start_site, wait_until
from websockets.exceptions import ConnectionClosed

GRACE = 20  # seconds that compose.yaml gives a container
SLOW_VIEW = """
import time
from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse
from django.urls import path


@login_not_required
def slow(request):
    print("slow view began", flush=True)
    time.sleep(40)
    return HttpResponse("done")


urlpatterns.append(path("slow/", slow))
"""


SERVERS = [
    pytest.param(server, id=server, marks=pytest.mark.xdist_group(f"processes-{server}"))
    for server in CHOICES["server"]
]


@pytest.fixture(scope="module", params=SERVERS)
def project(request, cookies_session, environment, redis):
    """A migrated project with one more view, which is slow, and the variables of its processes."""
    project = bake(cookies_session, server=request.param, channel_layer="redis", auth="none")
    with (project / "config" / "urls.py").open("a") as file:
        file.write(SLOW_VIEW)
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python, REDIS_URL=f"{redis.url}/0", LOG_LEVEL="WARNING")
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    return project, environ, str(python / "bin" / "python")


@contextlib.contextmanager
def served(project, workers):
    """Start the site. Its process is the server itself, without uv or make in front."""
    folder, environ, python = project
    folder.with_name(f"{folder.name}.log").unlink(missing_ok=True)
    with start_site([python, "manage.py", "serve"], folder, {**environ, "WEB_CONCURRENCY": str(workers)}) as site:
        yield site


def processes():
    """Return the parent and the command line of each process of this machine."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if command := (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found[int(folder.name)] = parent, command
    return found


def workers_of(site):
    """Return the processes that answer, without multiprocessing's resource tracker."""
    return [
        pid
        for pid, (parent, command) in processes().items()
        if parent == site.process.pid and "resource_tracker" not in command
    ]


def with_variable(text):
    """Return the processes that have this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
    return found


def wait_until_gone(mark):
    try:
        wait_until(lambda: not with_variable(mark), "the end of all processes")
    except AssertionError as error:
        raise AssertionError(f"left behind: {with_variable(mark)}") from error


def open_files(pid):
    """Return the targets of a process's file handles."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(link.readlink()))
    return links


def connections(site, pid):
    """Count the connections of the site's port that one process has open."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = [row[9] for row in rows if row[1].endswith(f":{site.port:04X}") and row[3] != "0A"]
    return len({f"socket:[{inode}]" for inode in inodes}.intersection(open_files(pid)))


def is_connected_server(pid, command):
    """Return whether a process is the server and has a client."""
    if "manage.py serve" not in command:
        return False
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    established = {f"socket:[{row[9]}]" for row in rows if row[3] == "01"}
    return not established.isdisjoint(open_files(pid))


def event_polls(pid):
    """Return the number of epoll instances that a process has open."""
    return open_files(pid).count("anon_inode:[eventpoll]")


def page_seconds(site):
    """Return the median time of a page on a new connection, with no other work for the workers' loops."""
    times = []
    for _ in range(20):
        start = time.monotonic()
        assert httpx.get(site.url, timeout=30, trust_env=False).status_code == 200
        times.append(time.monotonic() - start)
    return statistics.median(times)


def test_two_workers_are_no_slower_than_one_process(project):
    """A second process makes pages at most a few times slower, even if both share one core."""
    with served(project, 1) as site:
        alone = page_seconds(site)
    with served(project, 2) as site:
        together = page_seconds(site)
    print(f"{alone * 1000:.1f} ms in one process, {together * 1000:.1f} ms in two")
    assert together < 10 * alone


def test_event_loops_belong_to_workers(project):
    """The process that starts the workers has no epoll instance, so they cannot share one."""
    with served(project, 2) as site:
        workers = wait_until(lambda: len(found := workers_of(site)) == 2 and found, "two workers")
        wait_until(lambda: all(map(event_polls, workers)), "an event loop in each worker")
        assert event_polls(site.process.pid) == 0


def test_a_killed_worker_is_replaced(project):
    """Sockets of the other worker stay, the death is logged, and both workers answer again."""
    with served(project, 2) as site, contextlib.ExitStack() as stack:
        first, second = wait_until(lambda: len(found := workers_of(site)) == 2 and found, "two workers")
        sockets = []
        while not (connections(site, first) and connections(site, second)):  # one may be starting
            people = [Person(site, "none") for _ in range(12)]
            opened = [stack.enter_context(person.connect("lobby")) for person in people]
            for socket in opened:
                assert receive(socket)["type"] == "welcome"
            sockets += opened
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(found := workers_of(site)) == 2 and first not in found, "a new worker")
        time.sleep(2)
        alive = [socket for socket in sockets if still_open(socket)]
        assert 0 < len(alive) < len(sockets)
        assert second in workers_of(site)
        lines = [line for line in site.log.read_text().splitlines() if str(first) in line]
        assert len(lines) == 1
        assert re.search(
            rf"ERROR realtime\.servers\.workers: Worker {first} ended with SIGKILL\. Starting another\.", lines[0]
        )
        with people[0].connect("lobby") as socket:
            assert receive(socket)["type"] == "welcome"
        site.terminate()
        assert site.process.returncode == 0


def still_open(socket):
    """Return whether a socket answers a ping."""
    try:
        return socket.ping().wait(2)
    except ConnectionClosed:
        return False


def test_a_site_whose_workers_keep_dying_ends(project):
    """Five deaths of young workers end the server with 1, and the last line names the cause."""
    with served(project, 2) as site:
        killed = set()
        deadline = time.monotonic() + 60
        while site.process.poll() is None and time.monotonic() < deadline:
            for pid in workers_of(site):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)  # once, although it is listed until the parent has noticed
            time.sleep(0.1)
        assert site.process.wait(5) == 1
        assert 5 <= len(killed) <= 8
        wait_until(site.is_gone, "the end of all processes")
        assert "workers ended within" in site.log.read_text().splitlines()[-1]


def test_workers_end_with_their_parent(project):
    """After SIGKILL of the parent, clients get 4012, and the port is free."""
    with served(project, 2) as site:
        person = Person(site, "none")
        with person.connect("lobby") as socket:
            assert receive(socket)["type"] == "welcome"
            site.process.kill()
            assert close_code(socket) == 4012
        wait_until(site.is_gone, "the end of the workers", GRACE)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_exit_code_of_a_stopped_server_is_0(kind, workers, project):
    """A requested stop exits with 0, also with an open socket."""
    with served(project, workers) as site:
        with Person(site, "none").connect("lobby") as socket:
            assert receive(socket)["type"] == "welcome"
            os.kill(site.process.pid, kind)
            assert close_code(socket) == 4012
        assert site.process.wait(GRACE) == 0
        wait_until(site.is_gone, "the end of all processes")
        assert "Traceback" not in site.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_slow_view_does_not_delay_the_end(workers, project):
    """The server exits with 0 within the grace period of compose.yaml, while a view continues in its thread."""
    with served(project, workers) as site:

        def ask():
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{site.url}/slow/", timeout=60, trust_env=False)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: "slow view began" in site.log.read_text(), "the slow view")
        start = time.monotonic()
        site.process.terminate()
        assert site.process.wait(50) == 0
        seconds = time.monotonic() - start
        print(f"ended after {seconds:.1f} s")
        assert seconds < GRACE - 4
        wait_until(site.is_gone, "the end of all processes")
        asking.join()


def test_make_serve_ends_without_an_error(project):
    """Neither make nor a traceback reports a requested stop as an error."""
    folder, environ, _ = project
    folder.with_name(f"{folder.name}.log").unlink(missing_ok=True)
    with start_site(["make", "serve"], folder, environ) as site:
        (uv,) = [pid for pid, (parent, command) in processes().items() if parent == site.process.pid]
        os.kill(uv, signal.SIGTERM)
        assert site.process.wait(GRACE) == 0
        wait_until(site.is_gone, "the end of all processes")
        assert "***" not in site.log.read_text()


def hang_up(process):
    """Send the signal that a shell sends to its jobs when the terminal is closed."""
    os.killpg(process.pid, signal.SIGHUP)


def kill_reloader(process):
    """Kill the process that restarts the server, and not the server."""
    for pid, (_, command) in processes().items():
        with contextlib.suppress(ProcessLookupError):
            if "manage.py runserver" in command and os.getpgid(pid) == process.pid and "uv run" not in command:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("end", [subprocess.Popen.terminate, hang_up, kill_reloader], ids=["TERM", "HUP", "KILL"])
def test_the_server_of_make_dev_ends_with_it(end, project):
    """No process stays behind, however `make dev` ends."""
    folder, environ, _ = project
    mark = f"TEST_MARK={time.monotonic_ns()}"
    variables = {**environ, **dict([mark.split("=")])}
    with start_site(["make", "dev"], folder, variables) as site:
        end(site.process)
        wait_until_gone(mark)
        wait_until(lambda: not listens(site.port), "the end of the listener")


def test_servers_of_emitted_tests_end_with_them(project):
    """If pytest is killed while a client waits for the server, the server exits too."""
    folder, environ, python = project
    mark = f"TEST_MARK={time.monotonic_ns()}"
    variables = {**environ, **dict([mark.split("=")])}
    command = [python, "-m", "pytest", "-q", "chat/tests/test_live.py"]
    live = folder / "chat" / "tests" / "test_live.py"
    code = live.read_text()
    assert code.count("server.terminate()") == 1
    live.write_text(code.replace("server.terminate()", "server.wait(60)"))
    process = subprocess.Popen(command, cwd=folder, env=variables, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: any(is_connected_server(*found) for found in with_variable(mark)), "a client of its server")
        process.kill()
        process.wait()
        wait_until_gone(mark)
    finally:
        end_group(process)
