"""The floods of design/security.md and of the CVEs since: what is sent once, and what is then sent over and over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.h2_frames import (
    ACK,
    Code,
    Kind,
    block,
    continuation,
    data,
    frame,
    head,
    headers,
    literal,
    ping,
    priority,
    request,
    reset,
    settings,
    window_update,
)

#: Frames, from the first of a flood on, behind which the connection has to be over: those that the kernel's buffers held when
#: the server closed are among them.
BOUND = 20_000


@dataclass(frozen=True)
class Flood:
    """`unit` makes the n-th repetition, which has so many `frames`; `opening` goes ahead of all.

    `requests` says that the application may see some of it.
    """

    name: str
    unit: Callable[[int], bytes]
    opening: bytes = b""
    frames: int = 1
    cve: str = ""
    codes: tuple[Code, ...] = (Code.ENHANCE_YOUR_CALM,)

    @property
    def id(self) -> str:
        return f"{self.name} ({self.cve})" if self.cve else self.name


OPEN = request(1, method=b"POST", path=b"/stay", end=False)
STAY = block(head(path=b"/stay"))
UPLOAD = block(head(method=b"POST", path=b"/stay"))
MALFORMED = block(head((b"X", b"1")))
#: What a hundred streams leave no room for.
CROWD = b"".join(headers(2 * number + 1, STAY) for number in range(100))


def stream(number: int) -> int:
    """Of the n-th request."""
    return 2 * number + 1


FLOODS = [
    Flood("rapid reset", lambda n: headers(stream(n), STAY) + reset(stream(n)), frames=2, cve="CVE-2023-44487"),
    Flood("rapid reset of uploads", lambda n: headers(stream(n), UPLOAD, end=False) + reset(stream(n)), frames=2,
          cve="CVE-2023-44487"),
    Flood("resets that the server is made to send", lambda n: headers(stream(n), UPLOAD, end=False) + window_update(stream(n), 0),
          frames=2, cve="CVE-2025-8671"),
    Flood("malformed requests", lambda n: headers(stream(n), MALFORMED), cve="CVE-2025-8671"),
    Flood("requests over the number of streams", lambda n: headers(stream(n + 100), STAY), CROWD),
    Flood("CONTINUATION", lambda n: continuation(1, literal(b"x-%d" % n, bytes(1000)), complete=False),
          headers(1, block(head()), complete=False), cve="CVE-2024-27316"),
    Flood("CONTINUATION of one byte", lambda n: continuation(1, b"\x82", complete=False),
          headers(1, b"", complete=False), cve="CVE-2024-27316"),
    Flood("empty CONTINUATION", lambda n: continuation(1, complete=False), headers(1, block(head()), complete=False),
          cve="CVE-2024-27316"),
    Flood("SETTINGS", lambda n: settings(), cve="CVE-2019-9515"),
    Flood("SETTINGS of the largest size", lambda n: settings([(4, n % 1000)] * 2730), cve="CVE-2019-9515"),
    Flood("acknowledgements of SETTINGS", lambda n: settings(flags=ACK), codes=(Code.ENHANCE_YOUR_CALM, Code.PROTOCOL_ERROR)),
    Flood("PING", lambda n: ping(n.to_bytes(8, "big")), cve="CVE-2019-9512"),
    Flood("acknowledgements of PING", lambda n: ping(flags=ACK)),
    Flood("empty DATA", lambda n: data(1, end=False), OPEN, cve="CVE-2019-9518"),
    Flood("DATA of padding alone", lambda n: data(1, end=False, padding=0), OPEN, cve="CVE-2019-9518"),
    Flood("WINDOW_UPDATE of the connection", lambda n: window_update(0, 1)),
    Flood("WINDOW_UPDATE of a stream", lambda n: window_update(1, 1), OPEN),
    Flood("PRIORITY", lambda n: frame(Kind.PRIORITY, priority(0, n % 256 + 1), stream=stream(n)), cve="CVE-2019-9513"),
    Flood("PRIORITY_UPDATE", lambda n: frame(Kind.PRIORITY_UPDATE, stream(n).to_bytes(4, "big") + b"u=1")),
    Flood("RST_STREAM of a stream that is over", lambda n: reset(1), OPEN + reset(1), cve="CVE-2019-9514"),
    Flood("frames of no known type", lambda n: frame(0xF0, stream=n)),
]  # fmt: skip
