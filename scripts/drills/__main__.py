"""The command behind `make drill-servers`: every event befalls every server, one after the other; then tables and JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import environment
from scripts.drills import memory, report
from scripts.drills.report import Drilled, Results
from tests.support.drill_servers import COMPARED, SERVERS, Server
from tests.support.drills import DRILLS, Drill, Outcome, hold
from tests.support.steady import Load

EPILOGUE = f"""servers: {", ".join(SERVERS)}
drills: {", ".join(DRILLS)}
BENCH_PYTHON=python3.13 in the environment names the Python that all of them run on. docs/drills.md says how to
read the result."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `servers` and `drills` become lists of Server and of Drill."""
    parser = argparse.ArgumentParser(
        prog="make drill-servers",
        description="What becomes of requests when workers are killed, hang, are recycled, restarted or upgraded.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--servers", default=",".join(COMPARED), metavar="NAME,...", help=f"default: {', '.join(COMPARED)}"
    )
    parser.add_argument("--drills", default=",".join(DRILLS), metavar="NAME,...", help="default: all")
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="leave out the memory of the workers"
    )
    parser.add_argument(
        "--python",
        type=Path,
        help="of an environment that has them all (default: make bench's, made if it is not there)",
    )
    parser.add_argument(
        "--output", type=Path, default=environment.ROOT / ".bench", metavar="FOLDER", help="default: .bench"
    )
    options = parser.parse_args(arguments)
    for name, known in (("servers", SERVERS), ("drills", DRILLS)):
        chosen = [word for word in getattr(options, name).split(",") if word]
        for word in chosen:
            if word not in known:
                parser.error(f"--{name}: {word} is not one of {', '.join(known)}")
        setattr(options, name, [known[word] for word in dict.fromkeys(chosen)])
    return options


def attempt(server: Server, drill: Drill, python: Path) -> Outcome | str:
    """One drill of one server, or why it could not be held."""
    if drill.name in server.lacks:
        return server.lacks[drill.name]
    try:
        return asyncio.run(hold(server, drill, python))
    except AssertionError as error:
        # The server did not even start: the last that it says is the reason.
        return next(line for line in reversed(str(error).splitlines()) if any(map(str.isalpha, line)))


def weigh(servers: Sequence[Server], python: Path) -> list[memory.Memory]:
    """Memory of each server that starts, and of those that can preload, preloaded as well."""
    found = []
    for server in servers:
        for preload in (False, True) if server.preload else (False,):
            try:
                found.append(memory.measure(server, python, preload=preload))
            except AssertionError as error:
                print(f"memory: {error}", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Drill, print, and write it down; 1 when one of ours did not keep the contract."""
    options = parse(arguments)
    python = options.python or environment.prepare()
    load = Load()
    facts = {
        **{name: str(value) for name, value in environment.machine(python).items() if name != "pinned"},
        **environment.packages(python),
        "load": f"{load.rate:g} requests a second",
    }
    drilled = []
    for server in options.servers:
        of_server = Drilled(server)
        drilled.append(of_server)
        for drill in options.drills:
            outcome = of_server.outcomes[drill.name] = attempt(server, drill, python)
            print(report.line(server, drill, outcome), flush=True)
    results = Results(facts, drilled, weigh(options.servers, python) if options.memory else [])
    for of_server in drilled:
        print(f"\n{of_server.server.name}\n{report.as_text(report.table(of_server))}")
    if results.memory:
        print(f"\n{report.as_text(report.memory_table(results.memory))}")
    report.write(options.output, results)
    print(f"\nAs a page and as JSON: {options.output}/drills.md, drills.json")
    return 0 if all(of_server.kept for of_server in drilled if of_server.server.ours) else 1


if __name__ == "__main__":
    sys.exit(main())
