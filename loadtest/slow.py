"""Clients on bad lines, and clients with bad intentions: they write and read at a trickle, or stop in the middle.

Each tells how it ended as a request of its own: `slow: upload 200` was served, `slow: upload 408` and `413` were refused, `slow: upload cut`
is a connection that was closed without a word. All of that is right. A failure is what is not: any other status, a connection that could
not be made, and one that was held for as long as the client liked.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from socket import socket

import gevent
from locust import task

from loadtest.measured import Measure, tell
from loadtest.settings import WEIGHTS
from loadtest.target import PATIENCE
from loadtest.user import TargetUser

#: A trickle: so many pieces of so many bytes, and seconds between them.
PIECES, PIECE, PAUSE = 30, 200, 0.1
#: Larger than nginx takes (client_max_body_size, nginx/includes/limits.conf).
TOO_LARGE = 512 * 1024 * 1024

CUT = "cut"
#: Served, refused in one way or another, or closed without a word.
EXPECTED = {"200", "408", "413", "429", CUT}


class WrongEndError(Exception):
    """Another end than a slow client has to expect."""


class Slow(TargetUser):
    """One of four, at random."""

    weight = WEIGHTS["slow"]

    @task(3)
    def upload(self) -> None:
        """A body that takes seconds, and never pauses for long."""
        self.tells("upload", self.trickle)

    @task(3)
    def download(self) -> None:
        """A megabyte through a small window."""
        self.tells("download", self.sip, receive_buffer=8192)

    @task(1)
    def stall(self) -> None:
        """Half a head, and then nothing: somebody has to end it."""
        self.tells("stalled head", self.outwait)

    @task(1)
    def too_large(self) -> None:
        """A body that nobody would take, announced."""
        self.tells("too large", self.announce)

    def tells(self, what: str, act: Callable[[socket], str], receive_buffer: int = 0) -> None:
        """Does it on a connection of its own, and counts how it ended."""
        measure, connection = Measure(f"slow: {what}"), None
        try:
            connection = self.target.socket(receive_buffer=receive_buffer)
            outcome = act(connection)
            measure.name += f" {outcome}"
            if outcome not in EXPECTED:
                raise WrongEndError(f"answered with {outcome}")
        except Exception as error:  # noqa: BLE001 - whatever it is, a user has met it
            measure.error = error
        finally:
            if connection is not None:
                connection.close()
        tell(self, "SLOW", measure)

    def head(self, method: str, path: str, *fields: str) -> bytes:
        """A request's, of which the connection is the last."""
        lines = (
            f"{method} {self.target.path(path)} HTTP/1.1",
            f"Host: {self.target.authority}",
            *fields,
            "Connection: close",
        )
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"

    def trickle(self, connection: socket) -> str:
        """The whole body, unless an answer comes first."""
        length = f"Content-Length: {PIECES * PIECE}"
        try:
            connection.sendall(self.head("POST", "/uploads", length))
            for _ in range(PIECES):
                connection.sendall(bytes(PIECE))
                gevent.sleep(PAUSE)
        except (ConnectionError, ssl.SSLError):
            # The answer may have come before.
            pass
        return status_of(connection)

    def sip(self, connection: socket) -> str:
        """All of the answer, or what came of it."""
        connection.sendall(self.head("GET", "/files/catalogue.bin"))
        status, wanted, came = "", 0, b""
        began = time.monotonic()
        try:
            while piece := connection.recv(32_768):
                came += piece
                if not wanted and b"\r\n\r\n" in came:
                    status, wanted = came[9:12].decode("latin-1"), whole_length(came)
                if time.monotonic() - began > PATIENCE:
                    raise WrongEndError(f"{len(came)} bytes in {PATIENCE:g} s")
                gevent.sleep(PAUSE)
        except ConnectionError:
            return CUT
        return status if wanted and len(came) >= wanted else CUT

    def outwait(self, connection: socket) -> str:
        """Until the other end has had enough."""
        connection.sendall(self.head("GET", "/")[:-6])
        return status_of(connection)

    def announce(self, connection: socket) -> str:
        """The head is enough for a refusal."""
        connection.sendall(self.head("POST", "/uploads", f"Content-Length: {TOO_LARGE}"))
        return status_of(connection)


def status_of(connection: socket) -> str:
    """Of the answer; `cut` where there is none. Raises `WrongEndError` for a connection that is simply held."""
    came = b""
    try:
        while len(came) < 12 and (piece := connection.recv(4096)):
            came += piece
    except TimeoutError as error:
        raise WrongEndError(f"held for {PATIENCE:g} s") from error
    except (ConnectionError, ssl.SSLError):
        pass
    match = re.match(rb"HTTP/1\.1 (\d{3})", came)
    return match[1].decode() if match else CUT


def whole_length(came: bytes) -> int:
    """Of head and body, for an answer that says how long it is."""
    head, _, _ = came.partition(b"\r\n\r\n")
    match = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return len(head) + 4 + int(match[1]) if match else 0
