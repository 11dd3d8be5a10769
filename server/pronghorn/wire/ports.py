"""The seams between the wire and the rest: what a parser calls, and what a response is written to.

Everything above these protocols is written once and serves every parser and every HTTP version. A parser turns bytes
into calls on an `Inbound`; a request/response cycle answers through a `ResponseWriter`, which is an HTTP/1.1
connection today and can as well be one stream of a multiplexed one. A WebSocket codec turns bytes into calls on a
`MessageSink`; its cycle answers through a `WebSocketChannel`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

#: Fields of a response, pairs of name and value, as an application gave them: nobody has looked at them yet.
Headers = Iterable[Any]


class RequestError(Exception):
    """Input that is no acceptable HTTP request; nothing after it on the connection can be trusted.

    `status` is the answer it deserves (RFC 9110 §15.5), `reason` a short phrase for the log and the body. `head` is that
    of the request, where it was good and the fault lies behind it.
    """

    def __init__(self, status: int, reason: str, head: "RequestHead | None" = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.head = head

    def __repr__(self) -> str:
        return f"RequestError({self.status}, {self.reason!r})"


class InvalidResponse(ValueError):
    """What the application asked to send cannot be put on the wire as HTTP (RFC 9110 §5, RFC 9112 §6)."""


class RequestHead:
    """One request's line and header section, checked, with the facts that framing needs already drawn from it.

    `target` is the request target as received, `raw_path` and `query` its two halves (absolute-form already reduced
    to them), `headers` lower-cased names with their values in order. `content_length` is None where the length is
    not declared; a request has a body if it is positive or `chunked` is true (RFC 9112 §6.3). `accepts_trailers` says that
    the client wants the trailer fields of the response (``TE: trailers``), `forwarded` whether there is a field at all
    by which a proxy tells of its client. `named` has what a peer calls the request: ``X-Request-ID`` and ``traceparent``, each
    empty where it comes more than once, or None without either. `request_id` is what it is called here, and `id_line` the field
    with which that is answered; both are empty until somebody names the request. `taken` is set by whoever is given the head and will speak another protocol behind it.
    """

    __slots__ = (
        "accepts_trailers",
        "chunked",
        "content_length",
        "expects_continue",
        "forwarded",
        "headers",
        "http_version",
        "id_line",
        "keep_alive",
        "method",
        "named",
        "query",
        "raw_path",
        "request_id",
        "taken",
        "target",
        "upgrade",
    )

    method: str
    target: bytes
    raw_path: bytes
    query: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    accepts_trailers: bool
    forwarded: bool
    named: dict[bytes, bytes] | None
    request_id: str
    id_line: bytes
    upgrade: bytes | None
    taken: bool

    def again(self) -> "RequestHead":
        """Another request with the same head, before anybody has named it."""
        head = RequestHead()
        head.method = self.method
        head.target = self.target
        head.raw_path = self.raw_path
        head.query = self.query
        head.http_version = self.http_version
        head.headers = self.headers.copy()
        head.content_length = self.content_length
        head.chunked = self.chunked
        head.keep_alive = self.keep_alive
        head.expects_continue = self.expects_continue
        head.accepts_trailers = self.accepts_trailers
        head.forwarded = self.forwarded
        head.named = self.named
        head.request_id = ""
        head.id_line = b""
        head.upgrade = self.upgrade
        head.taken = False
        return head

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target!r} HTTP/{self.http_version}>"


class Inbound(Protocol):
    """Called by a parser, in this order for every request: one `on_head`, any number of `on_body`, one `on_end`.

    `on_lost` ends the sequence for good: the bytes are not HTTP, or stopped inside a message.
    """

    def on_head(self, head: RequestHead) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, exc: RequestError) -> None: ...

    def on_upgrade(self, data: bytes) -> None:
        """What follows a head that `on_head` has marked as `taken`, as it comes. Nothing else is called from then on."""


class HttpParser(Protocol):
    """Bytes in, `Inbound` calls out. Never raises for bad input: that is `on_lost`, after which `feed` does nothing."""

    def feed(self, data: bytes) -> None: ...

    def feed_eof(self) -> None:
        """The peer will send no more; inside a message that is `on_lost`."""

    @property
    def idle(self) -> bool:
        """True between messages: not a byte of a next request has been seen."""

    def close(self) -> None:
        """Nothing more will be fed. The parser lets go of the `Inbound`, which holds it in turn."""


class FilePart(Protocol):
    """A stretch of an open file that is to be sent: `size` bytes of descriptor `fd`, from `offset` on."""

    @property
    def fd(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def size(self) -> int: ...

    def moved(self, size: int) -> None:
        """`size` more bytes of it were sent."""

    def small(self) -> bytes | None:
        """The content, if it is so little that it is better read and sent like any other body; else None."""

    def close(self) -> None:
        """No more is sent of it. Closes what was opened for it, but no file that belongs to the application."""


class ResponseWriter(Protocol):
    """Where one response goes. Either `respond`, or `begin`, `chunk` and `send_file` any number of times and `end`; then `done`.

    `respond`, `begin` and `chunk` return how many body bytes really went out: none to a HEAD request, for instance.
    `respond` and `begin` raise `InvalidResponse` before anything is written.
    """

    @property
    def paused(self) -> bool:
        """True while the peer reads slower than we write; `drain` waits for the end of that."""

    def respond(self, status: int, headers: Headers, body: bytes) -> int: ...

    def begin(self, status: int, headers: Headers, body: bytes) -> int: ...

    def chunk(self, data: bytes) -> int: ...

    def end(self, trailers: Headers = ()) -> None:
        """The body is complete. `trailers`, checked before, go where the framing and the client have room for them."""

    def done(self) -> None:
        """The response is complete, and whoever counts responses has counted it: now its last bytes may reach the peer."""

    def failed(self) -> None:
        """The application let an exception through, or left its response incomplete. What becomes of the response is told apart."""

    def file(self, source: object, offset: int | None, count: int | None) -> FilePart:
        """A stretch of a file, given as a path or as something open: up to `count` bytes, or all, from `offset` on.

        Without `offset` that is the file's own position, which moves along. Raises `OSError` if there is no such file,
        or if it is not a regular one.
        """

    async def send_file(self, part: FilePart, sent: Callable[[int], None]) -> None:
        """A piece of the body that is `part`; calls `sent` with the number of bytes each time that some went out.

        Ends early, without an error, when the peer is lost. Raises `OSError` if the file cannot be read any further, and
        `InvalidResponse` if it is not as long any more as has been promised to the peer: there is nothing left then
        but `abort`.
        """

    def inform(self, status: int, headers: Headers) -> None:
        """Send an informational (1xx) response ahead of the final one (RFC 9110 §15.2)."""

    def push(self, path: str, headers: Headers) -> None:
        """Promise the response to a GET of `path`, and make it (RFC 9113 §8.4); or do nothing, where the peer wants none."""

    def abort(self) -> None:
        """The response cannot be completed: make sure that the peer can tell."""

    def consumed(self, size: int) -> None:
        """The application took `size` bytes of the request body, so that the peer may send as many more."""

    async def drain(self) -> None: ...


class MessageSink(Protocol):
    """Called by a WebSocket codec for what its peer sends, in order. Nothing comes behind `on_close` or `on_violation`.

    Any of these calls may set `WebSocketCodec.held`, or let go of the codec.
    """

    def on_message(self, data: str | bytes) -> None:
        """A whole message: text, or binary."""

    def on_ping(self, payload: bytes) -> None: ...

    def on_pong(self, payload: bytes) -> None: ...

    def on_close(self, code: int, reason: str) -> None:
        """The peer's Close frame; 1005 stands for one without a code (RFC 6455 §7.1.5)."""

    def on_violation(self, code: int, reason: str) -> None:
        """The bytes break the protocol: `code` is what to close the connection with (§7.1.7)."""


class WebSocketCodec(Protocol):
    """The frames of one WebSocket, of the server's side: bytes in, `MessageSink` calls out; frames out through a `write`.

    Never raises for bad input: that is `on_violation`, after which `feed` does nothing. `text` raises `UnicodeEncodeError` for
    what UTF-8 has no bytes for. Those that write a frame return the bytes of its payload.

    An implementation is made by ``make(sink, write, max_size, deflate)``: the largest message in bytes, as it is when it is
    inflated, and what was agreed on about compression, or None.
    """

    #: Set while nobody has room for more: what is fed is kept, and taken up by a `feed` once it is unset.
    held: bool

    def feed(self, data: bytes) -> None: ...

    def text(self, data: str) -> int: ...

    def binary(self, data: bytes) -> int: ...

    def ping(self, payload: bytes) -> int: ...

    def pong(self, payload: bytes) -> int: ...

    def close(self, code: int, reason: str) -> int:
        """A Close frame; with 1005, one without a code. Too long a reason is cut (§5.5)."""

    def release(self) -> None:
        """Nothing more will be fed. The codec lets go of the sink, which holds it in turn."""


class WebSocketChannel(Protocol):
    """Where the messages of one accepted WebSocket go.

    `text` and `binary` return whether the peer reads slower than we write; `drain` waits for the end of that.
    """

    def text(self, data: str) -> bool: ...

    def binary(self, data: bytes) -> bool: ...

    def close(self, code: int, reason: str) -> None: ...

    def failed(self) -> None:
        """The application let an exception through."""

    def resume(self) -> None:
        """There is room again for what the peer has sent."""

    async def drain(self) -> None: ...
