"""How a response is framed: the one place that decides it (RFC 9112 §6, RFC 9110 §8.6, §9.3.2, §15)."""

from email.utils import formatdate
from typing import cast

import pytest

from pronghorn.wire.h1_response import LARGE, H1Response
from pronghorn.wire.headers import DefaultHeaders, FieldCache, field_line, http_date
from pronghorn.wire.ports import Headers, InvalidResponse, RequestHead


def request(method: str = "GET", http_version: str = "1.1") -> RequestHead:
    head = RequestHead()
    head.method = method
    head.http_version = http_version
    head.id_line = b""
    return head


class Wire:
    """An encoder and what it wrote."""

    def __init__(self, *, keep_alive: bool = True, server: bytes | None = None) -> None:
        self.writes: list[bytes] = []
        self.cache = FieldCache()
        self.encoder = H1Response(self.writes.append, DefaultHeaders(server=server, date=False), self.cache)
        self.encoder.keep_alive = keep_alive

    @property
    def text(self) -> bytes:
        return b"".join(self.writes)

    @property
    def head(self) -> list[bytes]:
        return self.text.partition(b"\r\n\r\n")[0].split(b"\r\n")

    @property
    def body(self) -> bytes:
        return self.text.partition(b"\r\n\r\n")[2]


TYPE = (b"content-type", b"text/plain")


def test_complete_response_has_its_length_and_is_one_write() -> None:
    wire = Wire()
    assert wire.encoder.respond(request(), 200, [TYPE], b"hello") == 5
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"]
    assert wire.encoder.keep_alive


def test_large_body_is_not_copied() -> None:
    body = bytes(LARGE)
    wire = Wire()
    wire.encoder.respond(request(), 200, [], body)
    assert wire.writes[1] is body


@pytest.mark.parametrize("status", [200, 404, 500, 299, 599])
def test_every_final_status_has_a_line(status: int) -> None:
    wire = Wire()
    wire.encoder.respond(request(), status, [], b"")
    assert wire.head[0].startswith(b"HTTP/1.1 %d " % status)
    assert b"content-length: 0" in wire.head


@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("pieces", [1, 2])
def test_bodiless_status_never_has_a_body(status: int, pieces: int) -> None:
    wire = Wire()
    if pieces == 1:
        assert wire.encoder.respond(request(), status, [(b"content-length", b"5")], b"hello") == 0
    else:
        assert wire.encoder.begin(request(), status, [(b"content-length", b"5")], b"he") == 0
        assert wire.encoder.chunk(b"llo") == 0
        wire.encoder.end()
    assert wire.body == b""
    lengths = {204: [], 205: [b"content-length: 0"], 304: [b"content-length: 5"]}[status]
    assert [line for line in wire.head if b"length" in line or b"encoding" in line] == lengths
    assert wire.encoder.keep_alive, "the next response on the connection is intact"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [([], b"content-length: 5"), ([(b"content-length", b"77")], b"content-length: 77")],
)
def test_head_has_the_fields_of_get_and_no_content(
    headers: list[tuple[bytes, bytes]], expected: bytes
) -> None:
    wire = Wire()
    assert wire.encoder.respond(request("HEAD"), 200, headers, b"hello") == 0
    assert expected in wire.head
    assert wire.body == b""
    assert wire.encoder.keep_alive


def test_streamed_head_has_no_content() -> None:
    wire = Wire()
    wire.encoder.begin(request("HEAD"), 200, [], b"he")
    wire.encoder.chunk(b"llo")
    wire.encoder.end()
    assert wire.text == b"HTTP/1.1 200 OK\r\n\r\n"


def test_body_of_unknown_length_is_chunked() -> None:
    wire = Wire()
    assert wire.encoder.begin(request(), 200, [], b"") == 0
    assert wire.encoder.chunk(b"hello") == 5
    assert wire.encoder.chunk(b"") == 0, "an empty chunk would be the end"
    assert wire.encoder.chunk(b"x" * 16) == 16
    wire.encoder.end()
    assert b"transfer-encoding: chunked" in wire.head
    assert wire.body == b"5\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    assert wire.encoder.keep_alive


def test_large_chunk_is_not_copied() -> None:
    data = bytes(LARGE)
    wire = Wire()
    wire.encoder.begin(request(), 200, [], b"")
    wire.encoder.chunk(data)
    assert any(write is data for write in wire.writes)
    assert wire.body == b"10000\r\n" + data + b"\r\n"


def test_http_1_0_gets_no_chunks_but_the_end_of_the_connection() -> None:
    wire = Wire()
    wire.encoder.begin(request(http_version="1.0"), 200, [], b"he")
    wire.encoder.chunk(b"llo")
    wire.encoder.end()
    assert wire.body == b"hello"
    assert b"connection: close" in wire.head
    assert not wire.encoder.keep_alive


def test_http_1_0_that_is_kept_is_told_so() -> None:
    wire = Wire()
    wire.encoder.respond(request(http_version="1.0"), 200, [], b"hello")
    assert b"connection: keep-alive" in wire.head


def test_declared_length_is_kept_to() -> None:
    wire = Wire()
    wire.encoder.begin(request(), 200, [(b"Content-Length", b"5")], b"he")
    wire.encoder.chunk(b"llo")
    wire.encoder.end()
    assert wire.head == [b"HTTP/1.1 200 OK", b"content-length: 5"]
    assert wire.body == b"hello"
    assert (wire.encoder.excess, wire.encoder.missing, wire.encoder.keep_alive) == (0, 0, True)


@pytest.mark.parametrize("pieces", [1, 2])
def test_body_beyond_its_length_is_cut(pieces: int) -> None:
    wire = Wire()
    length = [(b"content-length", b"5")]
    if pieces == 1:
        assert wire.encoder.respond(request(), 200, length, b"hello!!") == 5
    else:
        assert wire.encoder.begin(request(), 200, length, b"hell") == 4
        assert wire.encoder.chunk(b"o!!") == 1
        wire.encoder.end()
    assert wire.body == b"hello"
    assert (wire.encoder.excess, wire.encoder.keep_alive) == (2, True)


@pytest.mark.parametrize("pieces", [1, 2])
def test_body_short_of_its_length_ends_the_connection(pieces: int) -> None:
    wire = Wire()
    length = [(b"content-length", b"5")]
    if pieces == 1:
        wire.encoder.respond(request(), 200, length, b"hel")
    else:
        wire.encoder.begin(request(), 200, length, b"hel")
        wire.encoder.end()
    assert b"content-length: 5" in wire.head
    assert (wire.encoder.missing, wire.encoder.keep_alive) == (2, False)


@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding", b"connection", b"Keep-Alive"])
def test_fields_of_the_hop_are_the_servers(name: bytes) -> None:
    wire = Wire()
    wire.encoder.respond(request(), 200, [(name, b"chunked")], b"hello")
    assert wire.head == [b"HTTP/1.1 200 OK", b"content-length: 5"]


def test_upgrade_of_the_application_is_named_in_connection() -> None:
    for _ in range(2):  # and is not remembered
        wire = Wire()
        wire.encoder.respond(request(), 426, [(b"upgrade", b"websocket")], b"")
        assert wire.head[1:] == [
            b"upgrade: websocket",
            b"content-length: 0",
            b"connection: upgrade, keep-alive",
        ]


@pytest.mark.parametrize("name", [b"connection", b"Connection"])
def test_application_may_ask_to_close(name: bytes) -> None:
    wire = Wire()
    wire.encoder.respond(request(), 200, [(name, b"Close")], b"")
    assert wire.head[1:] == [b"content-length: 0", b"connection: close"]
    assert not wire.encoder.keep_alive


def test_same_length_twice_is_one_and_two_lengths_are_refused() -> None:
    wire = Wire()
    wire.encoder.respond(request(), 200, [(b"content-length", b"5"), (b"Content-Length", b"5")], b"hello")
    assert wire.head == [b"HTTP/1.1 200 OK", b"content-length: 5"]
    with pytest.raises(InvalidResponse, match="two values"):
        Wire().encoder.respond(request(), 200, [(b"content-length", b"5"), (b"content-length", b"6")], b"")


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1, 1", b"0x1", b"1" * 20, b"five", b" 5"])
def test_length_that_is_no_number_is_refused(value: bytes) -> None:
    wire = Wire()
    with pytest.raises(InvalidResponse):
        wire.encoder.respond(request(), 200, [(b"content-length", value)], b"")
    assert wire.writes == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"b\r\nset-cookie: c"),
        (b"x-a", b"b\nc"),
        (b"x-a", b"b\rc"),
        (b"x-a", b"b\x00c"),
        (b"x-a\r\n", b"b"),
        (b"x a", b"b"),
        (b"x:a", b"b"),
        (b"", b"b"),
        (b"caf\xc3\xa9", b"b"),
        ("x-a", b"b"),
        (b"x-a", "b"),
        (b"x-a", None),
    ],
)
def test_field_that_is_no_field_is_refused_before_anything_is_written(name: bytes, value: bytes) -> None:
    """CVE-2020-7695."""
    wire = Wire()
    for _ in range(2):  # the second time round, nothing of it may be in the cache
        with pytest.raises(InvalidResponse):
            wire.encoder.respond(request(), 200, [TYPE, (name, value)], b"hello")
    assert wire.writes == []


def test_fields_may_be_lists_as_in_the_handbook() -> None:
    wire = Wire()
    wire.encoder.respond(request(), 200, cast("Headers", [[b"content-type", b"text/plain"]]), b"")
    assert b"content-type: text/plain" in wire.head


@pytest.mark.parametrize("name", [b"date", b"Server", b"server"])
def test_application_may_set_date_and_server_itself(name: bytes) -> None:
    wire = Wire(server=b"pronghorn")
    wire.encoder.respond(request(), 200, [(name, b"mine")], b"")
    lowered = [line.lower() for line in wire.head]
    assert lowered.count(name.lower() + b": mine") == 1
    assert (b"server: pronghorn" in lowered) is (name == b"date")
    wire.writes.clear()
    wire.encoder.respond(request(), 200, [], b"")
    assert b"server: pronghorn" in wire.head, "that was about one response only"


@pytest.mark.parametrize("now", [0, 784_111_777.9, 951_782_400, 1_767_225_599, 4_102_444_800])
def test_a_date_is_what_the_standard_library_writes(now: float) -> None:
    assert http_date(now).decode() == formatdate(now, usegmt=True)


def test_default_headers_are_renewed() -> None:
    defaults = DefaultHeaders(server=b"pronghorn", date=True, extra=[(b"X-Served-By", b"a")])
    defaults.renew(0.0)
    assert defaults.block == (
        b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: pronghorn\r\nX-Served-By: a\r\n"
    )
    assert defaults.without(date=True, server=True) == b"X-Served-By: a\r\n"


def test_informational_response_is_a_head_alone() -> None:
    wire = Wire(server=b"pronghorn")
    wire.encoder.inform(103, [(b"link", b"</a.css>; rel=preload")])
    assert wire.text == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"


TRAILERS = [(b"x-sum", b"1"), (b"server-timing", b"db;dur=53")]


def test_trailers_follow_the_last_chunk() -> None:
    wire = Wire()
    wire.encoder.begin(request(), 200, [], b"ab")
    wire.encoder.end(TRAILERS)
    assert wire.body == b"2\r\nab\r\n0\r\nx-sum: 1\r\nserver-timing: db;dur=53\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "headers", "body"),
    [
        (request(), [(b"content-length", b"2")], b"ab"),
        (request(http_version="1.0"), [], b"ab"),
        (request("HEAD"), [], b""),
    ],
    ids=["length", "until-close", "HEAD"],
)
def test_trailers_are_dropped_where_there_is_no_room(
    head: RequestHead, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    wire = Wire()
    wire.encoder.begin(head, 200, headers, b"ab")
    wire.encoder.end(TRAILERS)
    assert wire.body == body


def test_file_is_a_chunk() -> None:
    wire = Wire()
    wire.encoder.begin(request(), 200, [], b"")
    assert wire.encoder.begin_file(300) == 300
    wire.encoder.end_file(0)
    assert wire.encoder.begin_file(0) == 0
    wire.encoder.end()
    assert wire.body == b"12c\r\n\r\n0\r\n\r\n"


def test_chunk_cannot_be_shorter_than_it_said() -> None:
    wire = Wire()
    wire.encoder.begin(request(), 200, [], b"")
    wire.encoder.begin_file(300)
    with pytest.raises(InvalidResponse, match="got shorter while it was sent, 100 bytes"):
        wire.encoder.end_file(100)


def test_file_counts_against_the_length() -> None:
    wire = Wire()
    wire.encoder.begin(request(), 200, [(b"content-length", b"100")], b"abcdefghij")
    assert wire.encoder.begin_file(70) == 70
    wire.encoder.end_file(20)
    assert wire.encoder.missing == 40
    assert wire.encoder.begin_file(50) == 40
    wire.encoder.end_file(0)
    assert (wire.encoder.missing, wire.encoder.excess) == (0, 10)
    wire.encoder.end()
    assert wire.encoder.keep_alive


def test_file_is_no_body_for_head_and_all_of_it_for_http_1_0() -> None:
    wire = Wire()
    wire.encoder.begin(request("HEAD"), 200, [], b"")
    assert wire.encoder.begin_file(70) == 0
    wire.encoder.begin(request(http_version="1.0"), 200, [], b"")
    assert wire.encoder.begin_file(70) == 70


def test_field_cache_is_bounded() -> None:
    cache = FieldCache()
    for number in range(5000):
        cache.add(b"x-request-id", b"%d" % number)
        assert len(cache) <= 512
    cache.add(b"x-long", b"v" * 1000)
    assert (b"x-long", b"v" * 1000) not in cache


def test_field_line() -> None:
    assert field_line(b"x-a", b"caf\xe9") == b"x-a: caf\xe9\r\n"
