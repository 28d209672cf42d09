"""Accounts work with another user model than their own, and so do the sockets of its users."""

import re

import pytest
from support.emitted import FAST, bake, environ_for, run
from support.matrix import CHOICES, PYTHONS

MANAGE = ["uv", "run", "python", "manage.py"]
PAGE_OF_THE_MODEL = "accounts/tests/test_accounts.py::test_admin_manages_accounts"

IMPORT = re.compile(r"^from accounts\.models import (?:(.*), )?User$", re.MULTILINE)
ADMIN = """from django.contrib import admin

from accounts.admin import UserAdmin
from people.models import Person

admin.site.register(Person, UserAdmin)
"""


def swap_user_model(project):
    """Move the user model to an app of its own, as a project does that has one already."""
    app = project / "people"
    (app / "migrations").mkdir(parents=True)
    for folder in (app, app / "migrations"):
        (folder / "__init__.py").touch()
    models = (project / "accounts" / "models.py").read_text()
    head, _, rest = models.partition("class User(")
    user = rest.partition("\n\n\n")[0]
    assert user.count('swappable = "AUTH_USER_MODEL"') == 1
    user = user.replace('swappable = "AUTH_USER_MODEL"', "")
    (app / "models.py").write_text(f"{head}class Person({user}\n")

    (app / "admin.py").write_text(ADMIN)
    settings = project / "config" / "settings.py"
    text = settings.read_text().replace('"accounts.User"', '"people.Person"')
    settings.write_text(text.replace('    "accounts",', '    "people",\n    "accounts",'))
    for path in (*project.glob("*/tests/*.py"), *project.glob("tests/*.py"), project / "conftest.py"):
        path.write_text(IMPORT.sub(imported, path.read_text()))


def imported(statement):
    """Return the import of the same names, with the user model from its new place."""
    others = f"from accounts.models import {statement[1]}\n" if statement[1] else ""
    return f"{others}from people.models import Person as User"


PLAIN = """from django.contrib.auth.models import AbstractUser


class Person(AbstractUser):
    pass
"""


@pytest.mark.timeout(600)
def test_user_model_needs_no_display_name(cookies, environment):
    """The chat shows the user names of a model without display names, on its pages and in the admin."""
    project = bake(cookies)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **FAST)
    swap_user_model(project)
    (project / "people" / "models.py").write_text(PLAIN)
    (project / "people" / "admin.py").write_text(ADMIN.replace("accounts.admin", "django.contrib.auth.admin"))
    form = project / "accounts" / "forms.py"
    form.write_text(form.read_text().replace('"display_name", ', ""))
    run([*MANAGE, "makemigrations", "people"], project, environ)
    tests = ["chat/tests/test_admin.py", "chat/tests/test_members.py"]
    output = run(["uv", "run", "pytest", *tests], project, environ, timeout=500)
    assert " passed" in output


@pytest.mark.timeout(600)
@pytest.mark.parametrize("auth", [auth for auth in CHOICES["auth"] if auth != "none"])
def test_user_model_can_be_swapped(auth, cookies, environment):
    """Sign-up, sessions, tokens, tickets and the end of each work with a model of another app."""
    project = bake(cookies, auth=auth)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **FAST)
    swap_user_model(project)
    run([*MANAGE, "makemigrations", "people"], project, environ)
    run([*MANAGE, "makemigrations", "--check"], project, environ)
    tests = ["accounts", "chat/tests/test_authors.py", "--deselect", PAGE_OF_THE_MODEL]
    output = run(["uv", "run", "pytest", *tests], project, environ, timeout=500)
    assert " passed" in output
