"""The WebSockets of real frameworks: messages of each sort, refusals and closes, as their own documentation has them.

They are imported in the server's process only, as in test_server_frameworks.py.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, running
from tests.support.ws import WsClient, close

STARLETTE = """
    from starlette.applications import Starlette
    from starlette.endpoints import WebSocketEndpoint
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocketDisconnect


    async def echo(websocket):
        await websocket.accept(subprotocol="chat", headers=[(b"x-a", b"b")])
        try:
            async for message in websocket.iter_text():
                await websocket.send_text(message)
        finally:
            print("app: left the loop", flush=True)


    async def told(websocket):
        await websocket.accept()
        try:
            while True:
                await websocket.send_json(await websocket.receive_json())
        except WebSocketDisconnect as exc:
            print("app: disconnected", exc.code, repr(exc.reason), flush=True)


    async def binary(websocket):
        await websocket.accept()
        await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.close(4000, "done")


    async def denies(websocket):
        await websocket.send_denial_response(JSONResponse({"error": "no"}, 418))


    async def raises(websocket):
        raise HTTPException(401, "who are you?")


    async def closes(websocket):
        await websocket.close()


    class Endpoint(WebSocketEndpoint):
        encoding = "text"

        async def on_receive(self, websocket, data):
            await websocket.send_text(data.upper())

        async def on_disconnect(self, websocket, close_code):
            print("app: endpoint", close_code, flush=True)


    app = Starlette(routes=[
        WebSocketRoute("/", echo),
        WebSocketRoute("/told", told),
        WebSocketRoute("/binary", binary),
        WebSocketRoute("/denies", denies),
        WebSocketRoute("/raises", raises),
        WebSocketRoute("/closes", closes),
        WebSocketRoute("/endpoint", Endpoint),
    ])
    """

FASTAPI = """
    from typing import Annotated

    from fastapi import Cookie, Depends, FastAPI, Query, WebSocket, WebSocketDisconnect, WebSocketException, status

    app = FastAPI()
    rooms = set()


    async def token(websocket: WebSocket, session: Annotated[str | None, Cookie()] = None):
        if session is None:
            raise WebSocketException(code=status.WS_1008_POLICY_VIOLATION)
        return session


    @app.websocket("/items/{item}")
    async def items(websocket: WebSocket, item: int, session: Annotated[str, Depends(token)], q: int | None = None):
        await websocket.accept()
        await websocket.send_json({"item": item, "session": session, "q": q})
        await websocket.close()


    @app.websocket("/chat")
    async def chat(websocket: WebSocket):
        await websocket.accept()
        rooms.add(websocket)
        try:
            while True:
                data = await websocket.receive_text()
                for other in rooms:
                    await other.send_text(data)
        except WebSocketDisconnect:
            rooms.discard(websocket)
            for other in rooms:
                await other.send_text("somebody left")
    """

LITESTAR = """
    from litestar import Litestar, WebSocket, websocket, websocket_listener


    @websocket_listener("/listener")
    async def listener(data: dict[str, int]) -> dict[str, int]:
        return {name: value + 1 for name, value in data.items()}


    @websocket("/handler")
    async def handler(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()


    app = Litestar([listener, handler])
    """

QUART = """
    from quart import Quart, abort, websocket

    app = Quart(__name__)


    @app.websocket("/")
    async def echo():
        while True:
            await websocket.send(await websocket.receive())


    @app.websocket("/refuses")
    async def refuses():
        abort(403)
    """


def framework(folder: Path, source: str, *flags: str) -> list[str]:
    """The command that serves `source`."""
    (folder / "main.py").write_text(textwrap.dedent(source), "utf-8")
    return [sys.executable, "-m", "pronghorn", "main:app", "--port", "0", *flags]


@pytest.fixture(scope="module", params=["websockets", "wsproto"])
def starlette(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("starlette")
    with running(folder, framework(folder, STARLETTE, "--ws", request.param)) as server:
        server.running_on()
        yield server


def opened(server: ServerProcess, target: str, *fields: str) -> WsClient:
    client = WsClient(server.connect(), *fields, target=target)
    assert client.open, client.response
    return client


def test_starlette_iterates_over_messages(starlette: ServerProcess) -> None:
    with opened(starlette, "/") as client:
        assert (client.response["sec-websocket-protocol"], client.response["x-a"]) == ("chat", "b")
        client.send("hello")
        assert client.receive() == "hello"
        client.client.send(close())
        assert client.closed() == (1000, "")
    starlette.stdout.wait_for("app: left the loop")


def test_starlette_is_told_code_and_reason(starlette: ServerProcess) -> None:
    with opened(starlette, "/told") as client:
        client.send('{"a": 1}')
        assert client.receive() == '{"a":1}'
        client.client.send(close(4321, "had enough"))
        assert client.closed() == (4321, "")
    starlette.stdout.wait_for("app: disconnected 4321 'had enough'")


def test_starlette_sends_bytes_and_closes(starlette: ServerProcess) -> None:
    with opened(starlette, "/binary") as client:
        client.send(b"\0\xff")
        assert client.receive() == b"\0\xff"
        assert client.closed() == (4000, "done")


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/denies", 418, b'{"error":"no"}'),
        ("/raises", 401, b"who are you?"),
        ("/closes", 403, b"Forbidden"),
        ("/nowhere", 403, b"Forbidden"),
    ],
)
def test_starlette_refuses(starlette: ServerProcess, target: str, status: int, body: bytes) -> None:
    with WsClient(starlette.connect(), target=target) as client:
        assert (client.response.status, client.client.rest()) == (status, body)


def test_starlette_endpoint(starlette: ServerProcess) -> None:
    with opened(starlette, "/endpoint") as client:
        client.send("hello")
        assert client.receive() == "HELLO"
        client.client.send(close(1001))
        client.closed()
    starlette.stdout.wait_for("app: endpoint 1001")


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_fastapi(tmp_path: Path, ws: str) -> None:
    with running(tmp_path, framework(tmp_path, FASTAPI, "--ws", ws)) as server:
        with opened(server, "/items/3?q=4", "Cookie: session=abc") as client:
            assert client.receive() == '{"item":3,"session":"abc","q":4}'
            assert client.closed() == (1000, "")
        for target, fields in (("/items/3", ()), ("/items/x", ("Cookie: session=abc",))):
            with WsClient(server.connect(), *fields, target=target) as client:
                assert client.response.status == 403
        with opened(server, "/chat") as one:
            with opened(server, "/chat") as two:
                two.send("hello")
                assert (one.receive(), two.receive()) == ("hello", "hello")
            assert one.receive() == "somebody left"


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_litestar(tmp_path: Path, ws: str) -> None:
    with running(tmp_path, framework(tmp_path, LITESTAR, "--ws", ws)) as server:
        with opened(server, "/listener") as client:
            client.send('{"a": 1}')
            assert client.receive() == '{"a":2}'
            client.client.send(close())
            assert client.closed() == (1000, "")
        with opened(server, "/handler") as client:
            client.send("hello")
            assert client.receive() == "hello"
            assert client.closed() == (1000, "")


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_quart(tmp_path: Path, ws: str) -> None:
    with running(tmp_path, framework(tmp_path, QUART, "--ws", ws)) as server:
        with opened(server, "/") as client:
            for message in ("hello", b"\xff"):
                client.send(message)
                assert client.receive() == message
            client.client.send(close())
            assert client.closed() == (1000, "")
        with WsClient(server.connect(), target="/refuses") as client:
            assert client.response.status == 403
