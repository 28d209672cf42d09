"""Pages and files of the whole site: headers, templates, static files, probes."""

import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from config.settings import BASE_DIR

TEMPLATES = [*BASE_DIR.glob("templates/**/*.html"), *BASE_DIR.glob("*/templates/**/*.html")]

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/", "/nowhere/"])
def test_pages_load_files_of_the_site_only(path: str) -> None:
    """The browser refuses what is smuggled into a page, or loaded from another site."""
    assert Client().get(path)["Content-Security-Policy"] == (
        "default-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; object-src 'none'"
    )


@pytest.mark.parametrize(("host", "status"), [("testserver", 404), ("elsewhere.example", 400)])
def test_pages_for_developers_have_no_policy(settings: Settings, host: str, status: int) -> None:
    """Django's error pages have styles and scripts of their own, in development only."""
    settings.DEBUG = True
    response = Client(headers={"Host": host}).get("/nowhere/")
    assert response.status_code == status
    assert "Content-Security-Policy" not in response


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_template_has_nothing_inline(template: Path) -> None:
    """The policy makes browsers refuse inline scripts and styles."""
    inline = r"<style|<script(?![^>]* src=)|\s(style|on\w+)=|javascript:"
    assert re.findall(inline, template.read_text()) == []


def test_static_files_are_named_by_their_content(settings: Settings, tmp_path: Path) -> None:
    """In production a changed file has a new name."""
    settings.STATIC_ROOT = tmp_path
    static = {"BACKEND": "realtime.storage.StaticStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": static}
    call_command("collectstatic", interactive=False, verbosity=0)
    assert len(list((tmp_path / "realtime").glob("client.????????????.js"))) == 1


def test_probes_need_no_sign_in() -> None:
    """Probes are answered to anyone, in plain text."""
    assert Client().get("/healthz").content == b"ok\n"
    assert Client().get("/readyz").content == b"ready\n"
    assert Client().get("/metrics").status_code == 200
