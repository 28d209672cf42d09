"""Authentication of connections by the engine, with each kind of authenticator."""

import asyncio
import threading
from importlib import import_module

import pytest
from asgiref.sync import sync_to_async
from channels.auth import get_user, login, logout
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.utils import timezone

from engine.people import user_of
from realtime import auth
from realtime.auth import AuthMiddleware, Identity
from realtime.auth.sessions import credential_of_session

pytestmark = pytest.mark.django_db(transaction=True)

PATH = f"{__name__}."


@pytest.fixture(autouse=True)
def sessions(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.REALTIME_AUTHENTICATORS = ["realtime.auth.sessions.authenticate"]


def cookie_of(client):
    name = django_settings.SESSION_COOKIE_NAME
    return [(b"cookie", f"{name}={client.cookies[name].value}".encode())]


def cookie_of_user(name):
    client = Client()
    client.force_login(user_of(name))
    return cookie_of(client)


def foreign_session():
    """Return a session whose user has another kind of key."""
    session = Client().session
    session["_auth_user_id"] = "not a key"
    session["_auth_user_backend"] = django_settings.AUTHENTICATION_BACKENDS[0]
    session.save()
    return session


async def connect(headers=None, **fields):
    """Return the scope that the inner application gets, and the messages to the client."""
    scopes = []
    sent = []

    async def inner(scope, receive, send):
        scopes.append(scope)
        await send({"type": "websocket.accept"})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "headers": headers or [], "query_string": b"", **fields}
    await AuthMiddleware(inner)(scope, receive, send)
    return next(iter(scopes), None), sent


@pytest.fixture
def queries(monkeypatch):
    """Return the list of queries in all threads."""
    found, execute = [], CursorWrapper.execute

    def record(self, sql, parameters=None):
        found.append(sql)
        return execute(self, sql, parameters)

    monkeypatch.setattr(CursorWrapper, "execute", record)
    return found


@pytest.fixture
def held(monkeypatch):
    """Hold the look-up of the first handshake until the event is set. The others wait together."""
    event, load = threading.Event(), auth.load_sessions

    def hold(scopes):
        event.wait(5)
        load(scopes)

    monkeypatch.setattr(auth, "load_sessions", hold)
    return event


async def test_stale_session_is_deleted_in_another_thread(monkeypatch):
    """Django deletes the session of an old password. All sign-ins would wait for a lock with it."""
    headers = await sync_to_async(cookie_of_user)("ann")
    await get_user_model().objects.aupdate(password="another")
    threads, flush = [], SessionStore.flush

    def record(session):
        threads.append(threading.current_thread().name)
        flush(session)

    monkeypatch.setattr(SessionStore, "flush", record)
    _, sent = await connect(headers)
    assert sent[-1] == {"type": "websocket.close", "code": 4401}
    assert len(threads) == 1
    assert threads[0] != "realtime-batches"


async def test_key_that_no_database_stores_is_refused(queries):
    """A cookie with NUL is refused without a query: PostgreSQL would fail for all that are looked up with it."""
    name = django_settings.SESSION_COOKIE_NAME
    _, sent = await connect([(b"cookie", name.encode() + b'="aaaaaaaa\\000"')])
    assert sent[-1] == {"type": "websocket.close", "code": 4401}
    assert queries == []


def nobody(scope):
    return None


def by_subprotocol(scope):
    return Identity("ann", "key", "bearer") if "bearer" in scope["subprotocols"] else None


async def test_a_session_authenticates_its_user():
    """The scope gets the user, the credential, the cookies and the session."""
    headers = await sync_to_async(cookie_of_user)("ann")
    scope, _ = await connect(headers)
    key = scope["cookies"][django_settings.SESSION_COOKIE_NAME]
    assert scope["user"] == await get_user_model().objects.aget()
    assert (scope["session"].session_key, scope["credential"]) == (key, credential_of_session(key))


async def test_a_session_takes_two_queries(queries):
    """One reads the session, one the user. Channels' own functions need no third one."""
    headers = await sync_to_async(cookie_of_user)("ann")
    queries.clear()
    scope, _ = await connect(headers)
    assert await sync_to_async(scope["session"].get)("_auth_user_id")
    assert len(queries) == 2


async def test_concurrent_handshakes_share_two_queries(queries, held):
    """One reads all sessions, one all users. Two sockets of a user have an object each."""
    names = ["ann", "bob", "cleo", "ann"]
    headers = [await sync_to_async(cookie_of_user)(name) for name in names]
    queries.clear()
    first = asyncio.create_task(connect())
    await asyncio.sleep(0.05)
    others = asyncio.gather(*map(connect, headers))
    await asyncio.sleep(0.05)
    held.set()
    await first
    users = [scope["user"] for scope, _ in await others]
    assert [user.get_username() for user in users] == names
    assert users[0] is not users[3]
    assert len(queries) == 2


async def test_sign_out_during_a_shared_look_up_counts(held):
    """A handshake that began before its session ended is looked up after it, or closed."""
    headers = await sync_to_async(cookie_of_user)("ann")
    first = asyncio.create_task(connect())
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(connect(headers))
    await asyncio.sleep(0.05)
    await Session.objects.all().adelete()
    held.set()
    await first
    assert (await waiting)[1][-1]["code"] == 4401


async def test_a_strange_session_does_not_disturb_others(held):
    """Of handshakes at once, each without a valid session closes with 4401, also one of another user model."""
    ann, bob = [await sync_to_async(cookie_of_user)(name) for name in ("ann", "bob")]
    session = await sync_to_async(foreign_session)()
    name = django_settings.SESSION_COOKIE_NAME
    foreign = [(b"cookie", f"{name}={session.session_key}".encode())]
    unknown = [(b"cookie", f"{name}={'k' * 32}".encode())]
    await get_user_model()._default_manager.filter(pk=(await sync_to_async(user_of)("bob")).pk).aupdate(password="new")
    handshakes = [ann, unknown, None, foreign, bob]
    first = asyncio.create_task(connect())
    await asyncio.sleep(0.05)
    others = asyncio.gather(*map(connect, handshakes), return_exceptions=True)
    await asyncio.sleep(0.05)
    held.set()
    await first
    found = await others
    assert isinstance(found.pop(3), ValidationError)  # as Django's own middleware
    assert [scope and scope["user"].get_username() for scope, _ in found] == ["ann", None, None, None]
    assert [sent[-1].get("code") for _, sent in found] == [None, 4401, 4401, 4401]


@pytest.mark.parametrize("store", ["db", "cache", "cached_db", "file", "signed_cookies"])
async def test_session_of_each_store_authenticates(store, settings):
    """Only the sessions that Django's own store keeps in rows are read together."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{store}"
    headers = await sync_to_async(cookie_of_user)("ann")
    scope, _ = await connect(headers)
    assert scope["user"].get_username() == "ann"


async def test_expired_session_is_invalid(queries):
    """A session that has expired or is unknown closes with 4401 after one query."""
    headers = await sync_to_async(cookie_of_user)("ann")
    await Session.objects.all().aupdate(expire_date=timezone.now())
    queries.clear()
    _, sent = await connect(headers)
    assert (sent[-1]["code"], len(queries)) == (4401, 1)


async def test_session_of_a_removed_backend_is_invalid(settings):
    """A user whose backend is not one of AUTHENTICATION_BACKENDS any more is not signed in."""
    headers = await sync_to_async(cookie_of_user)("ann")
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    _, sent = await connect(headers)
    assert sent[-1]["code"] == 4401


threads = []


def authenticate_in_its_thread(scope):
    threads.append(threading.current_thread().name)


async def test_other_authenticators_delay_no_shared_look_up(settings):
    """An authenticator of a project, which may be slow, does not run in the thread for many handshakes."""
    settings.REALTIME_AUTHENTICATORS = [f"{PATH}authenticate_in_its_thread", *settings.REALTIME_AUTHENTICATORS]
    await connect()
    assert threads.pop() != "realtime-batches"


class Refusing(ModelBackend):
    """Backend that finds no user."""

    def get_user(self, user_id):
        return None


async def test_a_backend_of_its_own_decides(settings):
    """A backend with a `get_user` of its own is asked, though the user is there."""
    settings.AUTHENTICATION_BACKENDS = [f"{PATH}Refusing"]
    headers = await sync_to_async(cookie_of_user)("ann")
    scope, sent = await connect(headers)
    assert (scope, sent[-1]) == (None, {"type": "websocket.close", "code": 4401})


async def test_a_rotated_secret_key_keeps_sessions(settings):
    """The session keeps its key, since a socket cannot set the cookie of a new one."""
    headers = await sync_to_async(cookie_of_user)("ann")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "rotated"
    scopes = [(await connect(headers))[0] for _ in range(2)]
    assert len({scope["credential"] for scope in scopes}) == 1


async def test_a_stranger_is_rejected():
    """A WebSocket closes with 4401, and a request is answered with 401."""
    scope, sent = await connect()
    assert (scope, sent[-1]) == (None, {"type": "websocket.close", "code": 4401})
    scope, sent = await connect(type="http")
    assert (scope, sent[0]["status"]) == (None, 401)


async def test_a_rejected_browser_learns_why():
    """One of the offered subprotocols is selected, without which it hides the close code."""
    _, sent = await connect(subprotocols=["chat", "v2"])
    assert sent[0] == {"type": "websocket.accept", "subprotocol": "chat"}


async def test_the_first_authenticator_that_finds_somebody_wins(settings):
    """The others do not run. The subprotocol of the identity is selected."""
    settings.REALTIME_AUTHENTICATORS = [
        f"{PATH}nobody",
        f"{PATH}by_subprotocol",
        "realtime.auth.guests.authenticate",
    ]
    scope, sent = await connect(subprotocols=["v2", "bearer"])
    assert (scope["user"], scope["credential"]) == ("ann", "key")
    assert sent == [{"type": "websocket.accept", "subprotocol": "bearer"}]
    scope, sent = await connect(subprotocols=["v2"])
    assert scope["user"].is_anonymous
    assert sent == [{"type": "websocket.accept"}]


async def test_a_guest_has_what_a_user_has(settings):
    """Each connection without a session is a new guest. A session keeps its guest."""
    settings.REALTIME_AUTHENTICATORS = ["realtime.auth.guests.authenticate"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    scopes = [(await connect())[0] for _ in range(2)]
    guests = [scope["user"] for scope in scopes]
    assert guests[0].pk != guests[1].pk
    assert (guests[0].is_anonymous, guests[0].is_authenticated) == (True, False)
    assert guests[0].get_username() == guests[0].display_name == str(guests[0])
    client = Client()
    session = client.session
    session["guest_id"], session["guest_name"] = "guest-1", "Ann"
    session.save()
    client.cookies[django_settings.SESSION_COOKIE_NAME] = str(session.session_key)
    scope, _ = await connect(cookie_of(client))
    assert (scope["user"].pk, scope["user"].display_name) == ("guest-1", "Ann")


@pytest.mark.parametrize("type_", ["channel", "lifespan"])
async def test_other_scopes_pass_untouched(type_):
    """A worker's scope has neither headers nor a user."""
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope)

    scope = {"type": type_, "channel": "thumbnails"}
    await AuthMiddleware(inner)(scope, None, None)
    assert seen[0] is scope


async def test_channels_own_functions_work():
    """A consumer can ask for the user, sign in and sign out, though no request is there."""
    headers = await sync_to_async(cookie_of_user)("ann")
    scope, _ = await connect(headers)
    ann = scope["user"]
    assert await get_user(scope) == ann
    bob = await sync_to_async(user_of)("bob")
    await login(scope, bob)
    await scope["session"].asave()
    assert (scope["user"], await get_user(scope)) == (bob, bob)
    key, requests = scope["session"].session_key, []

    def on_logout(request, **_):
        requests.append(request)

    user_logged_out.connect(on_logout)
    try:
        await logout(scope)
    finally:
        user_logged_out.disconnect(on_logout)
    assert requests == [None]
    assert scope["user"].is_anonymous
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    assert not await store().aexists(key)
