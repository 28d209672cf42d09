"""Languages of emitted sites: complete catalogs, no text outside them, and whole pages in a real browser."""

import gettext
import json
import re
from datetime import datetime
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import launch, visiting
from support.emitted import bake, run
from support.matrix import CHOICES, PYTHONS, label
from support.messages import EMITTED, answers_with_texts, catalogs, extract
from support.pages import commands
from support.programs import require_programs
from support.servers import start_site
from support.workers import SERVE, Work

VISIBLE = {"alt", "aria-label", "label", "placeholder", "title"}  # attributes
# Strings in scripts that look like texts, but are names of keys.
KEYS = {"ArrowUp", "Enter", "Escape"}
ZONE = "America/St_Johns"  # half an hour off the others
FORMATS = {"date": "%d.%m.%Y", "minutes": "%d.%m.%Y, %H:%M", "seconds": "%d.%m.%Y, %H:%M:%S"}
DEVICES = "الأجهزة"
# A device, a question and a token, so that each page has rows.
ROWS = """
from accounts.models import User
from accounts.tokens import issue_token
from assistant.questions import ask, new_conversation
from chat.models import Draft, create_private_room, store_message
from devices.models import Command, Device, Reading
from django.utils import timezone
from notifications.models import Notification
device = Device.objects.create(name="lamp", value=20.5, is_online=True)
Reading.objects.create(device=device, number=1, seq=1, value=20.5, at=timezone.now())
Command.objects.create(device=device, text="on", user_name="ann")
ann = User.objects.get()
issue_token(ann, "my phone")
store_message(Draft("lobby", str(ann.pk), "ann", "r", "Hallo https://example.com"))
create_private_room("~team", ann)
ask(new_conversation(str(ann.pk), "ann"), "r", "Warum?")
Notification.objects.update(text="Willkommen!")  # was welcomed in the language of its sign-up
"""
PAGES = (
    *("/", "/?q=x", "/chat/lobby/", "/chat/~team/", "/chat/~team/members/", "/private/"),
    *("/accounts/", "/accounts/password_change/", "/accounts/tokens/", "/notifications/"),
    *("/devices/", "/devices/lamp/", "/jobs/", "/assistant/", "/assistant/1/", "/dashboard/"),
)
PAGES_OF_STRANGERS = ("/", "/accounts/login/", "/accounts/signup/", "/accounts/password_reset/")
# Names in the admin: of apps, models, columns, filters, fields and actions, and of what is deleted with a row.
NAMES = """
import json
from accounts.models import User
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets, label_for_field
from django.test import RequestFactory
from django.utils.translation import override

request = RequestFactory().get("/")
request.user = User(is_superuser=True)


def names_of(model):
    meta = model._meta
    yield from (meta.verbose_name, meta.verbose_name_plural)


def names_in(shown):
    row = shown.model()
    fields = {*getattr(shown, "list_display", ()), *getattr(shown, "list_filter", ())}
    fields |= {*flatten_fieldsets(shown.get_fieldsets(request, row)), *shown.get_readonly_fields(request, row)}
    yield from names_of(shown.model)
    for field in sorted(fields):
        yield label_for_field(field, shown.model, shown)


def names():
    for model, shown in admin.site._registry.items():
        app = model._meta.app_config
        if app.name.startswith("django."):
            continue
        yield app.verbose_name
        yield from names_in(shown)
        yield from (description for _, _, description in shown.get_actions(request).values())
        for inline in shown.get_inline_instances(request):
            yield from names_in(inline)
        for relation in model._meta.get_fields(include_hidden=True):
            other = relation.related_model
            # Django names the rows of a many-to-many field in English.
            if relation.auto_created and not relation.concrete and not other._meta.auto_created:
                yield from names_of(other)


def names_by(language):
    with override(language):
        return list(map(str, names()))


print(json.dumps(list(zip(names_by("en"), names_by("de")))))
"""
SAME = {
    "chat",
    "feed",
    "id",
    "lease",
    "name",
    "online",
    "text",
    "ticket",
    "tickets",
    "token",
    "url",
}  # in both languages
SHOWN = """() => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (!walker.currentNode.parentElement.closest("script")) texts.push(walker.currentNode.data);
  }
  for (const element of document.body.querySelectorAll("*")) {
    for (const name of ["alt", "aria-label", "placeholder", "title"]) texts.push(element.getAttribute(name));
  }
  return [document.title.split(" · ")[0], ...texts].map((text) => text?.trim()).filter(Boolean);
}"""


@pytest.mark.parametrize("answers", answers_with_texts(), ids=label)
def test_catalogs_have_what_the_code_uses(cookies, environment, answers):
    """Each text has a translation, also in the compiled catalog, and no translation is without a text."""
    project = bake(cookies, **answers)
    known = catalogs(project)
    compiled = {name: gettext.GNUTranslations((project / name).with_suffix(".mo").open("rb")) for name in known}
    for name, entries in known.items():
        (project / name).unlink()
        for (context, text, plural), entry in entries.items():
            assert all(entry.texts), f"{name}: {text}"
            assert (context, entry.flags.count("fuzzy")) == ("", 0)
            found = compiled[name].gettext(text)
            shown = [compiled[name].ngettext(text, plural, count) for count in (1, 2)] if plural else [found]
            assert shown == entry.texts
    needed = extract(project, environment(PYTHONS[-1], CHOICES["django_version"][0]))
    assert {name: set(entries) for name, entries in needed.items()} == {
        name: set(entries) for name, entries in known.items()
    }


def test_same_text_has_one_translation():
    """Django merges the catalogs of all apps, and shows the first translation of a text."""
    found = {}
    for entries in catalogs(EMITTED).values():
        for key, entry in entries.items():
            assert found.setdefault(key, entry.texts) == entry.texts


class Texts(HTMLParser):
    """Reader of the texts that a template shows, without what its tags make."""

    def __init__(self, source):
        super().__init__()
        self.found = []
        source = re.sub(r"\{% blocktranslate.*?endblocktranslate %\}|\{#.*?#\}", "", source, flags=re.DOTALL)
        # Texts in tags, as in `yesno:"On,Off"`. Formats of dates are single words in capitals, or letters.
        for tag in re.findall(r"\{\{.*?\}\}|\{% (?!translate)\w.*?%\}", source, re.DOTALL):
            self.found += re.findall(r"""(?:yesno|default\w*|pluralize):["']([A-Z][^"']+)["']""", tag)
        self.feed(re.sub(r"\{[{%].*?[%}]\}", "", source, flags=re.DOTALL))

    def handle_data(self, data):
        attribute = re.fullmatch(r'\s*\w+="[^"]*"\s*', data)  # of `body`, in a block
        if re.search("[A-Za-z]", data) and not self.cdata_elem and not attribute:
            self.found.append(data.strip())

    def handle_starttag(self, tag, attributes):
        names = VISIBLE | ({"value"} if dict(attributes).get("type") == "submit" else set())
        self.found += [value for name, value in attributes if name in names and re.search("[A-Za-z]", value or "")]


def test_templates_show_translated_texts_only():
    """Each text and each visible attribute of a template is in a tag that translates it."""
    found = {
        str(path.relative_to(EMITTED)): texts
        for path in EMITTED.glob("**/templates/**/*.html")
        if path.name != "site_name.html" and (texts := Texts(path.read_text(encoding="utf-8")).found)
    }
    assert found == {}


def test_scripts_show_translated_texts_only():
    """Each string of a script that begins like a sentence is translated, or is the text of an exception."""
    found = {}
    for path in EMITTED.glob("*/static/**/*.js"):
        source = re.sub(r"^\s*(//|/?\*).*$|\s// .*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        source = re.sub(r"(n?gettext|Error|console\.\w+)\((\s*[\"`][^\"`]*[\"`],?)*", "", source)
        texts = set(re.findall(r"""["`]([A-Z][a-z][^"`]*|[^"`]*[a-z] [a-z][^"`]*[.…])["`]""", source)) - KEYS
        if texts and path.name != "client.js":
            found[str(path.relative_to(EMITTED))] = texts
    assert found == {}


@pytest.fixture(scope="module")
def work(cookies_session, environment, services):
    answers = {"auth": "token", "django_version": CHOICES["django_version"][0]}
    work = Work.prepare(bake(cookies_session, **answers, examples="all"), answers, environment, services)
    add_arabic(work)
    return work


def add_arabic(work):
    """Follow the recipe, with Arabic for French, and translate one text."""
    require_programs({"msgfmt": "gettext"})
    page = work.project / "docs" / "recipes" / "add-a-language.md"
    text = page.read_text(encoding="utf-8").replace('("fr", "Français")', '("ar", "العربية")')
    page.write_text(text.replace("--locale fr", "--locale ar"), encoding="utf-8")
    *before, compiling = commands(text.replace("--locale fr", "--locale ar"))
    for command in before:
        run(["sh", "-c", command], work.project, work.environ)
    catalog = work.project / "devices" / "locale" / "ar" / "LC_MESSAGES" / "django.po"
    (one,) = re.findall('msgid "Devices"\nmsgstr ""\n', catalog.read_text(encoding="utf-8"))
    translated = one.replace('""', f'"{DEVICES}"')
    catalog.write_text(catalog.read_text(encoding="utf-8").replace(one, translated), encoding="utf-8")
    run(["sh", "-c", compiling], work.project, work.environ)


def test_admin_shows_translated_names_only(work):
    """Apps, models, columns, filters, fields and actions of the project have German names in the admin."""
    names = json.loads(work.shell(NAMES))
    shown = {"Accounts", "last used at", "job", "readings", "turn", "Notify selected users"}
    assert shown <= {english for english, _ in names}
    same = {english.casefold() for english, german in names if english.casefold() == german.casefold()}
    assert same == SAME


@pytest.mark.timeout(300)
def test_pages_follow_the_language_of_the_browser(work):
    """Every page is German as a whole, with times in the zone of the reader. Arabic runs from right to left."""
    english = [
        re.sub(r"%(\\\((\w+)\\\))?[sd]", ".+", re.escape(text)) + "$"
        for entries in catalogs(work.project).values()
        for (_, *texts), entry in entries.items()
        for text in filter(None, texts)
        if text not in entry.texts
    ]
    english = re.compile("|".join(english))
    german = {"locale": "de-DE", "timezone_id": ZONE}
    with (
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
        start_site(SERVE, work.project, work.environ) as site,
        visiting(browser, site.url) as visits,
    ):
        ann = work.staff(site)
        work.manage("shell", "-c", ROWS)
        for person, paths in ((None, PAGES_OF_STRANGERS), (ann, PAGES)):
            page = visits(person, paths[0], **german).page
            for path in paths:
                page.goto(path)
                expect(page.locator("html")).to_have_attribute("lang", "de")
                expect(page.locator("html")).to_have_attribute("dir", "ltr")
                if "/chat/lobby" in path:
                    expect(page.get_by_role("status")).to_have_text("Verbunden")
                    expect(page.locator("li.day")).to_have_text("Heute")
                    expect(page.locator(".people")).to_have_text(f"Anwesend: {ann.name}")
                if "dashboard" in path:
                    expect(page.locator("figcaption").first).to_have_text("Verbindungen")
                assert {path: [text for text in page.evaluate(SHOWN) if english.match(text)]} == {path: []}
                for time in page.locator("time[data-shown]").all():
                    at = datetime.fromisoformat(time.get_attribute("datetime")).astimezone(ZoneInfo(ZONE))
                    expect(time).to_have_text(format(at, FORMATS[time.get_attribute("data-shown")]))
        plain = visits(ann, "/notifications/", **german, java_script_enabled=False).page
        assert re.fullmatch(r"\d+\. \w+ \d{4} \d\d:\d\d UTC", plain.locator("time").first.text_content())
        arabic = visits(ann, "/devices/", locale="ar").page
        assert arabic.locator("html").get_attribute("dir") == "rtl"
        expect(arabic.get_by_role("heading", name=DEVICES)).to_be_visible()
        english_page = visits(ann, "/devices/", locale="fr").page
        assert english_page.locator("html").get_attribute("lang") == "en"
        expect(english_page.get_by_role("heading", name="Devices")).to_be_visible()
