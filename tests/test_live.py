"""Every core combination, started by its own serve command, follows the protocol over real sockets."""

import contextlib
import json
import re
from datetime import UTC, datetime

import pytest
from support.client import MOST, Person, close_code, open_socket, receive, say, send, unresponsive_socket
from support.emitted import bake, environ_for, run
from support.matrix import is_quick, label, rotated
from support.servers import start_site
from websockets.exceptions import ConnectionClosed, InvalidStatus


def pytest_generate_tests(metafunc):
    if "combination" not in metafunc.fixturenames:
        return
    params = []
    for answers, python in rotated():
        name = f"{label(answers)}-{python}"
        # All tests of a combination run in one worker, on one server.
        marks = [pytest.mark.xdist_group(name), *([pytest.mark.quick] if is_quick(answers) else [])]
        params.append(pytest.param((answers, python), id=name, marks=marks))
    metafunc.parametrize("combination", params, scope="module")


@pytest.fixture(scope="module")
def site(combination, cookies_session, environment, services):
    """The running project of one combination, started once for all tests below."""
    answers, python = combination
    project = bake(cookies_session, **answers)
    environ = environ_for(environment(python, answers["django_version"]), **services(answers))
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site(["make", "serve"], project, environ) as site:
        site.auth = answers["auth"]
        yield site


@pytest.fixture(scope="module")
def ann(site):
    return Person(site, site.auth)


@pytest.fixture(scope="module")
def ben(site):
    return Person(site, site.auth)


@pytest.fixture
def room(request):
    """Return a room that no other test uses."""
    return request.node.originalname.removeprefix("test_")[:64]


@contextlib.contextmanager
def joined(person, room, query=""):
    """Open a socket of a user in a room. Yield it with its first event."""
    with person.connect(room, query) as socket:
        yield socket, receive(socket)


def test_pages_come_with_their_files(ann):
    """The page of a room is served, and so is each file that it names."""
    page = ann.http.get("/chat/caf%C3%A9/")
    assert page.status_code == 200
    assert re.search(r"<title>(.*?)\s*</title>", page.text)[1] == "café · Talking Site"
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert files
    assert {file: ann.http.get(file).status_code for file in files} == dict.fromkeys(files, 200)


def test_two_people_talk(ann, ben, room):
    """Both members get the same stored message, numbered from 1, and the sender's copy has the reference."""
    with joined(ann, room) as (one, greeting), joined(ben, room) as (other, greeting_of_other):
        ids = greeting.pop("user_id"), greeting_of_other.pop("user_id")
        assert ids[0] != ids[1]
        assert greeting == {"type": "welcome", "room": room, "user": ann.name, "seq": 0}
        assert greeting_of_other == {"type": "welcome", "room": room, "user": ben.name, "seq": 0}
        first = say(one, "a1", "Grüße <b>& 👋</b>")
        at = first.pop("at")
        author = {"user": ann.name, "user_id": ids[0]}
        assert first == {"type": "message", "seq": 1, "ref": "a1", **author, "text": "Grüße <b>& 👋</b>"}
        assert abs(datetime.now(UTC) - datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%f%z")).total_seconds() < 60
        assert receive(other) == {**first, "at": at}
        second = say(other, "b1", "hello")
        assert (second["seq"], second["user"], second["ref"]) == (2, ben.name, "b1")
        assert receive(one) == second
    assert ben.history(room) == {"messages": [{**first, "at": at}, second], "more": False}


def test_resend_is_stored_once(ann, ben, room):
    """A repeated reference returns the stored message to its sender, and no other member gets it again."""
    with joined(ann, room) as (one, _), joined(ben, room) as (other, _):
        stored = say(one, "same", "once")
        assert say(one, "same", "once") == stored
        assert receive(other) == stored
        reply = say(other, "same", "another's reference")
        assert reply["seq"] == 2
        assert receive(one) == reply
    assert [message["seq"] for message in ann.history(room)["messages"]] == [1, 2]


def test_reconnect_replays_missed_messages(ann, room):
    """`after` replays the messages after a number, and without it the latest are replayed."""
    with joined(ann, room) as (socket, _):
        messages = [say(socket, f"r{number}", f"text {number}") for number in range(1, 6)]
    with joined(ann, room, "?after=3") as (socket, greeting):
        assert greeting["seq"] == 5
        assert [receive(socket), receive(socket)] == messages[3:]
        send(socket, type="ping")
        assert receive(socket) == {"type": "pong"}
    with joined(ann, room) as (socket, _):
        assert [receive(socket) for _ in messages] == messages
    with joined(ann, room, "?after=-1") as (socket, _):
        assert receive(socket)["code"] == "bad_message"
        assert [receive(socket) for _ in messages] == messages


def test_history_is_read_in_pages(ann, room):
    """`after` and `limit` select the history, and `more` reports whether there are more messages."""
    with joined(ann, room) as (socket, _):
        messages = [say(socket, f"h{number}", f"text {number}") for number in range(1, 5)]
    assert ann.history(room, "?after=1&limit=2") == {"messages": messages[1:3], "more": True}
    assert ann.history(room, "?after=3&limit=2") == {"messages": messages[3:], "more": False}
    assert ann.history("never sent") == {"messages": [], "more": False}


def test_typing_reaches_the_others_only(ann, ben, room):
    """The other members get a typing event, and the sender does not."""
    with joined(ann, room) as (one, greeting), joined(ben, room) as (other, _):
        send(one, type="typing")
        assert receive(other) == {"type": "typing", "user": ann.name, "user_id": greeting["user_id"]}
        send(one, type="ping")
        assert receive(one) == {"type": "pong"}


def test_invalid_frames_get_errors(ann, room):
    """Each kind of error has its own code, and the connection stays open."""
    frames = {
        "{": "bad_json",
        b"\x00\xff": "binary",
        "[]": "bad_message",
        '{"type":"send","ref":"x"}': "bad_message",
        '{"type":"send","ref":"","text":"hi"}': "bad_message",
        '{"type":"send","ref":"x","text":"a\\u0000b"}': "bad_message",
        '{"type":"send","ref":"x","text":"\\ud800"}': "bad_message",
        '{"type":"dance"}': "unknown_type",
        json.dumps({"type": "send", "ref": "x", "text": "x" * 65 * 1024}): "too_long",
    }
    with joined(ann, room) as (socket, _):
        codes = {}
        for frame in frames:
            socket.send(frame)
            error = receive(socket)
            assert (error.keys(), error["type"]) == ({"type", "code", "detail", "ref"}, "error")
            codes[frame] = error["code"]
            send(socket, type="ping")
            assert receive(socket) == {"type": "pong"}
        assert codes == frames
        assert say(socket, "x", "after all")["seq"] == 1


def test_repeated_errors_close_the_connection(ann, room):
    """Ten errors in a row close the connection with 4400."""
    with joined(ann, room) as (socket, _):
        for _ in range(10):
            socket.send("{")
        assert close_code(socket) == 4400


def test_unknown_path_is_closed(site, ann):
    """An unknown path and an invalid room close with 4404."""
    for path in ("/ws/elsewhere/", "/ws/chat/%0A/", f"/ws/chat/{'x' * 65}/"):
        with open_socket(site, path, additional_headers=ann.headers()) as socket:
            assert (path, close_code(socket)) == (path, 4404)


def test_other_sites_are_refused(site, ann, room):
    """A page of another origin gets 403 in the handshake, also of this host with another port or scheme."""
    for origin in (
        "https://evil.example",
        f"http://127.0.0.1:{site.port + 1}",
        f"https://127.0.0.1:{site.port}",
        "null",
    ):
        with pytest.raises(InvalidStatus) as refused:
            ann.connect(room, origin=origin, additional_headers=ann.cookies())
        assert (origin, refused.value.response.status_code) == (origin, 403)
    with ann.connect(room, origin=None) as socket:
        assert receive(socket)["type"] == "welcome"


def test_strangers_get_4401(site, ann, room):
    """Without a login the socket opens and closes with 4401. Without accounts every visitor is a guest."""
    with open_socket(site, f"/ws/chat/{room}/") as socket:
        if site.auth == "none":
            assert re.fullmatch("guest-[0-9a-f]{8}", receive(socket)["user"])
        else:
            assert close_code(socket) == 4401


def test_tokens_and_tickets_open_sockets(site, ann, room):
    """A token works in a header or a subprotocol, and a ticket works once. Without tokens neither works."""
    path = f"/ws/chat/{room}/"
    if site.auth != "token":
        assert ann.http.post("/api/ticket/").status_code in {403, 404}
        return
    with open_socket(site, path, subprotocols=["bearer", ann.token]) as socket:
        assert (socket.subprotocol, receive(socket)["user"]) == ("bearer", ann.name)
    # An app has an origin of its own, and other subprotocols may stand beside the token.
    for origin in ("capacitor://localhost", "null"):
        with open_socket(site, path, origin=origin, subprotocols=["v2", ann.token, "bearer"]) as socket:
            assert (socket.subprotocol, receive(socket)["user"]) == ("bearer", ann.name)
        with pytest.raises(InvalidStatus) as refused:
            open_socket(site, path, origin=origin, subprotocols=["bearer", "guessed"], additional_headers=ann.cookies())
        assert refused.value.response.status_code == 403
    ticket = ann.ticket()
    with open_socket(site, f"{path}?ticket={ticket}") as socket:
        assert receive(socket)["user"] == ann.name
    for stale in (f"?ticket={ticket}", "?ticket=guessed"):
        with open_socket(site, path + stale) as socket:
            assert close_code(socket) == 4401


def test_one_person_holds_twenty_connections(ann, room):
    """The next connection is closed with 4409, and another can open after one has closed."""
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(joined(ann, room))
        with pytest.raises(ConnectionClosed) as closed, joined(ann, room):
            pass
        assert closed.value.rcvd.code == 4409
    with joined(ann, room) as (_, greeting):
        assert greeting["type"] == "welcome"


def test_term_signal_ends_it(site, ann, ben, room):
    """After TERM a socket gets 4012, and all processes exit within ten seconds even if another client hangs."""
    with joined(ann, room) as (socket, _), unresponsive_socket(site, f"/ws/chat/{room}/", ben.headers()):
        assert site.terminate() < 10
        assert close_code(socket) == 4012
