"""The supervisor's side of the admin listener: it owns the sockets, and sees that a process serves them (`admin`).

While that process is replaced, who asks waits in the backlog. It is the last to go, so that somebody tells how the end goes on.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from typing import Final

from pronghorn.config import Config
from pronghorn.errors import UserError
from pronghorn.net.sockets import Listener, describe

from .attempts import Attempts
from .family import Family
from .policy import Phase
from .process import AdminProcess, told

logger = logging.getLogger("pronghorn.error")

#: Seconds that the process may take to start. Longer than any machine needs; it is there for a start that hangs.
_START: Final = 60.0


class Keeper:
    """Sees that the admin listener is served. Whatever becomes of that is no reason for a supervisor to end.

    Without listeners there is nothing to see to.
    """

    def __init__(self, config: Config, family: Family, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = listeners
        self._config = config
        self._family = family
        self._starts = Attempts()
        self._dismissed = False

    def see_to(self, now: float) -> None:
        """Start the process if there is none, end it if it is stuck."""
        admin = self._family.admin
        if not self.listeners or self._dismissed:
            return
        if admin is None:
            if now >= self._starts.retry_at:
                self._start(now)
            return
        allowed = _START if admin.phase is Phase.STARTING else self._config.timeout_worker_healthcheck
        if now - admin.heard > allowed and not admin.killed:
            logger.error("Killing the admin process [%d]: silent for %.1f s", admin.pid, now - admin.heard)
            admin.signal(signal.SIGKILL)
            admin.killed = True

    def _start(self, now: float) -> None:
        try:
            self._family.administer([listener.sock.fileno() for listener in self.listeners])
        except (OSError, UserError) as exc:  # no memory, no process numbers: that passes
            logger.error("Cannot start the admin process: %s", exc)  # noqa: TRY400  # the traceback is ours and says nothing
            self._starts.failed(now)

    def ready(self) -> None:
        """The process serves."""
        for listener in self.listeners:
            logger.info("Admin listener on %s", describe(listener, tls=False))

    def ended(self, process: AdminProcess, code: int, now: float) -> None:
        """The process is gone: another one follows, at once if all had been well for a while."""
        if self._dismissed:
            return
        why = told(code) if process.failure is None else process.failure[0]
        logger.error("The admin process [%d] died: %s", process.pid, why)
        self._starts.failed(now)

    def reopen_logs(self) -> None:
        """Have the process open its log files anew."""
        admin = self._family.admin
        if admin is not None and admin.phase is Phase.READY:  # before, it may not know the signal
            admin.signal(signal.SIGUSR1)

    def dismiss(self) -> None:
        """Another supervisor's process serves the listener from now on."""
        self._dismissed = True
        if self._family.admin is not None:
            self._family.admin.signal(signal.SIGTERM)
