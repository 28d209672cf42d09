"""Program that writes `.env` for development: `python -m realtime.dotenv`.

The template runs it too, with a Python that has none of the project's packages.
"""

import os
import secrets
from pathlib import Path

HEADER = (
    "# Development only, and kept out of git. "
    "Production sets its own environment: see .env.example."
)
NAMES = {
    "DEBUG",
    "SECRET_KEY",
    "DATABASE_URL",
    "POSTGRES_PASSWORD",
    "REDIS_URL",
    "REDIS_PASSWORD",
    "MQTT_URL",
    "MQTT_PASSWORD",
}


def write_env(folder: Path) -> None:
    """Copy what development sets from `.env.example`, with a new secret. Keep an existing file."""
    lines = [HEADER]
    for line in (folder / ".env.example").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == "SECRET_KEY":
            lines.append(f"{name}={secrets.token_urlsafe(48)}")
        elif name in NAMES and value:
            lines.append(line)
    try:
        descriptor = os.open(folder / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_env(Path(__file__).resolve().parent.parent)
