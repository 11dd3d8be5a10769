"""Whom a server answers to: nobody, or the supervisor of several workers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .server import Server

logger = logging.getLogger("pronghorn.error")


class Supervision(Protocol):
    """Told by a `Server` what concerns more than itself."""

    #: Whether the admin listener is this server's own. If not, somebody serves it who is there when the server is not.
    alone: bool
    #: What a supervisor calls this process: the place that it serves in, and how many restarts there were before it. -1 and 0 without one.
    slot: int
    generation: int

    def serving(self, server: Server, where: Sequence[str]) -> None:
        """Requests are accepted from now on; `where`, for people to read."""

    def request_limit_reached(self, server: Server) -> None:
        """The server has taken as many requests as it should."""

    def draining(self, server: Server) -> None:
        """It is going: it serves on for ``--drain-delay``, and then takes nobody new."""


class Alone:
    """A server that is the only one tells people where it is, and stops by itself."""

    alone = True
    slot = -1
    generation = 0

    def serving(self, server: Server, where: Sequence[str]) -> None:
        for place in where:
            logger.info("Pronghorn running on %s (Press CTRL+C to quit)", place)

    def request_limit_reached(self, server: Server) -> None:
        logger.warning(
            "Maximum request limit of %d reached. Terminating process.", server.config.limit_max_requests
        )
        server.should_exit = True

    def draining(self, server: Server) -> None:
        """Whoever waits for it sees the log."""
