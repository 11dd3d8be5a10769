"""The client's side of a WebSocket (RFC 6455), as much of it as a load needs: one message in flight, its echo known.

wrk speaks HTTP alone. Frames are made once and replies compared as they are, whole, so that nothing is parsed while all goes
well. No extension is offered: messages are not compressed, by any server.
"""

from __future__ import annotations

import socket
import struct

from scripts.bench.servers import BenchError

# How long a server may keep us waiting, in seconds.
PATIENCE = 20

# The example of section 1.3; a key protects caches from each other, and there is none between us and the server.
_KEY, _ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + _KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# The first byte of a frame that is a message's only one, or a control frame: FIN and opcode (section 5.2).
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_CONTROLS = (_CLOSE, _PING, _PONG)
_MASKED = 0x80
# The example of section 5.7: any key but zeros, which a server might have a short cut for.
_MASK = bytes.fromhex("37fa213d")

# Linux: the port is chosen when the connection is made, and may be in use to another destination (ip(7)).
_IP_BIND_ADDRESS_NO_PORT = 24
# The kernel has 28,000 ports for each pair of addresses unless told otherwise.
_FROM_ONE_ADDRESS = 4096


def handshake(path: str) -> bytes:
    """The request for a WebSocket (section 4.1)."""
    return _HANDSHAKE % path.encode()


def frame(message: str | bytes, *, masked: bool) -> bytes:
    """A message in one frame, as a client sends it (masked) or a server."""
    data = message.encode() if isinstance(message, str) else message
    return _frame(_TEXT if isinstance(message, str) else _BINARY, data, masked=masked)


def _frame(first: int, data: bytes, *, masked: bool) -> bytes:
    flag = _MASKED if masked else 0
    if len(data) < 126:
        head = bytes((first, flag | len(data)))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, flag | 127, len(data))
    if not masked:
        return head + data
    key = (_MASK * (len(data) // 4 + 1))[: len(data)]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return head + _MASK + mixed.to_bytes(len(data), "big")


def connect(port: int, index: int = 0) -> socket.socket:
    """A connection to the server; thousands of them, by their index, come from several addresses of the loopback network."""
    connection = socket.socket()
    try:
        # Timeouts of the kernel, which cost no further call for each message as Python's own would.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", PATIENCE, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{1 + index // _FROM_ONE_ADDRESS}", 0))
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


class WebSocket:
    """One WebSocket, open, over a connection that blocks. BenchError says what the server did wrong."""

    def __init__(self, connection: socket.socket, path: str, message: str | bytes) -> None:
        self.connection = connection
        self.request = frame(message, masked=True)
        self.reply = frame(message, masked=False)
        self._unread = b""
        self._shake_hands(path)

    def _shake_hands(self, path: str) -> None:
        self.connection.sendall(handshake(path))
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, self._unread = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)
        }
        if not status.startswith(b"HTTP/1.1 101 "):
            raise BenchError(f"wrong answer to the handshake: {status.decode('latin-1')}")
        if fields.get(b"sec-websocket-accept") != _ACCEPT:
            raise BenchError(f"wrong answer to the handshake: {head!r}")
        if b"sec-websocket-extensions" in fields:
            raise BenchError("it uses an extension that nobody offered")

    def exchange(self) -> None:
        """Send the message and return when it has come back."""
        self.connection.sendall(self.request)
        while not self.take(self._receive()):
            pass

    def take(self, data: bytes) -> bool:
        """Whether these bytes complete the reply. Pings are answered on the way; anything else is an error."""
        if not data:
            raise BenchError("it closed a connection")
        self._unread += data
        complete = False
        while self._unread:
            if self._unread[0] in _CONTROLS:
                if not self._control():
                    break
            elif self._unread.startswith(self.reply) and not complete:
                self._unread = self._unread[len(self.reply) :]
                complete = True
            elif self.reply.startswith(self._unread) and not complete:
                break
            else:
                raise BenchError(f"wrong reply: {self._unread[:80]!r}, {len(self._unread)} bytes")
        return complete

    def _control(self) -> bool:
        """Heed a control frame, if all of it is there."""
        length = 2 + self._unread[1] if len(self._unread) > 1 else 2
        if len(self._unread) < length:
            return False
        first, data = self._unread[0], self._unread[2:length]
        self._unread = self._unread[length:]
        if first == _CLOSE:
            raise BenchError(f"it closed a WebSocket: {data!r}")
        if first == _PING:
            self.connection.sendall(_frame(_PONG, data, masked=True))
        return True

    def _receive(self) -> bytes:
        try:
            data = self.connection.recv(65_536)
        except BlockingIOError:
            raise BenchError(f"no answer in {PATIENCE} s") from None
        if not data:
            raise BenchError("it closed a connection")
        return data
