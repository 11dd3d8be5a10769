"""What a request is called: by the peer, if that one is trusted, or by us.

The id ends up in logs, in the scope and in the response, so nothing of it may come from just anybody. A trusted peer names the
request with ``X-Request-ID``, or traces it with ``traceparent`` (W3C Trace Context, section 3.2), whose trace-id is then the name.
What cannot be used is replaced and never an error: it is the request that matters.

An id of ours is counted, not drawn: sixteen hexadecimal digits of the process and sixteen of a number. That makes it unique, and it
costs a fraction of what randomness would; a secret it is not (docs/adr/0027-request-ids.md).
"""

import re
from contextvars import ContextVar
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


class RequestIds:
    """Names the requests of one process. `current` is the variable that holds the id inside the context of a request."""

    __slots__ = ("_next", "_process", "current")

    def __init__(self, process: str, current: ContextVar[str]) -> None:
        """Take what no other process has for its own: 16 hexadecimal digits."""
        self._process = process
        self._next = 0
        self.current = current

    def name(self, head: RequestHead, *, trusted: bool) -> None:
        """Give a request its id: in `head`, and as the one X-Request-ID among its fields."""
        value = b""
        named = head.named
        if named is not None:
            sent = named.get(_FIELD)
            if trusted:
                if sent and len(sent) <= SIZE and not sent.translate(None, _PLAIN):
                    head.request_id = sent.decode("ascii")
                    head.id_line = b"x-request-id: %b\r\n" % sent
                    return
                value = trace_id(named.get(b"traceparent", b""))
            if sent is not None:
                head.headers = [field for field in head.headers if field[0] != _FIELD]
        if value:
            text = value.decode("ascii")
        else:
            self._next += 1
            text = f"{self._process}{self._next:016x}"
            value = text.encode("ascii")
        head.request_id = text
        head.id_line = b"x-request-id: %b\r\n" % value
        head.headers.append((_FIELD, value))


def trace_id(traceparent: bytes) -> bytes:
    """The trace that a ``traceparent`` belongs to; empty if that is not valid."""
    match = _TRACEPARENT(traceparent)
    return b"" if match is None else match[1]
