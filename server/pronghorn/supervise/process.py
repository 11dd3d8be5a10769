"""One worker process, as its supervisor knows it: how it is started, and what it has told of itself."""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pronghorn.config import Config
from pronghorn.errors import UsageError

from .channel import Channel, Message, Role, Start
from .policy import Phase, Worker

#: The exit code of a process whose parent had reaped it and then died before it told.
LOST = 256
#: Seconds that a fork may take. It copies the tables of a process that may be large.
_FORK = 10.0


@dataclass(slots=True, eq=False)
class Process:
    """A worker process. Times are of the supervisor's clock, in seconds."""

    pid: int
    slot: int
    generation: int
    channel: Channel
    started: float
    lifetime: float | None
    since: float
    heard: float
    phase: Phase = Phase.STARTING
    rss: int = 0
    wish: str = ""
    killed: bool = False
    #: Whether it has to open its log files anew as soon as it is ready.
    reopens: bool = False
    where: list[str] = field(default_factory=list)
    #: Text and exit code of the error that kept it from starting.
    failure: tuple[str, int] | None = None
    #: Set for one that is not our child, by its parent: how it ended.
    parent: Preloader | None = None
    exit_code: int | None = None

    def enter(self, phase: Phase, now: float) -> None:
        """It comes into another phase."""
        self.phase = phase
        self.since = now

    def hear(self, messages: Sequence[Message], now: float) -> None:
        """Take in what it said."""
        for message in messages:
            self.heard = now
            if "ready" in message and self.phase is Phase.STARTING:
                self.where = message["ready"]
                self.enter(Phase.READY, now)
            elif "beat" in message:
                self.rss = message["beat"]["rss"]
            elif "wish" in message:
                self.wish = message["wish"]
            elif "failed" in message:
                self.failure = (message["failed"]["text"], message["failed"]["code"])

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def seen(self) -> Worker:
        """What `policy.decide` needs to know of it."""
        return Worker(
            pid=self.pid,
            slot=self.slot,
            generation=self.generation,
            phase=self.phase,
            started=self.started,
            since=self.since,
            heard=self.heard,
            rss=self.rss,
            wish=self.wish,
            lifetime=self.lifetime,
            killed=self.killed,
        )


@dataclass(slots=True, eq=False)
class Preloader(Process):
    """The process that workers are forked from, and whose children they are."""

    #: How many forks it was asked for and how many it has answered, which it does in turn; and the pid of the last answer.
    asked: int = 0
    answered: int = 0
    forked: int = 0
    #: Pids and exit codes of those that ended.
    ended: list[tuple[int, int]] = field(default_factory=list)

    def hear(self, messages: Sequence[Message], now: float) -> None:
        super(Preloader, self).hear(messages, now)
        for message in messages:
            if "forked" in message:
                self.answered += 1
                self.forked = message["forked"]
            elif "ended" in message:
                pid, code = message["ended"]
                self.ended.append((pid, code))

    def take_ended(self) -> list[tuple[int, int]]:
        """Those that it has told of since this was last asked."""
        ended, self.ended = self.ended, []
        return ended

    def fork(self, listeners: Sequence[int], now: float) -> tuple[int, Channel]:
        """A new process and our end of its channel. Raises OSError where there is none, after a while.

        One that comes later than that finds the other end of its channel closed, and goes.
        """
        ours, theirs = Channel.pair()
        try:
            socket.send_fds(self.channel.sock, [b"fork"], [theirs.fileno(), *listeners])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.asked += 1
        give_up = time.monotonic() + _FORK
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.channel, selectors.EVENT_READ)
            while self.answered < self.asked:
                if self.channel.closed or not waiting.select(max(0.0, give_up - time.monotonic())):
                    ours.close()
                    raise OSError("the process to fork from does not answer")
                self.hear(self.channel.receive(), now)
        return self.forked, ours


@dataclass(slots=True, eq=False)
class AdminProcess(Process):
    """The process that serves the admin listener."""


def told(code: int) -> str:
    """How a process ended, for people."""
    if code == LOST:
        return "of what, nobody knows"
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def start_worker(
    config: Config,
    listeners: Sequence[int],
    *,
    slot: int,
    generation: int,
    now: float,
    preloader: Preloader | None = None,
) -> Process:
    """Start a worker, in a fresh interpreter unless there is one to fork from.

    Raises OSError if there can be no more processes, and UsageError for a configuration that cannot be handed over.
    """
    pid, channel = _spawn(listeners, Role.WORKER) if preloader is None else preloader.fork(listeners, now)
    lifetime = config.limit_worker_lifetime
    if lifetime is not None:
        lifetime += random.random() * config.limit_worker_lifetime_jitter  # noqa: S311  # spread, not secrecy
    parent = os.getpid() if preloader is None else preloader.pid
    process = Process(
        pid=pid,
        slot=slot,
        channel=channel,
        generation=generation,
        lifetime=lifetime,
        parent=preloader,
        **_times(now),
    )
    _hand_over(process, config, listeners, parent=parent)
    return process


def start_preloader(config: Config, *, generation: int, now: float) -> Preloader:
    """Start a process to fork workers from. Raises as `start_worker` does."""
    pid, channel = _spawn((), Role.PRELOADER)
    process = Preloader(
        pid=pid, slot=-1, channel=channel, generation=generation, lifetime=None, **_times(now)
    )
    _hand_over(process, config, (), parent=os.getpid())
    return process


def start_admin(config: Config, listeners: Sequence[int], *, now: float) -> AdminProcess:
    """Start the process of the admin listener. Raises as `start_worker` does."""
    pid, channel = _spawn(listeners, Role.ADMIN)
    process = AdminProcess(pid=pid, slot=-1, channel=channel, generation=0, lifetime=None, **_times(now))
    _hand_over(process, config, listeners, parent=os.getpid())
    return process


def _times(now: float) -> dict[str, Any]:
    return {"started": now, "since": now, "heard": now}


def _spawn(listeners: Sequence[int], role: Role) -> tuple[int, Channel]:
    ours, theirs = Channel.pair()
    words = ["-m", "pronghorn.supervise.child", str(theirs.fileno()), role.value]
    command = [sys.executable, *_interpreter_flags(), *words]
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            # A descriptor duplicated onto itself is one that is inherited: posix_spawn(3).
            file_actions=[(os.POSIX_SPAWN_DUP2, number, number) for number in (theirs.fileno(), *listeners)],
            setsigdef=[number for number in signal.valid_signals() if number not in UNTOUCHABLE],
            # A terminal's Ctrl+C is not to interrupt the imports, with a traceback from every worker; `child.begin` lets it in.
            setsigmask=[signal.SIGINT],
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours


def _hand_over(process: Process, config: Config, listeners: Sequence[int], *, parent: int) -> None:
    start = Start(
        config=config,
        listeners=tuple(listeners),
        path=tuple(sys.path),
        beat=min(config.timeout_notify, config.timeout_worker_healthcheck / 2),
        parent=parent,
        slot=process.slot,
        generation=process.generation,
    )
    try:
        process.channel.send_start(start)
    except (BrokenPipeError, ConnectionResetError):
        pass  # It is gone already, and its end will be seen.
    except Exception as exc:
        process.signal(signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(process.pid, 0)
        raise UsageError(
            f"worker processes cannot be given this configuration: {exc}",
            hint="With more than one worker or --reload, everything in it has to be importable",
        ) from exc


#: Signals whose handling cannot be set.
UNTOUCHABLE = (signal.SIGKILL, signal.SIGSTOP)


def _interpreter_flags() -> list[str]:
    """The flags of this interpreter that its children should have: those that `multiprocessing` hands on too."""
    flags: Any = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return list(flags)
