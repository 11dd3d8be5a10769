"""What Locust reads: the users of the scenarios that were asked for, and what watches them. `python -m loadtest` starts Locust with it."""

from __future__ import annotations

import os

from locust import User, events

from loadtest import browse, chat, settings, slow, streams, transfers, verdict

_USERS: dict[str, type[User]] = {
    "browse": browse.Browse,
    "uploads": transfers.Uploads,
    "downloads": transfers.Downloads,
    "streaming": streams.Streaming,
    "sse": streams.Sse,
    "chat": chat.Chat,
    "slow": slow.Slow,
}

SETTINGS = settings.read(os.environ)

# Locust takes for users the classes that it finds among the names of this module.
globals().update({_USERS[name].__name__: _USERS[name] for name in SETTINGS.scenarios})

verdict.watch(events, SETTINGS)
