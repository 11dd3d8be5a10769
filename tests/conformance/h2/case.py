"""A case: what is sent on a connection of its own, and what has to come of it.

Each case is named by the section of the RFC that it holds the server to: 3.4 to 8.6 are RFC 9113's, `hpack-…` RFC 7541's,
`generic-…` what any client does all day. The cases are data; `play` is all that happens.

Behind what a case sends goes a PING. A server reads frames in the order in which they come, so what it had to say about those
before is there when the PING is answered: nothing has to be timed, and a case that is not refused fails at once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.h2_frames import Code
from tests.support.h2_raw_client import Client

BARRIER = b"barrier!"

Connect = Callable[[], socket.socket]
#: What the application has seen since this was last called.
Seen = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True)
class Talk:
    """A connection on which a case has sent all that it has to; `seen` are the requests that the application saw."""

    client: Client
    goes_on: bool
    seen: Callable[[], list[dict[str, Any]] | None]

    @property
    def told(self) -> str:
        streams = {
            number: (stream.status, "ended" if stream.ended else "open", stream.code)
            for number, stream in self.client.streams.items()
        }
        return f"connection {self.client.told()}, streams {streams}"


class Want(Protocol):
    """What has to come of a case."""

    def complaint(self, talk: Talk) -> str | None:
        """What is wrong with how it went, or None."""


@dataclass(frozen=True)
class Wait:
    """Before more is sent, a stream has to have come as far: its head, its end, or some bytes of its body."""

    stream: int
    met: str = "over"
    size: int = 0

    def reached(self, client: Client) -> bool:
        stream = client.stream(self.stream)
        if self.met == "over":
            return client.until(lambda: stream.over)
        return client.until(lambda: stream.status is not None and len(stream.body) >= self.size)


@dataclass(frozen=True)
class Settled:
    """Before more is sent, the server has to have acknowledged the client's settings."""

    count: int = 1

    def reached(self, client: Client) -> bool:
        return client.until(lambda: client.acknowledged >= self.count)


@dataclass(frozen=True)
class Case:
    """One case. A connection begins with the preface and SETTINGS of `values`, or with `opening` where these are the matter.

    Windows are given back if `generous`. Without a `barrier` the connection has to end by itself.
    """

    section: str
    name: str
    steps: Sequence[bytes | Wait | Settled]
    want: Want
    values: Sequence[tuple[int, int]] = ()
    opening: bytes | None = None
    generous: bool = True
    barrier: bool = True

    @property
    def id(self) -> str:
        return f"{self.section}/{self.name.replace(' ', '-')}"


def play(case: Case, connect: Connect, seen: Seen | None = None) -> None:
    """Raises AssertionError if the case does not come out as it should."""
    if seen is not None:
        seen()
    with Client(connect(), *case.values, opening=case.opening, generous=case.generous) as client:
        for step in case.steps:
            if isinstance(step, bytes):
                client.send(step)
            else:
                assert step.reached(client), f"the connection ended before {step}: {client.told()}"
        if case.barrier:
            goes_on = client.barrier(BARRIER)
        else:
            client.end()
            goes_on = False
        talk = Talk(client, goes_on, (lambda: None) if seen is None else seen)
        complaint = case.want.complaint(talk)
        assert complaint is None, f"{complaint}; {talk.told}"


# ---- What has to come -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConnectionError_:  # noqa: N801  # the RFC's name, and no exception
    """§5.4.1: GOAWAY with one of these codes, and the connection is closed. `silent`: it may be closed without a word."""

    codes: tuple[Code, ...]
    silent: bool = False

    def complaint(self, talk: Talk) -> str | None:
        if talk.goes_on:
            return f"no connection error, where {self._names()} is due"
        talk.client.end()
        code = talk.client.error or None
        if code is None:
            return None if self.silent else f"closed without GOAWAY, where {self._names()} is due"
        return None if code in self.codes else f"{Code(code).name}, where {self._names()} is due"

    def _names(self) -> str:
        return " or ".join(code.name for code in self.codes)


@dataclass(frozen=True)
class StreamError:
    """§5.4.2: RST_STREAM with one of these codes, and the connection goes on."""

    stream: int
    codes: tuple[Code, ...]

    def complaint(self, talk: Talk) -> str | None:
        names = " or ".join(code.name for code in self.codes)
        if not talk.goes_on:
            return f"the connection did not outlive the stream, which is due {names}"
        stream = talk.client.stream(self.stream)
        if not talk.client.until(lambda: stream.over):
            return "the connection ended"
        if stream.code is None:
            return f"stream {self.stream} was answered {stream.status}, where {names} is due"
        return None if stream.code in self.codes else f"{Code(stream.code).name}, where {names} is due"


@dataclass(frozen=True)
class Malformed:
    """§8.1.1: a stream error of type PROTOCOL_ERROR, or a refusal with a status and then the end of the stream.

    Either way the application has not seen the request, and the connection goes on.
    """

    stream: int = 1
    statuses: tuple[int, ...] = (400,)

    def complaint(self, talk: Talk) -> str | None:
        if not talk.goes_on:
            return "the connection did not outlive a malformed request"
        stream = talk.client.stream(self.stream)
        if not talk.client.until(lambda: stream.over):
            return "the connection ended"
        if stream.status is not None and stream.status not in self.statuses:
            return f"answered {stream.status}"
        if stream.status is None and stream.code != Code.PROTOCOL_ERROR:
            return f"reset with {Code(stream.code or 0).name}"
        if talk.seen():
            return "the application saw it"
        return None


@dataclass(frozen=True)
class Served:
    """The response on this stream is complete, with this status and body. `last`: the connection may end behind it."""

    stream: int = 1
    status: int = 200
    body: bytes | None = None
    last: bool = False

    def complaint(self, talk: Talk) -> str | None:
        stream = talk.client.stream(self.stream)
        if not talk.client.until(lambda: stream.over):
            return "the connection ended before the response"
        if not stream.ended or stream.status != self.status:
            return f"stream {self.stream} was not answered {self.status}"
        if self.body is not None and bytes(stream.body) != self.body:
            return f"the body {bytes(stream.body[:100])!r}, where {self.body!r} is due"
        return None if talk.goes_on or self.last else "the connection ended behind the response"


@dataclass(frozen=True)
class Ignored:
    """Nothing at all comes of it: the connection goes on, and no stream was reset."""

    def complaint(self, talk: Talk) -> str | None:
        if not talk.goes_on:
            return "the connection ended"
        found = [number for number, stream in talk.client.streams.items() if stream.code is not None]
        return f"reset: {found}" if found else None


@dataclass(frozen=True)
class Acknowledged:
    """The server has acknowledged so many SETTINGS."""

    count: int

    def complaint(self, talk: Talk) -> str | None:
        if not talk.client.until(lambda: talk.client.acknowledged >= self.count):
            return "the connection ended"
        return None


@dataclass(frozen=True)
class Ponged:
    """The pings that were answered are these, and no others."""

    answers: tuple[bytes, ...]

    def complaint(self, talk: Talk) -> str | None:
        found = tuple(answer for answer in talk.client.pongs if answer != BARRIER)
        return None if found == self.answers else f"PING acknowledged: {found}"


@dataclass(frozen=True)
class Pieces:
    """The first DATA frames on a stream have these sizes."""

    stream: int
    sizes: tuple[int, ...]

    def complaint(self, talk: Talk) -> str | None:
        stream = talk.client.stream(self.stream)
        talk.client.until(lambda: stream.over or len(stream.pieces) >= len(self.sizes))
        found = tuple(stream.pieces[: len(self.sizes)])
        return None if found == self.sizes else f"DATA of {found} bytes, where {self.sizes} are due"


@dataclass(frozen=True)
class Either:
    """Where the RFC leaves a choice."""

    wants: tuple[Want, ...]

    def complaint(self, talk: Talk) -> str | None:
        found = [want.complaint(talk) for want in self.wants]
        return None if None in found else "; and ".join(filter(None, found))


def connection_error(*codes: Code) -> ConnectionError_:
    return ConnectionError_(codes)


def stream_error(stream: int, *codes: Code) -> StreamError:
    return StreamError(stream, codes)


def either(*wants: Want) -> Either:
    return Either(wants)
