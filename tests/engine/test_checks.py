"""System checks of `check --deploy`."""

import pytest
from django.core.checks import run_checks

pytestmark = pytest.mark.django_db  # checks of models ask the database


@pytest.fixture(autouse=True)
def development(settings):
    """Begin without a mistake: tests use the in-memory layer, which production may not."""
    settings.DEBUG = True


def found(databases=None):
    """Return the messages of the engine's own checks by id."""
    messages = run_checks(include_deployment_checks=True, databases=databases)
    return {message.id: message.msg for message in messages if str(message.id).startswith("realtime.")}


def test_in_memory_layer_is_refused_in_production(settings):
    """The in-memory layer serves one process, so it is an error with DEBUG off."""
    assert found() == {}
    settings.DEBUG = False
    assert found() == {"realtime.E001": "The in-memory channel layer serves a single process."}


def test_empty_origins_are_refused(settings):
    """If ALLOWED_ORIGINS is empty, no page may connect."""
    settings.ALLOWED_ORIGINS = []
    assert found() == {"realtime.E003": "ALLOWED_ORIGINS is empty, so that every page is refused."}


def test_unavailable_layer_is_refused(monkeypatch):
    """A channel layer that does not answer is an error with the reason."""

    async def fail():
        raise ConnectionError("refused")

    monkeypatch.setattr("realtime.checks.probe", fail)
    assert found() == {"realtime.E002": "The channel layer does not answer: refused."}
