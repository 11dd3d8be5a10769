"""Starts that fail: how many in a row, and how long it is until the next one may be tried.

A machine that is short of memory, or an application whose database is away, is not helped by processes that start and die as fast as
they can; nor is anybody by a supervisor that has given up when the database is back.
"""

from __future__ import annotations

import math
from typing import Final

#: Seconds that a process has to live for its end not to count as a start that failed.
STABLE: Final = 10.0
_LONGEST: Final = 30.0


class Attempts:
    """The starts of one kind of process. Times are those of one clock, in seconds.

    `failures` is how many have failed in a row, `failed_at` when the last of them did; before `retry_at` no other one is to be tried.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.failed_at = self.retry_at = 0.0

    def failed(self, now: float) -> None:
        """One more has failed; in the same row, unless all was well for a while."""
        if self.failed_at + max(STABLE, 2 * backoff(self.failures)) < now:
            self.failures = 0
        self.failures += 1
        self.failed_at = now
        self.retry_at = now + backoff(self.failures)

    def suspend(self) -> None:
        """Wait until something has changed."""
        self.retry_at = math.inf

    def renew(self) -> None:
        """Something has changed."""
        self.failures = 0
        self.retry_at = 0.0


def backoff(failures: int) -> float:
    """Seconds to wait after so many starts in a row that failed: none after the first, then 1, 2, 4 and at most 30."""
    return 0.0 if failures < 2 else min(2.0 ** min(failures - 2, 5), _LONGEST)
