"""Documents of the protocol: valid, in agreement, and all that a running site does, and nothing else."""

import contextlib
import json
import re
import subprocess
import time
from urllib.parse import quote

import pytest
from support.browsers import node_packages
from support.client import cookie
from support.emitted import bake, clean_environ, environ_for, run
from support.frames import TEXT, fragments
from support.matrix import CHOICES, PYTHONS, TEMPLATE, apps_of, combinations, label, spread
from support.protocol import DIRECTIONS, Document, first_cells, tables_of
from support.protocol.observer import Observer, RawSocket
from support.servers import Broker, start_site

SUPPORT = TEMPLATE / "tests" / "support" / "protocol"
TSC = ["--strict", "--target", "es2023", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2023,dom"]
PASSWORD = "correct horse battery staple"
# Each way to sign in with all sample apps, and projects with fewer.
DOCUMENTS = [
    *({"auth": auth, "examples": "all"} for auth in CHOICES["auth"]),
    {"auth": "session", "examples": "chat"},
    {"auth": "token", "examples": "none"},
]
OF_PAGES = pytest.mark.xdist_group("protocol-pages")  # share projects
# One site for each way to sign in, each on another server. Layers are Redis, because other processes publish, too.
ANSWERS = spread(combinations("auth"), "consumers", "server", examples=["all"], channel_layer=["redis"])
ANSWERS.sort(key=lambda answers: answers["auth"], reverse=True)  # tokens first
SITES = [
    pytest.param(answers, id=label(answers), marks=pytest.mark.xdist_group(f"protocol-{answers['auth']}"))
    for answers in ANSWERS
]
# Limits that would take long to reach.
SETTINGS = """
REALTIME_MAX_FRAGMENTS = 30
REALTIME_MAX_GUESTS = 5
REALTIME_REPLAY_SECONDS = 1
REALTIME_JOBS_WAITING = 20
SERVER_PING_SECONDS = 2
"""
# An error in a consumer, and a task that reports progress without a step.
PROBE = """
from typing import Any

from realtime.consumers import RealtimeConsumer
from realtime.work.context import JobContext, job


class BrokenConsumer(RealtimeConsumer):
    async def joined(self) -> None:
        raise LookupError


@job
def count(context: JobContext) -> None:
    context.progress(0.5)
"""
ROUTE = """
from django.urls import path
from probe import BrokenConsumer

websocket_urlpatterns.insert(0, path("ws/broken/", BrokenConsumer.as_asgi()))
"""
# All routes, as Django resolves them.
ROUTES = """
from django.urls import get_resolver
def routes_of(patterns, before):
    for pattern in patterns:
        path = before + str(pattern.pattern)
        yield from routes_of(pattern.url_patterns, path) if hasattr(pattern, "url_patterns") else [path]
result = list(routes_of(get_resolver().url_patterns, "/"))
"""
# Routes that programs do not need, and folders of them, with the reason.
FOR_PEOPLE = {
    "GET /": "a page: programs know the names of rooms",
    "GET /assistant/": "a page: programs start a conversation with a POST",
    "GET /assistant/<id>/": "a page: the socket has the conversation",
    "GET /chat/<room>/": "a page: the socket and the history have the messages",
    "GET /chat/<room>/members/": "a page: a row of the table names it",
    "GET /dashboard/": "a page: the socket has the figures",
    "GET /devices/": "a page: the socket has the values",
    "GET /devices/<name>/": "a page: the socket has the readings",
    "GET /jobs/": "a page: the socket has the jobs",
    "GET /notifications/": "a page: the socket has new notifications",
    "GET /notifications/<id>/": "a link in pages and mails: programs have the URL, and send `read`",
    "GET /private/": "a form",
    "GET /translations/<language>.<version>.js": "a script of the pages",
}
FOLDERS_FOR_PEOPLE = {
    "/accounts/": "pages of one account: the table has the requests that programs need",
    "/admin/": "Django's pages for staff",
}
# The event that each socket has with other fields.
WELCOME = ("welcome", frozenset({("user", "string"), ("user_id", "string"), ("seq", "integer")}))
NUMBER, UNITS = re.compile(r"(\d+)(?: (KiB|MiB))?"), {"": 1, "KiB": 1024, "MiB": 1024**2}


@pytest.fixture(scope="module")
def projects(cookies_session):
    """Return the projects whose pages are compared, by the labels of their answers."""
    return {label(answers): bake(cookies_session, **answers) for answers in DOCUMENTS}


@OF_PAGES
@pytest.mark.parametrize("answers", DOCUMENTS, ids=label)
def test_page_and_document_have_the_same_events(answers, projects):
    """The tables have each event of each socket, with its fields and their types."""
    project = projects[label(answers)]
    document, tables = Document(project), list(tables_of(project))
    for action, first in DIRECTIONS.items():
        found = {table.socket: table for table in tables if table.first == first}
        del found[""]
        for socket, table in found.items():
            channel = document.channel_at(socket)
            messages = {
                name: document.channels[channel]["messages"][name] for name in document.messages[channel, action]
            }
            assert table.events() == document.own_events(messages), socket
            references = [message["$ref"] for message in messages.values() if "$ref" in message]
            kinds = {document.resolve({"$ref": path})["payload"]["properties"]["type"]["const"] for path in references}
            assert table.common() == kinds, socket
        sockets = {document.channel_at(socket) for socket in found}
        assert sockets == {name for name, place in document.channels.items() if place["address"].startswith("/ws/")}
    general = [table.events() for table in tables if table.first in DIRECTIONS.values() and not table.socket]
    assert set.union(*general) == document.own_events(document.common) | {WELCOME}
    apps = {name.partition("-")[0] for name in document.channels}
    assert {"devices" if app == "device" else app for app in apps} == set(apps_of(answers))


@OF_PAGES
@pytest.mark.parametrize("answers", DOCUMENTS, ids=label)
def test_limits_are_those_of_the_code(answers, projects):
    """The numbers of the page are the defaults of the settings, and all close codes of the engine are there."""
    project = projects[label(answers)]
    sources = ["realtime/conf.py", "config/settings.py"]
    sources += [f"{app}/{name}.py" for app in apps_of(answers) for name in ("questions", "views")]
    code = "".join((project / name).read_text("utf-8") for name in sources if (project / name).exists())
    for table in tables_of(project):
        for text, settings, _ in table.rows if table.first == "limit" else ():
            numbers = [
                int(number) * {"KiB": 1024, "MiB": 1024**2}.get(unit, 1) for number, unit in NUMBER.findall(text)
            ]
            for name in re.findall(r"`([A-Z_]+)`", settings):
                value = re.search(rf"^ *{name}(?:: float)? = ([\d *_]+)", code, re.M)[1]
                assert eval(value) in numbers, (name, text)
    close = re.findall(r"^    [A-Z_]+ = (4\d{3})$", (project / "realtime" / "protocol.py").read_text("utf-8"), re.M)
    documented = first_cells(project, "code", r"^(\d+)$")
    assert documented == {"1009", "1011", *close} - ({"4401"} if answers["auth"] == "none" else set())


@OF_PAGES
def test_documents_are_valid(projects, tmp_path):
    """The official parser finds no error in any document, and makes no warning."""
    assert generate(list(projects.values()), tmp_path) == ""


def generate(projects, folder):
    """Write the types of the first project. Return the problems of all."""
    script = node_packages("protocol").parent / "generate.mjs"
    script.write_text((SUPPORT / "generate.mjs").read_text("utf-8"))
    documents = [str(project / "docs" / "asyncapi.yaml") for project in projects]
    return run(["node", str(script), str(folder), *documents], folder, clean_environ())


@pytest.fixture(scope="module", params=SITES)
def observer(request, cookies_session, environment, redis, tmp_path_factory):
    """A site of all sample apps with its broker, and a process that works for it."""
    answers = request.param
    project = bake(cookies_session, **answers)
    (project / "probe.py").write_text(PROBE)
    with (project / "config" / "routing.py").open("a") as routing:
        routing.write(ROUTE)
    with (project / "config" / "settings.py").open("a") as settings:
        settings.write(SETTINGS + "DASHBOARD_PUBLIC = True\n")
    python = str(environment(PYTHONS[-1], CHOICES["django_version"][0]) / "bin" / "python")
    broker = Broker(tmp_path_factory.mktemp("broker"))
    environ = environ_for(
        environment(PYTHONS[-1], CHOICES["django_version"][0]), REDIS_URL=f"{redis.url}/0", MQTT_URL=broker.url
    )
    run([python, "manage.py", "migrate", "--verbosity", "0"], project, environ)
    broker.start()
    try:
        with (
            start_site([python, "manage.py", "serve"], project, environ) as site,
            Observer.start(site, project, answers["auth"], python, environ, broker.port) as observer,
        ):
            yield observer
    finally:
        broker.stop()


def test_examples_of_the_page_are_run(observer):
    """The commands of `curl` and `wscat` connect as the page states, with each way to sign in."""
    page = (observer.project / "docs" / "protocol.md").read_text("utf-8")
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)).replace(
        "127.0.0.1:8000", observer.site.url[7:]
    )
    if observer.auth != "none":
        observer.run("User.objects.create_user('ann', password=password)", password=PASSWORD)
    environ = clean_environ(PASSWORD=PASSWORD)
    environ["PATH"] = f"{node_packages('protocol') / '.bin'}:{environ['PATH']}"
    folder = observer.project / "examples"
    folder.mkdir()
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(["sh", "-eu", "-c", commands], cwd=folder, env=environ, **options) as shell:
        output = shell.stdout.read()  # wscat ends with its standard input
    assert shell.returncode == 0, output
    sockets = page.count("wscat -c")
    assert (output.count('"type":"welcome"'), output.count('{"type":"pong"}')) == (sockets, sockets)
    assert output.count('{"messages":[],"more":false}') == 1


@pytest.mark.parametrize("observer", SITES[:1], indirect=True, scope="module")
def test_generated_client_talks(observer, tmp_path):
    """A client in TypeScript, with types from the document, is compiled strictly and holds a conversation."""
    assert generate([observer.project], tmp_path) == ""
    source = tmp_path / "conversation.ts"
    source.write_text((SUPPORT / "conversation.ts").read_text("utf-8"))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run([str(node_packages("protocol") / ".bin" / "tsc"), *TSC, str(source)], tmp_path, clean_environ())
    ann, bob = observer.person(), observer.person()
    conversation = ann.request("POST /assistant/", 302).headers["location"]
    tokens = [person.headers["Authorization"].removeprefix("Bearer ") for person in (ann, bob)]
    command = ["node", "conversation.js", observer.site.url, f"/ws{conversation}", *tokens]
    assert json.loads(run(command, tmp_path, clean_environ(), timeout=60)) == {
        "users": True,
        "typing": True,
        "heard": [1, "Hi Bob", True],
        "acknowledged": [1, "a1"],
        "repeated": [1, "Hi Bob"],
        "refused": ["bad_message", "a2"],
        "edited": [1, "Hello Bob", True],
        "closed": 1000,
        "missed": [2, 2, "Still there?"],
        "answered": ["q1", True, "done"],
    }


def test_every_route_is_in_the_page_or_for_people(observer):
    """Each method of each route has a row in the page, or a reason in FOR_PEOPLE."""
    ann, found = observer.person(), set()
    for route in observer.run(ROUTES):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", route).replace("<pk>", "<id>")
        if not path.startswith(tuple(FOLDERS_FOR_PEOPLE)):
            allowed = ann.http.options(re.sub(r"<\w+>", "1", path)).headers.get("allow", "GET")
            found |= {f"{method} {path}" for method in allowed.split(", ") if method not in {"HEAD", "OPTIONS"}}
    rows = first_cells(observer.project, "request")
    assert {row for row in rows - found if not row.split()[1].startswith("/accounts/")} == set()
    assert found - rows - FOR_PEOPLE.keys() == set()
    if observer.auth != "none":
        assert FOR_PEOPLE.keys() - found == set()


def test_site_does_all_of_it_and_nothing_else(observer):
    """Each event, topic, error, close code, limit and request is provoked, and nothing else is received."""
    for provoke in (
        see_example, see_chat, see_feeds, see_assistant, see_dashboard, see_devices, see_gaps,
        see_errors, reach_frames, reach_connections, reach_slowness, reach_jobs, reach_http, see_ends,
    ):  # fmt: skip
        provoke(observer)
    project = observer.project
    assert observer.messages == observer.document.names()
    assert observer.errors == first_cells(project, "error")
    assert observer.closed == {int(code) for code in first_cells(project, "code", r"^(\d+)$")}
    assert observer.limits == first_cells(project, "limit", column=1)
    assert observer.requests == first_cells(project, "request")


def see_example(observer):
    """Send what the conversation of the page sends. The answers have its events, fields and texts."""
    page = (observer.project / "docs" / "protocol.md").read_text("utf-8")
    with observer.person().connect("/ws/chat/<room>/", room="example") as socket:
        socket.receive(type="presence")
        for sent, expected in re.findall(r"^> (.+)\n< (.+)$", page, re.M):
            socket.send(**json.loads(sent))
            expected = json.loads(expected)
            same = expected.keys() - {"user", "user_id", "at", "edited_at"}
            assert socket.receive(**{name: expected[name] for name in same}).keys() == expected.keys()


def see_chat(observer):
    """Talk, edit and type in a room, in which more than fifty users are."""
    ann, bob = observer.person(), observer.person()
    with ann.connect("/ws/chat/<room>/", room="lobby") as anns, bob.connect("/ws/chat/<room>/", room="lobby") as bobs:
        assert anns.receive()["user_id"] == ann.user_id
        anns.receive(type="presence", count=2)
        bobs.send(type="ping")
        bobs.receive(type="pong")
        anns.send(type="typing")
        assert bobs.receive(type="typing")["user_id"] == ann.user_id
        anns.send(type="send", ref="r" * 64, text="x" * 4000)
        assert anns.receive(type="message", ref="r" * 64)["seq"] == bobs.receive(type="message")["seq"] == 1
        anns.refuses("bad_message", type="send", ref="r" * 65, text="x")
        anns.refuses("bad_message", type="send", ref="r", text="")
        anns.refuses("too_long", type="send", ref="r", text="x" * 4001)
        observer.run("from chat.models import *; m = Message.objects.get(room__name='lobby'); m.text = 'new'; m.save()")
        bobs.receive(type="edited", seq=1, text="new")
        anns.send(type="edit", ref="e1", seq=1, text="newer")
        bobs.receive(type="edited", seq=1, text="newer")
        bobs.refuses("forbidden", type="edit", ref="e2", seq=1, text="mine")
        bobs.refuses("not_found", type="edit", ref="e3", seq=9, text="mine")
        anns.refuses("too_long", type="edit", ref="e4", seq=1, text="x" * 4001)
        observer.run(
            "from chat.models import *; room = Room.objects.create(name='edits', seq=51)\n"
            "for seq in range(1, 52):\n"
            "    Message.objects.create(room=room, seq=seq, user_id='x', ref=str(seq), text='x').save()"
        )
        with ann.connect("/ws/chat/<room>/", "?after=51", room="edits") as socket:
            socket.receive(type="reset")
            assert socket.receive(type="message")["seq"] == 2
        assert ann.request("GET /rooms/", 200, path="/rooms/?room=lobby&room=x").json() == {"rooms": {"lobby": 1}}
        found = ann.request("GET /chat/<room>/messages/", 200, path="/chat/lobby/messages/?after=0&limit=9").json()
        assert [observer.document.identify("chat", "send", message)[2] for message in found["messages"]] == ["message"]
        ann.request("GET /chat/<room>/messages/", 400, path="/chat/lobby/messages/?after=x")
        invalid = ["x" * 65, " x", "x ", ".", "..", "\u200dx", "x\u202ey", "x\ty"]
        if observer.auth != "none":
            see_private_room(observer, ann, bob)
            invalid.append("\u223cx")
        for name in invalid:
            with ann.connect("/ws/chat/<room>/", room=quote(name)) as socket:
                socket.ends(4404)
        with ann.connect("/ws/chat/<room>/", room=quote("e\u0301")) as socket:
            assert socket.receive(type="welcome")["room"] == "\u00e9"
        with contextlib.ExitStack() as crowd:
            for _ in range(49):
                crowd.enter_context(observer.person().connect("/ws/chat/<room>/", room="lobby"))
            assert anns.receive(type="presenceChanges", count=51)["joined"]


def see_private_room(observer, owner, other):
    """Create a private room, and add and remove a member."""
    add, remove = "POST /chat/<room>/members/", "POST /chat/<room>/members/<id>/"
    assert owner.request("POST /private/", 302, data={"name": "two"}).headers["location"] == "/chat/~two/members/"
    owner.request("POST /private/", 200, data={"name": "two"})
    user = {"user": observer.run("result = User.objects.get(pk=pk).username", pk=other.user_id)}
    other.request(add, 404, path="/chat/~two/members/", data=user)
    owner.request(add, 200, path="/chat/~two/members/", data={"user": "missing"})
    owner.request(add, 302, path="/chat/~two/members/", data=user)
    other.request(add, 200, path="/chat/~two/members/", data=user)
    page = owner.http.get("/chat/~two/members/").text
    (path,) = re.findall(r'"(/chat/~two/members/\d+/)"', page)
    with other.connect("/ws/chat/<room>/", room="~two") as socket:
        socket.receive(type="welcome")
        owner.request(remove, 302, path=path)
        socket.ends(4403)
    other.request(remove, 404, path=path)


def see_feeds(observer):
    """Run jobs, and read notifications."""
    ann = observer.person()
    with ann.connect("/ws/jobs/") as jobs:
        jobs.receive(type="welcome")
        ann.request("POST /jobs/", 302, data={"chapters": 1, "key": "one"})
        jobs.receive(type="step")
        assert jobs.receive(type="job", state="done")["result"] == "1 chapters, 100 words"
        observer.run(
            "from probe import count; from jobs.tasks import feed_of; from realtime.work.queue import start\n"
            "start(count, user_id=user, feed=feed_of(user))",
            user=ann.user_id,
        )
        jobs.receive(type="progress", progress=0.5)
        jobs.send(type="estimate")
        jobs.receive(type="estimated")
        ann.request("POST /jobs/", 302, data={"chapters": 9, "key": "two"})
        job = jobs.receive(type="job", state="running")["job"]
        ann.request("POST /jobs/<id>/cancel/", 302, path=f"/jobs/{job}/cancel/")
        jobs.receive(type="job", state="cancelled")
        ann.request("POST /jobs/<id>/retry/", 302, path=f"/jobs/{job}/retry/")
        jobs.receive(type="job", state="running")
        ann.request("POST /jobs/<id>/cancel/", 302, path=f"/jobs/{job}/cancel/")
    if observer.auth == "none":
        return
    with ann.connect("/ws/notifications/") as bell:
        assert bell.receive()["unread"] == 1  # about the job
        observer.run("from notifications.notify import *; notify(user, 'hi', '/')", user=ann.user_id)
        pk = bell.receive(type="notification", text="hi")["id"]
        bell.send(type="read", first=pk, last=pk)
        bell.receive(type="wasRead", first=pk, last=pk, count=1)
        bell.refuses("bad_message", type="read", first=0, last=pk)
        observer.run("notify(user, 'ho', '/')", user=ann.user_id)
        pk = bell.receive(type="notification", text="ho")["id"]
        ann.request("POST /notifications/read/", 302, data={"last": pk})
        bell.receive(type="wasRead", first=1, last=pk)
        ann.request("POST /notifications/read/", 400, data={"last": "x"})


OPEN_JOB = """
from datetime import timedelta; from django.utils import timezone
from assistant.models import *
from jobs.tasks import feed_of; from realtime.work.models import *
later = timezone.now() + timedelta(days=1)
def add(count, **fields):
    fields = {"kind": "probe.count", "user_id": user, "lease": "x", "locked_until": later, **fields}
    return Job.objects.bulk_create([Job(**fields) for _ in range(count)])
"""


def see_assistant(observer):
    """Ask the assistant, stop and continue an answer, and ask too much."""
    ann = observer.person()
    path = ann.request("POST /assistant/", 302).headers["location"]
    pk = path.split("/")[2]
    with ann.connect("/ws/assistant/<id>/", id=pk) as socket:
        socket.receive(type="welcome")
        socket.send(type="ask", ref="r" * 64, text="x" * 4000)
        job = socket.receive(type="question")["job"]
        socket.receive(type="piece", job=job)
        socket.send(type="stop", job=job)
        socket.receive(type="job", state="cancelled")
        socket.send(type="retry", job=job, ref="r2")
        socket.receive(type="job", state="done")
        socket.refuses("too_long", type="ask", ref="r", text="x" * 4001)
        socket.refuses("bad_message", type="ask", ref="r" * 65, text="x")
        observer.run(
            OPEN_JOB + "job, = add(1, state='running')\n"
            "Turn.objects.create(conversation_id=pk, job=job, ref='open', question='x')",
            user=ann.user_id, pk=pk,
        )  # fmt: skip
        socket.refuses("busy", type="ask", ref="r3", text="x")
        observer.run(
            "Job.objects.filter(pk=job.pk).update(state='done')\n"
            "Turn.objects.bulk_create(Turn(conversation_id=pk, ref=str(n), question='x') for n in range(100))",
            pk=pk,
        )
        observer.limits.add("MAX_TURNS")
        assert "100 questions" in socket.refuses("rate_limited", type="ask", ref="r3", text="x")["detail"]
        ann.request("POST /assistant/<id>/delete/", 302, path=f"/assistant/{pk}/delete/")
        socket.ends(4403)
    pk = ann.request("POST /assistant/", 302).headers["location"].split("/")[2]
    with ann.connect("/ws/assistant/<id>/", id=pk) as socket:
        socket.receive(type="welcome")
        observer.run("Conversation.objects.filter(pk=pk)._raw_delete('default')", pk=pk)
        socket.refuses("not_found", type="ask", ref="r", text="x")
    create = "Conversation.objects.bulk_create(Conversation(user_id=user, title='x') for _ in range(100))"
    observer.run(create, user=ann.user_id)
    ann.request("POST /assistant/", 429)
    observer.limits.add("ASSISTANT_CONVERSATIONS")


def see_dashboard(observer):
    """Receive figures."""
    with observer.person(staff=True).connect("/ws/dashboard/") as socket:
        socket.receive(type="welcome")
        assert socket.receive(type="figures")["values"]


def see_devices(observer):
    """Send readings over MQTT, and answer a command."""
    ann = observer.person(staff=True)
    observer.start_device("one")
    observer.publish("status", "online")
    with ann.connect("/ws/devices/") as everything:
        everything.receive(type="welcome")
        observer.publish("readings", {"number": 7, "value": 21.5, "at": "2026-01-01T12:00:00Z"})
        assert observer.arrived() == {"numbers": [7]}
        everything.receive(type="values", values={"one": 21.5})
        with ann.connect("/ws/devices/<name>/", name="one") as device:
            device.receive(type="reading", value=21.5)
            may = observer.auth != "none"
            command = {"path": "/devices/one/commands/", "data": {"text": "blink"}}
            ann.request("POST /devices/<name>/commands/", 302 if may else 403, **command)
            if not may:
                observer.run("from devices.commands import *; send_command(Device.objects.get(), 'blink', 'x')")
            device.receive(type="changed")
            pk = observer.arrived()["id"]
            for answer in ({}, {"answer": "Done"}):
                observer.publish("answers", {"id": pk, **answer})
                device.receive(type="changed")
        observer.publish("status", "offline")
        everything.receive(type="changed")


def see_gaps(observer):
    """Ask each socket for more than a replay has, for a pong, and for an error."""
    ann = observer.person(staff=True)
    pk = ann.request("POST /assistant/", 302).headers["location"].split("/")[2]
    with ann.connect("/ws/chat/<room>/", room="long") as socket:
        socket.send(type="send", ref="1", text="x")
        socket.receive(type="message")
    observer.run(
        "from chat.models import *; from realtime.feeds.models import *; from assistant.models import *\n"
        "from jobs.tasks import feed_of; from dashboard.events import FEED; from devices.models import feed_of as d\n"
        "room = Room.objects.get(name='long')\n"
        "rows = (Message(room=room, seq=seq, user_id='x', ref=str(seq), text='x' * 4000) for seq in range(2, 601))\n"
        "Message.objects.bulk_create(rows); Room.objects.filter(name='long').update(seq=600)\n"
        "names = [Conversation(pk=pk).feed, feed_of(user), FEED, d('one')]\n"
        "if accounts: from notifications.models import feed_of as n; names.append(n(user))\n"
        "for name in names: Feed.objects.update_or_create(name=name, defaults={'seq': 1000})",
        pk=pk, user=ann.user_id, accounts=observer.auth != "none",
    )  # fmt: skip
    parameters = {"chat": {"room": "long"}, "assistant": {"id": pk}, "device": {"name": "one"}}
    for channel, place in observer.document.channels.items():
        if not place["address"].startswith("/ws/"):
            continue
        address = re.sub(r"{(\w+)}", r"<\1>", place["address"])
        with ann.connect(address, "?after=0", **parameters.get(channel, {})) as socket:
            if channel != "devices":
                assert socket.receive(type="gap")["after"] == 0
            socket.send(type="ping")
            socket.receive(type="pong")
            socket.refuses("unknown_type", type="dance")
    observer.limits.add("REALTIME_MAX_REPLAY_BYTES")
    page = ann.request("GET /chat/<room>/messages/", 200, path="/chat/long/messages/?limit=9999").json()
    assert page["more"] and len(page["messages"]) < 500  # a page of long texts is full before


def see_errors(observer):
    """Send what is refused, and a message while the database does not work."""
    ann = observer.person()
    with ann.connect("/ws/chat/<room>/", "?after=x", room="errors") as socket:
        socket.receive(type="error", code="bad_message")
        socket.refuses("bad_json", "{")
        socket.refuses("bad_message", "[]")
        socket.refuses("binary", b"x")
        socket.refuses("too_long", "x" * (2**16 + 1))
        observer.limits.add("REALTIME_MAX_FRAME_BYTES")
        rename = "from django.db import connection; connection.cursor().execute(f'ALTER TABLE {a} RENAME TO {b}')"
        observer.run(rename, a="chat_message", b="other")
        socket.refuses("unavailable", type="send", ref="1", text="x")
        observer.run(rename, a="other", b="chat_message")
    observer.run(
        "from chat.models import *\n"
        "Room.objects.bulk_create(Room(name=f'{user} {n}', created_by=user) for n in range(100))",
        user=ann.user_id,
    )
    with ann.connect("/ws/chat/<room>/", room="more") as socket:
        assert socket.refuses("rate_limited", type="send", ref="1", text="x")["retry_after"] > 80_000
    if observer.auth != "none":
        ann.request("POST /private/", 200, data={"name": "more"})
    observer.limits.add("CHAT_ROOMS_PER_DAY")
    observer.run(
        "room = Room.objects.create(name='short', seq=501)\n"
        "rows = (Message(room=room, seq=seq, user_id='x', ref=str(seq), text='x') for seq in range(1, 502))\n"
        "Message.objects.bulk_create(rows)"
    )
    page = ann.request("GET /chat/<room>/messages/", 200, path="/chat/short/messages/?limit=9999").json()
    assert (len(page["messages"]), page["more"]) == (500, True)
    observer.limits.add("MAX_MESSAGES")


def reach_frames(observer):
    """Send too many frames, too large ones and wrong ones."""
    with observer.person().connect("/ws/jobs/") as socket:
        for _ in range(60):
            socket.send(type="ping")
        socket.receive(type="error", code="rate_limited")
        observer.limits.add("REALTIME_RATE")
        for _ in range(400):
            socket.send(type="ping")
        socket.ends(4429)
        observer.limits.add("REALTIME_MAX_REFUSED")
    with observer.person().connect("/ws/jobs/") as socket:
        for _ in range(10):
            socket.send_anything("{")
        socket.ends(4400)
        observer.limits.add("REALTIME_MAX_ERRORS")
    with observer.person().connect("/ws/jobs/") as socket:
        socket.send_anything("x" * (2**20 + 1))
        socket.ends(1009, None)
        observer.limits.add("REALTIME_MAX_MESSAGE_BYTES")
    with RawSocket(observer.person(), "/ws/jobs/") as socket:
        socket.send(*fragments(TEXT, *[b"x"] * 35))
        socket.ends(1009, None)
        observer.limits.add("REALTIME_MAX_FRAGMENTS")


def reach_connections(observer):
    """Open too many connections of a user and of an address, and one that answers no ping."""
    ann, stranger = observer.person(), observer.stranger()
    for visitor, address, count in ((ann, "/ws/jobs/", 20), (stranger, "/ws/dashboard/", 5)):
        with contextlib.ExitStack() as sockets:
            for _ in range(count):
                sockets.enter_context(visitor.connect(address, "?after=9999"))
            with visitor.connect(address) as socket:
                socket.ends(4409)
    observer.limits |= {"REALTIME_MAX_CONNECTIONS", "REALTIME_MAX_GUESTS"}
    with RawSocket(ann, "/ws/devices/") as socket:
        assert socket.is_cut_without_pongs()
    observer.limits.add("SERVER_PING_SECONDS")


def reach_slowness(observer):
    """Read nothing, during a replay and after it."""
    with RawSocket(observer.person(), "/ws/chat/slow/") as socket:
        observer.run(
            "from chat.models import room_group; from realtime.broadcast import publish\n"
            "for _ in range(100):\n"
            "    publish(room_group('slow'), {'type': 'edited', 'seq': 1, 'text': 'x' * 60000}, numbered=False)"
        )
        socket.ends(4408)
    observer.limits.add("REALTIME_MAX_OUTBOX")
    with RawSocket(observer.person(), "/ws/chat/long/?after=0") as socket:
        time.sleep(2)
        socket.ends(4408)
    observer.limits.add("REALTIME_REPLAY_SECONDS")


def reach_jobs(observer):
    """Have too many jobs, of a user and of all users."""
    limits = {
        "REALTIME_JOBS_OPEN": ("add(10, state='running')", "At most 10 jobs"),
        "REALTIME_JOBS_PER_DAY": ("add(500, state='done')", "500 jobs a day"),
        "REALTIME_JOBS_WAITING": ("add(20, user_id='x')", "Too many jobs"),
    }
    for name, (code, detail) in limits.items():
        ann = observer.person()
        pk = ann.request("POST /assistant/", 302).headers["location"].split("/")[2]
        with ann.connect("/ws/assistant/<id>/", id=pk) as socket:
            observer.run(OPEN_JOB + code, user=ann.user_id)
            assert detail in socket.refuses("rate_limited", type="ask", ref="1", text="x")["detail"]
            ann.request("POST /jobs/", 429, data={"chapters": 1, "key": name})
            observer.limits.add(name)
    observer.run("Job.objects.filter(state='waiting').delete()")
    job = observer.run(
        OPEN_JOB + "result = add(1, state='failed', retries=10, feed=feed_of(user))[0].pk", user=ann.user_id
    )
    ann.request("POST /jobs/<id>/retry/", 429, path=f"/jobs/{job}/retry/")
    observer.limits.add("REALTIME_JOB_RETRIES")


def reach_http(observer):
    """Send requests of strangers, too large ones, and those for tokens and tickets."""
    stranger = observer.stranger()
    assert stranger.request("GET /healthz", 200).text == "ok\n"
    assert stranger.request("GET /readyz", 200).text == "ready\n"
    observer.person().request("GET /metrics", 200)
    stranger.request("GET /metrics", 401)
    stranger.request("GET /healthz", 431, headers={"X-Long": "x" * 2**15})
    assert stranger.http.post("/healthz", content=b"x" * (2**20 + 1)).status_code == 413
    observer.limits |= {"SERVER_MAX_HEAD_BYTES", "SERVER_MAX_BODY_BYTES"}
    if observer.auth == "token":
        observer.run("user = User.objects.create_user('bob', password=password)", password=PASSWORD)
        fields = {"username": "bob", "password": PASSWORD, "name": "test"}
        token = stranger.request("POST /api/token/", 200, json=fields).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert stranger.request("POST /api/ticket/", 200, headers=headers).json().keys() == {"ticket"}
        stranger.request("POST /api/ticket/", 401)
        stranger.request("POST /api/token/", 400, data={})
        assert stranger.request("DELETE /api/token/", 200, headers=headers).json() == {}
        stranger.request("DELETE /api/token/", 401)
        observer.run("for _ in range(20): issue_token(user, 'x')")
        stranger.request("POST /api/token/", 409, json=fields)
        observer.limits.add("TOKENS_PER_USER")
    if observer.auth == "session":
        observer.run("User.objects.create_user('carl', password=password)", password=PASSWORD)
        stranger.request("POST /accounts/login/", 200, data={"username": "carl", "password": "wrong"})
        answer = stranger.request("POST /accounts/login/", 302, data={"username": "carl", "password": PASSWORD})
        assert cookie(answer, "sessionid")
        ann = observer.person()
        with ann.connect("/ws/jobs/") as socket:
            socket.receive(type="welcome")
            ann.request("POST /accounts/logout/", 302)
            socket.ends(4403)
    if observer.auth == "none":
        return
    wrong = {"username": "bob", "password": "wrong"}
    for _ in range(10):
        assert stranger.log_in(wrong).status_code in {200, 401}
    assert int(stranger.log_in(wrong).headers["retry-after"]) > 0
    observer.limits.add("REALTIME_MAX_NAME_FAILURES")


def see_ends(observer):
    """End sockets at wrong paths, by an error of the site, without a sign-in, and by a restart."""
    ann = observer.person()
    with ann.connect("/ws/devices/<name>/", name="missing") as socket:
        socket.ends(4404)
    broken = RawSocket(ann, "/ws/broken/")
    broken.ends(1011)
    if observer.auth != "none":
        with observer.stranger().connect("/ws/jobs/") as socket:
            socket.ends(4401)
    with ann.connect("/ws/jobs/") as socket:
        socket.receive(type="welcome")
        observer.site.process.terminate()
        socket.ends(4012)
