"""HTTP/1.1 over real sockets, both parsers: framing, interim responses, limits, deadlines and disconnects."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_client import Client
from tests.support.process import ServerProcess, serving

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT))
PAIRS = [("httptools", "uvloop"), ("h11", "asyncio")]
EACH_PARSER = pytest.mark.parametrize("http", ["httptools", "h11"])


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One server for all tests that do not end it or ask it for something special."""
    http, loop = request.param
    flags = (*SERVED, "--http", http, "--loop", loop, "--limit-request-body", "1000000")
    with serving(tmp_path_factory.mktemp("http"), "served:app", *flags, shameful=True) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with server.connect() as connection:
        yield connection


# Framing.


def test_a_complete_response_has_a_length_and_the_default_headers(client: Client) -> None:
    response = client.get("/")
    assert response.line == "HTTP/1.1 200 OK"
    assert [name for name, _ in response.headers] == [
        "content-type",
        "date",
        "server",
        "x-request-id",
        "content-length",
    ]
    assert (response["content-length"], response["server"], response.text) == ("5", "pronghorn", "hello")


def test_a_connection_serves_one_request_after_the_other(client: Client) -> None:
    assert [client.get("/").text for _ in range(20)] == ["hello"] * 20


def test_pieces_are_chunked_as_the_application_sent_them(client: Client) -> None:
    response = client.get("/pieces")
    assert response.chunks == [b"one", b"two", b"three"]
    assert client.get("/").status == 200


def test_a_chunked_request_reaches_the_application_decoded(client: Client) -> None:
    client.request("POST", "/echo", "Transfer-Encoding: chunked")
    for piece in (b"5\r\nhello\r\n", b"1;ext=1\r\n \r\n", b"5\r\nthere\r\n", b"0\r\nx-trailer: 1\r\n\r\n"):
        client.send(piece)
    assert client.response().text == "hello there"
    assert client.get("/").status == 200


def test_a_body_is_handed_on_as_it_comes(client: Client) -> None:
    client.request("POST", "/echo-pieces", "Content-Length: 6")
    client.send(b"abc")
    head = client.head()
    assert head["transfer-encoding"] == "chunked"
    assert client.read(8) == b"3\r\nabc\r\n"
    client.send(b"def")
    assert client.read(8) == b"3\r\ndef\r\n"
    assert client.read(5) == b"0\r\n\r\n"


def test_fifty_pipelined_requests_are_answered_in_order(client: Client) -> None:
    client.send(
        b"".join(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02d" % number
            for number in range(50)
        )
    )
    assert [client.response().text for _ in range(50)] == [f"{number:02d}" for number in range(50)]


def test_pipelined_responses_do_not_overtake_a_slow_one(server: ServerProcess, client: Client) -> None:
    client.request("GET", "/wait?pipelined")
    client.request("GET", "/")
    client.request("GET", "/pieces")
    server.stdout.wait_for("waits for pipelined")
    (server.folder / "pipelined").touch()
    assert [client.response().text for _ in range(3)] == ["pipelined", "hello", "onetwothree"]
    (server.folder / "pipelined").unlink()


def test_a_pipelined_request_behind_a_bad_one_never_runs(server: ServerProcess, client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost : x\r\n\r\n")
    client.request("GET", "/hang")
    assert client.response().text == "hello"
    assert client.response().status == 400
    assert client.rest() == b""
    assert not any("hangs" in line for line in server.stdout.so_far())


def test_head_is_answered_with_the_head_of_get(client: Client) -> None:
    client.request("HEAD", "/")
    assert client.response("HEAD")["content-length"] == "5"
    client.request("HEAD", "/pieces")
    response = client.response("HEAD")
    assert (response["content-length"], response["transfer-encoding"]) == (None, None)
    assert client.get("/").text == "hello", "not a byte of a body came before"


@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_without_a_body_have_none_on_the_wire(client: Client, status: int) -> None:
    response = client.get(f"/bodiless?{status}")
    assert (response.status, response.body) == (status, b"")
    assert client.get("/").text == "hello"


def test_http_1_0_gets_no_chunking_and_a_close(client: Client) -> None:
    client.request("GET", "/pieces", version="1.0")
    response = client.response()
    assert response.line == "HTTP/1.1 200 OK"
    assert (response["transfer-encoding"], response["connection"]) == (None, "close")
    assert response.text == "onetwothree"


def test_http_1_0_keeps_the_connection_when_asked(client: Client) -> None:
    for _ in range(2):
        client.request("GET", "/", "Connection: keep-alive", version="1.0")
        assert client.response()["connection"] == "keep-alive"


def test_connection_close_is_heeded(client: Client) -> None:
    response = client.get("/", "Connection: close")
    assert response["connection"] == "close"
    assert client.rest() == b""


def test_an_upgrade_that_is_not_offered_is_ignored(client: Client) -> None:
    client.request("POST", "/echo", "Connection: Upgrade", "Upgrade: websocket", body=b"kept")
    assert client.response().text == "kept"
    assert client.get("/").status == 200


def test_an_application_that_fails_is_answered_for(server: ServerProcess, client: Client) -> None:
    response = client.get("/fail")
    assert (response.status, response["connection"], response.text) == (500, "close", "Internal Server Error")
    assert client.rest() == b""
    server.stderr.wait_for("ValueError: on purpose")


# Expect: 100-continue.


def test_100_continue_is_sent_when_the_application_asks_for_the_body(
    server: ServerProcess, client: Client
) -> None:
    client.request("POST", "/late-receive?asks", "Expect: 100-continue", "Content-Length: 4")
    server.stdout.wait_for("reached /late-receive")
    assert client.silent(), "nobody asked for the body yet"
    (server.folder / "asks").touch()
    assert client.head().line == "HTTP/1.1 100 Continue"
    client.send(b"body")
    assert client.response().text == "body"
    assert client.get("/").status == 200
    (server.folder / "asks").unlink()


def test_a_final_answer_takes_the_place_of_100_continue_and_closes(client: Client) -> None:
    """Whether the body follows cannot be known, so neither can where the next request begins (RFC 9110 §10.1.1)."""
    client.request("POST", "/refuse", "Expect: 100-continue", "Content-Length: 4")
    response = client.response()
    assert (response.status, response["connection"]) == (403, "close")
    assert client.rest() == b""


def test_no_100_continue_for_a_client_that_did_not_wait(client: Client) -> None:
    client.request("POST", "/echo", "Expect: 100-continue", body=b"already here")
    assert client.response().status == 200


# Clients that leave.


def test_a_client_that_leaves_is_told_to_the_application(server: ServerProcess) -> None:
    before = sum("received" in line for line in server.stdout.so_far())
    with server.connect() as client:
        client.request("GET", "/listen")
        assert client.head()["transfer-encoding"] == "chunked"
    assert "{'type': 'http.disconnect'}" in server.stdout.wait_for("app: received", count=before + 1)
    line = server.stdout.wait_for("send raised", count=before + 1)
    assert line == "app: send raised ClientDisconnected which is an OSError"
    assert server.get("/").status == 200


def leave(server: ServerProcess, target: str) -> None:
    before = sum("send raised" in line for line in server.stdout.so_far())
    with server.connect() as client:
        client.request("GET", target)
        client.head()
    server.stdout.wait_for("send raised", count=before + 1)


def test_what_a_framework_makes_of_a_client_that_left_is_no_error(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server:
        leave(server, "/listen")
        leave(server, "/renamed")
        assert server.get("/").status == 200
        server.stop()
        assert not any("ERROR" in line for line in server.stderr.all())


def test_a_bug_in_the_cleaning_up_after_a_client_is_one_all_the_same(server: ServerProcess) -> None:
    leave(server, "/clumsy")
    server.stderr.wait_for("KeyError: 'on purpose'")


def test_a_reset_is_told_to_the_application_as_well(server: ServerProcess) -> None:
    before = sum("received" in line for line in server.stdout.so_far())
    with server.connect() as client:
        client.request("GET", "/listen")
        client.head()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.stdout.wait_for("app: received", count=before + 1)
    server.stdout.wait_for("send raised", count=before + 1)


def test_half_a_body_is_never_a_whole_one(server: ServerProcess) -> None:
    with server.connect() as client:
        client.request("POST", "/echo", "Content-Length: 10")
        client.send(b"01234")
        client.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(AssertionError):
            assert client.response().status != 200
    server.stdout.wait_for("the client left")
    assert server.get("/").status == 200


# Errors: readable, even while the client goes on sending.


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        pytest.param(400, b"GET / HTTP/1.1\r\n\r\n", id="no-host"),
        pytest.param(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls-on-a-clear-port"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n", id="two-lengths"),
        pytest.param(
            413, b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000001\r\n\r\n", id="declared"
        ),
        pytest.param(
            413,
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"10000\r\n%b\r\n" % bytes(65_536) * 16,
            id="chunked-over-the-limit",
        ),
        pytest.param(414, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 8200), id="long-target"),
        pytest.param(431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 101 + b"\r\n", id="many-fields"),
        pytest.param(431, b"GET / HTTP/1.1\r\nHost: x\r\na: %b\r\n\r\n" % (b"b" * 70_000), id="long-field"),
        pytest.param(
            501, b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="coding"
        ),
        pytest.param(505, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", id="version"),
    ],
)
def test_what_cannot_be_served_is_answered_and_closed(
    client: Client, status: int, request_bytes: bytes
) -> None:
    client.send(request_bytes)
    response = client.response()
    assert response.status == status
    assert response["connection"] == "close"
    assert response["content-type"] == "text/plain; charset=utf-8"
    assert response["server"] == "pronghorn"
    assert client.rest() == b""


def test_an_error_can_be_read_by_a_client_that_is_still_sending(client: Client) -> None:
    """A close in the middle of what it sends would be a reset, and that can throw the response away unread."""
    client.request("POST", "/echo", "Content-Length: 20000000")
    sent = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while sent < 5_000_000:
            client.send(bytes(65_536))
            sent += 65_536
    assert client.response().status == 413


def test_a_refusal_by_the_application_can_be_read_while_the_body_is_being_sent(client: Client) -> None:
    client.request("POST", "/refuse", "Content-Length: 900000")
    for _ in range(9):
        client.send(bytes(90_000))
    response = client.response()
    assert (response.status, response["connection"], response.text) == (403, "close", "no")
    client.send(bytes(90_000))
    assert client.rest() == b""


def test_a_small_body_that_nobody_wanted_does_not_cost_the_connection(client: Client) -> None:
    client.request("POST", "/refuse", body=b"x" * 1000)
    assert client.response()["connection"] is None
    assert client.get("/").status == 200


# Limits and deadlines: each with a server of its own.


def test_an_idle_connection_is_closed_after_the_keep_alive_timeout(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--timeout-keep-alive", "1") as server:
        client = server.connect()
        assert client.get("/").status == 200
        assert client.rest() == b""


@EACH_PARSER
def test_a_head_and_a_body_that_stop_are_408(tmp_path: Path, http: str) -> None:
    flags = ("--http", http, "--timeout-header", "1", "--timeout-body", "1")
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        head, body, silent, working = (server.connect() for _ in range(4))
        head.send(b"GET / HTTP/1.1\r\nHo")
        body.request("POST", "/echo", "Content-Length: 10")
        body.send(b"01234")
        working.request("GET", "/wait?done")
        for client in (head, body):
            response = client.response()
            assert (response.status, response["connection"]) == (408, "close")
            assert client.rest() == b""
        assert silent.rest() == b"", "who never sent anything is owed no answer"
        (tmp_path / "done").touch()
        assert working.response().text == "done", "an application may take its time"


def test_a_head_that_trickles_does_not_prolong_its_deadline(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--timeout-header", "1") as server:
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\n")
        while client.silent(0.1):
            client.send(b"a: b\r\n")
        assert client.response().status == 408


def test_the_limit_on_concurrency_serves_n_and_refuses_one_more(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--limit-concurrency", "2") as server:
        first, second, third = (server.connect() for _ in range(3))
        idle = server.connect()
        for number, client in enumerate((first, second), 1):
            client.request("GET", "/wait?go")
            server.stdout.wait_for("waits for", count=number)
        refused = third.get("/")
        assert (refused.status, refused["retry-after"], refused["connection"]) == (503, "1", "close")
        (tmp_path / "go").touch()
        assert [client.response().status for client in (first, second)] == [200, 200]
        assert idle.get("/").status == 200, "there is room again, and a connection that rests takes none"


def test_the_limit_on_requests_ends_the_process_with_a_success(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--limit-max-requests", "3") as server:
        client = server.connect()
        assert [client.get("/").status for _ in range(3)] == [200] * 3
        assert client.rest() == b""
        assert server.wait() == 0
        assert any("Maximum request limit of 3 reached" in line for line in server.messages())
