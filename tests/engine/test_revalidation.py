"""Open sockets end with their sign-in, also if no signal reports its end."""

import asyncio
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack, login, logout
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from engine.people import client_of, user_of
from realtime import bus, revalidation
from realtime.asgi import RealtimeMiddlewareStack
from realtime.auth import Identity
from realtime.auth.sessions import credential_of_session, find_valid_sessions
from realtime.broadcast import disconnect_credential, disconnect_user
from realtime.connection import ConnectionMiddleware
from realtime.consumers import RealtimeConsumer, SyncRealtimeConsumer
from realtime.process import get_process
from realtime.revalidation import revalidate
from realtime.testing import SocketClient


class AsyncAccount(AsyncWebsocketConsumer):
    """Ordinary consumer that signs users in and out."""

    async def receive(self, text_data):
        match text_data.split():
            case ["login", name]:
                await login(self.scope, await sync_to_async(user_of)(name))
                await self.scope["session"].asave()
            case ["logout"]:
                await logout(self.scope)
            case ["cycle"]:
                await sync_to_async(self.scope["session"].cycle_key)()
        await self.send(text_data=str(self.scope["session"].session_key))


class SyncAccount(WebsocketConsumer):
    def receive(self, text_data):
        self.send(text_data=str(self.scope["session"].session_key))


class AsyncPing(RealtimeConsumer):
    pass


class SyncPing(SyncRealtimeConsumer):
    pass


class AsyncClub(RealtimeConsumer):
    """Consumer that joins a group for each key that the test put into the scope."""

    async def joined(self):
        for key in self.scope["keys"]:
            await self.join(f"club-{key}", key=key, find_valid=self.scope.get("find_valid", find_valid))


class SyncClub(SyncRealtimeConsumer):
    def joined(self):
        for key in self.scope["keys"]:
            self.join(f"club-{key}", key=key, find_valid=self.scope.get("find_valid", find_valid))


CONSUMERS = [AsyncAccount, SyncAccount, AsyncPing, SyncPing]
STACKS = [RealtimeMiddlewareStack(consumer.as_asgi()) for consumer in CONSUMERS]
STACKS.append(AuthMiddlewareStack(ConnectionMiddleware(AsyncAccount.as_asgi())))
ACCOUNT = STACKS[0]
CLUBS = [RealtimeMiddlewareStack(consumer.as_asgi()) for consumer in (AsyncClub, SyncClub)]
tokens = {"valid", "revoked"}


def find_valid(keys):
    return tokens.intersection(keys)


def find_nothing(keys):
    raise OperationalError("down")


def authenticate(scope):
    """Return the identity that the test put into the scope."""
    return scope.get("given")


@pytest.fixture
async def connect(visit):
    """Return a function that opens a socket. All are closed at the end."""
    clients = []

    async def connect(browser=None, application=ACCOUNT, **options):
        cookies = browser.cookies if browser else None
        clients.append(await SocketClient.connect(application, cookies=cookies, **options))
        return clients[-1]

    yield connect
    for client in clients:
        await client.disconnect()


@pytest.fixture
async def browsers(database):
    """The browsers of ann and bob."""
    return [await sync_to_async(client_of)(name) for name in ("ann", "bob")]


async def look():
    """Revalidate all sockets, as each beat does."""
    await revalidate(list(get_process().connections))


async def end_of(client):
    """Return the code of the close, which must come before the next beat."""
    return await asyncio.wait_for(client.close_code(), 1)


async def is_open(client):
    """Return whether a socket answers."""
    await client.send_text('{"type":"ping"}')
    return (await client.communicator.receive_output(5))["type"] == "websocket.send"


def users(name="ann"):
    return get_user_model()._default_manager.filter(pk=user_of(name).pk)


def sessions(browser):
    return Session.objects.filter(session_key=browser.session.session_key)


# No signal reports these.
SILENT = {
    "session deleted": lambda browser: sessions(browser)._raw_delete("default"),
    "session expired": lambda browser: sessions(browser).update(expire_date=timezone.now() - timedelta(seconds=1)),
    "new password": lambda browser: users().update(password="new"),
    "user deactivated": lambda browser: users().update(is_active=False),
    "user deleted": lambda browser: users()._raw_delete("default"),
}


@pytest.mark.parametrize("application", STACKS, ids=["async", "sync", "ours", "ours-sync", "AuthMiddlewareStack"])
@pytest.mark.parametrize("way", SILENT)
async def test_silent_end_is_found(way, application, connect, browsers):
    """The next look closes the sockets of the sign-in with 4403, and no others."""
    ann, bob = [await connect(browser, application) for browser in browsers]
    await look()
    assert await is_open(ann)
    await sync_to_async(SILENT[way])(browsers[0])
    await look()
    assert await end_of(ann) == 4403
    assert await is_open(bob)


async def test_each_beat_looks(connect, browsers, monkeypatch):
    """Nothing has to ask for a look."""
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(revalidation, "SPREAD_SECONDS", 0.1)
    monkeypatch.setattr(revalidation, "BATCH", 1)
    clients = [await connect(browser) for browser in browsers]
    await sync_to_async(lambda: users("bob").update(is_active=False))()
    assert await clients[1].close_code() == 4403
    assert await is_open(clients[0])


async def test_key_that_is_not_valid_closes(connect, browsers, settings):
    """An authenticator's own function judges the keys of its connections. One call serves all."""
    settings.REALTIME_AUTHENTICATORS = [f"{__name__}.authenticate"]
    identities = [Identity("ann", key=key, find_valid=find_valid) for key in ("valid", "revoked")]
    one, two = [await connect(given=identity) for identity in identities]
    failing = await connect(given=Identity("bob", key="any", find_valid=find_nothing))
    await look()
    tokens.discard("revoked")
    await look()
    assert await end_of(two) == 4403
    assert await is_open(one)
    assert await is_open(failing)


@pytest.mark.parametrize("seconds", [-1, 0.3])
async def test_expiry_closes(seconds, connect, browsers, settings):
    """A socket closes with 4403 at the end of its credential, also in the handshake. Others stay."""
    settings.REALTIME_AUTHENTICATORS = [f"{__name__}.authenticate"]
    end = timezone.now() + timedelta(seconds=seconds)
    one, two = [await connect(given=Identity("ann", expires_at=at)) for at in (end, end + timedelta(days=30_000))]
    start = time.monotonic()
    assert (one.connected, await end_of(one)) == (True, 4403)
    assert time.monotonic() - start < max(seconds, 0) + 0.5
    assert await is_open(two)


async def test_expiry_is_looked_at(connect, browsers, settings):
    """A clock that is set forward ends sign-ins at the next look."""
    settings.REALTIME_AUTHENTICATORS = [f"{__name__}.authenticate"]
    ann = await connect(given=Identity("ann", expires_at=timezone.now() + timedelta(hours=1)))
    (socket,) = get_process().connections
    socket.sign_in = revalidation.SignIn(Identity("ann", expires_at=timezone.now()), None)
    await look()
    assert await end_of(ann) == 4403


@pytest.mark.parametrize("kind", ["guest", "anonymous", "foreign", "unsaved"])
async def test_users_without_a_row_are_left_alone(kind, connect, database, settings):
    """Guests and users that no table has stay connected."""
    users = {"anonymous": AnonymousUser(), "foreign": "ann", "unsaved": get_user_model()(pk=12)}
    settings.REALTIME_AUTHENTICATORS = [f"{__name__}.authenticate", "realtime.auth.guests.authenticate"]
    client = await connect(given=Identity(users[kind]) if kind in users else None)
    await look()
    assert await is_open(client)


async def test_outage_ends_no_sign_in(connect, browsers, caplog):
    """While the database fails, sockets stay open, and one line is logged for each look-up."""
    ann = await connect(browsers[0])
    table = get_user_model()._meta.db_table

    @sync_to_async
    def rename(old, new):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    await rename(table, "elsewhere")
    try:
        await look()
    finally:
        await rename("elsewhere", table)
    assert "Sign-ins and memberships were not looked up" in caplog.text
    assert await is_open(ann)
    await sync_to_async(lambda: users().update(is_active=False))()
    await look()
    assert await end_of(ann) == 4403


async def test_refreshed_user_does_not_hide_a_new_password(connect, browsers):
    """The password of the handshake counts, whatever a consumer does with its user."""
    ann = await connect(browsers[0])
    (socket,) = get_process().connections
    await sync_to_async(lambda: users().update(password="new"))()
    await socket.user.arefresh_from_db()
    await look()
    assert await end_of(ann) == 4403


# Memberships


@pytest.fixture(params=CLUBS, ids=["async", "sync"])
def join(request, connect, browsers):
    """Return a function that opens a socket of ann that joins groups."""

    async def join(*keys, **options):
        client = await connect(browsers[0], request.param, keys=keys, **options)
        assert await is_open(client)
        return client

    return join


async def test_membership_that_is_not_valid_closes(join, monkeypatch):
    """A socket closes with 4403 when one of the keys of its groups is not found. Others stay."""
    members = {"owner", "member"}
    monkeypatch.setattr(f"{__name__}.tokens", members)
    owner, both = await join("owner"), await join("owner", "member")
    await look()
    assert await is_open(both)
    members.discard("member")
    await look()
    assert await end_of(both) == 4403
    assert await is_open(owner)


async def test_membership_outlives_a_new_sign_in(join):
    """A socket that gets another sign-in still ends with its membership."""
    members = {"member"}
    client = await join("member", find_valid=members.intersection)
    (socket,) = get_process().connections
    socket.follow(revalidation.SignIn(Identity("bob"), None))
    await look()
    assert await is_open(client)
    members.clear()
    await look()
    assert await end_of(client) == 4403


async def test_outage_ends_no_membership(join, caplog):
    """A function that raises closes no socket, and others are asked."""
    failing, other = await join("member", find_valid=find_nothing), await join("member", find_valid=set().intersection)
    await look()
    assert "Sign-ins and memberships were not looked up" in caplog.text
    assert await is_open(failing)
    assert await end_of(other) == 4403


async def test_one_call_looks_up_many_memberships(join, monkeypatch):
    """One call gets the keys of all connections, as many as a look-up has at most."""
    calls = []

    def find(keys):
        calls.append(set(keys))
        return keys

    for keys in (("a", "b"), ("b", "c"), ()):
        await join(*keys, find_valid=find)
    await look()
    assert calls == [{"a", "b", "c"}]
    calls.clear()
    monkeypatch.setattr(revalidation, "BATCH", 2)
    await look()
    assert sorted(map(len, calls)) == [1, 2]
    assert set.union(*calls) == {"a", "b", "c"}


async def test_membership_that_cannot_be_looked_up_is_refused(connect, browsers, caplog):
    """A key is hashable, or the socket closes."""
    for application in CLUBS:
        assert await end_of(await connect(browsers[0], application, keys=[["a", "list"]])) == 1011
    assert caplog.text.count("unhashable type") == 2


# Signals


async def test_deleted_session_closes(connect, browsers):
    """A session that is deleted closes its sockets with 4403 once the transaction is committed."""
    ann, bob = [await connect(browser) for browser in browsers]

    @sync_to_async
    def roll_back():
        with transaction.atomic():
            sessions(browsers[0]).delete()
            transaction.set_rollback(True)

    await roll_back()
    assert await is_open(ann)
    await sync_to_async(sessions(browsers[0]).delete)()
    assert await end_of(ann) == 4403
    assert await is_open(bob)


def deactivate_and_rename():
    user = user_of("ann")
    user.is_active = False
    setattr(user, user.USERNAME_FIELD, "annie")
    user.save()


def set_password():
    user = user_of("ann")
    user.set_password("new")
    user.save()


@pytest.mark.parametrize("end", [deactivate_and_rename, set_password, lambda: user_of("ann").delete()])
async def test_change_of_a_user_closes(end, connect, browsers):
    """Signals of the user model close the user's sockets at once, whichever model it is."""
    ann, bob = [await connect(browser) for browser in browsers]
    await sync_to_async(end)()
    assert await end_of(ann) == 4403
    assert await is_open(bob)


async def test_ended_credential_opens_no_socket(connect, browsers, monkeypatch):
    """A handshake is refused if it found the session in time, and also while the session is still there."""
    process = get_process()
    acquire = process.connection_limit.acquire

    async def delete_first(user, connection):
        await sync_to_async(sessions(browsers[0]).delete)()
        return await acquire(user, connection)

    monkeypatch.setattr(process.connection_limit, "acquire", delete_first)
    assert await end_of(await connect(browsers[0])) == 4403
    monkeypatch.undo()
    credential = credential_of_session(browsers[1].session.session_key)
    await sync_to_async(disconnect_credential)(credential)
    assert await end_of(await connect(browsers[1])) == 4403


async def test_login_as_another_user_closes(connect, browsers):
    """A login over a session ends it. A second login as the same user does not."""
    browser = browsers[0]
    ann, bob = [await connect(one) for one in browsers]
    await sync_to_async(browser.force_login)(await sync_to_async(user_of)("ann"))
    assert await is_open(ann)
    await sync_to_async(browser.force_login)(await sync_to_async(user_of)("bob"))
    assert await end_of(ann) == 4403
    assert await is_open(bob)


@pytest.mark.parametrize("engine", ["cache", "cached_db", "db", "file", "signed_cookies"])
async def test_valid_sessions_are_found(engine, database, settings, tmp_path):
    """Each of Django's engines finds which of its sessions are valid."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    browsers = [await sync_to_async(client_of)(name) for name in ("ann", "bob")]
    keys = {browser.cookies[settings.SESSION_COOKIE_NAME].value for browser in browsers}
    assert set(await sync_to_async(find_valid_sessions)(keys)) == keys
    assert set(await sync_to_async(find_valid_sessions)({*keys, "unknown"})) == keys


@pytest.mark.parametrize("engine", ["cache", "cached_db", "db", "file"])
async def test_logout_closes_with_each_engine(engine, connect, settings, database, tmp_path):
    """A logout closes the sockets, whatever stores the sessions, and the cookie opens no others."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    browsers = [await sync_to_async(client_of)(name) for name in ("ann", "bob")]
    ann, bob = [await connect(browser) for browser in browsers]
    cookies = Client()
    cookies.cookies = browsers[0].cookies.copy()
    await sync_to_async(browsers[0].logout)()
    assert await end_of(ann) == 4403
    again = await connect(cookies)
    assert await end_of(again) in {4401, 4403}
    await look()
    assert await is_open(bob)


# `channels.auth` in a consumer


async def say(client, text):
    await client.send_text(text)
    return (await client.communicator.receive_output(5)).get("text")


async def test_logout_in_a_consumer_closes_its_session(connect, browsers):
    """All sockets of the session close with 4403, and no others of the user."""
    phone = await sync_to_async(client_of)("ann")
    ann, tab, other = await connect(browsers[0]), await connect(browsers[0]), await connect(phone)
    await ann.send_text("logout")
    assert [await end_of(ann), await end_of(tab)] == [4403, 4403]
    assert await is_open(other)


@pytest.fixture
async def visitors(settings):
    settings.REALTIME_AUTHENTICATORS = [
        "realtime.auth.sessions.authenticate",
        "realtime.auth.guests.authenticate",
    ]


@pytest.mark.parametrize("before", ["guest", "ann", "bob"])
async def test_login_in_a_consumer_moves_the_socket(before, connect, browsers, visitors):
    """The socket stays open, and ends with the new session or the new user."""
    ends = [
        lambda key: Session.objects.get(session_key=key).delete(),
        lambda key: Session.objects.filter(session_key=key)._raw_delete("default"),
        lambda key: disconnect_user(str(user_of("bob").pk)),
        lambda key: users("bob").update(password="new"),
    ]
    for end in ends:
        browser = None if before == "guest" else await sync_to_async(client_of)(before)
        client = await connect(browser)
        key = await say(client, "login bob")
        await look()
        assert await is_open(client)
        await sync_to_async(end)(key)
        await look()
        assert await end_of(client) == 4403


async def test_new_key_in_a_consumer_moves_the_socket(connect, browsers):
    """A socket that gives its session a new key stays. Others with the old key close."""
    ann, tab = await connect(browsers[0]), await connect(browsers[0])
    key = await say(ann, "cycle")
    assert await end_of(tab) == 4403
    await look()
    assert await is_open(ann)
    await sync_to_async(Session.objects.filter(session_key=key).delete)()
    assert await end_of(ann) == 4403


async def test_guest_is_a_guest_again_after_a_logout(connect, browsers, visitors):
    """A guest that logs in and out keeps the socket, which no longer ends with the user."""
    client = await connect()
    await say(client, "login bob")
    await say(client, "logout")
    await sync_to_async(disconnect_user)(str((await sync_to_async(user_of)("bob")).pk))
    await look()
    await asyncio.sleep(0.1)
    assert await is_open(client)


async def test_failure_in_one_beat_is_not_the_last_look(monkeypatch, caplog):
    """An unexpected exception is logged, and the next beat looks again."""
    monkeypatch.setattr(revalidation, "SPREAD_SECONDS", 0.01)
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.02)
    looks = asyncio.Semaphore(0)

    class Broken:
        loop = asyncio.get_running_loop()

        @property
        def sign_in(self):
            self.loop.call_soon_threadsafe(looks.release)
            raise RuntimeError("broken")

    task = asyncio.create_task(revalidation.revalidate_forever([Broken()]))
    async with asyncio.timeout(5):
        await looks.acquire()
        await looks.acquire()
    task.cancel()
    assert "Sign-ins and memberships were not looked up" in caplog.text


def test_key_that_cannot_be_looked_up_is_refused():
    """A key is hashable, or the handshake fails."""
    with pytest.raises(TypeError, match="unhashable"):
        Identity(None, key=["a", "list"])
