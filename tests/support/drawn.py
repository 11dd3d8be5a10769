"""The tables of docs/architecture.md, read back from the page, to be held against the data that they draw."""

from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).resolve().parents[2] / "docs/architecture.md"


def drawn(heading: str, states: ModuleType) -> dict[tuple[int, str], int]:
    """The transitions in the table under the heading; the states are those of the module, by name."""
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        for line in PAGE.read_text().partition(heading)[2].partition("\n##")[0].splitlines()
        if line.startswith("|")
    ]
    (_, *events), _, *lines = rows
    return {
        (getattr(states, name), event): getattr(states, after)
        for name, *cells in lines
        for event, after in zip(events, cells, strict=True)
        if after
    }
