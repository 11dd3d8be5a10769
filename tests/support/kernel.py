"""What the kernel says about processes and their connections (proc(5))."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_PROC = Path("/proc")
_INODE = re.compile(r"socket:\[(\d+)\]")


def _fields(pid: int) -> list[str]:
    """State, parent, group, session and what follows; none of a process that is gone."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    # The command stands in parentheses and may hold anything: count from the last one.
    return stat.rpartition(")")[2].split()


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its parent to notice its end does not."""
    fields = _fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def parent(pid: int) -> int:
    """Its parent's id, 0 if it is gone."""
    fields = _fields(pid)
    return int(fields[1]) if fields else 0


def session(leader: int) -> dict[int, str]:
    """The processes of a session, which setsid(2) began, and the letter of what each does: Z is an ended one."""
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))) and int(fields[3]) == leader:
            found[int(entry.name)] = fields[0]
    return found


def clients(pid: int) -> set[int]:
    """The clients' ports of the IPv4 connections that a process holds: accepted ones, not those in a backlog."""
    folder = _PROC / str(pid)
    inodes = set()
    with contextlib.suppress(OSError):  # It ended meanwhile.
        for descriptor in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):  # This one was closed meanwhile.
                if match := _INODE.fullmatch(str(descriptor.readlink())):
                    inodes.add(match[1])
    try:
        lines = (folder / "net" / "tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    rows = map(str.split, lines)
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes} - {0}


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes, and of these its share of each page: what several processes have in common is divided by them (PSS)."""
    text = (_PROC / str(pid) / "smaps_rollup").read_text()
    resident, share = (re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("Rss", "Pss"))
    assert resident is not None
    assert share is not None
    return int(resident[1]) * 1024, int(share[1]) * 1024
