"""Frames on their way out (RFC 6455 §5.2): never masked, never fragmented, header and payload in one write.

Shared by the codecs; only what is very large is written behind its header rather than copied behind it.
"""

import struct
from collections.abc import Callable
from typing import Final

from .ws_close import CONTROL_PAYLOAD, close_payload
from .ws_deflate import WORTH, Deflate, Deflater

Write = Callable[[bytes], object]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80
RSV1: Final = 0x40

# Headers of what is sent most, made once: final frames of less than 126 bytes.
_TEXT_HEADERS: Final = [bytes((FIN | TEXT, size)) for size in range(126)]
_BINARY_HEADERS: Final = [bytes((FIN | BINARY, size)) for size in range(126)]
_MEDIUM: Final = struct.Struct(">BBH").pack
_LONG: Final = struct.Struct(">BBQ").pack

#: Payloads of this many bytes and more are written on their own.
_LARGE: Final = 65_536


class NoSink:
    """In the place of a `MessageSink` that has left. A codec that is released calls nobody."""

    __slots__ = ()

    def on_message(self, data: str | bytes) -> None:
        pass

    def on_ping(self, payload: bytes) -> None:
        pass

    def on_pong(self, payload: bytes) -> None:
        pass

    def on_close(self, code: int, reason: str) -> None:
        pass

    def on_violation(self, code: int, reason: str) -> None:
        pass


class FrameWriter:
    """Writes the frames of one WebSocket through `write`."""

    __slots__ = ("_agreed", "_deflater", "_write")

    def __init__(self, write: Write, agreed: Deflate | None) -> None:
        self._write = write
        self._agreed = agreed
        self._deflater: Deflater | None = None  # made for those who send something that is worth it

    def text(self, data: str) -> int:
        payload = data.encode("utf-8")
        size = len(payload)
        if size < 126 and (self._agreed is None or size < WORTH):
            self._write(_TEXT_HEADERS[size] + payload)
            return size
        return self._message(FIN | TEXT, payload)

    def binary(self, data: bytes) -> int:
        size = len(data)
        if size < 126 and (self._agreed is None or size < WORTH):
            self._write(_BINARY_HEADERS[size] + data)
            return size
        return self._message(FIN | BINARY, data)

    def ping(self, payload: bytes) -> int:
        return self._frame(FIN | PING, payload[:CONTROL_PAYLOAD])

    def pong(self, payload: bytes) -> int:
        return self._frame(FIN | PONG, payload)

    def close(self, code: int, reason: str) -> int:
        return self._frame(FIN | CLOSE, close_payload(code, reason))

    def _message(self, first: int, payload: bytes) -> int:
        agreed = self._agreed
        if agreed is not None and len(payload) >= WORTH:
            if self._deflater is None:
                self._deflater = Deflater(agreed)
            payload = self._deflater.message(payload)
            first |= RSV1
        return self._frame(first, payload)

    def _frame(self, first: int, payload: bytes) -> int:
        size = len(payload)
        if size < 126:
            header = bytes((first, size))
        elif size < 65_536:
            header = _MEDIUM(first, 126, size)
        else:
            header = _LONG(first, 127, size)
        if size < _LARGE:
            self._write(header + payload)
        else:
            self._write(header)
            self._write(payload)
        return size
