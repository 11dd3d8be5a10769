"""From samples to tables: medians, ratios taken round by round and run by run, and the targets beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scripts.bench.measure import Sample
from scripts.bench.workloads import WORKLOADS, Workload

SUBJECT = "pronghorn"
# The first two beside every row, the third where a row has a target for it.
BASELINES = ("uvicorn", "granian", "hypercorn")
NONE = "–"  # noqa: RUF001 - the dash of an empty cell in a table


@dataclass(frozen=True, slots=True)
class Cell:
    """One server's figures for one workload: median, lowest and highest round, and requests per second of a load."""

    value: float
    low: float
    high: float
    rate: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One workload: cells by server, and the ratio of each run by baseline and server."""

    workload: Workload
    cells: dict[str, Cell]
    ratios: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def ratio(self, baseline: str, server: str = SUBJECT) -> float | None:
        """The server's figure divided by the baseline's, below 1 is better; of several runs, their median."""
        found = self.ratios.get(baseline, {}).get(server)
        return statistics.median(found) if found else None


def ratios(samples: Iterable[Sample], server: str, baseline: str) -> list[float]:
    """The ratio of each run: the median of one for each round that has both.

    Within a round both had the machine at the same speed, whatever that was; the next round may be twice as slow.
    """
    by_run: dict[int, dict[int, dict[str, float]]] = {}
    for sample in samples:
        by_run.setdefault(sample.run, {}).setdefault(sample.round, {})[sample.server] = sample.value
    found = []
    for rounds in by_run.values():
        pairs = [values for values in rounds.values() if server in values and values.get(baseline)]
        if pairs:
            found.append(round(statistics.median(values[server] / values[baseline] for values in pairs), 4))
    return found


def summarise(samples: Sequence[Sample]) -> list[Row]:
    """A row for each workload, in the order of the table of workloads."""
    rows = []
    for key, workload in WORKLOADS.items():
        of_row = [sample for sample in samples if sample.workload == key]
        names = list(dict.fromkeys(sample.server for sample in of_row))
        if not names:
            continue
        cells = {name: _cell([s for s in of_row if s.server == name]) for name in names}
        against = {
            baseline: {name: found for name in names if (found := ratios(of_row, name, baseline))}
            for baseline in BASELINES
            if baseline in names
        }
        rows.append(Row(workload, cells, against))
    return rows


def _cell(samples: Sequence[Sample]) -> Cell:
    values = [sample.value for sample in samples]
    rates = [sample.rate for sample in samples if sample.rate is not None]
    return Cell(
        statistics.median(values), min(values), max(values), statistics.median(rates) if rates else None
    )


# ---- Targets --------------------------------------------------------------------------------------------------------


def verdict(ratio: float | None, target: float | None) -> str:
    """Whether a ratio reaches its target, and by how much it misses."""
    if ratio is None or target is None:
        return ""
    # What is printed is what counts: two decimals.
    over = round(ratio, 2) / target - 1
    return "met" if over <= 0 else f"missed by {over:.0%}" if over >= 0.005 else "missed by under 1 %"


def count(rows: Iterable[Row]) -> tuple[int, int]:
    """How many targets were met, of how many that were measured."""
    verdicts = [
        verdict(row.ratio(baseline), target)
        for row in rows
        for baseline, target in row.workload.targets.items()
        if row.ratio(baseline) is not None
    ]
    return verdicts.count("met"), len(verdicts)


# ---- Tables ---------------------------------------------------------------------------------------------------------

Grid = list[list[str]]


def figures(rows: Sequence[Row], servers: Sequence[str]) -> Grid:
    """Medians as they are."""
    grid = [["", "", *servers]]
    for row in rows:
        cells = [_number(cell.value) if (cell := row.cells.get(name)) else NONE for name in servers]
        grid.append([row.workload.title, row.workload.unit, *cells])
    return grid


def rates(rows: Sequence[Row], servers: Sequence[str]) -> Grid:
    """Requests or messages per second, where there are any."""
    grid = [["", *servers]]
    for row in rows:
        if row.workload.kind == "load":
            found = [row.cells.get(name) for name in servers]
            grid.append([row.workload.title, *(f"{c.rate:.0f}" if c and c.rate else NONE for c in found)])
    return grid


def baselines(rows: Iterable[Row]) -> list[str]:
    """Whom these rows are compared with."""
    wanted = {*BASELINES[:2], *(name for row in rows for name in row.workload.targets)}
    return [name for name in BASELINES if name in wanted]


def comparison(rows: Sequence[Row]) -> Grid:
    """Ours as a ratio of each baseline's, with the target and what became of it."""
    names = baselines(rows)
    heads = [column for name in names for column in (f"of {name}", "target", "")]
    grid = [["", *heads]]
    for row in rows:
        line = [row.workload.title]
        for name in names:
            ratio, target = row.ratio(name), row.workload.targets.get(name)
            line += [_ratio(ratio), f"≤ {target:.2f}" if target else "", verdict(ratio, target)]
        grid.append(line)
    return grid


def runs(rows: Sequence[Row], baseline: str) -> Grid:
    """Ours as a ratio of the baseline's in each run, their median, and the target."""
    many = max((len(found) for row in rows for found in row.ratios.get(baseline, {}).values()), default=0)
    grid = [[f"of {baseline}", *(f"run {number}" for number in range(1, many + 1)), "median", "target", ""]]
    for row in rows:
        found: list[float | None] = [*row.ratios.get(baseline, {}).get(SUBJECT, [])]
        found += [None] * (many - len(found))
        ratio, target = row.ratio(baseline), row.workload.targets.get(baseline)
        line = [row.workload.title, *map(_ratio, found), _ratio(ratio)]
        grid.append([*line, f"≤ {target:.2f}" if target else "", verdict(ratio, target)])
    return grid


def _ratio(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def as_text(grid: Grid) -> str:
    """The grid for a terminal: the first column to the left, the others to the right, words to the left."""
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    rows = []
    for line in grid:
        cells = [
            text.ljust(width)
            if column == 0 or (text[:1].isalpha() and line is not grid[0])
            else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def as_markdown(grid: Grid) -> str:
    """The grid for a page."""
    head, *body = grid
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def why_not(missing: Mapping[tuple[str, str], str]) -> list[str]:
    """A line for each reason of an empty cell, with the servers and workloads it is the reason for."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (server, key), reason in missing.items():
        by_reason.setdefault((server, reason), []).append(WORKLOADS[key].title)
    return [f"{server}, {'; '.join(titles)}: {reason}" for (server, reason), titles in by_reason.items()]
