"""What is measured, as data: what is asked for, the answer that makes a measurement valid, and the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

HELLO = b"Hello, world!"
LARGE = b"x" * 10_240
UPLOAD = b"x" * 102_400
ITEM = b'{"id":7,"name":"pronghorn","tags":["fast","strict"],"price":9.5}'
DEPTH = 16

Kind = Literal["load", "start", "rss", "connections", "idle"]
UNITS: dict[Kind, str] = {"load": "µs", "start": "ms", "rss": "MB", "connections": "KB", "idle": "ms/s"}

# wrk counts each answer of a pipeline by itself.
_PIPELINE = f"""local many
init = function() many = string.rep(wrk.format("GET"), {DEPTH}) end
request = function() return many end
"""
_POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 10240)
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table. `script` is wrk's, in Lua; `targets` are ratios of ours to the server named.

    A `message` makes it one of WebSockets, to an application that sends each message back: str is text, bytes is binary.
    """

    key: str
    title: str
    app: str = "raw:hello"
    path: str = "/"
    answer: bytes = HELLO
    kind: Kind = "load"
    body: bytes | None = None
    message: str | bytes | None = None
    script: str = ""
    connections: int = 64
    # At most so many: what is resident does not depend on how busy the machine is, and ten thousand are many.
    rounds: int | None = None
    pipelined: int = 1
    access_log: bool = False
    metrics: bool = False
    # Over HTTP/2 in clear text, so many streams at a time on each connection; 0 is HTTP/1.1.
    streams: int = 0
    nginx: bool = False
    # A constant answer to GET, which a server without ASGI can give too.
    constant: bool = False
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What the figures count; of a load, CPU time per request or message."""
        return UNITS[self.kind]

    @property
    def method(self) -> str:
        """GET, or POST where there is a body."""
        return "GET" if self.body is None else "POST"


def _h2(key: str, title: str, streams: int, **what: Any) -> Workload:
    """One of HTTP/2: 64 requests in flight on connections of their own, or 400 on four."""
    words = "1 stream" if streams == 1 else f"{streams} streams"
    connections = 64 if streams == 1 else 4
    return Workload(
        f"h2-{key}-{streams}",
        f"HTTP/2, {title}, {words}",
        streams=streams,
        connections=connections,
        targets={"hypercorn": 0.5},
        **what,
    )


def _targets(uvicorn: float, granian: float) -> dict[str, float]:
    return {"uvicorn": uvicorn, "granian": granian}


WORKLOADS = {
    workload.key: workload
    for workload in (
        Workload("get", "GET 13 B", constant=True, targets=_targets(0.62, 0.72)),
        Workload(
            "get10k",
            "GET 10 KB",
            app="raw:large",
            path="/10k",
            answer=LARGE,
            constant=True,
            targets=_targets(0.62, 0.80),
        ),
        Workload(
            "stream", "10 x 1 KB streamed", app="raw:stream", answer=LARGE, targets=_targets(0.75, 0.55)
        ),
        Workload(
            "post",
            "POST 10 KB echo",
            app="raw:echo",
            answer=LARGE,
            body=LARGE,
            script=_POST,
            targets=_targets(0.60, 0.65),
        ),
        Workload("access", "GET, access log on", access_log=True, targets=_targets(0.35, 0.60)),
        Workload("metrics", "GET, metrics on", metrics=True),
        Workload(
            "pipelined",
            f"GET, {DEPTH} pipelined",
            script=_PIPELINE,
            pipelined=DEPTH,
            constant=True,
            targets=_targets(0.60, 0.80),
        ),
        Workload("nginx", "GET behind Nginx, Unix socket", nginx=True, constant=True),
        Workload("fastapi", "FastAPI JSON, async def", app="fastapi_json:app", path="/async", answer=ITEM),
        Workload("fastapi-sync", "FastAPI JSON, def", app="fastapi_json:app", path="/sync", answer=ITEM),
        Workload("io", "10 ms of I/O, 512 connections", app="raw:wait", connections=512),
        Workload("start", "start to first answer", kind="start", constant=True, targets=_targets(0.8, 0.9)),
        Workload("rss", "RSS, idle", kind="rss", rounds=2, constant=True, targets=_targets(0.9, 0.5)),
        Workload(
            "connections",
            "RSS, each idle connection",
            kind="connections",
            connections=1000,
            rounds=2,
            constant=True,
            targets=_targets(0.55, 0.9),
        ),
        Workload(
            "ws",
            "WebSocket echo, 100 B text",
            app="raw:websocket",
            message="x" * 100,
            targets=_targets(0.70, 1.0),
        ),
        Workload("ws16k", "WebSocket echo, 16 KB binary", app="raw:websocket", message=b"x" * 16_384),
        Workload(
            "ws-connections",
            "RSS, each idle WebSocket",
            app="raw:websocket",
            kind="connections",
            message="x" * 100,
            connections=10_000,
            rounds=1,
        ),
        Workload(
            "ws-idle",
            "CPU, 10,000 idle WebSockets",
            app="raw:websocket",
            kind="idle",
            message="x" * 100,
            connections=10_000,
            rounds=1,
        ),
        *(
            workload
            for streams in (1, 100)
            for workload in (
                _h2("get", "GET 13 B", streams),
                _h2("get100k", "GET 100 KB", streams, app="raw:huge", answer=UPLOAD),
                _h2("post100k", "POST 100 KB", streams, app="raw:count", answer=b"102400", body=UPLOAD),
            )
        ),
    )
}
