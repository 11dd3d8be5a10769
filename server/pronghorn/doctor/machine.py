"""What the kernel tells about the process that serves, and about the machine or container that it is in.

Everything is read from below `proc`, so that a test can lay a machine out in a folder. What this user may not see is None.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# adjtimex(2): the return value of a clock that nothing keeps right.
_TIME_ERROR: Final = 5
_TIMEX_SIZE: Final = 208  # of struct timex on every 64-bit Linux, with its reserved end
_LISTENING: Final = "0A"  # TCP_LISTEN as proc_net(5) has it
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7)


class Machine:
    """The processes and limits below one ``/proc``."""

    def __init__(self, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._groups = groups

    def open_files(self, pid: int) -> tuple[int, int] | None:
        """How many descriptors a process has open, and how many it may have."""
        try:
            used = len(list((self._proc / str(pid) / "fd").iterdir()))
            limits = (self._proc / str(pid) / "limits").read_text()
        except OSError:
            return None
        found = re.search(r"^Max open files +(\d+)", limits, re.MULTILINE)
        return None if found is None else (used, int(found[1]))

    def opened(self, pid: int) -> Iterator[Path]:
        """The files that a process has open, by name; one that was removed since has the name it had."""
        with contextlib.suppress(OSError):
            for descriptor in (self._proc / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    yield Path(str(descriptor.readlink()).removesuffix(" (deleted)"))

    def file_system(self, path: Path) -> str | None:
        """The kind of file system that a path is on: proc_pid_mountinfo(5)."""
        with contextlib.suppress(OSError):
            found = ("", "")
            for line in (self._proc / "self/mountinfo").read_text().splitlines():
                before, _, after = line.partition(" - ")
                point = before.split()[4].replace("\\040", " ")
                # The one mounted last is the one that is seen, and the longest is the nearest.
                if path.resolve().is_relative_to(point) and len(point) >= len(found[0]):
                    found = (point, after.split()[0])
            return found[1] or None
        return None

    def family(self, pid: int) -> list[int]:
        """A process and those that it has started, theirs included."""
        children: dict[int, list[int]] = {}
        for child, parent in self._parents():
            children.setdefault(parent, []).append(child)
        found = [pid]
        for one in found:
            found += children.get(one, [])
        return found

    def resident(self, pid: int) -> int:
        """Bytes of memory that a process has for itself alone or shares: 0 if that cannot be seen."""
        try:
            text = (self._proc / str(pid) / "status").read_text()
        except OSError:
            return 0
        found = re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)
        return 0 if found is None else int(found[1]) * 1024

    def memory_limit(self) -> int | None:
        """Bytes that this control group may use (versions 2 and 1); None for no limit."""
        for name in ("memory.max", "memory/memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                limit = int((self._groups / name).read_text())
                return limit if limit < 1 << 60 else None  # version 1 says "none" with a number near 2 ** 63
        return None

    def backlog_limit(self) -> int | None:
        """The longest queue of a listening socket, whatever listen(2) is asked for."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._proc / "sys/net/core/somaxconn").read_text())
        return None

    def tcp_listener(self, port: int) -> int | None:
        """The process that listens on a TCP port."""
        inodes = {f"socket:[{inode}]" for inode in self._listening(port)}
        for pid in self._pids() if inodes else ():
            with contextlib.suppress(OSError):
                for descriptor in (self._proc / str(pid) / "fd").iterdir():
                    if str(descriptor.readlink()) in inodes:
                        return pid
        return None

    def _listening(self, port: int) -> Iterator[str]:
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(OSError):
                for line in (self._proc / "net" / name).read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                        yield fields[9]

    def _pids(self) -> Iterator[int]:
        return (int(one.name) for one in sorted(self._proc.iterdir()) if one.name.isdecimal())

    def _parents(self) -> Iterator[tuple[int, int]]:
        for pid in self._pids():
            with contextlib.suppress(OSError):
                # The command in parentheses may hold anything, parentheses included: proc_pid_stat(5).
                yield pid, int((self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def unix_listener(path: str, timeout: float) -> int:
    """The process that called listen(2) on a Unix socket: SO_PEERCRED of unix(7). Raises OSError if nobody is there.

    0 where it is in another namespace, or the system has no such option.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        if not hasattr(socket, "SO_PEERCRED"):
            return 0
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(data)[0]
    return pid


def clock_is_kept() -> bool | None:
    """Whether something (NTP, the hypervisor) keeps the clock right: adjtimex(2), asked and not changed."""
    with contextlib.suppress(OSError, AttributeError):
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
        if state >= 0:
            return bool(state != _TIME_ERROR)
    return None
