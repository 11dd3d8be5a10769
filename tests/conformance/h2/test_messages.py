"""Requests and responses over HTTP/2: what the application sees, and what the client gets of what it sends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.h2.conftest import Subject, started
from tests.support.h2_frames import Code, Setting, block, data, headers, reset
from tests.support.h2_raw_client import Client
from tests.support.h2_reader import Stream


def described(stream: Stream) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stream.body)
    return found


# ---- The request ----------------------------------------------------------------------------------------------------


def test_the_scope(subject: Subject) -> None:
    with subject.connect() as client:
        seen = described(client.get(b"/mirror", (b"x-y", b"z"), scheme=b"https" if subject.tls else b"http"))
    assert seen["http_version"] == "2"
    assert seen["scheme"] == ("https" if subject.tls else "http")
    assert (seen["method"], seen["path"], seen["raw_path"], seen["query_string"]) == (
        "GET",
        "/mirror",
        "/mirror",
        "",
    )
    assert seen["headers"][:2] == [["host", "localhost"], ["x-y", "z"]]


def test_the_path_and_the_query(clear: Subject) -> None:
    with clear.connect() as client:
        client.get(b"/a%20b%2Fc?d=%20?e")
    seen = clear.seen()[-1]
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/a b/c", "/a%20b%2Fc", "d=%20?e")


def test_the_authority_is_the_host_and_the_first_field(clear: Subject) -> None:
    with clear.connect() as client:
        seen = described(client.get(b"/mirror", (b"a", b"1"), (b"b", b"2"), authority=b"example.org:8443"))
        assert seen["headers"][:3] == [["host", "example.org:8443"], ["a", "1"], ["b", "2"]]
        seen = described(client.get(b"/mirror", (b"a", b"1"), (b"host", b"example.org"), authority=None))
        assert [value for name, value in seen["headers"] if name == "host"] == ["example.org"]
        seen = described(client.get(b"/mirror", (b"host", b"localhost")))
        assert [value for name, value in seen["headers"] if name == "host"] == ["localhost"]


def test_cookies_are_joined(clear: Subject) -> None:
    """§8.2.3: one field for an application that knows nothing of how they were sent."""
    with clear.connect() as client:
        seen = described(
            client.get(
                b"/mirror", (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f")
            )
        )
    assert [value for name, value in seen["headers"] if name == "cookie"] == ["a=b; c=d; e=f"]


def test_fields_keep_their_order_and_repeat(clear: Subject) -> None:
    fields = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]
    with clear.connect() as client:
        seen = described(client.get(b"/mirror", *fields))
    assert [pair for pair in seen["headers"] if pair[0] in ("a", "b")] == [["b", "1"], ["a", "2"], ["b", "3"]]


def test_trailers_of_a_request_are_in_no_headers(clear: Subject) -> None:
    with clear.connect() as client:
        number = client.request(b"/mirror", method=b"POST", body=b"test", end=False)
        client.send(headers(number, block([(b"x-forwarded-for", b"6.6.6.6"), (b"x-late", b"1")])))
        seen = described(client.response(number))
    assert seen["body"] == "test"
    assert {name for name, _ in seen["headers"]}.isdisjoint({"x-forwarded-for", "x-late"})


def test_the_twin_of_a_forwarding_field_is_dropped(clear: Subject) -> None:
    with clear.connect() as client:
        seen = described(
            client.get(
                b"/mirror", (b"x_forwarded_for", b"6.6.6.6"), (b"content_length", b"9"), (b"a_b", b"1")
            )
        )
    assert {name for name, _ in seen["headers"]}.isdisjoint({"x_forwarded_for", "content_length"})
    assert ["a_b", "1"] in seen["headers"]


def test_100_continue_when_the_application_asks(subject: Subject) -> None:
    with subject.connect() as client:
        number = client.request(b"/echo", (b"expect", b"100-continue"), method=b"POST", end=False)
        stream = client.stream(number)
        assert client.until(lambda: bool(stream.heads))
        assert (stream.interim, stream.status, stream.over) == ([100], None, False)
        client.send(data(number, b"test"))
        client.response(number)
    assert (stream.interim, stream.status, bytes(stream.body)) == ([100], 200, b"test")


def test_no_100_continue_for_a_body_that_nobody_wants(clear: Subject) -> None:
    with clear.connect() as client:
        number = client.request(b"/refuse", (b"expect", b"100-continue"), method=b"POST", end=False)
        stream = client.response(number)
    assert (stream.interim, stream.status) == ([], 403)


def test_no_100_continue_for_a_body_that_is_there(clear: Subject) -> None:
    with clear.connect() as client:
        stream = client.response(
            client.request(b"/echo", (b"expect", b"100-continue"), method=b"POST", body=b"test")
        )
    assert (stream.status, bytes(stream.body)) == (200, b"test")


def test_a_reset_is_a_disconnect(subject: Subject) -> None:
    with subject.connect() as client:
        count = sum("left alone" in line for line in subject.server.stdout.so_far())
        number = client.request(b"/stay", method=b"POST", end=False)
        client.send(data(number, b"some", end=False))
        assert client.barrier()  # what is taken back in the same read never reaches the application
        client.send(reset(number))
        subject.server.stdout.wait_for("left alone", count=count + 1)
        assert client.get().status == 200


def test_a_lost_connection_is_a_disconnect_for_all_of_its_streams(subject: Subject) -> None:
    before = sum("left alone" in line for line in subject.server.stdout.so_far())
    with subject.connect() as client:
        for _ in range(5):
            client.request(b"/stay")
        assert client.barrier()
    subject.server.stdout.wait_for("left alone", count=before + 5)


# ---- The response ---------------------------------------------------------------------------------------------------


def test_a_response_in_one_piece_has_its_length(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.get()
    assert (stream.status, bytes(stream.body)) == (200, b"hello")
    assert stream[b"content-length"] == b"5"
    assert stream[b"date"]
    assert stream[b"server"] == b"pronghorn"


def test_a_response_in_pieces(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.get(b"/pieces")
    assert bytes(stream.body) == b"onetwothree"
    assert stream[b"content-length"] is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body(clear: Subject, status: int) -> None:
    with clear.connect() as client:
        stream = client.get(b"/bodiless?%d" % status)
        assert (stream.status, bytes(stream.body)) == (status, b"")
        assert status == 304 or stream[b"content-length"] is None
        assert client.get().status == 200


def test_head_has_no_body(clear: Subject) -> None:
    with clear.connect() as client:
        stream = client.get(method=b"HEAD")
        assert (stream.status, bytes(stream.body), stream[b"content-length"]) == (200, b"", b"5")
        stream = client.get(b"/pieces", method=b"HEAD")
        assert (stream.status, bytes(stream.body)) == (200, b"")
        assert client.get().status == 200


def test_fields_of_the_connection_are_dropped_and_names_are_lower_case(clear: Subject) -> None:
    """The client checks that on every head that it reads; here the application sends them."""
    with clear.connect() as client:
        stream = client.get(b"/connection-fields")
    assert (stream.status, bytes(stream.body)) == (200, b"body")
    assert stream[b"x-upper"] == b"Case"


def test_a_head_that_no_frame_holds(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.get(b"/wide")
    assert len(stream.fields) >= 40
    assert bytes(stream.body) == b"body"


def test_trailers(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.get(b"/trailers", (b"te", b"trailers"))
        assert bytes(stream.body) == b"body"
        assert stream.trailers == [(b"x-checksum", b"abc"), (b"x-more", b"1")]
        stream = client.get(b"/only-trailers", (b"te", b"trailers"))
        assert (stream.status, bytes(stream.body), stream.trailers) == (200, b"", [(b"grpc-status", b"5")])


def test_early_hints(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.get(b"/early")
    assert stream.interim == [103, 103]
    assert [head[1:] for head in stream.heads[:2]] == [
        [(b"link", b"</a.css>; rel=preload")],
        [(b"link", b"</b.css>; rel=preload")],
    ]
    assert (stream.status, bytes(stream.body)) == (200, b"late")


def test_files(subject: Subject) -> None:
    content = bytes(range(256)) * 2000
    (subject.server.folder / "content").write_bytes(content)
    with subject.connect() as client:
        stream = client.get(b"/file?content")
        assert bytes(stream.body) == content
        assert stream[b"content-length"] == b"512000"
        assert bytes(client.get(b"/part-of-a-file?content").body) == b"<" + content[10:110] + b">"
        stream = client.get(b"/file?content", method=b"HEAD")
        assert (bytes(stream.body), stream[b"content-length"]) == (b"", b"512000")


def test_an_access_line(clear: Subject) -> None:
    """One a stream, with the version; what would be control characters is escaped."""
    with clear.connect() as client:
        client.get(b"/?access-line-%1b%0d%0aforged")
        client.refused(client.request(b"/access-line-malformed", (b"X", b"1")))
    line = clear.server.stdout.wait_for("access-line-")
    assert '"GET /?access-line-%1b%0d%0aforged HTTP/2" 200' in line
    assert line.isprintable()
    assert not any("malformed" in line for line in clear.server.stdout.so_far())


def test_push(clear: Subject) -> None:
    """§8.4: the promise comes ahead of the response, on a stream of the server's, and is answered by the application."""
    with clear.connect() as client:
        stream = client.get(b"/push", authority=b"example.org")
        assert bytes(stream.body) == b"pushed"
        [(promised, fields)] = stream.promised
        assert promised % 2 == 0
        assert dict(fields)[b":path"] == b"/mirror"
        assert dict(fields)[b":method"] == b"GET"
        assert dict(fields)[b":authority"] == b"example.org"
        seen = described(client.response(promised))
    assert ["x-pushed", "1"] in seen["headers"]
    assert seen["headers"][0] == ["host", "example.org"]


def test_no_push_for_a_client_that_wants_none(clear: Subject) -> None:
    with clear.connect((Setting.ENABLE_PUSH, 0)) as client:
        stream = client.get(b"/push")
        assert client.barrier()
    assert bytes(stream.body) == b"not pushed"
    assert stream.promised == []


def test_an_answer_ahead_of_the_body(subject: Subject) -> None:
    """§8.1: complete, and then the server wants no more of the request."""
    with subject.connect() as client:
        number = client.request(b"/refuse", method=b"POST", body=b"begin", end=False)
        stream = client.response(number)
        assert (stream.status, bytes(stream.body)) == (403, b"no")
        assert client.until(lambda: stream.code is not None)
        assert stream.code == Code.NO_ERROR
        client.send(data(number, b"what was under way"))
        assert client.get().status == 200


def test_a_response_that_begins_ahead_of_the_body(subject: Subject) -> None:
    with subject.connect() as client:
        number = client.request(b"/begin", method=b"POST", end=False)
        stream = client.stream(number)
        assert client.until(lambda: bytes(stream.body) == b"begun")
        client.send(data(number, b"test"))
        assert bytes(client.response(number).body) == b"begun, done"


def test_streams_are_answered_as_their_answers_are_there(subject: Subject) -> None:
    with subject.connect() as client:
        first = client.request(b"/begin", method=b"POST", end=False)
        assert client.get().status == 200
        assert not client.stream(first).over
        client.send(data(first))
        assert client.response(first).status == 200


@pytest.fixture(scope="module")
def failing() -> Any:
    """A server whose application does what it should not."""
    with started(shameful=True) as subject:
        yield subject


def test_an_application_that_fails(failing: Subject) -> None:
    with failing.connect() as client:
        assert client.get(b"/fail").status == 500
        assert client.get().status == 200


def test_an_application_that_fails_in_a_response(failing: Subject) -> None:
    with failing.connect() as client:
        number = client.request(b"/break-off")
        assert client.refused(number) == Code.INTERNAL_ERROR
        stream = client.stream(number)
        assert (stream.status, stream.ended) == (200, False)
        assert client.get().status == 200


def test_less_than_declared_is_never_complete(failing: Subject) -> None:
    with failing.connect() as client:
        number = client.request(b"/short")
        assert client.refused(number) == Code.INTERNAL_ERROR
        assert not client.stream(number).ended
        assert client.get().status == 200


def test_more_than_declared_is_cut(failing: Subject) -> None:
    with failing.connect() as client:
        stream = client.get(b"/long")
        assert (stream[b"content-length"], bytes(stream.body)) == (b"2", b"fo")
        assert client.get().status == 200


def test_a_field_that_would_be_two(failing: Subject) -> None:
    with failing.connect() as client:
        stream = client.get(b"/bad-field")
        assert stream.status == 500
        assert b"x-smuggled" not in dict(stream.fields)


# ---- Where it comes from, and how many ------------------------------------------------------------------------------


def test_a_unix_socket() -> None:
    with started("--uds", "s") as subject, subject.connect() as client:
        assert described(client.get(b"/mirror"))["client"] is None


def test_a_forwarded_address_counts_from_a_trusted_peer() -> None:
    for trusted, address in (("127.0.0.1", "6.6.6.6"), ("10.0.0.0/8", "127.0.0.1")):
        with started("--forwarded-allow-ips", trusted) as subject, subject.connect() as client:
            seen = described(
                client.get(b"/mirror", (b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-proto", b"https"))
            )
            assert seen["client"][0] == address
            assert seen["scheme"] == ("https" if address == "6.6.6.6" else "http")


def test_one_request_too_many() -> None:
    """--limit-concurrency counts requests, not connections; the connection goes on."""
    with started("--limit-concurrency", "2") as subject, subject.connect() as client:
        number = client.request(b"/begin", method=b"POST", end=False)
        second = client.request(b"/begin", method=b"POST", end=False)
        assert client.until(lambda: client.stream(second).status == 200)
        stream = client.get()
        assert (stream.status, stream[b"retry-after"]) == (503, b"1")
        client.send(data(number), data(second))
        assert client.response(number).status == client.response(second).status == 200
        assert client.get().status == 200


# ---- Limits ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited() -> Any:
    flags = (
        *("--limit-request-line", "100"),
        *("--limit-request-headers", "10"),
        *("--limit-request-header-bytes", "500"),
        *("--limit-request-body", "1000"),
        *("--h2-max-concurrent-streams", "3"),
    )
    with started(*flags) as subject:
        yield subject


def refusals(client: Client, *fields: tuple[bytes, bytes], path: bytes = b"/") -> int | None:
    return client.get(path, *fields).status


def test_limits_of_a_head(limited: Subject) -> None:
    """What is just allowed, and one more; the connection goes on behind each."""
    with limited.connect() as client:
        path = b"/?".ljust(100 - len("GET  HTTP/1.1"), b"a")
        assert [refusals(client, path=path), refusals(client, path=path + b"a")] == [200, 414]
        few = [(b"a", b"1")] * 9
        assert [refusals(client, *few), refusals(client, *few, *few)] == [200, 431]
        assert [refusals(client, (b"a", b"1" * 400)), refusals(client, (b"a", b"1" * 600))] == [200, 431]
        assert refusals(client) == 200


def test_a_list_of_fields_that_is_small_to_send(limited: Subject) -> None:
    """A block of a few bytes for each field, from the dynamic table, counts as what it stands for."""
    with limited.connect() as client:
        assert refusals(client, *[(b"a", b"1" * 100)] * 9) == 431
        assert refusals(client) == 200


def test_the_limit_of_a_body(limited: Subject) -> None:
    with limited.connect() as client:
        assert client.response(client.request(b"/count", method=b"POST", body=bytes(1000))).body == b"1000"
        for fields in ([], [(b"content-length", b"1001")]):
            number = client.request(b"/count", *fields, method=b"POST", end=False)
            client.send(data(number, bytes(1001), end=not fields))
            assert client.response(number).status == 413
        assert client.get().status == 200


def test_the_number_of_streams(limited: Subject) -> None:
    """§5.1.2: one too many is refused, so that the client may try again; one that is over makes room for another."""
    with limited.connect() as client:
        numbers = [client.request(b"/stay", method=b"POST", end=False) for _ in range(3)]
        assert client.barrier()
        assert client.settings[Setting.MAX_CONCURRENT_STREAMS] == 3
        assert client.refused(client.request()) == Code.REFUSED_STREAM
        client.send(reset(numbers[0]))
        # What the application still does for it counts, or a client could have any number of requests worked on.
        limited.server.stdout.wait_for("left alone")
        while (stream := client.finished(client.request())).code == Code.REFUSED_STREAM:
            pass
        assert stream.status == 200
        assert not client.streams[numbers[1]].over


def test_the_default_number_of_streams(clear: Subject) -> None:
    with clear.connect() as client:
        for _ in range(100):
            client.request(b"/stay")
        assert client.refused(client.request()) == Code.REFUSED_STREAM
        assert client.settings[Setting.MAX_CONCURRENT_STREAMS] == 100
        assert sum(stream.over for stream in client.streams.values()) == 1
