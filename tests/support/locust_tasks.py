"""Runs tasks of Locust's users once each, all at the same time, and prints what they told Locust: one JSON object a line.

    python -m tests.support.locust_tasks URL loadtest.browse:Browse.look 'tests.support.locust_tasks:Visitor.visit /echo' ...

A process of its own, because Locust has gevent patch the standard library.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import gevent
from locust.env import Environment

from loadtest.ws import WebSocketUser


class Visitor(WebSocketUser):
    """A WebSocket, two messages of which the answers are they themselves, a goodbye. Patience is short."""

    group = "visit"

    def visit(self, path: str, pause: str = "0") -> None:
        socket = self.websocket(str)
        if socket.open(path, patience=3) and socket.exchange("one", "one", 3):
            gevent.sleep(float(pause))
            socket.exchange("two", "two", 3)
        socket.close(patience=3)


def run(url: str, spec: str) -> None:
    """One task of a new user."""
    told: list[dict[str, Any]] = []
    environment = Environment(host=url)
    environment.events.request.add_listener(  # type: ignore[no-untyped-call]
        lambda **what: told.append(what)
    )
    name, *arguments = spec.split()
    module, _, attribute = name.partition(":")
    kind, _, task = attribute.partition(".")
    user_class = getattr(importlib.import_module(module), kind)
    user_class.host = url
    user = user_class(environment)
    with gevent.Timeout(90):
        getattr(user, task)(*arguments)
    user.on_stop()
    for what in told:
        line = {
            "task": spec,
            "type": what["request_type"],
            "name": what["name"],
            "time": what["response_time"],
            "length": what["response_length"],
            "error": None if what["exception"] is None else str(what["exception"]),
        }
        sys.stdout.write(f"{json.dumps(line)}\n")


if __name__ == "__main__":
    tasks = [gevent.spawn(run, sys.argv[1], spec) for spec in sys.argv[2:]]
    gevent.joinall(tasks, raise_error=True)
