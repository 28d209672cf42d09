"""Private rooms: who enters them, and who adds and removes members."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from chat.models import Member, Message, Room, create_private_room
from chat.tests.helpers import store
from conftest import Visit
from realtime.presence import QUIET_SECONDS
from realtime.process import get_process
from realtime.protocol import EventError
from realtime.revalidation import revalidate
from realtime.routing import socket_path
from realtime.testing import SocketClient
from tests.people import client_of, id_of, login_of, user_of

TEAM = "/chat/~team/"
SOCKET = socket_path("room", "~team")
MEMBERS = f"{TEAM}members/"

pytestmark = pytest.mark.django_db(transaction=True)


def create_team(*names: str) -> Room:
    """Create the private room of Ann, with other members."""
    room = create_private_room("~team", user_of("ann"))
    for name in names:
        room.members.create(user=user_of(name))
    return room


def member(name: str) -> Member:
    return Member.objects.get(user=user_of(name))


def statuses(name: str) -> list[int]:
    """Return the statuses of the pages of the room for a user."""
    client = client_of(name)
    return [client.get(path).status_code for path in (TEAM, f"{TEAM}messages/", MEMBERS)]


async def enter(visit: Visit, name: str) -> SocketClient:
    """Return a socket of a member, after its welcome."""
    client = await visit(SOCKET, name)
    await client.receive_until("welcome")
    return client


def test_user_creates_a_private_room() -> None:
    """The form leads to the page of its members, who are the owner alone."""
    ann = client_of("ann")
    response = ann.post("/private/", {"name": " team "})
    assert (response.status_code, response["Location"]) == (302, MEMBERS)
    page = ann.get(MEMBERS).content.decode()
    assert re.findall("<bdi>(.+)</bdi>", page) == ["ann"]
    assert statuses("ann") == [200, 200, 200]
    room = Room.objects.get()
    assert (room.name, room.created_by, member("ann").is_owner) == ("~team", id_of("ann"), True)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 64, "\u200d", "team"])
def test_bad_name_is_explained(name: str) -> None:
    """The form stays, and no second room of a name is created."""
    create_team()
    response = client_of("bob").post("/private/", {"name": name})
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert Room.objects.count() == 1


def test_private_rooms_count_as_rooms_of_a_day(settings: Settings) -> None:
    """CHAT_ROOMS_PER_DAY limits rooms of both kinds together."""
    settings.CHAT_ROOMS_PER_DAY = 1
    create_team()
    page = client_of("ann").post("/private/", {"name": "other"}).content.decode()
    assert "You may create 1 room a day." in page
    with pytest.raises(EventError):
        store("hi", room="hall", user=id_of("ann"))


async def test_stranger_meets_no_room(visit: Visit) -> None:
    """Page, history, list and socket are the same as without the room."""
    home = await sync_to_async(client_of)("bob")
    for create in (None, create_team):
        if create:
            await sync_to_async(create)()
        assert await sync_to_async(statuses)("bob") == [404, 404, 404]
        assert await (await visit(SOCKET, "bob")).close_code() == 4404
        for path in ("/", "/?q=team", "/chat/lobby/", "/rooms/?room=~team"):
            assert "~team" not in (await sync_to_async(home.get)(path)).content.decode()


async def test_members_talk(visit: Visit) -> None:
    """Members find the room in the list, and see each other and their messages."""
    await sync_to_async(create_team)("bob")
    ann, bob = [await enter(visit, name) for name in ("ann", "bob")]
    await ann.wait_for_users("ann", "bob")
    await bob.send(type="send", ref="b1", text="hi")
    assert (await ann.receive())["text"] == "hi"
    home = await sync_to_async(client_of)("bob")
    page = (await sync_to_async(home.get)("/?q=team")).content.decode()
    assert ">~team</a>" in page
    assert f'href="{MEMBERS}"' in (await sync_to_async(home.get)(TEAM)).content.decode()
    assert "~team" in (await sync_to_async(home.get)("/chat/lobby/")).content.decode()
    numbers = await sync_to_async(home.get)("/rooms/?room=~team")
    assert numbers.json() == {"rooms": {"~team": 1}}


async def test_stranger_is_not_shown_as_present(visit: Visit) -> None:
    """A refused socket never joins the group."""
    await sync_to_async(create_team)()
    ann = await enter(visit, "ann")
    await ann.wait_for_users("ann")
    await asyncio.sleep(2 * QUIET_SECONDS)  # later changes are sent at once
    assert await (await visit(SOCKET, "bob")).close_code() == 4404
    await ann.send(type="ping")
    assert await ann.receive(presence=True) == {"type": "pong"}


def test_owner_adds_members() -> None:
    """The owner types what the member logs in with. Twice is once."""
    create_team()
    for _ in range(2):
        user_of("bob")
        response = client_of("ann").post(MEMBERS, {"user": login_of("bob")})
        assert (response.status_code, response["Location"]) == (302, MEMBERS)
    assert statuses("bob") == [200, 200, 200]
    assert not member("bob").is_owner
    assert Member.objects.count() == 2


def test_unknown_and_inactive_accounts_are_the_same() -> None:
    """The owner learns of no deactivated account."""
    create_team()
    cem = user_of("cem")
    cem.is_active = False
    cem.save()
    pages = []
    for name in ("nobody", "cem"):
        page = client_of("ann").post(MEMBERS, {"user": login_of(name)}).content.decode()
        assert "There is no such account." in page
        pages.append(re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page))
    assert pages[0] == pages[1].replace(login_of("cem"), login_of("nobody"))
    assert Member.objects.count() == 1


def test_members_neither_add_nor_remove() -> None:
    """A member sees the list, and may only leave."""
    create_team("bob", "cem")
    bob = client_of("bob")
    page = bob.get(MEMBERS).content.decode()
    assert re.findall("<bdi>(.+)</bdi>", page) == ["ann", "bob", "cem"]
    assert (page.count("Leave"), "Remove" in page, "Add</button>" in page) == (1, False, False)
    user_of("dan")
    bob.post(MEMBERS, {"user": login_of("dan")})
    for name in ("ann", "cem"):
        assert bob.post(f"{MEMBERS}{member(name).pk}/").status_code == 404
    assert Member.objects.count() == 3
    assert bob.post(f"{MEMBERS}{member('bob').pk}/")["Location"] == "/"
    assert statuses("bob") == [404, 404, 404]


def test_strangers_change_nothing() -> None:
    """A stranger can post to neither page, nor can a member of another room."""
    create_team("bob")
    create_private_room("~other", user_of("eve"))
    eve = client_of("eve")
    assert eve.post(MEMBERS, {"user": login_of("eve")}).status_code == 404
    for path in (MEMBERS, "/chat/~other/members/"):
        assert eve.post(f"{path}{member('bob').pk}/").status_code == 404
    assert Member.objects.count() == 3


def test_owner_stays() -> None:
    """No room loses its owner on this page."""
    create_team()
    assert client_of("ann").post(f"{MEMBERS}{member('ann').pk}/").status_code == 404


def remove_on_the_page() -> None:
    client_of("ann").post(f"{MEMBERS}{member('bob').pk}/")


def remove_in_the_admin() -> None:
    admin = user_of("boss")
    admin.is_staff = admin.is_superuser = True
    admin.save()
    client = Client()
    client.force_login(admin)
    delete = reverse("admin:chat_member_delete", args=[member("bob").pk])
    assert client.post(delete, {"post": "yes"}).status_code == 302


def remove_by_a_query() -> None:
    Member.objects.filter(user=user_of("bob")).delete()


@pytest.mark.parametrize("remove", [remove_on_the_page, remove_in_the_admin, remove_by_a_query])
async def test_removed_member_loses_the_sockets(visit: Visit, remove: Callable[[], None]) -> None:
    """All sockets in the room close with 4403, others stay, and the room is gone for the user."""
    await sync_to_async(create_team)("bob")
    ann, *tabs = [await enter(visit, name) for name in ("ann", "bob", "bob")]
    hall = await visit("/ws/chat/hall/", "bob")
    await hall.receive_until("welcome")
    await ann.wait_for_users("ann", "bob")
    await sync_to_async(remove)()
    assert [await tab.close_code() for tab in tabs] == [4403, 4403]
    await ann.wait_for_users("ann")
    assert await hall.receives_nothing()
    assert await (await visit(SOCKET, "bob")).close_code() == 4404
    assert await sync_to_async(statuses)("bob") == [404, 404, 404]


async def test_member_who_is_removed_while_connecting_is_refused(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal between the check and the join finds no socket in the group."""
    await sync_to_async(create_team)("bob")
    hub = get_process().hub
    join = hub.join

    async def remove_first(*arguments: Any) -> None:
        await sync_to_async(remove_by_a_query)()
        await join(*arguments)

    monkeypatch.setattr(hub, "join", remove_first)
    assert await (await visit(SOCKET, "bob")).close_code() == 4404


@pytest.mark.parametrize("event", [{"type": "send"}, {"type": "edit", "seq": 1}])
async def test_member_who_is_removed_by_raw_sql_stores_nothing(
    visit: Visit, event: dict[str, Any]
) -> None:
    """No process is notified, and the next message or edit closes the socket."""
    await sync_to_async(create_team)("bob")
    await sync_to_async(store)("hello", room="~team", user=await sync_to_async(id_of)("bob"))
    bob = await enter(visit, "bob")
    remove = Member.objects.filter(is_owner=False)._raw_delete
    await sync_to_async(remove)("default")
    await bob.send(**event, ref="b1", text="hi")
    assert await bob.close_code() == 4404
    assert [message.text async for message in Message.objects.all()] == ["hello"]


async def test_member_who_is_removed_by_raw_sql_loses_the_socket(
    visit: Visit,
) -> None:
    """The next look-up closes the socket with 4403. Sockets in open rooms stay."""
    await sync_to_async(create_team)("bob")
    ann, bob = [await enter(visit, name) for name in ("ann", "bob")]
    hall = await visit("/ws/chat/hall/", "bob")
    await hall.receive_until("welcome")
    remove = Member.objects.filter(is_owner=False)._raw_delete
    await sync_to_async(remove)("default")
    await revalidate(list(get_process().connections))
    assert await bob.close_code() == 4403
    assert await hall.receives_nothing()
    await ann.wait_for_users("ann")


async def test_room_outlives_its_owner(visit: Visit) -> None:
    """The members keep the room of a deleted owner, and staff name another in the admin."""
    await sync_to_async(create_team)("bob")
    bob = await enter(visit, "bob")
    await sync_to_async(lambda: user_of("ann").delete())()
    await bob.send(type="send", ref="b1", text="hi")
    assert (await bob.receive_until("message"))[-1]["text"] == "hi"
    await Member.objects.aupdate(is_owner=True)
    assert await sync_to_async(statuses)("bob") == [200, 200, 200]
    assert await sync_to_async(statuses)("ann") == [404, 404, 404]  # a new account of that name


def test_staff_add_members_in_the_admin(admin_client: Client) -> None:
    """The admin finds private rooms only, and makes members of accounts."""
    store("hi", room="teapot", user="eve")
    room = create_team()
    query = {"app_label": "chat", "model_name": "member", "field_name": "room", "term": "TEA"}
    found = admin_client.get("/admin/autocomplete/", query).json()["results"]
    assert found == [{"id": str(room.pk), "text": "~team"}]
    fields = {"room": room.pk, "user": user_of("bob").pk, "is_owner": "on"}
    assert admin_client.post("/admin/chat/member/add/", fields).status_code == 302
    assert (statuses("bob"), member("bob").is_owner) == ([200, 200, 200], True)
    for term, count in ((login_of("bob"), 1), ("team", 2), ("nobody", 0)):
        page = admin_client.get("/admin/chat/member/", {"q": term}).content.decode()
        assert page.count('class="action-select"') == count


async def test_open_rooms_can_be_closed(visit: Visit, settings: Settings) -> None:
    """Without CHAT_OPEN_ROOMS, members have their private rooms, and enter no others."""
    settings.CHAT_OPEN_ROOMS = False
    await sync_to_async(store)("hi", room="hall", user="eve")
    await sync_to_async(create_team)()
    await enter(visit, "ann")
    assert await (await visit("/ws/chat/hall/", "ann")).close_code() == 4404
    get = sync_to_async((await sync_to_async(client_of)("ann")).get)
    for path in ("/chat/hall/", "/chat/hall/messages/", "/chat/new/"):
        assert (await get(path)).status_code == 404
    page = (await get("/")).content.decode()
    assert (">~team</a>" in page, "/private/" in page) == (True, True)
    assert ("hall" in page, 'name="room"' in page) == (False, False)
    assert "hall" not in (await get(TEAM)).content.decode()
    numbers = await get("/rooms/?room=hall&room=~team")
    assert numbers.json() == {"rooms": {"~team": 0}}


def test_without_open_rooms_the_first_one_is_private(settings: Settings) -> None:
    """The empty list leads to no lobby."""
    settings.CHAT_OPEN_ROOMS = False
    page = client_of("ann").get("/").content.decode()
    assert ("/private/" in page, "lobby" in page) == (True, False)
    assert "You are in no room yet." in page
