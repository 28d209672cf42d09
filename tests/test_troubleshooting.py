"""Advice of docs/troubleshooting.md is followed, and the symptoms go."""

import re

import httpx
import pytest
from playwright.sync_api import sync_playwright
from support.browsers import launch
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.servers import start_site

SERVE = ["uv", "run", "python", "manage.py", "runserver", "--noreload"]
INLINE = "<title>Before</title><script%s>document.title = 'After'</script>"
HEAD = """

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def closed(request: HttpRequest) -> HttpResponse:
    raise AssertionError


def about(request: HttpRequest) -> HttpResponse:
    return render(request, "about.html")


"""
TAIL = """

urlpatterns += [
    path("closed/", closed),
    path("open/", login_not_required(about)),
    path("editor/", login_not_required(editor)),
]
"""


def python_of(page):
    """Return the code of a page that gives one view a policy of its own."""
    (code,) = [code for code in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "unsafe-inline" in code]
    return code.replace(" -> HttpResponse: ...", ' -> HttpResponse:\n    return render(request, "editor.html")')


@pytest.mark.parametrize("django", CHOICES["django_version"])
def test_scripts_run_where_they_are_allowed(django, cookies, environment):
    """An inline script runs with a nonce, or in a page with a policy of its own. Only an open page needs no sign-in."""
    project = bake(cookies, django_version=django)
    page = (project / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    environ = environ_for(environment(PYTHONS[-1], django))
    has_nonces = "csp_nonce" in page
    assert has_nonces == (django != "5.2")
    nonce = re.search(r"`<script( nonce=.*?)>`", page)[1] if has_nonces else ""
    (project / "templates" / "about.html").write_text(INLINE % nonce, encoding="utf-8")
    urls = project / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + HEAD + python_of(page) + TAIL, encoding="utf-8")
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)

    def titles():
        with (
            start_site(SERVE, project, environ) as site,
            sync_playwright() as playwright,
            launch(playwright, "chromium") as browser,
        ):
            answer = httpx.get(f"{site.url}/closed/", trust_env=False, timeout=30, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (302, "/accounts/login/?next=/closed/")
            window = browser.new_page()
            found = []
            for path in ("open", "editor"):
                window.goto(f"{site.url}/{path}/")
                found.append(window.title())
            return found

    (project / "templates" / "editor.html").write_text(INLINE % "", encoding="utf-8")
    assert titles() == ["Before", "After"]
    if has_nonces:
        run(["git", "apply", "docs/troubleshooting.md"], project, environ)
        assert titles() == ["After", "After"]
        (project / "templates" / "editor.html").unlink()
        run(["uv", "run", "pytest", "tests/test_site.py"], project, environ)
