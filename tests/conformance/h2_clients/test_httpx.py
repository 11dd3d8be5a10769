"""httpx, which stands on the same library as the server does, on the other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conformance.h2_clients.kit import SIZE, Origin, body, described, scope_in
from tests.support.process import PATIENCE


@pytest.fixture
async def client(origin: Origin) -> AsyncIterator[httpx.AsyncClient]:
    """On one connection. In clear text it speaks HTTP/2 if it is not let speak anything else."""
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(
        base_url=origin.url,
        http1=origin.tls,
        http2=True,
        verify=origin.trust,
        limits=limits,
        timeout=PATIENCE,
        trust_env=False,
    ) as client:
        yield client


async def test_an_answer_is_of_http_2(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert (response.http_version, response.status_code, response.text) == ("HTTP/2", 200, "hello")


async def test_fifty_requests_are_there_at_the_same_time(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(*(client.get("/together?50&httpx") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert len({response.text for response in responses}) == 1


async def test_uploads_are_whole(client: httpx.AsyncClient) -> None:
    """One at a time: httpcore waits for ever for a window of one stream that came while another one was reading."""
    large = body()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, SIZE, 70_000):
            yield large[start : start + 70_000]

    assert (await client.post("/describe", content=large)).content == described(large)
    assert (await client.post("/describe", content=pieces())).content == described(large)


async def test_downloads_go_side_by_side(client: httpx.AsyncClient) -> None:
    whole, part, again = await asyncio.gather(*map(client.get, ("/file?large", "/part?large", "/file?large")))
    assert whole.content == again.content == body()
    assert part.content == body()[1000:501_000]


async def test_who_reads_nothing_does_not_hold_up_others(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/flood?16") as unread:
        for _ in range(20):
            assert (await client.get("/")).text == "hello"
        assert unread.status_code == 200
        assert len(await unread.aread()) == 16 * 1_048_576


async def test_cookies_are_one_header(client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        client.cookies.set(name, name)
    scope = scope_in((await client.get("/scope")).content)
    assert [value for name, value in scope["headers"] if name == "cookie"] == ["a=a; b=b; c=c"]
