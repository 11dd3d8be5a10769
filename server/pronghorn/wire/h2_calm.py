"""How much a peer may ask for that is of no use to it: the floods of HTTP/2, bounded by counting (RFC 9113 §10.5).

Nearly every frame of HTTP/2 costs its sender less than its receiver. Any of them is fine now and then, and some grow with the
work that is done: who is sent much data sends many WINDOW_UPDATE frames. So each kind has a number that is allowed within a
period, and so many more for each piece of work done in it. A connection that goes over that is ended with ENHANCE_YOUR_CALM.

The time is only looked at where a number is exceeded, so that counting costs next to nothing.
"""

from typing import Final, NamedTuple

#: Ticks of a period; the owner's clock counts seconds.
PERIOD: Final = 10


class Allowance(NamedTuple):
    """So many in a period, and so many more for each unit of work."""

    base: int
    per_work: int = 0


#: The CVE names the flood; the work is requests that were opened and DATA frames that went either way.
ALLOWED: Final = {
    "reset": Allowance(500),  # CVE-2023-44487: requests that their client takes back
    "refused": Allowance(1000),  # streams above the limit of concurrent ones
    "fault": Allowance(200),  # streams that we reset, because of what came on them
    "settings": Allowance(100),  # CVE-2019-9515
    "ping": Allowance(1000),  # CVE-2019-9512
    "empty": Allowance(200, 1),  # CVE-2019-9518: DATA, HEADERS and CONTINUATION without content
    "priority": Allowance(500, 8),  # CVE-2019-9513
    "window": Allowance(1000, 8),  # CVE-2019-9511: and never used
    "other": Allowance(500, 1),  # frames of types that mean nothing to us
}


class Calm:
    """Counts what one connection's peer does. `work` is increased by the owner."""

    __slots__ = ("_begun", "_counts", "_work", "work")

    def __init__(self) -> None:
        self.work = 0
        self._work = 0
        self._begun = 0
        self._counts = dict.fromkeys(ALLOWED, 0)

    def lost(self, kind: str, now: int) -> bool:
        """Count one more; true if that is too much. `now` is in ticks."""
        count = self._counts[kind] + 1
        self._counts[kind] = count
        base, per_work = ALLOWED[kind]
        if count <= base:
            return False
        if now - self._begun >= PERIOD:
            self._begun = now
            self._work = self.work
            self._counts = dict.fromkeys(ALLOWED, 0)
            return False
        return count > base + per_work * (self.work - self._work)
