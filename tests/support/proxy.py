"""Emitted nginx.conf in front of server processes, with loopback addresses instead of containers."""

import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import trustme
from dnslib import RR, A
from dnslib.server import DNSLogger, DNSServer

from support.programs import ROOTS, require_programs
from support.servers import free_port, listens, wait_until

ADDRESSES = ("127.0.0.1", "127.0.0.2")  # of the servers, all on one port


def for_debian(configuration: str) -> str:
    """Rewrite an nginx.conf for Debian's 1.22, which has no `http2` directive (new in nginx 1.25.1).

    The image of compose.yaml is newer and warns about the old form.
    """
    new = "listen 443 ssl;\n        http2 on;\n"
    assert configuration.count(new) == 1, f"nginx.conf has not exactly one {new!r}"
    return configuration.replace(new, "listen 443 ssl http2;\n")


class Names:
    """DNS server that answers with the addresses of the servers, as Docker does for replicas of a service."""

    def resolve(self, request, handler):
        reply = request.reply()
        for address in ADDRESSES:
            reply.add_answer(RR(request.q.qname, rdata=A(address), ttl=1))
        return reply


class Proxy:
    """Running nginx, which a client uses like a site."""

    def __init__(self, site_port: int) -> None:
        self.site_port = site_port
        self.port, self.plain_port, self.name_port = free_port(), free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.plain_url = f"http://localhost:{self.plain_port}"
        self.folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        self.folder.chmod(0o755)  # nginx's workers run as another user, who cannot enter pytest's folders
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(self.folder / "privkey.pem")
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(self.folder / "fullchain.pem", append=number > 0)
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)

    def adapt(self, configuration: str) -> str:
        """Return the configuration with the test's own ports and folders."""
        temporary = ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")  # the compiled-in folders belong to root
        for theirs, ours in {
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "resolver 127.0.0.11 ": f"resolver 127.0.0.1:{self.name_port} ",
            "http://web:8000": f"http://web:{self.site_port}",
            "/etc/nginx/tls/fullchain.pem": f"{self.folder}/fullchain.pem",
            "/etc/nginx/tls/privkey.pem": f"{self.folder}/privkey.pem",
            "/tmp/nginx.pid": f"{self.folder}/nginx.pid",
            "/tmp/static": f"{self.folder}/static",
            "http {": "http {" + "".join(f"{part}_temp_path {self.folder}/{part};" for part in temporary),
        }.items():
            assert configuration.count(theirs) == 1, f"nginx.conf has not exactly one {theirs!r}"
            configuration = configuration.replace(theirs, ours)
        return configuration

    def start(self, project: Path) -> None:
        configuration = self.folder / "nginx.conf"
        configuration.write_text(self.adapt(for_debian((project / "deploy" / "nginx.conf").read_text())))
        self.names = DNSServer(
            Names(), port=self.name_port, address="127.0.0.1", logger=DNSLogger(logf=lambda line: None)
        )
        self.names.start_thread()
        require_programs({"nginx": "nginx-light"})
        command = [
            shutil.which("nginx", path=ROOTS),
            "-p",
            str(self.folder),
            "-c",
            str(configuration),
            "-g",
            "daemon off;",
        ]
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: self.process.poll() is not None or listens(self.port), "nginx")
        assert self.process.poll() is None, self.log()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.names.stop()
        shutil.rmtree(self.folder)
