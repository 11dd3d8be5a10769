"""The request side of the cycle as a state machine: whatever the order, the body comes once, whole and in order."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.asgi.disconnect import ClientDisconnected
from pronghorn.asgi.states import COMPLETE
from tests.support.scripted import turns
from tests.unit.test_cycle import DISCONNECT, LAST, PIECE, START, make

STEPS = ["piece", "end", "receive", "disconnect", "pause", "resume", "start", "body+", "body", "turn"]
SENT: dict[str, dict[str, Any]] = {"start": START, "body+": PIECE, "body": LAST}


class Model:
    """What an application has to be told, in a few lines, without a thought for how."""

    def __init__(self) -> None:
        self.waiting = b""
        self.ended = self.told_the_end = self.gone = self.answered = False

    def ready(self) -> bool:
        """Whether a call of receive() returns without anything more happening."""
        if self.told_the_end or self.gone or self.answered:
            return self.gone or self.answered
        return bool(self.waiting) or self.ended

    def event(self) -> dict[str, Any]:
        if self.told_the_end or self.gone or self.answered:
            return DISCONNECT
        body, self.waiting = self.waiting, b""
        self.told_the_end = self.ended
        return {"type": "http.request", "body": body, "more_body": not self.ended}


@given(st.lists(st.sampled_from(STEPS), max_size=20))
def test_receive_agrees_with_the_model(steps: list[str]) -> None:
    async def main() -> None:
        cycle, writer, recorder = make()
        writer.resumed = asyncio.Event()
        model = Model()
        receiving: asyncio.Future[Any] | None = None
        sending: asyncio.Future[None] | None = None
        pieces = 0
        for step in steps:
            if step == "piece" and not model.ended and not model.gone:
                pieces += 1
                if cycle.state < COMPLETE:  # as the connection asks before it hands a piece on
                    cycle.feed(b"%d," % pieces)
                    model.waiting += b"%d," % pieces
            elif step == "end" and not model.ended and not model.gone:
                cycle.feed_end()
                model.ended = True
            elif step == "receive" and receiving is None:
                receiving = asyncio.ensure_future(cycle.receive())
            elif step == "disconnect":
                cycle.disconnect()
                model.gone = True
                writer.resumed.set()
            elif step in {"pause", "resume"}:
                writer.paused = step == "pause"
                (writer.resumed.clear if writer.paused else writer.resumed.set)()
            elif step in SENT and sending is None:
                sending = asyncio.ensure_future(cycle.send(dict(SENT[step])))
            await turns()
            if sending is not None and sending.done():
                if (wrong := sending.exception()) is not None:
                    cut_off = model.gone and not model.answered
                    assert isinstance(wrong, ClientDisconnected if cut_off else RuntimeError)
                sending = None
            model.answered = cycle.state == COMPLETE
            if receiving is not None:
                assert receiving.done() == model.ready()
                if receiving.done():
                    assert receiving.result() == model.event()
                    receiving = None
        for left in (receiving, sending):
            if left is not None:
                left.cancel()
        await turns()
        assert len(recorder.seen) <= 1

    asyncio.run(main())


async def test_tasks_that_wait_are_told_together_and_cancelled_alone() -> None:
    cycle, _, _ = make()
    cycle.feed_end()
    await cycle.receive()
    first, second, third = (asyncio.ensure_future(cycle.receive()) for _ in range(3))
    await turns()

    second.cancel()
    await turns()
    assert (first.done(), second.cancelled(), third.done()) == (False, True, False)

    cycle.disconnect()
    await turns()
    assert first.result() == third.result() == DISCONNECT


async def test_who_looks_again_and_again_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[asyncio.Future[None]]] = []
    loop = asyncio.get_running_loop()
    create = loop.create_future

    def create_future() -> asyncio.Future[None]:
        future = create()
        made.append(weakref.ref(future))
        return future

    monkeypatch.setattr(loop, "create_future", create_future)
    cycle, _, _ = make()
    cycle.feed_end()
    await cycle.receive()
    for _ in range(20):
        looking = asyncio.ensure_future(cycle.receive())
        await turns()
        looking.cancel()
        await turns()
    del looking
    gc.collect()

    assert len(made) == 20
    assert not any(reference() for reference in made)
    assert (await asyncio.gather(cycle.receive(), _soon(cycle.disconnect)))[0] == DISCONNECT


async def _soon(call: Callable[[], None]) -> None:
    await turns()
    call()
