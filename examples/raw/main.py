"""The smallest useful ASGI application: no framework, no dependency.

`make up` puts it behind nginx; `make run` serves it alone on http://127.0.0.1:8000.
"""

import json


async def app(scope, receive, send):
    """Tells the caller what arrived here."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["type"] != "http":
        raise NotImplementedError(f"this example speaks HTTP only, not {scope['type']}")
    client = scope["client"][0] if scope["client"] else None
    body = {"hello": "from Pronghorn", "path": scope["path"], "client": client, "scheme": scope["scheme"]}
    await respond(send, 200 if scope["path"] == "/" else 404, body)


async def respond(send, status, body):
    content = json.dumps(body).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def lifespan(receive, send):
    """Where a real application opens and closes what it needs for its whole life."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
