"""What the service manager is told of several workers: when the first of them serves, how many do, and when a restart is done."""

from __future__ import annotations

from collections.abc import Collection

from .notify import Notifier
from .policy import Phase
from .process import Process


class Report:
    """Turns what the supervisor sees into words for its `Notifier`, each said once."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._status = ""
        self._restarting = False
        self._ready = False
        self._fed_at = 0.0

    def restarting(self, why: str) -> None:
        """Workers are about to be replaced, or the supervisor is."""
        self._restarting = True
        self._notifier.reloading(why)

    def given_up(self, why: str) -> None:
        """Of a restart nothing came."""
        self._restarting = False
        self._notifier.ready(why)

    def stopping(self) -> None:
        """The end has begun."""
        self._notifier.stopping("Waiting for requests in progress")

    def failed(self, why: str) -> None:
        """The end, and why: what `systemctl status` goes on showing when the lines of the log are those of a later attempt."""
        self._notifier.status(why)

    def succeeded(self, pid: int) -> None:
        """Another supervisor is the service from now on, and this one has nothing more to say."""
        self._notifier.main_pid(pid)
        self._notifier = Notifier()

    def look(self, workers: Collection[Process], wanted: int, generation: int) -> None:
        """See who serves. `generation` is the one that a restart wants; -1 if what it will be is not known yet."""
        serving = [one for one in workers if one.phase is Phase.READY]
        if not serving and not self._ready:
            return
        status = f"{len(serving)} of {wanted} worker processes serve"
        done = len(serving) >= wanted and all(one.generation == generation for one in serving)
        if not self._ready or (self._restarting and done):
            self._ready, self._restarting = True, False
            self._notifier.ready(status)
        elif status != self._status:
            self._notifier.status(status)
        self._status = status

    def feed(self, workers: Collection[Process], silence: float, now: float) -> None:
        """Feed the manager's watchdog, if an event loop was heard of that does not hang: it is theirs, not the supervisor's."""
        interval = self._notifier.interval
        if interval is None or now < self._fed_at + interval:
            return
        if any(now - one.heard <= silence for one in workers):
            self._fed_at = now
            self._notifier.alive()

    def variables(self) -> dict[str, str]:
        """What a successor needs in its environment to speak for the service."""
        return self._notifier.variables()
