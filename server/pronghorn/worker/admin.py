"""The admin listener in a running loop: a service of its own, which has nothing of the public one but the machinery.

A process that is the only one serves it beside the application: a loop that is blocked does not answer there either, and that is
what its liveness means. Under a supervisor a process of its own does (`supervise.admin`), and under Gunicorn too.

It has no access log, since whoever asks does so every few seconds, and no limit of requests, so that a health check is never
refused for want of room. What keeps it small are short deadlines and short messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from pronghorn._version import __version__
from pronghorn.config import OPTIONS, Config
from pronghorn.net.deadlines import TICK, Deadlines, Ticker
from pronghorn.net.service import Service
from pronghorn.net.sockets import Listener
from pronghorn.observe.admin import About, AdminApp
from pronghorn.observe.exposition import render
from pronghorn.observe.reading import Reading
from pronghorn.runtime import own_parser
from pronghorn.wire.headers import DefaultHeaders
from pronghorn.wire.limits import RequestLimits

from .listening import ADMIN_BACKLOG, accept

logger = logging.getLogger("pronghorn.error")

# Room for the cookies of whatever else a browser has met on 127.0.0.1; cookies know no ports. There are no bodies.
_LIMITS: Final = RequestLimits(line=2048, fields=64, field_bytes=32_768, body=0)
#: Seconds for a head to arrive, and for an answer to be read.
_HEADER: Final = 5.0
_BODY: Final = 10.0
#: Longer than Prometheus' usual scrape interval, 15 s.
_KEEP_ALIVE: Final = 20.0


def app_of(config: Config, folder: Path, *, pid: int) -> AdminApp:
    """What is served there, of the count files in `folder`. `pid` is of the process that the workers come from."""
    return AdminApp(
        partial(Reading.of, folder),
        partial(render, folder) if config.metrics else None,
        about=About(
            app=OPTIONS["app"].show(config.app),
            version=__version__,
            python=platform.python_version(),
            pid=pid,
            started=time.time(),
        ),
        silence=config.timeout_worker_healthcheck,
    )


@contextlib.asynccontextmanager
async def administered(app: AdminApp, listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """Serve `app` on these listeners inside the block. They stay the caller's to close."""
    service = Service(
        app=app,
        parser=own_parser(_LIMITS),
        defaults=DefaultHeaders(server=None, date=True),
        deadlines=Deadlines(),
        keep_alive_ticks=Deadlines.ticks(_KEEP_ALIVE),
        header_ticks=Deadlines.ticks(_HEADER),
        body_ticks=Deadlines.ticks(_BODY),
        logger=logger,
        loop=asyncio.get_running_loop(),
    )

    def tick() -> None:
        service.defaults.renew(None)
        service.deadlines.advance()

    app.sample()
    tickers = [Ticker(tick, TICK), Ticker(app.sample, app.interval)]
    servers: list[asyncio.Server] = []
    try:
        servers = [await accept(listener, service, backlog=ADMIN_BACKLOG) for listener in listeners]
        yield
    finally:
        for ticker in tickers:
            ticker.stop()
        for server in servers:
            server.close()
        for connection in list(service.connections):
            connection.abort()
        for task in service.tasks:
            task.cancel()
