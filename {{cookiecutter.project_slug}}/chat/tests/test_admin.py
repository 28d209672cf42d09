"""Rooms and messages in the admin."""

import re
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings

from chat.models import Message, Room
from chat.tests.helpers import BAD_NAMES, store
from conftest import Visit
from realtime.protocol import EventError

pytestmark = pytest.mark.django_db


def test_admin_finds_messages_of_a_room(admin_client: Client) -> None:
    """A part of a room's name finds its messages, so does a link. No list of rooms is loaded."""
    store("hi attic", room="attic")
    lobby = store("hi lobby", room="the lobby").room
    messages = "/admin/chat/message/"
    for query, found in (
        ({}, ["hi lobby", "hi attic"]),
        ({"q": "THE hi"}, ["hi lobby"]),
        ({"room__id__exact": str(lobby.pk)}, ["hi lobby"]),
    ):
        html = admin_client.get(messages, query).content.decode()
        assert re.findall("hi attic|hi lobby", html) == found
        assert "<option" not in html.partition('id="changelist-filter"')[2]


def test_staff_create_any_number_in_the_admin(admin_client: Client, settings: Settings) -> None:
    """A room of the admin stores its creator, and the limit is that of the chat alone."""
    settings.CHAT_ROOMS_PER_DAY = 0
    with pytest.raises(EventError):
        store("hi", room="attic", user="admin")
    add = reverse(f"admin:chat_{Room._meta.model_name}_add")
    assert admin_client.post(add, {"name": "hall"}).status_code == 302
    admin = str(get_user_model().objects.get().pk)
    creators = Room.objects.values_list("name", "created_by", "created_by_name")
    assert list(creators) == [("hall", admin, "admin")]


def test_staff_create_what_has_a_page(admin_client: Client) -> None:
    """The admin refuses a name that no URL has, and keeps the name of a room."""
    add = reverse(f"admin:chat_{Room._meta.model_name}_add")
    for name in BAD_NAMES:
        admin_client.post(add, {"name": name})
    assert [room.name for room in Room.objects.all()] == ["a"]  # without the space around it
    change = reverse(f"admin:chat_{Room._meta.model_name}_change", args=[Room.objects.get().pk])
    assert admin_client.post(change, {"name": "b"}).status_code == 302
    assert Room.objects.get().name == "a"


def test_saving_a_room_keeps_its_numbers(rf: RequestFactory) -> None:
    """A message that is stored while staff have the room's page open keeps its number."""
    store("1")
    room = Room.objects.get()
    store("2")
    form = SimpleNamespace(changed_data=[])
    admin.site.get_model_admin(Room).save_model(rf.post("/"), room, form, change=True)
    assert store("3").seq == 3


def test_rooms_are_not_deleted(admin_client: Client) -> None:
    """The admin keeps every room. A new one of its name would number messages from 1 again."""
    room = store("hi").room
    delete = reverse(f"admin:chat_{Room._meta.model_name}_delete", args=[room.pk])
    assert admin_client.get(delete).status_code == 403
    assert "lobby" in admin_client.get("/admin/chat/room/").content.decode()


async def test_moderated_text_reaches_open_pages(visit: Visit, admin_client: Client) -> None:
    """A change in the admin is shown without a reload."""
    message = await sync_to_async(store)("something rude")
    ann = await visit("/ws/chat/lobby/")
    await ann.receive_until("message")
    change = f"/admin/chat/message/{message.pk}/change/"
    await sync_to_async(admin_client.post)(change, {"text": "removed"})
    event = await ann.receive()
    assert (event["type"], event["seq"], event["text"]) == ("edited", 1, "removed")


def test_message_is_moderated_in_the_admin(admin_client: Client) -> None:
    """The text of a message can be changed. Adding or deleting would break the numbers."""
    message = store("something rude")
    change = f"/admin/chat/message/{message.pk}/change/"
    assert admin_client.post(change, {"text": "removed"}).status_code == 302
    assert str(Message.objects.get()) == "bob: removed"
    assert admin_client.get("/admin/chat/message/add/").status_code == 403
    assert admin_client.get(change.replace("change", "delete")).status_code == 403


async def test_emptied_text_is_deleted_for_good(visit: Visit, admin_client: Client) -> None:
    """Neither its author nor a form that was open before brings the text back."""
    message = await sync_to_async(store)("something rude")
    bob = await visit("/ws/chat/lobby/", "bob")
    await bob.receive_until("message")
    change = f"/admin/chat/message/{message.pk}/change/"
    await sync_to_async(admin_client.post)(change, {"text": ""})
    event = await bob.receive()
    assert (event["type"], event["seq"], event["text"]) == ("edited", 1, "")
    await bob.send(type="edit", ref="e1", seq=1, text="something rude")
    assert (await bob.receive())["type"] == "error"
    answer = await sync_to_async(admin_client.post)(change, {"text": "something rude"})
    assert answer.status_code == 403
    assert (await Message.objects.aget()).text == ""
