"""What a supervisor writes into its count file, for those who read them: that it lives, whom it wants, and how its workers end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pronghorn.observe import metrics

from .policy import Phase
from .process import LOST, Process

if TYPE_CHECKING:
    from pronghorn.observe.counts import Counts


class Tally:
    """Where nobody counts, it has no file, and writes nothing."""

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = counts

    def look(self, wanted: int, *, stopping: bool) -> None:
        """The supervisor has looked around once more."""
        if self._counts is not None:
            self._counts.beat()
            self._counts.set(metrics.WANTED, value=wanted)
            self._counts.enter("leaving" if stopping else "ready")

    def started(self) -> None:
        """There is one worker more."""
        if self._counts is not None:
            self._counts.add(metrics.STARTS)

    def ended(self, process: Process, code: int) -> None:
        """One is gone."""
        if self._counts is not None:
            self._counts.add(metrics.WORKER_EXITS, _cause(process, code))

    def close(self) -> None:
        """So is the supervisor."""
        if self._counts is not None:
            self._counts.close()


def _cause(process: Process, code: int) -> str:
    if process.killed:
        return "killed"
    if process.phase is not Phase.READY:
        return "retired" if process.phase is Phase.LEAVING else "failed"
    if code == LOST:
        return "lost"
    return "signal" if code < 0 else "exit"
