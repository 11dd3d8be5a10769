"""What a worker process runs: `python -m pronghorn.supervise.child DESCRIPTOR ROLE`, the descriptor being its end of a channel.

A worker is a `Server` whose supervision is a `Link`. It ends when it is told to, and when its supervisor is no more, which it
learns from the kernel as well as from the end of the channel.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from pronghorn.errors import UserError
from pronghorn.importer import cause_text
from pronghorn.observe import everything
from pronghorn.observe.memory import resident
from pronghorn.worker.server import Server

from .channel import Channel, Role, Start
from .kernel import die_with_parent
from .preload import preload

#: Seconds that an orphan may take to drain where there is no --timeout-graceful-shutdown.
_ORPHAN: Final = 30


class Link:
    """The supervision of a worker (`worker.supervision.Supervision`): messages to the supervisor, and back."""

    alone = False

    def __init__(self, channel: Channel, start: Start, passed: Sequence[socket.socket]) -> None:
        self.slot = start.slot
        self.generation = start.generation
        self._channel = channel
        self._beat = start.beat
        self._passed = passed

    def close_passed(self) -> None:
        """The server has listeners of its own on these sockets; whoever waited in ours after its drain would be lost."""
        for sock in self._passed:
            sock.close()

    def serving(self, server: Server, where: Sequence[str]) -> None:
        """Say so, and give a sign of life every so often from here on."""
        self.close_passed()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.fileno(), self._listen, server, loop)
        self._channel.send({"ready": list(where)})
        self._tell(server, loop)

    def request_limit_reached(self, server: Server) -> None:
        """Ask for a successor, and go on until there is one."""
        self._channel.send({"wish": f"limit of {server.config.limit_max_requests} requests"})

    def draining(self, server: Server) -> None:
        """It was the supervisor that wanted it."""

    def _tell(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self._beat, self._tell, server, loop)
        service = server.service
        if service is not None:
            self._channel.send(
                {"beat": {"requests": service.requests, "active": service.active, "rss": resident()}}
            )

    def _listen(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        for message in self._channel.receive():
            if "retire" in message:
                server.retire()
            elif "announce" in message:
                server.announce()
        if self._channel.closed:
            loop.remove_reader(self._channel.fileno())
            abandon(server.config.timeout_graceful_shutdown)
            server.should_exit = True


def abandon(grace: float | None) -> None:
    """The supervisor is no more. Nobody would end this process if it hung, so the kernel does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, (_ORPHAN if grace is None else grace) + 1)


def work(channel: Channel, start: Start, listeners: Sequence[int]) -> None:
    """Serve until told to stop. Raises UserError if that cannot even begin."""
    faulthandler.register(signal.SIGUSR2, file=channel.fileno())
    sockets = [socket.socket(fileno=descriptor) for descriptor in listeners]
    for descriptor in (channel.fileno(), *listeners):
        os.set_inheritable(descriptor, False)  # not for what the application starts
    link = Link(channel, start, sockets)
    try:
        Server(start.config, link).run(sockets)
    finally:
        link.close_passed()


def begin(channel: Channel, passed: Sequence[int] = (), role: Role = Role.WORKER) -> None:
    """Do what the first frame says; `passed` are listening sockets that did not come by inheritance.

    Raises SystemExit with the exit code of an error, which the supervisor has been told.
    """
    try:
        start = channel.receive_start()
        sys.path[:] = start.path
        if start.config.metrics and start.config.metrics_dir is not None:
            from pronghorn.observe import application  # noqa: PLC0415  # not for those who count nothing

            os.environ[application.VARIABLE] = start.config.metrics_dir
        # A terminal sends its signals to all of us. What they mean for a worker is for the supervisor to say.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        if not passed:
            die_with_parent()
            if os.getppid() != start.parent:
                return  # it was quicker
        # Else the parent is the process that imported the application. Should it die, this one has no reason to: it becomes the
        # supervisor's child, and the end of the channel tells it of the supervisor's end.
        match role:
            case Role.WORKER:
                work(channel, start, passed or start.listeners)
            case Role.PRELOADER:
                preload(channel, start, begin)
            case Role.ADMIN:
                from .admin import administer  # noqa: PLC0415  # for one process of them all

                administer(channel, start)
    except UserError as exc:
        if exc.show_cause and exc.__cause__ is not None:
            cause = cause_text(exc.__cause__)
            if not everything.tell(str(exc), cause):
                print(cause, file=sys.stderr, flush=True)  # noqa: T201  # as the command does
        channel.send({"failed": {"text": str(exc), "code": exc.exit_code}})
        raise SystemExit(exc.exit_code) from None
    except (EOFError, KeyboardInterrupt):
        return  # the supervisor is gone, or somebody has had enough
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        channel.close()


if __name__ == "__main__":
    begin(Channel(socket.socket(fileno=int(sys.argv[1]))), role=Role(sys.argv[2]))
