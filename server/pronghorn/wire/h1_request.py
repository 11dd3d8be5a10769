"""The HTTP/1.1 request head, and the policy on framing that every parser shares (RFC 9112).

Parsers disagree on what they let through, and request smuggling lives in those disagreements. So a parser here only
finds the pieces of a head; what the pieces mean is decided in this module, once:

* a request whose length can be read in two ways is refused, never repaired (§6.1, §6.3);
* a head without exactly one usable Host is refused (§3.2);
* only the versions that we speak are answered as such (§2.3);
* a header that could pass for a proxy's or for one of framing in another spelling (``X_Forwarded_For``,
  ``Content_Length``) is dropped, because gateways that turn names into environment variables cannot tell the two apart.
"""

import re
from typing import Final

from .limits import RequestLimits
from .ports import RequestError, RequestHead

# The fields whose meaning concerns the server itself. Everything else is the application's.
_FRAMING: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"te", b"upgrade")
)
_FORWARDING: Final = frozenset(
    (
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-real-ip",
        b"x-request-id",
    )
)
_NAMING: Final = frozenset((b"x-request-id", b"traceparent"))
_TWINS: Final = frozenset(name.replace(b"-", b"_") for name in _FORWARDING | _FRAMING if b"-" in name)
_NOTABLE: Final = _FRAMING | _FORWARDING | _NAMING | _TWINS

# RFC 9110 §8.6 gives no upper bound; 19 digits are what a signed 64-bit length can hold.
_LENGTH_DIGITS: Final = 19
#: The methods of RFC 9110 §9 and RFC 5789, which need not be decoded each time.
_METHODS: Final = {
    name.encode("ascii"): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
# RFC 3986 §3.2 without userinfo, which RFC 9110 §4.2.4 forbids here. Only classes and one bounded group: linear time.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.%a-zA-Z]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?"
).fullmatch
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]+)([^?#]*)(?:\?([^#]*))?").fullmatch
# RFC 9112 §3: one space between the three parts, and nothing else.
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])"
).fullmatch
# RFC 9110 §5.5: visible characters, spaces and tabs, and the obsolete upper half. The white space ahead of the value is
# stripped afterwards: a part of its own for it could be matched in as many ways as there are spaces, one after the other.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)").fullmatch
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch


class HeadBuilder:
    """Collects one request head, field by field, and turns it into a checked `RequestHead`.

    A parser calls `on_header` for each field as it finds it and `build` at the end of the section. Most heads have
    Host and at most Content-Length of the fields that concern the server; the others are put aside in a dictionary that
    those heads do without.
    """

    __slots__ = ("_declared", "_forwarded", "_framing", "_good_host", "_headers", "_host", "_named", "limits")

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        # The last Host of this connection that passed the check. It is nearly always the next one too.
        self._good_host: bytes | None = None
        self.reset()

    def reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._host: bytes | None = None
        self._declared: bytes | None = None
        self._framing: dict[bytes, bytes] | None = None
        self._forwarded = False
        self._named: dict[bytes, bytes] | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        # RFC 9112 §5.1: optional whitespace around a value is no part of it. Parsers strip the leading half.
        value = value.rstrip(b" \t")
        if name in _NOTABLE:
            self._note(name, value)
        self._headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        """Take in a field that concerns the server."""
        if name == b"host":
            if self._host is not None:
                raise RequestError(400, "more than one Host field")
            self._host = value
        elif name == b"content-length":
            # The same value twice is refused as well: some other parser on the way may have taken only one of them.
            if self._declared is not None:
                raise RequestError(400, "more than one Content-Length field")
            self._declared = value
        elif name in _NAMING:
            named = self._named
            if named is None:
                named = self._named = {}
            # Of two names none is the one.
            named[name] = b"" if name in named else value
            if name in _FORWARDING:
                self._forwarded = True
        elif name in _FORWARDING:
            self._forwarded = True
        else:
            framing = self._framing
            if framing is None:
                framing = self._framing = {}
            if name in _TWINS:
                value = b""  # it is dropped when all is counted
            elif name in framing:
                self.check_count()  # a list of thousands of lines is not joined line by line
                if name == b"transfer-encoding":
                    raise RequestError(400, "more than one Transfer-Encoding field")
                # Connection and its like are lists, and may come in parts.
                value = framing[name] + b"," + value
            framing[name] = value.lower()

    def build(self, method: bytes, target: bytes, http_version: str) -> RequestHead:
        """The head that was collected; starts afresh for the next one.

        Raises `RequestError` for anything that RFC 9112 or the limits refuse.
        """
        limits = self.limits
        headers = self._headers
        if len(method) + len(target) + 10 > limits.line:  # two spaces and the version
            raise RequestError(414, "request line too long")
        if len(headers) > limits.fields:
            raise RequestError(431, "too many header fields")
        head = RequestHead()
        head.method = _METHODS.get(method) or method.decode("ascii")
        head.target = target
        head.http_version = http_version
        head.headers = headers
        head.forwarded = self._forwarded
        head.named = self._named
        head.request_id = ""
        head.id_line = b""
        if http_version == "1.1":
            if self._host is None:
                raise RequestError(400, "missing Host field")
            head.keep_alive = True
        elif http_version == "1.0":
            head.keep_alive = False
        elif http_version == "2":
            head.keep_alive = True
        elif http_version == "0.9":
            raise RequestError(400, "HTTP/0.9 is not spoken here")
        else:
            raise RequestError(505, "HTTP version not supported")
        if head.method == "CONNECT":
            raise RequestError(405, "CONNECT is not supported")
        if target[0] != 0x2F:
            self._other_form(head, target)
        elif 0x23 in target:  # "#", all that a parser lets through and §3.2 does not
            raise RequestError(400, "invalid request target")
        else:  # begins with "/": origin-form (§3.2.1)
            head.raw_path, _, head.query = target.partition(b"?")
        host = self._host
        if host != self._good_host and host is not None:
            if not _HOST(host):
                raise RequestError(400, "invalid Host field")
            self._good_host = host
        declared = self._declared
        head.content_length = None if declared is None else _length(declared)
        head.chunked = head.expects_continue = head.accepts_trailers = False
        head.upgrade = None
        head.taken = False
        if self._framing is not None:
            self._frame(head, self._framing)
            self._framing = None
        if declared is not None:
            self._declared = None
            if limits.body is not None and (head.content_length or 0) > limits.body:
                raise RequestError(413, "request body too large")
        self._headers = []
        self._host = None
        self._forwarded = False
        self._named = None
        return head

    def _frame(self, head: RequestHead, framing: dict[bytes, bytes]) -> None:
        """What the other fields of framing and persistence say (RFC 9112 §6.1, §9.3)."""
        if not _TWINS.isdisjoint(framing):
            head.headers = [field for field in head.headers if field[0] not in _TWINS]
        encoding = framing.get(b"transfer-encoding")
        if encoding is not None:
            self._check_transfer_encoding(head, encoding)
            head.chunked = True
        connection = framing.get(b"connection")
        if connection is not None:
            options = connection.replace(b" ", b"").split(b",")
            if b"close" in options:
                head.keep_alive = False
            elif b"keep-alive" in options:
                head.keep_alive = True
            if b"upgrade" in options:
                head.upgrade = framing.get(b"upgrade")
        # RFC 9110 §10.1.1: an HTTP/1.0 client does not understand 100 (Continue).
        head.expects_continue = framing.get(b"expect") == b"100-continue" and head.http_version != "1.0"
        accepted = framing.get(b"te")
        if accepted is not None:
            # §10.1.4: a list of codings, each with parameters; "trailers" among them has none.
            codings = accepted.replace(b" ", b"").split(b",")
            head.accepts_trailers = b"trailers" in codings and head.http_version != "1.0"

    @staticmethod
    def _check_transfer_encoding(head: RequestHead, encoding: bytes) -> None:
        if head.content_length is not None:
            raise RequestError(400, "Content-Length and Transfer-Encoding together")
        if head.http_version == "1.0":
            raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
        encodings = [item.strip(b" \t") for item in encoding.split(b",")]
        if encodings[-1] != b"chunked" or encodings.count(b"chunked") != 1 or not all(map(_TOKEN, encodings)):
            raise RequestError(400, "invalid Transfer-Encoding")
        if len(encodings) > 1:
            # §6.1: a coding that the server does not understand is answered with 501.
            raise RequestError(501, "Transfer-Encoding not supported")

    def _other_form(self, head: RequestHead, target: bytes) -> None:
        """Absolute-form and asterisk-form targets (RFC 9112 §3.2.2, §3.2.4). Authority-form is CONNECT's alone."""
        head.query = b""
        if target == b"*":
            if head.method != "OPTIONS":
                raise RequestError(400, "invalid request target")
            head.raw_path = target
            return
        match = _ABSOLUTE(target)
        if match is None or not _HOST(match[1]):
            raise RequestError(400, "invalid request target")
        head.raw_path = match[2] or b"/"
        head.query = match[3] or b""
        # §3.2.2: the authority of an absolute target replaces the received Host.
        if self._host is not None:
            head.headers = [(n, match[1] if n == b"host" else v) for n, v in head.headers]
        else:
            head.headers.append((b"host", match[1]))
        self._host = match[1]

    def check_trailers(self) -> None:
        """Take leave of trailer fields: none reaches the application, and some make the message a forgery.

        RFC 9110 §6.5.1 forbids fields of framing and routing in trailers; a parser on the way that merged them into
        the head would have read another message.
        """
        forbidden = (
            self._host is not None
            or self._declared is not None
            or (self._framing is not None and b"transfer-encoding" in self._framing)
        )
        self.reset()
        if forbidden:
            raise RequestError(400, "framing field in trailers")

    def check_count(self) -> None:
        """Refuse the section collected so far if it has more fields than its limit."""
        if len(self._headers) > self.limits.fields:
            raise RequestError(431, "too many fields")

    def check_size(self) -> None:
        """Refuse the section collected so far if it is over its limit of bytes."""
        if sum(len(name) + len(value) for name, value in self._headers) > self.limits.field_bytes:
            raise RequestError(431, "header section too large")


def _length(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
        raise RequestError(400, "invalid Content-Length")
    return int(digits)


def read_lines(raw: bytes, builder: HeadBuilder) -> tuple[bytes, bytes, str]:
    """Read a complete head, the empty line at its end included; for parsers that do not report strictly themselves.

    Fields go to `builder`; returned are method, target and version. Raises `RequestError` for a line that RFC 9112
    §3 or §5 does not allow: folded, ended by a bare line feed, or with a control character in it.
    """
    request_line, *lines = raw[:-4].split(b"\r\n")
    match = _REQUEST_LINE(request_line)
    if match is None:
        raise RequestError(400, "invalid request line")
    for line in lines:
        read_field(line, builder)
    return match[1], match[2], f"{match[3].decode()}.{match[4].decode()}"


def read_field(line: bytes, builder: HeadBuilder) -> None:
    """Read one line of a header or trailer section, without its line end. Raises `RequestError`."""
    field = _FIELD(line)
    if field is None:
        raise RequestError(400, "invalid header line")
    builder.on_header(field[1], field[2].lstrip(b" \t"))
