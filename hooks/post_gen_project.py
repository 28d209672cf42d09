"""Keep the chosen files, remove the rest, write the answers and `.env`, and print the next commands.

Cookiecutter renders this file and runs it in the new project's folder. ANSWERS is then a literal with every answer.
`tojson` escapes every quote within an answer, so no answer can end the literal or be read as code.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# A file `name.<choice>.ext` becomes `name.ext` if <choice> is the answer to one of these questions. Else it is removed.
QUESTIONS_WITH_FILES = ("server", "channel_layer", "consumers", "auth", "license")

# The services of the project, by their names in compose.yaml, separated by spaces.
SERVICES = ANSWERS["__services"]

# The files of the chat that need accounts: the admin, and private rooms, which have members.
CHAT_WITH_ACCOUNTS = (
    "access.py",
    "admin.py",
    "forms.py",
    "member_views.py",
    "migrations/0002_members.py",
    "templates/chat/members.html",
    "templates/chat/new_room.html",
    "templates/chat/private_room.html",
    "templates/chat/visible_rooms.html",
    "templates/chat/welcome.html",
    "tests/test_admin.py",
    "tests/test_authors.py",
    "tests/test_members.py",
    "tests/test_welcome.py",
)

# Files and folders that are removed as a whole, with the condition.
UNNEEDED = {
    "accounts": ANSWERS["auth"] == "none",
    **{
        name: app not in ANSWERS["__apps"].split()
        for app in ANSWERS["_apps"]
        for name in (app, f"deploy/kubernetes/{app}.yaml")
    },
    "docs/message.md": ANSWERS["examples"] == "none",
    "docs/recipes": ANSWERS["examples"] == "none",
    "docs/notifications.md": "notifications" not in ANSWERS["__apps"].split(),
    "docs/jobs.md": "jobs" not in ANSWERS["__apps"].split(),
    "docs/recipes/connect-a-language-model.md": "assistant" not in ANSWERS["__apps"].split(),
    "docs/recipes/delete-an-app.md": ANSWERS["examples"] != "all",
    "templates/home.html": ANSWERS["examples"] != "none",
    **{f"tests/load.{choice}.py": ANSWERS["examples"] == "none" for choice in ANSWERS["_choices"]["auth"]},
    "docs/recipes/publish-from-a-view.md": ANSWERS["auth"] == "none",
    "docs/recipes/sign-in-by-email.md": ANSWERS["auth"] == "none",
    "docs/recipes/sign-in-with-jwts.md": ANSWERS["auth"] == "none",
    **{f"chat/{name}": ANSWERS["auth"] == "none" for name in CHAT_WITH_ACCOUNTS},
    "jobs/tests/test_admin.py": ANSWERS["auth"] == "none",
    "dashboard/access.py": ANSWERS["auth"] == "none",
    "dashboard/tests/test_access.py": ANSWERS["auth"] == "none",
    "devices/admin.py": ANSWERS["auth"] == "none",
    "devices/tests/test_admin.py": ANSWERS["auth"] == "none",
    "docs/devices.md": "devices" not in ANSWERS["__apps"].split(),
    "assistant/admin.py": ANSWERS["auth"] == "none",
    "assistant/tests/test_admin.py": ANSWERS["auth"] == "none",
    "compose.yaml": ANSWERS["deploy"] == "none" and not SERVICES,
    "Dockerfile": ANSWERS["deploy"] == "none",
    ".dockerignore": ANSWERS["deploy"] == "none",
    "deploy/README.md": ANSWERS["deploy"] == "none",
    "deploy/nginx.conf": ANSWERS["deploy"] == "none",
    "deploy/mosquitto.conf": ANSWERS["deploy"] == "none" or "devices" not in ANSWERS["__apps"].split(),
    "deploy/postgresql.sh": ANSWERS["database"] != "postgresql",
    "deploy/kubernetes/worker.yaml": ANSWERS["examples"] != "all",
    "deploy/kubernetes": ANSWERS["deploy"] != "kubernetes",
    ".github": ANSWERS["ci"] != "github",
    ".gitlab-ci.yml": ANSWERS["ci"] != "gitlab",
}


def remove_unneeded(project):
    """Delete the files and folders that these answers do not need."""
    for name, unneeded in UNNEEDED.items():
        path = project / name
        if unneeded and path.is_dir():
            shutil.rmtree(path)
        elif unneeded:
            path.unlink(missing_ok=True)


def visible(project):
    """Return the paths in a project but for hidden folders: an overwritten one may have `.git` and `.venv`."""
    return [path for path in project.rglob("*") if not path.relative_to(project).parts[0].startswith(".")]


def keep_chosen_files(project):
    """Rename the chosen one of each set of alternative files. Delete the others, and folders that become empty."""
    marks = {
        f".{choice}": choice == ANSWERS[question]
        for question in QUESTIONS_WITH_FILES
        for choice in ANSWERS["_choices"][question]
    }
    marks[".all"] = ANSWERS["examples"] == "all"  # such a file replaces the one without a mark
    for path in sorted(path for path in visible(project) if path.is_file()):
        for mark, chosen in marks.items():
            if not path.name.endswith(mark) and f"{mark}." not in path.name:
                continue
            if chosen:
                path.replace(path.with_name(path.name.replace(mark, "", 1)))
            else:
                path.unlink()
            break
    for folder in sorted((path for path in visible(project) if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def write_answers(project):
    """Write the template's commit, and the answers as a configuration of cookiecutter, to bake the project again."""
    answers = {key: value for key, value in ANSWERS.items() if not key.startswith("_")}
    for key, value in answers.items():
        if "\x7b" in value:  # cookiecutter renders what it reads
            answers[key] = f"\x7b\x7b {json.dumps(value, ensure_ascii=False)} \x7d\x7d"
    lines = ["# What made this project, to bake it again: docs/change-an-answer.md", f"commit: {commit()}".rstrip()]
    lines += ["default_context:"]
    lines += [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in answers.items()]
    with (project / ".cookiecutter.yaml").open("w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(lines) + "\n")


def commit():
    """Return the template's commit, or an empty text if the template is outside git."""
    if "_commit" in ANSWERS:  # by cruft
        return ANSWERS["_commit"]
    folder = Path(os.environ.get("PWD", ""), ANSWERS.get("_repo_dir", "."))
    if "_repo_dir" not in ANSWERS or not (folder / ".git").exists() or not shutil.which("git"):
        return ""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()


def say_what_is_next(project):
    """Print the commands that lead to the first page, unless cruft makes the project only to compare it."""
    if "_output_dir" not in ANSWERS and project.parent.parent == Path(tempfile.gettempdir()).resolve():
        return
    here = os.environ.get("PWD")
    folder = project.name if here and Path(here).resolve() == project.parent else f'"{project}"'
    commands = [f"cd {folder}", "make setup", "make dev"]
    if SERVICES:
        commands.insert(1, f"docker compose up -d {SERVICES}")
    sys.stdout.reconfigure(errors="replace")
    if ANSWERS["__corrections"]:
        print(f"\nCorrected answers: {ANSWERS['__corrections']}.")
    print("\nThe project is ready. Next:\n")
    print("\n".join(f"    {command}" for command in commands))
    print("\nThen open http://127.0.0.1:8000. Without make, copy the commands from the Makefile.")


if __name__ == "__main__":
    project = Path.cwd().resolve()
    remove_unneeded(project)
    keep_chosen_files(project)
    write_answers(project)
    runpy.run_path(str(project / "realtime" / "dotenv.py"), run_name="__main__")  # writes .env
    say_what_is_next(project)
