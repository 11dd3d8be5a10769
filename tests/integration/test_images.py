"""The ways to put an application into an image without Compose, as docs/deployment.md has them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Built
from tests.integration.stack import Stack, docker, new_name

OWN = """
FROM {image}
COPY <<MAIN /app/main.py
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"my own"}})
MAIN
"""

ASK = """
import socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/pronghorn/app.sock")
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    print(b"".join(iter(lambda: connection.recv(65536), b"")).decode())
"""


@pytest.fixture
def own_image(stack: Stack, images: Built) -> Iterator[str]:
    """An image made `FROM` this run's, with one file in it; `stack` is what built that one."""
    name = new_name()
    dockerfile = OWN.format(image=images.names[0])
    subprocess.run(
        ["docker", "build", "--tag", name, "-"], input=dockerfile, text=True, check=True, capture_output=True
    )
    yield name
    docker("image", "rm", "--force", name, check=False)


def test_from_pronghorn_and_one_file_is_a_server(own_image: str) -> None:
    # The first health check is the engine's own business; asking the probe until it agrees needs no clock.
    container = docker(
        "run", "--detach", "--read-only", "--tmpfs", "/tmp", "--volume", "/run/pronghorn", own_image
    ).strip()
    try:
        for _ in range(100):
            if docker("exec", container, "pronghorn", "healthcheck", check=False).startswith("healthy"):
                break
            time.sleep(0.1)
        assert docker("exec", container, "python3", "-c", ASK).endswith("my own\n")
        docker("stop", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "143"
    finally:
        docker("rm", "--force", "--volumes", container)
