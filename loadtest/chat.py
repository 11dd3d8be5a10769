"""People who talk: a WebSocket in one of several rooms, some messages, and a goodbye."""

from __future__ import annotations

import json
import random
import secrets

import gevent
from locust import task

from loadtest.settings import WEIGHTS
from loadtest.ws import WebSocketUser

#: A message goes to everybody in its room.
ROOMS, MESSAGES = 10, 5


class Chat(WebSocketUser):
    """Says something, waits until it has appeared in the room, thinks, and says something else."""

    weight = WEIGHTS["chat"]
    group = "chat"

    @task
    def talk(self) -> None:
        """One visit."""
        socket = self.websocket(said)
        if not socket.open(f"/chat?room={random.randrange(ROOMS)}"):
            socket.abandon()
            return
        for _ in range(MESSAGES):
            token = secrets.token_hex(6)
            if not socket.exchange(
                token, json.dumps({"id": token, "text": "hello " * random.randint(1, 20)})
            ):
                break
            gevent.sleep(random.uniform(0.2, 0.8))
        socket.close()


def said(message: str) -> str | None:
    """The id of what was said, if that is what this message tells."""
    try:
        return str(json.loads(message)["id"])
    except (ValueError, LookupError, TypeError):
        return None
