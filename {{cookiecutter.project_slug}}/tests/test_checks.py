"""Mistakes that production must not make are named by `check --deploy`."""

import pytest
from django.core.checks import run_checks
from pytest_django import Settings


@pytest.fixture(autouse=True)
def development(settings: Settings) -> None:
    """Where nothing is wrong yet: tests use the in-memory layer, which production may not."""
    settings.DEBUG = True


def found(databases: list[str] | None = None) -> dict[str, str]:
    """What the engine's own checks say, by their ids."""
    messages = run_checks(include_deployment_checks=True, databases=databases)
    ids = {str(message.id): message.msg for message in messages}
    return {id: message for id, message in ids.items() if id.startswith("realtime.")}


def test_the_in_memory_layer_serves_one_process(settings: Settings) -> None:
    """It is refused once DEBUG is off."""
    assert found() == {}
    settings.DEBUG = False
    assert found() == {"realtime.E001": "The in-memory channel layer serves a single process."}


{% if cookiecutter.channel_layer == "redis" %}
def test_redis_has_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says why it does not."""

    async def fail() -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr("realtime.checks.probe", fail)
    assert found() == {"realtime.E002": "The channel layer does not answer: refused."}


{% endif %}
def test_some_page_may_connect(settings: Settings) -> None:
    """The environment cannot say so, but the settings may be edited."""
    settings.ALLOWED_ORIGINS = []
    message = "ALLOWED_ORIGINS is empty, so that every page is refused."
    assert found() == {"realtime.E003": message}


{% if cookiecutter.database == "sqlite" %}
def test_sqlite_serves_one_machine(settings: Settings) -> None:
    """It is a file, of which each machine would have its own."""
    settings.MACHINES = 2
    message = "2 machines (MACHINES) cannot share an SQLite database."
    assert found() == {"realtime.E004": message}
{% else %}
@pytest.mark.django_db
def test_postgresql_has_connections_for_all(settings: Settings) -> None:
    """All pools of all processes may be full at the same time."""
    assert found(["default"]) == {}
    settings.MACHINES, settings.WEB_CONCURRENCY = 1000, 2
    (message,) = found(["default"]).values()
    assert message.startswith("2000 processes may open 32000 connections to PostgreSQL, which ")
{% endif %}
