"""Staff: commands from the page, and devices in the admin."""

import pytest
from django.test import Client

from devices.messages import ReadingMessage
from devices.models import Command, Device, Reading
from devices.storing import store_messages

pytestmark = pytest.mark.django_db

PAGE = "/devices/one/"


def test_staff_send_commands(admin_client: Client) -> None:
    """A command is stored with the name of its sender. An empty one, or NUL, is refused."""
    Device.objects.create(name="one")
    assert f"{PAGE}commands/" in admin_client.get(PAGE).content.decode()
    texts = ["blink", "", "\0", "x" * 1001]
    answers = [admin_client.post(f"{PAGE}commands/", {"text": text}) for text in texts]
    assert [answer.status_code for answer in answers] == [302, 400, 400, 400]
    command = Command.objects.get()
    assert (command.text, command.user_name, command.state) == ("blink", "admin", "waiting")


def test_admin_shows_devices(admin_client: Client) -> None:
    """Devices are found and deleted with their readings, but neither added nor edited."""
    store_messages([ReadingMessage("one", 1, 2.5, None)])
    device = Device.objects.get()
    for model, text in (("device", "2.5"), ("command", "0 commands")):
        url = f"/admin/devices/{model}/"
        assert text in admin_client.get(url).content.decode()
        assert admin_client.get(f"{url}add/").status_code == 403
    url = f"/admin/devices/device/{device.pk}/"
    assert admin_client.post(f"{url}change/", {"name": "two"}).status_code == 403
    admin_client.post(f"{url}delete/", {"post": "yes"})
    assert not Reading.objects.exists()
