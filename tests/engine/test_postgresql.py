"""PostgreSQL as the database of a site."""

import asyncio
import socket
from contextlib import closing

import pytest
from django.db import OperationalError, connection
from django.test import AsyncClient

from engine.test_batches import Callers, Store
from engine.test_checks import found
from realtime import batches, startup
from realtime.batches import MOST
from realtime.testing import missing_services


@pytest.mark.django_db
def test_unreachable_database_is_named(monkeypatch):
    """A database that does not answer is one line with its address and without its password."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for name, value in {"HOST": "127.0.0.1", "PORT": port, "NAME": "site", "PASSWORD": "secret"}.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    problem = startup.database_problem() or ""
    assert problem.startswith(f"DATABASE_URL: cannot connect to 127.0.0.1:{port}/site (")
    assert "or start the database." in problem
    assert "secret" not in problem
    assert missing_services()[-1] == problem


@pytest.mark.django_db
def test_postgresql_needs_connections_for_all_pools(settings, monkeypatch):
    """More pooled connections than PostgreSQL has are a warning, for all pools may be full at once."""
    settings.DEBUG = True
    assert found(["default"]) == {}
    settings.MACHINES, settings.WEB_CONCURRENCY = 1000, 2
    (message,) = found(["default"]).values()
    assert message.startswith("2000 processes may open 32000 connections to PostgreSQL, which ")
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)  # PgBouncer
    assert found(["default"]) == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("style", ["async", "sync"])
async def test_lost_connection_fails_a_batch_once(style):
    """Items of a lost connection are not tried alone: they may be committed. The next call works."""

    def results(items):
        with connection.cursor() as cursor:
            if len(items) > 1:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return items

    with closing(Store(results)) as store, closing(Callers(style, store)) as callers:
        first, *others = await callers.call_meanwhile("a", "b", "c", "d")
        assert first == "a"
        assert [type(error) for error in others] == [OperationalError] * 3
        assert store.batches == [["a"], ["b", "c", "d"]]
        assert await callers.call("e") == "e"


def lose_connection(items):
    """Return the items. Item "a" ends the connection to the database before."""
    if "a" in items:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return items


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("style", ["async", "sync"])
async def test_lost_connection_fails_those_who_wait(style, monkeypatch):
    """While the database is down, no caller waits for the slow failures of others before its own."""
    monkeypatch.setattr(batches, "PATIENCE", 0)
    monkeypatch.setattr(batches, "REST", 0)

    with closing(Store(lose_connection)) as store, closing(Callers(style, store)) as callers:
        errors = await callers.call_meanwhile("a", *range(MOST + 10))
        assert {type(error) for error in errors} == {OperationalError}
        assert store.batches == [["a"]]
        assert await callers.call("b") == "b"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("style", ["async", "sync"])
async def test_quickly_lost_connection_fails_its_batch_only(style, monkeypatch):
    """Those who wait get another connection."""
    monkeypatch.setattr(batches, "PATIENCE", 60)

    with closing(Store(lose_connection)) as store, closing(Callers(style, store)) as callers:
        error, *others = await callers.call_meanwhile("a", "b", "c")
        assert type(error) is OperationalError
        assert others == ["b", "c"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("style", ["async", "sync"])
async def test_callers_fail_at_once_while_the_database_is_down(style, monkeypatch):
    """After a failure that took long, no caller waits for the next one. Soon the database is tried again."""
    monkeypatch.setattr(batches, "PATIENCE", 0)
    monkeypatch.setattr(batches, "REST", 0.5)

    with closing(Store(lose_connection)) as store, closing(Callers(style, store)) as callers:
        for item in ("a", "b"):
            with pytest.raises(OperationalError):
                await callers.call(item)
        assert store.batches == [["a"]]
        await asyncio.sleep(0.5)
        assert await callers.call("c") == "c"


async def test_process_is_unready_while_callers_fail(database, monkeypatch):
    """A balancer sends clients only when what they store is accepted again, though the database answers before."""
    monkeypatch.setattr(batches, "PATIENCE", 0)
    monkeypatch.setattr(batches, "REST", 0.5)

    with closing(Store(lose_connection)) as store, closing(Callers("async", store)) as callers:
        with pytest.raises(OperationalError):
            await callers.call("a")
        response = await AsyncClient().get("/readyz")
        assert (response.status_code, response.content) == (503, b"away: database\n")
        await asyncio.sleep(0.5)
        assert (await AsyncClient().get("/readyz")).status_code == 200
        assert await callers.call("b") == "b"
