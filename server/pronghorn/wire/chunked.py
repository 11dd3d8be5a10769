"""A chunked request body, read by the letter of RFC 9112 §7.1; one reader for every HTTP/1.1 parser.

A body in chunks ends where its chunks say, so whoever forgives a malformed one may see another end than the proxy in
front did, and what lies between the two ends is a smuggled request. Nothing is forgiven here:

* a line ends with CR LF, never with one of the two alone (the class of CVE-2025-22871 and CVE-2025-55315);
* a size is one to sixteen hexadecimal digits: no sign, no prefix, no white space, nothing above 64 bits;
* the bytes behind a chunk's data are CR LF (CVE-2025-43859);
* trailer fields have the syntax of header fields and their limits, and none of them reaches the application.

Extensions mean nothing to a server, so the only question is how many of them a peer may send. What goes over the
wire besides data is held in proportion to the data (as after CVE-2023-39326 in Go's net/http and CVE-2024-22019 in
Node.js): each chunk is granted a few bytes and twice its own size, and what exceeds that may come to 16 KiB in all.
"""

import re
from typing import Final

from .h1_request import HeadBuilder, read_field
from .limits import RequestLimits
from .ports import Inbound, RequestError

#: Longest line of a chunk's size with its extensions, in bytes without the line end.
MAX_LINE: Final = 4096
#: Bytes of framing beyond what chunks are granted for their data, in one body.
MAX_EXCESS: Final = 16_384
_GRANTED: Final = 16

# §7.1 without the "bad white space" of the grammar, which nobody sends but to be misread. The classes of neighbouring
# parts are disjoint, so that there is one way to match: linear time.
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb'(?:=(?:[!#$%&\'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?'
    rb")*"
).fullmatch
# What may still become such a line.
_BEGINNING: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?").fullmatch

# What comes next.
_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3


class ChunkedBody:
    """Reads one body and hands its pieces to `inbound`; trailer fields are checked and dropped.

    `done` is true once the last line of the message was read.
    """

    __slots__ = (
        "_excess",
        "_inbound",
        "_kept",
        "_left",
        "_limits",
        "_state",
        "_total",
        "_trailer_bytes",
        "_trailers",
        "done",
    )

    def __init__(self, inbound: Inbound, limits: RequestLimits) -> None:
        self._inbound = inbound
        self._limits = limits
        self._state = _SIZE
        self._kept = b""  # of a line that is not complete
        self._left = 0  # bytes of the current chunk that have not come yet
        self._total = 0
        self._excess = 0
        self._trailers: HeadBuilder | None = None
        self._trailer_bytes = 0
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """Take in bytes of the body; what is returned lies behind its end. Raises `RequestError`."""
        if self._kept:
            data = self._kept + data
            self._kept = b""
        pieces: list[bytes] = []
        try:
            return self._read(data, pieces)
        finally:
            # The chunks of one read are one piece: a flood of small ones costs the application nothing.
            if pieces:
                self._inbound.on_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _read(self, data: bytes, pieces: list[bytes]) -> bytes:
        at, size = 0, len(data)
        while at < size:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                if data.startswith(b"\r\n", at):
                    self._state = _SIZE
                    at += 2
                elif data[at:] == b"\r":
                    self._kept = b"\r"
                    break
                else:
                    raise RequestError(400, "chunk does not end where it says")
            elif (end := data.find(b"\r\n", at)) < 0:
                self._keep(data[at:])
                break
            else:
                line = data[at:end]
                at = end + 2
                if self._state == _SIZE:
                    self._take_size(line)
                elif line:
                    self._take_field(line)
                else:
                    if self._trailers is not None:
                        self._trailers.check_trailers()
                    self.done = True
                    return data[at:]
        return b""

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE(line) if len(line) <= MAX_LINE else None
        if match is None:
            raise RequestError(400, "invalid chunk size or extension")
        size = int(match[1], 16)
        self._excess = max(0, self._excess + len(line) + 4 - _GRANTED - 2 * size)
        if self._excess > MAX_EXCESS:
            raise RequestError(400, "chunk extensions out of proportion")
        self._total += size
        limit = self._limits.body
        if limit is not None and self._total > limit:
            raise RequestError(413, "request body too large")
        self._left = size
        self._state = _DATA if size else _TRAILERS

    def _take_field(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        self._bound_trailers(0)
        if self._trailers is None:
            self._trailers = HeadBuilder(self._limits)
        read_field(line, self._trailers)
        self._trailers.check_count()

    def _keep(self, line: bytes) -> None:
        """Keep a line that is not complete, unless nothing good can come of it."""
        if self._state == _TRAILERS:
            if b"\n" in line:
                raise RequestError(400, "bare line feed in trailers")
            self._bound_trailers(len(line) - 1)  # less the CR that it may end with
        elif len(line) > MAX_LINE + 1 or not _BEGINNING(line):
            raise RequestError(400, "invalid chunk size or extension")
        self._kept = line

    def _bound_trailers(self, unfinished: int) -> None:
        if self._trailer_bytes + unfinished > self._limits.field_bytes:
            raise RequestError(431, "trailer section too large")
