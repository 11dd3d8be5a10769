"""The table at the end: what was done, what had to hold, and what it cost the clients."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tests.integration.edge_load import Row

#: So many lost requests are named one by one; the rest is counted by kind and reason.
NAMED = 8
HEAD = f"{'drill':22} {'sent':>6} {'answered':>8} {'lost':>6} {'asked again':>11} {'longest gap':>11} {'recovery':>9}"


@dataclass(frozen=True, slots=True)
class Line:
    """One drill's. Seconds for `gap` and `recovery`, which is 0 where nothing had to recover."""

    name: str
    did: str
    must: str
    sent: int
    lost: list[str]
    again: int
    gap: float
    recovery: float

    def __str__(self) -> str:
        figures = (
            f"{self.name:22} {self.sent:6} {self.sent - len(self.lost):8} {len(self.lost):6} {self.again:11}"
            f" {self.gap:9.1f} s {self.recovery:7.1f} s"
        )
        return "\n".join(
            [
                figures,
                f"    {self.did}",
                f"    must hold: {self.must}",
                *map("    lost: {}".format, self.names()),
            ]
        )

    def names(self) -> list[str]:
        """Each lost request, or how many there were of each sort where they are many."""
        if len(self.lost) <= NAMED:
            return self.lost
        sorts = Counter(
            re.split(r"'?[,(]", re.sub(r"(Refused|BrokenOff)\('?", "", loss))[0] for loss in self.lost
        )
        return ["; ".join(f"{count} times {sort}" for sort, count in sorts.items())]


@dataclass
class Table:
    """What the drills of a run came to, in their order."""

    lines: list[Line] = field(default_factory=list)

    def add(self, name: str, did: str, must: str, rows: list[Row], recovery: float) -> None:
        lost = [f"{row.kind}: {failure}" for row in rows for failure in row.failures]
        sent, again = sum(row.sent for row in rows), sum(row.asked_again for row in rows)
        gap = max((row.gap for row in rows), default=0.0)
        self.lines.append(Line(name, did, must, sent, lost, again, gap, recovery))

    def __str__(self) -> str:
        return "\n".join([HEAD, *map(str, self.lines)])
