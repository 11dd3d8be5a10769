"""What forwarding headers other than X-Forwarded-For and -Proto change, each only when it is named, and never by force of forgery."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.middleware.forwarded import authority, element, prefix
from pronghorn.middleware.proxy_headers import TrustedProxies
from pronghorn.types import Scope

PEER = ("127.0.0.1", 40000)
ALL_X = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix"


def applied(
    *fields: tuple[str, bytes],
    spec: str = "127.0.0.1,10.0.0.0/8",
    headers: str = ALL_X,
    hops: int | None = None,
    **more: Any,
) -> Scope:
    scope: Scope = {
        "type": "http",
        "client": PEER,
        "scheme": "http",
        "root_path": "",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "headers": [(b"accept", b"*/*"), (b"host", b"inside:8000"), *((k.encode(), v) for k, v in fields)],
        **more,
    }
    TrustedProxies(spec, headers=headers, hops=hops).apply(scope)
    return scope


def facts(value: bytes, *more: bytes, **options: Any) -> tuple[tuple[str, int], str, bytes]:
    scope = applied(*(("forwarded", item) for item in (value, *more)), headers="forwarded", **options)
    return scope["client"], scope["scheme"], dict(scope["headers"])[b"host"]


# Forwarded


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"for=192.0.2.1", {b"for": b"192.0.2.1"}),
        (b' For="[2001:db8::1]:80" ; PROTO=https;host=a ', {b"for": b"[2001:db8::1]:80", b"proto": b"https", b"host": b"a"}),
        (rb'for="a\"b\\c";ext="x;y=z"', {b"for": rb'a"b\c', b"ext": b"x;y=z"}),
        (b'for=_hidden;by=unknown;secret=""', {b"for": b"_hidden", b"by": b"unknown", b"secret": b""}),
        (b"", {}),
        (b";for=a;;", {b"for": b"a"}),
        (b"for", None),
        (b"for=", None),
        (b"=a", None),
        (b"for=a b", None),
        (b"for =a", None),
        (b"for= a", None),
        (b"for=[2001:db8::1]", None),
        (b"for=192.0.2.1:80", None),
        (b"for=a;for=b", None),
        (b"for=a;FOR=b", None),
        (b'for="a', None),
        (b'for=a"', None),
        (b'for="a"b', None),
        (b'for="a\\', None),
        (b'for="a\\"', None),
        (b'for="\x1b"', None),
        (b'for="\xe9"', None),
    ],
)  # fmt: skip
def test_an_element(raw: bytes, found: dict[bytes, bytes] | None) -> None:
    assert element(raw) == found


@pytest.mark.parametrize(
    ("value", "client", "scheme", "host"),
    [
        (b"for=192.0.2.1", ("192.0.2.1", 0), "http", b"inside:8000"),
        (b'for="192.0.2.1:4711";proto=https;host=example.com', ("192.0.2.1", 4711), "https", b"example.com"),
        (b'for="[2001:db8::1]:443";host="example.com:8443"', ("2001:db8::1", 443), "http", b"example.com:8443"),
        (b'for="192.0.2.1:_port";proto=HTTPS', ("192.0.2.1", 0), "https", b"inside:8000"),
        # Each element was written by one hop. The outermost that can be trusted knows what the client asked for.
        (b"for=192.0.2.1;proto=https;host=out, for=10.0.0.2;proto=http;host=in", ("192.0.2.1", 0), "https", b"out"),
        (b"for=192.0.2.1, for=10.0.0.2;proto=https", ("192.0.2.1", 0), "https", b"inside:8000"),
        (b"for=6.6.6.6;proto=https;host=evil, for=192.0.2.1", ("192.0.2.1", 0), "http", b"inside:8000"),
        # Who hides his client ends the walk, and is believed himself.
        (b"for=6.6.6.6, for=unknown;proto=https", PEER, "https", b"inside:8000"),
        (b"for=6.6.6.6, for=_hidden, for=10.0.0.2", ("10.0.0.2", 0), "http", b"inside:8000"),
        (b"for=6.6.6.6;proto=https, proto=http", PEER, "http", b"inside:8000"),
        # What is malformed says nothing at all.
        (b"for=6.6.6.6, for=192.0.2.1;for=192.0.2.2;proto=https", PEER, "http", b"inside:8000"),
        (b"for=6.6.6.6, nonsense", PEER, "http", b"inside:8000"),
        (b"for=6.6.6.6,", PEER, "http", b"inside:8000"),
        (b'for=192.0.2.1;host="a b"', ("192.0.2.1", 0), "http", b"inside:8000"),
        (b'for=192.0.2.1;host="evil@example.com"', ("192.0.2.1", 0), "http", b"inside:8000"),
        (b"for=192.0.2.1;proto=gopher", ("192.0.2.1", 0), "http", b"inside:8000"),
    ],
)  # fmt: skip
def test_forwarded(value: bytes, client: tuple[str, int], scheme: str, host: bytes) -> None:
    assert facts(value) == (client, scheme, host)


@pytest.mark.parametrize(
    "appended", [b"for=192.0.2.7;proto=https", b'for="[2001:db8::7]:1";proto="https";by="_x"']
)
@given(forged=st.one_of(st.binary(max_size=60), st.text('for="=\\;, _[]:1', max_size=60).map(str.encode)))
def test_a_client_cannot_move_what_the_proxy_appends(appended: bytes, forged: bytes) -> None:
    host = "192.0.2.7" if b"192" in appended else "2001:db8::7"
    for seen in (facts(forged + b", " + appended), facts(forged, appended)):
        assert (seen[0][0], seen[1], seen[2]) == (host, "https", b"inside:8000")


def test_a_long_list_of_elements_is_walked_and_not_kept() -> None:
    trusted = TrustedProxies("10.0.0.0/8", headers="forwarded")
    value = b"for=192.0.2.1," + b"for=10.0.0.1," * 1000 + b"for=10.0.0.1"
    scope: Scope = {"type": "http", "headers": [(b"forwarded", value)]}
    trusted.apply(scope)
    assert scope["client"] == ("192.0.2.1", 0)
    assert trusted._facts_of.cache_info().currsize == 0


# Which headers count


EVERY = (
    ("forwarded", b"for=192.0.2.1;proto=https;host=a"),
    ("x-forwarded-for", b"192.0.2.2"),
    ("x-forwarded-proto", b"https"),
    ("x-forwarded-host", b"b"),
    ("x-forwarded-port", b"81"),
    ("x-forwarded-prefix", b"/p"),
)


@pytest.mark.parametrize(
    ("headers", "changed"),
    [
        ("x-forwarded-for,x-forwarded-proto", {"client": ("192.0.2.2", 0), "scheme": "https"}),
        ("x-forwarded-for", {"client": ("192.0.2.2", 0)}),
        ("x-forwarded-proto", {"scheme": "https"}),
        ("forwarded", {"client": ("192.0.2.1", 0), "scheme": "https", "host": b"a"}),
        ("x-forwarded-host", {"host": b"b"}),
        ("x-forwarded-port", {"host": b"inside:81"}),
        ("x-forwarded-prefix", {"root_path": "/p", "path": "/p/a b", "raw_path": b"/p/a%20b"}),
        ("forwarded,x-forwarded-port", {"client": ("192.0.2.1", 0), "scheme": "https", "host": b"a:81"}),
    ],
)
def test_only_what_is_named_counts(headers: str, changed: dict[str, Any]) -> None:
    def seen(scope: Scope) -> dict[str, Any]:
        return {**scope, "headers": None, "host": dict(scope["headers"])[b"host"]}

    plain = seen(applied())
    assert seen(applied(*EVERY, headers=headers)) == plain | changed


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="'x-real-ip' is no forwarding header"):
        TrustedProxies("*", headers="x-forwarded-for, X-Real-IP")


# Host and port


@pytest.mark.parametrize(
    ("host", "port", "tls", "field"),
    [
        (b"example.com", None, False, b"example.com"),
        (b"example.com:8443", None, True, b"example.com:8443"),
        (b"[2001:db8::1]:8443", None, True, b"[2001:db8::1]:8443"),
        (b"example.com", b"8443", True, b"example.com:8443"),
        (b"example.com:80", b"8443", True, b"example.com:8443"),
        (b"example.com:80", b"443", True, b"example.com"),
        (b"example.com", b"80", False, b"example.com"),
        (b"example.com", b"80", True, b"example.com:80"),
        (b"[::1]", b"0081", False, b"[::1]:81"),
        *((host, None, False, None) for host in (b"", b"a b", b"a/b", b"u@a", b"a:", b"a:0", b"a:65536", b"a\r\nb")),
        *((host, None, False, None) for host in (b"a,b", b"a\xe9", b"[a", b"a?b", b"a#b", b"a\\b", b"::1")),
        *((b"a", port, False, None) for port in (b"", b"0", b"65536", b"-1", b"8_0", b"80 ", "٨".encode(), b"1" * 99)),
    ],
)  # fmt: skip
def test_authority(host: bytes, port: bytes | None, tls: bool, field: bytes | None) -> None:
    assert authority(host, port, tls=tls) == field


def test_the_host_field_is_replaced_and_the_server_s_own_list_is_not_touched() -> None:
    headers = [(b"host", b"inside"), (b"x-forwarded-host", b"far, near")]
    scope: Scope = {**applied(headers="x-forwarded-host"), "headers": headers}
    TrustedProxies("*", headers="x-forwarded-host").apply(scope)
    assert scope["headers"] == [(b"host", b"near"), (b"x-forwarded-host", b"far, near")]
    assert headers[0] == (b"host", b"inside")
    # HTTP/1.0 needs no Host.
    scope = {"type": "http", "scheme": "http", "headers": [(b"x-forwarded-port", b"81")]}
    TrustedProxies("*", headers="x-forwarded-port").apply(scope)
    assert scope["headers"] == [(b"x-forwarded-port", b"81")]


def test_the_port_is_left_out_where_it_is_that_of_the_scheme_that_was_forwarded() -> None:
    scope = applied(("x-forwarded-port", b"443"), ("x-forwarded-proto", b"https"))
    assert dict(scope["headers"])[b"host"] == b"inside"
    scope = applied(
        ("x-forwarded-port", b"443"), ("x-forwarded-proto", b"wss"), type="websocket", scheme="ws"
    )
    assert dict(scope["headers"])[b"host"] == b"inside"


# Prefix


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (b"/api", b"/api"),
        (b"/api/", b"/api"),
        (b"/a/b-c_d.e~f", b"/a/b-c_d.e~f"),
        *((value, None) for value in (b"", b"/", b"api", b"//evil.com", b"/a//b", b"/a/../b", b"/..", b"/./a")),
        *((value, None) for value in (b"/a?b", b"/a#b", b"/a b", b"/a\r\nb", b"/%2e", b"/\\evil", b"/\xe9", b"https://a")),
    ],
)  # fmt: skip
def test_prefix(value: bytes, path: bytes | None) -> None:
    assert prefix(value) == path


def test_the_prefix_comes_before_the_root_path() -> None:
    scope = applied(
        ("x-forwarded-prefix", b"/far, /near/"), root_path="/root", path="/root/a", raw_path=b"/root/a"
    )
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (
        "/near/root",
        "/near/root/a",
        b"/near/root/a",
    )
    scope = applied(("x-forwarded-prefix", b"/p"), raw_path=None)
    assert (scope["path"], scope["raw_path"]) == ("/p/a b", None)


# Hops


@pytest.mark.parametrize(
    ("spec", "hops", "client"),
    [
        ("*", None, "6.6.6.6"),
        ("*", 1, "10.0.0.2"),
        ("*", 2, "192.0.2.1"),
        ("*", 9, "6.6.6.6"),
        # The limit is one; it does not make a stranger a proxy.
        ("10.0.0.0/8", 1, "10.0.0.2"),
        ("10.0.0.0/8", 2, "192.0.2.1"),
        ("10.0.0.0/8", 9, "192.0.2.1"),
    ],
)
def test_hops(spec: str, hops: int | None, client: str) -> None:
    scope = applied(("x-forwarded-for", b"6.6.6.6, 192.0.2.1, 10.0.0.2"), spec=spec, hops=hops)
    assert scope["client"] == (client, 0)
    value = b"for=6.6.6.6;proto=https, for=192.0.2.1, for=10.0.0.2"
    seen = facts(value, spec=spec, hops=hops)
    assert seen[:2] == ((client, 0), "https" if client == "6.6.6.6" else "http")


@given(st.lists(st.tuples(st.sampled_from(EVERY), st.binary(max_size=40)), max_size=6))
def test_any_bytes_leave_a_scope_that_can_be_used(fields: list[tuple[tuple[str, bytes], bytes]]) -> None:
    for headers in (ALL_X, "forwarded,x-forwarded-port,x-forwarded-prefix"):
        scope = applied(*((name, value) for (name, _), value in fields), spec="*", headers=headers)
        assert scope["scheme"] in ("http", "https")
        assert set(scope["client"][0]) <= set("0123456789abcdefABCDEF:.")
        assert dict(scope["headers"])[b"host"].decode("ascii").isprintable()
        assert scope["path"] == scope["root_path"] + "/a b"
        assert scope["root_path"].isprintable()
        assert not scope["root_path"].startswith("//")
