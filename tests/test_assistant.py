"""Answers of the assistant on real sites, in a real browser, while servers and workers are killed."""

import contextlib
import json
import os
import random
import time

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, launch, visiting
from support.client import Person, receive, send
from support.client import open_socket as connect
from support.emitted import bake
from support.matrix import CHOICES, combinations, label, spread
from support.servers import start_site, wait_until
from support.workers import SERVE, WORKER, Work

SECONDS = float(os.environ.get("ANSWER_SECONDS", 7))  # of the answer while the server is killed
KILLS = int(os.environ.get("ANSWER_KILLS", 3))
PIECE_SECONDS = 0.02
PATIENCE = 60_000  # ms until an answer must have ended

SITES = spread(combinations("server"), "channel_layer", "consumers", "auth", "database", "django_version")

# Logs each question, and answers with a text that HTML, JSON and UTF-16 could change. Waits for the end of `hold`.
MODEL = f"""
import json, os, time

WORDS = ["<b>&amp;", " 👋🏽", " 日本\\n\\n", "  ", "é", "\\\\u0041", ' "q"', "\\t", " e\\u0301"]
PIECES = [f"{{WORDS[n % len(WORDS)]}} {{n}}" for n in range({int(SECONDS / PIECE_SECONDS)})]


class Model:
    def stream(self, messages, spoken):
        with open("asked", "a") as file:
            file.write(json.dumps([messages, spoken]) + "\\n")
        stored = 0
        for piece in PIECES:
            stored += len(piece)
            while piece is PIECES[-1] and os.path.exists("hold"):
                time.sleep({PIECE_SECONDS})
            if stored > len(spoken):
                time.sleep({PIECE_SECONDS})
                yield piece[max(0, len(piece) - (stored - len(spoken))):]
"""
SETTINGS = 'ASSISTANT_PROVIDER = "model.Model"\n'


def test_no_choice_is_left_out():
    """Each server, layer, style, sign-in, database and Django occurs."""
    for question in SITES[0]:
        assert {site[question] for site in SITES} == set(CHOICES[question])


@pytest.fixture
def work(cookies, environment, services):
    """Return a function that prepares a project for these answers, with the model of this module."""

    def prepare(answers, settings=SETTINGS):
        project = bake(cookies, **answers, examples="all")
        (project / "model.py").write_text(MODEL, encoding="utf-8")
        return Work.prepare(project, answers, environment, services, settings)

    return prepare


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        yield browser


def whole_text():
    """Return the text of the model."""
    names = {}
    exec(MODEL, names)
    return "".join(names["PIECES"])


def asked(work):
    """Return the questions that the model got, each with the text that was stored."""
    file = work.project / "asked"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def begin(visit, person, question="How are you?"):
    """Start a conversation and ask a question."""
    window = visit(person, "/assistant/")
    window.page.get_by_role("button", name="New conversation").click()
    # Before the script runs, Enter starts a new line.
    expect(window.page.locator(".connection [role=status]")).to_have_attribute("data-status", "open")
    ask(window.page, question)
    return window


def ask(page, question):
    page.get_by_role("textbox", name="Question").fill(question)
    page.get_by_role("textbox", name="Question").press("Enter")


def see_answer(page, text, state="done"):
    """Check that the last answer has ended, with exactly this text."""
    turn = page.locator(".turn").last
    expect(turn).to_have_attribute("data-state", state, timeout=PATIENCE)
    assert turn.locator(".answer").evaluate("answer => answer.textContent") == text


@pytest.mark.timeout(20 * SECONDS + 240)
@pytest.mark.parametrize("answers", SITES, ids=label)
def test_answer_survives_the_server(answers, work, browser):
    """The server is killed again and again. Every viewer has the model's text, and the model was asked once."""
    work = work(answers)
    (hold := work.project / "hold").touch()
    with contextlib.ExitStack() as servers, work.running(*WORKER):
        site = servers.enter_context(start_site(SERVE, work.project, work.environ))
        with visiting(browser, site.url, OUTAGE) as visit:
            person = Person(site, work.auth)
            mine = begin(visit, person).page
            expect(mine.locator(".answer")).to_have_count(1)
            path = mine.url.removeprefix(site.url)
            tab, device = mine.context.new_page(), visit(person, path).page
            tab.goto(path)
            for _ in range(KILLS):
                time.sleep(random.uniform(0, SECONDS / 2 / KILLS))
                servers.close()
                servers.enter_context(start_site(SERVE, work.project, work.environ, site.port))
            hold.unlink()
            device.reload()
            for page in (mine, tab, device):
                see_answer(page, whole_text())
            mine.reload()
            see_answer(mine, whole_text())
            texts = []
            with connect(site, f"/ws{path}?after=0", additional_headers=person.headers()) as socket:
                while (event := receive(socket)).get("state") != "done":
                    texts.append(event["text"] if event["type"] == "piece" else "")
            assert "".join(texts) == whole_text()
    assert asked(work) == [[[{"role": "user", "content": "How are you?"}], ""]]


@pytest.mark.timeout(20 * SECONDS + 240)
@pytest.mark.parametrize("answers", SITES, ids=label)
def test_answer_survives_the_worker(answers, work, browser):
    """Each worker that is lost is followed by one that goes on after the last stored piece."""
    work = work(answers)
    (hold := work.project / "hold").touch()
    with start_site(SERVE, work.project, work.environ) as site, visiting(browser, site.url, OUTAGE) as visit:
        page = begin(visit, Person(site, work.auth)).page
        for number in range(KILLS):
            with work.running(*WORKER):
                wait_until(lambda number=number: len(asked(work)) > number, "the worker's question")
                time.sleep(random.uniform(0.5, SECONDS / KILLS))
        hold.unlink()
        with work.running(*WORKER):
            see_answer(page, whole_text())
        page.reload()
        see_answer(page, whole_text())
    spoken = [stored for _, stored in asked(work)]
    assert len(spoken) == KILLS + 1
    assert spoken == sorted(spoken, key=len)
    assert spoken[-1]
    assert all(whole_text().startswith(stored) for stored in spoken)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("auth", CHOICES["auth"])
def test_page_shows_stops_and_continues_answers(auth, work, browser):
    """A person reads an answer as it comes, in two tabs and after a reload, stops it and continues it."""
    work = work({"auth": auth, "channel_layer": "redis"})
    with (
        start_site(SERVE, work.project, work.environ) as site,
        work.running(*WORKER),
        visiting(browser, site.url, OUTAGE) as visit,
    ):
        person, stranger = Person(site, auth), Person(site, auth)
        window = begin(visit, person)
        page = window.page
        tab = page.context.new_page()
        tab.goto(page.url)
        expect(tab.locator(".state")).to_have_text("Answering…")
        for one in (page, tab):
            expect(one.locator(".answer")).to_contain_text("<b>&amp; 9")
        page.reload()
        expect(page.locator(".answer")).to_contain_text("<b>&amp; 9")
        expect(page.get_by_role("button", name="Ask")).to_be_hidden()
        tab.get_by_role("button", name="Stop").click()
        for one in (page, tab):
            expect(one.locator(".state")).to_have_text("Stopped.")
        text = page.locator(".answer").text_content()
        assert 0 < len(text) < len(whole_text())
        assert whole_text().startswith(text)
        page.reload()
        see_answer(page, text, "cancelled")
        page.get_by_role("button", name="Continue").click()
        for one in (page, tab):
            see_answer(one, whole_text())
        expect(tab.locator(".announcer")).to_have_text(whole_text())
        ask(tab, "And <i>you</i>?")
        expect(page.locator(".question").last).to_have_text("And <i>you</i>?")
        for one in (page, tab):
            see_answer(one, whole_text())
            expect(one.locator(".turn")).to_have_count(2)
        assert [message["role"] for message in asked(work)[-1][0]] == ["user", "assistant", "user"]
        visit.expect_problem(" 404")
        assert visit(stranger, page.url).page.locator(".turn").count() == 0
        page.goto("/assistant/")
        page.get_by_role("button", name="Delete “How are you?”").click()
        expect(page.get_by_text("No conversations yet.")).to_be_visible()
        expect(tab.get_by_role("button", name="Reload")).to_be_visible()


@pytest.mark.timeout(300)
def test_page_that_missed_much_fetches_itself(work, browser):
    """More pieces than a socket replays are taken from a new copy of the page."""
    work = work({})
    with start_site(SERVE, work.project, work.environ) as site, visiting(browser, site.url, OUTAGE) as visit:
        page = begin(visit, Person(site, work.auth)).page
        expect(page.locator(".state")).to_have_text("Waiting…")
        page.context.set_offline(True)
        steps = work.shell(
            "from assistant import tasks; from realtime.work import testing, models\n"
            "import model; model.PIECES = [f'{n} ' for n in range(600)]; model.time.sleep = lambda seconds: None\n"
            "tasks.collect = lambda context, stream, seconds: ([piece] for piece in stream)\n"
            "testing.run_all(); print(models.Job.objects.get().steps)"
        )
        assert int(steps.splitlines()[-1]) == 600
        page.context.set_offline(False)
        see_answer(page, "".join(f"{number} " for number in range(600)))


@pytest.mark.timeout(300)
def test_development_server_answers(work, browser):
    """One command runs site and worker. The scripted model needs no network, and answers for some seconds."""
    work = work({}, settings="")
    command = [*SERVE[:-1], "runserver"]
    with start_site(command, work.project, work.environ) as site, visiting(browser, site.url, OUTAGE) as visit:
        person = Person(site, work.auth)
        page = begin(visit, person, "What is Channels?").page
        start = time.monotonic()
        expect(page.locator(".turn")).to_have_attribute("data-state", "done")
        assert time.monotonic() - start > 1
        expect(page.locator(".answer")).to_contain_text("and no more.")
        with connect(site, f"/ws{page.url.removeprefix(site.url)}", additional_headers=person.headers()) as socket:
            assert receive(socket)["type"] == "welcome"
            send(socket, type="ask", ref="r", text="x" * 4001)
            while (event := receive(socket)).get("ref") != "r":
                pass
            assert event["code"] == "too_long"
