"""What streams when the server goes, and when the client does: server-sent events, downloads, FastAPI, and trailers and hints
over real sockets."""

import signal
from pathlib import Path

import pytest

from tests.support.http_client import Client
from tests.support.process import serving

PAIRS = pytest.mark.parametrize(
    "flags",
    [("--http", "httptools", "--loop", "uvloop"), ("--http", "h11", "--loop", "asyncio")],
    ids=["httptools-uvloop", "h11-asyncio"],
)

FASTAPI = """
    import asyncio, itertools
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, StreamingResponse

    app = FastAPI()

    async def deaf():
        for number in itertools.count():
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0.01)

    async def stuck():
        yield "data: first\\n\\n"
        await asyncio.Event().wait()

    @app.get("/deaf")
    async def _deaf():
        return StreamingResponse(deaf(), media_type="text/event-stream")

    @app.get("/stuck")
    async def _stuck():
        return StreamingResponse(stuck(), media_type="text/event-stream")

    @app.get("/listens")
    async def _listens(request: Request):
        async def events():
            while not await request.is_disconnected():
                yield "data: tick\\n\\n"
                await asyncio.sleep(0.01)
            yield "data: bye\\n\\n"
        return StreamingResponse(events(), media_type="text/event-stream")

    @app.get("/lines")
    async def _lines(request: Request):
        async def lines():
            while not await request.is_disconnected():
                yield "{}\\n"
                await asyncio.sleep(0.01)
            yield "null\\n"
        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.get("/file")
    async def _file():
        return FileResponse("served.bin")
"""


def whole_stream(client: Client) -> bytes:
    """The rest of a chunked body, which has to end well, and the connection after it."""
    body = b""
    rest = client.rest()
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest == b"\r\n"
            return body
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


@PAIRS
@pytest.mark.parametrize("path", ["/deaf", "/stuck", "/listens"])
def test_a_stream_of_events_does_not_hold_the_shutdown(
    tmp_path: Path, flags: tuple[str, ...], path: str
) -> None:
    with serving(tmp_path, FASTAPI, *flags) as server, server.connect() as client:
        client.request("GET", path)
        assert client.head().status == 200
        assert client.chunked(6).startswith(b"data: ")
        server.send_signal(signal.SIGTERM)
        body = whole_stream(client)
        assert body.endswith(b"data: bye\n\n") is (path == "/listens")
        assert server.wait() == -signal.SIGTERM
        assert not any("exceeded" in line for line in server.messages())


@PAIRS
def test_any_other_stream_is_told_before_its_time_is_over(tmp_path: Path, flags: tuple[str, ...]) -> None:
    limit = ("--timeout-graceful-shutdown", "6")  # it is told after three quarters of it
    with serving(tmp_path, FASTAPI, *flags, *limit) as server, server.connect() as client:
        client.request("GET", "/lines")
        client.head()
        client.chunked(3)
        server.send_signal(signal.SIGTERM)
        assert whole_stream(client).endswith(b"{}\nnull\n")
        assert server.wait() == -signal.SIGTERM
        assert not any("exceeded" in line for line in server.messages())


@PAIRS
def test_file_response_of_starlette_is_sent_by_the_server(tmp_path: Path, flags: tuple[str, ...]) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "served.bin").write_bytes(content)
    with serving(tmp_path, FASTAPI, *flags) as server, server.connect() as client:
        for _ in range(2):
            assert client.get("/file").body == content
        part = client.get("/file", "Range: bytes=10-19")
        assert (part.status, part.body) == (206, content[10:20])


ENDLESS = """
    import asyncio

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await receive()
        await send({"type": "http.response.start", "status": 200})
        waiting = asyncio.ensure_future(receive())
        sent = 0
        try:
            while not waiting.done() or sent < 100:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0)
                sent += waiting.done()
        except OSError as exc:
            print("app: raised", type(exc).__name__, flush=True)
            raise
        print("app: sent", sent, waiting.result()["type"], flush=True)
"""


@PAIRS
@pytest.mark.parametrize(
    ("policy", "line"), [("raise", "raised ClientDisconnected"), ("ignore", "sent 100 http.disconnect")]
)
def test_send_after_the_client_left(tmp_path: Path, flags: tuple[str, ...], policy: str, line: str) -> None:
    with serving(tmp_path, ENDLESS, *flags, "--send-after-disconnect", policy, "--lifespan", "off") as server:
        with server.connect() as client:
            client.request("GET", "/")
            client.head()
        server.stdout.wait_for(line)
        assert server.stop() == -signal.SIGTERM


TALKATIVE = """
    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "trailers": True,
                    "headers": [(b"trailer", b"x-sum")]})
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>"]})
        body = (await receive())["body"]
        await send({"type": "http.response.body", "body": body})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"%d" % sum(body))]})
"""


@PAIRS
def test_hints_and_continue_go_ahead_and_trailers_follow(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with serving(tmp_path, TALKATIVE, *flags, "--lifespan", "off") as server, server.connect() as client:
        for _ in range(2):
            client.request("POST", "/", "Expect: 100-continue", "TE: trailers", "Content-Length: 3")
            hint = client.head()
            assert (hint.status, hint.headers) == (
                103,
                [("link", "</a.css>; rel=preload"), ("link", "</b.js>")],
            )
            interim = client.head()
            assert (interim.status, interim.headers) == (100, [])
            client.send(b"abc")
            final = client.head()
            assert (final.status, final["transfer-encoding"]) == (200, "chunked")
            assert client.chunked(3) == b"abc"
            assert client.read(17) == b"0\r\nx-sum: 294\r\n\r\n"


@PAIRS
def test_no_hints_where_a_proxy_sits(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with (
        serving(tmp_path, TALKATIVE, *flags, "--lifespan", "off", "--uds", "s") as server,
        server.connect() as client,
    ):
        client.request("POST", "/", body=b"abc")
        response = client.response()
        assert (response.status, response.body) == (200, b"abc")
