"""Asks the admin listener of a running server, wherever its log says that it is.

admin = AdminListener(server)
admin.until("/readyz", 503, "draining")
assert admin.workers()[0]["state"] == "leaving"
"""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any

from tests.support import kernel
from tests.support.http_client import Client, Response
from tests.support.process import PATIENCE, ServerProcess

TOLD = re.compile(r"Admin listener on (http://(?P<host>.+):(?P<port>\d+)|unix socket (?P<path>[^\s\"]+))")
FREE = ("--admin", "127.0.0.1:0")


class AdminListener:
    """One connection for each question, as probes have it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        found = TOLD.search(server.stderr.wait_for("Admin listener on"))
        assert found is not None
        self.port = int(found["port"] or 0)
        self.path = found["path"]
        self.host = found["host"]

    @property
    def address(self) -> str:
        """As --admin takes it."""
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    def connect(self) -> Client:
        if self.path:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(str(self.server.folder / self.path))
        else:
            sock = socket.create_connection((self.host.strip("[]"), self.port), PATIENCE)
        return Client(sock)

    def ask(self, target: str, *headers: str, method: str = "GET") -> Response:
        with self.connect() as client:
            client.request(method, target, *headers)
            return client.response(method)

    def json(self, target: str) -> Any:
        return json.loads(self.ask(target).body)

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("/workers")["workers"]
        return found

    def until(self, target: str, status: int, text: str = "") -> str:
        """Ask until that is the answer, with `text` in it; what it was, then."""
        give_up = time.monotonic() + PATIENCE
        while True:
            answer = self.ask(target)
            if answer.status == status and text in answer.text:
                return answer.text
            assert time.monotonic() < give_up, f"{target} still answers {answer.status}: {answer.text}"
            time.sleep(0.02)

    def process(self) -> int:
        """The pid of the process that serves it, of which there is one."""
        found = [
            child for child in kernel.children(self.server.pid) if kernel.command(child)[-1:] == ["admin"]
        ]
        assert len(found) == 1, found
        return found[0]
