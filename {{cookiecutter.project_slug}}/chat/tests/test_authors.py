"""Messages and the accounts of their authors."""

import pytest
from asgiref.sync import sync_to_async

from accounts.models import User
from chat.models import Message, Room
from conftest import Visit
from tests.people import id_of

LOBBY = "/ws/chat/lobby/"

pytestmark = pytest.mark.django_db(transaction=True)


async def test_users_of_one_display_name_have_their_own_refs(visit: Visit) -> None:
    """Both messages are stored, each under the id of its author."""
    ids = {await sync_to_async(id_of)(name) for name in ("ann", "bob")}
    await User.objects.aupdate(display_name="Sam")
    ann, bob = await visit(LOBBY, "ann"), await visit(LOBBY, "bob")
    await ann.receive_until("welcome")
    for sam in (ann, bob):
        await sam.send(type="send", ref="same", text="hi")
        await ann.receive_until("message")
    assert {user_id async for user_id in Message.objects.values_list("user_id", flat=True)} == ids


async def test_messages_outlive_their_account(visit: Visit) -> None:
    """A new account with the name of a deleted one has another id and owns nothing of before."""
    ann = await visit(LOBBY, "ann")
    await ann.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi")
    before = (await ann.receive_until("message"))[-1]
    await sync_to_async((await User.objects.aget(username="ann")).delete)()
    assert await ann.close_code() == 4403
    again = await visit(LOBBY, "ann")
    welcome, replayed = [await again.receive() for _ in range(2)]
    assert replayed == before
    assert welcome["user_id"] != before["user_id"]
    await again.send(type="send", ref="a1", text="hi again")
    after = (await again.receive_until("message"))[-1]
    assert (after["seq"], after["user_id"]) == (2, welcome["user_id"])
    assert (await Room.objects.aget()).created_by == before["user_id"]


async def test_messages_keep_the_display_name_of_their_time(visit: Visit) -> None:
    """A rename changes what is written later, in every new connection."""
    ann = await visit(LOBBY, "ann")
    await ann.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi")
    await ann.receive_until("message")
    await User.objects.aupdate(display_name="Ann B.")
    again = await visit(LOBBY, "ann")
    welcome, first = [await again.receive() for _ in range(2)]
    await again.send(type="send", ref="a2", text="hi")
    second = await again.receive()
    assert [event["user"] for event in (welcome, first, second)] == ["Ann B.", "ann", "Ann B."]
    assert first["user_id"] == second["user_id"] == welcome["user_id"]
