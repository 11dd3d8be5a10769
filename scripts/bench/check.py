"""Instructions per request, counted by valgrind and compared with the numbers that are committed (`make bench-check`).

A processor's instructions do not depend on how busy the machine is, so that a loss of a few percent shows, which a clock
hides. Each workload runs with two numbers of requests; the difference is free of start and end. The numbers of
another build of Python differ by themselves: the baseline says which one it is of.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts.bench import environment
from scripts.bench.servers import BenchError

WORKLOADS = ("get", "counted", "post", "stream", "websocket", "h2-get", "h2-post")
FEW, MANY = 500, 1500
TOLERANCE = 0.05
BASELINES = Path(__file__).resolve().parent / "baselines"


def parse_callgrind(report: str) -> int:
    """The number of instructions at the end of callgrind's words."""
    found = re.search(r"Collected : (\d+)", report)
    if found is None:
        raise BenchError(f"unexpected output of valgrind:\n{report[-2000:]}")
    return int(found[1])


def instructions(python: Path, workload: str, count: int) -> int:
    """Of a whole process that answers so many requests."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(python)]
    done = subprocess.run(
        [*command, "-m", "scripts.bench.inprocess", workload, str(count)],
        cwd=environment.ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{workload}: status {done.returncode}\n{done.stderr[-2000:]}")
    return parse_callgrind(done.stderr)


def count(python: Path) -> dict[str, int]:
    """Instructions per request of every workload; the processes run side by side, which does not change what they count."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {
            (workload, number): pool.submit(instructions, python, workload, number)
            for workload in WORKLOADS
            for number in (FEW, MANY)
        }
        return {
            workload: round((runs[workload, MANY].result() - runs[workload, FEW].result()) / (MANY - FEW))
            for workload in WORKLOADS
        }


def compare(now: Mapping[str, int], before: Mapping[str, int]) -> tuple[list[str], bool]:
    """A line for each workload, and whether all are within the tolerance."""
    lines, good = [], True
    for workload, figure in now.items():
        if workload not in before:
            lines.append(f"{workload:<10}{figure:>10}  no baseline yet")
            good = False
            continue
        change = figure / before[workload] - 1
        slower = figure > before[workload] * (1 + TOLERANCE)
        good = good and not slower
        remark = f"  more than {TOLERANCE:.0%}: slower" if slower else ""
        lines.append(f"{workload:<10}{figure:>10}{before[workload]:>12}{change:>+9.1%}{remark}")
    return lines, good


def build(python: Path) -> str:
    """What makes two Pythons count differently: version, compiler, processor."""
    code = "import platform as p, sys; print(sys.version.replace('\\n', ' '), p.machine())"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, compare, and say; 1 when a workload became slower by more than the tolerance."""
    parser = argparse.ArgumentParser(prog="make bench-check", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the numbers down as the baseline")
    update: bool = parser.parse_args(arguments).update
    subprocess.run([environment.ROOT / "scripts" / "ensure", "valgrind", "valgrind"], check=True)
    python = environment.prepare()
    this = build(python)
    file = BASELINES / f"{'.'.join(this.split('.')[:2])}.json"
    baseline: dict[str, Any] = {"build": this, "instructions": {}}
    if file.exists():
        baseline = json.loads(file.read_text())
    print("Counting instructions per request: about three minutes", flush=True)
    now = count(python)
    lines, good = compare(now, baseline["instructions"])
    print(f"{'':<10}{'now':>10}{'baseline':>12}{'change':>9}", *lines, sep="\n")
    if update:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"build": this, "instructions": now}, indent=1) + "\n")
        print(f"Baseline written: {file.relative_to(environment.ROOT)}")
        return 0
    if not file.exists():
        print("BENCH_ARGS=--update writes these numbers down as the baseline of this version of Python.")
    if baseline["build"] != this:
        print(
            f"The baseline is of another build, whose numbers may differ by themselves: {baseline['build']}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench-check: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench-check: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
