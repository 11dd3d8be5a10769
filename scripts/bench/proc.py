"""What /proc says about a process and all that descend from it (proc_pid_stat(5))."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def parse_stat(text: str) -> tuple[int, int]:
    """Parent, and ticks of user and system time: the process's own and those of the children it waited for."""
    # The second field is the command in parentheses and may hold anything: count from the last parenthesis.
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(map(int, fields[11:15]))


def tree(root: int, proc: Path = PROC) -> dict[int, int]:
    """The process and its living descendants, each with its ticks."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # It ended meanwhile.
                parent, used = parse_stat((entry / "stat").read_text())
                children.setdefault(parent, []).append(int(entry.name))
                ticks[int(entry.name)] = used
    found: dict[int, int] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        if pid in ticks:
            found[pid] = ticks[pid]
        waiting += children.get(pid, [])
    return found


def cpu_seconds(root: int, proc: Path = PROC) -> float:
    """User and system time of a process, of its living descendants, and of its dead children."""
    return sum(tree(root, proc).values()) / TICKS


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
