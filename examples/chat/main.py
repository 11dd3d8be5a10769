"""A chat with a page, over WebSockets. The room is in room.py, the page in page/, and README.md says how the two talk.

make up APP=examples/chat
"""

import asyncio
import contextlib
import json
from pathlib import Path

from room import Room
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

NAME, TEXT, FRAME, MEMBERS = 32, 2000, 16 * 1024, 1000

room = Room()


async def chat(websocket: WebSocket) -> None:
    """One connection: its own task tells what is new, this one listens."""
    asked = websocket.query_params
    name = "".join(filter(str.isprintable, asked.get("name", ""))).strip()[:NAME]
    page, told = asked.get("page", "")[:NAME], asked.get("told", "0")
    await websocket.accept()
    if not name or not page or not told.isdecimal() or len(told) > 15:
        await websocket.close(1008, "a name, a page and a number, please")
        return
    if len(room.members) >= MEMBERS and page not in room.members:
        await websocket.close(1013, "the room is full")
        return
    member = room.join(page, name, asked.get("room"), int(told))
    telling = asyncio.create_task(tell(websocket, member))
    try:
        refused = await listen(websocket, member)
    finally:
        room.leave(member)
        telling.cancel()
    if refused:
        await websocket.close(*refused)


async def tell(websocket, member):
    """A connection that takes no more suspends the send; what happens in the room meanwhile waits there, not here."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await member.news()
            if member.gone:
                await websocket.close(1008, "this page has a newer connection")
                return
            await websocket.send_json(room.tell(member))


async def listen(websocket, member):
    """Until the page goes, or sends what no page of ours would: then the close code and the reason."""
    while (event := await websocket.receive())["type"] != "websocket.disconnect":
        frame = event.get("text") or ""
        if len(frame) > FRAME:
            return 1009, "too much for one message"
        try:
            said = json.loads(frame)
            message_id, text = said["id"], said["text"].strip()
            # A lone surrogate is JSON, but no text that anybody could be sent.
            fits = 0 < len(message_id.encode()) <= NAME and 0 < len(text) <= TEXT and text.encode()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            fits = False
        if not fits:
            return 1008, "an id and a text, please"
        room.say(member, message_id, text)
    return None


page = StaticFiles(directory=Path(__file__).parent / "page", html=True)
app = Starlette(routes=[WebSocketRoute("/chat", chat), Mount("/", page)])
