"""Many workers, looked after for months: their starts and ends, signals, and what is worth a log line.

The supervisor owns the listening sockets and never imports the application, so that there is little in it that could leak or
crash. It waits for signals and for words of its workers, takes a `Snapshot`, and does what `policy.decide` says. A worker that
has to go is replaced first, wherever it is possible; the sockets stay open all the time, so nobody is refused.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

from pronghorn.config import Config
from pronghorn.errors import StartupError, UsageError, UserError
from pronghorn.net.sockets import Listener, describe, open_listeners
from pronghorn.observe import logs
from pronghorn.worker.signals import pass_on

from . import cpus
from .kernel import adopt_orphans
from .policy import (
    HOPELESS,
    STABLE,
    Action,
    Halt,
    Kill,
    Limits,
    Phase,
    Retire,
    Snapshot,
    Spawn,
    Terminate,
    backoff,
    decide,
)
from .process import Preloader, Process, start_preloader, start_worker

logger = logging.getLogger("pronghorn.error")

#: Seconds between two looks at those who say nothing.
_TICK: Final = 0.5
#: Seconds that a silent worker gets for the dump of its stack.
_LAST_WORDS: Final = 1.0


class Supervisor:
    """Serves the application of one `Config` from `workers` processes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._limits = Limits(
            silence=config.timeout_worker_healthcheck,
            grace=config.timeout_graceful_shutdown,
            memory=config.limit_worker_memory,
        )
        self._wanted = cpus.available() if config.workers == "auto" else int(config.workers)
        self._processes: dict[int, Process] = {}
        # What workers are forked from, if that is wanted; and all of that kind: one may be starting, others be outlived.
        self._preloader: Preloader | None = None
        self._preloaders: dict[int, Preloader] = {}
        self._listeners: list[Listener] = []
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque()
        self._caught: list[int] = []
        self._generation = 0
        self._stopping = self._hurried = self._forced = self._halted = False
        self._ever_ready = False
        # Starts in a row that failed, when the last of them did, and when the next one may be tried.
        self._failures = 0
        self._failed_at = self._retry_at = 0.0
        self._fatal: UserError | None = None
        self._handlers: dict[int, Callable[[], None]] = {
            signal.SIGINT: self._interrupted,
            signal.SIGTERM: self._stop,
            signal.SIGQUIT: self._quit,
            signal.SIGHUP: self._restart,
            signal.SIGTTIN: self._one_more,
            signal.SIGTTOU: self._one_fewer,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGCHLD: lambda: None,  # whose end it was is looked for after every event
        }

    def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serve until a signal ends it, which the process is then left to. Raises UserError if no worker can be started."""
        config = self.config
        logs.configure(
            level=config.log_level,
            fmt=config.log_format,
            log_config=config.log_config,
            use_colors=config.use_colors,
            access_log=config.access_log,
        )
        with self._catching_signals():
            self._open(sockets)
            logger.info("Started parent process [%d]", os.getpid())
            if config.preload:
                adopt_orphans()
            try:
                while not self._halted:
                    self._turn()
            finally:
                self._clean_up()
            logger.info("Stopping parent process [%d]", os.getpid())
        if self._fatal is not None:
            raise self._fatal
        pass_on(self._caught)

    def _open(self, sockets: Sequence[socket.socket] | None) -> None:
        config = self.config
        if sockets:
            self._listeners = [
                listener
                for sock in sockets
                for listener in open_listeners(fd=sock.fileno(), backlog=config.backlog)
            ]
            return
        self._listeners = open_listeners(
            host=config.host,
            port=config.port,
            uds=config.uds,
            fd=config.fd,
            backlog=config.backlog,
            uds_mode=config.uds_mode,
            uds_group=config.uds_group,
        )

    def _clean_up(self) -> None:
        for process in self._processes.values():  # none, unless an error of ours brought us here
            process.signal(signal.SIGKILL)
        for preloader in self._preloaders.values():
            preloader.signal(signal.SIGKILL)
            _wait(preloader.pid, 0)
        for listener in self._listeners:
            listener.close()
        self._selector.close()

    # One turn: hear, bury, decide, do.

    def _turn(self) -> None:
        now = time.monotonic()
        self._see_to_preloaders(now)
        for action in decide(self._snapshot(), now):
            self._do(action)
        if self._halted:
            return
        for key, _ in self._selector.select(_TICK):
            if isinstance(key.data, Process):
                self._hear(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 4096)
        while self._signals:
            self._handlers[self._signals.popleft()]()
        self._bury()

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            workers=tuple(process.seen() for process in self._processes.values()),
            wanted=self._wanted,
            limits=self._limits,
            generation=self._generation,
            retry_at=math.inf if self.config.preload and self._preloader is None else self._retry_at,
            stopping=self._stopping,
            forced=self._forced,
            hopeless=self._fatal is not None,
        )

    def _do(self, action: Action) -> None:
        match action:
            case Spawn(slot):
                self._start(slot)
            case Retire(pid, why):
                logger.info("Retiring child process [%d]: %s", pid, why)
                self._processes[pid].channel.send({"retire": True})
                self._processes[pid].enter(Phase.LEAVING, time.monotonic())
            case Terminate(pid, why):
                if not self._stopping:
                    logger.info("Stopping child process [%d]: %s", pid, why)
                self._processes[pid].signal(signal.SIGTERM)
                self._processes[pid].enter(Phase.LEAVING, time.monotonic())
            case Kill(pid, why, stuck):
                process = self._processes[pid]
                stack = self._last_words(process) if stuck else None
                _log_with_stack(f"Killing child process [{pid}]: {why}", stack)
                process.signal(signal.SIGKILL)
                process.killed = True
            case Halt():
                self._halted = True

    def _start(self, slot: int) -> None:
        self._started(
            lambda now: start_worker(
                self.config,
                self._descriptors(),
                slot=slot,
                generation=self._generation,
                now=now,
                preloader=self._preloader,
            )
        )

    def _descriptors(self) -> list[int]:
        return [listener.sock.fileno() for listener in self._listeners]

    def _started(self, start: Callable[[float], Process]) -> None:
        now = time.monotonic()
        try:
            process = start(now)
        except UsageError as exc:
            self._fatal = exc
        except OSError as exc:  # no memory, no process numbers: that passes
            logger.error("Cannot start a child process: %s", exc)  # noqa: TRY400  # the traceback is ours and says nothing
            self._count_failure(now)
        else:
            if isinstance(process, Preloader):
                self._preloaders[process.pid] = process
            else:
                self._processes[process.pid] = process
            self._selector.register(process.channel, selectors.EVENT_READ, process)

    def _hear(self, process: Process) -> None:
        was = process.phase
        process.hear(process.channel.receive(), time.monotonic())
        if process.channel.closed:
            self._selector.unregister(process.channel)
        if isinstance(process, Preloader):
            for pid, code in process.take_ended():
                if pid in self._processes:
                    self._processes[pid].exit_code = code
            if was is not process.phase:
                self._take_over(process)
        elif was is Phase.STARTING and process.phase is Phase.READY and not self._ever_ready:
            self._ever_ready = True
            tls = self.config.ssl_certfile is not None or self.config.ssl_context_factory is not None
            for listener in self._listeners:
                logger.info("Pronghorn running on %s (Press CTRL+C to quit)", describe(listener, tls))

    # Preloaders.

    def _see_to_preloaders(self, now: float) -> None:
        """Have one that is ready or gets ready, and let go of those that have no children left."""
        if not self.config.preload or self._stopping or self._fatal is not None:
            return
        coming = any(one.phase is Phase.STARTING for one in self._preloaders.values())
        if self._preloader is None and not coming and now >= self._retry_at:
            self._preload()
        parents = [process.parent for process in self._processes.values()]
        for one in self._preloaders.values():
            if one.phase is Phase.READY and one is not self._preloader and one not in parents:
                one.enter(Phase.LEAVING, now)
                one.signal(signal.SIGTERM)

    def _preload(self) -> None:
        self._started(
            lambda now: start_preloader(
                self.config, self._descriptors(), generation=self._generation, now=now
            )
        )

    def _take_over(self, preloader: Preloader) -> None:
        """The application is imported: new workers are forked from this process from now on."""
        if self._preloader is not None:
            self._generation += 1
        self._preloader = preloader
        logger.info("The application is imported in process [%d]", preloader.pid)

    def _preloader_ended(self, preloader: Preloader, code: int) -> None:
        now = time.monotonic()
        if self._preloader is preloader:
            self._preloader = None
        if self._stopping or preloader.phase is Phase.LEAVING:
            return
        if preloader.failure is None:
            logger.error("The process [%d] that imports the application died: %s", preloader.pid, _told(code))
        self._start_failed(preloader, code, now)

    def _last_words(self, process: Process) -> str | None:
        """The stack of a process whose event loop is stuck, as faulthandler writes it."""
        process.signal(signal.SIGUSR2)
        give_up = time.monotonic() + _LAST_WORDS
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.channel, selectors.EVENT_READ)
            # It comes in pieces, and nothing says which is the last.
            while waiting.select(0.1 if process.channel.stack else give_up - time.monotonic()):
                process.hear(process.channel.receive(), time.monotonic())
                if process.channel.closed or time.monotonic() > give_up:
                    break
        return "\n".join(process.channel.stack) or None

    # Ends.

    def _bury(self) -> None:
        """Reap whoever ended, and see what that means. As PID 1 that includes orphans that are none of ours."""
        if os.getpid() == 1:
            while (found := _wait(-1)) is not None:
                pid, code = found
                if (known := self._processes.get(pid) or self._preloaders.get(pid)) is not None:
                    known.exit_code = code
        for process in [*self._preloaders.values(), *self._processes.values()]:
            if process.exit_code is None and (found := _wait(process.pid)) is not None:
                process.exit_code = found[1]
        for process in [*self._preloaders.values(), *self._processes.values()]:
            if process.exit_code is not None:
                self._ended(process, process.exit_code)

    def _ended(self, process: Process, code: int) -> None:
        now = time.monotonic()
        if not process.channel.closed:
            process.hear(process.channel.receive(), now)
            self._selector.unregister(process.channel)
        process.channel.close()
        if isinstance(process, Preloader):
            del self._preloaders[process.pid]
            self._preloader_ended(process, code)
            return
        del self._processes[process.pid]
        if process.phase is Phase.LEAVING and not process.killed:
            logger.info("Child process [%d] ended", process.pid)
            return
        if process.failure is None:
            logger.error("Child process [%d] died: %s", process.pid, _told(code))
        if self._stopping or self._fatal is not None:
            return
        if process.phase is Phase.STARTING or now - process.started < STABLE:
            self._start_failed(process, code, now)

    def _start_failed(self, process: Process, code: int, now: float) -> None:
        if process.started >= self._failed_at:  # those that were under way already are the same failure
            self._count_failure(now)
        if process.failure is not None:
            text, exit_code = process.failure
            if not self._ever_ready:
                self._fatal = UsageError(text) if exit_code == UsageError.exit_code else StartupError(text)
                return
            logger.error("A child process cannot start: %s", text)
        elif not self._ever_ready and self._failures >= HOPELESS:
            self._fatal = StartupError(
                f"worker processes end before they are ready: {_told(code)}",
                hint="What they logged is above",
            )
            return
        serving = [other for other in self._processes.values() if other.phase is Phase.READY]
        if process.generation == self._generation and serving:
            oldest = min(other.generation for other in serving)
            if oldest < self._generation:
                logger.error("The restart is given up, and the old child processes go on.")
                self._generation = oldest

    def _count_failure(self, now: float) -> None:
        if self._failed_at + max(STABLE, 2 * backoff(self._failures)) < now:
            self._failures = 0
        self._failures += 1
        self._failed_at = now
        self._retry_at = now + backoff(self._failures)

    # Signals.

    @contextlib.contextmanager
    def _catching_signals(self) -> Iterator[None]:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._selector.register(reader, selectors.EVENT_READ)

        def note(number: int, _frame: FrameType | None) -> None:
            self._signals.append(number)

        before = {number: signal.signal(number, note) for number in self._handlers}
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _interrupted(self) -> None:
        self._caught.append(signal.SIGINT)
        if not self._stopping:
            self._stop_all()
        elif not self._hurried:
            self._hurried = True
            for process in self._processes.values():
                process.signal(signal.SIGINT)
        else:
            self._forced = True

    def _stop(self) -> None:
        self._caught.append(signal.SIGTERM)
        self._stop_all()

    def _stop_all(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for listener in self._listeners:
            listener.withdraw()  # nobody new comes; who is in the backlog is taken in by those who leave

    def _quit(self) -> None:
        self._caught.append(signal.SIGQUIT)
        self._stop_all()
        self._forced = True

    def _restart(self) -> None:
        logger.info("Restarting: child processes are replaced one after the other")
        self._failures = 0
        self._retry_at = 0.0
        if self.config.preload:
            self._preload()
        else:
            self._generation += 1

    def _one_more(self) -> None:
        self._wanted += 1
        logger.info("%d child processes are wanted", self._wanted)

    def _one_fewer(self) -> None:
        self._wanted = max(1, self._wanted - 1)
        logger.info("%d child processes are wanted", self._wanted)

    def _reopen_logs(self) -> None:
        for process in self._processes.values():
            process.signal(signal.SIGUSR1)


def _wait(pid: int, options: int = os.WNOHANG) -> tuple[int, int] | None:
    """Pid and exit code of a child that ended (negative: the signal that ended it), or None."""
    try:
        found, status = os.waitpid(pid, options)
    except ChildProcessError:
        return None
    return (found, os.waitstatus_to_exitcode(status)) if found else None


def _log_with_stack(message: str, stack: str | None) -> None:
    """What ``logger.error(message, stack_info=True)`` would do, were it our own stack."""
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, message, (), None, sinfo=stack)
    logger.handle(record)


def _told(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
