"""What a supervisor decides, without a process: single decisions, and random histories of a made-up world."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pronghorn.supervise.policy import (
    PATIENCE,
    Action,
    Halt,
    Kill,
    Limits,
    Phase,
    Retire,
    Snapshot,
    Spawn,
    Terminate,
    Worker,
    decide,
)

LIMITS = Limits(silence=5.0, grace=10.0, memory=1000)


def worker(pid: int, slot: int = 0, phase: Phase = Phase.READY, **given_: Any) -> Worker:
    times: dict[str, Any] = {"started": 0.0, "since": 0.0, "heard": 100.0, "generation": 0}
    return Worker(pid=pid, slot=slot, phase=phase, **(times | given_))


def decided(*workers: Worker, wanted: int = 1, now: float = 100.0, **given_: Any) -> list[Action]:
    return decide(Snapshot(workers=workers, wanted=wanted, **({"limits": LIMITS} | given_)), now)


def test_empty_slots_are_filled() -> None:
    assert decided(wanted=3) == [Spawn(0), Spawn(1), Spawn(2)]
    assert decided(worker(1, slot=1), wanted=3) == [Spawn(0), Spawn(2)]


def test_nothing_starts_too_early() -> None:
    assert decided(wanted=2, retry_at=100.1) == []
    assert decided(worker(1, wish="limit"), retry_at=100.1) == []


def test_all_is_well() -> None:
    assert decided(worker(1), worker(2, slot=1, phase=Phase.STARTING), wanted=2) == []


def test_who_is_not_wanted_is_told_to_go() -> None:
    assert decided(worker(1), worker(2, slot=1)) == [Retire(2, "one fewer is wanted")]
    starting = worker(2, slot=1, phase=Phase.STARTING)
    assert decided(worker(1), starting) == [Terminate(2, "one fewer is wanted")]


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"wish": "limit of 100 requests"}, "limit of 100 requests"),
        ({"rss": 2 * 2**20}, "memory of 2 MiB"),
        ({"lifetime": 99.0}, "age of 100 s"),
    ],
)
def test_a_successor_comes_first(facts: dict[str, Any], why: str) -> None:
    old = worker(1, **facts)
    assert decided(old) == [Spawn(0)]
    assert decided(old, worker(2, phase=Phase.STARTING, started=99.0)) == []
    assert decided(old, worker(2, started=99.0)) == [Retire(1, why)]


def test_a_new_generation_replaces_one_after_the_other() -> None:
    old = [worker(pid, slot=pid) for pid in range(3)]
    assert decided(*old, wanted=3, generation=1) == [Spawn(0)]
    new = worker(9, slot=0, phase=Phase.STARTING, started=99.0, generation=1)
    assert decided(*old, new, wanted=3, generation=1) == []
    ready = replace(new, phase=Phase.READY)
    assert decided(*old, ready, wanted=3, generation=1) == [Retire(0, "restart")]
    going = replace(old[0], phase=Phase.LEAVING, since=99.0)
    assert decided(going, *old[1:], ready, wanted=3, generation=1) == [Spawn(1)]


def test_one_that_starts_with_old_code_is_not_waited_for() -> None:
    assert decided(worker(1, phase=Phase.STARTING), generation=1) == [Terminate(1, "restart")]


def test_without_a_surge_the_old_one_goes_first() -> None:
    limits = Limits(silence=5.0, surge=0)
    assert decided(worker(1), generation=1, limits=limits) == [Terminate(1, "restart")]
    assert decided(worker(1, phase=Phase.LEAVING), generation=1, limits=limits) == [Spawn(0)]


def test_the_silent_are_killed_but_not_while_they_start() -> None:
    assert decided(worker(1, heard=94.0)) == [Kill(1, "silent for 6.0 s", stuck=True)]
    assert decided(worker(1, heard=95.0)) == []
    assert decided(worker(1, heard=0.0, phase=Phase.STARTING)) == []
    assert decided(worker(1, heard=0.0, killed=True)) == []


def test_who_does_not_go_is_killed() -> None:
    late = worker(1, phase=Phase.LEAVING, since=100.0 - 10.0 - PATIENCE - 1)
    assert decided(late, worker(2)) == [Kill(1, "still there 16 s after it was told to go")]
    assert decided(late, worker(2), limits=Limits(silence=5.0)) == []


def test_at_the_end_each_is_told_once_and_then_all_is_over() -> None:
    going = worker(2, phase=Phase.LEAVING, since=99.0)
    starting = worker(3, slot=1, phase=Phase.STARTING)
    assert decided(worker(1), going, starting, stopping=True) == [Terminate(1, "stop"), Terminate(3, "stop")]
    assert decided(going, stopping=True) == []
    assert decided(stopping=True) == [Halt()]
    assert decided(hopeless=True) == [Halt()]
    assert Kill(1, "forced") in decided(worker(1), stopping=True, forced=True)


@dataclass
class World:
    """Processes that do what they are told, and sometimes what they like."""

    wanted: int
    surge: int
    now: float = 0.0
    generation: int = 0
    stopping: bool = False
    halted: bool = False
    workers: dict[int, Worker] = field(default_factory=dict)
    pids: int = 0

    def step(self) -> None:
        snapshot = Snapshot(
            workers=tuple(self.workers.values()),
            wanted=self.wanted,
            limits=Limits(silence=5.0, grace=10.0, memory=1000, surge=self.surge),
            generation=self.generation,
            stopping=self.stopping,
        )
        for action in decide(snapshot, self.now):
            self.do(action)

    def do(self, action: Action) -> None:
        match action:
            case Spawn(slot):
                assert not self.stopping
                assert slot < self.wanted
                staying = [
                    w for w in self.workers.values() if w.phase is not Phase.LEAVING and w.slot == slot
                ]
                assert len(staying) < 2, "two successors for one worker"
                assert not staying or self.doubled() < self.surge, "more replaced at a time than may be"
                self.pids += 1
                self.workers[self.pids] = worker(
                    *(self.pids, slot, Phase.STARTING),
                    started=self.now,
                    since=self.now,
                    heard=self.now,
                    generation=self.generation,
                )
            case Retire(pid, _):
                old = self.workers[pid]
                assert old.slot >= self.wanted or any(
                    w.phase is Phase.READY and w.slot == old.slot and w.started > old.started
                    for w in self.workers.values()
                ), "retired before its successor was ready"
                self.workers[pid] = replace(old, phase=Phase.LEAVING, since=self.now)
            case Terminate(pid, _):
                old = self.workers[pid]
                assert old.phase is not Phase.LEAVING, "told twice"
                self.workers[pid] = replace(old, phase=Phase.LEAVING, since=self.now)
            case Kill(pid, _, _):
                self.workers[pid] = replace(self.workers[pid], killed=True)
            case Halt():
                assert not self.workers
                self.halted = True

    def doubled(self) -> int:
        """In how many slots two are staying."""
        slots = [w.slot for w in self.workers.values() if w.phase is not Phase.LEAVING]
        return sum(slots.count(slot) > 1 for slot in set(slots))

    def pass_time(self) -> None:
        """A second in which nobody is stuck: who starts gets ready, who is to go goes, and all are heard of."""
        self.now += 1
        for pid, one in list(self.workers.items()):
            if one.killed or one.phase is Phase.LEAVING:
                del self.workers[pid]
            else:
                self.workers[pid] = replace(one, phase=Phase.READY, heard=self.now)


EVENTS = st.sampled_from(("time", "time", "crash", "stuck", "fat", "wish", "restart", "more", "fewer"))


@settings(max_examples=300)
@given(st.integers(1, 4), st.integers(0, 2), st.lists(st.tuples(EVENTS, st.integers(0, 9)), max_size=40))
def test_whatever_happens_the_wanted_workers_serve_in_the_end(
    wanted: int, surge: int, history: list[tuple[str, int]]
) -> None:
    world = World(wanted, surge)
    for event, number in history:
        world.step()
        alive = sorted(world.workers)
        pid = alive[number % len(alive)] if alive else 0
        match event:
            case "time":
                world.pass_time()
            case "crash" if pid:
                del world.workers[pid]
            case "stuck" if pid:
                world.workers[pid] = replace(world.workers[pid], heard=world.now - 6)
            case "fat" if pid:
                world.workers[pid] = replace(world.workers[pid], rss=2000)
            case "wish" if pid:
                world.workers[pid] = replace(world.workers[pid], wish="limit")
            case "restart":
                world.generation += 1
            case "more":
                world.wanted += 1
            case "fewer":
                world.wanted = max(1, world.wanted - 1)
    for _ in range(4 * (world.wanted + 4)):
        world.step()
        world.pass_time()
    serving = [w for w in world.workers.values() if w.phase is Phase.READY]
    assert sorted(w.slot for w in serving) == list(range(world.wanted))
    assert {w.generation for w in serving} == {world.generation}
    world.stopping = True
    for _ in range(3):
        world.step()
        world.pass_time()
    assert world.halted
