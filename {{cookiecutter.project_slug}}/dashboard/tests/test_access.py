"""Access to the dashboard: for staff, or for everybody with `DASHBOARD_PUBLIC`."""

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from pytest_django import Settings

from conftest import Visit
from realtime.process import get_process
from realtime.revalidation import revalidate
from tests.people import client_of, user_of

PAGE, SOCKET = "/dashboard/", "/ws/dashboard/"

pytestmark = pytest.mark.django_db


def hire(name: str, *, staff: bool = True) -> None:
    """Make a user staff, or not any more, without a signal."""
    type(user_of(name)).objects.filter(pk=user_of(name).pk).update(is_staff=staff)


def test_page_is_for_staff(settings: Settings) -> None:
    """Strangers are asked to log in, and other users refused, unless the page is public."""
    visitors = stranger, ann = Client(), client_of("ann")
    assert stranger.get(PAGE)["Location"] == f"/accounts/login/?next={PAGE}"
    assert ann.get(PAGE).status_code == 403
    hire("bob")
    assert client_of("bob").get(PAGE).status_code == 200
    settings.DASHBOARD_PUBLIC = True
    assert [visitor.get(PAGE).status_code for visitor in visitors] == [200, 200]


@pytest.mark.parametrize("name", [None, "ann"])
async def test_socket_is_for_staff(visit: Visit, settings: Settings, name: str | None) -> None:
    """For others the socket does not exist, unless it is public."""
    assert await (await visit(SOCKET, name)).close_code() == 4404
    settings.DASHBOARD_PUBLIC = True
    assert (await (await visit(SOCKET, name)).receive())["type"] == "welcome"


async def test_former_staff_lose_the_socket(visit: Visit) -> None:
    """The next look-up closes it."""
    await sync_to_async(hire)("bob")
    bob = await visit(SOCKET, "bob")
    await bob.receive_until("welcome")
    await revalidate(list(get_process().connections))
    assert await bob.receives_nothing()
    await sync_to_async(hire)("bob", staff=False)
    await revalidate(list(get_process().connections))
    assert await bob.close_code() == 4403
