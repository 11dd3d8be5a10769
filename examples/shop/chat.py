"""A chat in several rooms: /chat?room=7. Who comes in is told who is there; what one says, all in the room hear.

A message is `{"id": "...", "text": "..."}`. examples/chat is a chat with a history, names and a page; this one is for load. A room is in one process:
with several workers, people in two of them do not hear each other.
"""

import asyncio
import contextlib
import json
from urllib.parse import parse_qs

TEXT, ROOM, WAITING = 2000, 32, 64

#: Room -> the queues of those who are in it.
rooms = {}


async def chat(scope, receive, send):
    await receive()
    if scope["path"] != "/chat":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    name = parse_qs(scope["query_string"].decode("latin-1")).get("room", ["hall"])[0][:ROOM]
    room, mine = rooms.setdefault(name, set()), asyncio.Queue(WAITING)
    room.add(mine)
    mine.put_nowait(json.dumps({"welcome": name, "present": len(room)}))
    telling = asyncio.create_task(tell(mine, send))
    try:
        code = await listen(room, receive)
    finally:
        telling.cancel()
        room.discard(mine)
        if not room:
            rooms.pop(name, None)
    if code:
        await send({"type": "websocket.close", "code": code})


async def tell(mine, send):
    """A connection that takes no more suspends the send; who has left is told nothing."""
    with contextlib.suppress(OSError):
        while True:
            await send({"type": "websocket.send", "text": await mine.get()})


async def listen(room, receive):
    """Until they go, or say what is no message: then the close code."""
    while (event := await receive())["type"] != "websocket.disconnect":
        try:
            said = json.loads(event.get("text") or "")
            text = json.dumps({"id": said["id"], "text": said["text"]})
        except (ValueError, LookupError, TypeError, RecursionError):
            return 1008
        if len(text) > TEXT:
            return 1009
        for queue in room:
            # Who reads too slowly misses this one.
            if not queue.full():
                queue.put_nowait(text)
    return None
