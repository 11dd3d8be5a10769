"""What most users run: a FastAPI endpoint that returns JSON, as a coroutine and as a plain function (in a thread)."""

from typing import Any

from fastapi import FastAPI

app = FastAPI()


def _item() -> dict[str, Any]:
    return {"id": 7, "name": "pronghorn", "tags": ["fast", "strict"], "price": 9.5}


@app.get("/async")
async def as_coroutine() -> dict[str, Any]:
    """Run on the event loop."""
    return _item()


@app.get("/sync")
def as_function() -> dict[str, Any]:
    """Run in a worker thread by FastAPI."""
    return _item()
