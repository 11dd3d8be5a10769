"""The client's side of a WebSocket, byte by byte: frames as a test wants them, good or bad, and frames of a server read strictly."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, Self

from pronghorn.wire.ports import WebSocketCodec
from pronghorn.wire.ws_websockets import WebsocketsCodec
from pronghorn.wire.ws_wsproto import WsprotoCodec
from tests.support.http_client import Client, Response

CODECS: dict[str, Any] = {"websockets": WebsocketsCodec, "wsproto": WsprotoCodec}

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40


def handshake(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request to a WebSocket; a field in `fields` replaces the one of the same name, and one without a value removes it."""
    lines = {
        "host": "Host: localhost",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    extra = []
    for line in fields:
        name, _, value = line.partition(":")
        if name.lower() not in lines:
            extra.append(line)
        elif value:
            lines[name.lower()] = line
        else:
            del lines[name.lower()]
    head = [f"{method} {target} HTTP/{version}", *lines.values(), *extra, "", ""]
    return "\r\n".join(head).encode("latin-1")


def frame(first: int, payload: bytes = b"", *, mask: bytes | None = b"\x37\xfa\x21\x3d") -> bytes:
    """A frame whose first byte is `first`: opcode, FIN and reserved bits. Without a mask it is a server's."""
    size = len(payload)
    bit = 0 if mask is None else 0x80
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 65_536:
        header = struct.pack(">BBH", first, bit | 126, size)
    else:
        header = struct.pack(">BBQ", first, bit | 127, size)
    if mask is None:
        return header + payload
    return header + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))


def text(data: str) -> bytes:
    return frame(FIN | TEXT, data.encode())


def binary(data: bytes) -> bytes:
    return frame(FIN | BINARY, data)


def close(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(FIN | CLOSE, b"" if code is None else struct.pack(">H", code) + reason.encode())


def deflated(data: bytes, first: int = FIN | RSV1 | TEXT) -> bytes:
    """A compressed message of its own."""
    stream = zlib.compressobj(wbits=-15)
    return frame(first, (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4])


def read_frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a server, each with its first byte; there may be nothing else."""
    found = []
    while data:
        first, size = data[0], data[1]
        assert size < 128, "a server masks nothing (RFC 6455 §5.1)"
        at = 2
        if size == 126:
            (size,) = struct.unpack_from(">H", data, 2)
            at = 4
        elif size == 127:
            (size,) = struct.unpack_from(">Q", data, 2)
            at = 10
        assert len(data) >= at + size, "half a frame"
        found.append((first, data[at : at + size]))
        data = data[at + size :]
    return found


def closing(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close frame."""
    return struct.unpack(">H", payload[:2])[0], payload[2:].decode()


@dataclass
class Sink:
    """A `MessageSink` that keeps what it is told, and checks the order."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    over: bool = False

    def _keep(self, *call: Any) -> None:
        assert not self.over, "something behind the end"
        self.calls.append(call)

    def on_message(self, data: str | bytes) -> None:
        assert type(data) in (str, bytes)
        self._keep("text" if isinstance(data, str) else "binary", data)

    def on_ping(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self._keep("ping", payload)

    def on_pong(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self._keep("pong", payload)

    def on_close(self, code: int, reason: str) -> None:
        self._keep("close", code, reason)
        self.over = True

    def on_violation(self, code: int, reason: str) -> None:
        assert reason
        self._keep("violation", code)
        self.over = True


def codec(
    name: str, sink: Sink | None = None, *, max_size: int = 1 << 20, deflate: Any = None
) -> tuple[WebSocketCodec, list[bytes]]:
    """A codec, and what it writes."""
    written: list[bytes] = []
    return CODECS[name](sink or Sink(), written.append, max_size, deflate), written


class WsClient:
    """One WebSocket to a real server."""

    def __init__(self, client: Client, *fields: str, target: str = "/", early: bytes = b"") -> None:
        self.client = client
        client.send(handshake(target, *fields) + early)
        self.response: Response = client.head()

    def __enter__(self) -> Self:
        self.client.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.sock.close()

    @property
    def open(self) -> bool:
        return self.response.status == 101

    def send(self, data: str | bytes) -> None:
        self.client.send(text(data) if isinstance(data, str) else binary(data))

    def frame(self) -> tuple[int, bytes]:
        """The next frame of the server."""
        first, size = self.client.read(2)
        assert size < 128
        if size == 126:
            (size,) = struct.unpack(">H", self.client.read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self.client.read(8))
        return first, self.client.read(size)

    def receive(self) -> str | bytes:
        """The next message; no other frame may come before it."""
        first, payload = self.frame()
        assert first in (FIN | TEXT, FIN | BINARY), (first, payload)
        return payload.decode() if first == FIN | TEXT else payload

    def closed(self) -> tuple[int, str]:
        """Code and reason of the server's Close frame, which has to be next."""
        first, payload = self.frame()
        assert first == FIN | CLOSE, (first, payload)
        return closing(payload)

    def ended(self) -> bool:
        """Wait for the end of the connection; whether nothing came before it."""
        try:
            return self.client.rest() == b""
        except ConnectionResetError:
            return True
