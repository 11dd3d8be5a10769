"""The shipped stack with PROCESS_MANAGER=gunicorn: the same promises, kept by another process manager."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Built, shown_on_failure
from tests.integration.stack import Stack, docker, new_name, project
from tests.integration.test_hardening import OWNERS
from tests.integration.test_logs import SHARED, line_of
from tests.integration.test_stop import Load
from tests.support.waiting import until

WORKERS = 2


@pytest.fixture(scope="module")
def gunicorn(images: Built, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A stack of its own, beside the one of the other tests."""
    settings = {**images.variables, "PROCESS_MANAGER": "gunicorn", "PRONGHORN_WORKERS": str(WORKERS)}
    with project(new_name(), settings, build=True) as stack, shown_on_failure(pytestconfig, stack):
        yield stack


@pytest.fixture
def whole_again(gunicorn: Stack) -> Iterator[None]:
    yield
    gunicorn.up()


def count(stack: Stack, text: str) -> int:
    """How many messages of the application's log have this in them."""
    return sum(text in record["message"] for record in stack.log_records("app"))


def answers(stack: Stack, path: str) -> Iterator[Any]:
    """What is said at this path, over and over, by whoever is asked: several at a time, so that it is not always the same one."""
    with stack.client() as client, ThreadPoolExecutor(8) as threads:
        for _ in range(200):
            yield from threads.map(lambda _: client.get(path).json(), range(16))


def pids(stack: Stack) -> set[int]:
    """The processes that answer."""
    found: set[int] = set()
    for told in answers(stack, "/process"):
        found.add(told["pid"])
        if len(found) == WORKERS:
            break
    return found


def test_it_is_gunicorn_and_it_answers(gunicorn: Stack) -> None:
    with gunicorn.client() as client:
        told = client.get("/process").json()

    assert (told["uid"], told["gid"]) == (10001, 10000)
    assert count(gunicorn, "Using worker: pronghorn.workers.PronghornWorker") == 1
    assert count(gunicorn, "Booting worker with pid") >= WORKERS
    assert gunicorn.inspect("app")["State"]["Health"]["Status"] == "healthy"


def test_one_id_joins_its_lines_with_those_of_nginx(gunicorn: Stack) -> None:
    with gunicorn.client() as client:
        answer = client.post("/upload?a=1", content=b"x" * 1000)
    outer, inner = (line_of(gunicorn, name, answer.headers["x-request-id"]) for name in ("nginx", "app"))

    assert inner.keys() >= SHARED
    same = ("method", "path", "query", "status", "bytes_in", "bytes_out", "level")
    assert {name: outer[name] for name in same} == {name: inner[name] for name in same}
    assert outer["client"] == inner["client"].rpartition(":")[0] or outer["client"] == inner["client"]


def test_every_line_is_json(gunicorn: Stack) -> None:
    assert [line for line in gunicorn.log("app") if not isinstance(json.loads(line), dict)] == []


def test_it_is_as_confined(gunicorn: Stack) -> None:
    writable = "for folder in / /app /opt /etc /usr /var; do touch $folder/probe 2>/dev/null && echo $folder; done; true"

    assert gunicorn.execute("app", "sh", "-c", OWNERS).split() == ["10001:10000"]
    assert gunicorn.execute("app", "sh", "-c", writable) == ""
    socket = gunicorn.execute("app", "stat", "-c", "%a %u:%g %F", "/run/pronghorn/blue.sock")
    assert socket.strip() == "660 10001:10000 socket"


@pytest.mark.usefixtures("whole_again")
def test_hup_replaces_every_worker_and_loses_nothing(gunicorn: Stack) -> None:
    before, ended = pids(gunicorn), count(gunicorn, "has ended")
    with Load(gunicorn.url) as load:
        load.wait_for(100)
        docker("kill", "--signal", "HUP", gunicorn.container("app"))
        until(lambda: count(gunicorn, "has ended") >= ended + WORKERS, "both are told of")
        load.wait_for(100)

    assert load.broken == []
    assert set(load.statuses) == {200}
    assert len(before) == WORKERS
    assert not before & pids(gunicorn)


@pytest.mark.usefixtures("whole_again")
def test_a_worker_that_is_killed_is_replaced(gunicorn: Stack) -> None:
    booted, victim = count(gunicorn, "Pronghorn running on"), min(pids(gunicorn))
    gunicorn.execute("app", "sh", "-c", f"kill -KILL {victim}")
    until(lambda: count(gunicorn, "Pronghorn running on") > booted, "another one")

    assert count(gunicorn, f"Worker (pid:{victim}) was sent SIGKILL") == 1
    assert victim not in pids(gunicorn)


@pytest.mark.usefixtures("whole_again")
def test_requests_in_flight_finish_when_it_is_stopped(gunicorn: Stack) -> None:
    with gunicorn.client() as client, ThreadPoolExecutor(20) as threads:
        slow = [threads.submit(client.get, f"/slow?seconds=6&number={number}") for number in range(20)]
        wait_until_in_flight(gunicorn, 20)
        gunicorn.run("stop", "app")
        finished: list[httpx.Response] = [request.result() for request in slow]

    assert [answer.status_code for answer in finished] == [200] * 20
    assert sorted(int(answer.json()) for answer in finished) == list(range(20))
    # Gunicorn ends with 0 once its workers have; 137 would be the engine's patience at its end.
    assert gunicorn.inspect("app")["State"]["ExitCode"] == 0


def wait_until_in_flight(stack: Stack, number: int) -> None:
    """Until the workers, each of which knows its own, have begun to serve so many requests; nginx waits 10 s for them here."""
    seen: set[str] = set()
    for numbers in answers(stack, "/sleeping"):
        seen |= set(numbers)
        if len(seen) == number:
            return
    raise AssertionError(f"{number} requests never were in flight at the same time")
