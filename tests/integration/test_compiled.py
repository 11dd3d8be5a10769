"""The server as the image has it, its hot modules compiled, on the image's Python: the tests of both run there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Built
from tests.integration.stack import build_image, docker, new_name


@pytest.fixture(scope="module")
def test_image(images: Built) -> Iterator[str]:
    """The stage `test` of the Dockerfile, built with what Compose builds the others with."""
    name = new_name()
    built = build_image(name, images.variables, "--target", "test")
    assert built.returncode == 0, built.stderr[-5000:]
    yield name
    docker("image", "rm", "--force", name, check=False)


def test_the_image_is_compiled(test_image: str) -> None:
    assert docker("run", "--rm", test_image, "pronghorn", "--version").endswith(" on Linux, compiled\n")


def test_the_servers_tests_pass_on_what_is_compiled(test_image: str) -> None:
    container = new_name()
    # --init: some tests look at what becomes of processes, and the first one of a container is a case of its own.
    command = ["docker", "run", "--rm", "--init", "--name", container, test_image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    finally:
        docker("rm", "--force", container, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
