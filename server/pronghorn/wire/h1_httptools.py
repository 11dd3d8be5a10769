"""The HTTP/1.1 parser over httptools, which is llhttp: the fast one, and the default.

llhttp is asked for bytes only. It reports pieces of a head to the `HeadBuilder` that this class is, so that there is
no second object and no copy between the C parser and the checked head. Three of its habits are handled here:

* it forgives a request line with more than one space, and takes those of RTSP and ICE as well. The line is compared
  with what it has to be, also where a request begins behind another one in the same read;
* it does not say how much of a chunked body was framing. Such a body is read by `ChunkedBody`, and llhttp only has to
  find the same end of it;
* it stops behind a head that asks for an upgrade, even where RFC 9110 §7.8 lets a server ignore the wish, and takes
  everything that follows, a body included, for the other protocol. Unless that is wanted, a fresh parser is then brought into the state
  that the framing of the head calls for, and goes on with the bytes that follow.
"""

from typing import Final

import httptools

from .chunked import ChunkedBody
from .h1_request import HeadBuilder
from .limits import RequestLimits
from .ports import Inbound, RequestError, RequestHead

_BETWEEN: Final = 0
_IN_HEAD: Final = 1
_IN_BODY: Final = 2
_RESUMING: Final = 3  # a fresh parser is being brought into the body of a request whose head is already done
_LOST: Final = 4
_TAKEN: Final = 5  # whoever was given the last head speaks another protocol with its client


class HttptoolsParser(HeadBuilder):
    """`ports.HttpParser` over httptools."""

    __deletable__ = ("_inbound", "_parser")  # mypyc asks to be told
    __slots__ = (
        "_after",
        "_begin",
        "_chunks",
        "_data",
        "_end",
        "_inbound",
        "_large",
        "_left",
        "_length",
        "_parser",
        "_pending",
        "_state",
        "_target",
        "_upgrading",
        "idle",
    )

    def __init__(self, inbound: Inbound, limits: RequestLimits) -> None:
        super().__init__(limits)
        self._inbound = inbound
        self._state = _BETWEEN
        self.idle = True  # whether that is the state; asked for after every response
        self._target = b""
        self._pending = 0  # bytes fed since the head that is unfinished was first seen to be so
        self._large = False  # whether a head in the current read can be over its limit of bytes at all
        # Where things are: the bytes being read, from the beginning of an unfinished head on; where in them the
        # current message begins, or -1 where its head came earlier, and then where the message ends, as far as it is
        # known; and whether a message ended in them already.
        self._data = b""
        self._begin = 0
        self._end = 0
        self._after = False
        # A body in chunks; or else how long the body is, and how much of it is still to come.
        self._chunks: ChunkedBody | None = None
        self._length = 0
        self._left = 0
        self._upgrading: RequestHead | None = None
        self._parser = httptools.HttpRequestParser(self)

    def close(self) -> None:
        del self._inbound, self._parser  # and llhttp's own object holds this one

    def feed(self, data: bytes) -> None:
        # Each turn but the first takes up what lies behind a head that asked for an upgrade.
        while data and self._state != _LOST:
            state = self._state
            if state == _TAKEN:
                self._inbound.on_upgrade(data)
                break
            self._after = False
            try:
                if state == _BETWEEN:
                    # RFC 9112 §2.2: an empty line ahead of a request line is ignored.
                    data = data.lstrip(b"\r\n")
                    if not data:
                        return
                    self._data = data
                    self._begin = 0
                elif state == _IN_HEAD:
                    self._data += data
                else:
                    self._data = data
                    self._begin = -1
                    self._end = self._left
                    if self._chunks is not None:
                        self._read_chunks(data)
                self._large = self._pending + len(data) > self.limits.field_bytes
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if not self._is_taken():
                    self._ignore_upgrade()
                continue
            except httptools.HttpParserCallbackError as exc:
                # What a callback raised comes wrapped. Only a RequestError is about the input.
                if not isinstance(exc.__context__, RequestError):
                    raise
                self._fail(exc.__context__)
            except httptools.HttpParserError as exc:
                self._fail(_explain(exc))
            except RequestError as exc:
                self._fail(exc)
            else:
                if self._state == _IN_HEAD:
                    self._bound_unfinished(len(data))
                    return
                if self._chunks is not None and self._chunks.done:
                    self._fail(RequestError(400, "invalid chunked body"))
            break
        self._data = b""  # up to a quarter of a megabyte that an idle connection need not hold

    def feed_eof(self) -> None:
        if self._state not in (_BETWEEN, _LOST, _TAKEN):
            self._fail(RequestError(400, "connection ended inside a request"))

    # Called by httptools.

    def on_message_begin(self) -> None:
        if self._state == _RESUMING:
            return
        if self._after:
            self._begin = self._end_of_previous()
        self._state = _IN_HEAD
        self.idle = False

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
            # RFC 9112 §3: one space between the three parts, and nothing else. llhttp wants one space at least ahead of
            # the target, and it is one if the version is where it then has to be.
            version = self._begin + len(method) + 1 + len(target)
            if self._data.startswith(b" HTTP/1.1\r\n", version):
                http_version = "1.1"
            elif self._data.startswith(b" HTTP/", version):
                http_version = parser.get_http_version()
            else:
                raise RequestError(400, "invalid request line")
            plain = self._framing is None and self._declared is None
            head = self.build(method, target, http_version)
            self._target = b""
            self._length = self._left = 0
            self._inbound.on_head(head)
            if not plain:
                self._frame_body(head)
        self._state = _IN_BODY
        self._pending = 0

    def on_body(self, data: bytes) -> None:
        if self._chunks is None:
            self._left -= len(data)
            self._inbound.on_body(data)

    def on_message_complete(self) -> None:
        if self._upgrading is not None:
            return  # the end of the head only; `_ignore_upgrade` knows whether there is more
        if self._chunks is not None:
            if not self._chunks.done:
                raise RequestError(400, "invalid chunked body")
            self._chunks = None
            self.reset()  # of trailer fields, which were checked
        self._state = _BETWEEN
        self.idle = self._after = True
        self._inbound.on_end()

    # The rest.

    def _frame_body(self, head: RequestHead) -> None:
        """Get ready for a body, if there is one, or for what comes in place of it."""
        if head.chunked:
            self._chunks = ChunkedBody(self._inbound, self.limits)
        else:
            self._length = self._left = head.content_length or 0
        if self._parser.should_upgrade():
            self._upgrading = head
        elif self._chunks is not None:
            self._read_chunks(self._data[self._end_of_head() :])

    def _read_chunks(self, data: bytes) -> None:
        """Read the last part of the current bytes. Raises `RequestError`."""
        chunks = self._chunks
        assert chunks is not None
        rest = chunks.feed(data)
        if chunks.done:
            self._begin = -1
            self._end = len(self._data) - len(rest)

    def _end_of_head(self) -> int:
        """Where in the current bytes the head that begins there ends."""
        end = self._data.find(b"\r\n\r\n", self._begin)
        if end < 0:
            raise RequestError(400, "invalid line end")
        return end + 4

    def _end_of_previous(self) -> int:
        """Where the message begins that follows another one in the same read."""
        at = self._end if self._begin < 0 else self._end_of_head() + self._length
        while self._data[at : at + 1] in (b"\r", b"\n"):
            at += 1
        return at

    def _is_taken(self) -> bool:
        """Whether the wish of the head that asked for another protocol was heard."""
        head = self._upgrading
        if head is None or not head.taken:
            return False
        self._upgrading = None
        self._state = _TAKEN
        self._inbound.on_end()
        return True

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1 behind a head that asked for another protocol."""
        self._parser = httptools.HttpRequestParser(self)
        head, self._upgrading = self._upgrading, None
        assert head is not None
        framing = (
            b"transfer-encoding: chunked"
            if head.chunked
            else b"content-length: %d" % (head.content_length or 0)
        )
        persistence = b"keep-alive" if head.keep_alive else b"close"
        self._state = _RESUMING
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\nconnection: %b\r\n\r\n" % (framing, persistence))

    def _bound_unfinished(self, size: int) -> None:
        """Bound what is kept of a head that does not come to its end."""
        if self._begin:
            self._data = self._data[self._begin :]
            self._begin = 0
            size = len(self._data)  # what stood ahead of it was messages of their own
        self._pending += size
        if not self._headers and len(self._target) > self.limits.line:
            self._fail(RequestError(414, "request target too long"))
        elif (
            self._pending > self.limits.field_bytes + self.limits.line
            or len(self._headers) > self.limits.fields
        ):
            self._fail(RequestError(431, "header section too large"))

    def _fail(self, error: RequestError) -> None:
        self._state = _LOST
        self.idle = False
        self._inbound.on_lost(error)


def _explain(exc: httptools.HttpParserError) -> RequestError:
    reason = str(exc)
    if reason == "Invalid HTTP version":
        return RequestError(505, "HTTP version not supported")
    return RequestError(400, reason[:1].lower() + reason[1:])
