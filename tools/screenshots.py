"""Pictures of the default project and of one with all sample apps, for docs/screenshots or the given folder."""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright
from support.browsers import Visits, Window, launch, prepare_demo
from support.client import PASSWORD
from support.emitted import clean_environ, run
from support.matrix import TEMPLATE
from support.servers import start_site

import demo

PICTURES = Path(*sys.argv[1:2] or [TEMPLATE / "docs" / "screenshots"])
DESKTOP = {"width": 960, "height": 640}
PHONE = {"width": 320, "height": 568}

YESTERDAY = """
from datetime import timedelta
from django.db.models import F
from chat.models import Message
Message.objects.update(at=F("at") - timedelta(days=1))"""
TALK = (
    [("ann", "Who is in for the harbour tomorrow? The boats leave at ten."), ("ben", "Me! I will bring the bread.")],
    [("ann", "Great. Coffee is on me."), ("ben", "Then we lack nothing but the sun ☀️")],
)
HEBREW = (("ann", "שלום! מישהו רוצה קפה?"), ("ben", "כן, בשמחה ☕"), ("ann", "ניפגש ב-Café Nordlicht בעשר"))

# Figures of five minutes before now, for charts that are full.
MINUTES = """
from datetime import timedelta
from math import sin
from django.utils import timezone
from dashboard.events import FEED, KEPT, figures_event
from realtime.feeds.events import append
for second in range(KEPT, 1, -1):
    wave = sin(second / 23) + sin(second / 7) / 3
    values = (40 + 12 * wave, 90 + 60 * wave * sin(second), 0.8 + 0.3 * sin(second * second), 5, 5, 2 + 2 * wave, 4)
    event = figures_event()
    event["at"] = (timezone.now() - timedelta(seconds=second)).isoformat()
    event["values"] = {label: max(0, round(value)) for label, value in zip(event["values"], values)}
    append(FEED, event)
"""

# Devices with five minutes of readings, and commands to one of them.
DEVICES = """
from math import sin
from devices.commands import send_command
from devices.messages import AnswerMessage, ReadingMessage, StatusMessage
from devices.models import Device
from devices.storing import store_messages
for place, name in enumerate(["boiler", "cellar", "greenhouse", "harbour", "roof", "workshop"]):
    store_messages([StatusMessage(name, name != "cellar")])
    waves = [sin(second / 40 + place) + sin(second * second) / 12 for second in range(300)]
    store_messages([ReadingMessage(name, n, round(20 + 3 * wave, 2), None) for n, wave in enumerate(waves, 1)])
roof = Device.objects.get(name="roof")
for text, *answers in (("open window", "", "Open"), ("measure twice", ""), ("close window",)):
    command = send_command(roof, text, "ann")
    store_messages([AnswerMessage(roof.name, command.pk, answer) for answer in answers])
"""


def sign_up(visits: Visits, name: str) -> Window:
    window = visits(None, "/accounts/signup/", viewport=DESKTOP)
    window.fill_in("Sign up", {"Username": name, "Password": PASSWORD, "Password confirmation": PASSWORD})
    return window


def talk(windows: dict[str, Window], path: str, *lines: tuple[str, str]) -> None:
    """Send these lines in a room, each after the one before."""
    for window in windows.values():
        window.page.goto(path)
        expect(window.status).to_have_text("Connected")
    for name, text in lines:
        windows[name].send(text)
        for window in windows.values():
            expect(window.messages.last.locator(".text")).to_have_text(text)
            expect(window.log.locator(".pending")).to_have_count(0)


def take(window: Window, name: str) -> None:
    window.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
    print(f"{name}.png: {(PICTURES / f'{name}.png').stat().st_size / 1000:.0f} KB")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
    ):
        take_chat(browser, Path(folder))
        take_other_apps(browser, Path(folder))


def take_chat(browser: Browser, folder: Path) -> None:
    command, environ = prepare_demo(folder)
    with start_site(command, demo.PROJECT, environ) as site:
        visits = Visits(browser, site.url)
        windows = {name: sign_up(visits, name) for name in ("ann", "ben")}
        ann, ben = windows.values()
        talk(windows, "/chat/lobby/", *TALK[0])
        run([command[0], "manage.py", "shell", "-c", YESTERDAY], demo.PROJECT, environ)
        talk(windows, "/chat/שלום/", *HEBREW)
        take(ann, "right-to-left")
        talk(windows, "/chat/café/", ("ben", "A table for two at noon?"))
        talk(windows, "/chat/lobby/", *TALK[1])
        ben.box.press_sequentially("I")
        expect(ann.typing).to_have_text("ben is typing…")
        take(ann, "room-light")
        ann.page.emulate_media(color_scheme="dark")
        take(ann, "room-dark")
        ann.page.emulate_media(color_scheme="light")
        ann.page.set_viewport_size(PHONE)
        take(ann, "phone")
        ann.page.set_viewport_size(DESKTOP)
        ann.page.goto("/")
        take(ann, "rooms")
        visits.check()


def take_other_apps(browser: Browser, folder: Path) -> None:
    """Bake a project with all sample apps, and serve it with the packages of the default one."""
    bake = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "--output-dir", str(folder)]
    run([*bake, str(TEMPLATE), "examples=all"], TEMPLATE, clean_environ())
    project = folder / demo.PROJECT.name
    manage = [str(demo.PROJECT / ".venv" / "bin" / "python"), "manage.py"]
    run([*manage, "migrate", "--verbosity", "0"], project, clean_environ())
    for code in (MINUTES, DEVICES):
        run([*manage, "shell", "--no-imports", "-c", code], project, clean_environ())
    with start_site([*manage, "runserver", "--noreload"], project, clean_environ()) as site:
        visits = Visits(browser, site.url)
        ann = sign_up(visits, "ann")
        promote = "from accounts.models import User; User.objects.update(is_staff=True)"
        run([*manage, "shell", "--no-imports", "-c", promote], project, clean_environ())
        ann.page.goto("/jobs/")
        ann.page.get_by_role("button", name="Prepare report").click()
        expect(ann.page.locator(".steps-done li")).to_have_count(5)
        take(ann, "jobs")
        ann.page.goto("/assistant/")
        ann.page.get_by_role("button", name="New conversation").click()
        ann.page.get_by_role("textbox").fill("What are channels?")
        ann.page.keyboard.press("Enter")
        expect(ann.page.get_by_text("Each piece is stored")).to_be_visible()
        take(ann, "assistant")
        for text in ("ben added you to ~harbour.", "Your report is ready."):
            run([*manage, "notify", "--user", "ann", text, "--url", "/jobs/"], project, clean_environ())
        ann.page.goto("/notifications/")
        take(ann, "notifications")
        ann.page.goto("/devices/")
        expect(ann.page.locator("[data-device]")).to_have_count(6)
        take(ann, "devices")
        ann.page.goto("/devices/roof/")
        expect(ann.page.locator(".chart path")).to_have_attribute("d", re.compile("L"))
        take(ann, "device")
        ann.page.goto("/dashboard/")
        expect(ann.page.get_by_role("status")).to_have_text("Live")
        expect(ann.page.locator("figcaption")).to_have_count(7)
        take(ann, "dashboard")
        visits.check()


if __name__ == "__main__":
    main()
