"""Two processes of a site share presence, sign-outs and counts through one Redis."""

import contextlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.client import MOST, Person, close_code, csrf_token, names, receive, send, wait_for_users
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, SIGNED_IN, combinations, label, spread
from support.servers import start_site, wait_until
from websockets.exceptions import ConnectionClosed

SITES = [
    pytest.param(
        {**answers, "channel_layer": "redis"},
        id=label(answers),
        marks=pytest.mark.xdist_group(f"cluster-{answers['server']}"),
    )
    for answers in spread(combinations("server"), "consumers", "database", auth=SIGNED_IN)
]


@pytest.fixture(scope="module", params=SITES)
def project(request, cookies_session, environment, services):
    """A project with a database of its own, and the variables of all its processes."""
    project = bake(cookies_session, **request.param)
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python, **services(request.param))
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    return project, environ, request.param["auth"]


@contextlib.contextmanager
def process(project, **variables):
    """Start one more server process of the project."""
    folder, environ, auth = project
    with start_site(["uv", "run", "python", "manage.py", "serve"], folder, environ | variables) as site:
        site.auth = auth
        yield site


@pytest.fixture(scope="module")
def sites(project):
    with process(project) as one, process(project) as other:
        yield one, other


@pytest.fixture
def ann(sites):
    return Person(sites[0], sites[0].auth)


@pytest.fixture
def ben(sites):
    return Person(sites[1], sites[1].auth)


def test_people_of_both_processes_see_each_other_within_a_second(ann, ben):
    """Presence in both processes follows joins and leaves, for newcomers and earlier members."""
    with ann.connect("both") as one:
        wait_for_users(one, ann.name)
        start = time.monotonic()
        with ben.connect("both") as other:
            wait_for_users(one, ann.name, ben.name)
            wait_for_users(other, ann.name, ben.name)
            assert time.monotonic() - start < 1
            start = time.monotonic()
        wait_for_users(one, ann.name)
        assert time.monotonic() - start < 1


def test_other_programs_publish(project, sites, ann, ben):
    """Events from a command, a worker or the shell reach members in all processes, in the order of the calls."""
    with ann.connect("news") as one, ben.connect("news") as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        folder, environ, _ = project
        code = (
            "from asgiref.sync import async_to_sync; from realtime.broadcast import apublish, publish; "
            "from chat.models import room_group; group = room_group('news'); "
            "[publish(group, {'type': 'news', 'number': n}) for n in range(20)]; "
            "async_to_sync(apublish)(group, {'type': 'news', 'number': 20})"
        )
        run(["uv", "run", "python", "manage.py", "shell", "-c", code], folder, environ)
        for socket in (one, other):
            assert [receive(socket)["number"] for _ in range(21)] == list(range(21))


def test_message_of_both_processes_is_stored_once(sites):
    """People who send everything through both processes at once get each message once, numbered without a gap."""
    people = [Person(site, site.auth) for site in sites for _ in range(3)]
    refs = [str(number) for number in range(30)]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(person.connect("both ways", site=site)) for person in people for site in sites]
        for socket in sockets:
            assert receive(socket)["type"] == "welcome"
        for ref in refs:
            for socket in sockets:
                send(socket, type="send", ref=ref, text=ref)

        def acknowledged(socket, person):
            """Return the numbers of the person's messages, once there is one for each."""
            numbers = {}
            while len(numbers) < len(refs):
                event = receive(socket)
                if event["type"] == "message" and event["user"] == person.name:
                    assert numbers.setdefault(event["ref"], event["seq"]) == event["seq"]
            return numbers

        found = [acknowledged(socket, people[number // 2]) for number, socket in enumerate(sockets)]
    messages = people[0].history("both ways", "?limit=500")["messages"]
    assert [message["seq"] for message in messages] == list(range(1, len(people) * len(refs) + 1))
    for number, numbers in enumerate(found):
        own = [message for message in messages if message["user"] == people[number // 2].name]
        assert {message["ref"]: message["seq"] for message in own} == numbers
        assert len(own) == len(refs)


def test_logging_out_closes_sockets_of_all_processes_within_a_second(sites, ann):
    """A sign-out closes the user's sockets in both processes, and other users' sockets stay."""
    with ann.connect("logout") as one, ann.connect("logout", site=sites[1]) as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        start = time.monotonic()
        ann.sign_out()
        assert (close_code(one), close_code(other)) == (4403, 4403)
        assert time.monotonic() - start < 1


def test_connections_are_counted_over_all_processes(sites, ann):
    """A user has twenty connections, counted over all processes."""
    with contextlib.ExitStack() as stack:
        for number in range(MOST):
            socket = stack.enter_context(ann.connect("many", site=sites[number % 2]))
            assert receive(socket)["type"] == "welcome"
        for site in sites:
            with ann.connect("many", site=site) as socket:
                assert close_code(socket) == 4409
    with ann.connect("many", site=sites[1]) as socket:
        assert receive(socket)["type"] == "welcome"


def test_a_killed_process_is_forgotten(project, ann):
    """The connections of a killed process count for less than five seconds, and its users leave within 30."""
    with process(project) as doomed, ann.connect("doomed") as one:
        eve = Person(doomed, doomed.auth)
        with contextlib.ExitStack() as stack:
            for _ in range(MOST):
                socket = stack.enter_context(eve.connect("doomed"))
                assert receive(socket)["type"] == "welcome"
            wait_for_users(one, ann.name, eve.name)
            doomed.kill()
            start = time.monotonic()
            back = 0
            while back < MOST:
                back += is_welcome(stack.enter_context(eve.connect("reborn", site=ann.site)))
                assert time.monotonic() - start < 5, f"{back} connections are back"
            print(f"back after {time.monotonic() - start:.1f} s")
            wait_until(lambda: sees_only(one, ann.name), "the killed process is forgotten", 30)
        print(f"forgotten after {time.monotonic() - start:.1f} s")


def is_welcome(connection):
    """Return whether a connection is accepted. Pause after a refusal."""
    try:
        return receive(connection)["type"] == "welcome"
    except ConnectionClosed as closed:
        assert closed.rcvd.code == 4409
        time.sleep(0.1)
        return False


def sees_only(connection, name):
    """Return whether a recent event reports that the user is alone."""
    try:
        return names(json.loads(connection.recv(0.2)).get("users", ())) == [name]
    except TimeoutError:
        return False


def test_several_workers_count_together(project):
    """`/metrics` of any worker sums up the counts of all, and all workers exit on request."""
    with process(project, WEB_CONCURRENCY="2") as site:
        people = [Person(site, site.auth) for _ in range(4)]
        with contextlib.ExitStack() as stack:
            for person in people:
                assert receive(stack.enter_context(person.connect("workers")))["type"] == "welcome"
            for _ in range(6):
                assert "realtime_connections 4.0" in people[0].http.get("/metrics").text
            assert site.terminate() < 10


def post(person, page, path=None, **fields):
    """Submit a form of a page. Return the page that the answer leads to."""
    token = csrf_token(person.http.get(page))
    answer = person.http.post(path or page, data={**fields, "csrfmiddlewaretoken": token})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def remove(owner, members):
    """Remove the only member beside the owner."""
    (path,) = re.findall(r'action="([^"]+/members/[0-9]+/)"', owner.http.get(members).text)
    post(owner, members, path)


def test_removed_member_loses_the_sockets_of_both_processes(sites, ann, ben):
    """Within a second of the request they close with 4403, and then the room is as if it did not exist."""
    members = post(ann, "/private/", name=f"of {ann.name}")
    room = f"~of {ann.name}"
    with ben.connect(room) as stranger:
        assert close_code(stranger) == 4404
    post(ann, members, user=ben.login_of(ben.name))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(ben.connect(room, site=site)) for site in sites]
        assert [receive(socket)["type"] for socket in sockets] == ["welcome", "welcome"]
        with ann.connect(room) as owner:
            wait_for_users(owner, ann.name, ben.name)
            start = time.monotonic()
            remove(ann, members)
            codes = [close_code(socket) for socket in sockets]
            seconds = time.monotonic() - start
            wait_for_users(owner, ann.name)
    print(f"closed after {seconds:.3f} s")
    assert (codes, seconds < 1) == ([4403, 4403], True)
    with ben.connect(room) as socket:
        assert close_code(socket) == 4404
    for path in (members, members.removesuffix("members/"), members.replace("members/", "messages/")):
        assert ben.http.get(path).status_code == 404


def test_reconnecting_member_is_removed_from_both_processes(sites, ann, ben):
    """No socket that is connecting during a removal stays open, at whatever stage it is."""
    members = post(ann, "/private/", name=f"with {ann.name}")
    room = f"~with {ann.name}"

    def reconnect(site, removing):
        """Connect again and again. Return the close code of the socket that the removal meets."""
        while True:
            with ben.connect(room, site=site) as socket:
                if removing.is_set():
                    return close_code(socket)
                with contextlib.suppress(TimeoutError, ConnectionClosed):
                    while True:
                        socket.recv(0.01)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            post(ann, members, user=ben.login_of(ben.name))
            removing = threading.Event()
            reconnecting = [threads.submit(reconnect, site, removing) for site in sites * 2]
            time.sleep(0.2)
            removing.set()
            remove(ann, members)
            assert {socket.result() for socket in reconnecting} <= {4403, 4404}
