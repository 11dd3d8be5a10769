"""What a load came to, in the figures that people decide by, and the limits that they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.openloop import BUSY, FATES, Result, quantile, served

#: From here on a generator is taken for the limit: so much of its processor, or so many seconds late with one request in a hundred.
MOST_BUSY, MOST_LATE = 0.9, 0.05


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some seconds of load. Rates are a second, times in seconds and counted from the moment at which a request was due."""

    offered: float
    served: float
    refused: float
    failed: float
    p50: float
    p99: float
    worst: float
    refused_p50: float
    refused_p99: float
    #: Refusals that did not say when to come again.
    silent: int
    #: How late the generator was with one request in a hundred, and its share of a processor.
    late: float
    busy: float
    #: What failed, by its name, with how often.
    failures: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, result: Result) -> Figures:
        right = result.latencies(served)
        refused = result.latencies(lambda fate: fate in BUSY)
        counted = len(result.fate)
        failures = sorted(
            (FATES.get(fate, str(fate)), count)
            for fate, count in result.fates.items()
            if not served(fate) and fate not in BUSY
        )
        return cls(
            offered=counted / result.seconds,
            served=len(right) / result.seconds,
            refused=len(refused) / result.seconds,
            failed=(counted - len(right) - len(refused)) / result.seconds,
            p50=quantile(right, 0.5),
            p99=quantile(right, 0.99),
            worst=right[-1] if right else float("nan"),
            refused_p50=quantile(refused, 0.5),
            refused_p99=quantile(refused, 0.99),
            silent=result.silent,
            late=quantile(sorted(result.late), 0.99),
            busy=result.busy,
            failures=tuple(failures),
        )

    @property
    def share(self) -> float:
        """Of what was asked, how much was served."""
        return self.served / self.offered if self.offered else 0.0

    @property
    def generator_limits(self) -> bool:
        """Whether the figures say more of the generator than of what it asked."""
        return self.busy > MOST_BUSY or self.late > MOST_LATE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was wanted, what was found, and whether that will do."""

    what: str
    wanted: str
    found: str
    met: bool


HEAD = (
    "",
    "offered/s",
    "served/s",
    "refused/s",
    "failed/s",
    "p50 ms",
    "p99 ms",
    "worst ms",
    "refused p50",
    "p99 ms",
)


def row(name: str, figures: Figures) -> tuple[str, ...]:
    """For a table under `HEAD`."""
    rates = (figures.offered, figures.served, figures.refused, figures.failed)
    times = (figures.p50, figures.p99, figures.worst, figures.refused_p50, figures.refused_p99)
    return (name, *(f"{rate:.0f}" for rate in rates), *map(milliseconds, times))


def milliseconds(seconds: float) -> str:
    """For a table; a dash where there was nothing to measure."""
    return "-" if seconds != seconds else f"{seconds * 1000:.1f}"  # noqa: PLR0124 - nan is not itself


def remarks(figures: Figures) -> list[str]:
    """What a reader has to know besides."""
    told = [f"{count} x {name}" for name, count in figures.failures]
    if figures.generator_limits:
        told.append(
            f"the generator did not keep up: {milliseconds(figures.late)} ms late with one in a hundred, {figures.busy:.0%} of a processor"
        )
    return told


def table(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal: the first column to the left, figures to the right."""
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    )


def verdicts(found: Sequence[Verdict]) -> str:
    """Each limit with what was measured."""
    return table(
        [
            ("", "wanted", "measured", ""),
            *((one.what, one.wanted, one.found, "met" if one.met else "MISSED") for one in found),
        ]
    )
