"""The page of the dashboard, and its socket."""

import json

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from conftest import Visit
from dashboard.events import FEED, KEPT, figures_event
from realtime.feeds.events import append
from realtime.figures.ticker import tickers
from tests.people import client_of

SOCKET = "/ws/dashboard/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def public(settings: Settings) -> None:
    """Let everybody watch."""
    settings.DASHBOARD_PUBLIC = True


def publish_figures(count: int) -> None:
    """Append events as the ticker does."""
    for _ in range(count):
        append(FEED, figures_event())


def test_page_opens_the_socket() -> None:
    """The page has the path of its socket, and the charts come through it."""
    html = client_of("ann").get("/dashboard/").content.decode()
    assert f'data-socket-path="{SOCKET}"' in html


def test_figures_are_numbers_with_labels() -> None:
    """Without a report of a process, all are zero."""
    values = figures_event()["values"]
    assert list(values)[:3] == ["Connections", "Messages per second", "Latency in ms"]
    assert set(values.values()) == {0}
    json.dumps(values)


def test_engine_publishes_the_figures() -> None:
    """The engine calls the function each second, and keeps what the charts show."""
    assert (tickers[FEED].make_event, tickers[FEED].keep) == (figures_event, KEPT)


async def test_late_viewer_sees_the_last_minutes(visit: Visit) -> None:
    """A viewer gets the figures that are kept, then new ones, and after a pause what was missed."""
    await sync_to_async(publish_figures)(3)
    viewer = await visit(SOCKET)
    *_, welcome = await viewer.receive_until("welcome")
    assert welcome["seq"] == 3
    await sync_to_async(publish_figures)(1)
    seen = [await viewer.receive() for _ in range(4)]
    assert [event["seq"] for event in seen] == [1, 2, 3, 4]
    assert {event["type"] for event in seen} == {"figures"}
    back = await visit(f"{SOCKET}?after=3")
    await back.receive_until("welcome")
    assert (await back.receive())["seq"] == 4
    assert await back.receives_nothing()


async def test_viewer_sends_nothing(visit: Visit) -> None:
    """Events of viewers are refused."""
    viewer = await visit(SOCKET)
    await viewer.receive_until("welcome")
    await viewer.send(type="send")
    assert (await viewer.receive())["code"] == "unknown_type"
