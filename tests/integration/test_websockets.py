"""WebSockets through the shipped stack: the handshake, silence, crowds, a reload of nginx, the end of the application.

What is longer than an ordinary timeout is shown by nginx itself: an ordinary request that the application never answers gets its 504
(after 10 s here, see override.yml), and the sockets, which were as silent for as long, are still there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from tests.integration.conftest import Built
from tests.integration.nginx_workers import reload
from tests.integration.sockets import connect, crowd, echoes, gather
from tests.integration.stack import Stack, new_name, project

#: Descriptors of nginx: two a socket; with 2,048 connections a worker, as before there were sockets, this many do not fit.
CROWD = 5000
#: What one idle socket may hold in a container, in bytes; measured: see docs/deployment.md.
NGINX_EACH, SERVER_EACH = 32 * 1024, 64 * 1024


def address(stack: Stack, path: str) -> str:
    return f"ws://127.0.0.1:{stack.port}{path}"


def outlast_ordinary_timeout(stack: Stack) -> None:
    """Returns when nginx has given up an ordinary request."""
    with stack.client(timeout=60) as client:
        assert client.get("/slow?seconds=14").status_code == 504


# ---- The handshake --------------------------------------------------------------------------------------------------


async def test_what_is_said_comes_back(stack: Stack) -> None:
    async with connect(address(stack, "/echo")) as socket:
        for said in ("grüß dich", b"\x00\xff", "", "x" * 1_000_000):
            await socket.send(said)
            assert await socket.recv() == said
        await socket.close(1000, "enough")
        assert socket.close_code == 1000


async def test_compression_is_agreed_on_through_nginx(stack: Stack) -> None:
    async with connect(address(stack, "/echo"), compression="deflate") as socket:
        assert socket.response is not None
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        await socket.send("x" * 100_000)
        assert await socket.recv() == "x" * 100_000


async def test_the_application_sees_the_handshake_as_the_client_sent_it(stack: Stack) -> None:
    options: dict[str, Any] = {
        "origin": f"http://127.0.0.1:{stack.port}",
        "additional_headers": {"Cookie": "a=1", "X-Forwarded-For": "203.0.113.66"},
        "subprotocols": [Subprotocol("chat.v2"), Subprotocol("chat.v1")],
    }
    async with connect(address(stack, "/%65cho?tell=1"), **options) as socket:
        told = json.loads(await socket.recv())

    headers = dict(told["headers"])
    assert (told["scheme"], told["path"], told["raw_path"]) == ("ws", "/echo", "/%65cho")
    assert told["subprotocols"] == ["chat.v2", "chat.v1"]
    assert socket.subprotocol == "chat.v2"
    assert headers["origin"] == options["origin"]
    assert headers["host"] == f"127.0.0.1:{stack.port}"
    assert headers["cookie"] == "a=1"
    assert told["client"][0] not in {"203.0.113.66", None}
    assert headers["x-forwarded-for"] == told["client"][0]


async def test_the_applications_own_refusal_passes_as_it_is(stack: Stack) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(address(stack, "/nothing-here")):
            pass

    assert refused.value.response.status_code == 404
    assert refused.value.response.body == b"no socket here"
    assert refused.value.response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "protocol"),
    [("GET", "h2c"), ("GET", "websockets"), ("GET", "TLS/1.0"), ("POST", "websocket")],
)
def test_no_other_upgrade_reaches_the_server(client: httpx.Client, method: str, protocol: str) -> None:
    asked = {"Upgrade": protocol, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}
    answer = client.request(method, "/scope", headers=asked)

    seen = dict(answer.json()["headers"])
    assert answer.status_code == 200
    assert seen.keys().isdisjoint({"upgrade", "http2-settings", "connection"})


# ---- Silence --------------------------------------------------------------------------------------------------------


async def test_silence_ends_requests_and_no_socket(stack: Stack) -> None:
    """One that was open before, and one whose application takes longer to accept it than a request may last."""
    async with connect(address(stack, "/echo")) as socket:
        slow = asyncio.create_task(gather([first_echo(address(stack, "/echo?seconds=12"))]))
        await asyncio.to_thread(outlast_ordinary_timeout, stack)
        assert await echoes([socket], "still here") == {"still here"}
        assert await slow == ["late"]


async def first_echo(url: str) -> str | bytes:
    async with connect(url) as socket:
        await socket.send("late")
        return await socket.recv()


async def test_thousands_outlast_silence_and_a_reload(stack: Stack) -> None:
    with stack.client() as client:
        assert client.get("/process").status_code == 200
    before = {service: stack.memory(service) for service in ("nginx", "app")}
    async with crowd(stack, CROWD) as sockets:
        assert await echoes(sockets, "open") == {"open"}
        await asyncio.to_thread(outlast_ordinary_timeout, stack)
        assert await echoes(sockets, "idle") == {"idle"}

        each = {service: (stack.memory(service) - held) // CROWD for service, held in before.items()}
        sys.stdout.write(f"bytes for each idle socket: {each}\n")
        assert each["nginx"] <= NGINX_EACH, each
        assert each["app"] <= SERVER_EACH, each

        await asyncio.to_thread(reload, stack)
        assert await echoes(sockets, "reloaded") == {"reloaded"}
        await asyncio.to_thread(outlast_ordinary_timeout, stack)
        assert await echoes(sockets, "idle again") == {"idle again"}
        # The new workers take new ones meanwhile.
        async with connect(address(stack, "/echo")) as new:
            assert await echoes([new], "new") == {"new"}


# ---- The end of the application -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("whole_again")
async def test_the_end_of_the_application_is_said_to_every_socket(stack: Stack) -> None:
    async with crowd(stack, 200) as sockets:
        assert await echoes(sockets, "open") == {"open"}
        stopping = asyncio.to_thread(stack.run, "stop", "app")
        await gather([stopping, *(socket.wait_closed() for socket in sockets)])

    assert {socket.close_code for socket in sockets} == {CloseCode.GOING_AWAY}
    assert stack.inspect("app")["State"]["ExitCode"] == 143
    # And who comes meanwhile hears it from nginx, as everybody else does.
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(address(stack, "/echo")):
            pass
    assert refused.value.response.status_code == 502
    assert json.loads(refused.value.response.body)["error"] == "bad gateway"


# ---- Origins --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def choosy(images: Built, stack: Stack) -> Iterator[Stack]:
    """A second stack whose server takes WebSockets from the pages of one site."""
    settings = {**images.variables, "PRONGHORN_WS_ORIGINS": "http://chat.example"}
    with project(new_name(), settings, build=False) as second:
        yield second


async def test_a_page_of_another_site_is_refused(choosy: Stack) -> None:
    url = address(choosy, "/echo")
    async with connect(url, origin="http://chat.example") as socket:
        assert await echoes([socket], "welcome") == {"welcome"}
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(url, origin="http://evil.example"):
            pass

    assert refused.value.response.status_code == 403
