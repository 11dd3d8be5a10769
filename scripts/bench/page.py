"""What a benchmark leaves: the tables on the terminal, and a page, JSON and a picture in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench import chart, report
from scripts.bench.measure import Sample

_TITLES = (
    "CPU time per request or message (µs), start (ms), memory (MB, KB), CPU while idle (ms/s)",
    "Requests or messages per second",
)


@dataclass(frozen=True, slots=True)
class Results:
    """All that is known at the end; `facts` are about the machine and the runs, `packages` are versions."""

    samples: Sequence[Sample]
    servers: Sequence[str]
    missing: Mapping[tuple[str, str], str]
    facts: Mapping[str, object]
    packages: Mapping[str, str]
    caption: str
    conditions: str

    @property
    def repeated(self) -> bool:
        """Whether there are several runs to be put beside each other."""
        return any(sample.run > 1 for sample in self.samples)


def as_text(results: Results, rows: Sequence[report.Row]) -> str:
    """The tables for a terminal."""
    grids = [report.figures(rows, results.servers), report.rates(rows, results.servers)]
    tables = [f"{title}\n{report.as_text(grid)}" for title, grid in zip(_TITLES, grids, strict=True)]
    ours = "\n\n".join(map(report.as_text, _comparisons(results, rows)))
    met, measured = report.count(rows)
    reasons = [f"{report.NONE} {line}" for line in report.why_not(results.missing)]
    last = "\n".join([f"{met} of {measured} targets met", *reasons, results.conditions])
    return "\n\n".join([*tables, f"{report.SUBJECT}, as a ratio of the others\n{ours}", last])


def as_markdown(results: Results, rows: Sequence[report.Row]) -> str:
    """The page of the docs."""
    met, measured = report.count(rows)
    versions = ", ".join(f"{package} {version}" for package, version in results.packages.items())
    parts = [
        "# Benchmark results",
        "<!-- Written by `make bench`. -->",
        f"{results.caption}. {versions}. How they are taken and what they mean: [Performance](../performance.md).",
        results.conditions,
        "![Every server relative to uvicorn](results.svg)",
        f"## Pronghorn beside the targets\n\n{met} of {measured} met.",
        *map(report.as_markdown, _comparisons(results, rows)),
        "## Figures\n\nµs are CPU time per request or message. Medians of the rounds.",
        report.as_markdown(report.figures(rows, results.servers)),
        "## Requests or messages per second\n\nOne core for the server; behind Nginx the generator and Nginx share the other.",
        report.as_markdown(report.rates(rows, results.servers)),
    ]
    reasons = "\n".join(f"- {line}" for line in report.why_not(results.missing))
    return "\n\n".join([*parts, *([f"## Not measured\n\n{reasons}"] if reasons else [])]) + "\n"


def _comparisons(results: Results, rows: Sequence[report.Row]) -> list[report.Grid]:
    if results.repeated:
        return [report.runs(rows, baseline) for baseline in report.baselines(rows)]
    return [report.comparison(rows)]


def as_json(results: Results, rows: Sequence[report.Row]) -> str:
    """Every sample, and what became of them."""
    summary = [
        {
            "workload": row.workload.key,
            "title": row.workload.title,
            "unit": row.workload.unit,
            "targets": row.workload.targets,
            "servers": {name: asdict(cell) for name, cell in row.cells.items()},
            "ratios": {
                baseline: {name: row.ratio(baseline, name) for name in of_runs}
                for baseline, of_runs in row.ratios.items()
            },
            "ratios_of_runs": row.ratios,
        }
        for row in rows
    ]
    facts = {
        **results.facts,
        "packages": results.packages,
        "samples": [asdict(sample) for sample in results.samples],
        "missing": report.why_not(results.missing),
    }
    return json.dumps({"facts": facts, "summary": summary}, indent=1) + "\n"


def write(folder: Path, results: Results, rows: Sequence[report.Row]) -> None:
    """All three files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(as_json(results, rows))
    (folder / "results.md").write_text(as_markdown(results, rows))
    (folder / "results.svg").write_text(chart.draw(rows, results.servers, results.caption))
