"""From outcomes to tables, for a terminal and as a page, and to JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.drills.memory import Memory
from tests.support.drill_servers import Server
from tests.support.drills import DRILLS, Drill, Outcome
from tests.support.steady import Fate

HEAD = ["", "sent", "failed", "inside", "outside", "gap ms", "late ms", "remarks"]

LEGEND = """Of the requests sent, `failed` got no right answer: `inside` was what the event excuses (on a connection that the killed
or hanging worker held; after TERM, connections that nobody takes any more), `outside` is what nothing does. `gap` is the longest time
without any right answer; `late` is how late the client itself was at worst, for want of a processor, and is part of the gap then."""


@dataclass(frozen=True, slots=True)
class Drilled:
    """One server's drills, in order: an outcome, or why there is none."""

    server: Server
    outcomes: dict[str, Outcome | str] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether the contract was kept in each drill in which it is expected to be."""
        return all(
            drill in self.server.lacks if isinstance(outcome, str) else not outcome.complaints()
            for drill, outcome in self.outcomes.items()
            if drill not in self.server.breaks
        )


@dataclass(frozen=True, slots=True)
class Results:
    """All of a run. `facts` is where and with what."""

    facts: dict[str, str]
    drilled: Sequence[Drilled]
    memory: Sequence[Memory]


Grid = list[list[str]]


def table(drilled: Drilled) -> Grid:
    """One server's drills."""
    grid = [HEAD]
    for name, outcome in drilled.outcomes.items():
        title = DRILLS[name].title
        if isinstance(outcome, str):
            grid.append([title, *[""] * (len(HEAD) - 2), outcome])
        else:
            grid.append([title, *_figures(outcome), _remarks(outcome)])
    return grid


def _figures(outcome: Outcome) -> list[str]:
    gap = "" if outcome.drill.ends else f"{outcome.counts.longest_gap * 1000:.0f}"
    failed = [outcome.counts.sent, outcome.counts.failed, len(outcome.inside), len(outcome.outside)]
    return [*map(str, failed), gap, f"{outcome.counts.lag * 1000:.0f}"]


def _remarks(outcome: Outcome) -> str:
    facts = [f"{name} after {seconds:.1f} s" for name, seconds in outcome.facts.items()]
    fates = [
        f"{count} {fate}"
        for fate, count in outcome.counts.fates.items()
        if fate not in (Fate.ANSWERED, Fate.REFUSED) or (outcome.drill.ends and fate is Fate.REFUSED)
    ]
    expected = [reason] if (reason := outcome.server.breaks.get(outcome.drill.name)) else []
    return "; ".join([*facts, *fates, *outcome.problems, *expected])


def memory_table(memory: Sequence[Memory]) -> Grid:
    """MiB by server, without and with preloading."""
    grid = [["MiB", "RSS of a worker", "PSS of a worker", "PSS of all"]]
    for row in memory:
        name = f"{row.server}, preloaded" if row.preload else row.server
        grid.append([name, f"{row.resident:.1f}", f"{row.share:.1f}", f"{row.total:.1f}"])
    return grid


def as_text(grid: Grid) -> str:
    """For a terminal: words to the left, figures to the right."""
    last = len(grid[0]) - 1
    widths = [max(len(line[column]) for line in grid) for column in range(last + 1)]
    lines = []
    for line in grid:
        cells = [
            cell.ljust(width) if column == 0 or (column == last and grid[0] is HEAD) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_markdown(grid: Grid) -> str:
    """For a page."""
    head, *rows = grid
    rule = ["---", *["---:"] * (len(head) - 2), "---" if grid[0] is HEAD else "---:"]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])


def page(results: Results) -> str:
    """Everything, as Markdown."""
    parts = ["# Drills", "; ".join(f"{name} {value}" for name, value in results.facts.items()) + ".", LEGEND]
    for drilled in results.drilled:
        parts += [f"## {drilled.server.name}", f"`{drilled.server.command}`", as_markdown(table(drilled))]
    if results.memory:
        parts += ["## Memory", as_markdown(memory_table(results.memory))]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, results: Results) -> None:
    """drills.md and drills.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "drills.md").write_text(page(results))
    (folder / "drills.json").write_text(json.dumps(as_data(results), indent=1) + "\n")


def as_data(results: Results) -> dict[str, object]:
    """What can be read again."""
    return {
        "facts": results.facts,
        "drills": [
            {"server": drilled.server.name, "drill": name, **_data(outcome)}
            for drilled in results.drilled
            for name, outcome in drilled.outcomes.items()
        ],
        "memory": [dataclasses.asdict(row) for row in results.memory],
    }


def _data(outcome: Outcome | str) -> dict[str, object]:
    if isinstance(outcome, str):
        return {"missing": outcome}
    counts = outcome.counts
    return {
        "sent": counts.sent,
        "fates": {str(fate): count for fate, count in counts.fates.items()},
        "failed": counts.failed,
        "inside": len(outcome.inside),
        "outside": [f"{failure.kind}: {failure.fate} ({failure.why})" for failure in outcome.outside],
        "longest_gap": round(counts.longest_gap, 4),
        "worst_latency": round(counts.worst, 4),
        "client_late": round(counts.lag, 4),
        "facts": {name: round(seconds, 3) for name, seconds in outcome.facts.items()},
        "complaints": outcome.complaints(),
    }


def line(server: Server, drill: Drill, outcome: Outcome | str) -> str:
    """What is printed while it runs."""
    if isinstance(outcome, str):
        return f"{server.name}, {drill.title}: {outcome}"
    complaints = outcome.complaints()
    return f"{server.name}, {drill.title}: {outcome.counts}; {' and '.join(complaints) if complaints else 'as it should'}"
