"""What the process of the admin listener runs, so that it answers whatever the workers are at.

It maps their count files and reads them, and that is all it knows of them. `keeper` is who starts it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from pronghorn.net.sockets import Listener, adopt
from pronghorn.observe import logs
from pronghorn.observe.memory import resident
from pronghorn.observe.reopen import reopen
from pronghorn.worker.admin import administered, app_of
from pronghorn.worker.listening import ADMIN_BACKLOG

from .channel import Channel, Start


def administer(channel: Channel, start: Start) -> None:
    """Serve the admin listener until the supervisor is gone, or ends this process."""
    config = start.config
    # A terminal's Ctrl+C is for the supervisor, which ends this process last.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure(**config.logging | {"access_log": False})
    listeners = []
    for descriptor in start.listeners:
        listeners.append(adopt(descriptor, ADMIN_BACKLOG))
        os.close(descriptor)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(_administer(channel, start, listeners))
    finally:
        for listener in listeners:
            listener.close()


async def _administer(channel: Channel, start: Start, listeners: Sequence[Listener]) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()

    def listen() -> None:
        channel.receive()
        if channel.closed:
            loop.remove_reader(channel.fileno())
            gone.set()

    def beat() -> None:
        loop.call_later(start.beat, beat)
        channel.send({"beat": {"rss": resident()}})

    loop.add_reader(channel.fileno(), listen)
    loop.add_signal_handler(signal.SIGUSR1, reopen)
    assert start.config.metrics_dir is not None
    app = app_of(start.config, Path(start.config.metrics_dir), pid=start.parent)
    async with administered(app, listeners):
        channel.send({"ready": []})
        beat()
        await gone.wait()
