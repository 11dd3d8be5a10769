"""A client that sends exactly the bytes it is told to, and reads responses one by one as RFC 9112 §6.3 frames them.

Libraries tidy up what they send and forgive what they read; a test of a server wants neither.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass
class Response:
    """One response. Names are lower-cased; `chunks` are the pieces of a chunked body as they were framed."""

    line: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def __getitem__(self, name: str) -> str | None:
        """The one value of a field, or None; a field that is there twice fails the test."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name}: {values}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        *headers: str,
        body: bytes | None = None,
        version: str = "1.1",
    ) -> None:
        """Send a request; `headers` are whole lines. With a body goes its Content-Length."""
        lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def get(self, target: str = "/", *headers: str) -> Response:
        self.request("GET", target, *headers)
        return self.response()

    def head(self) -> Response:
        """Read up to the end of a head. An interim response (1xx) is nothing else."""
        raw = self._until(b"\r\n\r\n")
        line, *lines = raw.decode("latin-1").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (item.partition(":") for item in lines)]
        version, status = line.split(" ")[:2]
        assert version == "HTTP/1.1"
        return Response(line, int(status), fields)

    def response(self, method: str = "GET") -> Response:
        """Read the response to a `method` request, body and all."""
        response = self.head()
        length, coding = response["content-length"], response["transfer-encoding"]
        assert length is None or coding is None, "two ways to find the end of the body"
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            pass
        elif coding is not None:
            assert coding == "chunked"
            while (size := int(self._until(b"\r\n"), 16)) > 0:
                response.chunks.append(self.read(size))
                assert self.read(2) == b"\r\n"
            assert self._until(b"\r\n") == b"", "trailers"
            response.body = b"".join(response.chunks)
        elif length is not None:
            response.body = self.read(int(length))
        else:
            response.body = self.rest()
        return response

    def chunked(self, size: int) -> bytes:
        """The next `size` bytes of a chunked body, which have to end where a chunk does."""
        body = b""
        while len(body) < size:
            body += self.read(int(self._until(b"\r\n"), 16))
            assert self.read(2) == b"\r\n"
        return body

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        pieces, missing = [self._buffer[:size]], size - len(self._buffer)
        self._buffer = self._buffer[size:]
        while missing > 0:
            piece = self.sock.recv(min(missing, 1 << 20))
            if not piece:
                raise AssertionError(f"the connection ended {missing} bytes early")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        pieces, self._buffer = [self._buffer], b""
        while piece := self.sock.recv(1 << 20):
            pieces.append(piece)
        return b"".join(pieces)

    def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing came so far. Waits a moment, because nothing is not an event."""
        if self._buffer:
            return False
        timeout = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self._buffer = self.sock.recv(65_536)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(timeout)
        return False

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            piece = self.sock.recv(65_536)
            if not piece:
                raise AssertionError(f"the connection ended after {self._buffer!r}")
            self._buffer += piece
        found, _, self._buffer = self._buffer.partition(end)
        return found
