"""Emitted projects with workers in processes of their own."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.emitted import run
from support.servers import end_group

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

    def manage(self, *command: str) -> str:
        return run([*MANAGE, *command], self.project, self.environ)

    def shell(self, code: str) -> str:
        """Run code in the project's shell. Return what it prints."""
        return self.manage("shell", "--verbosity", "0", "-c", code).strip()

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
