"""Passwords: the throttle of those who try them."""

from datetime import timedelta

import pytest
from django.contrib.auth import aauthenticate
from django.core.management import call_command
from django.db.models import F
from django.test import Client, RequestFactory

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
