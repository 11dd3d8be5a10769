"""`Upgrade: h2c`: an HTTP/1.1 request in clear text that asks for HTTP/2, and is answered in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.h2_clients.curl import Curl
from tests.conformance.h2_clients.kit import Origin, body, described, ensured, run, scope_in
from tests.conformance.h2_clients.nghttp import frames


@pytest.fixture
def curl(clear: Origin, tmp_path: Path) -> Curl:
    return Curl(clear, tmp_path, "--http2")


def test_the_request_is_the_first_stream(curl: Curl) -> None:
    answer = curl("/scope?q=1", "--header", "X-Mine: yes")
    assert (answer.version, answer.status) == ("2", 200)
    assert [status for status, _ in answer.informational] == [101]
    scope = scope_in(answer.body)
    assert (scope["http_version"], scope["query_string"]) == ("2", b"q=1")
    assert ("x-mine", "yes") in scope["headers"]
    assert not {"upgrade", "connection", "http2-settings"} & {name for name, _ in scope["headers"]}


def test_the_next_request_goes_the_same_way(curl: Curl) -> None:
    printed = curl.plain("--write-out", "%{http_version} %{num_connects} ", curl.url("/"), curl.url("/"))
    assert printed == b"hello2 1 hello2 0 "


def test_a_body_is_kept(curl: Curl) -> None:
    answer = curl("/describe", "--data-binary", "@-", data=body(100_000))
    assert answer.body == described(body(100_000))


def test_a_large_answer_is_whole(clear: Origin) -> None:
    """With nghttp: curl 7.88 gives up on more than 32 KiB that come at once with the 101."""
    nghttp = ensured("nghttp", "nghttp2-client")
    assert run(nghttp, "--upgrade", f"{clear.url}/file?large") == body()


@pytest.mark.parametrize("upload", [False, True])
def test_an_upgrade_is_taken(clear: Origin, upload: bool) -> None:
    (clear.folder / "upload").write_bytes(body(50_000))
    options = [f"--data={clear.folder}/upload"] if upload else []
    told = frames(
        run(ensured("nghttp", "nghttp2-client"), "--upgrade", "--verbose", *options, f"{clear.url}/describe")
    )
    assert "HTTP Upgrade success" in told
    assert described(body(50_000) if upload else b"").decode() in told
