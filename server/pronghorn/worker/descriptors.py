"""Whether this process may open one more file, as every new connection is one.

When it may not, the loops keep it to themselves: uvloop takes new connections and resets them, so that a reverse proxy answers 502, and
asyncio leaves them in the backlog, with a traceback each second. So a worker tries it once a second, and says when it begins, and when
it is over.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("pronghorn.error")

#: Seconds without trouble after which it is over. At the limit it comes and goes with each connection.
QUIET: Final = 10.0

_BEGINS: Final = (
    "New connections are refused: %s. Allow more open files (ulimit -n, LimitNOFILE=, OPEN_FILES), "
    "or take fewer requests (--limit-concurrency)."
)
_ENDS: Final = "New connections are accepted again: for %.0f s, files were not to be had."


def attempt() -> None:
    """Open one more, and close it. Raises OSError if there is none to be had."""
    os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


class Descriptors:
    """`look` is called once a second."""

    def __init__(
        self, attempt: Callable[[], None] = attempt, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempt = attempt
        self._clock = clock
        # When trouble began, and when it was last seen; None while there is none.
        self._since: float | None = None
        self._seen = 0.0

    def look(self) -> None:
        """Say what has changed."""
        now = self._clock()
        why = self._trouble()
        if why:
            self._seen = now
            if self._since is None:
                self._since = now
                logger.error(_BEGINS, why)
        elif self._since is not None and now - self._seen >= QUIET:
            logger.info(_ENDS, self._seen - self._since)
            self._since = None

    def _trouble(self) -> str:
        try:
            self._attempt()
        except OSError as exc:
            # Anything else is not about numbers: a root without /dev, for instance.
            return os.strerror(exc.errno).lower() if exc.errno in (errno.EMFILE, errno.ENFILE) else ""
        return ""
