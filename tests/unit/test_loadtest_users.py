"""The users of the load tests, each against our server: what they tell of an application as it should be, of one that is wrong, and of none.

Each task runs once (tests/support/locust_tasks.py), so that nothing depends on how much a machine does in a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import environment, serving

ROOT = Path(__file__).resolve().parents[2]

TASKS = (
    *("loadtest.browse:Browse.look", "loadtest.browse:Browse.look_closer", "loadtest.browse:Browse.buy"),
    *("loadtest.transfers:Uploads.small", "loadtest.transfers:Uploads.large"),
    "loadtest.transfers:Downloads.catalogue",
    "loadtest.streams:Streaming.report",
    "loadtest.streams:Sse.listen",
    "loadtest.chat:Chat.talk",
    *("loadtest.slow:Slow.upload", "loadtest.slow:Slow.download"),
    *("loadtest.slow:Slow.stall", "loadtest.slow:Slow.too_large"),
)


@dataclass(frozen=True)
class Told:
    """One request, as Locust heard of it; milliseconds and bytes."""

    task: str
    type: str
    name: str
    time: float
    length: int
    error: str | None


def run(url: str, *tasks: str) -> list[Told]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.locust_tasks", url, *tasks],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Told(**json.loads(line)) for line in done.stdout.splitlines()]


def names(told: list[Told], error: bool = False) -> dict[str, int]:
    """How often each name was told, of what went well or of what did not."""
    chosen = [one.name for one in told if (one.error is not None) is error]
    return {name: chosen.count(name) for name in sorted(set(chosen))}


# ---- The shop -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Told]]:
    """What all of them tell of examples/shop, behind a server that is not as patient as it is by default."""
    folder = tmp_path_factory.mktemp("shop")
    words = ("--app-dir", str(ROOT / "examples/shop"), "--timeout-header", "3", "--timeout-body", "5")
    with serving(folder, "main:app", *words) as server:
        yield run(f"http://127.0.0.1:{server.port}", *TASKS)


def test_nothing_is_wrong_with_the_shop(shop: list[Told]) -> None:
    assert [one for one in shop if one.error is not None] == []


def test_everything_is_told_by_its_name(shop: list[Told]) -> None:
    counted = names(shop)
    events = counted.pop("sse: event")

    # Two a second, for three to six seconds; of which a machine may stand still for two.
    assert 2 <= events <= 14
    assert counted == {
        "browse: detail": 1,
        "browse: list": 1,
        "browse: order": 1,
        "chat: close 1000": 1,
        "chat: first message": 1,
        "chat: open": 1,
        "chat: round trip": 5,
        "downloads: 1 MB": 1,
        "slow: download 200": 1,
        "slow: stalled head 408": 1,
        "slow: too large 408": 1,
        "slow: upload 200": 1,
        "sse: first event": 1,
        "streaming: first byte": 1,
        "streaming: whole": 1,
        "uploads: 2 MB": 1,
        "uploads: 50 KB": 1,
    }


def test_times_are_at_least_what_it_takes(shop: list[Told]) -> None:
    """Upper bounds would be the machine's. A report has 20 rows, one each 50 ms; a trickle is 30 pieces, one each 100 ms."""
    [whole] = [one for one in shop if one.name == "streaming: whole"]
    [first] = [one for one in shop if one.name == "streaming: first byte"]
    [trickle] = [one for one in shop if one.name == "slow: upload 200"]
    [stalled] = [one for one in shop if one.name == "slow: stalled head 408"]

    assert whole.time >= 1000
    # Told when it came, and not with the last one. It may have waited for the other users' turns.
    assert first.time < whole.time - 200
    assert whole.length > 100
    assert trickle.time >= 3000
    assert stalled.time >= 2900


# ---- Another application --------------------------------------------------------------------------------------------

LYING = """
import json

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await send({"type": "websocket.http.response.start", "status": 503, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"full"})
        return
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    path = scope["path"]
    kind, body = {
        "/api/orders": (b"text/html", b"<h1>Thank you</h1>"),
        "/uploads": (b"application/json", b'{"length": 1}'),
        "/files/catalogue.bin": (b"application/octet-stream", b"short"),
        "/reports/sales.csv": (b"text/csv", b"product,sold\\n"),
        "/events": (b"text/event-stream", b'data: {"at": 1.5}\\n\\n'),
    }.get(path, (b"application/json", b"{}"))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})
"""


def test_an_answer_that_is_not_the_right_one_is_a_failure(tmp_path: Path) -> None:
    quick = [task for task in TASKS if "Slow" not in task]
    with serving(tmp_path, LYING) as server:
        told = run(f"http://127.0.0.1:{server.port}", *quick)
    errors = {one.name: one.error for one in told if one.error is not None}

    assert errors == {
        "browse: detail": "no price in the answer",
        "browse: list": "no products in the answer",
        "browse: order": "no JSON but text/html",
        "uploads: 50 KB": "1 bytes came of 50000",
        "uploads: 2 MB": "1 bytes came of 2000000",
        "downloads: 1 MB": "5 bytes came of 1048576",
        "streaming: whole": "1 rows of 21",
        "sse: first event": "the stream ended",
        "chat: open": errors["chat: open"],
    }
    assert "503" in str(errors["chat: open"])
    # What came before it went wrong, came.
    assert names(told) == {"sse: first event": 1, "streaming: first byte": 1}


def test_where_nothing_is_everything_is_a_failure(tmp_path: Path) -> None:
    """What an application makes of half a head is not its own doing, and of a large one neither."""
    there = TASKS[:-2]
    # It knows no WebSockets, and says so with a traceback.
    with serving(tmp_path, "main:app", "--app-dir", str(ROOT / "examples/raw"), shameful=True) as server:
        told = run(f"http://127.0.0.1:{server.port}", *there)

    assert names(told) == {}
    assert {one.task for one in told} == set(there)


def test_where_nobody_listens_everything_is_a_failure() -> None:
    told = run(f"http://127.0.0.1:{free_port()}", *TASKS)

    assert names(told) == {}
    assert {one.task for one in told} == set(TASKS)
    assert [one for one in told if "refused" not in str(one.error)] == []


# ---- WebSockets -----------------------------------------------------------------------------------------------------

SOCKETS = """
import asyncio
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    assert (await receive())["type"] == "websocket.connect"
    path = scope["path"]
    if path == "/refused":
        await send({"type": "websocket.close"})
        return
    if path == "/slow":
        await asyncio.sleep(0.1)
    await send({"type": "websocket.accept"})
    if path == "/slow":
        await asyncio.sleep(0.2)
    if path != "/silent":
        await send({"type": "websocket.send", "text": "welcome"})
    while (event := await receive())["type"] == "websocket.receive":
        text = event["text"]
        if path == "/leaves" and text == "two":
            await send({"type": "websocket.close", "code": 1012, "reason": "a new version"})
            return
        if path == "/crashes" and text == "two":
            raise RuntimeError("on purpose")
        if path == "/dies" and text == "two":
            os._exit(1)
        if path == "/deaf":
            continue
        if path == "/slow":
            await asyncio.sleep(0.3)
        if path == "/others":
            await send({"type": "websocket.send", "text": "from somebody else"})
        kind = "bytes" if path == "/binary" else "text"
        await send({"type": "websocket.send", kind: text.encode() if kind == "bytes" else text})
"""


def visits(folder: Path, *tasks: str, arguments: tuple[str, ...] = ()) -> dict[str, list[Told]]:
    """What each visit tells, by its path."""
    specs = [f"tests.support.locust_tasks:Visitor.visit {task}" for task in tasks]
    with serving(folder, SOCKETS, *arguments, shameful=True) as server:
        told = run(f"http://127.0.0.1:{server.port}", *specs)
    return {task: [one for one in told if one.task == spec] for task, spec in zip(tasks, specs, strict=True)}


WELL = {"visit: close 1000": 1, "visit: first message": 1, "visit: open": 1, "visit: round trip": 2}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Told]]:
    """All visits that leave the server alive."""
    paths = (
        "/echo",
        "/slow",
        "/others",
        "/binary",
        "/refused",
        "/silent",
        "/deaf",
        "/leaves 1",
        "/crashes",
    )
    return visits(tmp_path_factory.mktemp("sockets"), *paths)


@pytest.mark.parametrize("path", ["/echo", "/slow", "/others", "/binary"])
def test_a_visit_is_told_from_its_handshake_to_its_close_code(told: dict[str, list[Told]], path: str) -> None:
    assert names(told[path]) == WELL
    assert names(told[path], error=True) == {}
    assert {one.type for one in told[path]} == {"WS"}


def test_times_go_from_where_a_person_waits(told: dict[str, list[Told]]) -> None:
    """Accepted after 100 ms, the first message 200 ms later, each answer after 300 ms; on a clock of whole milliseconds."""
    times = {one.name: one.time for one in told["/slow"]}

    assert times["visit: open"] >= 99
    # From before the handshake. How long after its end is not known: who waits for a processor notices that late.
    assert times["visit: first message"] >= 298
    assert times["visit: round trip"] >= 299
    assert [one.length for one in told["/slow"] if one.name == "visit: round trip"] == [3, 3]


def test_a_handshake_that_is_refused_is_a_failure(told: dict[str, list[Told]]) -> None:
    [only] = told["/refused"]

    assert only.name == "visit: open"
    assert "403" in str(only.error)


def test_silence_is_a_failure_after_patience(told: dict[str, list[Told]]) -> None:
    silent, deaf = told["/silent"], told["/deaf"]

    assert [(one.name, one.error) for one in silent if one.error] == [
        ("visit: first message", "nothing in 3 s")
    ]
    assert [(one.name, one.error) for one in deaf if one.error] == [("visit: round trip", "nothing in 3 s")]
    # Both said goodbye all the same.
    assert "visit: close 1000" in names(silent)
    assert "visit: close 1000" in names(deaf)


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [("/leaves 1", 1012, "a new version"), ("/crashes", 1011, "")],
)
def test_an_end_by_the_server_is_a_failure_with_its_code(
    told: dict[str, list[Told]], path: str, code: int, reason: str
) -> None:
    errors = {one.name: one.error for one in told[path] if one.error is not None}

    assert set(errors) == {f"visit: close {code}", "visit: round trip"}
    assert str(errors[f"visit: close {code}"]).startswith(f"ended by the server: {reason}")
    assert errors["visit: round trip"] == f"closed with {code} instead"
    # It was open for all that time.
    [close] = [one for one in told[path] if one.name == f"visit: close {code}"]
    assert close.time >= (1000 if path == "/leaves 1" else 0)


def test_a_lost_connection_is_1006(tmp_path: Path) -> None:
    told = visits(tmp_path, "/dies")["/dies"]

    assert names(told, error=True) == {"visit: close 1006": 1, "visit: round trip": 1}


def test_pings_are_answered_while_the_user_thinks(tmp_path: Path) -> None:
    arguments = ("--ws-ping-interval", "0.2", "--ws-ping-timeout", "5")
    told = visits(tmp_path, "/echo 2.5", arguments=arguments)["/echo 2.5"]

    assert names(told) == WELL
