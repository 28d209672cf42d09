"""The pages, the history, and the probes."""

import json
import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from chat import models
from chat.models import Message, store_message
from config.settings import BASE_DIR
from tests.people import client_of

TEMPLATES = [*BASE_DIR.glob("templates/**/*.html"), *BASE_DIR.glob("*/templates/**/*.html")]

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_first_page_lists_the_rooms() -> None:
    """Each room is a link, its name percent-encoded in the URL and escaped in the page."""
    store_message("a%2Fb & <c>", "ann", "a1", "hi")
    page = client_of("ann").get("/").content.decode()
    assert 'href="/chat/a%252Fb%20&amp;%20%3Cc%3E/"' in page
    assert "a%2Fb &amp; &lt;c&gt;" in page


def test_the_form_leads_to_a_room() -> None:
    """Any name is encoded on the way."""
    response = client_of("ann").get("/", {"room": "日本語"})
    assert (response.status_code, response["Location"]) == (
        302,
        "/chat/%E6%97%A5%E6%9C%AC%E8%AA%9E/",
    )


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65])
def test_the_form_explains_what_a_room_is(name: str) -> None:
    """A name that cannot be is no error page."""
    response = client_of("ann").get("/", {"room": name})
    assert response.status_code == 200
    assert "1 to 64 characters" in response.content.decode()


def test_a_rooms_page_knows_its_socket() -> None:
    """The path is encoded as a URL."""
    page = client_of("ann").get("/chat/caf%C3%A9/").content.decode()
    assert "/ws/chat/caf%C3%A9/" in page


@pytest.mark.parametrize("path", ["/chat/a%00b/", "/chat/../", f"/chat/{'x' * 65}/"])
def test_what_cannot_be_a_room_has_no_page(path: str) -> None:
    """It is 404, as on the socket."""
    assert client_of("ann").get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/chat/lobby/", "/chat/lobby/messages/", "/chat/../"])
def test_no_cache_keeps_a_page(path: str) -> None:
    """Whoever uses the browser next cannot go back to what was said."""
    assert client_of("ann").get(path)["Cache-Control"] == "no-store"


def test_the_history_comes_in_portions() -> None:
    """`after` and `limit` choose the portion, `more` says whether to go on."""
    client = client_of("ann")
    messages = [store_message("lobby", "ann", f"a{n}", str(n))[0].event() for n in range(3)]
    history = "/chat/lobby/messages/"
    assert client.get(history).json() == {"messages": messages, "more": False}
    assert client.get(history, {"after": 1, "limit": 1}).json() == {
        "messages": messages[1:2],
        "more": True,
    }
    assert client.get(history, {"after": 3}).json() == {"messages": [], "more": False}
    assert client.get(history, {"limit": 9**99}).json()["more"] is False


def test_the_history_goes_backwards_too() -> None:
    """`before` wants the last ones before it, still oldest first, and `more` means older ones."""
    client = client_of("ann")
    messages = [store_message("lobby", "ann", f"a{n}", str(n))[0].event() for n in range(4)]
    history = "/chat/lobby/messages/"
    assert client.get(history, {"before": 4, "limit": 2}).json() == {
        "messages": messages[1:3],
        "more": True,
    }
    assert client.get(history, {"before": 2}).json() == {"messages": messages[:1], "more": False}
    assert client.get(history, {"before": 1}).json() == {"messages": [], "more": False}
    assert client.get(history, {"before": 9**99}).json() == {"messages": messages, "more": False}


def test_a_page_of_history_is_bounded_in_bytes(settings: Settings) -> None:
    """It holds what fits, at least one message; backwards these are the newest."""
    client = client_of("ann")
    messages = [store_message("lobby", "ann", f"a{n}", "🐌" * 1000)[0].event() for n in range(4)]
    path = "/chat/lobby/messages/"
    assert "🐌".encode() in client.get(path).content
    settings.REALTIME_MAX_REPLAY_BYTES = 9000
    assert client.get(path).json() == {"messages": messages[:2], "more": True}
    assert client.get(path, {"after": 2}).json() == {"messages": messages[2:], "more": False}
    assert client.get(path, {"before": 4}).json() == {"messages": messages[1:3], "more": True}
    assert client.get(path, {"before": 3}).json() == {"messages": messages[:2], "more": False}
    settings.REALTIME_MAX_REPLAY_BYTES = 1
    assert client.get(path).json() == {"messages": messages[:1], "more": True}


def test_a_page_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is complete, whatever the number of rows that are read at a time."""
    monkeypatch.setattr(models, "ROWS", 2)
    client = client_of("ann")
    messages = [store_message("lobby", "ann", f"a{n}", str(n))[0].event() for n in range(5)]
    path = "/chat/lobby/messages/"
    assert client.get(path).json() == {"messages": messages, "more": False}
    assert client.get(path, {"before": 5}).json() == {"messages": messages[:4], "more": False}
    assert client.get(path, {"limit": 3}).json() == {"messages": messages[:3], "more": True}


@pytest.mark.parametrize(
    "query", [{"after": "x"}, {"limit": "-1"}, {"after": ""}, {"before": "x"}, {"before": ""}]
)
def test_a_bad_portion_is_refused(query: dict[str, str]) -> None:
    """The answer says what a number is."""
    response = client_of("ann").get("/chat/lobby/messages/", query)
    assert response.status_code == 400
    assert "not a number of at least 0" in json.loads(response.content)["error"]


@pytest.mark.parametrize(
    "path", ["/", "/chat/lobby/", "/chat/lobby/messages/", "/admin/login/", "/nowhere/"]
)
def test_a_page_runs_only_files_of_the_site(path: str) -> None:
    """What somebody might smuggle into a page, or load from elsewhere, the browser refuses."""
    assert client_of("ann").get(path)["Content-Security-Policy"] == (
        "default-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; object-src 'none'"
    )


def test_djangos_pages_for_developers_are_as_they_are(settings: Settings) -> None:
    """They have styles and scripts of their own, and are there in development only."""
    settings.DEBUG = True
    response = client_of("ann").get("/nowhere/")
    assert response.status_code == 404
    assert "Content-Security-Policy" not in response


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_template_has_nothing_inline(template: Path) -> None:
    """The browser would refuse it."""
    inline = r"<style|<script(?![^>]* src=)|\s(style|on\w+)=|javascript:"
    assert re.findall(inline, template.read_text()) == []


def test_static_files_are_named_by_their_content(settings: Settings, tmp_path: Path) -> None:
    """In production, also where one module imports another, so that caches never mix versions."""
    settings.STATIC_ROOT = tmp_path
    static = {"BACKEND": "realtime.storage.StaticStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": static}
    call_command("collectstatic", interactive=False, verbosity=0)
    [importing] = (tmp_path / "chat").glob("client.????????????.js")
    [client] = (tmp_path / "realtime").glob("client.????????????.js")
    assert f'from "../realtime/{client.name}";' in importing.read_text()


def test_probes_are_answered() -> None:
    """Without a login, and in plain text."""
    assert Client().get("/healthz").content == b"ok\n"
    assert Client().get("/readyz").content == b"ready\n"


def test_probes_may_name_an_address(settings: Settings) -> None:
    """As balancers do, which know the process by no other name; pages are for visitors only."""
    settings.ALLOWED_HOSTS = ["chat.example.com"]
    client = Client(headers={"host": "10.0.0.7:8000"})
    paths = ("/healthz", "/readyz", "/metrics", "/")
    assert [client.get(path).status_code for path in paths] == [200, 200, 200, 400]


def test_what_is_away_makes_the_process_unready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe names it; the process itself is still fine."""

    async def fail() -> None:
        raise ConnectionError

    monkeypatch.setattr("realtime.health.probe", fail)
    response = Client().get("/readyz")
    assert (response.status_code, response.content) == (503, b"away: channel layer\n")
    assert Client().get("/healthz").status_code == 200


def test_a_message_is_moderated_in_the_admin(admin_client: Client) -> None:
    """Its text can be changed; adding or deleting would break the numbers."""
    message, _ = store_message("lobby", "ann", "a1", "something rude")
    change = f"/admin/chat/message/{message.pk}/change/"
    assert admin_client.post(change, {"text": "removed"}).status_code == 302
    assert str(Message.objects.get()) == "ann: removed"
    assert admin_client.get("/admin/chat/message/add/").status_code == 403
    assert admin_client.get(change.replace("change", "delete")).status_code == 403
    assert "lobby" in admin_client.get("/admin/chat/room/").content.decode()
