"""Notifications from Django code, and the sockets of the bell."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from conftest import Visit
from notifications.models import Notification, count_unread, mark_read
from notifications.notify import anotify, notify, notify_many
from realtime.testing import SocketClient
from tests.people import id_of, user_of

BELL = "/ws/notifications/"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def ann() -> User:
    """Ann, who has read her welcome."""
    user = user_of("ann")
    mark_read(user.pk, 1, Notification.objects.latest("pk").pk)
    return user


async def open_bell(visit: Visit, query: str = "", name: str = "ann") -> tuple[SocketClient, Any]:
    """Return a socket, and the count in its welcome."""
    socket = await visit(BELL + query, name)
    return socket, (await socket.receive())["unread"]


async def receive_texts(socket: SocketClient, count: int) -> list[str]:
    """Return the texts of the next notifications."""
    events = [await socket.receive() for _ in range(count)]
    return [event["text"] for event in events]


async def test_notification_reaches_all_pages_of_the_user_only(visit: Visit, ann: User) -> None:
    """Each page gets the same event. Another user gets none."""
    (one, _), (other, _) = [await open_bell(visit) for _ in range(2)]
    stranger, _ = await open_bell(visit, name="bob")
    notification = await anotify(ann, "Done", "/reports/")
    event = await one.receive()
    assert event == {**notification.event(), "seq": 3}  # after the welcome, which was read
    assert (event["text"], event["url"]) == ("Done", "/reports/")
    assert await other.receive() == event
    assert await stranger.receives_nothing()


async def test_welcome_has_the_count(visit: Visit, ann: User) -> None:
    """The first event has the user, the number of the latest event, and the unread ones."""
    await sync_to_async(notify_many)([ann] * 3, "Done")
    socket = await visit(BELL)
    who = {"user": "ann", "user_id": await sync_to_async(id_of)("ann")}
    assert await socket.receive() == {"type": "welcome", **who, "seq": 5, "unread": 3}
    assert await socket.receives_nothing()


def test_thousand_unread_cost_one_query(ann: User) -> None:
    """The count and the number of the latest event are read by one statement."""
    notify_many([ann] * 1000, "Done")
    with CaptureQueriesContext(connection) as queries:
        assert count_unread(ann.pk) == (1002, 1000)
    assert len(queries) == 1


async def test_missed_notifications_come_once(visit: Visit, ann: User) -> None:
    """A list that reconnects gets what it missed, and then what is new."""
    socket, _ = await open_bell(visit)
    await anotify(ann, "one")
    seq = (await socket.receive())["seq"]
    await socket.disconnect()
    for text in ("two", "three"):
        await anotify(ann, text)
    socket, unread = await open_bell(visit, f"?after={seq}")
    assert unread == 3
    await anotify(ann, "four")
    assert await receive_texts(socket, 3) == ["two", "three", "four"]
    assert await socket.receives_nothing()


async def test_read_in_one_page_is_read_in_all(visit: Visit, ann: User) -> None:
    """Each page gets the range that was read, and how many of it were unread. Twice is once."""
    first, *_, last = await sync_to_async(notify_many)([ann] * 3, "Done")
    (one, _), (other, _) = [await open_bell(visit) for _ in range(2)]
    for _ in range(2):
        await one.send(type="read", first=first.pk, last=last.pk - 1)
    event = {"type": "read", "first": first.pk, "last": last.pk - 1, "count": 2, "seq": 6}
    assert (await one.receive(), await other.receive()) == (event, event)
    assert await one.receives_nothing()
    assert (await open_bell(visit))[1] == 1


async def test_notifications_of_others_stay_unread(visit: Visit) -> None:
    """The ids of another user's notifications change nothing."""
    stranger, _ = await open_bell(visit, name="bob")  # with a welcome
    ann, _ = await open_bell(visit)
    await ann.send(type="read", first=1, last=2**62)
    assert await ann.receives_nothing()
    assert await stranger.receives_nothing()
    assert (await open_bell(visit, name="bob"))[1] == 1


@pytest.mark.parametrize("ids", [{}, {"first": 0, "last": 1}, {"first": True, "last": 2}])
async def test_bad_ids_are_refused(visit: Visit, ids: dict[str, Any]) -> None:
    """The connection stays open."""
    socket, _ = await open_bell(visit)
    await socket.send(type="read", **ids)
    assert (await socket.receive())["code"] == "bad_message"
    await socket.send(type="send")
    assert (await socket.receive())["code"] == "unknown_type"


async def test_bad_number_is_refused(visit: Visit) -> None:
    """The page gets its count, and what is new."""
    socket, _ = await open_bell(visit, "?after=x")
    assert (await socket.receive())["code"] == "bad_message"
    assert await socket.receives_nothing()


async def test_strangers_have_no_bell(visit: Visit) -> None:
    """A visitor who is not signed in gets 4401."""
    assert await (await visit(BELL, None)).close_code() == 4401


async def test_nothing_is_sent_before_the_commit(visit: Visit, ann: User) -> None:
    """A transaction that is rolled back leaves no notification, and its number is used again."""
    socket, _ = await open_bell(visit)

    def notify_and_fail() -> None:
        with transaction.atomic():
            notify(ann, "Lost")
            transaction.set_rollback(True)

    await sync_to_async(notify_and_fail)()
    await anotify(ann.pk, "Done")
    event = await socket.receive()
    assert (event["text"], event["seq"]) == ("Done", 3)


@pytest.mark.parametrize("url", ["", "/", "/a?b=c#d", "http://example.com", "https://a.example/b"])
def test_urls_lead_to_pages(ann: User, url: str) -> None:
    """A URL is a path of this site, or of http or https."""
    assert notify(ann, "Done", url).url == url


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "//evil.example", "/\\evil.example", "/\t/evil.example", "a", "data:x"],
)
def test_other_urls_are_refused(ann: User, url: str) -> None:
    """No URL runs a script, or leads to another site under the name of this one."""
    with pytest.raises(ValidationError):
        notify(ann, "Done", url)


@pytest.mark.parametrize("text", ["", " \n", "x" * 501, "a\0b"])
def test_bad_texts_are_refused(ann: User, text: str) -> None:
    """A text has 1 to 500 characters that can be stored, and one that can be clicked on."""
    with pytest.raises(ValidationError):
        notify(ann, text)


def test_many_users_are_notified_in_few_queries() -> None:
    """The number of queries does not grow with the number of users."""
    names = [f"user-{number}" for number in range(300)]
    users = User.objects.bulk_create(User(username=name, display_name=name) for name in names)
    with CaptureQueriesContext(connection) as queries:
        assert len(notify_many([*users, *users], "Done")) == 600
    assert len(queries) < 30
    assert {count_unread(user.pk) for user in users} == {(2, 2)}
