"""Conversations in the admin."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from assistant.models import Conversation, Turn
from assistant.tests.helpers import begin
from realtime.work.models import Job, State
from realtime.work.testing import run_all
from tests.people import user_of

pytestmark = pytest.mark.django_db

CONVERSATIONS = "/admin/assistant/conversation/"


def test_staff_find_and_read_conversations(admin_client: Client) -> None:
    """Staff see questions and answers, and cannot write any."""
    conversation = begin("ann", "How are you?")
    begin("bob", "Who are you?")
    run_all()
    html = admin_client.get(CONVERSATIONS, {"q": "ann"}).content.decode()
    assert ("How are you?" in html, "Who are you?" in html) == (True, False)
    path = f"{CONVERSATIONS}{conversation.pk}/change/"
    assert "Fine, thanks." in admin_client.get(path).content.decode()
    assert admin_client.post(path, {"title": "x"}).status_code == 403
    assert admin_client.get(f"{CONVERSATIONS}add/").status_code == 403


def test_staff_delete_conversations(admin_client: Client) -> None:
    """A deletion in the list takes the turns with it."""
    conversation = begin("ann", "q")
    fields = {"action": "delete_selected", "_selected_action": [conversation.pk], "post": "yes"}
    admin_client.post(CONVERSATIONS, fields)
    assert (Conversation.objects.count(), Turn.objects.count()) == (0, 0)


def test_staff_need_a_permission() -> None:
    """Without one, staff see no conversation. To view is not to delete."""
    user = user_of("ann")
    user.is_staff = True
    user.save()
    conversation = begin("bob", "q")
    ann = Client()
    ann.force_login(user)
    assert ann.get(CONVERSATIONS).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    assert ann.get(CONVERSATIONS).status_code == 200
    assert ann.get(f"{CONVERSATIONS}{conversation.pk}/delete/").status_code == 403


def test_conversations_of_a_deleted_user_are_deleted() -> None:
    """The model is not asked for a user that is gone, and other users keep what they have."""
    begin("ann", "How are you?")
    begin("bob", "Who are you?")
    user_of("ann").delete()
    assert [found.title for found in Conversation.objects.all()] == ["Who are you?"]
    run_all()
    assert [turn.answer for turn in Turn.objects.all()] == ["Fine, thanks."]
    assert set(Job.objects.values_list("user_name", "state")) == {
        ("ann", State.CANCELLED),
        ("bob", State.DONE),
    }
