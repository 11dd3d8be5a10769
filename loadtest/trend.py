"""Whether something grows: a line through samples that a few odd ones do not bend, and what it comes to over a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Theil and Sen's: the median of the slopes between any two samples, which a quarter of the samples may be wrong about."""
    found = [
        (values[later] - values[earlier]) / (times[later] - times[earlier])
        for earlier in range(len(times))
        for later in range(earlier + 1, len(times))
        if times[later] > times[earlier]
    ]
    return statistics.median(found) if found else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series came to after it had warmed up."""

    first: float
    last: float
    lowest: float
    highest: float
    #: By how much the line through it has risen from its first sample to its last.
    growth: float
    samples: int

    @classmethod
    def of(cls, series: Sequence[tuple[float, float]], warm_up: float) -> Trend:
        """Of samples (seconds, value), those of the first `warm_up` seconds left out. Raises `ValueError` where fewer than three are left."""
        kept = [(second, value) for second, value in series if second >= warm_up]
        if len(kept) < 3:
            raise ValueError(f"{len(kept)} samples after {warm_up:g} s of warm-up are too few for a trend")
        times, values = [second for second, _ in kept], [value for _, value in kept]
        return cls(
            values[0],
            values[-1],
            min(values),
            max(values),
            slope(times, values) * (times[-1] - times[0]),
            len(kept),
        )


@dataclass(frozen=True, slots=True)
class Allowed:
    """How much a series may grow over a run: a share of its median level, or so much, whichever is more."""

    share: float
    amount: float

    def limit(self, trend: Trend) -> float:
        """For this series."""
        return max(self.amount, self.share * (trend.lowest + trend.highest) / 2)
