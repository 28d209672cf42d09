"""Pictures of the README, or of every page: in all widths, colours, directions and languages, with a sheet per page."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from playwright.sync_api import sync_playwright
from support.browsers import Visits, Window, launch
from support.emitted import clean_environ, run
from support.matrix import Answers
from support.servers import start_site
from support.showcase import Showcase, add_errors

import demo

# Pictures of the README: a site, a page of it, and options of the window.
DESKTOP = {"viewport": {"width": 960, "height": 640}}
PHONE = {"viewport": {"width": 320, "height": 568}}
DEFAULT: Answers = {"examples": "chat", "auth": "session"}
ALL: Answers = {"examples": "all", "auth": "session"}
README = {
    "start": (DEFAULT, "start", DESKTOP),
    "room-light": (DEFAULT, "room", DESKTOP),
    "room-dark": (DEFAULT, "room", {**DESKTOP, "color_scheme": "dark"}),
    "right-to-left": (DEFAULT, "room-hebrew", DESKTOP),
    "phone": (DEFAULT, "room", PHONE),
    "rooms": (DEFAULT, "home", DESKTOP),
    **{name: (ALL, name, DESKTOP) for name in ("notifications", "jobs", "dashboard", "devices", "device")},
    "assistant": (ALL, "conversation", DESKTOP),
}

# Looks of every page.
EVERYTHING: Answers = {"examples": "all", "auth": "token"}
LOCALES = ("en-GB", "de-DE")
DIRECTIONS = ("ltr", "rtl")
SIZES = {320: 568, 768: 1024, 1920: 1080}
THUMBNAILS = {320: 150, 768: 270, 1920: 560}  # on a sheet
SCHEMES = ("light", "dark")
TALLEST = 2000  # pixels of a page that is shown whole
SHEET = """<!DOCTYPE html><meta charset="utf-8"><style>
body { margin: 8px; background: #888; font: 13px sans-serif; width: 2040px }
div { display: flex; gap: 8px; margin: 4px 0 12px; align-items: start }
</style>"""


@contextmanager
def showcase(answers: Answers, folder: Path) -> Iterator[tuple[Showcase, str]]:
    """Serve a site of these answers with the packages of build/demo. Yield it with its URL."""
    bake = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "--output-dir", str(folder)]
    chosen = [f"{question}={choice}" for question, choice in answers.items()]
    run([*bake, str(demo.TEMPLATE), *chosen], demo.TEMPLATE, clean_environ())
    project = folder / demo.PROJECT.name
    errors = add_errors(project)
    manage = [str(demo.PROJECT / ".venv" / "bin" / "python"), "manage.py"]
    environ = clean_environ()
    run([*manage, "migrate", "--verbosity", "0"], project, environ)
    with start_site([*manage, "serve"], project, environ) as site:
        shown = Showcase(site, project, environ, answers, manage=manage)
        shown.pages += errors
        with shown.company():
            yield shown, site.url


def take_readme(folder: Path) -> None:
    """Take the pictures of the README."""
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        for answers in (DEFAULT, ALL):
            with tempfile.TemporaryDirectory() as place, showcase(answers, Path(place)) as (site, url):
                visits = Visits(browser, url)
                pages = {page.name: page for page in site.pages}
                for name, (own, page, options) in README.items():
                    if own == answers:
                        reader = pages[page].reader
                        window = site.windows(visits, [reader], **options)[reader]
                        site.show(window, pages[page])
                        path = folder / f"{name}.png"
                        window.page.screenshot(path=path, animations="disabled")
                        print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB", flush=True)
                visits.check()
                visits.close()


def take_everything(folder: Path, chosen: list[str], locales: list[str]) -> None:
    """Take each look of these pages, or of all. A sheet per page has all of them."""
    with (
        tempfile.TemporaryDirectory() as place,
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
        showcase(EVERYTHING, Path(place)) as (site, url),
    ):
        visits = Visits(browser, url)
        windows = {locale: site.windows(visits, locale=locale) for locale in locales}
        sheet = browser.new_page(viewport={"width": 2056, "height": 1000})
        for page in site.pages:
            if chosen and page.name not in chosen:
                continue
            pictures = folder / page.name
            pictures.mkdir(parents=True, exist_ok=True)
            rows = []
            for locale in locales:
                window = windows[locale][page.reader]
                site.show(window, page)
                for direction in DIRECTIONS:
                    row = f"{page.name} {locale} {direction}<div>"
                    for width, scheme in product(SIZES, SCHEMES):
                        name = f"{locale}-{direction}-{width}-{scheme}.png"
                        take_look(window, pictures / name, direction, width, scheme)
                        row += f'<img src="{page.name}/{name}" alt="{name}" width="{THUMBNAILS[width]}">'
                    rows.append(f"{row}</div>")
            file = folder / f"{page.name}.html"
            file.write_text(SHEET + "".join(rows), encoding="utf-8")
            sheet.goto(file.as_uri())
            sheet.screenshot(path=folder / f"{page.name}.png", full_page=True)
            print(page.name, flush=True)


def take_look(window: Window, path: Path, direction: str, width: int, scheme: str) -> None:
    window.page.set_viewport_size({"width": width, "height": SIZES[width]})
    window.page.emulate_media(color_scheme=scheme)
    window.page.evaluate("direction => { document.documentElement.dir = direction }", direction)
    height = window.page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST)}
    window.page.screenshot(path=path, full_page=True, clip=clip, animations="disabled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=demo.TEMPLATE / "docs" / "screenshots")
    parser.add_argument("--everything", action="store_true", help="every page, in a folder outside the repository")
    parser.add_argument("--pages", nargs="*", default=[], help="only these pages")
    parser.add_argument("--locales", nargs="*", default=LOCALES)
    arguments = parser.parse_args()
    demo.set_up()
    if arguments.everything:
        take_everything(arguments.folder.resolve(), arguments.pages, arguments.locales)
    else:
        take_readme(arguments.folder)


if __name__ == "__main__":
    main()
