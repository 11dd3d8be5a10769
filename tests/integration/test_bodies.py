"""Ten megabytes each way arrive whole."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.stack import Stack

MEGABYTE = 1024 * 1024
SIZE = 10 * MEGABYTE
BLOCK = 64 * 1024


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(20).randbytes(SIZE)


def test_an_upload_arrives_whole(client: httpx.Client, content: bytes) -> None:
    told = client.post("/upload", content=content).json()

    assert told == {"length": SIZE, "sha256": hashlib.sha256(content).hexdigest()}


def test_a_chunked_upload_arrives_whole(client: httpx.Client, content: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for begin in range(0, SIZE, 100_003):
            yield content[begin : begin + 100_003]

    told = client.post("/upload", content=pieces()).json()

    assert told == {"length": SIZE, "sha256": hashlib.sha256(content).hexdigest()}


def test_a_download_arrives_whole(client: httpx.Client) -> None:
    expected = b"".join(bytes([number % 251]) * BLOCK for number in range(SIZE // BLOCK))

    answer = client.get(f"/download?size={SIZE}")

    assert int(answer.headers["content-length"]) == SIZE
    assert hashlib.sha256(answer.content).hexdigest() == hashlib.sha256(expected).hexdigest()


def test_a_body_over_the_limit_never_reaches_the_application(stack: Stack) -> None:
    """The length alone decides: nothing of the body is sent."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (65 * MEGABYTE)
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
