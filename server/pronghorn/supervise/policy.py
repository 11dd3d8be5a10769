"""What a supervisor does next: `decide(snapshot, now)` gives the actions, and nothing else happens here.

A worker process serves from a slot, of which there are as many as workers are wanted. The rules, in the order in which they
are looked at:

* who is silent for too long is killed, be it serving or leaving; so is who takes too long to leave;
* when all are to stop, each is told once, and the supervisor halts when the last one is gone;
* a slot that nobody is wanted in any more is emptied; a slot that nobody is in is filled;
* a worker that has to be replaced (an older generation, too large, too old, or by its own wish) goes on serving until its
  successor is ready. No more than `Limits.surge` are replaced at a time; with a surge of 0 the old one goes first.

Nothing starts before `Snapshot.retry_at`: starts that fail come further and further apart (`Attempts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

#: Seconds beyond --timeout-graceful-shutdown after which a worker that is leaving is killed: the shutdown of its
#: application's lifespan needs a moment too.
PATIENCE: Final = 5.0


class Phase(Enum):
    """What a worker is at."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker process. Times are those of one clock, in seconds; `rss` is in bytes.

    `since` is when it came into its phase, `heard` when it last gave a sign of life. `wish` is why it asked to be replaced,
    empty if it did not. `lifetime` is how old it may get.
    """

    pid: int
    slot: int
    generation: int
    phase: Phase
    started: float
    since: float
    heard: float
    rss: int = 0
    wish: str = ""
    lifetime: float | None = None
    killed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is asked of workers: None for no limit. `silence` and `grace` in seconds, `memory` in bytes."""

    silence: float
    grace: float | None = None
    memory: int | None = None
    surge: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a decision depends on, but the time.

    `stopping` is true once all are to go, `forced` once that is to be quick. `hopeless` is true when starting cannot succeed
    any more; `exit_code` is what the supervisor ends with then.
    """

    workers: tuple[Worker, ...]
    wanted: int
    limits: Limits
    generation: int = 0
    retry_at: float = 0.0
    stopping: bool = False
    forced: bool = False
    hopeless: bool = False
    by_slot: dict[int, list[Worker]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        slots: dict[int, list[Worker]] = {}
        for worker in self.workers:
            if worker.phase is not Phase.LEAVING:
                slots.setdefault(worker.slot, []).append(worker)
        object.__setattr__(self, "by_slot", slots)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker in this slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Let a worker go in whose place others serve: it loses nobody, and has time."""

    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Tell a worker to drain and go."""

    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker now. `stuck`: it is silent, and its stack would tell why."""

    pid: int
    why: str
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Halt:
    """Nothing is left to do."""


Action = Spawn | Retire | Terminate | Kill | Halt


def decide(snapshot: Snapshot, now: float) -> list[Action]:
    """What to do now, in this order. Asked again after every event, and from time to time."""
    actions: list[Action] = list(_kills(snapshot, now))
    if snapshot.stopping or snapshot.hopeless:
        if not snapshot.workers:
            return [Halt()]
        return [*actions, *(Terminate(w.pid, "stop") for w in snapshot.workers if _may_be_told(w))]
    for slot, members in snapshot.by_slot.items():
        if slot >= snapshot.wanted:
            actions += (_go(worker, "one fewer is wanted") for worker in members)
    return [*actions, *_fill(snapshot, now)]


def _kills(snapshot: Snapshot, now: float) -> Iterator[Action]:
    limits = snapshot.limits
    for worker in snapshot.workers:
        if worker.killed:
            continue
        if snapshot.forced:
            yield Kill(worker.pid, "forced")
        elif worker.phase is not Phase.STARTING and now - worker.heard > limits.silence:
            yield Kill(worker.pid, f"silent for {now - worker.heard:.1f} s", stuck=True)
        elif (
            worker.phase is Phase.LEAVING
            and limits.grace is not None
            and now - worker.since > limits.grace + PATIENCE
        ):
            yield Kill(worker.pid, f"still there {now - worker.since:.0f} s after it was told to go")


def _go(worker: Worker, why: str) -> Action:
    """Others serve: one that does may take its time, and one that does not yet has nothing to lose."""
    return (Retire if worker.phase is Phase.READY else Terminate)(worker.pid, why)


def _may_be_told(worker: Worker) -> bool:
    return worker.phase is not Phase.LEAVING and not worker.killed


def _fill(snapshot: Snapshot, now: float) -> Iterator[Action]:
    """Starts, and the ends of those whose successors are ready."""
    may_start = now >= snapshot.retry_at
    under_way = sum(len(members) > 1 for members in snapshot.by_slot.values())
    for slot in range(snapshot.wanted):
        members = snapshot.by_slot.get(slot, [])
        newest = max(members, key=lambda worker: worker.started, default=None)
        if newest is None:
            if may_start:
                yield Spawn(slot)
            continue
        if newest.phase is Phase.READY:
            for worker in members:
                if worker is not newest:
                    yield Retire(worker.pid, why_replace(worker, snapshot, now) or "replaced")
        why = why_replace(newest, snapshot, now)
        if not why:
            continue
        if newest.phase is Phase.STARTING or not snapshot.limits.surge:
            yield Terminate(newest.pid, why)
        elif may_start and len(members) == 1 and under_way < snapshot.limits.surge:
            under_way += 1
            yield Spawn(slot)


def why_replace(worker: Worker, snapshot: Snapshot, now: float) -> str:
    """Why a worker should not go on; empty if it should."""
    if worker.generation < snapshot.generation:
        return "restart"
    if worker.phase is not Phase.READY:
        return ""
    if worker.wish:
        return worker.wish
    memory = snapshot.limits.memory
    if memory is not None and worker.rss > memory:
        return f"memory of {worker.rss / 2**20:.0f} MiB"
    if worker.lifetime is not None and now - worker.started > worker.lifetime:
        return f"age of {now - worker.started:.0f} s"
    return ""
