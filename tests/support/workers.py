"""Emitted projects with workers in processes of their own."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from support.client import Person
from support.emitted import environ_for, run
from support.matrix import CHOICES, PYTHONS, Answers
from support.servers import Site, end_group

LEASE = 2  # seconds until the job of a lost worker is taken up again
MANAGE = ["uv", "run", "python", "manage.py"]
SERVE = [*MANAGE, "serve"]
WORKER = ["make", "worker"]


class Work:
    """Emitted project with an empty database. Its leases are short."""

    def __init__(self, project: Path, environ: dict[str, str], auth: str, settings: str = "") -> None:
        self.project, self.environ, self.auth = project, environ, auth
        with (project / "config" / "settings.py").open("a") as file:
            file.write(f"\nREALTIME_JOB_LEASE = {LEASE}\n{settings}")
        self.manage("migrate", "--verbosity", "0")

    @classmethod
    def prepare(
        cls,
        project: Path,
        answers: Answers,
        environment: Callable[[str, str], Path],
        services: Callable[[Answers], dict[str, str]],
        settings: str = "",
    ) -> Self:
        """Return the project of these answers, with the services that it needs. Both functions are fixtures."""
        known = {question: choices[0] for question, choices in CHOICES.items()} | answers
        environ = environ_for(environment(PYTHONS[-1], known["django_version"]), **services(known))
        return cls(project, environ, known["auth"], settings)

    def manage(self, *command: str) -> str:
        return run([*MANAGE, *command], self.project, self.environ)

    def shell(self, code: str) -> str:
        """Run code in the project's shell. Return what it prints."""
        return self.manage("shell", "--verbosity", "0", "-c", code).strip()

    def staff(self, site: Site) -> Person:
        """Return a person who is staff, or a guest if the site has no accounts."""
        person = Person(site, self.auth)
        if self.auth != "none":
            chosen = f"User.objects.filter(username={person.name!r})"
            self.shell(f"from accounts.models import User; {chosen}.update(is_staff=True)")
        return person

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen]:
        """Run a command in a process group, which is killed at the end."""
        with (self.project.parent / "worker.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.project,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            end_group(process)
