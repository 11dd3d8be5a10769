"""The end of NOTIFY_SOCKET that systemd has."""

from __future__ import annotations

import select
import socket

from tests.support.process import PATIENCE


class Manager:
    """Hears what a service says of itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        self.sock.bind(f"\0{address[1:]}" if address[0] == "@" else address)

    def heard(self) -> dict[str, str]:
        """The next message, once it is there."""
        lines = self.sock.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def heard_until(self, name: str) -> list[dict[str, str]]:
        """Messages up to the first with this assignment."""
        messages = [self.heard()]
        while name not in messages[-1]:
            messages.append(self.heard())
        return messages

    def silent(self) -> bool:
        """Whether nothing is there now."""
        return not select.select([self.sock], [], [], 0)[0]
