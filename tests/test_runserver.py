"""`manage.py runserver` on every server: WebSockets, static files and reload."""

import re
import time
from socket import create_connection, gethostname

import httpx
import pytest
from support.client import Person, receive, say
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.servers import free_port, start_site, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SERVERS = [
    pytest.param(server, id=server, marks=pytest.mark.xdist_group(f"runserver-{server}"))
    for server in CHOICES["server"]
]


@pytest.fixture(params=SERVERS)
def project(request, cookies, environment):
    """A migrated project of a server, its environment, and the command."""
    project = bake(cookies, server=request.param, auth="none")
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python)
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    return project, environ, [str(python / "bin" / "python"), "manage.py", "runserver"]


LOOKS = 3  # seconds in which Django's reloader, which looks once a second, has seen each file


def edit(project, text):
    """Change a module of the project after the reloader has seen it."""
    time.sleep(LOOKS)
    (project / "chat" / "events.py").write_text(text)


def close_code(socket):
    """Return the code of the close frame, or None if the connection ended without one."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            receive(socket)
    return closed.value.rcvd and closed.value.rcvd.code


def starts(site):
    """Return how many processes have started. The one before may answer until it ends."""
    return site.log.read_text().count("Quit the server")


def test_sockets_come_back_after_an_edit(project):
    """An edit closes an open socket with 4012, and the next process stores messages."""
    folder, environ, command = project
    with start_site(command, folder, environ) as site:
        person = Person(site, "none")
        with person.connect("lobby") as socket:
            assert receive(socket)["type"] == "welcome"
            edit(folder, f"{(folder / 'chat' / 'events.py').read_text()}EDIT = True\n")
            assert close_code(socket) == 4012
        wait_until(lambda: starts(site) == 2, "the next process")
        with person.connect("lobby") as socket:
            assert receive(socket)["type"] == "welcome"
            said = say(socket, "a", "after")
        assert person.history("lobby")["messages"] == [said]
        assert "Traceback" not in site.log.read_text()


def test_a_broken_import_is_shown_and_reload_goes_on(project):
    """The traceback is in the output, and the next edit starts the site again."""
    folder, environ, command = project
    with start_site(command, folder, environ) as site:
        whole = (folder / "chat" / "events.py").read_text()
        edit(folder, f"{whole}import nothing_of_this_name\n")
        wait_until(lambda: "No module named 'nothing_of_this_name'" in site.log.read_text(), "the traceback")
        edit(folder, whole)
        wait_until(site.answers, "the site again")


SLOW = """

def slow(request):
    print("slow view runs", flush=True)
    time.sleep(40)


urlpatterns.append(path("slow/", login_not_required(slow)))
"""


def test_an_edit_does_not_wait_for_a_view(project):
    """The next process answers while a view of the last one would still run, without any socket."""
    folder, environ, command = project
    urls = folder / "config" / "urls.py"
    imports = "import time\n\nfrom django.contrib.auth.decorators import login_not_required\n"
    urls.write_text(imports + urls.read_text() + SLOW)
    with start_site(command, folder, environ) as site, create_connection(("127.0.0.1", site.port)) as client:
        client.sendall(b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: "slow view runs" in site.log.read_text(), "the view")
        edit(folder, f"{(folder / 'chat' / 'events.py').read_text()}EDIT = True\n")
        wait_until(lambda: starts(site) == 2, "the next process")
        assert httpx.get(site.url, trust_env=False, timeout=10).status_code == 200
        assert "Traceback" not in site.log.read_text()


def test_static_files_are_served(project):
    """In development no file is collected."""
    folder, environ, command = project
    with start_site([*command, "--noreload"], folder, environ) as site:
        answer = httpx.get(f"{site.url}/static/site.css", trust_env=False)
        assert (answer.status_code, answer.text) == (200, (folder / "static" / "site.css").read_text())
        site.process.terminate()
        assert site.process.wait(10) == 0


def test_server_is_chosen_at_run_time(project):
    """`SERVER` wins over the answer."""
    folder, environ, command = project
    (chosen,) = re.findall(r'env.str\("SERVER", "(\w+)"', (folder / "config" / "settings.py").read_text())
    other = CHOICES["server"][CHOICES["server"].index(chosen) - 1]
    for server, variables in {chosen: {}, other: {"SERVER": other}}.items():
        with start_site([*command, "--noreload"], folder, environ | variables) as site:
            with Person(site, "none").connect("lobby") as socket:
                assert receive(socket)["type"] == "welcome"
            assert f"Starting {server} at {site.url}/\n" in site.log.read_text()


def test_pages_at_another_port_may_connect(project):
    """`ALLOWED_ORIGINS` in `.env` does not have to name the port."""
    folder, environ, command = project
    with (folder / ".env").open("a") as file:
        file.write("ALLOWED_ORIGINS=http://localhost:8000\n")
    for arguments in ([], [str(free_port())]):  # by PORT, and by the argument
        port = int(arguments[0]) if arguments else None
        with (
            start_site([*command, "--noreload", *arguments], folder, environ, port) as site,
            Person(site, "none").connect("lobby") as socket,
        ):
            assert receive(socket)["type"] == "welcome"


WITHOUT_FCNTL = """
import sys

sys.modules["fcntl"] = None
if fdesc := sys.modules.get("twisted.internet.fdesc"):
    fdesc.fcntl = None  # its reactor, which has a class of its own for Windows, has started
"""


def test_fcntl_is_not_needed(project):
    """Windows has no module fcntl, by which Twisted's endpoints take over a listening socket."""
    folder, environ, command = project
    with (folder / "config" / "asgi.py").open("a") as file:
        file.write(WITHOUT_FCNTL)
    with (
        start_site([*command, "--noreload"], folder, environ) as site,
        Person(site, "none").connect("lobby") as socket,
    ):
        assert receive(socket)["type"] == "welcome"


WSGI_SERVER = """
import os, wsgiref.simple_server
from config.wsgi import application
wsgiref.simple_server.make_server(os.environ["HOST"], int(os.environ["PORT"]), application).serve_forever()
"""


def test_hosts_of_wsgi_get_pages(project):
    """A host that asks for WSGI serves pages without sockets. Its log, and the console of a page, name the reason."""
    folder, environ, (python, *_) = project
    with start_site([python, "-c", WSGI_SERVER], folder, environ) as site:
        with httpx.Client(base_url=site.url, trust_env=False) as http:
            reason = http.get("/ws/chat/lobby/", headers={"Handshake-Origin": site.url})
            assert (http.get("/").status_code, reason.text) == (
                200,
                "It is not an ASGI server. Run: python manage.py serve",
            )
        assert "config.wsgi: WSGI has no WebSockets. Run: python manage.py serve" in site.log.read_text()


@pytest.mark.xdist_group("runserver-uvicorn")
def test_two_projects_share_no_session(cookies, environment):
    """Cookies bear the project's name, because browsers send those of one port of 127.0.0.1 to all."""
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python)
    names = []
    for slug in ("book-club", "run-club"):
        project = bake(cookies, project_slug=slug)
        run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
        with start_site(
            [str(python / "bin" / "python"), "manage.py", "runserver", "--noreload"], project, environ
        ) as site:
            names.append({cookie.name for cookie in Person(site, "session").http.cookies.jar})
    assert names == [{f"{slug}-{kind}" for kind in ("csrftoken", "sessionid")} for slug in ("book-club", "run-club")]


def test_phones_in_the_network_may_connect(project):
    """`HOST=0.0.0.0` is enough: the output names the URL for phones, and its pages open sockets."""
    folder, environ, command = project
    with start_site([*command, "--noreload"], folder, environ, host="0.0.0.0") as site:
        (site.url,) = re.findall(r"Open it on phones in the same network: (http://\S+)/\n", site.log.read_text())
        assert site.url not in {f"http://{host}:{site.port}" for host in ("127.0.0.1", "0.0.0.0")}
        with Person(site, "none").connect("lobby") as socket:
            assert receive(socket)["type"] == "welcome"
        name = f"{gethostname().lower()}.local:{site.port}"
        page = httpx.get(f"http://127.0.0.1:{site.port}/", headers={"Host": name}, trust_env=False, timeout=30)
        assert page.status_code == 200
        here = create_connection(("127.0.0.1", site.port))
        connect(f"ws://{name}/ws/chat/lobby/", sock=here, origin=f"http://{name}", proxy=None).close()


def test_another_name_keeps_loopback_names(project):
    """The command of the page adds a name of this machine. Its own browser still has the site, and sockets."""
    folder, environ, command = project
    page = (folder / "docs" / "on-my-phone.md").read_text(encoding="utf-8")
    assignments, port = re.search(r"`(ALLOWED_HOSTS=.*) make dev HOST=0\.0\.0\.0`", page)[1], free_port()
    variables = dict(one.split("=") for one in assignments.replace("8000", str(port)).split())
    with start_site([*command, "--noreload"], folder, environ | variables, port, host="0.0.0.0") as site:
        for name in (variables["ALLOWED_HOSTS"], "localhost", "127.0.0.1"):
            headers = {"Host": f"{name}:{port}"}
            answer = httpx.get(f"http://127.0.0.1:{port}/", headers=headers, trust_env=False, timeout=30)
            assert (name, answer.status_code) == (name, 200)
            here = create_connection(("127.0.0.1", port))
            url, origin = f"ws://{name}:{port}/ws/chat/lobby/", f"http://{name}:{port}"
            with connect(url, sock=here, origin=origin, proxy=None) as socket:
                assert receive(socket)["type"] == "welcome"
        (warning,) = re.findall(r"^\| `(DEBUG: .*)…` \|", page, re.M)
        assert warning in site.log.read_text()


def test_files_of_the_site_restart_nothing(project):
    """Uploads and log files in the project's folder leave its sockets open, whatever their names."""
    folder, environ, command = project
    (folder / "media").mkdir()
    with start_site(command, folder, environ) as site, Person(site, "none").connect("lobby") as socket:
        assert receive(socket)["type"] == "welcome"
        time.sleep(LOOKS)
        for name in ("media/cat.png", "media/upload.py", "media/page.html", "site.log"):
            (folder / name).write_text("new")
        time.sleep(LOOKS)
        assert say(socket, "a", "still here")["text"] == "still here"
        assert "reloading" not in site.log.read_text()
