"""The processes of a container as this machine sees them, where the kernel tells all and a signal needs nobody's help."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from tests.integration.stack import Stack, docker
from tests.support import kernel

#: The state of a connected socket in /proc/net/unix.
CONNECTED = "03"


@dataclass(frozen=True, slots=True)
class Process:
    """`pid` is this machine's number, `own` the one that it has in its container."""

    pid: int
    own: int
    parent: int
    title: str

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def alive(self) -> bool:
        return kernel.alive(self.pid)

    def held(self, client: Process) -> int:
        """How many connections to a Unix socket of this process' it has accepted from `client`'s container.

        The kernel lists them in the network namespace of whoever has connected.
        """
        own = {link[8:-1] for link in kernel.descriptors(self.pid) if link.startswith("socket:[")}
        rows = (line.split() for line in Path(f"/proc/{client.pid}/net/unix").read_text().splitlines()[1:])
        return sum(len(row) == 8 and row[5] == CONNECTED and row[6] in own for row in rows)

    def peers(self, address: str) -> int:
        """How many TCP connections with that address any process of its container still has."""
        wanted = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
        rows = (line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:])
        # Without an inode it is the kernel that sees to its end.
        return sum(row[2].startswith(f"{wanted}:") and row[9] != "0" for row in rows)


def _status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def processes(stack: Stack, service: str) -> list[Process]:
    """Those that live in a service's container."""
    found = []
    for line in docker("top", stack.container(service), "-eo", "pid,args").splitlines()[1:]:
        number, _, title = line.strip().partition(" ")
        with contextlib.suppress(OSError):
            told = _status(int(number))
            if told["State"][0] not in "ZX":
                found.append(
                    Process(int(number), int(told["NSpid"].split()[-1]), int(told["PPid"]), title.strip())
                )
    return found


def server(stack: Stack) -> Process:
    """The supervisor: the child of the container's first process."""
    found = processes(stack, "app")
    first = next(one.pid for one in found if one.own == 1)
    # With a pipe there is one more child, which reads it.
    return next(one for one in found if one.parent == first and "pronghorn" in one.title)


def master(stack: Stack) -> Process:
    """nginx' first process, whose children its workers are."""
    return next(one for one in processes(stack, "nginx") if "nginx: master" in one.title)


def of(stack: Stack, service: str, own: int) -> Process:
    """The process that has this number in its container."""
    return next(one for one in processes(stack, service) if one.own == own)
