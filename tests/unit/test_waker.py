"""Waiting without a turn of the loop: what tasks expect of something that they wait for, and when they may go on at once."""

import asyncio
import contextvars
from typing import Any

import pytest

from pronghorn.asgi.waker import Waker
from tests.support.scripted import turns

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


class Waiting:
    """A task that waits, and what it did."""

    def __init__(self) -> None:
        self.waker = Waker(asyncio.get_running_loop())
        self.steps: list[str] = []
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        name.set("the task")
        for number in range(3):
            try:
                await self.waker
            except asyncio.CancelledError as exc:
                self.steps.append(f"cancelled {exc}")
                raise
            self.steps.append(f"{number} {name.get()}")


async def test_from_the_loop_a_task_goes_on_at_once() -> None:
    waiting = Waiting()
    await turns()
    assert waiting.waker.waiting
    seen: list[str] = []

    def wake() -> None:
        waiting.waker.wake()
        seen.extend(waiting.steps)

    asyncio.get_running_loop().call_soon(wake)
    await turns(1)
    assert seen == ["0 the task"], "inside the call, and in its own context"
    assert waiting.waker.waiting, "and waits again"
    waiting.task.cancel()


async def test_from_a_task_it_goes_on_in_the_next_turn() -> None:
    waiting = Waiting()
    await turns()
    waiting.waker.wake()
    assert waiting.steps == []
    waiting.waker.wake()  # nobody waits any more
    await turns()
    assert waiting.steps == ["0 the task"]
    waiting.task.cancel()


async def test_waking_nobody_does_nothing() -> None:
    waker = Waker(asyncio.get_running_loop())
    waker.wake()
    assert not waker.waiting
    assert not waker.cancel()


async def test_cancelling() -> None:
    waiting = Waiting()
    await turns()
    waiting.task.cancel("enough")
    await turns()
    assert waiting.steps == ["cancelled enough"]
    with pytest.raises(asyncio.CancelledError):
        await waiting.task
    assert not waiting.waker.waiting


async def test_cancelled_and_woken_in_the_same_turn() -> None:
    waiting = Waiting()
    await turns()
    waiting.waker.wake()
    waiting.task.cancel()
    await turns()
    assert waiting.task.cancelled()


async def test_time_limits_work() -> None:
    waker = Waker(asyncio.get_running_loop())

    async def wait() -> str:
        await waker
        return "woken"

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await wait()
    waiting = asyncio.ensure_future(asyncio.wait_for(wait(), 60))
    await turns()
    waker.wake()
    assert await waiting == "woken"


async def test_it_counts_as_a_future_of_its_loop() -> None:
    waker: Any = Waker(asyncio.get_running_loop())
    assert asyncio.isfuture(waker)
    assert waker.get_loop() is asyncio.get_running_loop()
