"""Generator of an app with a consumer, its page and its tests."""

import builtins
import keyword
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template import Context, Engine
from django.urls import Resolver404, get_resolver, resolve

from realtime.conf import settings
from realtime.edits import EditError, Source, sort_imports

TEMPLATES = Path(__file__).resolve().parents[2] / "startconsumer"
# Lines that contain nothing but such a tag leave nothing behind.
TAGS = re.compile(r"^(\{% (?:if|elif|else|endif|verbatim|endverbatim)\b.*%\})\n", re.M)
LONGEST = 30  # characters of a name, so that the app's lines are short enough
# Folders that tools skip, and paths of proxies and of the project's tests.
RESERVED = {"build", "dist", "htmlcov", "lobby", "node_modules", "staticfiles", "venv", "ws"}
STYLES = {
    "async": {
        "async": "async ",
        "await": "await ",
        "publish": "apublish",
        "base": "RealtimeConsumer",
    },
    "sync": {"publish": "publish", "base": "SyncRealtimeConsumer"},
}
# The items of lists above which the app's items belong: of the path that refuses all others, and of
# the paths for operators.
LAST, OPERATORS = r"re_path\(''", r".*'realtime\.urls'"


class Command(BaseCommand):
    """Command that writes an app, and adds its lines to the settings and to the lists of paths."""

    help = "Write an app with a WebSocket consumer, a page and tests, and add it to the site."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The app's name, such as dice.")
        styles = parser.add_mutually_exclusive_group()
        for style in STYLES:
            text = f"Write {style} handlers. Without it, REALTIME_CONSUMERS decides."
            styles.add_argument(
                f"--{style}", dest="style", action="store_const", const=style, help=text
            )
        parser.add_argument(
            "--user", action="store_true", help="Send to the tabs of the same user only."
        )
        parser.add_argument("--public", action="store_true", help="Admit guests.")
        parser.add_argument(
            "--dry-run", action="store_true", help="List the files and edits. Write nothing."
        )

    def handle(self, *, name: str, dry_run: bool, **options: Any) -> None:
        root = Path(settings.BASE_DIR)
        check_name(name, root)
        files = dict(files_of(context_of(name, **options)))
        sources = edit(name)
        for path in files:
            self.stdout.write(f"{name}/{path}")
        for source in sources:
            lines = " and ".join(source.added)
            self.stdout.write(f"{source.path.relative_to(root).as_posix()}: {lines}")
        if dry_run:
            self.stdout.write("\nNothing was written.")
            return
        for path, text in files.items():
            target = root / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
        for source in sources:
            source.write()
        self.stdout.write("\nThe app is ready. Next:\n")
        self.stdout.write(f"    python -m pytest --no-cov {name}")
        self.stdout.write("    python manage.py runserver")
        self.stdout.write(f"\nThen open http://{settings.HOST}:{settings.PORT}/{name}/.")


def check_name(name: str, root: Path) -> None:
    """Raise CommandError unless an app can have the name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CommandError(
            f"{name!a} is not a name of an app: use lower case letters, digits and _, "
            "and begin with a letter, such as dice."
        )
    if len(name) > LONGEST:
        raise CommandError(f"{name} has {len(name)} characters: use at most {LONGEST}.")
    if reason := taken_by(name, root):
        raise CommandError(f"{name} is {reason}: use another name, such as my_{name[:20]}.")


def taken_by(name: str, root: Path) -> str | None:
    """Return what has the name already, or None."""
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "a keyword of Python"
    if name in RESERVED:
        return "reserved"
    if (root / name).exists():
        return "a file or folder here"
    if name in {app.label for app in apps.get_app_configs()}:
        return "the label of an app"
    if hasattr(builtins, name) or find_spec(name):
        return "a module or a function of Python or of a package"
    if name in Source(routing_path()).names():
        return "a name in the list of WebSocket paths"
    if name in get_resolver().reverse_dict:
        return "the name of a path"
    try:
        resolve(f"/{name}/")
    except Resolver404:
        return None
    return "a path of this site"


def routing_path() -> Path:
    """Return the file with the WebSocket paths, which is beside the one with the HTTP paths."""
    return path_of(settings.ROOT_URLCONF).with_name("routing.py")


def path_of(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def edit(name: str) -> list[Source]:
    """Return the files of the project with the app's lines, which are not written yet."""
    urls = path_of(settings.ROOT_URLCONF)
    additions = (
        (path_of(settings.SETTINGS_MODULE), "INSTALLED_APPS", f'"{name}"', "$"),
        (routing_path(), "", f"{name}.routing", ""),
        (routing_path(), "websocket_urlpatterns", f"*{name}.routing.websocket_urlpatterns", LAST),
        (urls, "urlpatterns", f'path("", include("{name}.urls"))', OPERATORS),
    )
    sources: dict[Path, Source] = {}
    for path, items, line, before in additions:
        try:
            source = sources.setdefault(path, Source(path))
            if items:
                source.add_item(items, line, before)
            else:
                source.add_import(line)
        except EditError as error:
            file = path.relative_to(settings.BASE_DIR).as_posix()
            raise CommandError(
                f"{file}: {error}, so {line} has no place. Nothing was written."
            ) from error
    return list(sources.values())


def context_of(
    name: str, *, style: str | None, user: bool, public: bool, **_: Any
) -> dict[str, Any]:
    """Return the variables of the templates. Raise CommandError if options contradict the site."""
    guests = "realtime.auth.guests.authenticate" in settings.REALTIME_AUTHENTICATORS
    if public and guests:
        raise CommandError("--public: this site admits guests everywhere. Leave the option out.")
    style = style or settings.REALTIME_CONSUMERS
    if style not in STYLES:
        raise CommandError(f"REALTIME_CONSUMERS is {style!r}: use {' or '.join(STYLES)}.")
    words, tickets = STYLES[style], settings.REALTIME_TICKETS
    url = "withTicket(SOCKET)" if tickets else "SOCKET"
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "class": name.title().replace("_", ""),
        "group": "self.group" if user else "GROUP",
        "url": "url" if tickets and public else url,
        "tickets": tickets,
        "guests": guests,
        "public": public,
        "user": user,
        "broadcast": ", ".join(sorted([words["publish"], *["group_name"] * user])),
        **words,
    }


def files_of(context: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the paths of the app's files, with their content."""
    engine = Engine(autoescape=False)
    yield "__init__.py", ""
    yield "tests/__init__.py", ""
    for path in sorted(TEMPLATES.rglob("*-tpl")):
        target = path.relative_to(TEMPLATES).as_posix().replace("app_name", context["name"])
        source = TAGS.sub(r"\1", path.read_text(encoding="utf-8"))
        text = engine.from_string(source).render(Context(context))
        yield target.removesuffix("-tpl"), sort_imports(text)
