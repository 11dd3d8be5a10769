"""What the two HTTP/1.1 parsers are allowed to answer differently. Anything else fails the differential tests.

None of it concerns where a message ends: a parser that refuses closes the connection, and nothing behind is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: The methods that llhttp knows of and takes in HTTP/1.1; it has them compiled in, and compares case and all.
LLHTTP_METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK SOURCE QUERY".split()
)

Heads = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Disagreement:
    """`applies` is given what httptools and h11 made of the same bytes: requests, and whether the rest was refused."""

    name: str
    reason: str
    applies: Callable[[Heads, bool, Heads, bool], bool]


def _unknown_method(httptools: Heads, refused: bool, h11: Heads, _: bool) -> bool:
    return (
        refused
        and len(h11) > len(httptools)
        and list(h11[: len(httptools)]) == list(httptools)
        and h11[len(httptools)]["method"].encode() not in LLHTTP_METHODS
    )


ALLOWED = [
    Disagreement(
        "unknown method",
        "RFC 9110 §9.1 leaves methods open: h11 hands any token to the application, which answers 405 or 501 as it "
        "sees fit. llhttp has a fixed list, in upper case, and what is not in it cannot be taken over from it: 400.",
        _unknown_method,
    ),
]

_METHODS = "any token is a method to h11, and the application answers; llhttp has a list"

#: Rows of the security suite that get another status from h11 than from httptools, with the reason; None is served.
STATUSES = {
    "method that no parser knows": (400, None, _METHODS),
    "method in lower case": (400, None, _METHODS),
    "method of RTSP in HTTP/1.1": (400, None, _METHODS),
    "the connection preface of HTTP/2": (
        400,
        505,
        "llhttp looks for the rest of the preface as soon as the method is PRI; h11 reads the line, and its version.",
    ),
}
