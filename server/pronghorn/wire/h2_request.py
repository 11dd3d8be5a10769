"""The head of an HTTP/2 request, from the fields of its header block (RFC 9113 §8.2, §8.3).

What HTTP/1.1 says in a request line stands here in fields of its own, which have to come first, once, and complete. The rest has
the same meaning as in HTTP/1.1, and goes through the same `HeadBuilder`. What is wrong in a way that only HTTP/2 knows is `Malformed`;
what is wrong as a request of any version is a `RequestError`.
"""

import re
from collections.abc import Iterable
from typing import Final

from .h1_request import HeadBuilder
from .limits import RequestLimits
from .ports import RequestError, RequestHead

# §8.2.1: names without capitals; values without NUL, CR, LF, and without white space around them.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE: Final = re.compile(rb"(?:[^\x00\r\n\t ](?:[^\x00\r\n]*[^\x00\r\n\t ])?)?").fullmatch
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch  # RFC 3986 §3.1
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*").fullmatch
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
# §8.2.2. A proxy that took one of these over into HTTP/1.1 would let the client decide about its connection.
_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_SPECIAL: Final = _CONNECTION | {b"cookie", b"host", b"te"}
#: Fields that passed the check and are short, kept by each connection; most come again.
_CHECKED: Final = 256
_CHECKED_BYTES: Final = 512

Field = tuple[bytes, bytes]


class Malformed(Exception):
    """A request that breaks the rules of HTTP/2 (§8.1.1): a stream error, without an answer."""


class H2HeadBuilder:
    """Turns lists of fields into heads, for one connection. `connect` says whether extended CONNECT is offered (RFC 8441)."""

    __slots__ = ("_builder", "_checked", "_connect")

    def __init__(self, limits: RequestLimits, *, connect: bool) -> None:
        self._builder = HeadBuilder(limits)
        self._connect = connect
        self._checked: set[Field] = set()

    def build(self, fields: Iterable[Field]) -> RequestHead:
        """The head of a request. Raises `Malformed`, and `RequestError` for what deserves an answer."""
        try:
            return self._build(fields)
        except RequestError as exc:
            self._builder.reset()
            if exc.status == 400:
                raise Malformed(exc.reason) from exc
            raise
        except Malformed:
            self._builder.reset()
            raise

    def _build(self, fields: Iterable[Field]) -> RequestHead:
        builder, checked = self._builder, self._checked
        pseudo: dict[bytes, bytes] = {}
        cookies: list[bytes] = []
        hosts: list[bytes] = []
        regular: list[Field] = []
        size = 0
        for field in fields:
            name, value = field
            size += len(name) + len(value)
            if field not in checked:
                self._check(field)
            if name[0] == 0x3A:
                if regular or cookies or hosts:
                    raise Malformed("a pseudo-header field behind others")
                if name in pseudo:
                    raise Malformed("a pseudo-header field twice")
                pseudo[name] = value
            elif name in _SPECIAL:
                if name == b"cookie":
                    cookies.append(value)
                elif name == b"host":
                    hosts.append(value)
                elif name == b"te" and value.lower() == b"trailers":
                    regular.append(field)
                else:
                    raise Malformed("a field of the connection")
            else:
                regular.append(field)
        if size > builder.limits.field_bytes:
            raise RequestError(431, "header section too large")
        authority = self._authority(pseudo, hosts)
        if authority is not None:
            builder.on_header(b"host", authority)
        for name, value in regular:
            builder.on_header(name, value)
        if cookies:
            # §8.2.3: in parts, so that they compress better.
            builder.on_header(b"cookie", b"; ".join(cookies))
        head = self._line(pseudo)
        # Whoever does not want trailers drops them; the framing has room for them in any case.
        head.accepts_trailers = True
        return head

    def _check(self, field: Field) -> None:
        name, value = field
        if name[:1] == b":":
            if name not in _PSEUDO:
                raise Malformed("an unknown pseudo-header field")
        elif not _NAME(name):
            raise Malformed("an invalid field name")
        if not _VALUE(value):
            raise Malformed("an invalid field value")
        if len(name) + len(value) <= _CHECKED_BYTES:
            if len(self._checked) >= _CHECKED:
                self._checked.clear()
            self._checked.add(field)

    @staticmethod
    def _authority(pseudo: dict[bytes, bytes], hosts: list[bytes]) -> bytes | None:
        """What is asked for (§8.3.1). An application sees it as Host; two that differ would be read differently by others."""
        authority = pseudo.get(b":authority")
        if len(hosts) > 1:
            raise Malformed("more than one Host field")
        if not hosts:
            if authority is None:
                raise Malformed("neither :authority nor Host")
            return authority
        if authority is not None and authority.lower() != hosts[0].lower():
            raise Malformed(":authority and Host differ")
        return hosts[0]

    def _line(self, pseudo: dict[bytes, bytes]) -> RequestHead:
        """Build the head, with what HTTP/1.1 would have in its request line."""
        method = pseudo.get(b":method")
        path = pseudo.get(b":path")
        protocol = pseudo.get(b":protocol")
        if method is None or not _METHOD(method):
            raise Malformed("no valid :method")
        scheme = pseudo.get(b":scheme")
        if method == b"CONNECT" and protocol is None:
            if scheme is not None or path is not None:
                raise Malformed("CONNECT with a :scheme or a :path")  # §8.5
            raise RequestError(405, "CONNECT is not supported")
        if not scheme or not _SCHEME(scheme) or not path:
            raise Malformed("no valid :scheme, or no :path")
        if not _PATH(path) and not (path == b"*" and method == b"OPTIONS"):
            raise Malformed("an invalid :path")
        if protocol is None:
            return self._builder.build(method, path, "2")
        # RFC 8441 §4: with CONNECT alone, and only where it was offered.
        if method != b"CONNECT" or not self._connect:
            raise Malformed(":protocol without extended CONNECT")
        if protocol.lower() != b"websocket":
            raise RequestError(501, "protocol of CONNECT not supported")
        head = self._builder.build(b"GET", path, "2")
        head.method = "CONNECT"
        head.upgrade = b"websocket"
        return head

    def check_trailers(self, fields: Iterable[Field]) -> None:
        """Look at the fields behind a body, of which none reaches the application. Raises `Malformed`."""
        for field in fields:
            if field not in self._checked:
                self._check(field)
            name = field[0]
            if name[:1] == b":" or name in _CONNECTION or name in (b"host", b"content-length"):
                raise Malformed("a field that cannot be in trailers")
