"""The application of these tests, as main.py in its folder: that of the drills, and what a journal is read for."""

import logging
import socket
from pathlib import Path

from tests.support.drill_app import Receive, Scope, Send
from tests.support.drill_app import app as drill

logger = logging.getLogger("shop")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope.get("path", "")
    if path == "/log":
        logger.debug("Not worth a line")
        logger.warning("Stock is low", extra={"item": 7})
    elif path == "/fail":
        raise RuntimeError("The shop is on fire")
    elif path.startswith("/connect/"):
        # The sandbox lets it, or else this is an error, and a 500.
        with socket.create_connection(("127.0.0.1", int(path.rpartition("/")[2])), timeout=5):
            pass
    elif path.startswith("/write/"):
        Path(path.removeprefix("/write")).touch()  # noqa: ASYNC240 - a file of a test
    await drill(scope, receive, send)
