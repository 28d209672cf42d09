"""Every page of a site in Chromium, for each reader, on a phone, in light and dark, left and right."""

from collections import defaultdict
from pprint import pformat

import pytest
from playwright.sync_api import sync_playwright
from support.browsers import Visits, launch, node_packages
from support.emitted import bake, clean_environ, environ_for, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE
from support.servers import start_site
from support.showcase import MANAGE, NO_PAGES, Showcase, add_errors

# All apps with all ways to sign in; the rooms of guests; and a site without apps.
VARIANTS = {
    "all": {"examples": "all", "auth": "token"},
    "guests": {"examples": "chat", "auth": "none"},
    "empty": {"examples": "none", "auth": "session"},
}
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
MOST_BYTES = 70_000  # of a page and its files, without compression and images
# The standard has a default for a button without a type.
HTML_VALIDATE = ["--preset", "standard,a11y", "--rule", "no-implicit-button-type:off"]
SCHEMES = {"ltr": ("light", "dark"), "rtl": ("dark",)}  # no colour depends on the direction


class Faults(defaultdict):
    """Faults of pages, by kind and then by page."""

    def __init__(self) -> None:
        super().__init__(dict)

    def add(self, kind: str, page: str, found: object) -> None:
        if found:
            self[kind][page] = found


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"pages-{name}")) for name in VARIANTS],
)
def seen(request, cookies_session, environment, tmp_path_factory):
    """Look once at all pages of a site. Return the site, its routes and pages, and the faults of pages."""
    answers = VARIANTS[request.param]
    project = bake(cookies_session, **answers)
    errors = add_errors(project)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    with (
        start_site([*MANAGE, "serve"], project, environ) as site,
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
    ):
        showcase = Showcase(site, project, environ, answers, strained=True)
        showcase.pages += errors
        visits = Visits(browser, site.url)
        windows = showcase.windows(visits, **PHONE)
        sources = tmp_path_factory.mktemp("sources")
        faults = Faults()
        for page in showcase.pages:
            if request.param == "empty" and page.name != "home":
                continue  # seen before
            visits.problems.clear()
            window = windows[page.reader]
            document = showcase.show(window, page)
            (sources / f"{page.name}.html").write_text(document.text(), encoding="utf-8")
            assert document.status == page.status, page.name
            # Chromium reports the status of a page of an error.
            faults.add("console", page.name, [one for one in visits.problems if f" {page.status}" not in one])
            faults.add("weight", page.name, max(0, window.weight() - MOST_BYTES))
            for direction, schemes in SCHEMES.items():
                window.page.evaluate("direction => { document.documentElement.dir = direction }", direction)
                faults.add("width", f"{page.name} {direction}", window.overflows())
                faults.add("targets", f"{page.name} {direction}", window.small_targets())
                faults.add("axe", f"{page.name} {direction}", window.violations(*schemes))
        showcase.faults, showcase.sources = faults, sources
        yield showcase


def test_every_route_is_seen(seen):
    """Each route of the site shows one of the pages here, or has none."""
    assert seen.routes - NO_PAGES == {page.route for page in seen.pages} - NO_PAGES


@pytest.mark.parametrize("kind", ["axe", "console", "targets", "weight", "width"])
def test_pages_have_no_fault(seen, kind):
    """Axe and consoles report nothing, targets suit fingers, files are small, and nothing is wider than a phone."""
    faults = seen.faults[kind]
    assert faults == {}, pformat(faults, width=200)


def test_html_is_valid(seen):
    """The source of each page is valid HTML."""
    run([str(node_packages() / ".bin" / "html-validate"), *HTML_VALIDATE, str(seen.sources)], TEMPLATE, clean_environ())
