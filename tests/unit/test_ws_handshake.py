"""The opening handshake: what a client may ask for, what it gets, and what it is told otherwise (RFC 6455 §4, RFC 7692 §7)."""

import zlib

import pytest

from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import RequestHead
from pronghorn.wire.ws_deflate import (
    Deflate,
    Deflater,
    Inflater,
    MessageTooLargeError,
    negotiate,
    parse_extensions,
)
from pronghorn.wire.ws_handshake import Offer, Refusal, accept, check, wanted
from tests.conformance.kit import Recorded
from tests.support.scripted import PARSERS
from tests.support.ws import ACCEPT, KEY, handshake


def head(*fields: str, method: str = "GET", version: str = "1.1", parser: str = "httptools") -> RequestHead:
    inbound = Recorded()
    PARSERS[parser](inbound, RequestLimits()).feed(handshake("/", *fields, method=method, version=version))
    return inbound.heads[0]


def offer(*fields: str, origins: frozenset[bytes] | None = None, compress: bool = True) -> Offer:
    return check(head(*fields), origins=origins, compress=compress)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), True),
        (("Connection: keep-alive, Upgrade", "Upgrade: WebSocket"), True),
        (("Upgrade: h2c, websocket",), True),
        (("Upgrade: h2c",), False),
        (("Upgrade: websockets",), False),
        (("Connection: keep-alive",), False),
        (("Connection:",), False),
        (("Upgrade:",), False),
    ],
)
@pytest.mark.parametrize("parser", sorted(PARSERS))
def test_who_wants_a_websocket(fields: tuple[str, ...], expected: bool, parser: str) -> None:
    assert wanted(head(*fields, parser=parser)) is expected


def test_http_1_0_and_other_methods_have_no_handshake() -> None:
    assert not wanted(head(version="1.0"))
    assert not wanted(head(method="POST"))


def test_the_answer_of_the_rfc() -> None:
    assert accept(offer(), None, []) == (
        101,
        [(b"upgrade", b"websocket"), (b"sec-websocket-accept", ACCEPT.encode())],
        [],
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Sec-WebSocket-Key:",), 400),
        (("Sec-WebSocket-Key: ",), 400),
        ((f"Sec-WebSocket-Key: {KEY[:-4]}",), 400),
        ((f"Sec-WebSocket-Key: {KEY}AAAA",), 400),
        (("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==",), 400),
        ((f"X: y\r\nSec-WebSocket-Key: {KEY}",), 400),
        (("Content-Length: 3",), 400),
        (("Transfer-Encoding: chunked",), 400),
        (("Sec-WebSocket-Protocol: ,",), 400),
        (("Sec-WebSocket-Protocol: chat room",), 400),
        (("Sec-WebSocket-Extensions: ;",), 400),
        (("Sec-WebSocket-Extensions: x y",), 400),
        (("Sec-WebSocket-Version: 8",), 426),
        (("Sec-WebSocket-Version: 13, 8",), 426),
        (("Sec-WebSocket-Version:",), 426),
    ],
)
def test_what_is_refused(fields: tuple[str, ...], status: int) -> None:
    with pytest.raises(Refusal) as caught:
        offer(*fields)
    assert caught.value.status == status
    assert ((b"sec-websocket-version", b"13") in caught.value.fields) is (status == 426)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://example.com", True),
        ("HTTPS://EXAMPLE.com", True),
        (None, True),
        ("https://example.com.evil.example", False),
        ("http://example.com", False),
        ("https://example.com:444", False),
        ("null", False),
        ("", False),
    ],
)
def test_origins(origin: str | None, allowed: bool) -> None:
    fields = () if origin is None else (f"Origin: {origin}",)
    origins = frozenset((b"https://example.com", b"https://other.example"))
    if allowed:
        offer(*fields, origins=origins)
    else:
        with pytest.raises(Refusal) as caught:
            offer(*fields, origins=origins)
        assert caught.value.status == 403
    offer(*fields)  # none are named: any page may


def test_two_origins_are_none() -> None:
    with pytest.raises(Refusal):
        offer(
            "Origin: https://a.example",
            "Origin: https://a.example",
            origins=frozenset((b"https://a.example",)),
        )


def test_subprotocols_come_in_order() -> None:
    assert offer("Sec-WebSocket-Protocol: chat , superchat", "Sec-WebSocket-Protocol: x").subprotocols == [
        *("chat", "superchat", "x")
    ]
    assert offer().subprotocols == []


def test_fields_of_the_application_and_of_the_server() -> None:
    headers = [
        (b"Set-Cookie", b"a=b"),
        (b"Upgrade", b"h2c"),
        (b"Sec-WebSocket-Accept", b"forged"),
        (b"x", b"y"),
    ]
    _, own, others = accept(offer(), "chat", headers)
    assert others == [(b"Set-Cookie", b"a=b"), (b"x", b"y")]
    assert own[2:] == [(b"sec-websocket-protocol", b"chat")]
    _, own, others = accept(offer(), None, [(b"Sec-WebSocket-Protocol", b"graphql-ws")])
    assert (own[2:], others) == ([(b"sec-websocket-protocol", b"graphql-ws")], [])


def test_fields_may_be_lists_as_in_the_handbook() -> None:
    assert accept(offer(), None, [[b"x", b"y"]])[2] == [(b"x", b"y")]


def test_over_http_2_there_is_no_key() -> None:
    """An extended CONNECT (RFC 8441): the same fields but the key, and 200."""
    request = RequestHead()
    request.method, request.http_version = "CONNECT", "2"
    request.headers = [(b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"chat")]
    answer = check(request, origins=None, compress=True)
    assert accept(answer, "chat", []) == (200, [(b"sec-websocket-protocol", b"chat")], [])


# Compression.


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        ("PerMessage-Deflate", "permessage-deflate; server_max_window_bits=12"),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=12; server_max_window_bits=12",
        ),
        (
            'permessage-deflate; client_max_window_bits="10"; server_max_window_bits=9',
            "permessage-deflate; client_max_window_bits=10; server_max_window_bits=9",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
        ),
        # What cannot be accepted is passed over.
        ("permessage-deflate; server_max_window_bits=8", ""),
        ("permessage-deflate; server_max_window_bits", ""),
        ("permessage-deflate; server_max_window_bits=16", ""),
        ("permessage-deflate; server_max_window_bits=010", ""),
        ("permessage-deflate; client_max_window_bits=7", ""),
        ("permessage-deflate; unknown", ""),
        ("permessage-deflate; server_no_context_takeover=1", ""),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", ""),
        ("x-webkit-deflate-frame", ""),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate; server_max_window_bits=12",
        ),
        ("foo; bar=1, , permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
    ],
)
def test_negotiation(value: str, answer: str) -> None:
    found = offer(f"Sec-WebSocket-Extensions: {value}")
    assert found.extensions.decode() == answer
    assert (found.deflate is not None) is bool(answer)
    assert offer(f"Sec-WebSocket-Extensions: {value}", compress=False).extensions == b""


def test_an_answer_is_accepted_by_what_offers() -> None:
    """The library that the tests of others use has the last word on whether our answer is one."""
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    from websockets.headers import parse_extension

    factory = ClientPerMessageDeflateFactory(client_max_window_bits=True)
    found = offer("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    ((name, parameters),) = parse_extension(found.extensions.decode())
    agreed = factory.process_response_params(parameters, [])
    assert (name, agreed.local_max_window_bits, agreed.remote_max_window_bits) == (
        "permessage-deflate",
        12,
        12,
    )


@pytest.mark.parametrize("value", [b"a;", b"a; =", b"a; b=", b'a; b="c', b'a; b=""', b"a b", b"=", b"a,;"])
def test_malformed_extensions(value: bytes) -> None:
    with pytest.raises(ValueError, match="extension"):
        parse_extensions(value)


def test_extensions_are_read_in_linear_time() -> None:
    assert len(parse_extensions(b"a;b=c, " * 9000)) == 9000
    with pytest.raises(ValueError, match="extension"):
        parse_extensions(b"a" + b" " * 60_000 + b"!" + b";" * 60_000)


def test_what_is_deflated_is_inflated_again() -> None:
    agreed = negotiate([(b"client_max_window_bits", None)])
    assert agreed is not None
    deflater, inflater = Deflater(agreed[0]), Inflater(agreed[0])
    for message in (b"", b"one", b"one" * 1000, bytes(range(256)) * 40):
        data = deflater.message(message)
        content = b"".join(inflater.piece(data[at : at + 100], 20_000) for at in range(0, len(data), 100))
        assert content + inflater.end(20_000) == message


def test_room_is_for_content_not_for_what_carries_it() -> None:
    data = Deflater(Deflate()).message(b"x" * 100)
    assert Inflater(Deflate()).piece(data, 100) == b"x" * 100
    with pytest.raises(MessageTooLargeError):
        Inflater(Deflate()).piece(data, 99)


def test_a_message_has_one_last_block() -> None:
    """Each makes a new stream, which is dearer than the two bytes that ask for it."""
    last = b"\x03\x00"
    assert Inflater(Deflate()).piece(last, 100) == b""
    with pytest.raises(zlib.error, match="more than one"):
        Inflater(Deflate()).piece(last * 1000, 100)
