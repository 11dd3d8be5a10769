"""Many workers, looked after for months: what their starts and ends mean, signals, and what is worth a log line.

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
from dataclasses import replace
from types import FrameType
from typing import Final

from pronghorn.config import Config
from pronghorn.errors import StartupError, UsageError, UserError
from pronghorn.net.sockets import Listener, beside, describe
from pronghorn.observe import logs
from pronghorn.observe.reopen import reopen
from pronghorn.worker.listening import listen, listen_admin
from pronghorn.worker.signals import pass_on

from . import cpus, notify, upgrade
from .attempts import STABLE, Attempts
from .family import Family
from .keeper import Keeper
from .policy import Action, Halt, Kill, Limits, Phase, Retire, Snapshot, Spawn, Terminate, decide
from .process import AdminProcess, Preloader, Process, told
from .report import Report
from .tally import Tally
from .watch import Watcher, name_files

logger = logging.getLogger("pronghorn.error")

#: Seconds between two looks at those who say nothing.
_TICK: Final = 0.5
#: Starts in a row, none of them ever ready, after which there is no point in going on.
_HOPELESS: Final = 5


class Supervisor:
    """Serves the application of one `Config` from worker processes: `workers` of them, or one with `reload`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._limits = Limits(
            silence=config.timeout_worker_healthcheck,
            # While one develops, a stream that nobody ends must not hold up the next try.
            grace=0
            if config.reload and config.timeout_graceful_shutdown is None
            else config.timeout_graceful_shutdown,
            memory=config.limit_worker_memory,
            # While one develops, the old code is of no use to anybody, and may hold what the new one needs.
            surge=0 if config.reload else 1,
        )
        if config.reload:
            self._wanted = 1
        else:
            self._wanted = cpus.available() if config.workers == "auto" else int(config.workers)
        self._selector = selectors.DefaultSelector()
        # Whoever tells a worker to go has seen to the delay.
        self._family = Family(replace(config, drain_delay=0), self._selector, self._descriptors)
        self._report = Report(notify.Notifier())
        self._watcher: Watcher | None = None
        # Of a binary upgrade: who takes our place, or whose place we take.
        self._handover = upgrade.Handover(self._selector)
        self._predecessor: upgrade.Predecessor | None = None
        # Those that all workers share; with --reuse-port they are the first slot's, and the others have their own.
        self._listeners: list[Listener] = []
        self._own: dict[int, list[Listener]] = {}
        self._admin = Keeper(config, self._family)
        self._tally = Tally()
        self._signals: deque[int] = deque()
        self._caught: list[int] = []
        self._generation = 0
        self._stopping = self._hurried = self._forced = self._halted = False
        self._ever_ready = self._announced = False
        # When --drain-delay is over, once the end is announced.
        self._leave_at: float | None = None
        self._starts = Attempts()
        self._looked_at = time.monotonic()
        self._fatal: UserError | None = None
        self._handlers: dict[int, Callable[[], None]] = {
            signal.SIGINT: self._interrupted,
            signal.SIGTERM: self._terminated,
            signal.SIGQUIT: self._quit,
            signal.SIGHUP: self._restart,
            signal.SIGTTIN: self._one_more,
            signal.SIGTTOU: self._one_fewer,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGUSR2: self._upgrade,
            signal.SIGCHLD: lambda: None,  # whose end it was is looked for after every event
        }

    def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serve until a signal ends it, which the process is then left to. Raises UserError if no worker can be started."""
        logs.configure(**self.config.logging)
        self._report = Report(notify.from_environ(os.environ))
        try:
            self._run(sockets)
        except UserError as exc:
            self._report.failed(str(exc))
            raise

    def _run(self, sockets: Sequence[socket.socket] | None) -> None:
        config = self.config
        with self._catching_signals(), contextlib.ExitStack() as stack:
            self._predecessor = upgrade.predecessor(os.environ)
            self._listeners = self._predecessor.listeners if self._predecessor else listen(config, sockets)
            stack.callback(self._close_listeners)
            self._admin = Keeper(config, self._family, self._admin_listeners())
            self._begin_counting(stack)
            if config.reload:
                self._watcher = Watcher.of(config)
                self._watcher.start()
                stack.callback(self._watcher.stop)
                self._selector.register(self._watcher, selectors.EVENT_READ)
                logger.info("Started reloader process [%d] using %s", os.getpid(), self._watcher.name)
            else:
                logger.info("Started parent process [%d]", os.getpid())
            stack.callback(self._family.close)
            while not self._halted:
                self._turn()
        logger.info("Stopping %s process [%d]", "reloader" if config.reload else "parent", os.getpid())
        if self._fatal is not None:
            raise self._fatal
        pass_on(self._caught)

    def _descriptors(self, slot: int) -> list[int]:
        """The listening sockets of a slot, which its workers have one after the other: who waits in them waits for the next."""
        listeners = self._listeners
        if self.config.reuse_port and slot:
            if slot not in self._own:
                self._own[slot] = beside(listeners, self.config.backlog)
            listeners = self._own[slot]
        return [listener.sock.fileno() for listener in listeners]

    def _begin_counting(self, stack: contextlib.ExitStack) -> None:
        """Make the folder of the count files, if there are to be any, and tell everybody of it."""
        config = self.config
        if config.admin is None and not config.metrics:
            return
        from pronghorn.observe import slots  # noqa: PLC0415  # not for those who count nothing
        from pronghorn.observe.counts import count_in  # noqa: PLC0415  # the same

        folder = slots.directory(config.metrics_dir)
        stack.callback(folder.close)
        self._family.config = replace(self._family.config, metrics_dir=str(folder.path))
        self._tally = Tally(count_in(folder.path, slots.SUPERVISOR))
        stack.callback(self._tally.close)

    def _admin_listeners(self) -> list[Listener]:
        passed = self._predecessor.admin if self._predecessor else []
        if passed and self.config.admin is not None:
            return passed
        for listener in passed:
            listener.close()
        return listen_admin(self.config)

    def _close_listeners(self) -> None:
        own = (one for own in self._own.values() for one in own)
        for listener in [*self._listeners, *own, *self._admin.listeners]:
            listener.close()

    # One turn: decide, do, hear, bury.

    def _turn(self) -> None:
        now = time.monotonic()
        late = now - self._looked_at - _TICK
        if late > 0:
            # It was we who did not run: a container that was paused, a machine that slept, or stood still for a moment. Nobody is to
            # blame for being silent meanwhile.
            self._family.forgive(late, now)
        if self.config.preload and not (self._stopping or self._fatal):
            if (
                self._family.preloader is None
                and not self._family.preloading
                and now >= self._starts.retry_at
            ):
                self._started(lambda: self._family.preload(self._generation))
            self._family.release()
        self._tally.look(self._wanted, stopping=self._stopping or self._leave_at is not None)
        if self._predecessor is None:  # as long as there is one, its admin listener tells the truth
            self._admin.see_to(now)
        if self._leave_at is not None and now >= self._leave_at:
            self._stop()
        for action in decide(self._snapshot(), now):
            self._do(action)
        if self._halted:
            return
        # A signal has its turn after whatever was said before it: by a worker, for instance, that is ready to be restarted.
        signals, self._signals = self._signals, deque()
        found = self._selector.select(0 if signals else self._until_next_look(now))
        self._looked_at = now
        for key, _ in found:
            if isinstance(key.data, Process):
                if self._family.hear(key.data):
                    self._ready(key.data)
            elif key.fileobj is self._watcher:
                self._reload()
            elif key.data is self._handover:
                if self._handover.hear():
                    self._hand_over()
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 4096)
        for number in signals:
            self._handlers[number]()
        for process, code in self._family.bury():
            self._ended(process, code)
        if self._handover.failed(time.monotonic()):
            self._report.given_up("An upgrade failed; the old processes serve")
        workers = self._family.workers.values()
        if not self._stopping and self._leave_at is None:
            self._report.look(workers, self._wanted, -1 if self._family.preloading else self._generation)
        self._report.feed(workers, self._limits.silence, time.monotonic())

    def _until_next_look(self, now: float) -> float:
        if self._leave_at is None or self._stopping:
            return _TICK
        return max(0.0, min(_TICK, self._leave_at - now))

    def _snapshot(self) -> Snapshot:
        waiting_for_code = self.config.preload and self._family.preloader is None
        return Snapshot(
            workers=tuple(process.seen() for process in self._family.workers.values()),
            wanted=self._wanted,
            limits=self._limits,
            generation=self._generation,
            retry_at=math.inf if waiting_for_code else self._starts.retry_at,
            stopping=self._stopping,
            forced=self._forced,
            hopeless=self._fatal is not None,
        )

    def _do(self, action: Action) -> None:
        workers = self._family.workers
        match action:
            case Spawn(slot):
                if self._started(lambda: self._family.start(slot, self._generation)):
                    self._tally.started()
            case Retire(pid, why):
                logger.info("Retiring child process [%d]: %s", pid, why)
                self._give_up_socket(workers[pid].slot)
                workers[pid].channel.send({"retire": True})
                workers[pid].enter(Phase.LEAVING, time.monotonic())
            case Terminate(pid, _) if self._handover.done:
                self._do(Retire(pid, "another supervisor serves"))
            case Terminate(pid, why):
                if not self._stopping:
                    logger.info("Stopping child process [%d]: %s", pid, why)
                self._give_up_socket(workers[pid].slot)
                workers[pid].signal(signal.SIGTERM)
                workers[pid].enter(Phase.LEAVING, time.monotonic())
            case Kill(pid, why, stuck):
                stack = self._family.last_words(workers[pid]) if stuck else None
                _log_with_stack(f"Killing child process [{pid}]: {why}", stack)
                workers[pid].signal(signal.SIGKILL)
                workers[pid].killed = True
            case Halt():
                self._halted = True

    def _give_up_socket(self, slot: int) -> None:
        """A slot that nobody is wanted in: its last worker takes in who waits, and the kernel sends it nobody any more."""
        if slot >= self._wanted:
            self._close_own(slot)

    def _close_own(self, slot: int) -> None:
        for listener in self._own.pop(slot, ()):
            listener.close()

    def _started(self, start: Callable[[], None]) -> bool:
        try:
            start()
        except (OSError, UserError) as exc:  # no memory, no processes, a port that is taken: that passes
            if isinstance(exc, UserError) and not self._ever_ready:
                self._fatal = exc
            logger.error("Cannot start a child process: %s", exc)  # noqa: TRY400  # the traceback is ours and says nothing
            self._starts.failed(time.monotonic())
            return False
        return True

    # Beginnings and ends.

    def _ready(self, process: Process) -> None:
        if isinstance(process, AdminProcess):
            self._admin.ready()
            return
        if isinstance(process, Preloader):
            logger.info("The application is imported in process [%d]", process.pid)
            if self._family.preloader is not None:
                self._generation += 1
            self._family.preloader = process
            return
        self._ever_ready = True
        if process.reopens:
            process.signal(signal.SIGUSR1)
        if self._leave_at is not None:
            process.channel.send({"announce": True})
        if self._predecessor is not None:
            self._predecessor.succeed()
            self._predecessor = None
        if not self._announced:
            self._announced = True
            tls = self.config.ssl_certfile is not None or self.config.ssl_context_factory is not None
            for listener in self._listeners:
                logger.info("Pronghorn running on %s (Press CTRL+C to quit)", describe(listener, tls))

    def _ended(self, process: Process, code: int) -> None:
        now = time.monotonic()
        if isinstance(process, AdminProcess):
            self._admin.ended(process, code, now)
            return
        if not isinstance(process, Preloader):
            self._tally.ended(process, code)
        leaving = process.phase is Phase.LEAVING and not process.killed
        if isinstance(process, Preloader):
            if not leaving and process.failure is None:
                logger.error("Process [%d], which imports the application, died: %s", process.pid, told(code))
        elif leaving:
            logger.info("Child process [%d] ended", process.pid)
        elif process.failure is None:
            logger.error("Child process [%d] died: %s", process.pid, told(code))
        if leaving or self._stopping or self._fatal is not None:
            return
        if process.phase is Phase.STARTING or now - process.started < STABLE:
            self._start_failed(process, code, now)

    def _start_failed(self, process: Process, code: int, now: float) -> None:
        # Those that were under way already when the last one failed are the same failure.
        if process.started >= self._starts.failed_at:
            self._starts.failed(now)
        if self._watcher is not None and process.phase is Phase.STARTING:
            why = told(code) if process.failure is None else process.failure[0]
            logger.error("The application cannot be started: %s. Waiting for a change.", why)
            self._starts.suspend()
            return
        if process.failure is not None:
            text, exit_code = process.failure
            if not self._ever_ready:
                self._fatal = UsageError(text) if exit_code == UsageError.exit_code else StartupError(text)
                return
            logger.error("A child process cannot start: %s", text)
        elif not self._ever_ready and self._starts.failures >= _HOPELESS:
            self._fatal = StartupError(
                f"worker processes end before they are ready: {told(code)}",
                hint="What they logged is above",
            )
            return
        self._keep_the_old(process)

    def _keep_the_old(self, failed: Process) -> None:
        """A restart that fails is given up; the next one is somebody's decision."""
        serving = [one.generation for one in self._family.workers.values() if one.phase is Phase.READY]
        if isinstance(failed, Preloader):
            given_up = self._family.preloader is not None
        else:
            given_up = failed.generation == self._generation > min(serving, default=self._generation)
            self._generation = min(serving, default=self._generation) if given_up else self._generation
        if given_up:
            logger.error("The restart is given up, and the old child processes go on.")
            self._report.given_up("A restart was given up; the old worker processes serve")

    # Signals, and changed files.

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
            self._selector.close()
            os.close(reader)
            os.close(writer)

    def _interrupted(self) -> None:
        self._caught.append(signal.SIGINT)
        if not self._stopping:
            self._stop()
        elif not self._hurried:
            self._hurried = True
            self._family.signal(signal.SIGINT)
        else:
            self._forced = True

    def _terminated(self) -> None:
        self._caught.append(signal.SIGTERM)
        if self.config.drain_delay and self._ever_ready and self._leave_at is None and not self._stopping:
            self._announce(self.config.drain_delay)
        else:
            self._stop()

    def _quit(self) -> None:
        self._caught.append(signal.SIGQUIT)
        self._stop()
        self._forced = True

    def _announce(self, delay: float) -> None:
        """All go on serving, and are not ready any more; whoever sends requests here has time to see it."""
        logger.info("Stopping child processes in %g s", delay)
        self._leave_at = time.monotonic() + delay
        self._report.stopping()
        for process in self._family.workers.values():
            if process.phase is Phase.READY:
                process.channel.send({"announce": True})

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._leave_at is None:
            self._report.stopping()
        for listener in self._listeners:
            # Who is in the backlog is taken in by those who leave, who have the socket too. Were it open here any longer,
            # who comes later would wait in it for nobody, instead of trying elsewhere at once.
            listener.close()
        for slot in list(self._own):
            self._close_own(slot)

    def _restart(self) -> None:
        if self._stopping or self._leave_at is not None:
            return
        logger.info("Restarting: child processes are replaced one after the other")
        self._report.restarting("Replacing worker processes")
        self._starts.renew()
        if self.config.preload:
            self._started(lambda: self._family.preload(self._generation))
        else:
            self._generation += 1

    # Binary upgrade.

    def _upgrade(self) -> None:
        if self._stopping or self._leave_at is not None:
            return
        if self.config.reload or os.getpid() == 1:
            reason = "with --reload" if self.config.reload else "as PID 1, whose end is the container's"
            logger.error("There is no binary upgrade %s.", reason)
            return
        if self._handover.begin(self._listeners, self._admin.listeners, self._report.variables()):
            self._report.restarting("Another supervisor starts")

    def _hand_over(self) -> None:
        """Another supervisor serves."""
        for listener in [*self._listeners, *self._admin.listeners]:
            listener.file = None  # the other's now
        self._admin.dismiss()
        self._report.succeeded(self._handover.pid)
        self._stop()
        self._handover.complete()

    def _reload(self) -> None:
        assert self._watcher is not None
        changed = self._watcher.changes()
        if changed:
            logger.warning(
                "%s detected changes in %s. Reloading...",
                self._watcher.name,
                name_files(changed),
            )
            self._generation += 1
            self._starts.renew()

    def _one_more(self) -> None:
        self._want(self._wanted + 1)

    def _one_fewer(self) -> None:
        self._want(max(1, self._wanted - 1))

    def _want(self, count: int) -> None:
        self._wanted = count
        logger.info("%d child processes are wanted", count)

    def _reopen_logs(self) -> None:
        reopen()
        self._admin.reopen_logs()
        for process in self._family.workers.values():
            if process.phase is Phase.STARTING:
                # It may have opened its files already, and may not know the signal yet.
                process.reopens = True
            else:
                process.signal(signal.SIGUSR1)


def _log_with_stack(message: str, stack: str | None) -> None:
    """What ``logger.error(message, stack_info=True)`` would do, were it our own stack."""
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, message, (), None, sinfo=stack)
    logger.handle(record)
