"""The sample app with live figures on real sites: charts in a real browser, and pages that are hidden."""

import re
from contextlib import ExitStack
from itertools import pairwise

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, launch, visiting
from support.client import Person
from support.emitted import bake
from support.matrix import CHOICES, combinations, label, spread
from support.servers import free_port, start_site
from support.workers import SERVE, Work

SITES = spread(combinations("server"), "channel_layer", "consumers", "auth", "database", "django_version")
FIGURES = [
    *("Connections", "Messages per second", "Latency in ms"),
    *("Devices online", "Readings per second"),
    *("Waiting jobs", "Running jobs"),
]
# Browsers without a screen show every page.
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_no_choice_is_left_out():
    """Each server, layer, style, sign-in, database and Django occurs."""
    for question in SITES[0]:
        assert {site[question] for site in SITES} == set(CHOICES[question])


@pytest.fixture
def work(request, cookies, environment, services):
    return Work.prepare(bake(cookies, **request.param, examples="all"), request.param, environment, services)


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        yield browser


def with_sites(answers):
    return pytest.mark.parametrize("work", answers, ids=label, indirect=True)


def chart(page, figure):
    """Return the line of a chart: its pieces, each a list of points from left to right."""
    path = page.get_by_role("figure", name=figure).locator("path").get_attribute("d")
    pieces = [re.findall(r"([\d.-]+) ([\d.-]+)", piece) for piece in path.split("M") if piece]
    return [[(float(x), float(y)) for x, y in piece] for piece in pieces]


def value(page, figure):
    return page.get_by_role("figure", name=figure).locator(".value")


@pytest.mark.timeout(300)
@with_sites(SITES)
def test_charts_follow_the_site(work, browser):
    """Viewers of several processes see all sockets, a late one the last minutes, and a hidden page gets nothing."""
    processes = 2 if "REDIS_URL" in work.environ else 1
    environ, port = {**work.environ, "WEB_CONCURRENCY": str(processes)}, free_port()
    with ExitStack() as stack:
        site = stack.enter_context(start_site(SERVE, work.project, environ, port))
        visits = stack.enter_context(visiting(browser, site.url, OUTAGE))
        ann = work.staff(site)
        page = visits(ann, "/dashboard/").page
        expect(page.get_by_role("status")).to_have_text("Live")
        expect(page.locator("figcaption")).to_have_text(FIGURES)
        page.wait_for_timeout(2500)  # until the page's own sockets are counted
        before = int(value(page, "Connections").text_content())
        assert before >= 1
        with ExitStack() as sockets:
            for _ in range(5):
                sockets.enter_context(ann.connect("lobby"))
            expect(value(page, "Connections")).to_have_text(str(before + 5))
            late = visits(ann, "/dashboard/").page
            own = 1 if "notifications" not in late.content() else 2  # sockets of a page
            expect(value(late, "Connections")).to_have_text(str(before + 5 + own))
            assert chart(late, "Connections")[0][0] == pytest.approx(chart(page, "Connections")[0][0], abs=5)

        opened = []
        late.on("websocket", lambda socket: opened.append(socket.url))
        late.evaluate(HIDE, True)
        dashboards = 1
        expect(value(page, "Connections")).to_have_text(str(before + own - dashboards))
        shown = late.locator(".figures").inner_html()
        late.wait_for_timeout(3000)
        assert (opened, late.locator(".figures").inner_html()) == ([], shown)
        late.evaluate(HIDE, False)
        expect(value(page, "Connections")).to_have_text(str(before + own))
        expect(value(late, "Connections")).to_have_text(str(before + own))
        for one in (page, late):
            (line,) = chart(one, "Connections")  # without a hole
            assert line == sorted(line)
            assert max(right[0] - left[0] for left, right in pairwise(line)) < 2.5

        site.kill()
        expect(page.get_by_role("status")).to_have_text("Reconnecting…")
        stack.enter_context(start_site(SERVE, work.project, environ, port))
        for one in (page, late):
            expect(one.get_by_role("status")).to_have_text("Live")
            expect(one.locator("figcaption")).to_have_text(FIGURES)
        expect(value(page, "Connections")).to_have_text(str(before + own))


@pytest.mark.timeout(300)
@with_sites(SITES[:1])
def test_page_looks_right_everywhere(work, browser):
    """On any screen, in light and dark, axe finds no fault and nothing is too wide. A table has the same figures."""
    with start_site(SERVE, work.project, work.environ) as site, visiting(browser, site.url) as visits:
        ann = work.staff(site)
        for width in (320, 1920):
            window = visits(ann, "/dashboard/", viewport={"width": width, "height": 900})
            page = window.page
            expect(page.locator("figcaption")).to_have_text(FIGURES)
            page.get_by_text("The last five minutes as a table").click()
            expect(page.locator("tbody th")).to_have_text(FIGURES)
            expect(page.locator("tbody tr").first.locator("td")).to_have_count(4)
            assert re.fullmatch(
                "Connections in the last five minutes: between .* and .*",
                page.get_by_role("figure", name="Connections").get_by_role("img").get_attribute("aria-label"),
            )
            assert (window.violations(), window.overflows()) == ([], [])


@pytest.mark.timeout(300)
@with_sites(spread(combinations("auth"), "server")[:2])
def test_page_is_for_staff(work, browser):
    """Strangers are asked to log in. Other users are refused, and have no link to the page."""
    with start_site(SERVE, work.project, work.environ) as site, visiting(browser, site.url, "40[34]") as visits:
        page = visits(None, "/dashboard/").page
        assert page.url == f"{site.url}/accounts/login/?next=/dashboard/"
        person = Person(site, work.auth)
        assert "Access denied" in visits(person, "/dashboard/").page.content()
        expect(visits(person, "/").page.get_by_role("link", name="Dashboard")).to_have_count(0)
        page = visits(work.staff(site), "/").page
        page.get_by_role("link", name="Dashboard").click()
        expect(page.get_by_role("status")).to_have_text("Live")
