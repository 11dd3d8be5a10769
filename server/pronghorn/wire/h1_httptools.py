"""The HTTP/1.1 parser over httptools, which is llhttp: the fast one, and the default.

llhttp is asked for bytes only. It reports pieces of a head to the `HeadBuilder` that this class is, so that there is
no second object and no copy between the C parser and the checked head. Two of its habits are handled here:

* it reports trailer fields through the same callback as header fields; they are checked and dropped;
* it stops behind a head that asks for an upgrade, even where RFC 9110 §7.8 lets a server ignore the wish, and takes
  everything that follows, a body included, for the other protocol. A fresh parser is then brought into the state
  that the framing of the head calls for, and goes on with the bytes that follow.
"""

from typing import Final

import httptools

from .h1_request import HeadBuilder
from .limits import RequestLimits
from .ports import Inbound, RequestError, RequestHead

_BETWEEN: Final = 0
_IN_HEAD: Final = 1
_IN_BODY: Final = 2
_RESUMING: Final = 3  # a fresh parser is being brought into the body of a request whose head is already done
_LOST: Final = 4


class HttptoolsParser(HeadBuilder):
    """`ports.HttpParser` over httptools."""

    __slots__ = (
        "_body",
        "_inbound",
        "_large",
        "_parser",
        "_pending",
        "_read",
        "_state",
        "_target",
        "_upgrading",
    )

    def __init__(self, inbound: Inbound, limits: RequestLimits) -> None:
        super().__init__(limits)
        self._inbound = inbound
        self._state = _BETWEEN
        self._target = b""
        self._body = 0  # bytes of the current body, counted only where there is a limit
        self._pending = 0  # bytes fed since the section that is unfinished was first seen to be so
        self._large = False  # whether a head in the current read can be over its limit of bytes at all
        self._read = b""  # where the request line is that a read began with; empty once it was checked
        self._upgrading: RequestHead | None = None
        self._parser = httptools.HttpRequestParser(self)

    @property
    def idle(self) -> bool:
        return self._state == _BETWEEN

    def feed(self, data: bytes) -> None:
        # Each turn but the first takes up what lies behind a head that asked for an upgrade.
        while data and self._state != _LOST:
            self._large = self._pending + len(data) > self.limits.field_bytes
            if self._state == _BETWEEN:
                self._read = data.lstrip(b"\r\n")
            elif self._read and len(self._read) <= self.limits.line:
                self._read += data
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._ignore_upgrade()
                continue
            except httptools.HttpParserCallbackError as exc:
                # What a callback raised comes wrapped. Only a RequestError is about the input.
                if not isinstance(exc.__context__, RequestError):
                    raise
                self._fail(exc.__context__)
            except httptools.HttpParserError as exc:
                self._fail(_explain(exc))
            else:
                if self._state == _IN_HEAD or self._headers:
                    self._bound_unfinished(len(data))
            return

    def feed_eof(self) -> None:
        if self._state not in (_BETWEEN, _LOST):
            self._fail(RequestError(400, "connection ended inside a request"))

    # Called by httptools.

    def on_message_begin(self) -> None:
        if self._state != _RESUMING:
            self._state = _IN_HEAD
            self._pending = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_headers_complete(self) -> None:
        if self._state == _RESUMING:
            self._target = b""
            self.reset()
        else:
            if self._large:
                self.check_size()
            parser = self._parser
            method, target = parser.get_method(), self._target
            # The line is compared with what it has to be: llhttp forgives more than one space (RFC 9112 §3). Where a
            # request begins behind another one in the same read, nobody knows, and its line is taken as llhttp sees it.
            read, self._read = self._read, b""
            if read.startswith(b"%b %b HTTP/1.1\r\n" % (method, target)):
                http_version = "1.1"
            else:
                http_version = parser.get_http_version()
                if read.startswith(method) and not read.startswith(b"%b %b HTTP/" % (method, target)):
                    raise RequestError(400, "invalid request line")
            head = self.build(method, target, http_version)
            self._target = b""
            self._body = 0
            if head.upgrade is not None and parser.should_upgrade():
                self._upgrading = head
            self._inbound.on_head(head)
        self._state = _IN_BODY
        self._pending = 0

    def on_body(self, data: bytes) -> None:
        limit = self.limits.body
        if limit is not None:
            self._body += len(data)
            if self._body > limit:
                raise RequestError(413, "request body too large")
        self._inbound.on_body(data)

    def on_message_complete(self) -> None:
        if self._upgrading is not None:
            return  # the end of the head only; `_ignore_upgrade` knows whether there is more
        if self._headers:
            self.check_trailers()
        self._state = _BETWEEN
        self._inbound.on_end()

    # The rest.

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1 behind a head that asked for another protocol."""
        self._parser = httptools.HttpRequestParser(self)
        head, self._upgrading = self._upgrading, None
        if head is None or not (head.chunked or head.content_length):
            self._state = _BETWEEN
            self._inbound.on_end()
            return
        framing = (
            b"transfer-encoding: chunked"
            if head.chunked
            else b"content-length: %d" % (head.content_length or 0)
        )
        persistence = b"keep-alive" if head.keep_alive else b"close"
        self._state = _RESUMING
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\nconnection: %b\r\n\r\n" % (framing, persistence))

    def _bound_unfinished(self, size: int) -> None:
        """Bound what is kept of a head or of trailers that do not come to their end."""
        self._pending += size
        if self._state == _IN_HEAD and not self._headers and len(self._target) > self.limits.line:
            self._fail(RequestError(414, "request target too long"))
        elif (
            self._pending > self.limits.field_bytes + self.limits.line
            or len(self._headers) > self.limits.fields
        ):
            self._fail(RequestError(431, "header section too large"))

    def _fail(self, error: RequestError) -> None:
        self._state = _LOST
        self._inbound.on_lost(error)


def _explain(exc: httptools.HttpParserError) -> RequestError:
    reason = str(exc)
    if reason == "Invalid HTTP version":
        return RequestError(505, "HTTP version not supported")
    return RequestError(400, reason[:1].lower() + reason[1:])
