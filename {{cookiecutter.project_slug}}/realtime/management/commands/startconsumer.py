"""Generator of an app with a consumer, its page and its tests."""

import builtins
import keyword
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template import Context, Engine
from django.template.base import BLOCK_TAG_END, BLOCK_TAG_START
from django.urls import Resolver404, get_resolver, resolve

from realtime.conf import settings
from realtime.edits import EditError, Source, sort_imports

TEMPLATES = Path(__file__).resolve().parents[2] / "startconsumer"
# Tags with a line of their own, which leave no line behind.
WORDS = "if|elif|else|endif|verbatim|endverbatim"
TAGS = re.compile(rf"^({BLOCK_TAG_START} (?:{WORDS})\b.*{BLOCK_TAG_END})\n", re.M)
FEEDS = "realtime.feeds"  # numbers what is stored
URLS_AFTER = r".*'realtime\.urls'|(re_)?path\('\^?[<(]"
LONGEST = 27  # characters of a name, so that no line of the app has more than 100
SKIPPED = {"build", "dist", "htmlcov", "node_modules", "staticfiles", "venv"}  # by git or tools
# By the tests of the project, the base of consumers, Python, and the proxy.
RESERVED = SKIPPED | {"lobby", "sync_realtime", "test", "ws"}
STYLES = {
    "async": {
        "async": "async ",
        "await": "await ",
        "publish": "apublish",
        "base": "RealtimeConsumer",
    },
    "sync": {"async": "", "await": "", "publish": "publish", "base": "SyncRealtimeConsumer"},
}
OPTIONS = {
    "stored": "Store and number what is sent, and replay what a client missed.",
    "user": "Send to the tabs of the same user only.",
    "public": "Admit visitors who have not signed in.",
    "dry-run": "List the files and the edits, and write nothing.",
}


class Command(BaseCommand):
    """Command that writes an app, and adds its lines to the settings and to the lists of paths."""

    help = "Write an app with a WebSocket consumer, a page and tests, and add it to the site."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="Name of the app, such as dice.")
        styles = parser.add_mutually_exclusive_group()
        for style in STYLES:
            text = f"Write {style} handlers. Without an option, REALTIME_CONSUMERS decides."
            styles.add_argument(
                f"--{style}", dest="style", action="store_const", const=style, help=text
            )
        for option, text in OPTIONS.items():
            parser.add_argument(f"--{option}", action="store_true", help=text)

    def handle(self, *, name: str, **options: Any) -> None:
        root = Path(settings.BASE_DIR)
        check_name(name, root)
        files = render_files(context_of(name, options))
        needs_feeds = options["stored"] and not apps.is_installed(FEEDS)
        sources = edit_sources(name, [FEEDS, name] if needs_feeds else [name])
        for path in files:
            self.stdout.write(f"{name}/{path}")
        for source in sources:
            path = source.path.relative_to(root).as_posix()
            for line in source.added:
                self.stdout.write(f"{path}: {line}")
        if options["dry_run"]:
            return
        try:
            write_files(files, root / name)
            for source in sources:
                source.write()
        except OSError as error:
            shutil.rmtree(root / name, ignore_errors=True)
            for source in sources:
                source.restore()
            raise CommandError(f"{error}. Nothing was changed.") from error
        self.stdout.write("\nThe app is ready. Next:\n\n")
        python = "uv run python" if "UV" in os.environ else "python"  # set by uv
        for step in ("migrate", "runserver") if options["stored"] else ("runserver",):
            self.stdout.write(f"    {python} manage.py {step}")
        self.stdout.write(f"\nThen open http://{settings.HOST}:{settings.PORT}/{name}/")


def check_name(name: str, root: Path) -> None:
    """Raise CommandError unless a new app can have the name."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise CommandError(
            f"{name!a} cannot be the name of an app: use lower case letters, digits and single _ "
            "between them, with a letter first, such as dice."
        )
    if len(name) > LONGEST:
        raise CommandError(f"{name} has {len(name)} characters: use at most {LONGEST}.")
    if owner := owner_of(name, root):
        raise CommandError(f"{name} is the name of {owner}: use another, such as my_{name}.")


def owner_of(name: str, root: Path) -> str | None:
    """Return what has the name already, or None."""
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "a keyword of Python"
    if hasattr(builtins, name):
        return "a function of Python"
    if (root / name).exists():
        return "a file or folder in the project"
    if name in RESERVED:
        return "a folder or path that is reserved"
    if name in {app.label for app in apps.get_app_configs()}:
        return "an app"
    if find_spec(name):
        return "a module that can be imported"
    if name in get_resolver().reverse_dict:
        return "a URL"
    try:
        route = resolve(f"/{name}/").route
    except Resolver404:
        return None
    # A pattern such as <slug:slug>/ has no page of this name in particular.
    return "a page" if route.strip("^$") == f"{name}/" else None


def edit_sources(name: str, new_apps: list[str]) -> list[Source]:
    """Return the files of the project with the lines of the app, not written yet."""
    configuration = path_of(os.environ["DJANGO_SETTINGS_MODULE"])
    urls = path_of(settings.ROOT_URLCONF)
    routing = urls.with_name("routing.py")
    sockets = f"*{name}.routing.websocket_urlpatterns"
    additions = [
        *((configuration, "INSTALLED_APPS", f'"{app}"', "$") for app in new_apps),
        (routing, "", f"import {name}.routing", ""),
        # Before the path that refuses all others.
        (routing, "websocket_urlpatterns", sockets, r"re_path\(''|.*\brefuse\("),
        # Before the paths for operators, and before a pattern that begins with a variable.
        (urls, "urlpatterns", f'path("", include("{name}.urls"))', URLS_AFTER),
    ]
    sources: dict[Path, Source] = {}
    for path, items, line, before in additions:
        try:
            source = sources[path] = sources.get(path) or Source(path)
            if items:
                source.add_item(items, line, before)
            else:
                source.add_import(line)
        except EditError as error:
            file = path.relative_to(settings.BASE_DIR).as_posix()
            reason = f"{file} has no place for {line}, because {error}"
            raise CommandError(f"{reason}. Nothing was written.") from error
    return list(sources.values())


def path_of(module: str) -> Path:
    """Return the file of a module, which is not imported."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def context_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of the templates. Raise CommandError if options contradict the site."""
    style = options["style"] or settings.REALTIME_CONSUMERS
    if style not in STYLES:
        raise CommandError(f"REALTIME_CONSUMERS is {style!a}: use {' or '.join(STYLES)}.")
    guests = "realtime.auth.guests.authenticate" in settings.REALTIME_AUTHENTICATORS
    if guests and options["public"]:
        raise CommandError("--public: this site admits guests everywhere. Leave the option out.")
    tickets, public = settings.REALTIME_TICKETS, options["public"]
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "class": name.title().replace("_", ""),
        "tickets": tickets,
        "url": "url" if tickets and public else "withTicket(path)" if tickets else "path",
        "guests": guests,
        "group": "self.group" if options["user"] else "GROUP",
        "feed": "feed" if options["user"] else "FEED",
        **STYLES[style],
        **options,
    }


def render_files(context: dict[str, Any]) -> dict[str, str]:
    """Return the text of each file of the app by its path."""
    folders = ["app", "stored" if context["stored"] else "live"]
    empty = ["__init__.py", "tests/__init__.py"]
    if context["stored"]:
        empty.append("migrations/__init__.py")
        if apps.is_installed("django.contrib.admin"):
            folders.append("admin")
    files = dict.fromkeys(empty, "")
    engine = Engine(autoescape=False)
    for folder in (TEMPLATES / name for name in folders):
        for path in folder.rglob("*-tpl"):
            template = engine.from_string(TAGS.sub(r"\1", path.read_text(encoding="utf-8")))
            target = path.relative_to(folder).as_posix().replace("app_name", context["name"])
            text = template.render(Context(context))
            files[target.removesuffix("-tpl")] = sort_imports(text)
    return dict(sorted(files.items()))


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write the texts to their paths in a new folder."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
