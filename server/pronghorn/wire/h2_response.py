"""A response into header blocks, and its fields into HPACK (RFC 9113 §8.3.2, RFC 7541).

Our side of the compression has no memory: fields are written as an entry of the static table, or as a literal that is not
indexed. So what a field looks like on the wire depends on nothing but the field, and is kept like the lines of HTTP/1.1 are:
checked and encoded once, for all connections. A dynamic table would save some dozen bytes of a response, and cost a look
through it for each field of each response. The first block says that the table has no room (RFC 7541 §6.3).

The rules on what a response may have in it are those of `h1_response`; what is different is that a length never has to be made
up, because every body has an end.
"""

from typing import Any, Final

from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

from .headers import DefaultHeaders, content_length, field_line
from .ports import Headers, InvalidResponse, RequestHead

#: Of this many bytes and more, a value is not worth the time of Huffman's code, nor a place in the cache.
_CACHED_BYTES: Final = 256
_CACHED_FIELDS: Final = 512

# RFC 9113 §8.2.2: what is of a connection of HTTP/1.1 does not exist here.
_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_NOTABLE: Final = _CONNECTION | {b"content-length", b"date", b"server", b"x-request-id"}
BODILESS: Final = frozenset((204, 205, 304))

# What the application has set itself.
_DATE: Final = 1
_SERVER: Final = 2
_ID: Final = 4

_HUFFMAN: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_STATIC: Final = HeaderTable.STATIC_TABLE_MAPPING


def _string(data: bytes) -> bytes:
    """A string literal (RFC 7541 §5.2), the shorter of its two forms."""
    if len(data) < _CACHED_BYTES:
        coded: bytes = _HUFFMAN.encode(data)
        if len(coded) < len(data):
            size = encode_integer(len(coded), 7)
            size[0] |= 0x80
            return bytes(size) + coded
    return bytes(encode_integer(len(data), 7)) + data


_ID_AT: Final = len(b"x-request-id: ")
_ID_NAME: Final = b"\x00" + _string(b"x-request-id")


def encode_field(name: bytes, value: bytes) -> bytes:
    """A field as HPACK has it, without a change to any table; `name` in lower case."""
    known = _STATIC.get(name)
    if known is None:
        return b"\x00" + _string(name) + _string(value)
    index, values = known
    exact = values.get(value)
    if exact is not None:
        indexed = encode_integer(exact, 7)
        indexed[0] |= 0x80
        return bytes(indexed)
    return bytes(encode_integer(index, 4)) + _string(value)  # §6.2.2


class BlockCache(dict[Any, bytes]):
    """Encoded fields that were checked before, by ``(name, value)``; those of Content-Length and :status by their number."""

    __slots__ = ()

    def add(self, name: Any, value: Any) -> bytes:
        """Check and encode a field that is not there yet. Raises `InvalidResponse`."""
        field_line(name, value)
        # §8.2.1: neither capitals in a name nor white space around a value.
        block = encode_field(name.lower(), value.strip(b" \t"))
        if len(name) + len(value) <= _CACHED_BYTES:
            self.keep((name, value), block)
        return block

    def keep(self, key: Any, block: bytes) -> None:
        if len(self) >= _CACHED_FIELDS:
            self.clear()
        self[key] = block

    def length(self, length: int) -> bytes:
        """The field Content-Length."""
        block = self.get(length)
        if block is None:
            block = encode_field(b"content-length", b"%d" % length)
            self.keep(length, block)
        return block


class HeadEncoder:
    """Makes header blocks of responses, for all connections of a worker.

    After `fields`, `length` is the Content-Length that the application has given, or None. The defaults are those that
    HTTP/1.1 has, encoded anew when they were renewed.
    """

    __slots__ = ("_block", "_cache", "_defaults", "_own", "_seen", "_statuses", "length")

    def __init__(self, defaults: DefaultHeaders) -> None:
        self._defaults = defaults
        self._cache = BlockCache()
        self._statuses: dict[int, bytes] = {}
        self._seen = b""
        self._block = b""
        self._own = 0
        self.length: int | None = None

    def respond(self, request: RequestHead, status: int, headers: Headers, size: int) -> bytes:
        """The block of a response whose body is complete and `size` bytes long. Raises `InvalidResponse`."""
        blocks = self.fields(request, status, headers)
        length = self.length
        if status not in BODILESS:
            blocks.append(self._cache.length(size if length is None else length))
        else:
            self._frame_bodiless(blocks, status)
        return b"".join(blocks)

    def begin(self, request: RequestHead, status: int, headers: Headers) -> bytes:
        """The block of a response whose body is not complete. Raises `InvalidResponse`."""
        blocks = self.fields(request, status, headers)
        if status in BODILESS:
            self._frame_bodiless(blocks, status)
        elif self.length is not None:
            blocks.append(self._cache.length(self.length))
        return b"".join(blocks)

    def _frame_bodiless(self, blocks: list[bytes], status: int) -> None:
        """As `H1Response` has it: RFC 9110 §8.6, §15.3.6 and §15.4.5."""
        if status == 205:
            blocks.append(self._cache.length(0))
        elif status == 304 and self.length is not None:
            blocks.append(self._cache.length(self.length))

    def bare(self, headers: Headers) -> bytes:
        """Fields and nothing else, such as trailers. Raises `InvalidResponse`."""
        return b"".join([self._field(name, value) for name, value in headers])

    def inform(self, status: int, headers: Headers) -> bytes:
        """An informational response. Raises `InvalidResponse`."""
        return self._status(status) + self.bare(headers)

    def tunnel(self, request: RequestHead, status: int, own: Headers, headers: Headers) -> bytes:
        """The answer that opens a WebSocket (RFC 8441 §5). Raises `InvalidResponse`."""
        blocks = self.fields(request, status, headers)
        blocks.append(self.bare(own))
        return b"".join(blocks)

    def fields(self, request: RequestHead, status: int, headers: Headers) -> list[bytes]:
        """The status, the application's fields but for those that the server writes itself, and the server's own."""
        self.length = None
        self._own = 0
        blocks = [self._status(status)]
        known = self._cache.get
        for field in headers:
            try:
                block = known(field)
            except TypeError:  # a pair may be a list as well, which cannot be looked up
                block = None
            if block is None:
                name, value = field
                block = self._field(name, value)
            blocks.append(block)
        own = self._own
        if own & (_DATE | _SERVER):
            lines = self._defaults.without(date=own & _DATE != 0, server=own & _SERVER != 0)
            blocks.append(self._encode_lines(lines))
        else:
            if self._seen is not self._defaults.block:
                self._seen = self._defaults.block
                self._block = self._encode_lines(self._seen)
            blocks.append(self._block)
        if request.id_line and not own & _ID:
            # Each response has another one, which is not worth Huffman's code.
            value = request.id_line[_ID_AT:-2]
            blocks.append(_ID_NAME + bytes(encode_integer(len(value), 7)) + value)
        return blocks

    def _field(self, name: Any, value: Any) -> bytes:
        """A field that is not in the cache; empty for one that the server writes itself, or that HTTP/2 has not."""
        lowered = name.lower() if type(name) is bytes else name
        if lowered not in _NOTABLE:
            return self._cache.add(name, value)
        field_line(name, value)
        if lowered == b"content-length":
            length = content_length(value)
            if self.length is not None and self.length != length:
                raise InvalidResponse(f"two values of Content-Length: {self.length} and {length}")
            self.length = length
            return b""
        if lowered in _CONNECTION:
            return b""
        if lowered == b"date":
            self._own |= _DATE
        elif lowered == b"server":
            self._own |= _SERVER
        else:
            self._own |= _ID
        return encode_field(lowered, value.strip(b" \t"))

    def _status(self, status: int) -> bytes:
        block = self._statuses.get(status)
        if block is None:
            block = self._statuses[status] = encode_field(b":status", b"%d" % status)
        return block

    @staticmethod
    def _encode_lines(lines: bytes) -> bytes:
        """Lines of fields as HTTP/1.1 has them."""
        blocks = []
        for line in lines.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b": ")
            blocks.append(encode_field(name.lower(), value.strip(b" \t")))
        return b"".join(blocks)
