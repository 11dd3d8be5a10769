"""The HTTP/1.1 request head, and the policy on framing that every parser shares (RFC 9112).

Parsers disagree on what they let through, and request smuggling lives in those disagreements. So a parser here only
finds the pieces of a head; what the pieces mean is decided in this module, once:

* a request whose length can be read in two ways is refused, never repaired (§6.1, §6.3);
* a head without exactly one usable Host is refused (§3.2);
* only the versions that we speak are answered as such (§2.3);
* a header that could pass for a proxy's in another spelling (``X_Forwarded_For``) is dropped, because gateways that
  turn names into environment variables cannot tell the two apart.
"""

import re
from typing import Final

from .limits import RequestLimits
from .ports import RequestError, RequestHead

# The fields whose meaning concerns the server itself. Everything else is the application's.
_FRAMING: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade")
)
_FORWARDING: Final = (
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-real-ip",
    b"x-request-id",
)
_TWINS: Final = frozenset(name.replace(b"-", b"_") for name in _FORWARDING if b"-" in name)
_NOTABLE: Final = _FRAMING | _TWINS

# RFC 9110 §8.6 gives no upper bound; 19 digits are what a signed 64-bit length can hold.
_LENGTH: Final = re.compile(rb"[0-9]{1,19}").fullmatch
# RFC 3986 §3.2 without userinfo, which RFC 9110 §4.2.4 forbids here. Only classes and one bounded group: linear time.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.%a-zA-Z]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?"
).fullmatch
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]+)([^?#]*)(?:\?([^#]*))?").fullmatch
# RFC 9112 §3.2: visible ASCII only. A fragment is never part of a target.
_TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e]+").fullmatch
# RFC 9112 §3: one space between the three parts, and nothing else.
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])"
).fullmatch
# RFC 9110 §5.5: visible characters, spaces and tabs, and the obsolete upper half.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)").fullmatch
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch


class HeadBuilder:
    """Collects one request head, field by field, and turns it into a checked `RequestHead`.

    A parser calls `on_header` for each field as it finds it and `build` at the end of the section.
    """

    __slots__ = (
        "_connection",
        "_expect",
        "_headers",
        "_host",
        "_length",
        "_transfer_encoding",
        "_upgrade",
        "limits",
    )

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self.reset()

    def reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._host: bytes | None = None
        self._length: int | None = None
        self._transfer_encoding: bytes | None = None
        self._connection = b""
        self._expect = False
        self._upgrade: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        # RFC 9112 §5.1: optional whitespace around a value is no part of it. Parsers strip the leading half.
        value = value.rstrip(b" \t")
        if name in _NOTABLE and self._note(name, value):
            return
        self._headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> bool:
        """Take in a field that concerns the server; true means that the application must not see it."""
        if name == b"host":
            if self._host is not None:
                raise RequestError(400, "more than one Host field")
            self._host = value
        elif name == b"connection":
            self._connection = self._connection + b"," + value.lower() if self._connection else value.lower()
        elif name == b"content-length":
            # The same value twice is refused as well: some other parser on the way may have taken only one of them.
            if self._length is not None:
                raise RequestError(400, "more than one Content-Length field")
            if not _LENGTH(value):
                raise RequestError(400, "invalid Content-Length")
            self._length = int(value)
        elif name == b"transfer-encoding":
            if self._transfer_encoding is not None:
                raise RequestError(400, "more than one Transfer-Encoding field")
            self._transfer_encoding = value.lower()
        elif name == b"expect":
            self._expect = value.lower() == b"100-continue"
        elif name == b"upgrade":
            self._upgrade = value.lower()
        else:
            return True
        return False

    def build(self, method: bytes, target: bytes, http_version: str) -> RequestHead:
        """The head that was collected; starts afresh for the next one.

        Raises `RequestError` for anything that RFC 9112 or the limits refuse.
        """
        headers = self._headers
        limits = self.limits
        if len(method) + len(target) + 10 > limits.line:  # two spaces and the version
            raise RequestError(414, "request line too long")
        if len(headers) > limits.fields:
            raise RequestError(431, "too many header fields")
        head = RequestHead()
        head.method = method.decode("ascii")
        head.target = target
        head.http_version = http_version
        head.headers = headers
        self._check_version(http_version)
        if target[0] == 0x2F:  # "/": origin-form, nearly every request there is (§3.2.1)
            head.raw_path, _, head.query = target.partition(b"?")
            if not _TARGET(target):
                raise RequestError(400, "invalid request target")
        else:
            self._other_form(head, target)
        host = self._host
        if host is None:
            if http_version == "1.1":
                raise RequestError(400, "missing Host field")
        elif not _HOST(host):
            raise RequestError(400, "invalid Host field")
        head.chunked = False
        head.content_length = self._length
        if self._transfer_encoding is not None:
            self._check_transfer_encoding(http_version)
            head.chunked = True
        elif limits.body is not None and self._length is not None and self._length > limits.body:
            raise RequestError(413, "request body too large")
        head.keep_alive = http_version == "1.1"
        if self._connection:
            options = self._connection.replace(b" ", b"").split(b",")
            if b"close" in options:
                head.keep_alive = False
            elif b"keep-alive" in options:
                head.keep_alive = True
            head.upgrade = self._upgrade if b"upgrade" in options else None
        else:
            head.upgrade = None
        # RFC 9110 §10.1.1: an HTTP/1.0 client does not understand 100 (Continue).
        head.expects_continue = self._expect and http_version == "1.1"
        self.reset()
        return head

    @staticmethod
    def _check_version(http_version: str) -> None:
        if http_version not in ("1.1", "1.0"):
            if http_version == "0.9":
                raise RequestError(400, "HTTP/0.9 is not spoken here")
            raise RequestError(505, "HTTP version not supported")

    def _check_transfer_encoding(self, http_version: str) -> None:
        if self._length is not None:
            raise RequestError(400, "Content-Length and Transfer-Encoding together")
        if http_version == "1.0":
            raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
        encodings = [item.strip(b" \t") for item in (self._transfer_encoding or b"").split(b",")]
        if encodings[-1] != b"chunked" or encodings.count(b"chunked") != 1 or not all(map(_TOKEN, encodings)):
            raise RequestError(400, "invalid Transfer-Encoding")
        if len(encodings) > 1:
            # §6.1: a coding that the server does not understand is answered with 501.
            raise RequestError(501, "Transfer-Encoding not supported")

    def _other_form(self, head: RequestHead, target: bytes) -> None:
        """Absolute-form, asterisk-form and authority-form targets (RFC 9112 §3.2.2 to §3.2.4)."""
        head.query = b""
        if head.method == "CONNECT":
            raise RequestError(405, "CONNECT is not supported")
        if target == b"*":
            if head.method != "OPTIONS":
                raise RequestError(400, "invalid request target")
            head.raw_path = target
            return
        match = _ABSOLUTE(target)
        if match is None or not _TARGET(target) or not _HOST(match[1]):
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
        forbidden = self._host is not None or self._length is not None or self._transfer_encoding is not None
        if len(self._headers) > self.limits.fields:
            raise RequestError(431, "too many trailer fields")
        self.reset()
        if forbidden:
            raise RequestError(400, "framing field in trailers")

    def check_size(self) -> None:
        """Refuse the section collected so far if it is over its limit of bytes."""
        if sum(len(name) + len(value) for name, value in self._headers) > self.limits.field_bytes:
            raise RequestError(431, "header section too large")


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
        field = _FIELD(line)
        if field is None:
            raise RequestError(400, "invalid header line")
        builder.on_header(field[1], field[2])
    return match[1], match[2], f"{match[3].decode()}.{match[4].decode()}"
