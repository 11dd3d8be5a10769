"""Hours of mixed load, and whether anything grows: `make soak`, SOAK_MINUTES=240.

The users are those of `make loadtest`, all kinds of them (docs/load-tests.md). Beside them a probe asks for one small thing at a constant rate, in
an open loop, so that latency is looked at without what users happen to do; and between two looks memory and descriptors of every container are read.
A line through what was seen after a warm-up (trend.py) must not rise by more than `ALLOWED` says, no process may have been replaced, and
the users must be content. It ends with a table, a picture and an exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest import picture
from loadtest.figures import Figures, Verdict, table, verdicts
from loadtest.openloop import Phase, Target, drive
from loadtest.stacks import Wanted, running, target_of
from loadtest.trend import Allowed, Trend
from scripts.bench.proc import PROC, resident_kilobytes, tree
from tests.integration.stack import ROOT, Stack

SERVICES: Final = ("app", "nginx")
#: What the probe asks for, so many times a second.
PROBE, PROBE_RATE = "/api/products/7", 20.0
#: What each kind of series may grow by from the end of the warm-up to the end of the run, however long that is.
ALLOWED: Final = {
    "memory MiB": Allowed(share=0.1, amount=8.0),
    "RSS MiB": Allowed(share=0.1, amount=8.0),
    "descriptors": Allowed(share=0.1, amount=16.0),
    "p50 ms": Allowed(share=0.25, amount=2.0),
    "p99 ms": Allowed(share=0.5, amount=50.0),
}
_MIB = 1 << 20
#: Processes that come and go: what nginx-edge waits with, from one look at the certificate to the next, and what has just ended.
PASSING: Final = ("sleep", "")
#: Of the run, and at least so many seconds: caches fill, pools open, and Locust brings its users in.
WARM_UP, LEAST_WARM_UP = 0.2, 30.0


@dataclass
class Record:
    """Every series by its name, `app memory MiB`: (seconds, value)."""

    series: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    #: Probes sent and those that got no right answer.
    probes: int = 0
    failed: int = 0
    #: Processes by service, as they were first seen, and what has come or gone since.
    processes: dict[str, list[int]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)

    def look(self, second: float, stack: Stack, roots: dict[str, int]) -> None:
        """At memory and descriptors of the containers."""
        for service, root in roots.items():
            pids = tree(root)
            if not pids:
                self.replaced.append(f"{service} has ended")
                continue
            lasting = sorted(pid for pid in pids if name(pid) not in PASSING)
            before = self.processes.setdefault(service, lasting)
            if lasting != before:
                self.replaced.append(f"{service} after {second:.0f} s: {before}, then {lasting}")
                self.processes[service] = lasting
            self.add(f"{service} memory MiB", second, stack.memory(service) / _MIB)
            self.add(f"{service} RSS MiB", second, resident_kilobytes(root) / 1024)
            self.add(f"{service} descriptors", second, sum(map(descriptors, pids)))

    def probe(self, second: float, target: Target, seconds: float) -> None:
        """For so long."""
        figures = Figures.of(drive(target, [Phase(PROBE_RATE, seconds)]))
        counted = round(figures.offered * seconds)
        self.probes += counted
        self.failed += counted - round(figures.served * seconds)
        self.add("probe p50 ms", second, figures.p50 * 1000)
        self.add("probe p99 ms", second, figures.p99 * 1000)

    def add(self, name: str, second: float, value: float) -> None:
        """One sample."""
        self.series[name].append((second, value))


def name(pid: int, proc: Path = PROC) -> str:
    """What a process is called; nothing, of one that has just ended."""
    with contextlib.suppress(OSError):
        return (proc / str(pid) / "comm").read_text().strip()
    return ""


def descriptors(pid: int) -> int:
    """Open descriptors of a process; none of one that has just ended."""
    with contextlib.suppress(OSError):
        return len(list((PROC / str(pid) / "fd").iterdir()))
    return 0


def judge(record: Record, warm_up: float, users: int) -> list[Verdict]:
    """Each limit. `users` is the exit status of those who made the load."""
    found = []
    for name, series in record.series.items():
        kind = name.partition(" ")[2]
        trend = Trend.of(series, warm_up)
        limit = ALLOWED[kind].limit(trend)
        found.append(
            Verdict(
                f"{name}: growth",
                f"<= {limit:.1f}",
                f"{trend.growth:+.1f} (from {trend.first:.1f} to {trend.last:.1f})",
                trend.growth <= limit,
            )
        )
    failed = record.failed / max(1, record.probes)
    return [
        *found,
        Verdict(
            "probes without a right answer", "<= 0.1%", f"{failed:.2%} of {record.probes}", failed <= 0.001
        ),
        Verdict("processes replaced", "0", "; ".join(record.replaced) or "0", not record.replaced),
        Verdict("thresholds of the users", "met", "met" if users == 0 else f"status {users}", users == 0),
    ]


@contextmanager
def users(url: str, seconds: float, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Locust's, for so long; what they say goes to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        "LOADTEST_WORKERS": "1",
        "LOADTEST_USERS": "50",
        **os.environ,
        "LOADTEST_URL": url,
        "LOADTEST_DURATION": f"{seconds:.0f}s",
        "LOADTEST_REPORTS": str(folder),
    }
    with (
        (folder / "users.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "loadtest", "run"], cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            # Its workers end with it.
            process.terminate()


def soak(stack: Stack, target: Target, seconds: float, folder: Path) -> tuple[Record, int]:
    """The run; and the exit status of the users."""
    roots = {service: int(stack.inspect(service)["State"]["Pid"]) for service in SERVICES}
    interval = min(60.0, max(5.0, seconds / 60))
    record, begun = Record(), time.monotonic()
    with users(f"http://{target.host}:{target.port}", seconds, folder) as process:
        while (passed := time.monotonic() - begun) < seconds and process.poll() is None:
            record.look(passed, stack, roots)
            record.probe(passed, target, interval)
            told = "  ".join(f"{name} {series[-1][1]:.1f}" for name, series in record.series.items())
            print(f"{passed:7.0f} s  {told}", flush=True)
        # Users end what they are in the middle of, and count.
        return record, process.wait(timeout=120)


def summary(record: Record, warm_up: float) -> str:
    """Each series in a line."""
    rows: list[tuple[str, ...]] = [("", "samples", "lowest", "median", "highest", "last")]
    for name, series in record.series.items():
        values = [value for second, value in series if second >= warm_up]
        figures = (min(values), statistics.median(values), max(values), values[-1])
        rows.append((name, str(len(values)), *(f"{value:.1f}" for value in figures)))
    return table(rows)


def write(folder: Path, record: Record) -> None:
    """soak-*.svg, a picture for each kind of figure, and soak.json."""
    for kind in ALLOWED:
        chosen = {name: series for name, series in record.series.items() if name.endswith(kind)}
        drawn = picture.svg(chosen, f"{kind} by seconds", from_zero=True)
        (folder / f"soak-{kind.partition(' ')[0].lower()}.svg").write_text(drawn)
    (folder / "soak.json").write_text(json.dumps(dict(record.series), indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the stack, load it, judge; 1 where something grew."""
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 60))
    parser.add_argument("--output", type=Path, default=ROOT / "build/loadtest/soak", metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.minutes < 2:
        parser.error("--minutes: at least 2, or there is nothing left after the warm-up")
    seconds = options.minutes * 60
    warm_up = max(LEAST_WARM_UP, seconds * WARM_UP)
    # Locust's users come from one address, and are many.
    settings = (("RATE_LIMIT", "0"), ("CONNECTION_LIMIT", "0"))
    with running(Wanted(app="examples/shop", settings=settings)) as stack:
        record, status = soak(stack, target_of(stack, (PROBE,)), seconds, options.output)
    found = judge(record, warm_up, status)
    print(
        f"\n{options.minutes:g} minutes, the first {warm_up:.0f} s of them to warm up\n{summary(record, warm_up)}"
    )
    print(f"\n{verdicts(found)}\n\nPictures and the users' report: {options.output}/")
    write(options.output, record)
    if status:
        print((options.output / "users.log").read_text()[-2000:], file=sys.stderr)
    return 0 if all(one.met for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
