"""The page of an account."""

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from realtime.auth.forms import mails

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
PAGE = "/accounts/"
ADDRESS = "ann@example.com"


@pytest.fixture
def client() -> Client:
    """Return the browser of a user without an e-mail address."""
    client = Client(headers={"Accept": "text/html"})
    client.force_login(User.objects.create_user("ann", password=PASSWORD))
    return client


def save(client: Client, email: str, password: str = PASSWORD) -> tuple[int, str]:
    """Return the status and the page after an address was entered."""
    answer = client.post(PAGE, {"email": email, "current_password": password})
    return answer.status_code, answer.content.decode()


def test_user_adds_an_address(client: Client, mailoutbox: list[EmailMessage]) -> None:
    """Every page links to the account. A link to a new password then goes to the address."""
    assert f'href="{PAGE}"' in client.get("/").content.decode()
    assert "is saved" not in client.get(PAGE).content.decode()
    assert "Your e-mail address is saved." in save(client, ADDRESS)[1]
    assert f'value="{ADDRESS}"' in client.get(PAGE).content.decode()
    Client().post("/accounts/password_reset/", {"email": ADDRESS})
    mails.submit(str).result()
    assert [mail.to for mail in mailoutbox] == [[ADDRESS]]


@pytest.mark.parametrize(
    ("email", "password", "error"),
    [
        (ADDRESS, "wrong", "The password is wrong."),
        (ADDRESS, "", "This field is required."),
        ("ann@", PASSWORD, "Enter a valid email address."),
    ],
)
def test_wrong_forms_change_nothing(client: Client, email: str, password: str, error: str) -> None:
    """The page explains what is wrong."""
    status, page = save(client, email, password)
    assert (status, error in page, "is saved" in page) == (200, True, False)
    assert User.objects.get().email == ""


def test_guesses_of_the_password_are_throttled(client: Client, settings: Settings) -> None:
    """Those on the page for a new password count, too."""
    settings.REALTIME_MAX_NAME_FAILURES = 2
    client.post("/accounts/password_change/", {"old_password": "wrong"})
    statuses = [save(client, ADDRESS, guess)[0] for guess in ("wrong", PASSWORD)]
    assert (statuses, User.objects.get().email) == ([200, 429], "")


def test_stranger_may_log_in() -> None:
    """The login leads back to the page."""
    assert Client().get(PAGE)["Location"] == f"/accounts/login/?next={PAGE}"
