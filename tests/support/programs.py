"""Programs that are not Python packages."""

import os
import shutil

from filelock import FileLock

from support import emitted
from support.emitted import BUILD, run
from support.matrix import TEMPLATE

ROOTS = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian's folders of programs; sbin is not on every PATH


def require_programs(packages: dict[str, str]) -> None:
    """Install the Debian packages of missing programs. Fails with the command if that needs root."""
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "packages.lock"):  # apt-get does not wait for another one
        missing = [package for program, package in packages.items() if not shutil.which(program, path=ROOTS)]
        if not missing:
            return
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        assert os.geteuid() == 0 and shutil.which("apt-get"), f"These tests need: sudo {' '.join(command)}"
        emitted.announce(f"Installing {', '.join(missing)} ...")
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "--quiet"], TEMPLATE, environ, 120)
        run([*command, "--quiet"], TEMPLATE, environ, 240)
