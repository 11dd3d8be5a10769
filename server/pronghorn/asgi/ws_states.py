"""The state machine of a WebSocket, as data. `asgi/websocket.py` is its fast implementation, written by hand."""

from typing import Final

#: The handshake is not answered; it is answered by an HTTP response that has begun; the connection is open. The ends: the
#: handshake was refused; the application closed the connection; or it is over for another reason, because the peer closed it
#: or is gone, or the server gave it up.
CONNECTING: Final = 0
DENYING: Final = 1
OPEN: Final = 2
REFUSED: Final = 3
FINISHED: Final = 4
LOST: Final = 5

#: What the application may send in which state, and the state that follows. A pair that is not there is an error of the
#: application; in LOST it is told so with `ClientDisconnected` instead. "start" and "body" are those of the denial response,
#: "body+" one with ``more_body``.
TRANSITIONS: Final[dict[tuple[int, str], int]] = {
    (CONNECTING, "accept"): OPEN,
    (CONNECTING, "close"): REFUSED,
    (CONNECTING, "start"): DENYING,
    (DENYING, "body+"): DENYING,
    (DENYING, "body"): REFUSED,
    (OPEN, "send"): OPEN,
    (OPEN, "close"): FINISHED,
}
