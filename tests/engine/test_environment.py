"""Environment variables that a site reads with `realtime.environment`."""

import os
import subprocess
import sys

import pytest
from dotenv import dotenv_values

EXAMPLE = {key: value or "" for key, value in dotenv_values(".env.example").items()}


def lines_of(**variables):
    """Return the exit code of a process that reads the settings, and its lines on stderr."""
    command = [sys.executable, "-c", "import config.settings"]
    done = subprocess.run(command, env={**os.environ, **EXAMPLE, **variables}, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "MACHINES"])
def test_several_processes_need_redis(name):
    """Several processes or machines without Redis are one line with both ways out."""
    assert lines_of(REDIS_URL="", **{name: "2"}) == (
        1,
        [
            f"{name}: 2 needs Redis, because the in-memory channel layer serves one process. "
            f"Set REDIS_URL, such as REDIS_URL=redis://127.0.0.1:6379/0, or {name}=1."
        ],
    )


def test_certificate_and_key_belong_together(tmp_path):
    """One file without the other, or two that do not fit, are one line with the names of the variables."""
    path = tmp_path / "file.pem"
    path.write_text("neither")
    for files, start in (
        ({"TLS_CERTFILE": str(path)}, "TLS_KEYFILE: missing."),
        ({"TLS_KEYFILE": str(path)}, "TLS_CERTFILE: missing."),
        ({"TLS_CERTFILE": str(path), "TLS_KEYFILE": str(path)}, "TLS_CERTFILE, TLS_KEYFILE: cannot be used"),
    ):
        code, (line,) = lines_of(**files)
        assert (code, line[: len(start)]) == (1, start)
