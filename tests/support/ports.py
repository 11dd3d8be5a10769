"""Ports for who binds them later: a container, whose engine has to be told a number, or a command that is still to be started."""

from __future__ import annotations

import errno
import random
import socket

#: Below the kernel's own (ip_local_port_range begins at 32768): those it gives to whoever connects, or asks for any port, and one that is
#: free now may be somebody's a moment later, or while a server is started again.
_FIRST, _LAST = 20_000, 32_000
_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody has, in TCP and in UDP, and that the kernel gives to nobody meanwhile; another one each time."""
    while True:
        port = random.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            # As a server binds it: what was closed a moment ago is in nobody's way.
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                _given.add(port)
                return port
