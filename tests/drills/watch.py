"""What the server says of itself while something befalls it: asked several times a second, on its admin listener."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from tests.integration.stack import Stack

#: Between two questions, in seconds.
PAUSE = 0.1
PORT = 9464


def counters(text: str) -> dict[str, float]:
    """By name and labels, what must not fall: counters, and the counts of histograms."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    found = {name: float(value) for name, _, value in lines}
    return {
        name: value for name, value in found.items() if name.partition("{")[0].endswith(("_total", "_count"))
    }


class Watch:
    """`moments` are when it was asked, by the monotonic clock, and whether it was ready."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._address = self._started = ""
        self._task: asyncio.Task[None] | None = None
        self.moments: list[tuple[float, bool]] = []
        self.reasons: list[str] = []
        #: What a counter fell from and to, while whoever counts was there all the time.
        self.fallen: list[str] = []
        self.counts: dict[str, float] = {}

    async def begin(self) -> None:
        self._started = await asyncio.to_thread(self._start)
        self._task = asyncio.create_task(self._run())
        await self.until(lambda: bool(self.moments and self.moments[-1][1]), "ready before it begins")

    async def end(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (trouble := self._task.exception()):
            raise trouble

    @property
    def red(self) -> bool:
        """Whether it was ever not ready, or not there."""
        return not all(ready for _, ready in self.moments)

    @property
    def green_again(self) -> float:
        """When it was ready after it last was not; 0 if it always was."""
        back = 0.0
        for (_, before), (moment, ready) in zip(self.moments, self.moments[1:], strict=False):
            if ready and not before:
                back = moment
        return back

    def total(self, name: str) -> float:
        """The sum over all labels, as it was last told."""
        return sum(value for key, value in self.counts.items() if key.partition("{")[0] == name)

    async def workers(self) -> list[dict[str, Any]]:
        """The rows of /workers."""
        async with httpx.AsyncClient(base_url=await self._base(), timeout=5) as client:
            found: list[dict[str, Any]] = (await client.get("/workers")).json()["workers"]
        return found

    async def ready_workers(self) -> int:
        try:
            return sum(row["state"] == "ready" for row in await self.workers())
        except httpx.HTTPError:
            self._address = ""
            return 0

    async def until(self, true: Any, what: str, seconds: float = 60) -> None:
        """Until `true()`, which may be awaitable, is; a deadline for what never comes."""
        deadline = time.monotonic() + seconds
        while True:
            found = true()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s; {self.reasons[-3:]}"
            await asyncio.sleep(0.05)

    async def _base(self) -> str:
        if not self._address:
            self._address = await asyncio.to_thread(self._find)
        return f"http://{self._address or '127.0.0.1'}:{PORT}"

    def _find(self) -> str:
        """The address that the container has now; none while it does not run."""
        networks = self._stack.inspect("app")["NetworkSettings"]["Networks"]
        return str(networks.get(f"{self._stack.project}_metrics", {}).get("IPAddress", ""))

    async def _run(self) -> None:
        while True:
            try:
                async with httpx.AsyncClient(base_url=await self._base(), timeout=5) as client:
                    verdict = await client.get("/readyz")
                    now = counters((await client.get("/metrics")).text)
            except httpx.HTTPError as error:
                # Another container may have another address, and counts from 0.
                self._address, self.counts = "", {}
                self._note(False, repr(error))
            else:
                await self._compare(now)
                self._note(verdict.status_code == 200, verdict.text.strip())
            await asyncio.sleep(PAUSE)

    def _note(self, ready: bool, reason: str) -> None:
        self.moments.append((time.monotonic(), ready))
        if not ready:
            self.reasons.append(reason)

    async def _compare(self, now: dict[str, float]) -> None:
        fallen = [
            f"{name}: {before:g}, then {now[name]:g}"
            for name, before in self.counts.items()
            if now.get(name, before) < before
        ]
        if fallen and (started := await asyncio.to_thread(self._start)) != self._started:
            # It was gone between two questions.
            self._started = started
            self._note(False, "it has begun anew")
        else:
            self.fallen += fallen
        self.counts = now

    def _start(self) -> str:
        return str(self._stack.inspect("app")["State"]["StartedAt"])
