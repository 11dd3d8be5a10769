"""The open-loop generator, against a peer that answers as it is told to: what it sends, when, and what it counts."""

from __future__ import annotations

import itertools
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loadtest.figures import Figures, remarks, row, verdicts
from loadtest.figures import Verdict as Said
from loadtest.openloop import (
    BROKEN,
    GAVE_UP,
    REFUSED,
    Phase,
    Result,
    Target,
    arrivals,
    drive,
    quantile,
    served,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
SILENT = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"

Answer = Callable[[bytes], bytes | None]


class Peer(socketserver.ThreadingTCPServer):
    """Answers each request with what `answer` makes of it; None ends the connection, and an empty answer is none."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.connections = 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def target(self) -> Target:
        return Target("127.0.0.1", self.server_address[1])


class Handler(socketserver.StreamRequestHandler):
    server: Peer

    def handle(self) -> None:
        self.server.connections += 1
        head = b""
        while line := self.rfile.readline():
            head += line
            if line != b"\r\n":
                continue
            self.server.heads.append(head)
            answer, head = self.server.answer(head), b""
            if answer is None:
                return
            # In two pieces, so that none of them is a whole answer by luck.
            self.wfile.write(answer[:20])
            self.wfile.write(answer[20:])
            if answer == CLOSING:
                return


@contextmanager
def peer(answer: Answer) -> Iterator[Peer]:
    with Peer(answer) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            found.shutdown()
            thread.join()


# ---- What is sent ---------------------------------------------------------------------------------------------------


def test_arrivals_are_those_of_each_phase() -> None:
    due = list(arrivals([Phase(100, 50), Phase(0, 10), Phase(400, 50)], seed=1))

    assert due == sorted(due)
    assert len([moment for moment in due if moment < 50]) == pytest.approx(5000, rel=0.05)
    assert not [moment for moment in due if 50 <= moment < 60]
    assert len([moment for moment in due if moment >= 60]) == pytest.approx(20_000, rel=0.05)
    # Nobody waits for anybody: gaps are those of chance, and not all alike.
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(due) if later < 50)
    assert gaps[len(gaps) // 10] < 0.002
    assert gaps[-len(gaps) // 10] > 0.02


def test_the_same_seed_is_the_same_crowd() -> None:
    assert list(arrivals([Phase(100, 1)], 1)) == list(arrivals([Phase(100, 1)], 1))
    assert list(arrivals([Phase(100, 1)], 1)) != list(arrivals([Phase(100, 1)], 2))


def test_requests_name_many_clients_and_all_paths() -> None:
    requests = Target("127.0.0.1", 80, "shop.example", ("/a", "/b"), clients=300).requests()

    assert len(set(requests)) == 600
    assert requests[0] == (
        b"GET /a HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
    )
    assert b"X-Forwarded-For: 10.0.1.44\r\n" in requests[-1]


@pytest.mark.parametrize("url", ["https://example.org", "example.org", "http://"])
def test_what_is_no_url_of_plain_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        Target.of(url)


# ---- What is counted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [OK, CHUNKED, CLOSING])
def test_an_answer_is_read_to_its_end(answer: bytes) -> None:
    with peer(lambda _: answer) as found:
        # With a pause, behind which all before it have their answers, however late the peer's threads began.
        result = drive(found.target, [Phase(100, 1), Phase(0, 3), Phase(20, 0.5)])

        assert set(result.fates) == {200}
        assert len(result.fate) == len(result.late) == len(found.heads) > 50
        # A connection that the peer closes is not used again.
        assert (found.connections == len(found.heads)) is (answer == CLOSING)


def test_refusals_are_counted_and_those_that_do_not_say_for_how_long() -> None:
    answers = iter([OK, BUSY, SILENT] * 1000)
    lock = threading.Lock()

    def next_one(_: bytes) -> bytes:
        with lock:
            return next(answers)

    with peer(next_one) as found:
        figures = Figures.of(drive(found.target, [Phase(150, 1)]))

    assert figures.refused == pytest.approx(2 * figures.served, abs=2)
    assert figures.failed == 0
    assert figures.silent == pytest.approx(figures.served, abs=1)


def test_a_connection_that_ends_is_a_failure_of_its_request() -> None:
    with peer(lambda _: None) as found:
        result = drive(found.target, [Phase(100, 0.5)])

    assert set(result.fates) == {BROKEN}


def test_no_connection_is_a_failure() -> None:
    with peer(lambda _: OK) as found:
        target = found.target

    assert set(drive(target, [Phase(100, 0.3)]).fates) == {REFUSED}


def test_who_gets_no_answer_gives_up_and_nobody_waits_for_them() -> None:
    with peer(lambda _: b"") as found:
        result = drive(found.target, [Phase(100, 0.5)], patience=0.3)

        assert set(result.fates) == {GAVE_UP}
        assert min(result.took) >= 0.3
        # An open loop: all were sent, each on a connection of its own.
        assert len(result.fate) == result.opened > 25


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A peer that pauses makes all wait that are due meanwhile, and a generator that waited with it would have one slow answer."""
    pause = threading.Event()
    asked = itertools.count(1)  # each has a thread, and two may come at once: exactly one is the twentieth

    def answer(_: bytes) -> bytes:
        number = next(asked)
        if number == 20:
            time.sleep(0.5)  # the pause that is measured
            pause.set()
        elif number > 20:
            pause.wait(10)
        return OK

    with peer(answer) as found:
        result = drive(found.target, [Phase(100, 1)])

    slow = [took for took in result.latencies(served) if took > 0.1]
    assert len(slow) > 15


def test_several_generators_are_one_crowd() -> None:
    with peer(lambda _: OK) as found:
        result = drive(found.target, [Phase(200, 0.5)], generators=2)

        assert len(result.fate) == len(found.heads)
        assert len(result.fate) == pytest.approx(100, abs=50)


# ---- Figures --------------------------------------------------------------------------------------------------------


def made(*requests: tuple[float, float, int], seconds: float = 1.0) -> Result:
    result = Result(seconds)
    for due, took, fate in requests:
        result.due.append(due)
        result.took.append(took)
        result.fate.append(fate)
        result.late.append(0.001)
    return result


def test_seconds_are_looked_at_by_when_requests_were_due() -> None:
    result = made((0.5, 3.0, 200), (1.5, 0.1, 200), (1.9, 0.2, 503), (2.0, 0.1, 200), seconds=3.0)

    figures = Figures.of(result.between(1.0, 2.0))

    assert (figures.offered, figures.served, figures.refused, figures.p99) == (2, 1, 1, 0.1)
    assert figures.share == 0.5


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 101)]

    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)) == (51, 100, 100)
    assert quantile([], 0.5) != quantile([], 0.5)


def test_a_table_tells_what_failed_and_what_was_not_there() -> None:
    figures = Figures.of(made((0.1, 0.01, 200), (0.2, 5.0, GAVE_UP), (0.3, 0.0, 502)))

    assert row("step", figures)[:5] == ("step", "3", "1", "0", "2")
    assert row("step", figures)[-1] == "-"
    assert remarks(figures) == ["1 x 502", "1 x gave up waiting"]


@pytest.mark.parametrize(("busy", "late"), [(0.95, 0.0), (0.1, 0.2)])
def test_a_generator_that_was_the_limit_is_told(busy: float, late: float) -> None:
    result = made((0.1, 0.01, 200))
    result.busy = busy
    result.late[0] = late

    assert Figures.of(result).generator_limits
    assert "the generator did not keep up" in remarks(Figures.of(result))[0]


def test_verdicts_name_what_was_missed() -> None:
    lines = verdicts([Said("goodput", ">= 80%", "97%", met=True), Said("p99", "<= 1", "2", met=False)])

    assert [line.split()[-1] for line in lines.splitlines()[1:]] == ["met", "MISSED"]
