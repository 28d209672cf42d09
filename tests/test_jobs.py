"""The sample app of jobs on real sites, with workers in processes of their own, in a real browser."""

import contextlib
import os
import random
import time

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, launch, visiting
from support.client import Person
from support.emitted import bake
from support.matrix import CHOICES, combinations, label, spread
from support.servers import start_site, wait_until
from support.workers import MANAGE, SERVE, WORKER, Work

SECONDS = int(os.environ.get("JOB_SECONDS", 15))  # of the job whose server and workers are killed
KILLS = 5  # of each

SITES = spread(combinations("server"), "channel_layer", "consumers", "auth", "database", "django_version")
# Prints how often a worker took up a job.
RUNS = """
import json; from realtime.feeds.models import FeedEvent
print(sum(json.loads(event.body).get("state") == "running" for event in FeedEvent.objects.all()))
"""


def test_no_choice_is_left_out():
    """Each server, layer, style, sign-in, database and Django occurs."""
    for question in SITES[0]:
        assert {site[question] for site in SITES} == set(CHOICES[question])


@pytest.fixture
def work(cookies, environment, services):
    """Return a function that prepares a project for these answers."""

    def prepare(answers):
        project = bake(cookies, **answers, examples="all")
        return Work.prepare(project, answers, environment, services)

    return prepare


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        yield browser


def prepare_report(page, chapters):
    """Press the button, and return the newest job."""
    page.get_by_label("Chapters").fill(str(chapters))
    page.get_by_role("button", name="Prepare report").click()
    return page.locator(".job").first


def see_half(page):
    """Wait until the bar of the newest job is in the middle, while the job runs."""
    value = "document.querySelector('.job progress')?.value"
    page.wait_for_function(f"() => {value} >= 0.5 && {value} < 1")


def see_done(page, chapters):
    """Check that the newest job has its result, and each step once."""
    job = page.locator(".job").first
    expect(job).to_have_attribute("data-state", "done", timeout=60_000)
    expect(job.locator(".result")).to_have_text(f"{chapters} chapters, {50 * chapters * (chapters + 1)} words")
    steps = [f"Chapter {number} of {chapters} is written." for number in range(1, chapters + 1)]
    expect(job.locator(".steps-done li")).to_have_text(steps)
    assert job.locator("progress").evaluate("progress => progress.value") == 1


@pytest.mark.timeout(20 * SECONDS + 240)
@pytest.mark.parametrize("answers", SITES, ids=label)
def test_job_survives_its_workers_and_servers(answers, work, browser):
    """Server and worker are killed five times each. The page ends with every step once, and the right result."""
    work = work(answers)
    with contextlib.ExitStack() as servers, contextlib.ExitStack() as workers:
        site = servers.enter_context(start_site(SERVE, work.project, work.environ))
        workers.enter_context(work.running(*WORKER))

        def restart_server():
            servers.close()
            servers.enter_context(start_site(SERVE, work.project, work.environ, site.port))

        def restart_worker():
            workers.close()
            workers.enter_context(work.running(*WORKER))

        with visiting(browser, site.url, OUTAGE) as visit:
            person = Person(site, work.auth)
            mine, other = visit(person, "/jobs/").page, visit(person, "/jobs/").page
            expect(prepare_report(mine, SECONDS)).to_be_visible()
            faults = [restart_server, restart_worker] * KILLS
            for fault in faults:
                time.sleep(random.uniform(0, SECONDS / len(faults)))
                fault()
            for page in (mine, other):
                see_done(page, SECONDS)
            mine.reload()
            see_done(mine, SECONDS)
    assert int(work.shell(RUNS)) > 1


@pytest.mark.timeout(300)
def test_job_is_cancelled_retried_and_fails(work, browser):
    """Every tab shows it at once, and a reload shows the same. Another user sees none of it."""
    work = work({"channel_layer": "redis", "auth": "session"})
    with (
        start_site(SERVE, work.project, work.environ) as site,
        work.running(*WORKER),
        visiting(browser, site.url, OUTAGE) as visit,
    ):
        person, stranger = Person(site, "session"), Person(site, "session")
        mine, other, theirs = (visit(one, "/jobs/").page for one in (person, person, stranger))
        job, copy = prepare_report(mine, 100), other.locator(".job").first
        expect(copy.locator(".steps-done li")).to_have_count(2)
        copy.get_by_role("button", name="Cancel").click()
        for seen in (job, copy):
            expect(seen).to_have_attribute("data-state", "cancelled")
            expect(seen.get_by_role("button", name="Cancel")).to_be_hidden()
        count = copy.locator(".steps-done li").count()
        work.shell("from realtime.work.models import Job; Job.objects.update(arguments={'chapters': 'x'})")
        job.get_by_role("button", name="Retry").click()
        for seen in (job, copy):
            expect(seen.locator(".reason")).to_have_text("Something went wrong.")
        work.shell(f"from realtime.work.models import Job; Job.objects.update(arguments={{'chapters': {count + 2}}})")
        copy.get_by_role("button", name="Retry").click()
        for seen in (job, copy):
            expect(seen.locator(".state")).to_have_text("Done")
            expect(seen.locator(".reason")).to_have_text("")
            expect(seen.locator(".steps-done li")).to_have_count(count + 2)
        expect(theirs.locator(".job")).to_have_count(0)
        expect(theirs.get_by_text("No jobs yet.")).to_be_visible()


@pytest.mark.timeout(300)
def test_page_catches_up_with_more_than_a_replay(work, browser):
    """A job that ended among more events than the socket replays is shown as it is, and steps come on.

    One page was connected before, and the script of another starts after the end.
    """
    work = work({"auth": "session"})
    end = """
from jobs.tasks import feed_of; from realtime.feeds.events import append; from realtime.work.models import Job
job = Job.objects.get(); Job.objects.update(state="done", progress=1, result="the result"); job.refresh_from_db()
job.publish()
for number in range(600): append(job.feed, {"type": "progress", "job": 0, "progress": 1})
"""
    held = []
    with contextlib.ExitStack() as visits:
        with start_site(SERVE, work.project, work.environ) as site:
            visit = visits.enter_context(visiting(browser, site.url, OUTAGE))
            person = Person(site, "session")
            page, late = visit(person, "/jobs/").page, visit(person, "/jobs/").page
            expect(prepare_report(page, 3)).to_have_attribute("data-state", "waiting")
            expect(page.locator(".jobs")).to_have_attribute("data-status", "open")
            late.route("**/jobs.*js", lambda route: held.append(route))
            late.goto(f"{site.url}/jobs/", wait_until="commit")
            expect(late.locator(".job")).to_have_attribute("data-state", "waiting")
            wait_until(lambda: late.title() and held, "the request for the script")
        expect(page.get_by_role("status")).to_have_text("Reconnecting…")
        work.shell(end)
        with start_site(SERVE, work.project, work.environ, site.port):
            held[0].continue_()
            for window in (page, late):
                job = window.locator(".job").first
                expect(job).to_have_attribute("data-state", "done", timeout=30_000)
                expect(job.locator(".result")).to_have_text("the result")
                expect(window.locator(".estimate")).to_be_empty()
            visits.close()


@pytest.mark.timeout(300)
def test_development_server_runs_jobs(work, browser):
    """One command runs site and worker. A changed file restarts both, and the job goes on."""
    work = work({"auth": "session"})
    command = [*MANAGE, "runserver"]
    with start_site(command, work.project, work.environ) as site, visiting(browser, site.url, OUTAGE) as visit:
        page = visit(Person(site, "session"), "/jobs/").page
        prepare_report(page, 8)
        see_half(page)
        (work.project / "jobs" / "views.py").touch()
        see_done(page, 8)
    log = site.log.read_text()
    assert "changed, reloading" in log
    assert "Traceback" not in log


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", CHOICES["database"])
def test_two_workers_run_each_job_once(database, work):
    """Forty jobs of two worker processes run once each."""
    work = work({"auth": "session", "database": database})
    work.shell(
        "from jobs import tasks; from realtime.work.queue import start\n"
        "for n in range(40): start(tasks.prepare_report, {'chapters': 1}, feed=f'feed-{n}')"
    )
    done = "from realtime.work.models import Job; print(Job.objects.filter(state='done').count())"
    with work.running(*WORKER), work.running(*WORKER):
        wait_until(lambda: work.shell(done) == "40", "the end of forty jobs", 90)
    assert work.shell(RUNS) == "40"


@pytest.mark.timeout(300)
def test_channels_worker_answers(work, browser):
    """`runworker` in a process of its own receives the question of a page through Redis."""
    work = work({"channel_layer": "redis", "auth": "session"})
    work.shell(
        "from jobs import tasks; from realtime.work.queue import start; start(tasks.prepare_report, {'chapters': 1})"
    )
    with (
        start_site(SERVE, work.project, work.environ) as site,
        work.running(*MANAGE, "runworker", "estimates"),
        visiting(browser, site.url, OUTAGE) as visit,
    ):
        page = visit(Person(site, "session"), "/jobs/").page

        def is_answered():
            page.reload()
            with contextlib.suppress(AssertionError):
                expect(page.locator(".estimate")).to_have_text("Jobs that wait: 1", timeout=2_000)
                return True

        wait_until(is_answered, "an answer of the worker")
