"""What the kernel says about processes and their connections (proc(5))."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
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


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            yield int(entry.name), fields


def state(pid: int) -> str:
    """The letter of what the process does: T is stopped, Z has ended and its parent has not noticed; none if it is gone."""
    fields = _fields(pid)
    return fields[0] if fields else ""


def command(pid: int) -> list[str]:
    """The words that it was started with, or has given itself; none of a process that has ended."""
    try:
        return (_PROC / str(pid) / "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its parent to notice its end does not."""
    return state(pid) not in {"", "Z", "X"}


def parent(pid: int) -> int:
    """Its parent's id, 0 if it is gone."""
    fields = _fields(pid)
    return int(fields[1]) if fields else 0


def children(pid: int) -> set[int]:
    """Of a process, ended ones that it has not noticed among them.

    Asked of every process: the kernel's own list may leave out some while another ends.
    """
    return {child for child, fields in _processes() if int(fields[1]) == pid}


def session(leader: int) -> dict[int, str]:
    """The processes of a session, which setsid(2) began, and the letter of what each does: Z is an ended one."""
    return {pid: fields[0] for pid, fields in _processes() if int(fields[3]) == leader}


def descriptors(pid: int) -> list[str]:
    """What the descriptors of a process lead to; none of a process that is gone."""
    found = []
    with contextlib.suppress(OSError):  # It ended meanwhile.
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):  # This one was closed meanwhile.
                found.append(str(descriptor.readlink()))
    return found


def clients(pid: int) -> set[int]:
    """The clients' ports of the IPv4 connections that a process holds: accepted ones, not those in a backlog."""
    inodes = {match[1] for name in descriptors(pid) if (match := _INODE.fullmatch(name))}
    try:
        lines = (_PROC / str(pid) / "net" / "tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    rows = map(str.split, lines)
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes} - {0}


def mapped(pid: int) -> set[Path]:
    """The files that a process has mapped; none of one that has ended."""
    try:
        lines = (_PROC / str(pid) / "maps").read_text().splitlines()
    except OSError:
        return set()
    # Address, permissions, offset, device and inode; then the path, if there is one.
    return {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) == 6}


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used, in user code and in the kernel."""
    user, system = _fields(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes, and of these its share of each page: what several processes have in common is divided by them (PSS)."""
    text = (_PROC / str(pid) / "smaps_rollup").read_text()
    resident, share = (re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("Rss", "Pss"))
    assert resident is not None
    assert share is not None
    return int(resident[1]) * 1024, int(share[1]) * 1024
