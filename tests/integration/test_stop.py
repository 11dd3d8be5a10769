"""Stopping, and what it costs the clients: nothing that had begun."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpx
import pytest

from tests.integration.conftest import Built
from tests.integration.stack import Stack, new_name, project
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("whole_again")


class Load:
    """Constant requests from several threads, over kept and over fresh connections, until told to stop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: list[int] = []
        self.broken: list[str] = []
        self._answered = threading.Condition()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(kept,)) for kept in (True, True, False, False)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def wait_for(self, answers: int) -> None:
        """Returns after so many more answers."""
        with self._answered:
            goal = len(self.statuses) + answers
            assert self._answered.wait_for(lambda: len(self.statuses) >= goal or self.broken, timeout=60)

    def _run(self, kept: bool) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.get(
                        "/download?size=100000", headers={} if kept else {"Connection": "close"}
                    )
                except httpx.HTTPError as error:
                    self._count(broken=repr(error))
                else:
                    whole = answer.status_code != 200 or len(answer.content) == 100000
                    self._count(status=answer.status_code if whole else 0)

    def _count(self, *, status: int | None = None, broken: str | None = None) -> None:
        with self._answered:
            self.statuses += [] if status is None else [status]
            self.broken += [] if broken is None else [broken]
            self._answered.notify_all()


def test_requests_in_flight_finish_when_the_application_is_stopped(stack: Stack) -> None:
    with stack.client() as client, ThreadPoolExecutor(20) as threads:
        slow = [threads.submit(client.get, f"/slow?seconds=5&number={number}") for number in range(20)]
        wait_until_in_flight(client, 20)
        stack.run("stop", "app")
        answers = [request.result() for request in slow]

    assert [answer.status_code for answer in answers] == [200] * 20
    assert sorted(int(answer.json()) for answer in answers) == list(range(20))
    # Ended by the signal it was sent, once drained (143), not killed after the grace period (137).
    assert stack.inspect("app")["State"]["ExitCode"] == 143


def wait_until_in_flight(client: httpx.Client, number: int) -> None:
    """Until the application has begun to serve so many requests."""
    until(
        lambda: len(client.get("/sleeping").json()) == number, f"{number} requests in flight at the same time"
    )


def test_load_meets_whole_answers_or_a_502_while_the_application_restarts(stack: Stack) -> None:
    """With one server there is a gap, and nginx answers in it; but no answer is cut off, and no connection breaks."""
    with Load(stack.url) as load:
        load.wait_for(200)
        stack.run("restart", "app")
        stack.up()
        restarted = len(load.statuses)
        load.wait_for(200)

    assert load.broken == []
    assert set(load.statuses) <= {200, 502}
    assert set(load.statuses[:200]) == {200}
    # The gap is over: but for what was under way, all that came after the restart was answered by the application.
    assert set(load.statuses[restarted + 8 :]) == {200}


def test_nginx_finishes_what_it_serves_when_it_is_stopped(stack: Stack) -> None:
    """QUIT, not TERM: a download that has begun is delivered to its last byte."""
    size = 3_000_000
    with stack.client() as client, client.stream("GET", f"/download?size={size}&pause=0.04") as answer:
        pieces = answer.iter_raw()
        received = len(next(pieces))
        stopping = stack.spawn("stop", "nginx")
        received += sum(len(piece) for piece in pieces)
        stopping.wait(timeout=60)

    assert received == size
    assert stack.inspect("nginx")["State"]["ExitCode"] == 0


def test_down_leaves_nothing(stack: Stack, images: Built) -> None:
    """A second stack beside the first: both run, one goes, and nothing of it is left."""
    with project(new_name(), images.variables, build=False) as second:
        with second.client() as client:
            assert client.get("/process").status_code == 200
        assert all(second.left_over().values())
    assert second.left_over() == {"containers": [], "volumes": [], "networks": []}
    with stack.client() as client:
        assert client.get("/process").status_code == 200
