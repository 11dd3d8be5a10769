"""Each limit and each timeout of the command line, over real sockets, with both parsers: what is just allowed, and one more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pronghorn.worker.server import _jittered
from tests.support.process import ServerProcess, serving

SUPPORT = Path(__file__).resolve().parents[2] / "support"
LIMITS = (
    *("--limit-request-line", "100"),
    *("--limit-request-headers", "10"),
    *("--limit-request-header-bytes", "500"),
    *("--limit-request-body", "1000"),
    *("--limit-concurrency", "2"),
)
TIMEOUTS = (
    *("--timeout-header", "1"),
    *("--timeout-body", "1"),
    *("--timeout-keep-alive", "1"),
    *("--min-client-rate", "50"),
)
POST = "POST /echo HTTP/1.1\r\nHost: a\r\n"


# Both parsers, and both kinds of socket; what takes seconds is not told apart by them, and is shown once with each.
ALL = ["httptools-tcp", "httptools-unix", "h11-tcp", "h11-unix"]
EACH = pytest.mark.parametrize("server", [(one, LIMITS) for one in ALL], indirect=True, ids=ALL)
PAIRS = ["httptools-tcp", "h11-unix"]
TIMED = pytest.mark.parametrize("server", [(one, TIMEOUTS) for one in PAIRS], indirect=True, ids=PAIRS)


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    subject, flags = request.param
    http, _, kind = subject.partition("-")
    where = ("--uds", "s") if kind == "unix" else ()
    folder = tmp_path_factory.mktemp("limits")
    with serving(folder, "served:app", "--app-dir", str(SUPPORT), "--http", http, *where, *flags) as running:
        yield running


def line(size: int) -> str:
    """A whole request whose first line has `size` bytes."""
    start = "GET /?".ljust(size - len(" HTTP/1.1"), "a") + " HTTP/1.1"
    assert len(start) == size
    return f"{start}\r\nHost: a\r\n\r\n"


def fields(count: int) -> str:
    return "GET / HTTP/1.1\r\nHost: a\r\n" + "x: y\r\n" * (count - 1) + "\r\n"


def field_bytes(size: int) -> str:
    return f"GET / HTTP/1.1\r\nHost: a\r\nx: {'y' * (size - len('Hostax'))}\r\n\r\n"


def body(size: int) -> str:
    return f"{POST}Content-Length: {size}\r\n\r\n{'b' * size}"


def chunks(size: int) -> str:
    return POST + "Transfer-Encoding: chunked\r\n\r\n" + "1\r\nb\r\n" * size + "0\r\n\r\n"


# What is just allowed, one more than that, and the answer to it.
ROWS = {
    "--limit-request-line": (line(100), line(101), 414),
    "--limit-request-headers": (fields(10), fields(11), 431),
    "--limit-request-header-bytes": (field_bytes(500), field_bytes(501), 431),
    "--limit-request-body, a length": (body(1000), body(1001), 413),
    "--limit-request-body, chunks": (chunks(1000), chunks(1001), 413),
}


@EACH
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("pieces", [1, 10])
def test_a_limit(server: ServerProcess, row: str, pieces: int) -> None:
    allowed, refused, status = ROWS[row]
    with server.connect() as client:
        for text, answer in ((allowed, 200), (refused, status)):
            size = -(-len(text) // pieces)
            with contextlib.suppress(ConnectionError):  # it may be refused before all is sent
                for at in range(0, len(text), size):
                    client.send(text[at : at + size].encode())
            response = client.response()
            assert response.status == answer
            assert response["connection"] == (None if answer == 200 else "close")
        assert client.rest() == b""


@EACH
def test_a_body_that_grows_too_large_is_told_in_both_logs(server: ServerProcess) -> None:
    with server.connect() as client:
        head, end, body = chunks(1001).replace("/echo", "/echo?in-the-logs").partition("\r\n\r\n")
        client.send(f"{head}\r\nExpect: 100-continue{end}".encode())
        assert client.head().status == 100, "the application runs"
        client.send(body.encode())
        assert client.response().status == 413
    assert " 413 " in server.stdout.wait_for("/echo?in-the-logs")
    warning = server.stderr.wait_for("request body too large (413), from ")
    assert " from 127.0.0.1:" in warning or warning.endswith(" from a Unix socket.")


@EACH
def test_the_limit_on_concurrency(server: ServerProcess) -> None:
    go = server.folder / "go"
    working = [server.connect() for _ in range(2)]
    seen = sum("waits for" in text for text in server.stdout.so_far())
    for number, client in enumerate(working, 1):
        client.request("GET", "/wait?go")
        server.stdout.wait_for("waits for", count=seen + number)
    refused = server.get("/")
    assert (refused.status, refused["retry-after"], refused["connection"]) == (503, "1", "close")
    go.touch()
    assert [client.response().status for client in working] == [200, 200]
    go.unlink()
    assert server.get("/").status == 200


@TIMED
def test_a_connection_that_rests_is_closed_without_a_word(server: ServerProcess) -> None:
    with server.connect() as silent, server.connect() as kept:
        assert kept.get("/").status == 200
        assert kept.rest() == b""
        assert silent.rest() == b""


HALVES = {
    "a head": b"GET / HTTP/1.1\r\nHo",
    "a body": body(10)[:-1].encode(),
    "chunks": chunks(10)[:-1].encode(),
}


@TIMED
def test_half_a_request_is_408(server: ServerProcess) -> None:
    clients = {half: server.connect() for half in HALVES}
    for half, client in clients.items():
        client.send(HALVES[half])
    for client in clients.values():
        response = client.response()
        assert (response.status, response["connection"], response.text) == (408, "close", "Request Timeout")
        assert client.rest() == b""


TRICKLES = {
    "a head": (b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
    "a body": (POST.encode() + b"Content-Length: 1000\r\n\r\n", b"b"),
    "chunks": (POST.encode() + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nb\r\n"),
    "trailers": (POST.encode() + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
}


@TIMED
def test_a_request_that_trickles_is_408(server: ServerProcess) -> None:
    clients = {what: server.connect() for what in TRICKLES}
    waiting = dict(clients)
    for what, client in clients.items():
        client.send(TRICKLES[what][0])
    while waiting:
        for what, client in list(waiting.items()):
            if client.silent(0.05):
                client.send(TRICKLES[what][1])
            else:
                assert waiting.pop(what).response().status == 408


@TIMED
def test_the_rest_of_a_body_that_nobody_wanted_may_not_trickle_either(server: ServerProcess) -> None:
    with server.connect() as client:
        client.request("POST", "/refuse", "Content-Length: 1000")
        assert client.response().status == 403
        with contextlib.suppress(ConnectionError):
            while client.silent(0.1):
                client.send(b"b")
        with contextlib.suppress(ConnectionError):
            assert client.rest() == b""


@TIMED
def test_an_application_may_let_a_client_wait(server: ServerProcess) -> None:
    """For longer than the timeout of a body: the client has done its part, or waits to be told to."""
    with server.connect() as full, server.connect() as polite:
        full.request("POST", "/late-receive?body", "Content-Length: 200000")
        full.send(b"b" * 100_000)
        polite.request("POST", "/late-receive?body", "Expect: 100-continue", "Content-Length: 3")
        assert full.silent(4.0)
        assert polite.silent(0.01)
        (server.folder / "body").touch()
        assert polite.head().status == 100
        polite.send(b"bbb")
        full.send(b"b" * 100_000)
        assert polite.response().body == b"bbb"
        assert full.response().body == b"b" * 200_000


@TIMED
def test_a_slow_reader_that_reads_is_given_time(server: ServerProcess) -> None:
    """A megabyte waits for it, most of it in the kernel, which tells the server of a few reads in a thousand."""
    with server.connect() as client:
        client.request("GET", "/flood?12")
        assert client.head().status == 200
        for _ in range(40):
            # An end of TCP tells of what was read by a segment or two, and on loopback those are 64 KB.
            client.read(50_000)
            time.sleep(0.1)
        client.read(12 * 1_048_576 - 40 * 50_000)
    server.stdout.wait_for("flooded")


def test_the_limit_on_requests_is_spread_over_its_jitter(tmp_path: Path) -> None:
    assert {_jittered(3, 2) for _ in range(1000)} == {3, 4, 5}
    flags = ("--limit-max-requests", "3", "--limit-max-requests-jitter", "2")
    with serving(tmp_path, "served:app", "--app-dir", str(SUPPORT), *flags) as server:
        with server.connect() as client:
            assert [client.get("/").status for _ in range(3)] == [200] * 3
        with contextlib.suppress(OSError, AssertionError):  # nobody listens any more, or nobody answers
            while server.get("/").status == 200:
                pass
        assert server.wait() == 0


def test_what_h11_holds_of_a_head_can_be_bounded(tmp_path: Path) -> None:
    flags = ("--http", "h11", "--h11-max-incomplete-event-size", "200")
    with serving(tmp_path, "served:app", "--app-dir", str(SUPPORT), *flags) as server:
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: %b\r\n" % (b"y" * 180))
            assert client.response().status == 431
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: %b\r\n" % (b"y" * 100))
            client.send(b"\r\n")
            assert client.response().status == 200
