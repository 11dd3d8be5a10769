"""A drill: six kinds of clients ask all the time, something befalls the stack, and this is what it came to for them.

async with drill.load():
    drill.begins()
    ...
drill.lost_at_most(0)
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.drills.report import Table
from tests.drills.watch import Watch
from tests.integration.edge_load import Returning, Row, constant_load
from tests.integration.stack import Stack
from tests.support.waiting import until

#: The id in what is remembered of a failure, and the status or the error with it.
NAMED = re.compile(r"(?:Refused|BrokenOff)\((\d+|'\w+'), '([0-9a-f]{32})'\)")


class Drill:
    """One event and its load. `did` and `must` are for the table."""

    def __init__(self, stack: Stack, table: Table, name: str, did: str, must: str) -> None:
        self.stack, self.name = stack, name
        self._table, self._told = table, (name, did, must)
        self.watch = Watch(stack)
        self.rows: list[Row] = []
        self.begun = 0.0
        self._lines = {"app": 0, "nginx": 0}

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """While this lasts clients ask, and the server is watched; what it came to goes into the table, however it ends."""
        self._lines = {service: len(self.stack.log(service)) for service in self._lines}
        await self.watch.begin()
        try:
            async with constant_load(self.stack, self.stack.trust(), Returning) as self.rows:
                self.begins()
                yield
                await self.watch.until(self._served, "every kind of client is served again", 90)
                # So that what is told is that all was well at the end.
                await self.watch.until(lambda: self.watch.moments[-1][1], "it is ready at the end", 90)
        finally:
            await self.watch.end()
            self._table.add(*self._told, self.rows, self.recovery)
        assert self.watch.fallen == []

    def begins(self) -> None:
        """Now it happens: recovery counts from here."""
        self.begun = time.monotonic()

    @property
    def recovery(self) -> float:
        """Seconds until the last kind of client was answered again, and the server ready; 0 where neither ever failed."""
        last = max([self.watch.green_again, *(row.recovered for row in self.rows)])
        return max(0.0, last - self.begun)

    def _served(self) -> bool:
        return all(row.recovered < math.inf for row in self.rows)

    async def answered(self, times: int = 5) -> None:
        """Until each kind of client has asked so many times more."""
        before = {row.kind: row.sent for row in self.rows}
        await self.watch.until(
            lambda: all(row.sent >= before[row.kind] + times for row in self.rows),
            "every kind of client asks",
        )

    @property
    def lost(self) -> dict[str, list[str]]:
        """By kind of client, what got no right answer."""
        return {row.kind: row.failures for row in self.rows if row.failures}

    def lost_at_most(self, count: int, *kinds: str) -> None:
        """No more than so many, and only of these kinds where any are given."""
        lost = self.lost
        assert sum(map(len, lost.values())) <= count, lost
        if kinds:
            assert lost.keys() <= set(kinds), lost

    def each_is_named(self) -> None:
        """Each lost request has an id, as the client was told, and with that id nginx' log has a line, and the status that it was."""
        told = {record.get("request_id"): record.get("status") for record in self.stack.log_records("nginx")}
        for failure in (one for failures in self.lost.values() for one in failures):
            found = NAMED.search(failure)
            assert found is not None, failure
            why, request_id = found.groups()
            assert request_id in told, failure
            assert not why.isdigit() or int(why) == told[request_id], failure

    def log(self, service: str) -> str:
        """What a service has said since the load began."""
        return "\n".join(self.stack.log(service)[self._lines[service] :])

    async def says(self, service: str, *words: str) -> str:
        """Wait until a service's log has a line with all of these, which it is."""

        def found() -> str:
            lines = self.log(service).splitlines()
            return next((line for line in lines if all(word in line for word in words)), "")

        return await asyncio.to_thread(until, found, f"{service} says {words}")

    async def do(self, *command: str) -> str:
        """`docker compose COMMAND` of this stack, without holding up the clients."""
        return await asyncio.to_thread(self.stack.run, *command)

    async def execute(self, service: str, script: str) -> str:
        """What a script of the shell prints in a service's container."""
        return await asyncio.to_thread(self.stack.execute, service, "sh", "-c", script)

    async def workers_are(self, count: int) -> None:
        """Until so many are ready."""

        async def ready() -> bool:
            return await self.watch.ready_workers() == count

        await self.watch.until(ready, f"{count} workers are ready")


def marked(node: pytest.Item) -> tuple[dict[str, Any], str]:
    """What the marker of a drill says of it, and its name, which is the test's."""
    marker = node.get_closest_marker("drill")
    assert marker is not None, f"{node.nodeid} has no marker `drill`"
    return dict(marker.kwargs), node.name.removeprefix("test_").replace("_", "-")
