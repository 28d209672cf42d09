"""Pages of the template and of projects: commands are run by tests, generated parts are current, links resolve."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from support.emitted import bake, clean_environ, environ_for, production_values, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE, combinations, covering, label
from support.servers import start_site
from support.template import EMITTED

from tools import readme

pytestmark = pytest.mark.xdist_group("readme")  # share projects

PROGRAMS = r"(?:make|uvx?|cookiecutter|cruft|git|docker|kubectl|python|sudo|cp|curl|old=\S+|for) "
CLUSTER = "needs a cluster; its manifests and their commands are run without one"
ITSELF = "runs this test itself, or takes half an hour"

# Each command, as a regular expression, with the test that runs it.
RUN = {
    "uvx cookiecutter gh:org/channels-template": "test_readme.py::test_first_minute_is_up_to_date",  # from this folder
    "cd book-club": "test_readme.py::test_first_minute_is_up_to_date",
    "make (setup|dev)": "test_readme.py::test_first_minute_is_up_to_date",
    "make \\.env": "test_options.py::test_clone_gets_an_env_of_its_own",
    "make dev HOST=.*": "test_runserver.py::test_phones_in_the_network_may_connect",
    "make dev PORT=9000": "test_readme.py::test_first_minute_is_up_to_date",
    "make test": "test_install.py::test_installation_by_the_readme_works",
    "make lint": "test_install.py::test_installation_by_the_readme_works",
    "make lint test": "test_recipes.py::test_recipes_work",  # in two
    'uv add "celery.*|uv run (celery .*|python manage.py worker)': "test_other_code.py::test_tasks_publish",
    "sed -n .* docs/recipes/bring-other-code.md \\| git apply": "test_other_code.py::test_package_works",
    "sed -n .* docs/recipes/mount-elsewhere.md \\| git apply": "test_mounting.py::test_site_works_at_other_paths",
    'uv add "(django-htmx|sentry-sdk).*': "test_other_code.py::test_pages_and_reports_outlive_servers",
    'uv add "(django-allauth|djangorestframework>|djangochan|strawberry).*': "test_other_code.py::test_package_works",
    "ACL SETUSER .*": "test_redis_hosts.py::test_password_and_tls",
    "curl --.*\\b127\\.0\\.0\\.1:8000/.*": "test_troubleshooting.py::test_commands_name_the_cause",
    "curl --.* https://chat\\.example\\.com/.*": "test_troubleshooting.py::test_endless_redirect_is_shown",
    "grep -rl .*": "test_troubleshooting.py::test_template_without_a_token_is_listed",
    'uv run python manage.py shell -c "from realtime.broadcast .*': (
        "test_troubleshooting.py::test_commands_name_the_cause"
    ),
    "uv run python manage.py changepassword ann": "test_signins.py::test_every_end_closes_the_sockets",
    "git apply docs/troubleshooting.md": "test_troubleshooting.py::test_scripts_run_where_they_are_allowed",
    "uv run --with debugpy .*": "test_troubleshooting.py::test_ide_stops_in_a_view",
    "uv run .*|git apply.*|touch .*|perl -pi .*": "test_recipes.py::test_recipes_work",
    'uv add --dev "django-debug-toolbar.*': "test_other_code.py::test_sections_work_for_guests",
    "uv add --dev .*": "test_recipes.py::test_tests_of_the_recipe_pass",
    'uv add "djangorestframework-simplejwt.*': "test_recipes.py::test_jwts_open_sockets_until_they_expire",
    "uvx cruft create https://.*|uvx cruft update -y": "test_update.py::test_update_keeps_edits",
    "(rm -rf|rm deploy|ls docs|perl -00 -ni|perl -ni|perl -0 -pi)\\b.*": "test_deletions.py::test_app_can_be_deleted",
    "rm \\.\\./data.json": "test_changed_answers.py::test_data_moves_to_another_database",
    "rm (-r chat|(-r )?docs/recipes).*": "test_examples.py::test_chat_can_be_deleted",
    'uvx "cruft.*" update -y --variables-to-update .*': "test_changed_answers.py::test_cruft_changes_the_files",
    '(template|folder)=.*|bake\\(\\) {|rm -rf "\\$folder.*|uvx cookiecutter --no-input .*|}': (
        "test_update.py::test_git_alone_follows_the_template"
    ),
    'git (-C "\\$folder"|init|fetch|cherry-pick|add|rm)( .*)?|bake .*': (
        "test_update.py::test_git_alone_follows_the_template"
    ),
    "python3 -m venv .*|\\. \\.venv.*|python -m .*|pip install .*": "test_install.py::test_pip_is_enough",
    "git status|git diff HEAD .*": "test_changed_answers.py::test_cruft_changes_the_files",
    "git show HEAD .*": "test_update.py::test_git_alone_follows_the_template",
    "\\(umask 077; uv run .*": "test_changed_answers.py::test_data_moves_to_another_database",
    "uv add .*": "test_changed_answers.py::test_added_packages_are_enough",
    'uvx "cruft.*" link .*': "test_update.py::test_project_of_plain_cookiecutter_is_linked",
    "(SITE|SOCKET|CSRF|COOKIE|TOKEN|TICKET)=.*|wscat .*|curl -sS .*": (
        "test_protocol.py::test_examples_of_the_page_are_run"
    ),
    "make load( URL=.*)?": "test_load.py::test_load_is_measured",
    "make serve": "test_live.py::test_two_people_talk",
    "export .*": "test_platforms.py::test_tunnel_serves_without_debug",
    "ALLOWED_ORIGINS=.* make dev": "test_platforms.py::test_codespace_needs_its_origin_only",
    "uv sync --locked --no-dev": "test_containers.py::test_image_has_what_was_locked",
    "python manage.py email_unread": "test_suites.py::test_suite_of_all_sample_apps_passes",
    'python -c "import secrets; .*': "test_platforms.py::test_procfile_serves_behind_a_router_of_unknown_address",
    "make demo( PORT=8001)?": "test_demo.py::test_demo_is_ready_and_stops_on_ctrl_c",
    "make screenshots": "test_demo.py::test_pictures_are_taken",
    "make screenshots FOLDER=.* ARGS=--everything": "test_demo.py::test_every_look_is_taken",
    "make lighthouse": "test_pages.py::test_lighthouse",
    "make matrix": "test_readme.py::test_matrix_is_listed",
    "python manage.py (check|migrate|collectstatic|serve) ?.*": ("test_readme.py::test_production_without_containers"),
    "python manage.py startconsumer NAME": "test_startconsumer.py::test_apps_are_clean_and_pass_their_tests",
    "(make|python manage.py) worker": "test_jobs.py::test_job_survives_its_workers_and_servers",
    "(uv run )?python manage.py (bridge|simulate)_devices( --count 1000)?": (
        "test_devices.py::test_nothing_is_lost_or_doubled_by_kills"
    ),
    "docker compose up -d mosquitto": "test_devices.py::test_compose_has_a_broker",
    "python manage.py runworker estimates": "test_jobs.py::test_channels_worker_answers",
    "python manage.py cleanup": "test_deploy.py::test_manifests_run_the_site",
    "python manage.py runserver": "test_runserver.py::test_sockets_come_back_after_an_edit",
    "(cp (.env|secret).example\\S* .*|chmod 600 .env)": "test_readme.py::test_examples_are_copied",
    "docker compose up -d (postgresql ?)?(redis)?": "test_containers.py::test_services_restart",
    "docker compose (build|up --build( --detach)?)": "test_containers.py::test_first_start_creates_a_user",
    "docker compose up --detach": "test_containers.py::test_backup_is_restored",
    "docker compose exec web python manage.py check --deploy": (
        "test_containers.py::test_production_on_one_machine_with_nothing_installed"
    ),
    "docker compose exec web python manage.py createsuperuser": "test_containers.py::test_first_start_creates_a_user",
    "docker compose exec nginx nginx -s reload": "test_containers.py::test_new_certificate_is_served_after_a_reload",
    "docker compose run --rm migrate|old=.*|docker compose up .* --scale web=4 web|for server in .*": (
        "test_containers.py::test_update_loses_nothing"
    ),
    "docker compose restart nginx": "test_containers.py::test_services_restart",
    "(\\(umask 077; )?docker compose (exec -T postgresql pg_(dump|restore) .*|stop web cleanup( \\w+)*)": (
        "test_containers.py::test_backup_is_restored"
    ),
    "(\\(umask 077; )?docker compose (exec -T|run --rm --no-deps -T) web (python -m sqlite3|sh -c) .*": (
        "test_containers.py::test_production_on_one_machine_with_nothing_installed"
    ),
    "docker compose (ps|logs --follow web|exec nginx curl .*)": (
        "test_containers.py::test_operators_see_health_and_logs"
    ),
    "docker build --tag .*": "test_containers.py::test_image_has_only_what_it_needs",
}
# Commands that cannot run here: the reason, and the test of the closest equivalent.
NOT_HERE = {
    "make (check|test|test-abuse|combinations|docs|bench.*)": (
        ITSELF,
        "test_readme.py::test_targets_start_their_programs",
    ),
    "uv run playwright install chromium": ("downloads a browser", "test_recipes.py::test_tests_of_the_recipe_pass"),
    "git tag v.*|git push origin v.*": ("publishes a version", "test_readme.py::test_versions_agree"),
    "git pull": ("there is nothing to pull", "test_containers.py::test_update_loses_nothing"),
    "docker push .*": ("needs a registry", "test_containers.py::test_image_has_only_what_it_needs"),
    "kubectl .*": (CLUSTER, "test_deploy.py::test_manifests_run_the_site"),
    "curl http://127.0.0.1:8000/readyz .*": (CLUSTER, "test_deploy.py::test_manifests_run_the_site"),
}


def own_pages() -> list[Path]:
    """Return the pages of the template."""
    return [*sorted(TEMPLATE.glob("*.md")), *sorted((TEMPLATE / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def projects(cookies_session):
    """Bake projects that have every page with every variation."""
    answers = covering("server", "channel_layer", "consumers", "auth", "database", "deploy", "ci")
    return [
        bake(cookies_session, **one)
        for one in [*answers, *combinations("channel_layer", "database"), {"examples": "none"}, {"examples": "all"}]
    ]


def pages(projects: list[Path]) -> dict[str, Path]:
    """Return all pages by a readable name, equal pages of two projects once."""
    found = {str(page.relative_to(TEMPLATE)): page for page in own_pages()}
    for number, project in enumerate(projects):
        for page in sorted(project.rglob("*.md")):
            if not any(page.read_bytes() == other.read_bytes() for other in found.values()):
                found[f"emitted {page.relative_to(project)} ({number})"] = page
    return found


def commands(text: str):
    """Yield a page's commands with the numbers of their lines, from blocks and from backticks."""
    language = None
    text = re.sub(r" \\\n *([^\n]*)", r" \1\n", text)  # a line that ends with a backslash continues
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            language = None if language is not None else line[3:]
        elif language is None:
            found = re.findall(rf"`({PROGRAMS}[^`]+)`", line)
            yield from ((number, command) for both in found for command in both.split(" && "))
        elif language in {"", "sh", "shell", "bash"} or (language == "console" and line.startswith("$ ")):
            command = re.sub(r"(^|\s+)#.*", "", line.removeprefix("$ ")).strip()
            if command:
                yield number, command


@pytest.mark.quick
def test_every_command_is_run(projects):
    """Every command has a test that runs it, or a reason and a test of the closest equivalent."""
    expected = [*RUN, *NOT_HERE]
    unknown, seen = {}, set()
    for name, page in pages(projects).items():
        for number, command in commands(page.read_text(encoding="utf-8")):
            known = [pattern for pattern in expected if re.fullmatch(pattern, command)]
            seen.update(known)
            if not known:
                unknown.setdefault(command, f"{name}:{number}: {command}")
    assert not unknown, "\n".join(["in RUN there is no test that runs", *unknown.values()])
    assert [pattern for pattern in expected if pattern not in seen] == [], "no page has this command"


@pytest.mark.quick
@pytest.mark.parametrize("test", sorted({*RUN.values(), *(test for _, test in NOT_HERE.values())}))
def test_tests_of_commands_exist(test):
    """Each test named in the tables exists."""
    name, function = test.split("::")
    tree = ast.parse((Path(__file__).parent / name).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.quick
def test_attacks_name_their_tests():
    """Each test in docs/abuse.md exists, and `make test-abuse` runs exactly those files."""
    named = set(re.findall(r"`(test_\w+\.py)::(\w+)`", (TEMPLATE / "docs" / "abuse.md").read_text(encoding="utf-8")))
    for name, function in named:
        tree = ast.parse((TEMPLATE / "tests" / name).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{name}::{function}"
    plan = run(["make", "--dry-run", "test-abuse"], TEMPLATE, clean_environ())
    assert set(re.findall(r"tests/(test_\w+\.py)", plan)) == {name for name, _ in named}


@pytest.mark.quick
def test_commands_are_found():
    """Commands are found in shell blocks and in backticks, and nowhere else."""
    page = (
        "Take `make a` or `b`,\nor `cp c d && make e`.\n```sh\n# f\nmake g  # h\n```\n"
        "```console\n$ make i\nmake j\n```\n```python\nmake k\n```\n"
    )
    found = [(1, "make a"), (2, "cp c d"), (2, "make e"), (5, "make g"), (8, "make i")]
    assert list(commands(page)) == found


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Record a new project's first minute. Return the screen and the project."""
    return readme.record(tmp_path_factory.mktemp("minute"))


def test_first_minute_is_up_to_date(recording):
    """A user who types the commands of README.md sees its screen, except for seconds and versions."""
    part = readme.parts(readme.PAGES["transcript"].read_text(encoding="utf-8"), "transcript")[1]
    assert readme.stable(part) == readme.stable(readme.as_block(recording[0])), "run `make docs`"


@pytest.mark.quick
@pytest.mark.parametrize("name", [name for name in readme.MAKERS if name != "transcript"])
def test_generated_parts_are_up_to_date(name):
    """The questions, the changed files and the numbers follow their sources, and lines are short."""
    page = readme.PAGES[name].read_text(encoding="utf-8")
    part = readme.parts(page, name)[1]
    assert part == readme.MAKERS[name](), f"run `python -m tools.readme {name}`"
    assert max(map(len, part.splitlines())) <= 120


@pytest.mark.parametrize("answers", covering("channel_layer", "database"), ids=label)
def test_production_without_containers(answers, cookies, environment, services):
    """The commands of README.md start a site with production's values, or name the in-memory channel layer."""
    project = bake(cookies, **answers)
    shared = environment(PYTHONS[-1], CHOICES["django_version"][0])
    values = production_values(project) | services(answers)
    environ = environ_for(shared, **values)
    environ["PATH"] = f"{shared / 'bin'}:{environ['PATH']}"
    text = (project / "README.md").read_text(encoding="utf-8").partition("## Deploy\n")[2].partition("\n## ")[0]
    programs = [shlex.split(command) for _, command in commands(text) if "python " in command]
    check, migrate, collect, serve, cleanup = programs
    if answers["channel_layer"] == "redis":
        assert "no issues" in run(check, project, environ)
    else:
        with pytest.raises(AssertionError, match=r"realtime\.E001"):
            run(check, project, environ)
    run(migrate, project, environ)
    run(collect, project, environ)
    run(cleanup, project, environ)
    with start_site(serve, project, environ) as site:
        home = {"Host": "chat.example.com", "X-Forwarded-Proto": "https"}
        assert httpx.get(site.url, headers=home, timeout=30, trust_env=False, follow_redirects=False).status_code < 400


def test_examples_are_copied(projects):
    """Copied examples have the names that a page gives, and only their owner may read the settings."""
    for name, page in pages(projects).items():
        for command in re.findall(r"`(cp [^`]+)`", page.read_text(encoding="utf-8")):
            folder = page.parent if "secret" in command else page.parent.parent
            run(["sh", "-e", "-c", command], folder, clean_environ())
            assert (folder / command.split(" && ")[0].split()[-1]).exists(), name


@pytest.mark.quick
def test_matrix_is_listed():
    """`make matrix` names each combination once."""
    lines = run(["make", "--silent", "matrix"], TEMPLATE, clean_environ()).splitlines()
    assert len(lines) == len(set(lines)) >= len(combinations("server", "channel_layer", "consumers", "auth"))


def test_targets_start_their_programs():
    """make targets start pytest, ruff and the benchmarks, and pages name existing benchmarks."""
    starts = {
        "test": "pytest",
        "test-abuse": "tests/test_requests.py",
        "check": "pytest",
        "docs": "tools.readme",
        "bench": "bench.engine",
        "combinations": "tests/test_combinations.py",
    }
    for target, program in starts.items():
        plan = run(["make", "--dry-run", target], TEMPLATE, clean_environ())
        assert program in plan
    text = "".join(page.read_text(encoding="utf-8") for page in own_pages())
    named = {name for names in re.findall(r'make bench ARGS="--only ([\w,]+)', text) for name in names.split(",")}
    engine = [sys.executable, "-m", "bench.engine"]
    environ = clean_environ(PYTHONPATH=".:tests")
    done = subprocess.run([*engine, "--only", "nothing"], cwd=TEMPLATE, env=environ, capture_output=True, text=True)
    assert named <= set(re.findall(r"\w+", done.stderr.partition("there are ")[2])), done.stderr
    for arguments in re.findall(r'make bench ARGS="([^"]+)"', text):
        run([*engine, *arguments.split(), "--help"], TEMPLATE, environ)


@pytest.mark.quick
def test_versions_agree():
    """The newest notes are of the version that the template and its engine have."""
    changes = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    engine = (TEMPLATE / EMITTED / "realtime" / "__init__.py").read_text(encoding="utf-8")
    version = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    newest = re.findall(r"^## (\d.*)$", changes, re.M)[0]
    assert [newest, *re.findall(r'^__version__ = "(.*)"$', engine, re.M)] == [version, version]


@pytest.mark.quick
def test_links_lead_somewhere():
    """Links of the template's pages to its other files resolve."""
    broken = []
    for page in own_pages():
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        links = re.findall(r'\]\(([^)#\s]+)|(?:src|srcset|href)="([^"#]+)"', text)
        relative = [link for pair in links for link in pair if link and not re.match(r"https?:", link)]
        broken += [f"{page.name}: {link}" for link in relative if not (page.parent / link).exists()]
    assert not broken, "\n".join(broken)


@pytest.mark.quick
def test_asvs_is_whole():
    """Each chapter of ASVS that applies to a template has rows, and each requirement one of five answers."""
    page = (TEMPLATE / "docs" / "asvs.md").read_text(encoding="utf-8")
    chapters = re.findall(r"^## V(\d+) ", page, re.M)
    assert chapters == [str(number) for number in range(2, 17)]
    answers, seen = set(), set()
    for chapter, text in zip(chapters, re.split(r"^## V.*$", page, flags=re.M)[1:], strict=True):
        for requirements, answer in re.findall(r"^\| (\d[^|]*) \| ([^|]*) \| .+ \|$", text, re.M):
            answers.add(answer)
            for requirement in re.findall(r"\d+\.\d+\.\d+", requirements):
                assert requirement.partition(".")[0] == chapter
                assert requirement not in seen
                seen.add(requirement)
    assert answers == {"yes", "partly", "no", "yours", "n/a"}


@pytest.mark.quick
def test_files_that_are_named_exist(projects):
    """Each path on a page of the template exists here or in some project."""
    missing = []
    for page in own_pages():
        for path in re.findall(r"`([\w.-]+/[\w./-]*)`", page.read_text(encoding="utf-8")):
            if not any((root / path).exists() for root in [TEMPLATE, *projects]):
                missing.append(f"{page.name}: {path}")
    assert not missing, "\n".join(missing)
