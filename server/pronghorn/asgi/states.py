"""The state machine of a response, as data. `asgi/http.py` is its fast implementation, written by hand."""

from typing import Final

#: Nothing was sent yet; the head is held; the head is held while hints go ahead of it; the head is out and the body goes
#: on; a file is on its way; the body is complete and trailers are to come; the response is complete; or it never will
#: be, because the peer is gone or the response was given up.
IDLE: Final = 0
HELD: Final = 1
HINTED: Final = 2
OPEN: Final = 3
FILE: Final = 4
TRAILING: Final = 5
COMPLETE: Final = 6
CLOSED: Final = 7

#: What the application may send in which state, and the state that follows. A pair that is not there is an error of
#: the application; in CLOSED it is told so with `ClientDisconnected` instead. "body" is a body event or a file, "body+"
#: one with ``more_body``, "body;" the last one of a response that has announced trailers; "trailers+" are some with
#: ``more_trailers``. FILE is between the beginning and the end of one send: nothing else may be sent in it.
TRANSITIONS: Final[dict[tuple[int, str], int]] = {
    (IDLE, "start"): HELD,
    (HELD, "hint"): HINTED,
    (HELD, "push"): HELD,
    (HELD, "body+"): OPEN,
    (HELD, "body"): COMPLETE,
    (HELD, "body;"): TRAILING,
    (HINTED, "hint"): HINTED,
    (HINTED, "push"): HINTED,
    (HINTED, "body+"): OPEN,
    (HINTED, "body"): COMPLETE,
    (HINTED, "body;"): TRAILING,
    (OPEN, "hint"): OPEN,
    (OPEN, "push"): OPEN,
    (OPEN, "body+"): OPEN,
    (OPEN, "body"): COMPLETE,
    (OPEN, "body;"): TRAILING,
    (TRAILING, "trailers+"): TRAILING,
    (TRAILING, "trailers"): COMPLETE,
}
