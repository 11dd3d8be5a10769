"""Who the client is: every rule of the walk, and that no forged header moves it."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.middleware.proxy_headers import ProxyHeadersMiddleware, TrustedProxies
from pronghorn.types import Receive, Scope, Send

PEER = ("127.0.0.1", 40000)
Headers = list[tuple[bytes, bytes]]


def applied(
    spec: str | list[str], *forwarded: bytes, kind: str = "http", proto: bytes | None = None
) -> Scope:
    headers: Headers = [(b"host", b"a"), *((b"x-forwarded-for", value) for value in forwarded)]
    if proto is not None:
        headers.append((b"x-forwarded-proto", proto))
    scope: Scope = {
        "type": kind,
        "client": PEER,
        "scheme": "ws" if kind == "websocket" else "http",
        "headers": headers,
    }
    TrustedProxies(spec).apply(scope)
    return scope


@pytest.mark.parametrize(
    ("spec", "client", "unix", "trusted"),
    [
        ("127.0.0.1,::1", ("127.0.0.1", 1), False, True),
        ("127.0.0.1,::1", ("::1", 1), False, True),
        ("127.0.0.1", ("::ffff:127.0.0.1", 1), False, True),
        ("::ffff:127.0.0.1", ("127.0.0.1", 1), False, True),
        ("127.0.0.1", ("127.0.0.2", 1), False, False),
        ("10.0.0.0/8, fd00::/8", ("10.255.0.1", 1), False, True),
        ("10.0.0.0/8, fd00::/8", ("fd12::1", 1), False, True),
        ("10.0.0.0/8, fd00::/8", ("11.0.0.1", 1), False, False),
        (["10.0.0.0/8", "unix:"], ("10.0.0.1", 1), False, True),
        ("*", ("192.0.2.1", 1), False, True),
        ("*", None, False, True),
        ("*", None, True, True),
        ("unix:", None, True, True),
        ("unix:", ("127.0.0.1", 1), False, False),
        ("127.0.0.1", None, True, False),
        ("127.0.0.1", None, False, False),
        ("unix:", None, False, False),
        ("127.0.0.1", ("testclient", 1), False, False),
        ("", ("127.0.0.1", 1), False, False),
        ([], None, True, False),
    ],
)
def test_trusts(spec: str | list[str], client: tuple[str, int] | None, unix: bool, trusted: bool) -> None:
    assert TrustedProxies(spec).trusts(client, unix=unix) is trusted


@pytest.mark.parametrize(
    "entry", ["localhost", "10.0.0.1/8", "10.0.0", "1.2.3.4/33", "/run/app.sock", "unix", "**", "010.0.0.1"]
)
def test_malformed_option(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address, a network") as raised:
        TrustedProxies(f"127.0.0.1, {entry}")
    assert str(raised.value).startswith(repr(entry))


def test_repr() -> None:
    assert repr(TrustedProxies(" 10.0.0.0/8 ,unix:,")) == "TrustedProxies('10.0.0.0/8,unix:')"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"192.0.2.1", ("192.0.2.1", 0)),
        (b" 192.0.2.1\t", ("192.0.2.1", 0)),
        (b"192.0.2.1:4711", ("192.0.2.1", 4711)),
        (b"2001:db8::1", ("2001:db8::1", 0)),
        (b"[2001:db8::1]", ("2001:db8::1", 0)),
        (b"[2001:db8::1]:443", ("2001:db8::1", 443)),
        # From the right: trusted hops are passed over, the first stranger is the client.
        (b"198.51.100.9, 192.0.2.1, 10.0.0.2", ("192.0.2.1", 0)),
        (b"198.51.100.9,192.0.2.1", ("192.0.2.1", 0)),
        (b"10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),
        (b"::ffff:10.0.0.3, 10.0.0.2", ("::ffff:10.0.0.3", 0)),
        # What is no address ends the walk at the hop before it.
        (b"192.0.2.1, unknown, 10.0.0.2", ("10.0.0.2", 0)),
        (b"192.0.2.1, , 10.0.0.2", ("10.0.0.2", 0)),
        (b",10.0.0.2", ("10.0.0.2", 0)),
        # Nothing good at the end: the peer stays the client.
        (b"192.0.2.1, unknown", PEER),
        (b"192.0.2.1,", PEER),
        (b"", PEER),
        (b"_hidden", PEER),
        (b"192.0.2.1:", PEER),
        (b"192.0.2.1:+5", PEER),
        (b"192.0.2.1:123456", PEER),
        (b"192.0.2.1:65536", PEER),
        (b"192.0.2.01", PEER),
        (b"[192.0.2.1]", PEER),
        (b"[2001:db8::1", PEER),
        (b"[2001:db8::1]4", PEER),
        (b"\xd9\xa1.0.0.1", PEER),
        (b"\xff", PEER),
        (b"127.0.0.1\x1b[31m", PEER),
        (b"fe80::1%\x1b[31m", PEER),
        (b"fe80::1%eth0", PEER),
        (b"192.0.2.1\r\n", PEER),
    ],
)
def test_walk(value: bytes, client: tuple[str, int]) -> None:
    assert applied("127.0.0.1,10.0.0.0/8", value)["client"] == client


def test_trusting_everyone_goes_all_the_way_left() -> None:
    assert applied("*", b"198.51.100.9, 192.0.2.1")["client"] == ("198.51.100.9", 0)
    assert applied("*", b"bogus, 192.0.2.1")["client"] == ("192.0.2.1", 0)


def test_behind_a_unix_socket_the_last_hop_is_the_client() -> None:
    assert applied("unix:", b"198.51.100.9, 192.0.2.1")["client"] == ("192.0.2.1", 0)


def test_several_lines_are_one_list() -> None:
    assert applied("10.0.0.0/8", b"198.51.100.9", b"192.0.2.1, 10.0.0.1")["client"] == ("192.0.2.1", 0)


def test_a_long_list_is_walked_and_not_kept() -> None:
    trusted = TrustedProxies("10.0.0.0/8")
    scope: Scope = {
        "type": "http",
        "headers": [(b"x-forwarded-for", b"192.0.2.1," + b"10.0.0.1," * 1000 + b"10.0.0.1")],
    }
    trusted.apply(scope)
    assert scope["client"] == ("192.0.2.1", 0)
    assert trusted._client_of.cache_info().currsize == 0


def test_no_forwarding_headers_change_nothing() -> None:
    scope = applied("*")
    assert (scope["client"], scope["scheme"]) == (PEER, "http")


@pytest.mark.parametrize(
    ("kind", "proto", "scheme"),
    [
        ("http", b"https", "https"),
        ("http", b"HTTPS ", "https"),
        ("http", b"http", "http"),
        ("http", b"wss", "https"),
        ("websocket", b"https", "wss"),
        ("websocket", b"wss", "wss"),
        ("websocket", b"http", "ws"),
        # The last value is the peer's own; what stands before it came from further away.
        ("http", b"http, https", "https"),
        ("http", b"https, http", "http"),
        ("http", b"https, gopher", "http"),
        ("http", b"", "http"),
        ("http", b"javascript", "http"),
        ("http", b"https\x1b[31m", "http"),
    ],
)
def test_scheme(kind: str, proto: bytes, scheme: str) -> None:
    assert applied("*", proto=proto, kind=kind)["scheme"] == scheme


@given(st.lists(st.binary(max_size=40), max_size=4), st.binary(max_size=10))
def test_any_bytes_give_a_clean_client(values: list[bytes], proto: bytes) -> None:
    scope = applied("*", *values, proto=proto)
    host, port = scope["client"]
    assert set(host) <= set("0123456789abcdefABCDEF:.")
    assert 0 <= port <= 65535
    assert scope["scheme"] in ("http", "https")


@given(st.binary(max_size=60))
def test_a_client_cannot_forge_what_the_proxy_appends(forged: bytes) -> None:
    assert applied("127.0.0.1", forged + b", 192.0.2.7")["client"] == ("192.0.2.7", 0)
    assert applied("127.0.0.1", forged, b"192.0.2.7")["client"] == ("192.0.2.7", 0)


@pytest.mark.parametrize(
    ("kind", "client", "seen"),
    [
        ("http", PEER, ("192.0.2.1", 0)),
        ("websocket", PEER, ("192.0.2.1", 0)),
        ("http", ("203.0.113.5", 1), ("203.0.113.5", 1)),
        ("http", None, None),
    ],
)
def test_middleware(kind: str, client: Any, seen: Any) -> None:
    calls: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError("not asked for")

    scope: Scope = {"type": kind, "client": client, "headers": [(b"x-forwarded-for", b"192.0.2.1")]}
    asyncio.run(ProxyHeadersMiddleware(app)(scope, nothing, nothing))
    assert calls[0]["client"] == seen
    assert scope["client"] == client, "the server's own scope stays as it was"
    lifespan: Scope = {"type": "lifespan"}
    asyncio.run(ProxyHeadersMiddleware(app, "*")(lifespan, nothing, nothing))
    assert calls[1] is lifespan


def test_middleware_trusts_a_unix_peer_only_when_told() -> None:
    calls: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append(scope["client"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError("not asked for")

    for spec in ("127.0.0.1", "unix:", "*"):
        scope: Scope = {"type": "http", "client": None, "headers": [(b"x-forwarded-for", b"192.0.2.1")]}
        asyncio.run(ProxyHeadersMiddleware(app, spec)(scope, nothing, nothing))
    assert calls == [None, ("192.0.2.1", 0), ("192.0.2.1", 0)]
