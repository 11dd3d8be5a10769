"""grpcio against `examples/grpc`: each shape of a call, and each way for it to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme

from tests.conformance.h2_clients.kit import ROOT, body
from tests.support.process import PATIENCE, ServerProcess, serving

SERVICE = "tests.conformance.h2_clients.service:app"
FLAGS = ("--app-dir", str(ROOT), "--http2")
TLS = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("grpc"), SERVICE, *FLAGS) as server:
        yield server


@pytest.fixture(scope="module")
def channel(served: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        yield channel


def method(channel: grpc.Channel, name: str, shape: str = "unary_unary") -> Any:
    """A method of the example's service; messages are bytes on both sides."""
    return getattr(channel, shape)(f"/pronghorn.Demo/{name}")


def failure(call: Any, *arguments: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    """How a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=PATIENCE, **options)
    return caught.value.code(), caught.value.details()


def test_unary(channel: grpc.Channel) -> None:
    answer, call = method(channel, "Echo").with_call(b"hello", timeout=PATIENCE)
    assert answer == b"hello"
    assert call.code() is grpc.StatusCode.OK


def test_server_streaming(channel: grpc.Channel) -> None:
    answers = method(channel, "Countdown", "unary_stream")(b"1000", timeout=PATIENCE)
    assert [int(answer) for answer in answers] == list(range(1000, 0, -1))
    assert answers.code() is grpc.StatusCode.OK


def test_client_streaming(channel: grpc.Channel) -> None:
    words = [b"%d" % number for number in range(1000)]
    assert method(channel, "Join", "stream_unary")(iter(words), timeout=PATIENCE) == b" ".join(words)


def test_streams_both_ways_are_a_dialogue(channel: grpc.Channel) -> None:
    """The next message is sent when the answer to the last one is there."""
    turn = threading.Semaphore(1)

    def words() -> Iterator[bytes]:
        for word in (b"one", b"two", b"three"):
            assert turn.acquire(timeout=PATIENCE)
            yield word

    heard = []
    for answer in method(channel, "Shout", "stream_stream")(words(), timeout=PATIENCE):
        heard.append(answer)
        turn.release()
    assert heard == [b"ONE", b"TWO", b"THREE"]


def test_many_calls_at_once(channel: grpc.Channel) -> None:
    calls = [method(channel, "Echo").future(b"%d" % number, timeout=PATIENCE) for number in range(200)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(200)]


def test_a_message_as_large_as_may_be(channel: grpc.Channel) -> None:
    large = body(4 * 1024 * 1024)
    assert method(channel, "Echo")(large, timeout=PATIENCE) == large


def test_a_larger_message_is_refused_before_it_has_come(channel: grpc.Channel) -> None:
    code, details = failure(method(channel, "Echo"), bytes(4 * 1024 * 1024 + 1))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "4194304 is the most" in details


def test_an_error_after_a_message_is_in_the_trailers(channel: grpc.Channel) -> None:
    answers = method(channel, "GiveUp", "unary_stream")(b"good", timeout=PATIENCE)
    assert next(answers) == b"good"
    with pytest.raises(grpc.RpcError):
        next(answers)
    assert (answers.code(), answers.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")


def test_an_error_before_any_message_is_in_the_head(channel: grpc.Channel) -> None:
    told = failure(method(channel, "Refuse"), "höflich gefragt".encode())
    assert told == (grpc.StatusCode.FAILED_PRECONDITION, "not today: höflich gefragt")


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    code, details = failure(method(channel, "Nothing"), b"")
    assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, "there is no method /pronghorn.Demo/Nothing")


def test_a_compressed_message_is_refused(served: ServerProcess) -> None:
    gzip = grpc.Compression.Gzip
    with grpc.insecure_channel(f"127.0.0.1:{served.port}", compression=gzip) as channel:
        code, _ = failure(method(channel, "Echo"), bytes(10_000))
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_ends_the_call(channel: grpc.Channel, served: ServerProcess) -> None:
    call = method(channel, "Linger").future(b"until the deadline", timeout=3)
    # Behind the deadline the client takes the call back; where that is in the read that it came in, no method ever runs.
    served.stdout.wait_for("app: lingers: until the deadline")
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    served.stdout.wait_for("app: had enough: until the deadline")


def test_a_call_that_is_cancelled_ends_the_method(channel: grpc.Channel, served: ServerProcess) -> None:
    call = method(channel, "Linger").future(b"until cancelled")
    served.stdout.wait_for("app: lingers: until cancelled")
    call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED
    served.stdout.wait_for("app: had enough: until cancelled")
    # Its connection is as good as ever.
    assert method(channel, "Echo")(b"still here", timeout=PATIENCE) == b"still here"


def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with (
        serving(tmp_path, SERVICE, *FLAGS, *TLS) as server,
        grpc.secure_channel(f"localhost:{server.port}", credentials) as channel,
    ):
        assert method(channel, "Echo")(b"hello", timeout=PATIENCE) == b"hello"


def test_who_does_not_speak_grpc_is_told(served: ServerProcess) -> None:
    with httpx.Client(http1=False, http2=True, trust_env=False) as client:
        response = client.get(f"http://127.0.0.1:{served.port}/pronghorn.Demo/Echo")
    assert (response.status_code, response.text) == (415, "gRPC only\n")
