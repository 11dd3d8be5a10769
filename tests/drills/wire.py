"""A client at the end of a cable of its own: a network namespace, plugged into the bridge of the stack's network, that can be cut.

A cut is silent, as that of a real cable: nobody is told, and what is sent is lost.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.stack import ROOT, Stack, docker

CLONE_NEWNET = 0x40000000


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


@dataclass(frozen=True, slots=True)
class Wire:
    """`address` is the client's. `outside` is the end of the cable that is in the bridge."""

    name: str
    outside: str
    address: str

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection from the client's end. A socket belongs to the namespace in which it was made, and a thread can be in one."""
        made: list[socket.socket | OSError] = []

        def enter() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if libc.setns(handle, CLONE_NEWNET):
                    made.append(OSError(ctypes.get_errno(), "setns"))
                else:
                    made.append(socket.create_connection((host, port), 10))
            except OSError as error:
                made.append(error)
            finally:
                os.close(handle)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def cut(self) -> None:
        ip("link", "set", self.outside, "down")

    def mend(self) -> None:
        ip("link", "set", self.outside, "up")


@contextmanager
def plugged_in(stack: Stack) -> Iterator[Wire]:
    """A cable into the network on which nginx is reached; nothing of it is left."""
    subprocess.run([ROOT / "scripts/ensure", "ip", "iproute2"], check=True)
    [network] = json.loads(docker("network", "inspect", f"{stack.project}_stack"))
    subnet = ipaddress.ip_network(network["IPAM"]["Config"][0]["Subnet"])
    # The engine gives addresses from the other end.
    address = str(subnet[-2])
    token = secrets.token_hex(3)
    wire = Wire(f"drill-{token}", f"drill{token}o", address)
    inner = f"drill{token}i"
    ip("netns", "add", wire.name)
    try:
        ip("link", "add", wire.outside, "type", "veth", "peer", "name", inner, "netns", wire.name)
        ip("link", "set", wire.outside, "master", f"br-{network['Id'][:12]}", "up")
        ip("-n", wire.name, "addr", "add", f"{address}/{subnet.prefixlen}", "dev", inner)
        ip("-n", wire.name, "link", "set", inner, "up")
        yield wire
    finally:
        # The cable goes with the namespace, once the last socket in it is closed.
        if Path(f"/sys/class/net/{wire.outside}").exists():
            ip("link", "delete", wire.outside)
        ip("netns", "delete", wire.name)
