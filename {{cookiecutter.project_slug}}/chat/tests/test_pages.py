"""Pages of the chat, and its history as JSON."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.test import Client
from pytest_django import Settings

from chat import models
from chat.models import Room
from chat.tests.helpers import BAD_NAMES, store
from config.settings import BASE_DIR
from tests.people import client_of

HISTORY = "/chat/lobby/messages/"

pytestmark = pytest.mark.django_db


def history(**query: Any) -> tuple[list[dict[str, Any]], bool]:
    """Return the messages of a portion of the history, and whether there are more."""
    page = client_of("ann").get(HISTORY, query).json()
    return page["messages"], page["more"]


def store_many(*texts: str) -> list[dict[str, Any]]:
    with transaction.atomic():
        return [store(text, ref=str(number)).event() for number, text in enumerate(texts)]


def test_visitor_reads_what_the_site_is() -> None:
    """The first page has the description of the site, also for search engines."""
    description = (BASE_DIR / "templates" / "site_description.html").read_text()
    page = Client().get("/").content.decode()
    assert f'<p dir="auto">{description}</p>' in page
    assert f'<meta name="description" content="{description}">' in page


def test_first_page_lists_the_rooms() -> None:
    """Each room is a link, its name percent-encoded in the URL and escaped in the page."""
    store("hi", room="a%2Fb & <c>")
    page = client_of("ann").get("/").content.decode()
    assert 'href="/chat/a%252Fb%20&amp;%20%3Cc%3E/"' in page
    assert "a%2Fb &amp; &lt;c&gt;" in page


def test_form_leads_to_a_room() -> None:
    """The form redirects to the room of any name, encoded."""
    response = client_of("ann").get("/", {"room": "日本語"})
    assert response.status_code == 302
    assert response["Location"] == "/chat/%E6%97%A5%E6%9C%AC%E8%AA%9E/"


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65, "a\u202eb"])
def test_form_explains_an_invalid_name(name: str) -> None:
    """An invalid name is answered with the form and the rule."""
    response = client_of("ann").get("/", {"room": name})
    assert response.status_code == 200
    assert "1 to 64 characters" in response.content.decode()


def test_page_of_a_room_has_its_socket_path() -> None:
    """The path is encoded as a URL."""
    page = client_of("ann").get("/chat/caf%C3%A9/").content.decode()
    assert "/ws/chat/caf%C3%A9/" in page


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\0b"])
def test_invalid_room_has_no_page(name: str) -> None:
    """The page of an invalid room is 404, as its socket is 4404."""
    assert client_of("ann").get(f"/chat/{quote(name)}/").status_code == 404


@pytest.mark.parametrize("name", [*BAD_NAMES, "", "a/b", "cafe\u0301"])
def test_models_refuse_what_urls_refuse(name: str) -> None:
    """Validation of a room accepts the names that lead to a page."""
    with pytest.raises(ValidationError):
        Room(name=name).full_clean()
    Room(name="café 👩\u200d🚀").full_clean()


@pytest.mark.parametrize("name", [*BAD_NAMES, "", "a/b"])
def test_invalid_room_in_the_database_breaks_no_list(name: str) -> None:
    """Raw SQL may have stored any name. The other rooms are still links."""
    Room.objects.create(name="lobby")
    Room.objects.create(name="x")
    Room.objects.filter(name="x").update(name=name[:64])
    page = client_of("ann").get("/")
    assert page.status_code == 200
    assert 'href="/chat/lobby/"' in page.content.decode()


NOT_CACHED = ("/", "/chat/lobby/", HISTORY, "/rooms/", "/chat/../")


@pytest.mark.parametrize("path", NOT_CACHED)
def test_pages_are_not_cached(path: str) -> None:
    """The next user of a browser cannot go back to the messages of the last one."""
    assert client_of("ann").get(path)["Cache-Control"] == "no-store"


def test_page_of_a_room_lists_others() -> None:
    """The first rooms are beside the messages, in the order of their names."""
    for name in ("b & c", "Attic"):
        store("hi", room=name)
    page = client_of("ann").get("/chat/lobby/")
    assert page.context["rooms"] == ["Attic", "b & c", "lobby"]
    html = page.content.decode()
    assert '<a href="/chat/b%20&amp;%20c/"><bdi>b &amp; c</bdi></a>' in html
    assert '<a href="/chat/lobby/" aria-current="page"><bdi>lobby</bdi></a>' in html


def test_list_beside_the_messages_is_bounded() -> None:
    """A site with many rooms sends some, and the room itself."""
    Room.objects.bulk_create(Room(name=f"{number:03}") for number in range(40))
    page = client_of("ann").get("/chat/lobby/")
    assert page.context["rooms"] == [*(f"{number:03}" for number in range(30)), "lobby"]


def test_numbers_of_rooms(django_assert_max_num_queries: Any) -> None:
    """The latest number of each existing room takes one query, beside those of the sign-in."""
    for text in ("1", "2"):
        store(text)
    store("1", room="a & b")
    ann = client_of("ann")
    asked = ["lobby", "a & b", "nowhere", "", "a\0", "x" * 999]
    with django_assert_max_num_queries(3):
        answer = ann.get("/rooms/", {"room": asked})
    assert answer.json() == {"rooms": {"lobby": 2, "a & b": 1}}
    assert ann.get("/rooms/").json() == {"rooms": {}}
    many = [*(f"{number:03}" for number in range(30)), "lobby"]
    assert ann.get("/rooms/", {"room": many}).json() == {"rooms": {}}


def test_history_comes_in_portions() -> None:
    """`after` or `before`, and `limit`, choose a portion, oldest first. `more` reports others."""
    messages = store_many("0", "1", "2", "3")
    for query, expected in (
        ({}, (messages, False)),
        ({"after": 1, "limit": 1}, (messages[1:2], True)),
        ({"after": 4}, ([], False)),
        ({"limit": 9**99}, (messages, False)),
        ({"before": 4, "limit": 2}, (messages[1:3], True)),
        ({"before": 2}, (messages[:1], False)),
        ({"before": 1}, ([], False)),
        ({"before": 9**99}, (messages, False)),
    ):
        assert history(**query) == expected


def test_portion_is_bounded_in_bytes(settings: Settings) -> None:
    """A portion holds what fits, at least one message. Backwards these are the newest."""
    messages = store_many(*["🐌" * 1000] * 4)
    assert "🐌".encode() in client_of("ann").get(HISTORY).content
    for limit, query, expected in (
        (9000, {}, (messages[:2], True)),
        (9000, {"after": 2}, (messages[2:], False)),
        (9000, {"before": 4}, (messages[1:3], True)),
        (9000, {"before": 3}, (messages[:2], False)),
        (1, {}, (messages[:1], True)),
    ):
        settings.REALTIME_MAX_REPLAY_BYTES = limit
        assert history(**query) == expected


def test_portion_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A portion is complete, however few rows are read at a time."""
    monkeypatch.setattr(models, "ROWS", 2)
    messages = store_many(*"01234")
    assert history() == (messages, False)
    assert history(before=5) == (messages[:4], False)
    assert history(limit=3) == (messages[:3], True)


@pytest.mark.parametrize(
    "query", [{"after": "x"}, {"limit": "-1"}, {"after": ""}, {"before": "x"}, {"before": ""}]
)
def test_invalid_portion_is_refused(query: dict[str, str]) -> None:
    """An invalid number is answered with 400 and the rule."""
    response = client_of("ann").get(HISTORY, query)
    assert response.status_code == 400
    assert "not a number of at least 0" in json.loads(response.content)["error"]
