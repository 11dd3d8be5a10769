"""The Close frame of RFC 6455 (§5.5.1, §7.4): which codes may be on the wire, and what a peer says with one."""

import struct
from typing import Final

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005  # never on the wire: a Close frame without a code
ABNORMAL: Final = 1006  # never on the wire: no Close frame
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012

# §7.4.1 and the IANA registry. 1004 is reserved; 1005, 1006 and 1015 are for use inside an endpoint alone.
_REGISTERED: Final = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
#: Payload of a control frame, in bytes (§5.5).
CONTROL_PAYLOAD: Final = 125


class Violation(Exception):
    """What a peer sent breaks the protocol; `code` is the one to close the connection with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def sendable(code: int) -> bool:
    """Whether a Close frame may carry this code (§7.4.2)."""
    return code in _REGISTERED or 3000 <= code <= 4999


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a Close frame. A reason that is too long ends where its last whole character does."""
    if code == NO_STATUS:
        return b""
    text = reason.encode("utf-8", "replace")
    if len(text) > CONTROL_PAYLOAD - 2:
        text = text[: CONTROL_PAYLOAD - 2].decode("utf-8", "ignore").encode("utf-8")
    return struct.pack(">H", code) + text


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a peer's Close frame. Raises `Violation`."""
    if not payload:
        return NO_STATUS, ""
    if len(payload) < 2:
        raise Violation(PROTOCOL_ERROR, "Close frame with half a code")
    code = payload[0] << 8 | payload[1]
    if not sendable(code):
        raise Violation(PROTOCOL_ERROR, "invalid code in a Close frame")
    try:
        return code, payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise Violation(INVALID_DATA, "invalid UTF-8 in a Close frame") from None
