"""A load of WebSocket messages: `python -m scripts.bench.ws_load PORT PATH`, which is held still and let go as wrk is.

It opens its connections, has one message echoed on each and stops itself (SIGSTOP): whoever started it finds it stopped,
and lets it go. From then on each connection has one message in flight, and each reply is compared, until SIGINT. Then
the last replies are awaited, and the number of all is printed. Connections stay open until it is killed, so that neither
their opening nor their end is part of the load. What goes wrong is said in one line, with status 1.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from scripts.bench.servers import BenchError
from scripts.bench.websocket import PATIENCE, WebSocket, connect

# Seconds for all of them: a server that takes longer does not answer in any useful sense.
_OPENING = 180.0


def opened(port: int, path: str, count: int, message: str | bytes) -> dict[int, WebSocket]:
    """WebSockets that have had one message echoed each, by their descriptors."""
    deadline = time.monotonic() + _OPENING
    found = {}
    for index in range(count):
        websocket = WebSocket(connect(port, index), path, message)
        websocket.exchange()
        found[websocket.connection.fileno()] = websocket
        if time.monotonic() > deadline:
            raise BenchError(f"{index + 1} of {count} WebSockets were open after {_OPENING:g} s")
    return found


def echo(websockets: Mapping[int, WebSocket], over: Callable[[], bool]) -> int:
    """One message in flight on each until it is over; the number of all replies."""
    poll = _poll(websockets)
    # What every message passes is in local names.
    calls = {fd: (w.connection.recv, w.connection.sendall, w.take) for fd, w in websockets.items()}
    some = next(iter(websockets.values()))
    request, reply = some.request, some.reply
    size = max(4096, len(reply) + 1024)
    for _, send, _ in calls.values():
        send(request)
    begun: set[int] = set()  # Replies that came in pieces.
    replies, waiting, silent = 0, len(calls), 0
    while waiting:
        events = poll.poll(1.0)
        silent = 0 if events else silent + 1
        if silent > PATIENCE:
            raise BenchError(f"no reply to {waiting} messages in {PATIENCE} s")
        ending = over()
        for fd, _ in events:
            receive, send, take = calls[fd]
            data = receive(size)
            if data != reply or fd in begun:
                begun.add(fd)
                if not take(data):
                    continue
                begun.discard(fd)
            replies += 1
            if ending:
                waiting -= 1
            else:
                send(request)
    return replies


def idle(websockets: Mapping[int, WebSocket], over: Callable[[], bool]) -> int:
    """Answer pings, and nothing else; the number of WebSockets that are open at the end."""
    poll = _poll(websockets)
    while not over():
        for fd, _ in poll.poll(0.1):
            websocket = websockets[fd]
            if websocket.take(websocket.connection.recv(4096)):
                raise BenchError("it sent a message that nobody had asked for")
    return len(websockets)


def _poll(websockets: Mapping[int, WebSocket]) -> select.epoll:
    poll = select.epoll()
    for fd in websockets:
        poll.register(fd, select.EPOLLIN)
    return poll


def main(arguments: Sequence[str] | None = None) -> int:
    """Load, print, and wait to be killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--size", type=int, default=100, help="bytes in a message")
    parser.add_argument("--binary", action="store_true", help="binary messages instead of text")
    parser.add_argument("--idle", action="store_true", help="no message after the first")
    options = parser.parse_args(arguments)
    message = b"x" * options.size if options.binary else "x" * options.size
    ended: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: ended.append(number))
    websockets = opened(options.port, options.path, options.connections, message)
    gc.freeze()
    gc.disable()
    os.kill(os.getpid(), signal.SIGSTOP)
    counted = (idle if options.idle else echo)(websockets, lambda: bool(ended))
    print(f"{counted} {'idle' if options.idle else 'messages'}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BlockingIOError:
        sys.exit(f"ws_load: the server has read nothing for {PATIENCE} s")
    except (BenchError, OSError) as error:
        sys.exit(f"ws_load: {error}")
