"""Pages of devices, and their sockets."""

import re

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from conftest import Visit
from devices.commands import send_command
from devices.messages import AnswerMessage, ReadingMessage, StatusMessage
from devices.models import Command, Device
from devices.storing import store_messages
from tests.people import client_of

pytestmark = pytest.mark.django_db

LIST, PAGE = "/devices/", "/devices/one/"


@sync_to_async
def measure(*numbers: int, name: str = "one") -> None:
    """Store readings as the bridge does. Each value is the number."""
    store_messages([ReadingMessage(name, number, number, None) for number in numbers])


def html_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_list_has_the_devices() -> None:
    """A page shows fifty devices, and leads to the others."""
    Device.objects.bulk_create(Device(name=f"device-{number:02}") for number in range(60))
    ann = client_of("ann")
    first, second = html_of(ann, LIST), html_of(ann, f"{LIST}?after=device-49")
    assert [html.count("data-device=") for html in (first, second)] == [50, 10]
    assert "?after=device-49" in first
    assert "No device has sent" not in first


def test_page_has_the_history() -> None:
    """The newest readings come first. Older ones are a link away."""
    store_messages([ReadingMessage("one", number, number, None) for number in range(1, 31)])
    ann = client_of("ann")
    assert html_of(ann, PAGE).count("<time") == 20
    assert html_of(ann, f"{PAGE}?after=11").count("<time") == 10
    assert html_of(ann, f"{PAGE}?after=x").count("<time") == 20
    assert ann.get("/devices/none/").status_code == 404


async def test_list_is_live(visit: Visit) -> None:
    """The socket gets values, and learns that a device came or went."""
    ann = await visit("/ws/devices/")
    assert (await ann.receive())["type"] == "welcome"
    await measure(1)
    assert await ann.receive() == {"type": "values", "values": {"one": 1}}
    await sync_to_async(store_messages)([StatusMessage("one", True)] * 2)
    assert await ann.receive() == {"type": "changed"}
    await sync_to_async(store_messages)([StatusMessage("one", True)])
    await ann.send(type="send")
    assert (await ann.receive())["code"] == "unknown_type"


async def test_page_is_live(visit: Visit) -> None:
    """The socket gets the readings that it has missed, and new ones, and learns of changes."""
    await measure(5, 6, 7)
    device = await Device.objects.aget()
    ann = await visit("/ws/devices/one/?after=1")
    assert (await ann.receive())["type"] == "welcome"
    readings = [await ann.receive() for _ in range(2)]
    assert [(one["seq"], one["value"]) for one in readings] == [(2, 6), (3, 7)]
    await measure(8)
    assert (await ann.receive())["seq"] == 4
    command = await sync_to_async(send_command)(device, "blink", "ann")
    await sync_to_async(store_messages)([AnswerMessage("one", command.pk, "done")])
    assert [await ann.receive() for _ in range(2)] == [{"type": "changed"}] * 2
    states = [StatusMessage("one", True), StatusMessage("one", False)]
    await sync_to_async(store_messages)(states)
    assert await ann.receive() == {"type": "changed"}
    assert not await Device.objects.filter(is_online=True).aexists()


def test_page_has_the_latest_commands() -> None:
    """Ten are shown with their states and answers, the newest first."""
    device = Device.objects.create(name="one")
    commands = [send_command(device, f"command {number}", "ann") for number in range(12)]
    store_messages([AnswerMessage("one", commands[11].pk, "<done>")])
    html = html_of(client_of("ann"), PAGE)
    assert re.findall(r"command \d+", html) == [f"command {number}" for number in range(11, 1, -1)]
    assert (html.count("Waiting"), html.count("Answered"), html.count("&lt;done&gt;")) == (9, 1, 1)


async def test_unknown_device_has_no_socket(visit: Visit) -> None:
    """The socket is closed with 4404."""
    assert await (await visit("/ws/devices/none/")).close_code() == 4404


def test_visitors_send_no_commands() -> None:
    """The page has no form for them, and the path refuses them."""
    Device.objects.create(name="one")
    ann = client_of("ann")
    assert "<textarea" not in html_of(ann, PAGE) and "/commands/" not in html_of(ann, PAGE)
    assert ann.post(f"{PAGE}commands/", {"text": "blink"}).status_code == 403
    assert not Command.objects.exists()
