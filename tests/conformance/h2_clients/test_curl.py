"""curl: over TLS and by prior knowledge; what its user sees, and what the application does."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tests.conformance.h2_clients.curl import Answer, Curl
from tests.conformance.h2_clients.kit import SIZE, Origin, body, described, scope_in


def _body_after_head(answer: Answer) -> bytes:
    """With --head curl prints the head as if it were the body."""
    return answer.body.partition(b"\r\n\r\n")[2]


@pytest.fixture
def curl(origin: Origin, tmp_path: Path) -> Curl:
    return Curl(origin, tmp_path)


def test_an_answer_is_of_http_2(curl: Curl) -> None:
    answer = curl("/")
    assert (answer.version, answer.status, answer.body) == ("2", 200, b"hello")
    assert answer.fields["content-type"] == "text/plain"
    assert answer.fields["content-length"] == "5"
    assert {"date", "server"} <= answer.fields.keys()
    assert "connection" not in answer.fields


def test_the_scope_is_that_of_any_request(curl: Curl, origin: Origin) -> None:
    answer = curl("/scope?a=b%20c", "--header", "Cookie: a=1; b=2", "--header", "X-Mine: yes")
    scope = scope_in(answer.body)
    assert scope["http_version"] == "2"
    assert scope["scheme"] == ("https" if origin.tls else "http")
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("GET", "/scope", b"/scope")
    assert scope["query_string"] == b"a=b%20c"
    assert scope["headers"][0] == ("host", f"localhost:{origin.server.port}")
    assert ("cookie", "a=1; b=2") in scope["headers"]
    assert ("x-mine", "yes") in scope["headers"]
    assert not [name for name, _ in scope["headers"] if name.startswith(":") or name != name.lower()]
    assert "http.response.trailers" in scope["extensions"]
    assert ("tls" in scope["extensions"]) is origin.tls


def test_head_has_the_length_and_no_body(curl: Curl) -> None:
    answer = curl("/", "--head")
    assert (answer.status, answer.fields["content-length"]) == (200, "5")
    assert _body_after_head(answer) == b""


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_has_none(curl: Curl, status: int) -> None:
    answer = curl(f"/bodiless?{status}")
    assert (answer.status, answer.body) == (status, b"")


def test_an_upload_is_whole(curl: Curl) -> None:
    answer = curl("/describe", "--data-binary", "@-", data=body())
    assert answer.body == described(body())


def test_an_upload_without_a_length_is_whole(curl: Curl) -> None:
    answer = curl("/describe", "--upload-file", "-", data=body())
    assert answer.body == described(body())


def test_what_is_sent_back_while_it_comes_is_whole(curl: Curl) -> None:
    assert curl("/echo-pieces", "--data-binary", "@-", data=body()).body == body()


def test_a_download_is_whole(curl: Curl) -> None:
    answer = curl("/flood?32")
    assert answer.fields["content-length"] == str(32 * 1_048_576)
    assert len(answer.body) == 32 * 1_048_576
    assert answer.body.count(b"x") == 32 * 1_048_576


def test_a_download_in_pieces_has_no_length(curl: Curl) -> None:
    answer = curl("/pieces")
    assert answer.body == b"onetwothree"
    assert not {"content-length", "transfer-encoding"} & answer.fields.keys()


def test_files_are_sent(curl: Curl) -> None:
    whole = curl("/file?large")
    assert (whole.fields["content-length"], whole.body) == (str(SIZE), body())
    assert curl("/file?small").body == b"a small file"
    assert curl("/part?large").body == body()[1000:501_000]
    head = curl("/file?large", "--head")
    assert (head.fields["content-length"], _body_after_head(head)) == (str(SIZE), b"")


def test_trailers_are_shown(curl: Curl) -> None:
    answer = curl("/trailers", "--header", "TE: trailers")
    assert answer.body == b"summed up"
    assert answer.trailers == [("x-checksum", "17"), ("x-late", "17")]


def test_hints_come_before_the_answer(curl: Curl) -> None:
    answer = curl("/hints")
    assert answer.body == b"hinted"
    assert answer.informational == [
        (103, [("link", "</style.css>; rel=preload")]),
        (103, [("link", "</script.js>; rel=preload")]),
    ]


def test_many_requests_at_once_share_a_connection(tls: Origin, tmp_path: Path) -> None:
    """Each waits for all the others in the application. In clear text curl 7.88 loses all but the first, whoever serves them."""
    curl, number = Curl(tls, tmp_path), os.getpid()
    transfers = [
        ["--output", f"{tmp_path}/{index}", curl.url(f"/together?20&{number}")] for index in range(20)
    ]
    curl.plain("--parallel", "--parallel-max", "20", *itertools.chain(*transfers))
    assert len({(tmp_path / str(index)).read_bytes() for index in range(20)}) == 1


def test_http_1_1_is_spoken_on_the_same_port(origin: Origin, tmp_path: Path) -> None:
    answer = Curl(origin, tmp_path, "--http1.1")("/scope")
    assert (answer.version, scope_in(answer.body)["http_version"]) == ("1.1", "1.1")
