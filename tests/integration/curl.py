"""curl of Debian trixie, the first that speaks HTTP/3, in a container on this machine's own network; pebble is in the same image."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.integration.stack import docker

DOCKERFILE = """
FROM {base}
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends curl pebble \
    && rm -rf /var/lib/apt/lists/*
"""

#: curl's options, by the version that its answers then have.
VERSIONS = {"1.1": "--http1.1", "2": "--http2", "3": "--http3-only"}


@dataclass(frozen=True)
class Answer:
    version: str
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The one field of that name."""
        [value] = self.all(name)
        return value

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]


def make_image(name: str, base: str) -> None:
    """The base is any image of trixie; the host's network, because it is the host that is known to reach the mirror."""
    command = ["docker", "build", "--network", "host", "--pull=false", "--tag", name, "-"]
    text = DOCKERFILE.format(base=base)
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


class Curl:
    def __init__(self, image: str) -> None:
        self.image = image

    def __call__(self, version: str, url: str, *options: str, data: bytes = b"") -> Answer:
        """One request, with these options of curl's besides; `data` is what @- stands for."""
        command = ["docker", "run", "--rm", "--interactive", "--network", "host", self.image, "curl"]
        asked = [
            *command,
            "--silent",
            "--show-error",
            "--insecure",
            "--include",
            "--max-time",
            "60",
            VERSIONS[version],
        ]
        done = subprocess.run([*asked, *options, url], input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return parse(done.stdout)


def parse(raw: bytes) -> Answer:
    """What curl prints with --include; an answer that only says to go on is passed over."""
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    version, status = line.split(" ")[:2]
    if status.startswith("1"):
        return parse(body)
    pairs = (field.split(":", 1) for field in lines)
    fields = [(name.lower(), value.strip()) for name, value in pairs]
    return Answer(version.removeprefix("HTTP/"), int(status), fields, body)


def remove_image(name: str) -> None:
    docker("image", "rm", "--force", name, check=False)
