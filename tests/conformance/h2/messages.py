"""RFC 9113 §8: what a message may be, with every row of design/security.md that is about one.

A request that is malformed (§8.1.1) is one more case of request smuggling: what can be read in two ways never reaches the
application, and costs its own stream alone.
"""

from __future__ import annotations

from tests.conformance.h2.case import Case, Malformed, Served, Wait, connection_error, either, stream_error
from tests.support.h2_frames import Code, Kind, block, data, frame, head, headers, request

POST = {"method": b"POST", "path": b"/echo"}
OPEN = request(1, end=False, **POST)
BAD = either(Malformed(), stream_error(1, Code.PROTOCOL_ERROR))


def field(section: str, name: str, *fields: tuple[bytes, bytes]) -> Case:
    """A GET with these fields behind its pseudo-header fields."""
    return Case(section, name, [request(1, *fields)], Malformed())


def whole(section: str, name: str, *fields: tuple[bytes, bytes]) -> Case:
    """A request of exactly these fields."""
    return Case(section, name, [headers(1, block(fields))], Malformed())


def length(name: str, value: bytes, *frames: bytes) -> Case:
    """A POST of this content-length, and the frames of its body."""
    sent = request(1, (b"content-length", value), end=not frames, **POST)
    return Case(
        "8.1.1",
        f"content-length {name}",
        [sent, *frames],
        either(Malformed(), stream_error(1, Code.PROTOCOL_ERROR)),
    )


def trailer(name: str, *fields: tuple[bytes, bytes], section: str = "8.1") -> Case:
    """Trailers with these fields."""
    sent = headers(1, block(fields))
    return Case(section, f"trailers: {name}", [OPEN, data(1, b"test", end=False), sent], BAD)


METHOD, SCHEME, PATH, AUTHORITY = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"a"),
)

_FRAMING = [
    Case("8.1", "HEADERS behind the body that do not end the stream",
         [OPEN, data(1, b"test", end=False), headers(1, block([(b"x-trailer", b"1")]), end=False)], BAD),
    Case("8.1", "HEADERS behind HEADERS, without the end", [OPEN, headers(1, block(head()), end=False)], BAD),
    Case("8.1", "trailers behind trailers",
         [OPEN, headers(1, block([(b"x", b"1")])), headers(1, block([(b"x", b"1")]))],
         either(connection_error(Code.STREAM_CLOSED), stream_error(1, Code.STREAM_CLOSED), Served(1))),
    trailer("a pseudo-header field", (b":method", b"GET")),
    trailer("a field of the connection", (b"connection", b"close")),
    trailer("Transfer-Encoding", (b"transfer-encoding", b"chunked")),
    trailer("upper case", (b"X-Trailer", b"1")),
    trailer("CR LF in a value", (b"x", b"a\r\nb")),
    Case("8.1", "trailers end a body as its last DATA does",
         [OPEN, data(1, b"test", end=False), headers(1, block([(b"x-forwarded-for", b"6.6.6.6")]))], Served(body=b"test")),
    length("of more than comes", b"5", data(1, b"test")),
    length("of less than comes", b"1", data(1, b"test")),
    length("of more than several DATA", b"9", data(1, b"te", end=False), data(1, b"st")),
    length("of less than several DATA", b"1", data(1, b"te", end=False), data(1, b"st")),
    length("and no body", b"1"),
    length("of nothing, and a body", b"0", data(1, b"test")),
    length("of more, and trailers", b"5", data(1, b"test", end=False), headers(1, block([(b"x", b"1")]))),
    *(length(repr(value), value.encode(), data(1, b"test"))
      for value in ("+4", "-4", "0x4", "4_0", "", "4, 4", "4 4", "4.0", "9" * 40)),
    Case("8.1.1", "content-length twice, of two values (CVE-2020-10108)",
         [request(1, (b"content-length", b"4"), (b"content-length", b"5"), end=False, **POST), data(1, b"test")], BAD),
    Case("8.1.1", "content-length twice, the same",
         [request(1, (b"content-length", b"4"), (b"content-length", b"4"), end=False, **POST), data(1, b"test")], BAD),
    Case("8.1.1", "content-length that fits, over several DATA",
         [request(1, (b"content-length", b"4"), end=False, **POST), data(1, b"te", end=False), data(1, b"st", padding=9)],
         Served(body=b"test")),
    Case("8.1.1", "H2.CL: what is beyond the length is no second request (CVE-2021-21295)",
         [request(1, (b"content-length", b"0"), end=False, **POST), data(1, b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")], BAD),
    Case("8.1.1", "a malformed request leaves the connection", [request(1, (b"X", b"y")), request(3)], Served(3)),
]  # fmt: skip

_NAMES = [
    field("8.2.1", "upper case in a name", (b"X-Upper", b"1")),
    field("8.2.1", "upper case in the last letter of a name", (b"x-uppeR", b"1")),
    *(field("8.2.1", f"{name} in a name", (b"x" + byte + b"y", b"1"))
      for name, byte in {"a space": b" ", "a tab": b"\t", "CR": b"\r", "LF": b"\n", "CR LF": b"\r\n", "NUL": b"\0",
                         "a colon": b":", "DEL": b"\x7f", "a byte over 127": b"\xe4"}.items()),
    field("8.2.1", "a whole line in a name", (b"x: 1\r\ntransfer-encoding", b"chunked")),
    field("8.2.1", "an empty name (CVE-2019-9516)", (b"", b"1")),
    field("8.2.1", "a name of one colon", (b":", b"1")),
    field("8.2.1", "a name that ends in a space", (b"transfer-encoding ", b"chunked")),
]  # fmt: skip

_VALUES = [
    *(field("8.2.1", f"{name} in a value", (b"x", b"a" + byte + b"b"))
      for name, byte in {"CR": b"\r", "LF": b"\n", "CR LF": b"\r\n", "NUL": b"\0", "an empty line": b"\r\n\r\n"}.items()),
    *(field("8.2.1", f"{name} a value", (b"x", value))
      for name, value in {"a space ahead of": b" a", "a tab ahead of": b"\ta", "a space behind": b"a ",
                          "a tab behind": b"a\t", "LF at the end of": b"a\n"}.items()),
    field("8.2.1", "a request in a value", (b"x", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a")),
    Case("8.2.1", "an empty value, and one with spaces inside", [request(1, (b"x", b""), (b"y", b"a b"))], Served()),
    Case("8.2.1", "a value over 127", [request(1, (b"x", b"\xe4"))], Served()),
]  # fmt: skip

_CONNECTION = [
    *(field("8.2.2", f"{name.decode()}: {value.decode()}", (name, value))
      for name, value in ((b"connection", b"keep-alive"), (b"connection", b"close"), (b"connection", b"x"),
                          (b"keep-alive", b"timeout=5"), (b"proxy-connection", b"keep-alive"),
                          (b"upgrade", b"websocket"), (b"upgrade", b"h2c"), (b"transfer-encoding", b"chunked"),
                          (b"transfer-encoding", b"identity"))),
    Case("8.2.2", "H2.TE: transfer-encoding, and chunks as the body (CVE-2021-33193)",
         [request(1, (b"transfer-encoding", b"chunked"), end=False, **POST),
          data(1, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")], BAD),
    *(field("8.2.2", f"te: {value.decode()}", (b"te", value)) for value in (b"gzip", b"trailers, gzip", b"gzip, trailers")),
    Case("8.2.2", "te: trailers", [request(1, (b"te", b"trailers"))], Served()),
]  # fmt: skip

_PSEUDO = [
    field("8.3", "an unknown pseudo-header field", (b":test", b"ok")),
    field("8.3", "the pseudo-header field of a response", (b":status", b"200")),
    field("8.3", "an empty name behind the colon", (b":", b"")),
    whole("8.3", "behind a field", METHOD, SCHEME, AUTHORITY, (b"x", b"y"), PATH),
    whole("8.3", ":authority behind a field", METHOD, SCHEME, PATH, (b"x", b"y"), AUTHORITY),
    whole("8.3", "nothing at all"),
    whole("8.3.1", "no :method", SCHEME, PATH, AUTHORITY),
    whole("8.3.1", "no :scheme", METHOD, PATH, AUTHORITY),
    whole("8.3.1", "no :path", METHOD, SCHEME, AUTHORITY),
    whole("8.3.1", "no :authority and no host", METHOD, SCHEME, PATH),
    *(whole("8.3.1", f"{pseudo[0].decode()} twice", METHOD, SCHEME, PATH, AUTHORITY, pseudo)
      for pseudo in (METHOD, SCHEME, PATH, AUTHORITY)),
    whole("8.3.1", ":method twice, of two values", METHOD, (b":method", b"POST"), SCHEME, PATH, AUTHORITY),
    *(whole("8.3.1", f":path {name}", METHOD, SCHEME, (b":path", value), AUTHORITY)
      for name, value in {"that is empty": b"", "without its slash": b"index", "of a whole URL": b"http://a/",
                          "with a space": b"/a b", "with CR LF": b"/ HTTP/1.1\r\nx: y", "with LF": b"/\nx", "with NUL": b"/\0",
                          "with a tab": b"/\t", "with a fragment": b"/#a", "with DEL": b"/\x7f", "* of a GET": b"*"}.items()),
    *(whole("8.3.1", f":method {name}", (b":method", value), SCHEME, PATH, AUTHORITY)
      for name, value in {"that is empty": b"", "with a space": b"GET /x HTTP/1.1", "with CR LF": b"GET / HTTP/1.1\r\nx: y",
                          "with NUL": b"GET\0", "with a colon": b"GET:"}.items()),
    *(whole("8.3.1", f":scheme {name}", METHOD, (b":scheme", value), PATH, AUTHORITY)
      for name, value in {"that is empty": b"", "with CR LF": b"http\r\nx: y", "with a URL": b"http://a/?"}.items()),
    *(whole("8.3.1", f":authority {name}", METHOD, SCHEME, PATH, (b":authority", value))
      for name, value in {"with a space": b"a b", "with userinfo": b"me@a", "with a slash": b"a/b", "with CR LF": b"a\r\nx: y",
                          "with NUL": b"a\0"}.items()),
    field("8.3.1", "host of another value than :authority", (b"host", b"other.example")),
    field("8.3.1", "host twice", (b"host", b"localhost"), (b"host", b"localhost")),
    whole("8.3.1", "host that is none", METHOD, SCHEME, PATH, (b"host", b"a b")),
    Case("8.3.1", "host as :authority", [request(1, (b"host", b"localhost"))], Served()),
    Case("8.3.1", "an order of its own", [headers(1, block([PATH, AUTHORITY, METHOD, SCHEME]))], Served()),
    Case("8.3.1", "target over the limit", [request(1, path=b"/" + b"p" * 9000)], Malformed(statuses=(414,))),
]  # fmt: skip

_PRIORITIES = [
    Case("rfc9218-5", "a priority field", [request(1, (b"priority", b"u=1, i"))], Served()),
    Case("rfc9218-5", "a priority field that is none", [request(1, (b"priority", b'u=99, "; ?x'))], Served()),
    *(Case("rfc9218-7.1", f"PRIORITY_UPDATE {name}", [frame(Kind.PRIORITY_UPDATE, number.to_bytes(4, "big") + b"u=0"), request(1)],
           Served())
      for name, number in {"ahead of its request": 1, "of a stream that never comes": 99}.items()),
    Case("rfc9218-7.1", "PRIORITY_UPDATE of a stream that is over",
         [request(1), Wait(1), frame(Kind.PRIORITY_UPDATE, b"\0\0\0\1u=0"), request(3)], Served(3)),
    Case("rfc9218-7.1", "PRIORITY_UPDATE on a stream", [OPEN, frame(Kind.PRIORITY_UPDATE, b"\0\0\0\1u=0", stream=1)],
         connection_error(Code.PROTOCOL_ERROR)),
    Case("rfc9218-7.1", "PRIORITY_UPDATE of stream 0", [frame(Kind.PRIORITY_UPDATE, b"\0\0\0\0u=0")],
         connection_error(Code.PROTOCOL_ERROR)),
    Case("rfc9218-7.1", "PRIORITY_UPDATE of three bytes", [frame(Kind.PRIORITY_UPDATE, b"\0\0\0")],
         connection_error(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR)),
]  # fmt: skip

_OTHERS = [
    Case("8.4", "PUSH_PROMISE of a client",
         [OPEN, frame(Kind.PUSH_PROMISE, b"\0\0\0\2" + block(head()), flags=0x4, stream=1)],
         connection_error(Code.PROTOCOL_ERROR)),
    Case("8.5", "CONNECT", [headers(1, block([(b":method", b"CONNECT"), (b":authority", b"a:1")]))], Malformed(statuses=(405, 501))),
    Case("8.5", "CONNECT with :scheme and :path",
         [headers(1, block([(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY]))], Malformed(statuses=(400, 405, 501))),
    whole("8.5", "CONNECT without :authority", (b":method", b"CONNECT")),
    whole("rfc8441-4", ":protocol, and not CONNECT", METHOD, SCHEME, PATH, AUTHORITY, (b":protocol", b"websocket")),
    whole("rfc8441-4", ":protocol, and no :path", (b":method", b"CONNECT"), SCHEME, AUTHORITY, (b":protocol", b"websocket")),
    Case("rfc8441-4", "a protocol that nobody knows",
         [headers(1, block([(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY, (b":protocol", b"connect-udp")]), end=False)],
         Malformed(statuses=(400, 405, 501))),
]  # fmt: skip

CASES = [*_FRAMING, *_NAMES, *_VALUES, *_CONNECTION, *_PSEUDO, *_PRIORITIES, *_OTHERS]
