"""Fixtures of the assistant: a model that answers at once."""

import pytest
from pytest_django import Settings

from assistant import scripted, tasks
from assistant.tests.helpers import Model


@pytest.fixture(autouse=True)
def model(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> type[Model]:
    """Ask a model of the tests, whose pieces are not collected for long."""
    settings.ASSISTANT_PROVIDER = "assistant.tests.helpers.Model"
    monkeypatch.setattr(tasks, "BATCH_SECONDS", 0.001)
    monkeypatch.setattr(scripted, "PIECE_SECONDS", 0)
    monkeypatch.setattr(Model, "asked", [])
    monkeypatch.setattr(Model, "pieces", ["Fine, ", "thanks."])
    return Model
