"""What the tests of all clients share: a server as they reach it, bodies, and how a client is run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import ssl
import subprocess
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import PATIENCE, ServerProcess

ROOT = Path(__file__).resolve().parents[3]

#: More than any window or buffer holds, and no multiple of a frame's size.
SIZE = 5_000_011


@dataclass(frozen=True)
class Origin:
    """A running server, where it is reached, and its folder, in which `large` has SIZE bytes."""

    server: ServerProcess
    url: str
    folder: Path
    trust: ssl.SSLContext

    @property
    def tls(self) -> bool:
        return self.url.startswith("https:")

    @contextlib.contextmanager
    def telling(self, text: str) -> Iterator[list[str]]:
        """What happens inside has its application print a line with this text, which is in the list afterwards."""
        before = sum(text in line for line in self.server.stdout.so_far())
        found: list[str] = []
        yield found
        found.append(self.server.stdout.wait_for(text, count=before + 1))


@functools.cache
def body(size: int = SIZE) -> bytes:
    """Bytes of which no piece is like another."""
    numbers = b"".join(b"%07d\n" % number for number in range(size // 8 + 1))
    return numbers[:size]


def described(data: bytes) -> bytes:
    """What the application says of a body at /describe."""
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()


def scope_in(answer: bytes | str) -> dict[str, Any]:
    """The scope as an application sent it, at /scope."""
    shown = {key: literal_eval(value) for key, (_, value) in json.loads(answer).items()}
    shown["headers"] = [(name.decode(), value.decode()) for name, value in shown["headers"]]
    return shown


def run(command: str, *arguments: str, data: bytes = b"") -> bytes:
    """What a client prints. It has to end well."""
    done = subprocess.run(
        [command, *arguments], input=data, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (done.stdout[-2000:] + done.stderr[-2000:]).decode(errors="replace")
    return done.stdout


def ensured(command: str, package: str) -> str:
    """Its path; scripts/ensure installs it where it is missing."""
    subprocess.run([ROOT / "scripts/ensure", command, package], check=True, cwd=ROOT)
    found = shutil.which(command)
    assert found, f"{command} is not on PATH"
    return found
