"""Rooms: who may create them, and the list of them, for visitors and in the admin."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import F
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from chat.models import Message, Room, store_message
from chat.views import ROOMS_PER_PAGE as SIZE
from realtime.protocol import EventError
from tests.conftest import Visit
from tests.people import client_of

NAMES = [f"room {number:03}" for number in range(2 * SIZE + 1)]

pytestmark = pytest.mark.django_db(transaction=True)


def create_rooms(*names: str) -> None:
    Room.objects.bulk_create(Room(name=name, seq=1) for name in names)


def page(path: str) -> str:
    return client_of("ann").get(path).content.decode()


def names_on(page: str) -> list[str]:
    """Return the names in the list."""
    return re.findall(r'<a href="/chat/[^"]+" dir="auto">([^<]+)</a>', page)


def pages(path: str, rel: str) -> Iterator[list[str]]:
    """Follow the links to the next or the previous page until there is none."""
    client = client_of("ann")
    while path:
        html = client.get(path).content.decode()
        yield names_on(html)
        link = re.search(rf'<a rel="{rel}" href="([^"]+)"', html)
        path = f"/{link[1].replace('&amp;', '&')}" if link else ""


async def test_a_user_creates_a_number_of_rooms_a_day(visit: Visit, settings: Settings) -> None:
    """One more is refused with the time to wait, and existing rooms stay open to everybody."""
    settings.CHAT_ROOMS_PER_DAY = 1
    ann, bob = await visit("/ws/chat/attic/"), await visit("/ws/chat/attic/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi")
    await ann.receive_until("message")
    elsewhere = await visit("/ws/chat/lobby/")
    await elsewhere.receive_until("welcome")
    await elsewhere.send(type="send", ref="a2", text="hi")
    error = await elsewhere.receive()
    assert 0 < error.pop("retry_after") <= 24 * 3600
    detail = "You may create 1 room a day. Use an existing room, or try again later."
    assert error == {"type": "error", "code": "rate_limited", "detail": detail, "ref": "a2"}
    assert await Room.objects.acount() == 1
    await ann.send(type="send", ref="a3", text="hi")
    await ann.receive_until("message")
    await bob.send(type="send", ref="b1", text="hi")
    assert [(await bob.receive())["ref"] for _ in range(3)] == ["a1", "a3", "b1"]


def test_a_new_day_allows_new_rooms(settings: Settings) -> None:
    """Rooms that are older than a day do not count, nor do those of others."""
    settings.CHAT_ROOMS_PER_DAY = 2
    for user, room in (("ann", "1"), ("bob", "2"), ("ann", "3")):
        store_message(room, user, user, "r", "hi")
    with pytest.raises(EventError):
        store_message("4", "ann", "ann", "r", "hi")
    Room.objects.filter(name="1").update(created_at=F("created_at") - timedelta(days=1))
    store_message("4", "ann", "ann", "r", "hi")
    with pytest.raises(EventError):
        store_message("5", "ann", "ann", "r", "hi")
    assert dict(Room.objects.values_list("name", "created_by")) == {
        "1": "ann",
        "2": "bob",
        "3": "ann",
        "4": "ann",
    }


def test_simultaneous_messages_do_not_exceed_the_limit(settings: Settings) -> None:
    """The user's other transactions wait until a room is created."""
    settings.CHAT_ROOMS_PER_DAY = 3

    def create(number: int) -> bool:
        try:
            store_message(f"room {number}", "ann", "ann", "r", "hi")
        except EventError:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(24))) == 3
    assert Room.objects.count() == 3


def test_pages_follow_one_another() -> None:
    """Each room is on one page, in both directions."""
    create_rooms(*NAMES)
    parts = [NAMES[:SIZE], NAMES[SIZE : 2 * SIZE], NAMES[2 * SIZE :]]
    assert list(pages("/", "next")) == parts
    assert list(pages(f"/?after={NAMES[2 * SIZE - 1]}", "prev")) == parts[::-1]


def test_the_first_page_is_full() -> None:
    """Going back from the middle of the first page leads to all of it."""
    create_rooms(*NAMES)
    assert list(pages(f"/?after={NAMES[2]}", "prev"))[1:] == [NAMES[:SIZE]]


def test_one_page_has_no_links_to_others() -> None:
    """A navigation is there when there is somewhere to go."""
    create_rooms(*NAMES[:SIZE])
    assert "<nav" not in page("/")
    create_rooms(*NAMES[SIZE:])
    assert "<nav" in page("/")


def test_a_page_takes_one_query(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Beside those that find out who asks."""
    client.force_login(get_user_model().objects.create_user("ann"))
    create_rooms(*NAMES)
    with django_assert_max_num_queries(3):
        assert names_on(client.get("/").content.decode()) == NAMES[:SIZE]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("LOBBY", ["The Lobby", "lobby"]),
        ("日", ["日本語"]),
        ("%", ["100%"]),
        ("_", []),
        (" lobby ", ["The Lobby", "lobby"]),
        ("x" * 100_000, []),
        ("lob\0by", ["The Lobby", "lobby"]),
    ],
    ids=["case", "script", "percent", "underscore", "spaces", "long", "nul"],
)
def test_rooms_are_found_by_a_part_of_the_name(query: str, found: list[str]) -> None:
    """Every character stands for itself."""
    create_rooms("attic", "The Lobby", "lobby", "日本語", "100%")
    html = client_of("ann").get("/", {"q": query}).content.decode()
    assert sorted(names_on(html)) == sorted(found)
    assert ("No room was found" in html) == (not found)


def test_pages_keep_the_search() -> None:
    """What is found is paged like the whole list."""
    create_rooms("attic", *NAMES, "zoo")
    assert list(pages("/?q=ROOM", "next")) == list(pages("/?after=b&q=room", "next"))
    assert [len(names) for names in pages("/?q=ROOM", "next")] == [SIZE, SIZE, 1]


@pytest.mark.parametrize("path", ["/?after=zzz", "/?after=%00", "/?before=%00", "/?q=%00"])
def test_an_odd_page_is_a_page(path: str) -> None:
    """Beyond the end, or with characters that no room has."""
    create_rooms("attic")
    assert client_of("ann").get(path).status_code == 200


def test_an_empty_site_leads_to_a_room() -> None:
    """There is nothing to search."""
    html = page("/")
    assert 'href="/chat/lobby/"' in html
    assert "search" not in html


def test_the_list_counts_what_is_there() -> None:
    """A room whose oldest messages were deleted does not count them."""
    for number in range(4):
        store_message("lobby", "ann", "ann", f"a{number}", "hi")
    Message.objects.filter(seq__lt=3).delete()
    assert "2 messages" in page("/")
    Message.objects.all().delete()
    assert "0 messages" in page("/")


def test_the_admin_finds_rooms_by_name(admin_client: Client) -> None:
    """The list of messages has a field for one room, and no list of all rooms."""
    for room in ("attic", "lobby"):
        store_message(room, "ann", "ann", "a1", f"hi {room}")
    query = {"app_label": "chat", "model_name": "message", "field_name": "room", "term": "LOB"}
    [found] = admin_client.get("/admin/autocomplete/", query).json()["results"]
    assert found == {"id": str(Room.objects.get(name="lobby").pk), "text": "lobby"}
    messages = "/admin/chat/message/"
    html = admin_client.get(messages).content.decode()
    assert re.findall("hi attic|hi lobby", html) == ["hi lobby", "hi attic"]
    assert "<option" not in html.partition('id="changelist-filter"')[2]
    html = admin_client.get(messages, {"room__id__exact": found["id"], "q": "hi"}).content.decode()
    assert re.findall("hi attic|hi lobby", html) == ["hi lobby"]
    assert '<input type="hidden" name="q" value="hi">' in html
    assert "selected>lobby</option>" in html


def test_staff_create_any_number_in_the_admin(admin_client: Client, settings: Settings) -> None:
    """The room stores its creator, and the limit is that of the chat alone."""
    settings.CHAT_ROOMS_PER_DAY = 0
    with pytest.raises(EventError):
        store_message("attic", "1", "admin", "a1", "hi")
    add = reverse(f"admin:chat_{Room._meta.model_name}_add")
    assert admin_client.post(add, {"name": "hall"}).status_code == 302
    room = Room.objects.get()
    creator = str(get_user_model().objects.get().pk)
    assert (room.created_by, room.created_by_name) == (creator, "admin")


def test_rooms_are_kept(admin_client: Client) -> None:
    """Without its room, messages would be numbered from 1 again."""
    store_message("lobby", "ann", "ann", "a1", "hi")
    delete = f"admin:chat_{Room._meta.model_name}_delete"
    assert admin_client.get(reverse(delete, args=[Room.objects.get().pk])).status_code == 403
