"""Authentication of sockets by sessions and as guests, and its end."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory

from engine.history import group_of
from engine.people import client_of, cookies_of, user_of
from realtime.auth.guests import GuestMiddleware
from realtime.broadcast import disconnect_user, remove_from_group
from realtime.process import get_process

PATH = "/ws/journal/a/"


async def test_stranger_is_closed(visit):
    """A socket without a sign-in opens, then closes with 4401."""
    stranger = await visit(PATH, None)
    assert (stranger.connected, await stranger.close_code()) == (True, 4401)


async def test_deactivated_user_is_a_stranger(visit):
    """The session of a deactivated user opens nothing."""
    cookies = await sync_to_async(cookies_of)("ann")
    await get_user_model().objects.aupdate(is_active=False)
    ann = await visit(PATH, None, cookies=cookies)
    assert await ann.close_code() == 4401


async def test_disconnect_of_one_credential_keeps_the_others(visit):
    """A disconnect with a credential closes that session's sockets with 4403, and no others."""
    browser, phone = [await sync_to_async(client_of)("ann") for _ in range(2)]
    tab, app = [await visit(PATH, None, cookies=client.cookies) for client in (browser, phone)]
    bob = await visit(PATH, "bob")
    assert await bob.sees("ann", "bob")
    await app.receive_until("welcome")
    first = min(get_process().connections, key=lambda connection: connection.scope["since"])
    await sync_to_async(disconnect_user)(first.user_id, first.sign_in.identity.credential)
    assert await tab.close_code() == 4403
    assert await app.receives_nothing()
    assert await bob.receives_nothing()


async def test_disconnect_closes_every_socket_of_the_user(visit):
    """A disconnect without a credential closes all sockets of the user with 4403, and presence shows it."""
    ann, tab, bob = await visit(PATH), await visit(PATH), await visit(PATH, "bob")
    assert await bob.sees("ann", "bob")
    user = await sync_to_async(user_of)("ann")
    await sync_to_async(disconnect_user)(str(user.pk))
    assert [await ann.close_code(), await tab.close_code()] == [4403, 4403]
    assert await bob.sees("bob")


async def test_removal_closes_the_members_of_the_group(visit):
    """A removal closes the user's sockets in that group with 4403, and no others."""
    ann, elsewhere, bob = await visit(PATH), await visit("/ws/journal/b/"), await visit(PATH, "bob")
    assert await bob.sees("ann", "bob")
    (welcome,) = await elsewhere.receive_until("welcome")
    await sync_to_async(remove_from_group)(group_of("a"), welcome["user_id"])
    assert await ann.close_code() == 4403
    assert await elsewhere.receives_nothing()
    assert await bob.receives_nothing()


async def test_disconnect_during_the_handshake_counts(visit, monkeypatch):
    """A disconnect between the lookup of a session and the open socket closes with 4403."""
    process = get_process()
    acquire = process.connection_limit.acquire

    async def sign_out_first(limits, connection):
        user = next(iter(limits))
        process.bus.on_disconnect(user, None)
        return await acquire(limits, connection)

    monkeypatch.setattr(process.connection_limit, "acquire", sign_out_first)
    ann = await visit(PATH)
    assert (ann.connected, await ann.close_code()) == (True, 4403)
    monkeypatch.undo()
    assert (await (await visit(PATH)).receive())["type"] == "welcome"


@pytest.mark.django_db
def test_guest_middleware_keeps_a_guest():
    """A visitor gets a random id, which the session keeps. Probes get none."""
    session = SessionStore()

    def guest_of(path):
        request = RequestFactory().get(path)
        request.session = session
        GuestMiddleware(lambda request: None)(request)
        return getattr(request, "guest", None)

    assert guest_of("/healthz") is None
    guest = guest_of("/")
    assert guest == guest_of("/other/")
    assert guest.pk == session["guest_id"]
