"""A small FastAPI application: JSON, a path parameter, and a stream of server-sent events.

make up APP=examples/fastapi
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI(title="Pronghorn example")


@app.get("/")
async def index(request: Request) -> dict[str, str | None]:
    return {"hello": "from FastAPI", "client": request.client.host if request.client else None}


@app.get("/items/{number}")
async def item(number: int) -> dict[str, int]:
    return {"number": number}


@app.get("/clock")
async def clock(seconds: int = 5) -> StreamingResponse:
    # X-Accel-Buffering: no asks nginx to pass each event on at once.
    return StreamingResponse(
        ticks(seconds), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def ticks(seconds: int) -> AsyncIterator[str]:
    for second in range(seconds):
        yield f"data: {second}\n\n"
        await asyncio.sleep(1)
