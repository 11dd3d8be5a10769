"""Starts that fail: what counts as a row of them, and what is waited between them."""

import math

from pronghorn.supervise.attempts import STABLE, Attempts


def waits(starts: Attempts, count: int, now: float, lived: float = 0.1) -> list[float]:
    """What has to be waited after each of so many starts, tried as soon as they may be, whose processes lived for a while."""
    found = []
    for _ in range(count):
        now = max(now, starts.retry_at) + lived
        starts.failed(now)
        found.append(round(starts.retry_at - now, 6))
    return found


def test_they_come_further_and_further_apart() -> None:
    assert waits(Attempts(), 9, 100.0) == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_row_ends_when_all_was_well_for_a_while() -> None:
    starts = Attempts()
    assert waits(starts, 3, 100.0) == [0, 1, 2]
    assert waits(starts, 4, starts.retry_at, lived=STABLE + 1) == [0] * 4


def test_a_row_that_waits_for_long_is_one_nevertheless() -> None:
    starts = Attempts()
    assert waits(starts, 7, 100.0)[-1] == 30
    assert waits(starts, 1, starts.retry_at, lived=STABLE + 1) == [30]
    assert waits(starts, 1, starts.retry_at, lived=60.0) == [0]


def test_what_has_changed_may_be_tried_at_once() -> None:
    starts = Attempts()
    waits(starts, 5, 100.0)
    starts.suspend()
    assert starts.retry_at == math.inf
    starts.renew()
    assert starts.retry_at == 0.0
    assert waits(starts, 2, 200.0) == [0, 1]
