"""What the kernel says about a process and all that descend from it, and about the machine (proc(5))."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PROC = Path("/proc")

_CPUCLOCK_SCHED = 2


def cpu_clock(pid: int) -> float:
    """CPU seconds of all threads of a process, to the nanosecond, where /proc/PID/stat counts in ticks of 10 ms.

    The number of the clock is what clock_getcpuclockid(3) answers for a process, which Python does not offer.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def parse_parent(stat: str) -> int:
    """The parent of a process, from its /proc/PID/stat."""
    # The second field is the command in parentheses and may hold anything: count from the last parenthesis.
    return int(stat.rpartition(")")[2].split()[1])


def tree(root: int, proc: Path = PROC) -> list[int]:
    """The process and its living descendants."""
    children: dict[int, list[int]] = {}
    living = set()
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # It ended meanwhile.
                parent = parse_parent((entry / "stat").read_text())
                children.setdefault(parent, []).append(int(entry.name))
                living.add(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in living:
            found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_clocks(root: int, proc: Path = PROC, clock: Callable[[int], float] = cpu_clock) -> dict[int, float]:
    """CPU seconds of a process and of each living descendant, by their ids."""
    clocks = {}
    for pid in tree(root, proc):
        with contextlib.suppress(OSError):
            clocks[pid] = clock(pid)
    return clocks


def used(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """CPU seconds between two readings; a process that came meanwhile counts whole, one that went does not."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def resident_kilobytes(root: int, proc: Path = PROC) -> int:
    """Resident memory of a process and its descendants. Pages that they share count in each, as in `ps`."""
    total = 0
    for pid in tree(root, proc):
        with contextlib.suppress(OSError):
            found = re.search(
                r"^Rss:\s+(\d+) kB", (proc / str(pid) / "smaps_rollup").read_text(), re.MULTILINE
            )
            total += int(found[1]) if found else 0
    return total


def machine_time(proc: Path = PROC) -> tuple[int, int]:
    """Ticks of all cores since the machine started, and how many of them the host gave to somebody else."""
    # user nice system idle iowait irq softirq steal; what follows is of guests and counted in user already.
    ticks = [int(word) for word in (proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


def steal(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The share of the machine's time between two readings that the host took away."""
    return (after[1] - before[1]) / max(1, after[0] - before[0])
