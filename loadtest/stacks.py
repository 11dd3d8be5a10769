"""Whom a load is for: a stack of its own, started for the measurement and removed after it, or whoever has a URL.

The stack is the one that is shipped, limits for each client included. That a generator on one machine is not one client, it says itself: in
`TRUSTED_PROXIES` is the network that it comes from, and its requests name many clients. It asks nginx at its container's address,
so that no proxy of the engine's is measured with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.openloop import Target
from tests.integration.stack import ROOT, Stack, docker, new_name, prepare, project

#: What may stand in the stack in place of our server, by the compose files that put it there.
SERVERS: Final[dict[str, tuple[str, ...]]] = {"pronghorn": (), "uvicorn": ("loadtest/uvicorn/compose.yml",)}

#: The application unless another one is named, and what is asked of it: JSON as in most traffic.
DEFAULT_APP: Final = "examples/shop"
DEFAULT_PATHS: Final = tuple(
    [f"/api/products?page={number}" for number in range(1, 13)]
    + [f"/api/products/{number}" for number in range(1, 13)]
)
#: Clients that there seem to be: enough that none of them comes to the limits of one.
CLIENTS: Final = 512
#: Every network that an engine chooses from.
_NETWORKS: Final = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured."""

    server: str = "pronghorn"
    app: str = DEFAULT_APP
    paths: tuple[str, ...] = ()
    url: str = ""
    #: Settings of docker-compose.yml, beside those of the measurement.
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, options: argparse.Namespace, server: str = "pronghorn") -> Wanted:
        """What the options of `add_arguments` say."""
        settings = tuple((name, value) for name, _, value in (word.partition("=") for word in options.set))
        paths = tuple(options.path) or (
            DEFAULT_PATHS if options.app == DEFAULT_APP and not options.url else ()
        )
        return cls(server, options.app, paths, options.url, settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every measurement can be told."""
    parser.add_argument(
        "--url", default="", help="measure what is there, in place of a stack of its own: http://host:port"
    )
    parser.add_argument("--app", default=DEFAULT_APP, metavar="FOLDER", help="application of the stack")
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        help="to ask for; may be repeated (default: JSON of the shop, or /)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of .env.example for the stack",
    )
    parser.add_argument("--generators", type=int, default=1, metavar="COUNT", help="processes of load (1)")
    parser.add_argument("--output", type=Path, default=ROOT / "build/loadtest", metavar="FOLDER")


@dataclass(frozen=True, slots=True)
class Measured:
    """What is asked: a stack of ours, or what has a URL."""

    wanted: Wanted
    stack: Stack | None

    @property
    def target(self) -> Target:
        """Where to. A stack of ours trusts whoever is beside it, and as many clients ask it."""
        if self.stack is None:
            return Target.of(self.wanted.url, self.wanted.paths)
        return target_of(self.stack, self.wanted.paths)

    def allow(self, requests: int) -> bool:
        """Gives the stack another APP_REQUESTS; false where the caller has chosen one, or it is not ours."""
        if self.stack is None or "APP_REQUESTS" in dict(self.wanted.settings):
            return False
        # What Compose reads; the stack puts it back at its end.
        os.environ["APP_REQUESTS"] = str(requests)
        self.stack.up()
        return True


def target_of(stack: Stack, paths: tuple[str, ...]) -> Target:
    """A stack of ours, as a crowd sees it."""
    return Target(stack.address("nginx"), 8080, "localhost", paths or ("/",), CLIENTS)


@contextmanager
def measured(wanted: Wanted) -> Iterator[Measured]:
    """What is to be measured, running."""
    if wanted.url:
        try:
            Target.of(wanted.url)
        except ValueError as error:
            raise SystemExit(f"error: --url: {error}") from error
        yield Measured(wanted, None)
        return
    with running(wanted) as stack:
        yield Measured(wanted, stack)


@contextmanager
def running(wanted: Wanted) -> Iterator[Stack]:
    """A stack of its own, gone afterwards with its images."""
    if wanted.server not in SERVERS:
        raise SystemExit(f"error: --servers: {wanted.server} is not one of {', '.join(SERVERS)}")
    if not (ROOT / wanted.app).is_dir():
        raise SystemExit(f"error: --app: there is no folder {wanted.app}")
    name = new_name()
    files = ["docker-compose.yml", *SERVERS[wanted.server]]
    images = {
        "PRONGHORN_IMAGE": f"{name}-app",
        "PRONGHORN_NGINX_IMAGE": f"{name}-nginx",
        "UVICORN_IMAGE": f"{name}-uvicorn",
    }
    settings = {
        **prepare(),
        **images,
        "RATE_LIMIT": "200",
        "CONNECTION_LIMIT": "1000",
        "APP_REQUESTS": "256",
        "HTTP3": "off",
        "TRUSTED_PROXIES": _NETWORKS,
        **dict(wanted.settings),
    }
    # An end that is asked for politely leaves nothing behind either.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        # What stands in Pronghorn's place is made from the image that it has.
        for number in range(1, len(files) + 1):
            _build({**settings, "APP_SOURCE": f"./{wanted.app}"}, files[:number])
        with project(name, settings, build=False, app=wanted.app, files=files) as stack:
            yield stack
    finally:
        signal.signal(signal.SIGTERM, before)
        docker("image", "rm", "--force", *images.values(), check=False)


def _build(settings: dict[str, str], files: list[str]) -> None:
    """The images of the application and of nginx; the end of the output where that fails."""
    chosen = [word for file in files for word in ("--file", file)]
    done = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", *chosen, "build", "--quiet", "app", "nginx"],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"error: the stack could not be built:\n{done.stderr[-2000:]}")
