"""Docker engine for the tests, and images that replace those of a registry.

The images are made of Debian's packages, and nothing is pulled. The engine has its own folder, makes bridges without
changing the firewall, and ends with the process that started it.
"""

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from demo import find_python
from support.emitted import BUILD, clean_environ, run
from support.matrix import TEMPLATE
from support.programs import ROOTS, require_programs
from support.proxy import for_debian
from support.servers import free_port, wait_until

EMITTED = TEMPLATE / "{{cookiecutter.project_slug}}"
IMAGES = Path(__file__).parent / "images"
PACKAGES = {"dockerd": "docker.io", "docker-compose": "docker-compose", "debootstrap": "debootstrap"}
BASE = re.search(r"^FROM (\S+:\S+) ", (EMITTED / "Dockerfile").read_text(), re.MULTILINE)[1]
SERVICES = sorted(
    set(re.findall(r"image: ((?:nginx|redis|postgres|eclipse-mosquitto):\S+)", (EMITTED / "compose.yaml").read_text()))
)
# Additions of Python's official image, and libraries for a copied Python.
LIBRARIES = """
    ca-certificates libbz2-1.0 libexpat1 libffi8 liblzma5 libncursesw6 libreadline8 libsqlite3-0 libssl3 libuuid1
    netbase openssl tzdata zlib1g
"""
# `docker compose` runs docker-compose, whichever of the two is installed.
PLUGIN = """#!/bin/sh
[ "$1" = docker-cli-plugin-metadata ] && exec echo '{"SchemaVersion": "0.1.0", "Vendor": "tests", "Version": "1"}'
shift
exec docker-compose "$@"
"""


class Engine:
    """A started dockerd with the images of the projects, and the commands that users type."""

    def __init__(self) -> None:
        require_programs(PACKAGES)
        assert os.geteuid() == 0, "These tests start a Docker engine, which takes root: sudo make test"
        self.folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self.log = self.folder / "log"
        plugin = self.folder / "config" / "cli-plugins" / "docker-compose"
        plugin.parent.mkdir(parents=True)
        plugin.write_text(PLUGIN)
        plugin.chmod(0o755)
        self.environ = clean_environ(
            PATH=f"{ROOTS}:{os.environ['PATH']}",  # Debian's first: other clients may be too new for its engine
            DOCKER_HOST=f"unix://{self.folder}/socket",
            DOCKER_CONFIG=str(self.folder / "config"),
            DOCKER_BUILDKIT="1",
            COMPOSE_DOCKER_CLI_BUILD="1",
        )

    def start(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        command = [
            *("setpriv", "--pdeathsig", "TERM", "dockerd", "--iptables=false", "--ip-forward=false", "--bridge=none"),
            *("--host", self.environ["DOCKER_HOST"], "--pidfile", str(self.folder / "pid")),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("--default-ulimit", f"nofile={min(1024, limit)}:{limit}"),
        ]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=self.environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            wait_until(self.answers, f"the Docker engine; its log is {self.log}")
            self.get_images()
        except BaseException:
            self.stop()
            raise

    def answers(self) -> bool:
        assert self.process.poll() is None, f"dockerd ended:\n{self.log.read_text()}"
        return subprocess.run(["docker", "info"], env=self.environ, capture_output=True, timeout=30).returncode == 0

    def stop(self) -> None:
        """Remove containers and networks, end the engine, and delete its folder."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):  # it may not answer
            for container in self.docker("ps", "--all", "--quiet").split():
                self.docker("rm", "--force", "--volumes", container)
            self.docker("network", "prune", "--force")
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount])
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)  # Python takes ten times as long

    def docker(self, *arguments: str, folder: Path = TEMPLATE, timeout: float = 120, **variables: str) -> str:
        """Run a command that must succeed. Return its output."""
        return run(["docker", *arguments], folder, self.environ | variables, timeout)

    def build(self, folder: Path, tag: str, *options: str) -> str:
        """Build the Dockerfile of a folder. The packages come over the network of this machine."""
        return self.docker("build", "--network", "host", "--progress", "plain", "--tag", tag, *options, str(folder))

    def health(self, container: str) -> str:
        return self.docker("inspect", "--format", "{{.State.Health.Status}}", container).strip()

    def inspect(self, thing: str) -> dict:
        return json.loads(self.docker("inspect", thing))[0]

    # Images

    def get_images(self) -> None:
        """Load the images that an earlier run made of the same files, or make them."""
        recipe = [BASE, *SERVICES, LIBRARIES, *(path.read_text() for path in sorted(IMAGES.iterdir()))]
        digest = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
        folder = BUILD / "images"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(BUILD / "images.lock"):
            kept = folder / f"{digest}.tar"
            if kept.exists():
                self.docker("load", "--quiet", "--input", str(kept))
                return
            shutil.rmtree(folder)
            folder.mkdir()
            self.make_base(folder / "root")
            for tag in SERVICES:
                self.build(IMAGES, tag, "--target", tag.partition(":")[0], "--build-arg", f"BASE={BASE}")
            self.docker("save", "--output", str(folder / "new.tar"), BASE, *SERVICES)
            (folder / "new.tar").rename(kept)

    def make_base(self, root: Path) -> None:
        """Make Debian with a Python of this machine, which replaces Python's official image."""
        packages = ",".join(LIBRARIES.split())
        debian = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)]
        run(debian, TEMPLATE, self.environ, 240)
        version = re.search(r":(\d+\.\d+)", BASE)[1]
        find = ["uv", "run", "--no-project", "--python", find_python(version), "python", "-c"]
        prefix = run([*find, "import sys; print(sys.base_prefix)"], TEMPLATE, clean_environ()).split()[-1]
        script = f"""
            set -e
            tar -C {prefix} --exclude __pycache__ --exclude test --exclude site-packages --exclude EXTERNALLY-MANAGED \
                --exclude '*.a' -c bin/python{version} lib/python{version} $(cd {prefix} && ls -d lib/libpython3*) |
                tar -C {root}/usr/local -x --no-same-owner
            mkdir -p {root}/usr/local/lib/python{version}/site-packages
            ln -s python{version} {root}/usr/local/bin/python
            ln -s python{version} {root}/usr/local/bin/python3
            chroot {root} ldconfig
            chroot {root} python -m ensurepip
            rm -rf {root}/var/cache/apt/* {root}/var/lib/apt/lists/*
            cp "${{SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}" {root}/etc/ssl/certs/ca-certificates.crt
            tar -C {root} -c . | docker import --change "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" - {BASE}
            rm -rf {root}
        """
        run(["bash", "-c", script], TEMPLATE, self.environ, 120)


def adapt(project: Path) -> None:
    """Change what this machine may refuse: used ports, too many open files, and a network for builds.

    The rest of compose.yaml stays as it is. nginx.conf is rewritten for Debian's nginx.
    """
    path = project / "compose.yaml"
    content = re.sub(r'"127\.0\.0\.1:\d+:', lambda _: f'"127.0.0.1:{free_port()}:', path.read_text())
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    content = content.replace("build: .\n", "build: {context: ., network: host}\n")
    path.write_text(re.sub(r"nofile: (\d+)", lambda match: f"nofile: {min(int(match[1]), allowed)}", content))
    nginx = project / "deploy" / "nginx.conf"
    nginx.write_text(for_debian(nginx.read_text()))
