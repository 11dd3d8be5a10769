"""The contract of the drills, for our supervisor and for Gunicorn with our worker: real processes, real signals, under load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.drill_servers import COMPARED, SERVERS, Server
from tests.support.drills import DRILLS, Drill, hold

# What can go wrong in another way with preloading, on a Unix socket, or with a socket for each worker.
VARIANTS = ("kill", "hup", "hup-broken", "resize", "upgrade", "requests", "term")

HELD = [
    (server, drill)
    for server in SERVERS.values()
    for drill in DRILLS.values()
    if server.ours
    and drill.name not in server.lacks
    and drill.name not in server.breaks
    and (server.name in COMPARED or drill.name in VARIANTS)
]


@pytest.mark.parametrize(
    ("server", "drill"), HELD, ids=[f"{server.name}-{drill.name}" for server, drill in HELD]
)
async def test_no_request_fails_that_was_not_inside_a_killed_worker(
    server: Server, drill: Drill, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = await hold(server, drill, Path(sys.executable))
    with capsys.disabled():
        print(f"\n{server.name}, {drill.title}: {outcome.counts}")  # noqa: T201 - the counts are what this is about
    assert outcome.complaints() == [], outcome.log
