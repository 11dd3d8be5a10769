"""The README's commands for the stack, run as they are printed: up, down, and another application."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Built
from tests.integration.stack import docker, new_name
from tests.readme import commands
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]

# What the other tests set for their own stack, and what a make around us hands down.
NOT_OURS = ("MAKE", "COMPOSE_", "APP_SOURCE", "PRONGHORN_")


class Reader:
    """Somebody who types the page's commands, on a machine where other stacks may run as well."""

    def __init__(self, port: int, folder: Path) -> None:
        self.project = new_name()
        self.images = (f"{self.project}-app", f"{self.project}-nginx")
        self.url = f"http://127.0.0.1:{port}/"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS)} | {
            "COMPOSE_PROJECT_NAME": self.project,
            "PRONGHORN_IMAGE": self.images[0],
            "PRONGHORN_NGINX_IMAGE": self.images[1],
            "HTTP_PORT": str(port),
            "HTTPS_PORT": "0",
            # The engine is not this project's to stop while other tests use it.
            "PRONGHORN_ENGINE_DIR": str(folder),
        }

    def types(self, command: str) -> str:
        done = subprocess.run(
            command,
            shell=True,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def is_greeted(self) -> Any:
        return httpx.get(self.url, timeout=30).raise_for_status().json()["hello"]

    def left_over(self) -> str:
        label = f"label=com.docker.compose.project={self.project}"
        listings = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return "".join(docker(*listing, "--quiet", "--filter", label) for listing in listings)


@pytest.fixture
def reader(images: Built, tmp_path: Path) -> Iterator[Reader]:
    """With an engine that answers, which is what `images` sees to."""
    somebody = Reader(free_port(), tmp_path)
    yield somebody
    somebody.types("make down")
    docker("image", "rm", "--force", *somebody.images, check=False)


def test_up_down_and_another_application(reader: Reader) -> None:
    up, status, doctor, smoke, down, up_with_another = commands("stack")

    assert reader.url in reader.types(up)
    assert reader.is_greeted() == "from Pronghorn"
    page = httpx.get(reader.types(status).strip(), timeout=30, trust_env=False).raise_for_status()
    assert page.headers["content-type"].startswith("text/html")
    assert ", 0 bad, " in reader.types(doctor)
    assert " failed" not in reader.types(smoke)

    reader.types(down)
    assert reader.left_over() == ""

    reader.types(up_with_another)
    assert reader.is_greeted() == "from FastAPI"
