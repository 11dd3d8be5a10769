"""The examples' own promises: what a room tells whom, what hostile frames get, how a stream resumes and stays awake.

Each example is imported as the server does it, from its own folder, and spoken to in ASGI.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `main` of the example that the test names; nothing of it stays imported."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "examples" / request.param)
    yield importlib.import_module("main")
    for name in ("main", "chat", "room", "ticker"):
        if name not in before:
            sys.modules.pop(name, None)


chat = pytest.mark.parametrize("example", ["chat"], indirect=True)
sse = pytest.mark.parametrize("example", ["sse"], indirect=True)
shop = pytest.mark.parametrize("example", ["shop"], indirect=True)


# ---- The room -------------------------------------------------------------------------------------------------------


def texts(event: dict[str, Any]) -> list[str]:
    return [message["text"] for message in event["messages"]]


@chat
class TestRoom:
    def test_a_member_is_told_each_message_once(self, example: Any) -> None:
        room = example.Room()
        ann, bob = room.join("a", "Ann", None, 0), room.join("b", "Bob", None, 0)
        room.say(ann, "1", "hello")

        assert texts(room.tell(bob)) == texts(room.tell(ann)) == ["hello"]
        assert texts(room.tell(bob)) == []

    def test_who_was_away_hears_the_rest(self, example: Any) -> None:
        room = example.Room()
        ann = room.join("a", "Ann", None, 0)
        for number in range(5):
            room.say(ann, str(number), f"text {number}")
        back = room.join("b", "Bob", room.id, 3)

        assert texts(room.tell(back)) == ["text 3", "text 4"]

    @pytest.mark.parametrize("told", [0, 1, 99])
    def test_a_number_of_another_room_counts_for_nothing(self, example: Any, told: int) -> None:
        room = example.Room()
        room.say(room.join("a", "Ann", None, 0), "1", "hello")

        assert texts(room.tell(room.join("b", "Bob", "another", told))) == ["hello"]

    def test_a_number_that_was_never_said_is_the_last_one(self, example: Any) -> None:
        room = example.Room()
        ann = room.join("a", "Ann", None, 0)
        late = room.join("b", "Bob", room.id, 99)
        room.say(ann, "1", "hello")

        assert texts(room.tell(late)) == ["hello"]

    def test_what_is_sent_again_is_said_once(self, example: Any) -> None:
        room = example.Room()
        ann = room.join("a", "Ann", None, 0)
        room.say(ann, "1", "hello")
        back = room.join("a", "Ann", None, 0)
        room.say(back, "1", "hello")

        assert texts(room.tell(back)) == ["hello"]

    def test_the_history_is_bounded_and_a_slow_reader_hears_how_much_it_missed(self, example: Any) -> None:
        room = example.Room(keep=3)
        ann, slow = room.join("a", "Ann", None, 0), room.join("b", "Bob", None, 0)
        room.say(ann, "first", "first")
        room.tell(slow)
        for number in range(5):
            room.say(ann, str(number), str(number))
        event = room.tell(slow)

        assert len(room.history) == 3
        assert (texts(event), event["missed"]) == (["2", "3", "4"], 2)
        # Who is new has missed nothing.
        assert room.tell(room.join("c", "Cem", None, 0))["missed"] == 0

    def test_presence_is_told_when_it_changes(self, example: Any) -> None:
        room = example.Room()
        ann = room.join("a", "Ann", None, 0)
        assert room.tell(ann)["present"] == ["Ann"]
        bob = room.join("b", "bob", None, 0)
        assert room.tell(ann)["present"] == ["Ann", "bob"]
        assert "present" not in room.tell(ann)
        room.leave(bob)
        assert room.tell(ann)["present"] == ["Ann"]

    def test_a_page_that_comes_back_before_its_loss_was_noticed_is_there_once(self, example: Any) -> None:
        room = example.Room()
        lost = room.join("a", "Ann", None, 0)
        back = room.join("a", "Ann", room.id, 0)
        room.leave(lost)

        assert lost.gone
        assert room.members == {"a": back}
        assert room.present == ["Ann"]


# ---- The chat, in ASGI ----------------------------------------------------------------------------------------------


class Client:
    """The server's side of one connection to the chat."""

    def __init__(self, app: Any, **query: str) -> None:
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {
            "type": "websocket",
            "path": "/chat",
            "raw_path": b"/chat",
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": [],
            "subprotocols": [],
            "scheme": "ws",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self.to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(app(scope, self.to_app.get, self.from_app.put))

    def send(self, **event: Any) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", **event})

    async def event(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.from_app.get(), 10)

    async def news(self) -> Any:
        return json.loads((await self.event())["text"])

    async def leave(self) -> None:
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1001, "reason": ""})
        await asyncio.wait_for(self.task, 10)


@asynccontextmanager
async def member(example: Any, name: str, **query: str) -> AsyncIterator[Client]:
    """Somebody in the room, who has been told what is new."""
    client = Client(example.app, **{"name": name, "page": name, "told": "0"} | query)
    assert (await client.event())["type"] == "websocket.accept"
    yield client
    await client.leave()


@chat
class TestChat:
    async def test_what_one_says_all_are_told(self, example: Any) -> None:
        async with member(example, "Ann") as ann:
            assert (await ann.news())["present"] == ["Ann"]
            async with member(example, "Bob") as bob:
                assert (await bob.news())["present"] == (await ann.news())["present"] == ["Ann", "Bob"]
                ann.send(text=json.dumps({"id": "1", "text": " hello "}))
                for one in (ann, bob):
                    [message] = (await one.news())["messages"]
                    assert (message["name"], message["text"], message["number"]) == ("Ann", "hello", 1)
            assert (await ann.news())["present"] == ["Ann"]
        assert example.room.members == {}

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            ({"bytes": b"\x00"}, 1008),
            ({"text": ""}, 1008),
            ({"text": "no JSON"}, 1008),
            ({"text": "[]"}, 1008),
            ({"text": "null"}, 1008),
            ({"text": json.dumps({"id": 1, "text": "x"})}, 1008),
            ({"text": json.dumps({"id": ["1"], "text": "x"})}, 1008),
            ({"text": json.dumps({"id": "1", "text": ["x"]})}, 1008),
            ({"text": json.dumps({"id": "1", "text": "  "})}, 1008),
            ({"text": json.dumps({"id": "1" * 33, "text": "x"})}, 1008),
            ({"text": json.dumps({"id": "1", "text": "x" * 2001})}, 1008),
            ({"text": json.dumps({"id": "1", "text": "\ud800"})}, 1008),
            ({"text": json.dumps({"id": "\ud800", "text": "x"})}, 1008),
            ({"text": "[" * 10_000}, 1008),
            ({"text": json.dumps({"id": "1", "text": "x" * 20_000})}, 1009),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_what_no_page_would_send_ends_that_connection_and_no_other(
        self, example: Any, frame: dict[str, Any], code: int
    ) -> None:
        async with member(example, "Ann") as ann:
            await ann.news()
            hostile = Client(example.app, name="Eve", page="Eve", told="0")
            assert (await hostile.event())["type"] == "websocket.accept"
            await hostile.news()
            await ann.news()
            hostile.send(**frame)
            closed = await hostile.event()
            await asyncio.wait_for(hostile.task, 10)

            assert (closed["type"], closed["code"]) == ("websocket.close", code)
            assert (await ann.news()) == {
                "room": example.room.id,
                "messages": [],
                "missed": 0,
                "present": ["Ann"],
            }

    @pytest.mark.parametrize(
        "query",
        [
            {"name": ""},
            {"name": " \x00\n"},
            {"page": ""},
            {"told": "-1"},
            {"told": "x"},
            {"told": "²"},
            {"told": "9" * 16},
        ],
        ids=str,
    )
    async def test_a_page_says_who_it_is(self, example: Any, query: dict[str, str]) -> None:
        client = Client(example.app, **{"name": "Ann", "page": "1", "told": "0"} | query)

        assert (await client.event())["type"] == "websocket.accept"
        assert (await client.event())["code"] == 1008
        assert example.room.members == {}

    async def test_a_full_room_takes_nobody_but_who_comes_back(
        self, example: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(example, "MEMBERS", 1)
        async with member(example, "Ann") as ann:
            await ann.news()
            other = Client(example.app, name="Bob", page="Bob", told="0")
            assert (await other.event())["type"] == "websocket.accept"
            assert (await other.event())["code"] == 1013
            async with member(example, "Ann") as back:
                assert (await back.news())["present"] == ["Ann"]
                assert (await ann.event())["code"] == 1008


# ---- Server-sent events ---------------------------------------------------------------------------------------------


class Stream:
    """The server's side of one request for /events; the ticker ticks when the test says so."""

    def __init__(
        self, example: Any, ticker: Any, query: str = "", last: str | None = None, heartbeat: float = 60
    ) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/events",
            "query_string": query.encode(),
            "headers": [] if last is None else [(b"last-event-id", last.encode())],
            "state": {"ticker": ticker},
        }
        self.gone = asyncio.get_running_loop().create_future()
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.ensure_future(example.events(scope, self._receive, self.sent.put, heartbeat))

    async def _receive(self) -> dict[str, Any]:
        await self.gone
        return {"type": "http.disconnect"}

    async def event(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 10)

    async def text(self) -> str:
        return bytes((await self.event())["body"]).decode()

    async def opened(self) -> Any:
        """What the stream says at its beginning: behind which id it goes on."""
        start = await self.event()
        assert (b"x-accel-buffering", b"no") in start["headers"]
        assert (b"content-type", b"text/event-stream") in start["headers"]
        retry, event, data = (await self.text()).strip().split("\n")
        assert (retry, event) == ("retry: 1000", "event: hello")
        return json.loads(data.removeprefix("data: "))["after"]

    async def end(self) -> None:
        self.gone.set_result(None)
        await asyncio.wait_for(self.task, 10)


@pytest.fixture
async def ticker(example: Any) -> Any:
    """With the ticks 1, 2 and 3."""
    made = example.Ticker(keep=3)
    for number in (1, 2, 3):
        made.tick(number, number / 10)
    return made


def ids(text: str) -> list[int]:
    return [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]


@sse
class TestTicker:
    @pytest.mark.parametrize(
        ("query", "last", "after", "missed"),
        [
            ("", None, 0, [1, 2, 3]),
            ("after=2", None, 2, [3]),
            ("", "1", 1, [2, 3]),
            # The browser's own header is newer than the address that the stream began with.
            ("after=1", "2", 2, [3]),
            ("after=x", None, 0, [1, 2, 3]),
            ("after=-5", None, 0, [1, 2, 3]),
            ("", "²", 0, [1, 2, 3]),
            ("", "9" * 5000, 0, [1, 2, 3]),
        ],
    )
    async def test_a_stream_goes_on_behind_the_last_id(
        self, example: Any, ticker: Any, query: str, last: str | None, after: int, missed: list[int]
    ) -> None:
        stream = Stream(example, ticker, query, last)
        assert await stream.opened() == after
        assert ids(await stream.text()) == missed
        ticker.tick(4, 0.5)
        assert await stream.text() == 'id: 4\ndata: {"load": 0.5}\n\n'
        await stream.end()

    async def test_silence_is_broken_by_comments(self, example: Any, ticker: Any) -> None:
        stream = Stream(example, ticker, "after=3", heartbeat=0.001)
        await stream.opened()
        assert await stream.text() == ": still here\n\n"
        assert await stream.text() == ": still here\n\n"
        await stream.end()

    async def test_a_stream_ends_in_good_order(self, example: Any, ticker: Any) -> None:
        stream = Stream(example, ticker, "after=3")
        await stream.opened()
        await stream.end()
        assert stream.sent.get_nowait() == {"type": "http.response.body"}

    async def test_a_reader_who_was_slow_gets_all_that_is_kept_at_once(
        self, example: Any, ticker: Any
    ) -> None:
        stream = Stream(example, ticker, "after=3")
        await stream.opened()
        for number in range(4, 9):
            ticker.tick(number, 0.0)
        assert ids(await stream.text()) == [6, 7, 8]
        await stream.end()

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("GET", "/", 200), ("HEAD", "/ticker.js", 200), ("GET", "/../main.py", 404), ("POST", "/", 405)],
    )
    async def test_the_page_and_nothing_else(self, example: Any, method: str, path: str, status: int) -> None:
        sent: list[dict[str, Any]] = []

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        await example.app({"type": "http", "method": method, "path": path, "headers": []}, None, send)
        assert sent[0]["status"] == status


# ---- Both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["chat", "sse"])
def test_a_page_loads_nothing_from_elsewhere(folder: str) -> None:
    for file in (ROOT / "examples" / folder / "page").iterdir():
        # The namespace of SVG is a name, and nobody asks for it.
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name
        assert "innerHTML" not in text, file.name


# ---- The shop, which the load tests are for -------------------------------------------------------------------------


async def ask(example: Any, method: str, path: str, body: bytes = b"", query: str = "") -> tuple[int, bytes]:
    """Status and body of one answer."""
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
    to_app = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return to_app.pop(0) if to_app else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await example.app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@shop
class TestShop:
    @pytest.mark.parametrize(
        ("method", "path", "query", "status", "member"),
        [
            ("GET", "/api", "", 200, "paths"),
            ("GET", "/api/products", "page=25", 200, "products"),
            ("GET", "/api/products", "page=99999", 200, "products"),
            ("GET", "/api/products", "page=\u00b2", 200, "products"),
            ("GET", "/api/products/500", "", 200, "price"),
            ("GET", "/api/products/501", "", 404, "error"),
            ("GET", "/api/products/0", "", 404, "error"),
            ("GET", "/api/products/\u0663", "", 404, "error"),
            ("GET", "/elsewhere", "", 404, "error"),
            ("DELETE", "/api/products", "", 405, "error"),
            ("GET", "/api/orders", "", 405, "error"),
        ],
    )
    async def test_each_path_answers(
        self, example: Any, method: str, path: str, query: str, status: int, member: str
    ) -> None:
        answered, body = await ask(example, method, path, query=query)

        assert answered == status
        assert member in json.loads(body)

    async def test_the_pages_have_every_product_once(self, example: Any) -> None:
        pages = [await ask(example, "GET", "/api/products", query=f"page={n}") for n in range(1, 26)]
        ids = [product["id"] for _, body in pages for product in json.loads(body)["products"]]

        assert ids == list(range(1, 501))

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b'{"product": 1, "quantity": 1}', 201),
            (b'{"product": 501, "quantity": 1}', 422),
            (b'{"product": 1, "quantity": 0}', 422),
            (b'{"product": "1", "quantity": 1}', 422),
            (b"[]", 422),
            (b"null", 422),
            (b"\xff", 422),
            (b"[" * 4000, 422),
            (b"x" * 5000, 413),
        ],
        ids=lambda value: str(value)[:30],
    )
    async def test_an_order_is_one_or_is_refused(self, example: Any, body: bytes, status: int) -> None:
        answered, _ = await ask(example, "POST", "/api/orders", body)

        assert answered == status

    async def test_nobody_is_answered_who_is_gone(self, example: Any) -> None:
        scope = {"type": "http", "method": "POST", "path": "/uploads", "query_string": b"", "headers": []}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await example.app(scope, receive, send)

        assert sent == []

    async def test_what_one_says_all_in_the_room_hear_and_no_other(self, example: Any) -> None:
        people = [Client(example.app, room=room) for room in ("1", "1", "2")]
        for one in people:
            assert (await one.event())["type"] == "websocket.accept"
            assert "welcome" in await one.news()
        people[0].send(text=json.dumps({"id": "7", "text": "hello", "more": "is left out"}))

        for one in people[:2]:
            assert await one.news() == {"id": "7", "text": "hello"}
        for one in people:
            await one.leave()
        assert people[2].from_app.empty()
        assert sys.modules["chat"].rooms == {}

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            ({"bytes": b"\x00"}, 1008),
            ({"text": "null"}, 1008),
            ({"text": '{"id": 1}'}, 1008),
            ({"text": "[" * 10_000}, 1008),
            ({"text": json.dumps({"id": "1", "text": "x" * 3000})}, 1009),
        ],
        ids=lambda value: str(value)[:30],
    )
    async def test_what_is_no_message_ends_the_connection(
        self, example: Any, frame: dict[str, Any], code: int
    ) -> None:
        one = Client(example.app)
        await one.event()
        await one.news()
        one.send(**frame)
        closed = await one.event()
        await asyncio.wait_for(one.task, 10)

        assert (closed["type"], closed["code"]) == ("websocket.close", code)
        assert sys.modules["chat"].rooms == {}

    async def test_who_does_not_read_costs_no_more_than_a_queue(self, example: Any) -> None:
        chat = sys.modules["chat"]
        silent: asyncio.Queue[str] = asyncio.Queue(chat.WAITING)
        one = Client(example.app, room="1")
        await one.event()
        await one.news()
        chat.rooms["1"].add(silent)
        for number in range(chat.WAITING + 5):
            one.send(text=json.dumps({"id": str(number), "text": "x"}))
            await one.news()
        await one.leave()

        assert silent.full()

    async def test_there_is_one_place_to_talk(self, example: Any) -> None:
        scope = {"type": "websocket", "path": "/elsewhere", "query_string": b"", "headers": []}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await example.app(scope, receive, send)

        assert sent == [{"type": "websocket.close"}]
