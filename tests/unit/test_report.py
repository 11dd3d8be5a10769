"""What a service manager is told of several workers, without a process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pronghorn.supervise.notify import Notifier
from pronghorn.supervise.policy import Phase
from pronghorn.supervise.report import Report


class Heard(Notifier):
    """Keeps what it is told, the first assignment of each message."""

    interval = 1.0

    def __init__(self) -> None:
        self.words: list[str] = []

    def _tell(self, *assignments: str) -> None:
        self.words.append(assignments[0])


def worker(phase: Phase = Phase.READY, generation: int = 0, heard: float = 0.0) -> Any:
    return SimpleNamespace(phase=phase, generation=generation, heard=heard)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def report(heard: Heard) -> Report:
    return Report(heard)


def test_ready_is_said_when_the_first_one_serves_and_then_how_many_do(report: Report, heard: Heard) -> None:
    report.look([worker(Phase.STARTING)], 2, 0)
    assert heard.words == []
    report.look([worker(), worker(Phase.STARTING)], 2, 0)
    report.look([worker(), worker(Phase.STARTING)], 2, 0)
    report.look([worker(), worker()], 2, 0)
    report.look([], 2, 0)
    assert heard.words == [
        "READY=1",
        "STATUS=2 of 2 worker processes serve",
        "STATUS=0 of 2 worker processes serve",
    ]


def test_a_restart_is_done_when_all_are_of_the_new_generation(report: Report, heard: Heard) -> None:
    report.look([worker(), worker()], 2, 0)
    report.restarting("new code")
    report.look([worker(), worker()], 2, -1)
    report.look([worker(), worker(), worker(generation=1)], 2, 1)
    report.look([worker(Phase.LEAVING), worker(generation=1), worker()], 2, 1)
    assert "READY=1" not in heard.words[1:]
    report.look([worker(Phase.LEAVING), worker(generation=1), worker(generation=1)], 2, 1)
    assert heard.words[-1] == "READY=1"
    report.restarting("again")
    report.given_up("in vain")
    assert heard.words[-2:] == ["RELOADING=1", "READY=1"]


def test_a_successor_has_the_word(report: Report, heard: Heard) -> None:
    report.succeeded(7)
    report.stopping()
    assert heard.words == ["MAINPID=7"]


def test_the_watchdog_is_fed_by_event_loops_alone(report: Report, heard: Heard) -> None:
    report.feed([worker(heard=10.0)], 5.0, 12.0)
    report.feed([worker(heard=10.0)], 5.0, 12.5)
    assert heard.words == ["WATCHDOG=1"], "once in an interval"
    report.feed([worker(heard=10.0), worker(heard=3.0)], 5.0, 13.1)
    assert len(heard.words) == 2
    report.feed([worker(heard=10.0), worker(heard=3.0)], 5.0, 15.1)
    report.feed([], 5.0, 16.2)
    assert len(heard.words) == 2, "all of them hang, or there are none"
    report.feed([worker(heard=16.0)], 5.0, 16.3)
    assert len(heard.words) == 3
