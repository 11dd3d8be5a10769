"""One worker process, as its supervisor knows it: how it is started, and what it has told of itself."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pronghorn.config import Config
from pronghorn.errors import UsageError

from .channel import Channel, Message, Start
from .policy import Phase, Worker

#: Workers of the same age are not all replaced at the same time: each gets up to this part more of its lifetime.
_SPREAD = 0.1


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
    where: list[str] = field(default_factory=list)
    #: Text and exit code of the error that kept it from starting.
    failure: tuple[str, int] | None = None

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


def spawn(config: Config, listeners: Sequence[int], *, slot: int, generation: int, now: float) -> Process:
    """Start a worker in a fresh interpreter. Raises UsageError for a configuration that cannot be handed over."""
    ours, theirs = Channel.pair()
    handed = (theirs.fileno(), *listeners)
    command = [sys.executable, *_interpreter_flags(), "-m", "pronghorn.supervise.child", str(theirs.fileno())]
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            # A descriptor duplicated onto itself is one that is inherited: posix_spawn(3).
            file_actions=[(os.POSIX_SPAWN_DUP2, number, number) for number in handed],
            setsigdef=[number for number in signal.valid_signals() if number not in _UNTOUCHABLE],
            setsigmask=[],
        )
    finally:
        theirs.close()
    lifetime = config.limit_worker_lifetime
    process = Process(
        pid=pid,
        slot=slot,
        generation=generation,
        channel=ours,
        started=now,
        since=now,
        heard=now,
        lifetime=lifetime and lifetime * (1 + random.random() * _SPREAD),  # noqa: S311  # spread, not secrecy
    )
    start = Start(
        config=config,
        listeners=tuple(listeners),
        path=tuple(sys.path),
        slot=slot,
        beat=min(config.timeout_notify, config.timeout_worker_healthcheck / 2),
        supervisor=os.getpid(),
    )
    try:
        ours.send_start(start)
    except (BrokenPipeError, ConnectionResetError):
        pass  # It is gone already, and its end will be seen.
    except Exception as exc:
        process.signal(signal.SIGKILL)
        os.waitpid(pid, 0)
        raise UsageError(
            f"worker processes cannot be given this configuration: {exc}",
            hint="With more than one worker or --reload, everything in it has to be importable",
        ) from exc
    return process


_UNTOUCHABLE = (signal.SIGKILL, signal.SIGSTOP)


def _interpreter_flags() -> list[str]:
    """The flags of this interpreter that its children should have: those that `multiprocessing` hands on too."""
    flags: Any = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return list(flags)
