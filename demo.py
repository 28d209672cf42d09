"""Server of the default project in build/demo: `make demo`.

`demo.py PORT` sets up missing parts, generates the project again if the template changed, and serves it until Ctrl-C.
If the port cannot be used, it exits with one line first.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent
PARTS = ("cookiecutter.json", "hooks", "{{cookiecutter.project_slug}}")
BUILD = TEMPLATE / "build"
TOOLS = BUILD / "venv" / "tools"
PROJECT = BUILD / "demo" / "talking-site"
STAMP = BUILD / "demo" / "stamp"


def parse_port(text: str) -> int:
    """Return a port that is free on 127.0.0.1. Exits with one line for anything else."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        sys.exit(f"PORT={text} is not a port: use a number from 1 to 65535, such as PORT=8001.")
    with socket.socket() as listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", int(text)))
        except OSError as error:
            sys.exit(f"Port {text} cannot be used ({error.strerror}): choose another, such as make demo PORT=8001.")
    return int(text)


def fingerprint() -> str:
    """Return a digest of all sources of the project."""
    digest = hashlib.sha256()
    files = [path for part in PARTS for path in (TEMPLATE / part, *sorted((TEMPLATE / part).rglob("*")))]
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(TEMPLATE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def set_up() -> None:
    """Generate the project and set it up, unless this template was set up before."""
    tools = str(TOOLS.relative_to(TEMPLATE))
    if subprocess.run(["make", "--question", tools], cwd=TEMPLATE, capture_output=True).returncode:
        run("Setting up build/venv", ["make", tools], TEMPLATE)
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    STAMP.unlink(missing_ok=True)
    # Keep the installed packages, which take longest. Delete the database, because its tables may have changed.
    environment = PROJECT / ".venv"
    kept = BUILD / "demo" / "venv"
    if environment.exists():
        shutil.rmtree(kept, ignore_errors=True)
        environment.rename(kept)
    shutil.rmtree(PROJECT, ignore_errors=True)
    generate = [str(TOOLS.parent / "bin" / "python"), "-m", "cookiecutter", "--no-input", "--default-config"]
    where = ["--output-dir", str(PROJECT.parent)]
    run("Generating the default project in build/demo", [*generate, *where, str(TEMPLATE)], TEMPLATE)
    if kept.exists():
        kept.rename(environment)
    version = (PROJECT / ".python-version").read_text().strip()
    run("Installing its packages and making its database", ["make", "setup"], PROJECT, UV_PYTHON=find_python(version))
    STAMP.write_text(wanted)


def find_python(version: str) -> str:
    """Return an installed interpreter of a Python version, or else the version, which uv downloads."""
    candidates = [f"python{version}"]
    for root in (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv"):
        if root:
            candidates += sorted(map(str, Path(root).glob(f"versions/{version}.*/bin/python")), reverse=True)
    question = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        try:
            answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, timeout=30)
        except OSError:
            continue
        if answer.returncode == 0 and answer.stdout.split()[-1] == version:
            return answer.stdout.rsplit(maxsplit=1)[0]
    return version


def run(step: str, command: list[str], folder: Path, **variables: str) -> None:
    """Run a command quietly and print its seconds, on a terminal while it runs. Exits with its output if it fails."""
    # Without make's own variables, which would reach the project's make.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    start = time.monotonic()
    print(f"{step} ...", end="", flush=True)
    again = f"\r{step} ..." if sys.stdout.isatty() else ""
    with subprocess.Popen(
        command, cwd=folder, env=environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            while process.returncode is None:
                try:
                    output, _ = process.communicate(timeout=1)
                except subprocess.TimeoutExpired:
                    if again:
                        print(f"{again} {time.monotonic() - start:.0f} s", end="", flush=True)
        finally:
            process.kill()
    print(f"{again} {time.monotonic() - start:.1f} s", flush=True)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output.decode(errors='replace')}")


def serve(port: int) -> None:
    """Serve the project until a signal arrives, make has ended, or the terminal is closed."""
    python = PROJECT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    environ = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    # In a session of its own: Ctrl-C reaches only this process, which then stops the server. If this process is
    # killed, the server stops itself.
    command = [python, "manage.py", "serve", "--exit-with-parent"]
    parent, terminal = os.getppid(), os.isatty(1)
    server = subprocess.Popen(command, cwd=PROJECT, env=environ, start_new_session=True)
    try:
        wait_for_page(server, f"http://127.0.0.1:{port}")
        while os.getppid() == parent and os.isatty(1) == terminal:  # if only make gets SIGHUP, it waits for us
            with contextlib.suppress(subprocess.TimeoutExpired):
                sys.exit(f"The server ended with {server.wait(0.5)}.")
    finally:
        end(server)


def wait_for_page(server: subprocess.Popen, url: str) -> None:
    """Wait until the server answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            opener.open(f"{url}/healthz", timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            print(f"\nReady: {url} (open it in two windows; Ctrl-C ends it)\n", flush=True)
            return


def end(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(12)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    port = parse_port(sys.argv[1])
    # A shell that starts us in the background ignores SIGINT. Windows has no SIGHUP.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if kind := getattr(signal, name, None):
            signal.signal(kind, interrupt)
    try:
        set_up()
        serve(port)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal was closed
            print("\nStopped.", flush=True)


if __name__ == "__main__":
    main()
