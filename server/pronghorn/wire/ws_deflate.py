"""permessage-deflate (RFC 7692): what is agreed on, and messages in and out of zlib with bounded memory.

Both codecs use it. Libraries inflate a frame first and ask for its size afterwards; here no more comes out of zlib than the
largest message may have, so that a few kilobytes cannot become gigabytes (the class of CVE-2018-1000518).

Windows are 4 KiB where the peer lets us choose. That costs a few per cent of compression and makes of the 300 KB that
zlib takes by default for each connection some 45.
"""

import re
import zlib
from typing import Final

# RFC 7692 §7.2.1: the end of a flushed block, which is cut off on the way out and put back on the way in.
_TAIL: Final = b"\x00\x00\xff\xff"

_BITS: Final = 12  # of a window, where we choose
_FULL_BITS: Final = 15  # where the peer has not said that it can do with less
_SMALLEST_BITS: Final = 9  # zlib does not deflate with 8, which the RFC allows
_MEMORY_LEVEL: Final = 5

#: Messages of fewer bytes are sent as they are: they would hardly shrink, and it takes longer than sending them.
WORTH: Final = 64

# RFC 6455 §9.1: a list of extensions, each with parameters; a value may be quoted, and is a token all the same.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER: Final = re.compile(
    rb"[ \t]*;[ \t]*(" + _TOKEN + rb")(?:[ \t]*=[ \t]*(?:(" + _TOKEN + rb')|"(' + _TOKEN + rb')"))?'
)
_NAME: Final = re.compile(rb"[ \t]*(" + _TOKEN + rb")")
_NEXT: Final = re.compile(rb"[ \t]*(?:,[ \t,]*|$)")
_WINDOW: Final = re.compile(rb"8|9|1[0-5]").fullmatch


class MessageTooLargeError(Exception):
    """A message would be larger, inflated, than a message may be."""


class Deflate:
    """What both sides have agreed on: bits of the window for each direction, and whether it is kept between messages."""

    __slots__ = ("client_bits", "client_keeps", "server_bits", "server_keeps")

    def __init__(
        self,
        *,
        server_bits: int = _BITS,
        client_bits: int = _FULL_BITS,
        server_keeps: bool = True,
        client_keeps: bool = True,
    ) -> None:
        self.server_bits = server_bits
        self.client_bits = client_bits
        self.server_keeps = server_keeps
        self.client_keeps = client_keeps


def parse_extensions(value: bytes) -> list[tuple[bytes, list[tuple[bytes, bytes | None]]]]:
    """The extensions that a field offers, with their parameters. Raises `ValueError` where it is not what §9.1 allows."""
    found: list[tuple[bytes, list[tuple[bytes, bytes | None]]]] = []
    at = len(value) - len(value.lstrip(b" \t,"))
    while at < len(value):
        name = _NAME.match(value, at)
        if name is None:
            raise ValueError("no extension")
        at = name.end()
        parameters: list[tuple[bytes, bytes | None]] = []
        while (parameter := _PARAMETER.match(value, at)) is not None:
            parameters.append((parameter[1].lower(), parameter[2] or parameter[3]))
            at = parameter.end()
        found.append((name[1].lower(), parameters))
        end = _NEXT.match(value, at)
        if end is None:
            raise ValueError("no list of extensions")
        at = end.end()
    return found


def negotiate(parameters: list[tuple[bytes, bytes | None]]) -> tuple[Deflate, bytes] | None:
    """What one offer of the extension (§7.1) comes to, and the answer to it; None if it cannot be accepted."""
    agreed = Deflate()
    seen: set[bytes] = set()
    answer = [b"permessage-deflate"]
    for name, value in parameters:
        if name in seen:
            return None
        seen.add(name)
        if name == b"server_no_context_takeover" and value is None:
            agreed.server_keeps = False
            answer.append(name)
        elif name == b"client_no_context_takeover" and value is None:
            agreed.client_keeps = False
            answer.append(name)
        elif name == b"server_max_window_bits" and value is not None and _WINDOW(value):
            if int(value) < _SMALLEST_BITS:
                return None
            agreed.server_bits = min(int(value), _BITS)
        elif name == b"client_max_window_bits" and (value is None or _WINDOW(value)):
            # Only a client that names it understands the answer (§7.1.2.2).
            agreed.client_bits = _BITS if value is None else min(int(value), _BITS)
            answer.append(b"client_max_window_bits=%d" % agreed.client_bits)
        else:
            return None
    # The server may say this of itself whether the client has asked or not (§7.1.2.1).
    answer.append(b"server_max_window_bits=%d" % agreed.server_bits)
    return agreed, b"; ".join(answer)


class Inflater:
    """Inflates the messages of one peer, piece by piece."""

    __slots__ = ("_bits", "_keeps", "_restarted", "_stream")

    def __init__(self, agreed: Deflate) -> None:
        self._bits = -max(agreed.client_bits, _SMALLEST_BITS)
        self._keeps = agreed.client_keeps
        self._stream = zlib.decompressobj(self._bits)
        self._restarted = False

    def piece(self, data: bytes, room: int) -> bytes:
        """The content of a piece of a message, which may have `room` bytes more.

        Raises `MessageTooLargeError` for one that has more, `zlib.error` for what is no DEFLATE.
        """
        content = self._stream.decompress(data, room + 1)
        while self._stream.eof:
            # §7.2.3.5: a block that says it is the last. What follows is another stream; a message has one such end.
            rest = self._stream.unused_data
            if self._restarted:
                raise zlib.error("more than one last block in a message")
            self._restarted = True
            self._stream = zlib.decompressobj(self._bits)
            if len(content) <= room:
                content += self._stream.decompress(rest, room + 1 - len(content))
        if len(content) > room:
            raise MessageTooLargeError
        return content

    def end(self, room: int) -> bytes:
        """What is left of the content at the end of a message."""
        content = self.piece(_TAIL, room)
        self._restarted = False
        if not self._keeps:
            self._stream = zlib.decompressobj(self._bits)
        return content


class Deflater:
    """Deflates the messages to one peer."""

    __slots__ = ("_bits", "_keeps", "_stream")

    def __init__(self, agreed: Deflate) -> None:
        self._bits = -agreed.server_bits
        self._keeps = agreed.server_keeps
        self._stream = self._new()

    def _new(self) -> "zlib._Compress":
        return zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, self._bits, _MEMORY_LEVEL)

    def message(self, data: bytes) -> bytes:
        """A whole message."""
        stream = self._stream
        deflated = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        if not self._keeps:
            self._stream = self._new()
        return deflated[: -len(_TAIL)]
