"""What a service manager is told of this service: sd_notify(3).

The manager gives its service the name of a datagram socket, NOTIFY_SOCKET, and reads assignments from it, one a line. That is the
whole protocol, and it promises to stay as it is, so there is no library here: the ones that exist are as long as this file.

The variables are removed once they have been read. What the application starts, and every worker, would otherwise speak for the
service too.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping, Sequence

from pronghorn.net.deadlines import Ticker
from pronghorn.worker.server import Server
from pronghorn.worker.supervision import Alone

logger = logging.getLogger("pronghorn.error")

# Seconds that a manager whose queue is full gets to make room. It has a whole machine to look after.
_PATIENCE = 1.0


class Notifier:
    """Tells a service manager what becomes of the service. This one has none to tell.

    `interval` is how many seconds may pass between two calls of `alive`, half of what the manager allows; None if it does not watch.
    """

    interval: float | None = None

    def ready(self, status: str = "") -> None:
        """Requests are served, from now on or again after `reloading`."""
        self._tell("READY=1", _status(status))

    def status(self, text: str) -> None:
        """One line for people, which `systemctl status` shows."""
        self._tell(_status(text))

    def reloading(self, status: str = "") -> None:
        """A new configuration or new code is being taken in; `ready` says when that is done, also if it was in vain."""
        # The moment tells the manager which of its requests to reload this answers.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", _status(status))

    def stopping(self, status: str = "") -> None:
        """The service is on its way out."""
        self._tell("STOPPING=1", _status(status))

    def alive(self) -> None:
        """The watchdog may sleep on."""
        self._tell("WATCHDOG=1")

    def main_pid(self, pid: int) -> None:
        """Another process is the service from now on. To be said by the one that was, which alone is believed."""
        self._tell(f"MAINPID={pid}")

    def variables(self) -> dict[str, str]:
        """What a process that takes over from this one needs in its environment."""
        return {}

    def _tell(self, *assignments: str) -> None:
        """Nobody listens."""


class SocketNotifier(Notifier):
    """The same over a socket. Never raises: a manager that does not listen is no reason not to serve."""

    def __init__(self, address: str, watchdog_usec: int | None = None) -> None:
        self.address = address
        self.interval = watchdog_usec / 2e6 if watchdog_usec else None
        self._watchdog_usec = watchdog_usec
        self._failing = False

    def variables(self) -> dict[str, str]:
        """WATCHDOG_PID is left out, which says that the watchdog is for whoever has the rest."""
        found = {"NOTIFY_SOCKET": self.address}
        if self._watchdog_usec:
            found["WATCHDOG_USEC"] = str(self._watchdog_usec)
        return found

    def _tell(self, *assignments: str) -> None:
        text = "\n".join(filter(None, assignments))
        # An address that begins with @ is in the abstract namespace, which has no files: unix(7).
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            # One for each message: a manager that executes itself anew has a new one there.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE)
                sock.sendto(text.encode(errors="replace"), address)
        except OSError as exc:
            if not self._failing:
                logger.warning("The service manager cannot be told anything at %s: %s", self.address, exc)
            self._failing = True
        else:
            self._failing = False


def _status(text: str) -> str:
    """The assignment, which is one line; nothing for nothing."""
    return f"STATUS={' '.join(text.split())}" if text else ""


def from_environ(environ: MutableMapping[str, str], pid: int | None = None) -> Notifier:
    """The notifier for what the environment of this process says; removes what it reads."""
    address = environ.pop("NOTIFY_SOCKET", "")
    usec = environ.pop("WATCHDOG_USEC", "")
    watched = environ.pop("WATCHDOG_PID", "")
    if not address:
        return Notifier()
    if address[0] not in "/@" or len(address) < 2:
        logger.warning("NOTIFY_SOCKET is neither a path nor an abstract socket: %s", ascii(address))
        return Notifier()
    ours = watched in ("", str(os.getpid() if pid is None else pid))
    valid = usec.isascii() and usec.isdigit() and len(usec) < 18
    return SocketNotifier(address, int(usec) if ours and valid else None)


class Notified(Alone):
    """A server that is the only one, and that a service manager looks after (`worker.supervision.Supervision`)."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    def serving(self, server: Server, where: Sequence[str]) -> None:
        """Say so, and from the event loop, from here on, that it is not stuck."""
        super().serving(server, where)
        self._notifier.ready(f"Running on {', '.join(where)}")
        if self._notifier.interval is not None:
            # It ends with the loop: a drain that hangs is the manager's business as well.
            Ticker(self._notifier.alive, self._notifier.interval)

    def draining(self, server: Server) -> None:
        self._notifier.stopping("Waiting for requests in progress")

    def failed(self, why: str) -> None:
        """The server ends for this reason, or cannot begin: `systemctl status` goes on showing it."""
        self._notifier.status(why)
