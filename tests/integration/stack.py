"""The shipped compose stack as a test sees it: started through testcontainers, asked over its published port.

Every run has a project name, images and a port of its own, so that it can go beside a stack that somebody uses.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from testcontainers.compose import DockerCompose

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
FILES = ["docker-compose.yml", "tests/integration/override.yml"]


def prepare(**settings: str) -> dict[str, str]:
    """Sees to an engine and to images that are not built here (scripts/stack prepare), and returns their variables."""
    done = subprocess.run(
        [ROOT / "scripts/stack", "prepare"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **settings},
    )
    assignments = (shlex.split(line)[0].partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in assignments}


def docker(*arguments: str, check: bool = True) -> str:
    """What `docker ARGUMENTS` prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def build_image(name: str, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`docker build` of the Dockerfile with what Compose builds with, and further arguments; the caller removes the image."""
    given = [f"--build-arg={key}={variables[key]}" for key in ("PYTHON_IMAGE", "PYTHON_BUILD_IMAGE")]
    for secret, variable in (("ca_bundle", "BUILD_CA_BUNDLE"), ("pip_conf", "BUILD_PIP_CONF")):
        given.append(f"--secret=id={secret},src={variables.get(variable, '/dev/null')}")
    command = ["docker", "build", "--tag", name, *given, *arguments, "."]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


class Stack:
    """One running project."""

    def __init__(self, project: str, compose: DockerCompose, tls_port: int) -> None:
        self.project = project
        self.compose = compose
        #: The published port of HTTPS, and of HTTP/3.
        self.tls_port = tls_port

    def run(self, *arguments: str) -> str:
        """`docker compose ARGUMENTS` of this project."""
        command = [*self.compose.docker_compose_command(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
        return done.stdout

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The same, without waiting for it."""
        command = [*self.compose.docker_compose_command(), *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)

    def up(self) -> None:
        """Starts what is not running, and waits until all of it is healthy."""
        self.run("up", "--detach", "--wait", "--no-build", "--wait-timeout", "120")

    def execute(self, service: str, *command: str) -> str:
        """What a command prints inside a service's container; its failure is the test's."""
        return self.run("exec", "-T", service, *command)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        return self.run("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)))
        return found[0]

    def address(self, service: str) -> str:
        """Where a service's container is reached from this machine without the published port."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        return str(networks[f"{self.project}_stack"]["IPAddress"])

    def memory(self, service: str) -> int:
        """Bytes that a service's processes hold, and no file cache; cgroup v2 says anon, v1 total_rss."""
        script = "cat /sys/fs/cgroup/memory.stat /sys/fs/cgroup/memory/memory.stat 2>/dev/null; true"
        lines = (line.split() for line in self.execute(service, "sh", "-c", script).splitlines())
        return sum(int(value) for name, value in lines if name in {"anon", "total_rss"})

    @property
    def port(self) -> int:
        """The published port; another one after nginx was stopped, because the engine chooses it."""
        port = self.compose.get_service_port("nginx", 8080)
        assert port is not None
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    def certificate(self) -> str:
        """The development certificate, in PEM: it is its own authority."""
        return self.execute("nginx", "cat", "/certificates/development/fullchain.pem")

    def trust(self) -> ssl.SSLContext:
        """TLS for a client that trusts it and nothing else."""
        return ssl.create_default_context(cadata=self.certificate())

    def client(self, timeout: float = 30) -> httpx.Client:
        """A client of nginx; for use in a `with`."""
        return httpx.Client(base_url=self.url, timeout=timeout)

    def log(self, service: str) -> list[str]:
        """A service's output so far, both streams of it, line by line."""
        command = ["docker", "logs", self.container(service)]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # nginx writes what a client sent, which need not be text.
            errors="backslashreplace",
            check=True,
        )
        return done.stdout.splitlines()

    def log_records(self, service: str) -> Iterator[dict[str, Any]]:
        """The JSON objects among those lines, oldest first."""
        for line in self.log(service):
            if line.startswith("{"):
                yield json.loads(line)

    def left_over(self) -> dict[str, list[str]]:
        """What of this project the engine still knows, by kind."""
        label = f"label=com.docker.compose.project={self.project}"
        listings = {
            "containers": ("ps", "--all", "--quiet", "--filter", label),
            "volumes": ("volume", "ls", "--quiet", "--filter", label),
            "networks": ("network", "ls", "--quiet", "--filter", label),
        }
        return {kind: docker(*listing).split() for kind, listing in listings.items()}


@contextmanager
def project(
    name: str,
    images: dict[str, str],
    *,
    build: bool,
    app: str = "tests/integration/app",
    files: Sequence[str] = FILES,
    more: Sequence[str] = (),
) -> Iterator[Stack]:
    """Starts the stack under this project name; ends it and everything it made, whatever happens. `more`: further files."""
    settings = {
        "APP_SOURCE": f"./{app}",
        # Here one address stands for thousands of clients.
        "RATE_LIMIT": "0",
        "CONNECTION_LIMIT": "0",
        "HTTP3": "on",
        # One number in TCP and in UDP, which nginx has to know: the engine would choose two.
        "HTTPS_PORT": str(free_port()),
        **images,
        "COMPOSE_PROJECT_NAME": name,
        "HTTP_PORT": "0",
        # No sidecar container that cleans up after a crash: it would have to be pulled.
        "TESTCONTAINERS_RYUK_DISABLED": "true",
    }
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    # /dev/null: not the .env of whoever runs the tests.
    compose = DockerCompose(ROOT, compose_file_name=[*files, *more], build=build, env_file="/dev/null")
    stack = Stack(name, compose, int(settings["HTTPS_PORT"]))
    try:
        compose.start()
        yield stack
    finally:
        try:
            stack.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "10")
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value


def new_name() -> str:
    """A project name that no other run has."""
    return f"pronghorn-test-{secrets.token_hex(4)}"
