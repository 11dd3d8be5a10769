"""Where alerts go until somebody names a better place: what Alertmanager posts becomes lines of this container's log.

The path is the receiver's name. The form of the body: Alertmanager's documentation, "webhook_config".
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

LOG = logging.getLogger("alerts")

#: The levels of a log for the two kinds of alerts; what is over is information.
LEVELS = {"page": logging.ERROR, "ticket": logging.WARNING}


def tell(receiver: str, alert: dict[str, Any]) -> None:
    """One line for one alert, with everything that is known of it beside the words."""
    labels, annotations = alert["labels"], alert["annotations"]
    firing = alert["status"] == "firing"
    LOG.log(
        LEVELS.get(receiver, logging.WARNING) if firing else logging.INFO,
        "%s %s: %s",
        labels["alertname"],
        alert["status"],
        annotations.get("summary", ""),
        extra={"receiver": receiver, "starts": alert["startsAt"], **labels, **annotations},
    )


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
