"""More requests than the application may have at the same time: the excess is refused by nginx, and the rest is served as ever.

The limit makes the capacity: so many requests of a tenth of a second each, whatever the machine.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count

import httpx
import pytest

from loadtest.overload import Limits, overload
from loadtest.stacks import target_of
from tests.integration.conftest import Built, shown_on_failure
from tests.integration.sockets import connect
from tests.integration.stack import Stack, new_name, project
from tests.support.waiting import until

REQUESTS = 16
SECONDS = 0.1
#: A download that takes two minutes, and is never silent for long.
SLOW = {"size": 240 * 65536, "pause": 0.5}
ADDRESSES = (f"203.0.113.{number}" for number in count(1))


@pytest.fixture(scope="module")
def small(images: Built, stack: Stack, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """`stack` is what built the images. The test itself is the trusted proxy, so that it can be many clients."""
    settings = {
        "APP_REQUESTS": str(REQUESTS),
        "CONNECTION_LIMIT": "1000",
        "HTTP3": "off",
        "TRUSTED_PROXIES": "172.16.0.0/12,192.168.0.0/16,10.0.0.0/8",
    }
    with (
        project(new_name(), {**images.variables, **settings}, build=False) as second,
        shown_on_failure(pytestconfig, second),
    ):
        yield second


@pytest.fixture
def client(small: Stack) -> Iterator[httpx.Client]:
    with small.client() as client:
        yield client


def somebody() -> dict[str, str]:
    """The header of a client that nobody else is."""
    return {"X-Forwarded-For": next(ADDRESSES)}


@contextmanager
def full(stack: Stack) -> Iterator[list[Future[int]]]:
    """While all places at the application are taken, by downloads that take two minutes unless it is over before."""
    over = threading.Event()

    def hold() -> int:
        with (
            stack.client() as client,
            client.stream("GET", "/download", params=SLOW, headers=somebody()) as answer,
        ):
            for _ in answer.iter_raw():
                if over.is_set():
                    break
            return answer.status_code

    def held() -> bool:
        # Past nginx, where there is no place to ask from.
        script = (
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/workers').read().decode())"
        )
        told = json.loads(stack.execute("app", "python3", "-c", script))
        return sum(int(one["in_flight"]) for one in told["workers"]) >= REQUESTS

    with ThreadPoolExecutor(REQUESTS) as threads:
        statuses = [threads.submit(hold) for _ in range(REQUESTS)]
        try:
            until(held, "all places taken")
            yield statuses
        finally:
            over.set()


def test_the_excess_is_refused_and_told_when_to_come_again(small: Stack, client: httpx.Client) -> None:
    with full(small) as held:
        refused = client.get("/scope", headers=somebody())
        page = client.post("/upload", content=b"x", headers={**somebody(), "Accept": "text/html"})
        event = {**somebody(), "Accept": "text/event-stream"}
        with client.stream("GET", "/events", headers=event) as events:
            first = next(events.iter_text())

        async def message() -> str | bytes:
            async with connect(f"ws://127.0.0.1:{small.port}/echo") as socket:
                await socket.send("still there")
                return await socket.recv()

        echoed = asyncio.run(message())

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"] == "service unavailable"
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert "x-content-type-options" in refused.headers
    assert (page.status_code, page.headers["retry-after"]) == (503, "1")
    assert page.headers["content-type"].startswith("text/html")
    # What waits for news takes no place, and finds one.
    assert first == "data: more\n\n"
    assert echoed == "still there"
    # Those who were there were served, and so is whoever comes once they are gone.
    assert [status.result() for status in held] == [200] * REQUESTS
    until(lambda: client.get("/scope", headers=somebody()).status_code == 200, "a place is free")
    # One line for a refusal and not two.
    name = refused.headers["x-request-id"]
    assert [line for line in small.log("nginx") if "no live upstreams" in line and "GET /scope" in line]
    assert name not in {record.get("request_id") for record in small.log_records("nginx")}


def test_one_client_takes_no_more_than_half_of_them(client: httpx.Client) -> None:
    one = somebody()
    with ExitStack() as under_way:
        answers = [
            under_way.enter_context(client.stream("GET", "/download", params=SLOW, headers=one))
            for _ in range(REQUESTS)
        ]
        other = client.get("/scope", headers=somebody()).status_code

    assert other == 200
    assert [answer.status_code for answer in answers] == [200] * (REQUESTS // 2) + [429] * (REQUESTS // 2)


def test_an_application_that_is_gone_is_still_502(small: Stack, client: httpx.Client) -> None:
    small.run("stop", "--timeout", "10", "app")
    try:
        answer = client.get("/scope", headers=somebody())
    finally:
        small.up()

    assert answer.status_code == 502
    assert "retry-after" not in answer.headers
    assert answer.json()["error"] == "bad gateway"


def test_three_times_the_capacity_is_stood_and_forgotten(small: Stack) -> None:
    """What is timed here is told, and not asserted: another load on the machine is no defect of the stack."""
    target = target_of(small, (f"/slow?seconds={SECONDS}",))
    found = overload(target, REQUESTS / SECONDS, calm=3, seconds=5, limits=Limits(goodput=0.5))

    during = found.during
    assert during.failures == found.before.failures == found.after.failures == ()
    assert during.silent == 0
    # Each place was filled again and again, and what was more was refused.
    assert found.goodput >= found.limits.goodput
    assert during.refused > during.served
    assert during.served + during.refused == pytest.approx(during.offered)
    assert found.before.share > 0.5
    assert found.after.share > 0.5
