"""The command behind `make bench`: turns of every server at every workload, then tables, JSON and a picture."""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from scripts.bench import environment, page, proc, proxy, report
from scripts.bench.measure import TURN, Sample, Setup
from scripts.bench.page import Results
from scripts.bench.record import Missing, Record
from scripts.bench.servers import SERVERS, BenchError, from_text, lacks
from scripts.bench.turns import Contest
from scripts.bench.workloads import WORKLOADS, Workload

# Files that a server has open besides its connections, with a good deal to spare.
SPARE = 100

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

EPILOGUE = f"""servers: {", ".join(SERVERS)}
workloads: {", ".join(WORKLOADS)}
BENCH_PYTHON=python3.13 in the environment names the Python that all of them run on. docs/performance.md says how to
read the result."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `servers` and `workloads` become lists of Server and of Workload."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="CPU time per request of servers, side by side and in turns.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", default=",".join(SERVERS), metavar="NAME,...", help="default: all")
    parser.add_argument(
        "--workloads", default="*", metavar="NAME,...", help="names or patterns, such as h2-*; default: all"
    )
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="one more server; {python}, {app} and {port} are filled in; repeatable",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each workload (default: 10)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="load of each server in a round (default: 0.5)"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, help="complete runs, one after the other (default: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="one round: shows that it works")
    parser.add_argument(
        "--output", type=Path, default=environment.ROOT / ".bench", metavar="FOLDER", help="default: .bench"
    )
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 1 if options.quick else 10
    for name, known in (("servers", SERVERS), ("workloads", WORKLOADS)):
        chosen = [word for word in getattr(options, name).split(",") if word]
        for word in chosen:
            if not fnmatch.filter(known, word):
                parser.error(f"--{name}: {word} is not one of {', '.join(known)}")
        found = [key for word in chosen for key in fnmatch.filter(known, word)]
        setattr(options, name, [known[key] for key in dict.fromkeys(found)])
    for text in options.server:
        try:
            options.servers.append(from_text(text))
        except ValueError as error:
            parser.error(f"--server: {error}")
    if not (options.servers and options.workloads) or min(options.rounds, options.repeat) < 1:
        parser.error("nothing to measure")
    if not TURN <= options.seconds <= 600:
        parser.error(f"--seconds: from {TURN:g} to 600")
    return options


def fitted(workloads: Sequence[Workload], descriptors: int) -> tuple[list[Workload], str]:
    """The workloads, with no more connections than a process may have open files; and the word that says so."""
    most = descriptors - SPARE
    fitting = [replace(each, connections=min(each.connections, most)) for each in workloads]
    fewer = [each.title for each, whole in zip(fitting, workloads, strict=True) if each != whole]
    if not fewer:
        return fitting, ""
    rows = "; ".join(fewer)
    return fitting, f"A process may have {descriptors} open files here: only {most} connections for {rows}. "


def plan(options: argparse.Namespace, setup: Setup) -> tuple[list[Contest], Missing]:
    """Every workload of every run, with the servers that can do it, and who cannot do what."""
    missing = {
        (server.name, workload.key): reason
        for workload in options.workloads
        for server in options.servers
        if (reason := lacks(server, workload))
    }
    contests = []
    for run in range(1, options.repeat + 1):
        for workload in options.workloads:
            able = tuple(s for s in options.servers if (s.name, workload.key) not in missing)
            rounds = min(options.rounds, workload.rounds or options.rounds)
            if able:
                contests.append(Contest(run, workload, able, rounds, setup))
    return contests, missing


def run(contests: Sequence[Contest], record: Record) -> dict[int, float]:
    """Hold every contest; the share of the machine's time that the host took away in each run."""
    steal = {}
    for number, of_run in itertools.groupby(contests, key=lambda contest: contest.run):
        before = proc.machine_time()
        for contest in of_run:
            contest.hold(record)
        steal[number] = proc.steal(before, proc.machine_time())
    return steal


def conditions(
    load_before: float, steal: Sequence[float], samples: Sequence[Sample], idle: float, fewer: str = ""
) -> str:
    """What a reader needs to judge a run by."""
    shares = ", ".join(f"{share:.1%}" for share in steal)
    worst = max((sample.steal for sample in samples), default=0.0)
    return fewer + (
        f"The host took {shares} of the machine's time, at most {worst:.0%} in one round; the load before it "
        f"was {load_before}. Servers that waited for their turn used at most {idle:.1%} of a core."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures down; 1 when a server failed at what it should be able to do."""
    options = parse(arguments)
    load_before = round(os.getloadavg()[0], 2)
    for number in ENDING:
        # One that is ignored, as nohup(1) does, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    subprocess.run([environment.ROOT / "scripts" / "ensure", "wrk", "wrk"], check=True)
    if any(w.streams for w in options.workloads):
        subprocess.run([environment.ROOT / "scripts" / "ensure", "h2load", "nghttp2-client"], check=True)
    nginx = proxy.binary(environment.ROOT) if any(w.nginx for w in options.workloads) else None
    python = environment.prepare()
    options.workloads, fewer = fitted(options.workloads, environment.allow_connections())
    server_core, load_core = environment.cores() or (None, None)
    facts = environment.machine(python)
    if load_core is None:
        print("One core only: server and generator share it, and the figures are of little use.")
    else:
        os.sched_setaffinity(0, {load_core})
    setup = Setup(python, nginx, options.seconds, server_core=server_core, load_core=load_core)
    contests, missing = plan(options, setup)
    expected = sum(contest.duration() for contest in contests)
    if fewer:
        print(fewer)
    print(f"Load of the machine before: {load_before}; near 0 is what figures need.")
    print(f"{len(contests)} workloads, about {max(1, round(expected / 60))} minutes", flush=True)

    begun = time.monotonic()
    record = Record(missing, expected)
    steal = run(contests, record)
    idle = {name: round(share, 4) for name, share in record.idle.items()}
    date = time.strftime("%Y-%m-%d")
    results = Results(
        record.samples,
        [server.name for server in options.servers],
        record.missing,
        {
            **facts,
            "load_before": load_before,
            "steal": {number: round(share, 4) for number, share in steal.items()},
            "idle": idle,
            "took": round(time.monotonic() - begun),
            "repeat": options.repeat,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "turn": setup.turn,
            "date": date,
        },
        environment.packages(python),
        f"CPython {facts['python']}, {facts['cpu']}, {date}; runs: {options.repeat}, rounds: {options.rounds}, "
        f"{options.seconds:g} s each in turns of {setup.turn:g} s; one worker on one core",
        conditions(load_before, list(steal.values()), record.samples, max(idle.values(), default=0.0), fewer),
    )
    rows = report.summarise(record.samples)
    print(f"\n{page.as_text(results, rows)}")
    page.write(options.output, results, rows)
    print(f"Every figure, the page and the picture: {options.output}")
    return 1 if record.failures else 0


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    """Leave through every clean-up, once: a second signal, of somebody impatient, would leave servers behind."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error}\n{error.stderr or ''}".rstrip())
