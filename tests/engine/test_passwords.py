"""Sign-ins with a password, counted by name and by address."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.contrib.auth import aauthenticate, authenticate, get_user_model, login
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from engine.people import user_of
from realtime.auth.forms import PasswordChangeForm
from realtime.auth.models import Throttle, of_address
from realtime.auth.throttle import TooManyRequests

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"
NAMES, ADDRESSES = 3, 8  # failures


@pytest.fixture(autouse=True)
def ann(settings):
    settings.AUTHENTICATION_BACKENDS = ["realtime.auth.backends.PasswordBackend"]
    settings.REALTIME_MAX_NAME_FAILURES = NAMES
    settings.REALTIME_MAX_ADDRESS_FAILURES = ADDRESSES
    user = user_of("ann")
    user.set_password(PASSWORD)
    user.save()
    return user


def request_from(address):
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    request.session = import_module("django.contrib.sessions.backends.db").SessionStore()
    return request


def log_in(password, address, name="ann"):
    """Return whether a name and password sign in from an address. Raise TooManyRequests."""
    request = request_from(address)
    user = authenticate(request, username=name, password=password)
    if user is not None:
        login(request, user)
    return user is not None


def fail(times, address=ELSEWHERE, name="ann"):
    assert not any(log_in("wrong", address, name) for _ in range(times))


def has_to_wait(password, address, name="ann"):
    """Return the seconds that an attempt has to wait."""
    with pytest.raises(TooManyRequests) as refusal:
        log_in(password, address, name)
    return refusal.value.seconds


def let_pass(seconds):
    """Move all waits into the past by this time."""
    Throttle.objects.update(retry_at=F("retry_at") - timedelta(seconds=seconds))


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_failures_of_a_name_make_everybody_wait(name, monkeypatch):
    """The right password does not help. A wait does not show whether there is an account."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    fail(NAMES, name=name)
    assert has_to_wait(PASSWORD, HOME, name) == 30


def test_the_wait_ends_and_grows():
    """Each further failure doubles it, up to a quarter of an hour."""
    fail(NAMES)
    for seconds in (30, 60, 120, 240, 480, 900, 900):
        let_pass(seconds - 5)
        assert has_to_wait(PASSWORD, ELSEWHERE) <= 5
        let_pass(10)
        fail(1)
    let_pass(900)
    assert log_in(PASSWORD, ELSEWHERE)


def test_failures_are_forgotten():
    """A day later the next failure is the first, and `manage.py cleanup` deletes the old ones."""
    fail(NAMES)
    let_pass(90_000)
    fail(NAMES)
    let_pass(90_000)
    call_command("cleanup", verbosity=0)
    assert Throttle.objects.count() == 0


def test_strangers_do_not_lock_out_the_owner():
    """An address where the owner signed in before has failures of its own."""
    assert log_in(PASSWORD, HOME)
    fail(NAMES)
    assert has_to_wait(PASSWORD, ELSEWHERE)
    assert log_in(PASSWORD, HOME)
    fail(NAMES, HOME)
    assert has_to_wait(PASSWORD, HOME)


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (ELSEWHERE, ELSEWHERE, True),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_failures_of_an_address_count_for_all_names(first, second, waits):
    """An IPv6 network of 2**64 addresses counts as one."""
    for number in range(ADDRESSES):
        fail(1, first, f"nobody{number}")
    if waits:
        assert has_to_wait(PASSWORD, second)
    else:
        assert log_in(PASSWORD, second)


def test_success_does_not_count():
    """People who know their password never wait."""
    assert all(log_in(PASSWORD, HOME) for _ in range(ADDRESSES + 1))


def test_refusal_writes_nothing():
    """A refused client does not make others wait for the database."""
    fail(NAMES)
    with CaptureQueriesContext(connection) as queries:
        assert has_to_wait(PASSWORD, ELSEWHERE)
    assert {query["sql"].partition(" ")[0] for query in queries} == {"SELECT"}


async def test_async_code_waits_too(ann):
    """Whatever calls authenticate() is throttled, with a request or without one."""
    for number in range(NAMES):
        request = RequestFactory().get("/") if number % 2 else None
        assert await aauthenticate(request, username="ann", password="wrong") is None
    with pytest.raises(TooManyRequests):
        await aauthenticate(username="ann", password=PASSWORD)


def test_user_name_may_have_another_field():
    """`authenticate()` takes the name of the model's field as well."""
    field = get_user_model().USERNAME_FIELD
    assert authenticate(None, **{field: "ann", "password": PASSWORD}) == user_of("ann")


@pytest.mark.parametrize("credentials", [{}, {"username": "ann"}, {"username": "a\0", "password": PASSWORD}])
def test_incomplete_credentials_are_not_counted(credentials):
    """Other backends may understand them."""
    assert authenticate(None, **credentials) is None
    assert Throttle.objects.count() == 0


def test_signal_without_request_is_accepted(ann):
    """`channels.auth.login()` sends none."""
    user_logged_in.send(type(ann), request=None, user=ann)
    assert Throttle.objects.count() == 0


def test_guesses_of_the_old_password_are_throttled(ann):
    """An open browser does not give away the password. The right one does not count."""
    for password in [PASSWORD] * NAMES + ["wrong"] * NAMES:
        form = PasswordChangeForm(ann, {"old_password": password})
        assert ("old_password" in form.errors) == (password == "wrong")
    with pytest.raises(TooManyRequests):
        PasswordChangeForm(ann, {"old_password": PASSWORD}).is_valid()


def test_unknown_addresses_have_no_limit(settings):
    """A trusted proxy that names no client stands for many of them."""
    settings.FORWARDED_ALLOW_IPS = []
    assert of_address(request_from(HOME), "sign-ups") == {f"sign-ups from {HOME}": ADDRESSES}
    assert of_address(request_from(""), "sign-ups") == of_address(None, "sign-ups") == {}


def test_refusal_within_an_attempt_does_not_count():
    """Nothing was attempted."""
    with pytest.raises(TooManyRequests), Throttle.attempt({"key": 1}):
        raise TooManyRequests(5)
    assert list(Throttle.objects.values_list("failures", flat=True)) == [0]
