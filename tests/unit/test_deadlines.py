"""One wheel for all deadlines: never early, cheap to push out, nothing retained."""

import gc
import weakref

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pronghorn.net.deadlines import NEVER, Deadlines


class Entry:
    def __init__(self) -> None:
        self.deadline = NEVER
        self.bucket = NEVER
        self.called = 0

    def on_deadline(self) -> None:
        self.called += 1


def advance(wheel: Deadlines, ticks: int) -> None:
    for _ in range(ticks):
        wheel.advance()


def test_timeout_in_ticks_is_never_short() -> None:
    # A tick may be about to end when a deadline is armed, so n seconds take n + 1 ticks.
    assert [Deadlines.ticks(seconds) for seconds in (0, 0.1, 1, 1.5, 5)] == [1, 2, 2, 3, 6]


def test_deadline_comes_once() -> None:
    wheel, entry = Deadlines(), Entry()
    wheel.arm(entry, 3)
    advance(wheel, 2)
    assert entry.called == 0
    wheel.advance()
    assert entry.called == 1
    advance(wheel, 10)
    assert entry.called == 1
    assert len(wheel) == 0


def test_deadline_may_be_armed_again_from_its_own_call() -> None:
    wheel = Deadlines()

    class Again(Entry):
        def on_deadline(self) -> None:
            super().on_deadline()
            wheel.arm(self, 2)

    entry = Again()
    wheel.arm(entry, 1)
    advance(wheel, 5)
    assert entry.called == 3


def test_one_deadline_may_discard_another_of_the_same_tick() -> None:
    wheel = Deadlines()
    others: list[Entry] = []

    class Closing(Entry):
        def on_deadline(self) -> None:
            super().on_deadline()
            for other in others:
                if other is not self:
                    wheel.discard(other)

    others += [Closing(), Closing(), Closing()]
    for entry in others:
        wheel.arm(entry, 1)
    wheel.advance()
    assert sum(entry.called for entry in others) == 1


def test_discarded_entry_is_not_retained() -> None:
    wheel, entry = Deadlines(), Entry()
    wheel.arm(entry, 1000)
    wheel.discard(entry)
    gone = weakref.ref(entry)
    del entry
    gc.collect()
    assert gone() is None
    assert len(wheel) == 0


class Wheel(RuleBasedStateMachine):
    """The wheel against the obvious model: a dictionary of due ticks."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = Deadlines()
        self.entries = [Entry() for _ in range(4)]
        self.due: dict[int, int] = {}
        self.expected = [0, 0, 0, 0]

    @rule(index=st.integers(0, 3), ticks=st.integers(1, 9))
    def arm(self, index: int, ticks: int) -> None:
        self.wheel.arm(self.entries[index], ticks)
        self.due[index] = self.wheel.now + ticks

    @rule(index=st.integers(0, 3))
    def disarm(self, index: int) -> None:
        self.wheel.disarm(self.entries[index])
        self.due.pop(index, None)

    @rule(index=st.integers(0, 3))
    def discard(self, index: int) -> None:
        self.wheel.discard(self.entries[index])
        self.due.pop(index, None)

    @precondition(lambda self: self.wheel.now < 1000)
    @rule(ticks=st.integers(1, 4))
    def advance(self, ticks: int) -> None:
        for _ in range(ticks):
            self.wheel.advance()
            for index, tick in list(self.due.items()):
                if tick == self.wheel.now:
                    self.expected[index] += 1
                    del self.due[index]

    @invariant()
    def calls_agree(self) -> None:
        assert [entry.called for entry in self.entries] == self.expected

    @invariant()
    def each_entry_is_there_once_at_most(self) -> None:
        assert len(self.wheel) <= len(self.entries)


TestWheel = Wheel.TestCase
