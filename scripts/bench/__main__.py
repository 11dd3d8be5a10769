"""The command behind `make bench`: turns of every server at every workload, then tables, JSON and a picture."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from scripts.bench import chart, environment, proxy, report
from scripts.bench.measure import STARTS, Sample, Setup, measure
from scripts.bench.servers import SERVERS, BenchError, Server, from_text, lacks
from scripts.bench.workloads import WORKLOADS, Workload

EPILOGUE = f"""servers: {", ".join(SERVERS)}
workloads: {", ".join(WORKLOADS)}
BENCH_PYTHON=python3.13 in the environment names the Python that all of them run on. docs/performance.md says how to
read the result."""

Missing = dict[tuple[str, str], str]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `servers` and `workloads` become lists of Server and of Workload."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="CPU time per request of servers, side by side and in turns.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", default=",".join(SERVERS), metavar="NAME,...", help="default: all")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), metavar="NAME,...", help="default: all")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="one more server; {python}, {app} and {port} are filled in; repeatable",
    )
    parser.add_argument("--rounds", type=int, help="turns of each server (default: 3)")
    parser.add_argument("--seconds", type=int, help="measured time of a turn (default: 2)")
    parser.add_argument("--quick", action="store_true", help="one round of one second: shows that it works")
    parser.add_argument(
        "--output", type=Path, default=environment.ROOT / ".bench", metavar="FOLDER", help="default: .bench"
    )
    options = parser.parse_args(arguments)
    for name, usual, quick in (("rounds", 3, 1), ("seconds", 2, 1)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    for name, known in (("servers", SERVERS), ("workloads", WORKLOADS)):
        chosen = [word for word in getattr(options, name).split(",") if word]
        for word in chosen:
            if word not in known:
                parser.error(f"--{name}: {word} is not one of {', '.join(known)}")
        setattr(options, name, [known[word] for word in dict.fromkeys(chosen)])
    for text in options.server:
        try:
            options.servers.append(from_text(text))
        except ValueError as error:
            parser.error(f"--server: {error}")
    if not (options.servers and options.workloads) or min(options.rounds, options.seconds) < 1:
        parser.error("nothing to measure")
    return options


def plan(options: argparse.Namespace) -> tuple[list[tuple[int, Workload, Server]], Missing]:
    """Every turn in its order, A B A B, and who cannot do what."""
    missing: Missing = {}
    turns = []
    for number in range(1, options.rounds + 1):
        for workload in options.workloads:
            for server in options.servers:
                reason = lacks(server, workload)
                if reason:
                    missing[server.name, workload.key] = reason
                else:
                    turns.append((number, workload, server))
    return turns, missing


def duration(turns: Sequence[tuple[int, Workload, Server]], setup: Setup) -> float:
    """Seconds that the turns take, more or less: starts and ends of servers are a guess."""
    usual = {
        "load": setup.warm_up + setup.seconds + 0.9,
        "start": STARTS * 0.5,
        "rss": 1.2,
        "connections": 2.0,
    }
    return sum(usual[workload.kind] for _, workload, _ in turns)


def run(
    turns: Sequence[tuple[int, Workload, Server]], setup: Setup, missing: Missing
) -> tuple[list[Sample], int]:
    """The samples, a line of progress for each, and how many turns failed; who fails once gets no other turn."""
    samples: list[Sample] = []
    failures = 0
    begun = time.monotonic()
    for index, (number, workload, server) in enumerate(turns, 1):
        if (server.name, workload.key) in missing:
            continue
        try:
            sample = measure(number, server, workload, setup)
        except BenchError as error:
            failures += 1
            lines = str(error).splitlines()
            missing[server.name, workload.key] = " … ".join(dict.fromkeys((lines[0], lines[-1])))
            words = f"FAILED: {error}"
        else:
            samples.append(sample)
            words = f"{sample.value:>9.2f} {workload.unit}"
            words += "" if sample.rate is None else f"{sample.rate:>9.0f}/s"
        left = (time.monotonic() - begun) / index * (len(turns) - index)
        clock = f"{left // 60:.0f}:{left % 60:02.0f} left"
        print(
            f"{index:>4}/{len(turns)}  {clock:>11}  {workload.title:<31}{server.name:<11}{words}", flush=True
        )
    return samples, failures


def write(
    folder: Path, rows: Sequence[report.Row], facts: dict[str, object], text: str, picture: str
) -> None:
    """Every figure as JSON, the tables as a page, and the picture."""
    summary = [
        {
            "workload": row.workload.key,
            "title": row.workload.title,
            "unit": row.workload.unit,
            "targets": row.workload.targets,
            "servers": {name: asdict(cell) for name, cell in row.cells.items()},
            "ratios": row.ratios,
        }
        for row in rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"facts": facts, "summary": summary}, indent=1) + "\n")
    (folder / "results.md").write_text(text)
    (folder / "results.svg").write_text(picture)


def page(
    rows: Sequence[report.Row], names: Sequence[str], caption: str, versions: Sequence[str], missing: Missing
) -> str:
    """The page of the docs with the figures of one run."""
    met, measured = report.count(rows)
    parts = [
        "# Benchmark results",
        "<!-- Written by `make bench`. -->",
        f"{caption}. {', '.join(versions)}. How they are taken and what they mean: [Performance](../performance.md).",
        "![Every server relative to uvicorn](results.svg)",
        f"## Pronghorn beside the targets\n\n{met} of {measured} met.",
        report.as_markdown(report.comparison(rows)),
        "## Figures\n\nµs are CPU time per request. Medians of the rounds.",
        report.as_markdown(report.figures(rows, names)),
        "## Requests per second\n\nOne core for the server; behind Nginx the generator and Nginx share the other.",
        report.as_markdown(report.rates(rows, names)),
    ]
    reasons = "\n".join(f"- {line}" for line in report.why_not(missing))
    return "\n\n".join([*parts, *([f"## Not measured\n\n{reasons}"] if reasons else [])]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures down; 1 when a server failed at what it should be able to do."""
    options = parse(arguments)
    # The clean-up of every turn runs, whoever ends us.
    signal.signal(signal.SIGTERM, _terminate)
    subprocess.run([environment.ROOT / "scripts" / "ensure", "wrk", "wrk"], check=True)
    nginx = proxy.binary(environment.ROOT) if any(w.nginx for w in options.workloads) else None
    python = environment.prepare()
    environment.allow_connections()
    server_core, load_core = environment.cores() or (None, None)
    facts, packages = environment.machine(python), environment.packages(python)
    if load_core is None:
        print("One core only: server and generator share it, and the figures are of little use.")
    else:
        os.sched_setaffinity(0, {load_core})
    setup = Setup(python, nginx, options.seconds, 1, server_core, load_core)
    turns, missing = plan(options)
    print(f"Load before the first turn: {facts['load_before']}; near 0 is what figures need.")
    print(f"{len(turns)} turns, about {duration(turns, setup) / 60:.0f} minutes", flush=True)

    samples, failures = run(turns, setup, missing)
    rows = report.summarise(samples)
    names = [server.name for server in options.servers]
    for title, grid in (
        ("CPU time per request (µs), start (ms), memory (MB, KB)", report.figures(rows, names)),
        ("Requests per second", report.rates(rows, names)),
        ("pronghorn, as a ratio of the others", report.comparison(rows)),
    ):
        print(f"\n{title}\n{report.as_text(grid)}")
    met, measured = report.count(rows)
    print(f"\n{met} of {measured} targets met")
    for line in report.why_not(missing):
        print(f"{report.NONE} {line}")
    facts |= {"rounds": options.rounds, "seconds": options.seconds, "date": time.strftime("%Y-%m-%d")}
    versions = [f"{package} {version}" for package, version in packages.items()]
    caption = (
        f"CPython {facts['python']}, {facts['cpu']}, {facts['date']}; "
        f"rounds: {options.rounds}, {options.seconds} s each; one worker on one core"
    )
    everything = {
        **facts,
        "packages": packages,
        "samples": [asdict(sample) for sample in samples],
        "missing": report.why_not(missing),
    }
    write(
        options.output,
        rows,
        everything,
        page(rows, names, caption, versions, missing),
        chart.draw(rows, names, caption),
    )
    print(f"Every figure, the page and the picture: {options.output}")
    return 1 if failures else 0


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error}\n{error.stderr or ''}".rstrip())
    except KeyboardInterrupt:
        sys.exit(130)
