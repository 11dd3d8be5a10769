"""What a request is called: by the peer, if that one is trusted, or by us.

The id ends up in logs, in the scope and in the response, so nothing of it may come from just anybody. A trusted peer names the
request with ``X-Request-ID``, or traces it with ``traceparent`` (W3C Trace Context, section 3.2), whose trace-id is then the name.
What cannot be used is replaced and never an error: it is the request that matters.

An id of ours is counted, not drawn: sixteen hexadecimal digits of the process and sixteen of a number. That makes it unique, and it
costs a fraction of what randomness would; a secret it is not (docs/adr/0027-request-ids.md).
"""

import re
from collections.abc import Callable
from typing import Final

from pronghorn.wire.ports import RequestHead

#: Bytes of an id at most.
SIZE: Final = 128

_FIELD: Final = b"x-request-id"
# Visible ASCII less the quote and the backslash: what stands in a field, in a line of a log and in JSON as it is.
_PLAIN: Final = bytes(code for code in range(0x21, 0x7F) if code not in b'"\\')
# Version 00 ends with the flags; later ones may go on behind another dash (section 3.2.4). Neither id may be all zeros.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)(?!00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
).fullmatch


# The last two digits of a number, as text, as bytes, and with the end of their line: an id is then put together, not formatted.
_TAILS: Final = [f"{number:02x}" for number in range(256)]
_BYTES: Final = [tail.encode("ascii") for tail in _TAILS]
_LINES: Final = [b"%b\r\n" % tail for tail in _BYTES]


class RequestIds:
    """Names the requests of one process. `enter` notes the id in the context of the request."""

    __slots__ = ("_bytes", "_line", "_next", "_process", "_text", "enter")

    # What 256 ids have in common, the first of which makes it.
    _text: str
    _bytes: bytes
    _line: bytes

    def __init__(self, process: str, enter: Callable[[str], object]) -> None:
        """Take what no other process has for its own: 16 hexadecimal digits."""
        self._process = process
        self._next = 0
        self.enter = enter

    def _begin(self, block: int) -> None:
        self._text = f"{self._process}{block:014x}"
        self._bytes = self._text.encode("ascii")
        self._line = b"x-request-id: %b" % self._bytes

    def name(self, head: RequestHead, *, trusted: bool) -> None:
        """Give a request its id: in `head`, and as the one X-Request-ID among its fields."""
        named = head.named
        if named is not None:
            sent = named.get(_FIELD)
            if trusted:
                if sent and len(sent) <= SIZE and not sent.translate(None, _PLAIN):
                    head.request_id = sent.decode("ascii")
                    head.id_line = b"x-request-id: " + sent + b"\r\n"
                    return
                trace = trace_id(named.get(b"traceparent", b""))
            else:
                trace = b""
            if sent is not None:
                head.headers = [field for field in head.headers if field[0] != _FIELD]
            if trace:
                head.request_id = trace.decode("ascii")
                head.id_line = b"x-request-id: " + trace + b"\r\n"
                head.headers.append((_FIELD, trace))
                return
        number = self._next
        self._next = number + 1
        tail = number & 255
        if not tail:
            self._begin(number >> 8)
        head.request_id = self._text + _TAILS[tail]
        head.id_line = self._line + _LINES[tail]
        head.headers.append((_FIELD, self._bytes + _BYTES[tail]))


def trace_id(traceparent: bytes) -> bytes:
    """The trace that a ``traceparent`` belongs to; empty if that is not valid."""
    match = _TRACEPARENT(traceparent)
    return b"" if match is None else match[1]
