"""Count files for tests: exchanges to count, and processes that count until they are killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pronghorn.observe.counts import Counts
from pronghorn.observe.responses import ResponseCounts

# Takes a count file and counts so many requests; says its number, and stays until its stdin ends.
_PROCESS = """
import sys
from pathlib import Path
from pronghorn.observe.counts import Counts
from tests.support.counted import Exchange

counts = Counts(Path(sys.argv[1]))
observer = counts.observer()
counts.enter("ready")
for _ in range(int(sys.argv[2])):
    observer.response_complete(Exchange())
print(counts.number, flush=True)
sys.stdin.read()
"""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Head:
    method: str = "GET"


@dataclass
class Exchange:
    """A request that took `0.02` seconds by the clock that `observer` has."""

    head: Head = field(default_factory=Head)
    scope: Any = field(default_factory=lambda: {"extensions": {}})
    status: int = 200
    bytes_in: int = 0
    bytes_out: int = 13
    started: float = 100.0
    first_byte: float = 0.0
    request_id: str = "an-id"


def exchange(method: str = "GET", *, route: object = None, **values: Any) -> Exchange:
    scope: dict[str, Any] = {"extensions": {}}
    if route is not None:
        scope["extensions"]["pronghorn.route"] = route
    return Exchange(Head(method), values.pop("scope", scope), **values)


class Clock:
    """Stands still unless it is moved."""

    def __init__(self, now: float = 100.02) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def observer(counts: Counts, clock: Clock | None = None) -> ResponseCounts:
    return counts.observer(clock or Clock())


@contextlib.contextmanager
def process(folder: Path, count: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has counted so many requests, and the number of its file. Killed at the end, if it still lives."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(folder), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    ) as running:
        assert running.stdout is not None
        try:
            yield running, int(running.stdout.readline())
        finally:
            running.kill()
