"""One supervisor takes the place of another, and the sockets are never closed in between: SIGUSR2.

The old one executes its own command line anew, so that a new version of the server, of Python or of the environment comes with it,
and hands over the listening sockets. Both serve for a moment. When a worker of the new one is ready, the old one retires its own
and goes; if that moment does not come, the new one is ended, and nothing has happened.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pronghorn.net.sockets import Listener

from .channel import Channel
from .process import UNTOUCHABLE

if TYPE_CHECKING:
    from pronghorn.net.unix_socket import SocketFile

logger = logging.getLogger("pronghorn.error")

#: Tells the new process which descriptor is its end of a channel.
_VARIABLE: Final = "_PRONGHORN_SUCCEEDS"
#: Seconds until the new one has to be ready.
PATIENCE: Final = 60.0
#: Seconds that the new one waits for the old one to introduce it; and those that it gets to end, once it is not wanted.
_FAREWELL: Final = 5.0
_LARGEST: Final = 65_536
_MOST: Final = 253


class Successor:
    """The new supervisor, as the old one sees it."""

    def __init__(
        self, listeners: Sequence[Listener], admin: Sequence[Listener], variables: Mapping[str, str]
    ) -> None:
        """Start it with these sockets and variables. Raises OSError if there can be no process."""
        self.channel, theirs = Channel.pair()
        self.started = time.monotonic()
        environ = {**os.environ, **variables, _VARIABLE: str(theirs.fileno())}
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *sys.orig_argv[1:]],
                environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno())],
                setsigdef=[number for number in signal.valid_signals() if number not in UNTOUCHABLE],
                setsigmask=[],
            )
        finally:
            theirs.close()
        everybody = [*listeners, *admin]
        told = json.dumps([_record(listener, listener in admin) for listener in everybody]).encode()
        with suppress(OSError):  # it is gone already, and its end will be seen
            socket.send_fds(self.channel.sock, [told], [listener.sock.fileno() for listener in everybody])

    def ready(self) -> bool:
        """Whether it has said that it serves. To be asked when its channel can be read."""
        return any("ready" in message for message in self.channel.receive())

    def hurry(self, now: float) -> None:
        """End it if its time is over: it is asked to go first."""
        overdue = now - self.started - PATIENCE
        if overdue > 0:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL if overdue > _FAREWELL else signal.SIGTERM)


class Handover:
    """The old supervisor's side of it: one successor at a time, until one serves.

    While there is something to hear of it, it is registered with `selector`, and this as its key's data.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        #: Whether another supervisor serves.
        self.done = False
        #: The successor's number as a process; 0 without one.
        self.pid = 0
        self._selector = selector
        self._successor: Successor | None = None

    def begin(
        self, listeners: Sequence[Listener], admin: Sequence[Listener], variables: Mapping[str, str]
    ) -> bool:
        """Start a successor as `Successor` has it; false if there is one already, or cannot be one."""
        if self._successor is not None:
            return False
        try:
            successor = self._successor = Successor(listeners, admin, variables)
        except OSError as exc:
            logger.error("Cannot start another supervisor: %s", exc)  # noqa: TRY400  # the traceback says nothing more
            return False
        self.pid = successor.pid
        logger.info("Upgrading: process [%d] takes over when it is ready", self.pid)
        self._selector.register(successor.channel, selectors.EVENT_READ, self)
        return True

    def hear(self) -> bool:
        """Take in what the successor says; true when it serves, and waits for `complete`."""
        assert self._successor is not None
        if self._successor.ready():
            logger.info("Process [%d] serves; this one goes", self.pid)
            self.done = True
        elif self._successor.channel.closed:
            self._hang_up(self._successor)
        return self.done

    def complete(self) -> None:
        """Tell the successor, by the end of the channel, that it is the service now, also to the service manager."""
        assert self._successor is not None
        self._hang_up(self._successor)

    def failed(self, now: float) -> bool:
        """Whether a successor has ended without having been ready. To be asked again and again: one that takes too long is ended."""
        successor = self._successor
        if successor is None or self.done:
            return False
        if not os.waitpid(successor.pid, os.WNOHANG)[0]:
            successor.hurry(now)
            return False
        logger.error("Process [%d] did not get ready; this one goes on.", successor.pid)
        if not successor.channel.closed:
            self._hang_up(successor)
        self._successor = None
        return True

    def _hang_up(self, successor: Successor) -> None:
        self._selector.unregister(successor.channel)
        successor.channel.close()


class Predecessor:
    """The old supervisor, as the new one sees it; `listeners`, and `admin`, those of the admin listener, are what it has handed over."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        told, descriptors, _, _ = socket.recv_fds(channel.sock, _LARGEST, _MOST)
        records = json.loads(told) if told else []
        self._files: list[tuple[Listener, SocketFile]] = []
        self.listeners: list[Listener] = []
        self.admin: list[Listener] = []
        for record, descriptor in zip(records, descriptors, strict=True):
            listener = Listener(
                socket.socket(fileno=descriptor), record["kind"], record["address"], name=record["name"]
            )
            if record["file"] is not None:
                self._files.append((listener, _file(record["file"])))
            (self.admin if record["admin"] else self.listeners).append(listener)

    def succeed(self) -> None:
        """We serve: the old one may go, and the socket files are ours to remove in the end."""
        for listener, file in self._files:
            listener.file = file
        self._channel.send({"ready": os.getpid()})
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._channel, selectors.EVENT_READ)
            # What we say to a service manager is believed once the old one has told it of us.
            waiting.select(_FAREWELL)
        self._channel.close()


def predecessor(environ: MutableMapping[str, str]) -> Predecessor | None:
    """Whom this process is to succeed, if anybody; removes the variable."""
    number = environ.pop(_VARIABLE, "")
    if not number:
        return None
    os.set_inheritable(int(number), False)
    found = Predecessor(Channel(socket.socket(fileno=int(number))))
    return found if found.listeners else None


def _record(listener: Listener, admin: bool) -> dict[str, Any]:
    file = listener.file
    return {
        "kind": listener.kind,
        "address": listener.address,
        "name": listener.name,
        "admin": admin,
        "file": None if file is None else [str(file.path), file.device, file.inode],
    }


def _file(record: Sequence[Any]) -> SocketFile:
    from pronghorn.net.unix_socket import SocketFile  # noqa: PLC0415  # for Unix sockets alone

    path, device, inode = record
    return SocketFile(os.getpid(), Path(path), device, inode)
