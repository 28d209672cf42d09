"""Every page of a site in Chromium, for each reader, on a phone, in light and dark, left and right."""

import functools
import gzip
import json
from collections import defaultdict
from contextlib import ExitStack, nullcontext
from pprint import pformat

import httpx
import pytest
from playwright.sync_api import sync_playwright
from support.browsers import Visits, find_browser, launch, node_packages
from support.emitted import bake, clean_environ, environ_for, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE
from support.servers import free_port, start_site
from support.showcase import MANAGE, NO_PAGES, Showcase, add_errors, pages_of, parts

# All apps with all ways to sign in; the rooms of guests; and a site without apps.
VARIANTS = {
    "all": {"examples": "all", "auth": "token"},
    "guests": {"examples": "chat", "auth": "none"},
    "empty": {"examples": "none", "auth": "session"},
}
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
WIDE = (768, 1920)
MOST_BYTES = 70_000  # of a page and its scripts and styles, as production sends them
MOST_HEAD = 0.25  # of a phone's height, above the messages of a room
HEAD = "(document.querySelector('.messages')?.getBoundingClientRect().top ?? 0) / innerHeight"
OPEN_DETAILS = "document.querySelectorAll('details').forEach((details) => { details.open = true })"
# The standard has a default for a button without a type.
HTML_VALIDATE = ["--preset", "standard,a11y", "--rule", "no-implicit-button-type:off"]
SCHEMES = {"ltr": ("light", "dark"), "rtl": ("dark",)}  # no colour depends on the direction


def variant(name: str):
    """Return a parameter of tests, so that those of one site share a worker."""
    return pytest.param(name, marks=pytest.mark.xdist_group(f"pages-{name}"))


class Faults(defaultdict):
    """Faults of pages, by kind and then by page."""

    def __init__(self) -> None:
        super().__init__(dict)

    def add(self, kind: str, page: str, found: object) -> None:
        if found:
            self[kind][page] = found


@functools.cache
def sent_bytes(url: str) -> int:
    """Return the size of a file. Production compresses static ones."""
    content = httpx.get(url, trust_env=False).raise_for_status().content
    return len(gzip.compress(content) if "/static/" in url else content)


@pytest.fixture(
    scope="module",
    params=[variant(name) for name in VARIANTS],
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
        ExitStack() as stack,
    ):
        showcase = Showcase(site, project, environ, answers, strained=True)
        showcase.pages += errors
        visits = Visits(browser, site.url)
        windows = showcase.windows(visits, **PHONE)
        sources = tmp_path_factory.mktemp("sources")
        faults = Faults()
        stack.enter_context(showcase.company() if "chat" in parts(answers) else nullcontext())
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
            weight = len(document.body()) + sum(map(sent_bytes, window.files()))
            faults.add("weight", page.name, max(0, weight - MOST_BYTES))
            faults.add("head", page.name, max(0, window.page.evaluate(HEAD) - MOST_HEAD))
            if page.name == "home" and (menu := window.page.locator(".open-menu")).is_visible():
                menu.click()
            for direction, schemes in SCHEMES.items():
                window.page.evaluate(OPEN_DETAILS)
                window.page.evaluate("direction => { document.documentElement.dir = direction }", direction)
                faults.add("width", f"{page.name} {direction}", window.overflows())
                faults.add("targets", f"{page.name} {direction}", window.small_targets())
                faults.add("axe", f"{page.name} {direction}", window.violations(*schemes))
            for width in WIDE:
                window.page.set_viewport_size({"width": width, "height": 1000})
                faults.add("width", f"{page.name} {width}", window.overflows())
            window.page.set_viewport_size(PHONE["viewport"])
        showcase.faults, showcase.sources, showcase.playwright = faults, sources, playwright
        yield showcase


def test_every_route_is_seen(seen):
    """Each route of the site shows one of the pages here, or has none."""
    assert seen.routes - NO_PAGES == {page.route for page in seen.pages} - NO_PAGES


@pytest.mark.parametrize("kind", ["axe", "console", "head", "targets", "weight", "width"])
def test_pages_have_no_fault(seen, kind):
    """Axe and consoles report nothing, targets suit fingers, files and heads are small, and all fits in width."""
    faults = seen.faults[kind]
    assert faults == {}, pformat(faults, width=200)


def test_html_is_valid(seen):
    """The source of each page is valid HTML."""
    run([str(node_packages() / ".bin" / "html-validate"), *HTML_VALIDATE, str(seen.sources)], TEMPLATE, clean_environ())


# In CI, pages without and with a script. `make lighthouse` takes all.
QUICK = {"start", "room"}
LIGHTHOUSE = [
    pytest.param(page, marks=[] if page.name in QUICK else [pytest.mark.lighthouse], id=page.name)
    for page in pages_of(VARIANTS["all"])
    if not page.fields
]


@pytest.mark.parametrize("page", LIGHTHOUSE)
@pytest.mark.parametrize("seen", [variant("all")], indirect=True)
def test_lighthouse(seen, page, tmp_path):
    """Accessibility and best practices get the full score."""
    url, port = seen.site.url, free_port()
    report = tmp_path / "report.json"
    # A header alone would hide the cookies from scripts.
    with seen.playwright.chromium.launch_persistent_context(
        tmp_path / "profile", executable_path=find_browser("chromium"), args=[f"--remote-debugging-port={port}"]
    ) as context:
        if person := seen.people.get(page.reader):
            cookies = person.http.cookies.items()
            context.add_cookies([{"name": name, "value": value, "url": url} for name, value in cookies])
        command = [
            str(node_packages() / ".bin" / "lighthouse"),
            url + page.path.format(**seen.made),
            "--quiet",
            f"--port={port}",
            "--disable-storage-reset",
            "--only-categories=accessibility,best-practices",
            "--output=json",
            f"--output-path={report}",
        ]
        run(command, TEMPLATE, clean_environ())
    found = json.loads(report.read_text(encoding="utf-8"))
    failed = [audit["id"] for audit in found["audits"].values() if audit["score"] not in (None, 1)]
    scores = {name: part["score"] for name, part in found["categories"].items()}
    assert (failed, scores) == ([], {"accessibility": 1, "best-practices": 1})
