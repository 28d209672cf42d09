"""Passwords: attempts to guess them, changes, and links to a new one."""

import re
from datetime import timedelta
from threading import current_thread

import pytest
from django.contrib.auth import aauthenticate
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.db.models import F
from django.test import Client, RequestFactory
from django.utils.html import strip_tags

from accounts.forms import mails
from accounts.models import SignInAttempt, User
from realtime.auth.throttle import TooManyRequests
from tests.people import login_of

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"
PAGES = ["/accounts/login/", "/admin/login/"]


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(SignInAttempt, "NAME_LIMIT", 3)
    monkeypatch.setattr(SignInAttempt, "ADDRESS_LIMIT", 8)
    return User.objects.create_superuser("ann", "ann@example.com", PASSWORD)


def log_in(password: str, address: str, name: str = "ann", page: str = PAGES[0]) -> int:
    """Return the status of the answer to a name and password from an address."""
    client = Client(REMOTE_ADDR=address, headers={"Accept": "text/html"})
    return client.post(page, {"username": login_of(name), "password": password}).status_code


def fail(times: int, address: str = ELSEWHERE, name: str = "ann") -> None:
    assert {log_in("wrong", address, name) for _ in range(times)} == {200}


def let_pass(seconds: int) -> None:
    """Move all waits into the past by this time."""
    SignInAttempt.objects.update(retry_at=F("retry_at") - timedelta(seconds=seconds))


@pytest.mark.parametrize("page", PAGES)
def test_failures_of_a_name_make_everybody_wait(page: str) -> None:
    """The answer has the seconds. The right password does not help, nor does the admin."""
    fail(SignInAttempt.NAME_LIMIT)
    client = Client(REMOTE_ADDR=HOME, headers={"Accept": "text/html"})
    answer = client.post(page, {"username": login_of("ann"), "password": PASSWORD})
    assert (answer.status_code, answer["Retry-After"]) == (429, "30")
    assert "Too many attempts. Try again in 30 seconds." in answer.content.decode()


def test_names_without_an_account_wait_too() -> None:
    """A wait does not show whether there is an account."""
    fail(SignInAttempt.NAME_LIMIT, name="nobody")
    assert log_in(PASSWORD, HOME, "nobody") == 429


def test_the_wait_ends_and_grows() -> None:
    """Each further failure doubles it, up to a quarter of an hour."""
    fail(SignInAttempt.NAME_LIMIT)
    for seconds in (30, 60, 120, 240, 480, 900, 900):
        let_pass(seconds - 5)
        assert log_in(PASSWORD, ELSEWHERE) == 429
        let_pass(10)
        fail(1)
    let_pass(900)
    assert log_in(PASSWORD, ELSEWHERE) == 302


def test_failures_are_forgotten() -> None:
    """A day later the next failure is the first, and `manage.py cleanup` deletes the old ones."""
    fail(SignInAttempt.NAME_LIMIT)
    let_pass(90_000)
    fail(SignInAttempt.NAME_LIMIT)
    let_pass(90_000)
    call_command("cleanup", verbosity=0)
    assert SignInAttempt.objects.count() == 0


def test_strangers_do_not_lock_out_the_owner() -> None:
    """An address where the owner signed in before has failures of its own."""
    assert log_in(PASSWORD, HOME) == 302
    fail(SignInAttempt.NAME_LIMIT)
    assert log_in(PASSWORD, ELSEWHERE) == 429
    assert log_in(PASSWORD, HOME) == 302
    fail(SignInAttempt.NAME_LIMIT, HOME)
    assert log_in(PASSWORD, HOME) == 429


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (ELSEWHERE, ELSEWHERE, 429),
        ("2001:db8::1", "2001:db8::ffff", 429),
        ("2001:db8::1", "2001:db8:0:1::1", 200),
    ],
)
def test_failures_of_an_address_count_for_all_names(first: str, second: str, status: int) -> None:
    """An IPv6 network of 2**64 addresses counts as one."""
    for number in range(SignInAttempt.ADDRESS_LIMIT):
        fail(1, first, f"nobody{number}")
    assert log_in("wrong", second) == status


def test_success_does_not_count() -> None:
    """People who know their password never wait."""
    answers = {log_in(PASSWORD, HOME) for _ in range(SignInAttempt.ADDRESS_LIMIT + 1)}
    assert answers == {302}


async def test_async_code_waits_too() -> None:
    """Whatever calls authenticate() is throttled, with a request or without one."""
    request = RequestFactory().get("/")
    for number in range(SignInAttempt.NAME_LIMIT):
        sent = request if number % 2 else None
        assert await aauthenticate(sent, username=login_of("ann"), password="wrong") is None
    with pytest.raises(TooManyRequests):
        await aauthenticate(username=login_of("ann"), password=PASSWORD)


def signed_in() -> Client:
    client = Client()
    client.force_login(User.objects.get(username="ann"))
    return client


def test_user_changes_the_password() -> None:
    """The own session stays, and others end. The admin leads to the same page."""
    here, elsewhere = signed_in(), signed_in()
    assert here.get("/admin/password_change/")["Location"] == "/accounts/password/"
    assert 'href="/accounts/password/"' in here.get("/").content.decode()
    new = "another horse battery"
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    answer = here.post("/accounts/password/", fields, follow=True)
    assert "You stay logged in here" in answer.content.decode()
    assert (here.get("/").status_code, elsewhere.get("/").status_code) == (200, 302)
    assert User.objects.get().check_password(new)


def test_guesses_of_the_old_password_are_throttled() -> None:
    """An open browser does not give away the password."""
    client = signed_in()
    statuses = [
        client.post("/accounts/password/", {"old_password": "wrong"}).status_code
        for _ in range(SignInAttempt.NAME_LIMIT + 1)
    ]
    assert statuses == [200] * SignInAttempt.NAME_LIMIT + [429]


def ask_for_link(email: str) -> tuple[int, str]:
    """Return the answer to a request for a link, once the mails have been sent."""
    client = Client(headers={"Accept": "text/html"})
    answer = client.post("/accounts/reset/", {"email": email}, follow=True)
    mails.submit(str).result()
    text = re.sub(r"\s+", " ", strip_tags(answer.content.decode()))
    return answer.status_code, text


def test_link_leads_to_a_new_password(mailoutbox: list[EmailMessage]) -> None:
    """The page after it is signed in. The link works once."""
    login = Client().get("/accounts/login/").content.decode()
    assert 'href="/accounts/reset/"' in login
    assert ask_for_link("Ann@example.com")[0] == 200
    ((link,),) = [re.findall(r"http://testserver(\S+)", str(mail.body)) for mail in mailoutbox]
    client, new = Client(), "another horse battery"
    page = client.get(link, follow=True).redirect_chain[-1][0]
    fields = {"new_password1": new, "new_password2": new}
    assert client.post(page, fields)["Location"] == "/"
    assert client.get("/").status_code == 200
    assert User.objects.get().check_password(new)
    assert "used before" in Client().get(link).content.decode()


def test_link_does_not_show_whether_there_is_an_account(mailoutbox: list[EmailMessage]) -> None:
    """The answers are the same, also when there were too many requests."""
    answers = {
        email: [ask_for_link(email) for _ in range(SignInAttempt.RESET_LIMIT + 1)]
        for email in ("ann@example.com", "nobody@example.com")
    }
    ann, nobody = answers.values()
    assert ann == nobody
    assert [status for status, _ in ann] == [200] * SignInAttempt.RESET_LIMIT + [429]
    assert len(mailoutbox) == SignInAttempt.RESET_LIMIT


def test_mail_server_does_not_delay_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails are sent in another thread, so that the time does not show an account either."""
    threads = []
    monkeypatch.setattr(EmailMessage, "send", lambda _: threads.append(current_thread()))
    ask_for_link("ann@example.com")
    assert [thread.name for thread in threads] == ["mails_0"]
