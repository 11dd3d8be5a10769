"""The status page with a server behind it that says what a test wants it to say.

`canned` serves the page as the admin listener does, with the strictest policy that it works under, and beside it whatever JSON
the test has put there last. `status` makes such JSON: ten minutes of a server with two workers, the same on every run.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import ServerProcess, serving

#: Midday, UTC, of some day: times on the page are of the browser's zone.
NOW = 1_795_867_200.0

APP = """
    import base64
    import hashlib
    import re
    from importlib.resources import files
    from pathlib import Path

    PAGE = files("pronghorn.observe").joinpath("status.html").read_text("utf-8")

    def hashed(name):
        [text] = re.findall(f"<{name}>(.*?)</{name}>", PAGE, re.DOTALL)
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    POLICY = "; ".join([
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        f"style-src {hashed('style')}",
        f"script-src {hashed('script')}",
    ])

    async def app(scope, receive, send):
        status, kind, body = 404, "text/plain", b"not here"
        if scope["path"] == "/":
            status, kind, body = 200, "text/html; charset=utf-8", PAGE.encode()
        elif scope["path"] == "/status.json":
            status, kind, body = 200, "application/json", Path("said.json").read_bytes()
            if not body:
                status = 503
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"content-security-policy", POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
"""


@dataclass
class Canned:
    """What answers the page, and how to change what it says."""

    folder: Path
    server: ServerProcess | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}/"

    def says(self, status: Any) -> None:
        """From the next question on; nothing at all is an answer of 503."""
        self.says_text("" if status is None else json.dumps(status))

    def says_text(self, text: str) -> None:
        # Replaced in one step: a question may come at any time.
        draft = self.folder / "said.json.new"
        draft.write_text(text, "utf-8")
        draft.rename(self.folder / "said.json")


@contextmanager
def canned(folder: Path, port: int = 0) -> Iterator[Canned]:
    """A server on that port of 127.0.0.1, or on a free one."""
    with serving(folder, APP, "--port", str(port), "--lifespan", "off", "--no-access-log") as server:
        yield Canned(folder, server)


def worker(number: int, **more: Any) -> dict[str, Any]:
    """A row of the table."""
    return {
        "pid": 4121 + number,
        "slot": number,
        "worker": number,
        "state": "ready",
        "age_seconds": 11_520.4 - 300 * number,
        "requests": 1_204_220 - 17_000 * number,
        "in_flight": 4 + number,
        "connections": 31 + number,
        "websockets": 6 - number,
        "rss_bytes": 41_300_000 + 900_000 * number,
        "loop_lag_seconds": 0.0011,
        "heartbeat_age_seconds": 0.4,
    } | more


def samples(count: int = 300, interval: float = 2.0) -> list[dict[str, Any]]:
    """Two waves of load, a burst of errors in which a worker dies, and its successor."""
    noise = random.Random(6).uniform
    made = []
    for index in range(count):
        load = 1 + 0.45 * math.sin(index / 37) + 0.15 * math.sin(index / 7.3)
        failing = 176 <= index < 184
        rate = 128 * load * noise(0.93, 1.07)
        median = 0.0042 * load * noise(0.9, 1.15)
        made.append(
            {
                "t": NOW - (count - 1 - index) * interval,
                "rate": rate,
                "errors": rate * noise(0.05, 0.12) if failing else 0.0,
                "client_errors": rate * 0.03 * noise(0.3, 1.7),
                "p50": median,
                "p95": median * noise(4, 6) * (4 if failing else 1),
                "p99": median * noise(14, 26) * (7 if failing else 1),
                "in_flight": round(6 * load * noise(0.5, 1.5)) + (14 if failing else 0),
                "connections": round(58 + 18 * load * noise(0.9, 1.1)),
                "websockets": round(11 + 3 * math.sin(index / 51)),
                "lag": 0.0012 * noise(0.5, 1.8) + (0.031 * noise(0.4, 1) if failing else 0),
                "workers": 1 if 178 <= index < 182 else 2,
                "starts": 1 if index == 179 else 0,
                "exits": 1 if index == 178 else 0,
                "bytes_in": 21_000 * load * noise(0.8, 1.2),
                "bytes_out": 1_340_000 * load * noise(0.85, 1.15),
                "rss": 83_000_000 + 22_000 * index + (-38_000_000 if 178 <= index < 182 else 0),
            }
        )
    return made


def status(**more: Any) -> dict[str, Any]:
    """An answer of /status.json."""
    return {
        "interval": 2.0,
        "now": NOW,
        "app": "main:app",
        "version": "0.4.0",
        "python": "3.13.5",
        "pid": 4120,
        "uptime_seconds": 11_531.0,
        "ready": True,
        "reasons": [],
        "wanted": 2,
        "supervisor": {"pid": 4120, "starts": 3, "exits": {"retired": 1}},
        "workers": [worker(0), worker(1)],
        "samples": samples(interval=more.get("interval", 2.0)),
    } | more
