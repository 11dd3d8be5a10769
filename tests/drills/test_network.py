"""The network between a client and nginx is cut, and nobody is told: what is half open is found and given up."""

from __future__ import annotations

import asyncio
import socket
import subprocess

import pytest

from tests.drills import inside
from tests.drills.drill import Drill
from tests.drills.wire import Wire, plugged_in

HANDSHAKE = (
    "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
#: What each connection has sent when the cable is cut, and the first that it has got.
STATES = {
    "idle between two requests": ("GET /process HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"),
    "in the middle of a head": ("GET /process HTTP/1.1\r\nHost:", ""),
    "in the middle of an upload": (
        "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nbegun",
        "",
    ),
    "in the middle of a download": (
        "GET /download?size=50000000 HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 200",
    ),
    "a stream of events": ("GET /events HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"),
    "a WebSocket": (HANDSHAKE, "HTTP/1.1 101"),
}
#: How often the kernel of nginx' container sends again before it gives a connection up: as shipped, which takes 100 s, and here.
SHIPPED, RETRIES = 8, 4


def _be_hasty(nginx: inside.Process) -> None:
    setting = "/proc/sys/net/ipv4/tcp_retries2"
    script = f"cat {setting}; echo {RETRIES} >{setting}"
    command = ["nsenter", "--net", f"--target={nginx.pid}", "sh", "-c", script]
    shipped = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert int(shipped) in {SHIPPED, RETRIES}


def _opened(wire: Wire, host: str) -> list[socket.socket]:
    found = []
    for begun, answer in STATES.values():
        connection = wire.connect(host, 8080)
        connection.sendall(begun.encode())
        if answer:
            assert connection.recv(12).decode() == answer
        found.append(connection)
    return found


@pytest.mark.drill(
    did="the cable of a client with six connections, each in another state, is cut without a word",
    must="each is given up by its deadline, and the server has nothing of it left; nobody else loses anything; the client is served when it is back",
)
async def test_network_cut(drill: Drill) -> None:
    nginx = await asyncio.to_thread(inside.master, drill.stack)
    await asyncio.to_thread(_be_hasty, nginx)
    host = await asyncio.to_thread(drill.stack.address, "nginx")
    with plugged_in(drill.stack) as wire:
        async with drill.load():
            connections = await asyncio.to_thread(_opened, wire, host)
            assert nginx.peers(wire.address) == len(STATES)
            drill.begins()
            wire.cut()
            await drill.watch.until(
                lambda: nginx.peers(wire.address) == 0, "nginx has given all of them up", 60
            )

            async def forgotten() -> bool:
                rows = await drill.watch.workers()
                # Of the load: a stream of events, and one WebSocket.
                in_flight, websockets = (
                    sum(int(row[name]) for row in rows) for name in ("in_flight", "websockets")
                )
                return in_flight <= 3 and websockets == 1

            await drill.watch.until(forgotten, "the server has nothing of them left")
            wire.mend()
            again = await asyncio.to_thread(_opened, wire, host)
        for connection in [*connections, *again]:
            connection.close()
    drill.lost_at_most(0)
    assert not drill.watch.red, drill.watch.reasons
