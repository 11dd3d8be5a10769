"""Where alerts go until somebody names a better place: what Alertmanager posts becomes lines of this container's log.

The path is the receiver's name. The form of the body: Alertmanager's documentation, "webhook_config".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

#: The levels of a log for the two kinds of alerts; what is over is information.
LEVELS = {"page": "ERROR", "ticket": "WARNING"}


def tell(receiver: str, alert: dict[str, Any]) -> None:
    """One line for one alert: the fields that the server's own lines have, and everything that is known of it."""
    labels, annotations = alert["labels"], alert["annotations"]
    firing = alert["status"] == "firing"
    record = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": LEVELS.get(receiver, "WARNING") if firing else "INFO",
        "logger": "alerts",
        "message": f"{labels['alertname']} {alert['status']}: {annotations.get('summary', '')}",
        "receiver": receiver,
        "starts": alert["startsAt"],
        **labels,
        **annotations,
    }
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Takes what is posted; a body that is none of Alertmanager's is the server's 500, and Alertmanager tries again."""
    assert scope["type"] == "http"
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    for alert in json.loads(body)["alerts"]:
        tell(scope["path"].strip("/"), alert)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
