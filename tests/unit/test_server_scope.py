"""What the application is told of a request and its peer, and what it may add to every response."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, serving

SUPPORT = Path(__file__).resolve().parent.parent / "support"
# The id of a request, which differs each time, has tests of its own.
SERVED = ("--app-dir", str(SUPPORT), "--no-request-id")
EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend", "http.response.early_hint")
PAIRS = [("httptools", "uvloop"), ("h11", "asyncio")]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    http, loop = request.param
    flags = (*SERVED, "--http", http, "--loop", loop)
    with serving(tmp_path_factory.mktemp("scope"), "served:app", *flags) as running:
        yield running


def scope_of(server: ServerProcess, target: str = "/scope", *headers: str) -> dict[str, list[str]]:
    """For each key of the scope the name of its value's type, and the value in Python's notation."""
    with server.connect() as client:
        shown: dict[str, list[str]] = client.get(target, *headers).json()
        return shown


# The scope.


def test_the_scope_has_the_keys_and_types_of_the_specification_and_no_others(server: ServerProcess) -> None:
    with server.connect() as client:
        shown = client.get("/scope?a=%20b&c", "X-Two: 1", "x-two: 2").json()
        peer = client.sock.getsockname()
    assert shown == {
        "type": ["str", "'http'"],
        "asgi": ["dict", "{'version': '3.0', 'spec_version': '2.5'}"],
        "http_version": ["str", "'1.1'"],
        "method": ["str", "'GET'"],
        "scheme": ["str", "'http'"],
        "path": ["str", "'/scope'"],
        "raw_path": ["bytes", "b'/scope'"],
        "query_string": ["bytes", "b'a=%20b&c'"],
        "root_path": ["str", "''"],
        "headers": ["list", "[(b'host', b'localhost'), (b'x-two', b'1'), (b'x-two', b'2')]"],
        "client": ["tuple", repr(peer)],
        "server": ["tuple", repr(("127.0.0.1", server.port))],
        "state": ["dict", "{'name': 'from the lifespan', 'shared': []}"],
        "extensions": ["dict", repr({name: {} for name in EXTENSIONS})],
    }


def test_the_path_is_decoded_and_the_raw_path_is_not(server: ServerProcess) -> None:
    shown = scope_of(server, "/%73cope")
    assert shown["path"] == ["str", "'/scope'"]
    assert shown["raw_path"] == ["bytes", "b'/%73cope'"]


def test_an_absolute_target_is_reduced_to_its_path(server: ServerProcess) -> None:
    shown = scope_of(server, "http://localhost/scope?x=1")
    assert shown["path"] == ["str", "'/scope'"]
    assert shown["query_string"] == ["bytes", "b'x=1'"]


def test_http_1_0_is_told(server: ServerProcess) -> None:
    with server.connect() as client:
        client.request("GET", "/scope", version="1.0")
        assert client.response().json()["http_version"] == ["str", "'1.0'"]


def test_trailers_never_reach_the_headers(server: ServerProcess) -> None:
    with server.connect() as client:
        client.request("POST", "/scope", "Transfer-Encoding: chunked")
        client.send(b"1\r\nx\r\n0\r\nx-forwarded-for: 192.0.2.1\r\n\r\n")
        assert "192.0.2.1" not in client.response().text


def test_nothing_that_a_request_leaves_behind_reaches_the_next(server: ServerProcess) -> None:
    with server.connect() as client:
        first, second = (client.get(f"/spoil?{name}").json() for name in ("first", "second"))
    assert second["keys"] == first["keys"]
    assert second["asgi"] == first["asgi"] == ["spec_version", "version"]
    assert second["context"] == first["context"] == "nothing", "context variables"
    assert "mine" not in second["state"]
    # The copy of the state is shallow: what the lifespan put into it is shared, as the specification has it.
    assert first["state"]["shared"] != second["state"]["shared"]


def test_pipelined_requests_do_not_share_a_context_either(server: ServerProcess) -> None:
    with server.connect() as client:
        for name in ("first", "second", "third"):
            client.request("GET", f"/spoil?{name}")
        assert [client.response().json()["context"] for _ in range(3)] == ["nothing"] * 3


def test_root_path_is_told_and_is_part_of_the_path(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--root-path", "/api") as server:
        shown = scope_of(server)
        assert shown["root_path"] == ["str", "'/api'"]
        assert shown["path"] == ["str", "'/api/scope'"]
        assert shown["raw_path"] == ["bytes", "b'/api/scope'"]


# Proxies.

FORGED = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")


def test_loopback_is_trusted_unless_told_otherwise(server: ServerProcess) -> None:
    shown = scope_of(server, "/scope", *FORGED)
    assert shown["client"] == ["tuple", "('192.0.2.7', 0)"]
    assert shown["scheme"] == ["str", "'https'"]


def test_only_the_hop_before_the_trusted_ones_counts(server: ServerProcess) -> None:
    shown = scope_of(server, "/scope", "X-Forwarded-For: 198.51.100.1, 192.0.2.7, 127.0.0.1")
    assert shown["client"] == ["tuple", "('192.0.2.7', 0)"]


@pytest.mark.parametrize("flags", [("--forwarded-allow-ips", "10.0.0.1"), ("--no-proxy-headers",)])
def test_a_peer_that_is_not_trusted_is_not_believed(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        shown = scope_of(server, "/scope", *FORGED)
        assert shown["client"][1].startswith("('127.0.0.1', ")
        assert shown["scheme"] == ["str", "'http'"]


def test_a_network_can_be_trusted(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--forwarded-allow-ips", "127.0.0.0/8") as server:
        assert scope_of(server, "/scope", *FORGED)["client"] == ["tuple", "('192.0.2.7', 0)"]


@pytest.mark.parametrize("trusted", ["127.0.0.1,::1", "unix:", "*"])
def test_a_unix_peer_is_trusted_only_when_said(tmp_path: Path, socket_path: Path, trusted: str) -> None:
    flags = ("--uds", str(socket_path), "--forwarded-allow-ips", trusted)
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        shown = scope_of(server, "/scope", *FORGED)
    believed = trusted in ("unix:", "*")
    assert shown["client"] == (["tuple", "('192.0.2.7', 0)"] if believed else ["NoneType", "None"])
    assert shown["scheme"] == ["str", "'https'" if believed else "'http'"]


def test_other_forwarding_headers_count_where_they_are_named(tmp_path: Path) -> None:
    fields = (
        "X-Forwarded-For: 198.51.100.1",
        'Forwarded: for=198.51.100.1, for="[2001:db8::7]:4711";proto=https;host=example.com',
        "X-Forwarded-Prefix: /shop",
    )
    flags = ("--forwarded-headers", "forwarded,x-forwarded-prefix", "--forwarded-hops", "1")
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        shown = scope_of(server, "/scope", *fields)
        assert shown["client"] == ["tuple", "('2001:db8::7', 4711)"]
        assert shown["scheme"] == ["str", "'https'"]
        assert "(b'host', b'example.com')" in shown["headers"][1]
        assert (shown["root_path"][1], shown["path"][1]) == ("'/shop'", "'/shop/scope'")
        assert shown["raw_path"] == ["bytes", "b'/shop/scope'"]
        # What is not there changes nothing, on the same connection neither.
        assert scope_of(server, "/scope", fields[0])["client"][1].startswith("('127.0.0.1', ")


def test_the_access_log_has_the_address_of_the_client_behind_the_proxy(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server:
        with server.connect() as client:
            client.get("/", *FORGED)
        server.stdout.wait_for('192.0.2.7 - "GET / HTTP/1.1" 200 OK')


# Response headers.


def test_headers_of_the_command_line_are_in_every_response(tmp_path: Path) -> None:
    flags = ("--header", "X-One:1", "--header", "X-Two", "two words", "--header", "X-One:again")
    with serving(tmp_path, "served:app", *SERVED, *flags) as server, server.connect() as client:
        for target, status in (("/", 200), ("/nowhere", 404)):
            response = client.get(target)
            ours = [(name, value) for name, value in response.headers if name.startswith("x-")]
            assert response.status == status
            assert ours == [("x-one", "1"), ("x-two", "two words"), ("x-one", "again")]
        client.send(b"nonsense\r\n\r\n")
        assert client.response()["x-two"] == "two words", "the server's own answers as well"


def test_date_and_server_can_be_left_out(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--no-date-header", "--no-server-header") as server:
        response = server.get("/")
        assert (response["date"], response["server"]) == (None, None)


def test_an_application_may_set_both_itself(server: ServerProcess) -> None:
    response = server.get("/own-headers")
    assert (response["date"], response["server"], response["x-app"]) == ("today", "mine", "yes")


# Addresses.


def test_ipv6(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--host", "::1") as server:
        assert server.running_on() == f"http://[::1]:{server.port}"
        shown = scope_of(server)
        assert shown["server"] == ["tuple", f"('::1', {server.port})"]
        assert shown["client"][1].startswith("('::1', ")


def test_a_name_is_served_on_all_its_addresses(tmp_path: Path) -> None:
    found = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    with serving(tmp_path, "served:app", *SERVED, "--host", "localhost") as server:
        lines = [server.running_on(count) for count in range(1, len(found) + 1)]
        assert {line.rpartition(":")[2] for line in lines} == {str(server.port)}, "one port for all of them"
        for address in found:
            with socket.create_connection((address, server.port)):
                pass
