"""Rooms: who may create them, and the list of them."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models import F
from pytest_django import DjangoAssertNumQueries, Settings

from chat.models import Message, Room
from chat.tests.helpers import store
from chat.views import ROOMS_PER_PAGE as SIZE
from realtime.protocol import EventError
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


def test_new_day_allows_new_rooms(settings: Settings) -> None:
    """Rooms older than a day do not count, nor do those of other users."""
    settings.CHAT_ROOMS_PER_DAY = 2
    for user, room in (("ann", "1"), ("bob", "2"), ("ann", "3")):
        store("hi", room=room, user=user)
    with pytest.raises(EventError):
        store("hi", room="4", user="ann")
    Room.objects.filter(name="1").update(created_at=F("created_at") - timedelta(days=1))
    store("hi", room="4", user="ann")
    with pytest.raises(EventError):
        store("hi", room="5", user="ann")
    creators = dict(Room.objects.values_list("name", "created_by"))
    assert creators == {"1": "ann", "2": "bob", "3": "ann", "4": "ann"}


def test_simultaneous_messages_do_not_exceed_the_limit(settings: Settings) -> None:
    """The user's other transactions wait until a room is created."""
    settings.CHAT_ROOMS_PER_DAY = 3

    def create(number: int) -> bool:
        try:
            store("hi", room=f"room {number}", user="ann")
        except EventError:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(24))) == 3
    assert Room.objects.count() == 3


def test_rooms_are_listed_page_by_page() -> None:
    """Each room is on one page, in both directions, and the first page is a full one."""
    create_rooms(*NAMES[:SIZE])
    assert 'aria-label="Pages"' not in page("/")
    create_rooms(*NAMES[SIZE:])
    assert 'aria-label="Pages"' in page("/")
    parts = [NAMES[:SIZE], NAMES[SIZE : 2 * SIZE], NAMES[2 * SIZE :]]
    assert list(pages("/", "next")) == parts
    assert list(pages(f"/?after={NAMES[2 * SIZE - 1]}", "prev")) == parts[::-1]
    assert list(pages(f"/?after={NAMES[2]}", "prev"))[1:] == [NAMES[:SIZE]]


def test_page_takes_one_query(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    """A page takes one query beside the two that find the visitor."""
    create_rooms(*NAMES)
    client = client_of("ann")
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
    """Every character of a query matches itself."""
    create_rooms("attic", "The Lobby", "lobby", "日本語", "100%")
    html = client_of("ann").get("/", {"q": query}).content.decode()
    assert sorted(names_on(html)) == sorted(found)
    assert ("No room was found" in html) == (not found)


def test_pages_keep_the_search() -> None:
    """Found rooms are paged like the whole list."""
    create_rooms("attic", *NAMES, "zoo")
    assert list(pages("/?q=ROOM", "next")) == list(pages("/?after=b&q=room", "next"))
    assert [len(names) for names in pages("/?q=ROOM", "next")] == [SIZE, SIZE, 1]


@pytest.mark.parametrize("path", ["/?after=zzz", "/?after=%00", "/?before=%00", "/?q=%00"])
def test_odd_page_is_a_page(path: str) -> None:
    """A page beyond the end, or with characters that no room has, is not an error."""
    create_rooms("attic")
    assert client_of("ann").get(path).status_code == 200


def test_empty_site_leads_to_a_room() -> None:
    """Without rooms the page links to one, and offers no search."""
    html = page("/")
    assert 'href="/chat/lobby/"' in html
    assert "search" not in html


def test_list_counts_stored_messages() -> None:
    """Deleted messages of a room are not counted."""
    for number in range(4):
        store(str(number))
    Message.objects.filter(seq__lt=3).delete()
    assert "2 messages" in page("/")
    Message.objects.all().delete()
    assert "0 messages" in page("/")
