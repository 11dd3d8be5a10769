"""The processes of a supervisor: who there is, what they say, and how they end. What that means is the supervisor's business."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from pronghorn.config import Config

from .kernel import adopt_orphans
from .policy import Phase
from .process import LOST, AdminProcess, Preloader, Process, start_admin, start_preloader, start_worker

#: Seconds that a silent worker gets for the dump of its stack.
_LAST_WORDS: Final = 1.0


class Family:
    """Workers by pid, with ``--preload`` the processes that they are forked from, and with ``--admin`` the one that tells of them.

    `descriptors` gives the listening sockets of a slot. Whoever is heard of is registered with `selector`, as its key's data.
    """

    def __init__(
        self, config: Config, selector: selectors.BaseSelector, descriptors: Callable[[int], Sequence[int]]
    ) -> None:
        self.workers: dict[int, Process] = {}
        #: What new workers are forked from; None without --preload, and until it is ready.
        self.preloader: Preloader | None = None
        self._preloaders: dict[int, Preloader] = {}
        #: Who serves the admin listener, while there is anybody.
        self.admin: AdminProcess | None = None
        self.config = config
        self._selector = selector
        self._descriptors = descriptors
        if config.preload:
            adopt_orphans()  # should a preloader die, its workers become our children

    @property
    def preloading(self) -> bool:
        """Whether a process is on the way that workers can be forked from."""
        return any(one.phase is Phase.STARTING for one in self._preloaders.values())

    def start(self, slot: int, generation: int) -> None:
        """Start a worker. Raises OSError if there can be none now, UsageError if there cannot be any."""
        process = start_worker(
            self.config,
            self._descriptors(slot),
            slot=slot,
            generation=generation,
            now=time.monotonic(),
            preloader=self.preloader,
        )
        self.workers[process.pid] = process
        self._selector.register(process.channel, selectors.EVENT_READ, process)

    def preload(self, generation: int) -> None:
        """Start a process to fork from, and fork from it once it is ready. Raises as `start` does."""
        process = start_preloader(self.config, generation=generation, now=time.monotonic())
        self._preloaders[process.pid] = process
        self._selector.register(process.channel, selectors.EVENT_READ, process)

    def administer(self, listeners: Sequence[int]) -> None:
        """Start the process of the admin listener. Raises as `start` does."""
        self.admin = start_admin(self.config, listeners, now=time.monotonic())
        self._selector.register(self.admin.channel, selectors.EVENT_READ, self.admin)

    def hear(self, process: Process) -> bool:
        """Take in what a process says; true if it is ready now and was not before."""
        was = process.phase
        process.hear(process.channel.receive(), time.monotonic())
        if process.channel.closed:
            self._selector.unregister(process.channel)
        self._note_ends(process)
        return was is Phase.STARTING and process.phase is Phase.READY

    def _note_ends(self, process: Process) -> None:
        """A preloader tells of the ends of its children."""
        if isinstance(process, Preloader):
            for pid, code in process.take_ended():
                if pid in self.workers:
                    self.workers[pid].exit_code = code

    def forgive(self, seconds: float, now: float) -> None:
        """As many seconds have not counted for anybody."""
        for process in self._everybody().values():
            process.heard = min(now, process.heard + seconds)

    def last_words(self, process: Process) -> str | None:
        """The stack of a process whose event loop is stuck, as faulthandler writes it."""
        process.signal(signal.SIGUSR2)
        give_up = time.monotonic() + _LAST_WORDS
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.channel, selectors.EVENT_READ)
            # It comes in pieces, and nothing says which is the last.
            while waiting.select(0.1 if process.channel.stack else max(0.0, give_up - time.monotonic())):
                process.hear(process.channel.receive(), time.monotonic())
                if process.channel.closed or time.monotonic() > give_up:
                    break
        return "\n".join(process.channel.stack) or None

    def bury(self) -> list[tuple[Process, int]]:
        """Those that have ended, with their exit codes. As PID 1, orphans that are none of ours are seen to as well."""
        everybody = self._everybody()
        if os.getpid() == 1:
            while (found := _ended(-1)) is not None:
                if found[0] in everybody:
                    everybody[found[0]].exit_code = found[1]
        ended = []
        for pid, process in everybody.items():
            if process.exit_code is None and (found := _ended(pid)) is not None:
                process.exit_code = found[1]
            parent = process.parent
            if (
                process.exit_code is None
                and parent is not None
                and parent.exit_code is not None
                and _gone(pid)
            ):
                process.exit_code = LOST
            if process.exit_code is not None:
                self._forget(process)
                ended.append((process, process.exit_code))
        return ended

    def _everybody(self) -> dict[int, Process]:
        admin = {} if self.admin is None else {self.admin.pid: self.admin}
        return {**self._preloaders, **self.workers, **admin}

    def _forget(self, process: Process) -> None:
        if not process.channel.closed:
            process.hear(process.channel.receive(), time.monotonic())
            self._note_ends(process)
            self._selector.unregister(process.channel)
        process.channel.close()
        self.workers.pop(process.pid, None)
        self._preloaders.pop(process.pid, None)
        if process is self.preloader:
            self.preloader = None
        if process is self.admin:
            self.admin = None

    def release(self) -> None:
        """Let preloaders go that have been replaced and have no children any more."""
        parents = [process.parent for process in self.workers.values()]
        for one in self._preloaders.values():
            if one.phase is Phase.READY and one is not self.preloader and one not in parents:
                one.enter(Phase.LEAVING, time.monotonic())
                one.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal to every worker."""
        for process in self.workers.values():
            process.signal(number)

    def close(self) -> None:
        """Nobody is left behind. There are no workers any more, unless an error of ours is the reason.

        The admin listener's process was there for as long as anything was to be told, and has nothing to finish.
        """
        everybody = self._everybody().values()
        for process in everybody:
            process.signal(signal.SIGKILL)
        for process in everybody:
            process.channel.close()
            if process.parent is None:
                _ended(process.pid, 0)


def _gone(pid: int) -> bool:
    """Whether there is no such process any more, not even one that waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _ended(pid: int, options: int = os.WNOHANG) -> tuple[int, int] | None:
    """Pid and exit code of a child that ended (negative: the signal that ended it), or None."""
    try:
        found, status = os.waitpid(pid, options)
    except ChildProcessError:
        return None
    return (found, os.waitstatus_to_exitcode(status)) if found else None
