"""Passwords: attempts to guess them, changes, and links to a new one."""

import re
from threading import current_thread

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import Settings

from accounts.models import User
from realtime.auth.forms import mails
from realtime.mail import site_name
from tests.people import login_of

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
FAILURES = 3


@pytest.fixture(autouse=True)
def ann(settings: Settings) -> User:
    settings.REALTIME_MAX_NAME_FAILURES = settings.REALTIME_MAX_RESETS = FAILURES
    return User.objects.create_superuser("ann", "ann@example.com", PASSWORD)


@pytest.mark.parametrize("page", ["/accounts/login/", "/admin/login/"])
def test_failures_of_a_name_make_everybody_wait(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has the seconds. The right password does not help, nor does the admin."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    client = Client(headers={"Accept": "text/html"})
    for password in ["wrong"] * FAILURES + [PASSWORD]:
        answer = client.post(page, {"username": login_of("ann"), "password": password})
    assert (answer.status_code, answer["Retry-After"]) == (429, "30")
    text = answer.content.decode()
    assert "Too many attempts. Try again in 30 seconds." in text
    assert '<main id="main">' in text


def signed_in() -> Client:
    client = Client()
    client.force_login(User.objects.get(username="ann"))
    return client


def helps(page: str) -> list[str]:
    """Return the lines of help in a form, without those of lists."""
    return re.findall(r'class="helptext"[^>]*>(.*?)</', page)


def test_user_changes_the_password() -> None:
    """The own session stays, and others end. The admin leads to the same page."""
    here, elsewhere = signed_in(), signed_in()
    assert here.get("/admin/password_change/")["Location"] == "/accounts/password_change/"
    assert 'href="/accounts/password_change/"' in here.get("/accounts/").content.decode()
    page = here.get("/accounts/password_change/").content.decode()
    assert helps(page) == ["Your password must contain at least 8 characters."]
    new = "another horse battery"
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    answer = here.post("/accounts/password_change/", fields, follow=True)
    assert "You stay logged in here" in answer.content.decode()
    page = "/accounts/password_change/"
    assert (here.get(page).status_code, elsewhere.get(page).status_code) == (200, 302)
    assert User.objects.get().check_password(new)


def test_guesses_of_the_old_password_are_throttled() -> None:
    """An open browser does not give away the password."""
    client = signed_in()
    statuses = [
        client.post("/accounts/password_change/", {"old_password": "wrong"}).status_code
        for _ in range(FAILURES + 1)
    ]
    assert statuses == [200] * FAILURES + [429]


def ask_for_link(email: str, language: str = "en") -> tuple[int, str]:
    """Return the answer to a request for a link, once the mails have been sent."""
    client = Client(headers={"Accept": "text/html", "Accept-Language": language})
    answer = client.post("/accounts/password_reset/", {"email": email}, follow=True)
    mails.submit(str).result()
    text = re.sub(r"\s+", " ", strip_tags(answer.content.decode()))
    return answer.status_code, text


def test_link_leads_to_a_new_password(mailoutbox: list[EmailMessage]) -> None:
    """The new password also signs in. The link works once."""
    login = Client().get("/accounts/login/").content.decode()
    assert 'href="/accounts/password_reset/"' in login
    assert ask_for_link("Ann@example.com")[0] == 200
    ((link,),) = [re.findall(r"http://testserver(\S+)", str(mail.body)) for mail in mailoutbox]
    client, new = Client(), "another horse battery"
    form = client.get(link, follow=True)
    page = form.redirect_chain[-1][0]
    assert helps(form.content.decode()) == ["Your password must contain at least 8 characters."]
    fields = {"new_password1": new, "new_password2": new}
    answer = client.post(page, fields, follow=True)
    assert "You are logged in." in answer.content.decode()
    assert client.get("/accounts/password_change/").status_code == 200
    assert User.objects.get().check_password(new)
    assert "used before" in Client().get(link).content.decode()


def test_mail_is_in_the_language_of_the_page(mailoutbox: list[EmailMessage]) -> None:
    """The thread that sends mails has the language of the request. They have the site's name."""
    assert ask_for_link("ann@example.com", "de")[0] == 200
    (mail,) = mailoutbox
    assert mail.subject == f"Passwort auf {site_name()} zurücksetzen"
    assert site_name() in mail.body


def test_link_does_not_show_whether_there_is_an_account(mailoutbox: list[EmailMessage]) -> None:
    """The answers are the same, also when there were too many requests."""
    answers = {
        email: [ask_for_link(email) for _ in range(FAILURES + 1)]
        for email in ("ann@example.com", "nobody@example.com")
    }
    ann, nobody = answers.values()
    assert ann == nobody
    assert [status for status, _ in ann] == [200] * FAILURES + [429]
    assert len(mailoutbox) == FAILURES


def test_mail_server_does_not_delay_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails are sent in another thread, so that the time does not show an account either."""
    threads = []
    monkeypatch.setattr(EmailMessage, "send", lambda _: threads.append(current_thread()))
    ask_for_link("ann@example.com")
    assert [thread.name for thread in threads] == ["mails_0"]
