"""Mails about what stays unread, and the deletion of old notifications."""

from contextlib import nullcontext
from datetime import timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPSenderRefused
from threading import Barrier, Thread
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from notifications.management.commands.email_unread import claim
from notifications.models import Notification, mark_read
from notifications.notify import notify, notify_many
from realtime.mail import site_name
from tests.people import user_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ann(settings: Settings) -> User:
    """Ann, with her welcome."""
    settings.ALLOWED_ORIGINS = ["https://chat.example.com"]
    return user_of("ann")


def pass_time(**time: int) -> None:
    """Let all notifications be older."""
    Notification.objects.update(created_at=timezone.now() - timedelta(**time))


def test_user_gets_one_mail_about_what_stays_unread(ann: User) -> None:
    """The mail lists the texts and links to the page. The next run has nothing to send."""
    notify(ann, "Done", "/reports/")
    call_command("email_unread")
    assert mail.outbox == []
    pass_time(minutes=61)
    notify(ann, "Too new")
    for _ in range(2):
        call_command("email_unread")
    (message,) = mail.outbox
    assert message.to == ["ann@example.com"]
    assert message.subject == f"{site_name()}: 2 unread notifications"
    link = f"{site_name()}: https://chat.example.com/notifications/"
    assert message.body == f"- Welcome, ann!\n- Done\n\n{link}"


def test_mail_links_to_a_page_that_browsers_open(settings: Settings) -> None:
    """Apps and wildcards among the origins are passed over. Without any other, nothing is sent."""
    pass_time(minutes=61)
    settings.ALLOWED_ORIGINS = ["capacitor://localhost", "https://*.example.com"]
    with pytest.raises(CommandError, match="ALLOWED_ORIGINS: mails cannot link"):
        call_command("email_unread")
    settings.ALLOWED_ORIGINS += ["https://site.example.com", "https://other.example.com"]
    call_command("email_unread")
    assert mail.outbox[0].body.endswith(": https://site.example.com/notifications/")


def test_users_are_read_once(ann: User) -> None:
    """A user with many unread notifications is one row of the list."""
    notify_many([ann] * 99, "Done")
    pass_time(minutes=61)
    with CaptureQueriesContext(connection) as queries:
        call_command("email_unread")
    assert "SELECT DISTINCT" in queries[0]["sql"]


def test_long_mail_is_short(ann: User) -> None:
    """A mail lists twenty, and counts the others."""
    notify_many([ann] * 24, "Done")
    pass_time(minutes=61)
    call_command("email_unread")
    assert mail.outbox[0].body.splitlines()[19:21] == ["- Done", "and 5 more"]


def test_users_without_need_get_no_mail(ann: User) -> None:
    """Nothing is sent if all is read, the account is inactive, or has no address."""
    mark_read(ann.pk, 1, 2**62)
    for name in ("bob", "cem"):
        user_of(name)
    User.objects.filter(display_name="bob").update(is_active=False)
    User.objects.filter(display_name="cem").update(email="")
    pass_time(minutes=61)
    call_command("email_unread")
    assert mail.outbox == []


def test_nothing_is_claimed_without_a_mail_server(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty EMAIL_URL is reported, and the mails are sent once there is one."""
    email, settings.EMAIL = settings.EMAIL, {}
    pass_time(minutes=61)
    call_command("email_unread")
    assert "EMAIL_URL is empty" in capsys.readouterr().out
    settings.EMAIL = email
    call_command("email_unread")
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (OSError("no mail server"), False),
        (SMTPSenderRefused(550, b"not you", "site@example.com"), False),
        (SMTPRecipientsRefused({"ann@example.com": (450, b"later")}), False),
        (SMTPRecipientsRefused({"ann@example.com": (550, b"unknown")}), True),
        (SMTPDataError(452, b"full"), False),
        (SMTPDataError(554, b"spam"), True),
        (ValueError("Invalid address"), True),
    ],
)
def test_mail_that_failed_is_sent_later(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_final: bool
) -> None:
    """The other users get theirs. The command fails, and its next run sends what is missing.

    What would fail again is not sent again.
    """
    user_of("bob")
    pass_time(minutes=61)
    send = EmailMessage.send

    def fail(message: EmailMessage, *args: Any, **options: Any) -> int:
        if message.to == ["ann@example.com"]:
            raise error
        return send(message, *args, **options)

    failure = nullcontext() if is_final else pytest.raises(CommandError, match="1 mails failed")
    with monkeypatch.context() as patch, failure:
        patch.setattr(EmailMessage, "send", fail)
        call_command("email_unread")
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]
    call_command("email_unread")
    later = [] if is_final else [["ann@example.com"]]
    assert [message.to for message in mail.outbox] == [["bob@example.com"], *later]


def test_invalid_address_holds_up_nothing(ann: User) -> None:
    """An imported user may have an address that no mail can have. The others get their mails."""
    user_of("bob")
    User.objects.filter(pk=ann.pk).update(email="ann\n@example.com")
    pass_time(minutes=61)
    call_command("email_unread")
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]


@pytest.mark.django_db(transaction=True)
def test_each_is_claimed_by_one_of_two_commands(ann: User) -> None:
    """Commands that run at once share the notifications between them."""
    pass_time(minutes=61)
    together, found = Barrier(8), []

    def run() -> None:
        together.wait()
        found.extend(claim(ann.pk))
        connections.close_all()

    threads = [Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [notification.text for notification in found] == ["Welcome, ann!"]


def test_old_notifications_are_deleted(ann: User, capsys: pytest.CaptureFixture[str]) -> None:
    """`manage.py cleanup` deletes those older than NOTIFICATIONS_DAYS, read or not."""
    pass_time(days=366)
    notify(ann, "New")
    call_command("cleanup")
    assert "Deleted 1 notifications." in capsys.readouterr().out
    assert Notification.objects.get().text == "New"
