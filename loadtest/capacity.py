"""Servers in the same stack, side by side: the knee of each, and what it serves at three times that. `make capacity`.

Same nginx, same socket, same application, same limits; one stack after the other, each alone on the machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from loadtest import knee, overload
from loadtest.figures import milliseconds, table
from loadtest.knee import Knee
from loadtest.overload import Overload
from loadtest.stacks import SERVERS, Wanted, add_arguments, measured


def rows(knees: dict[str, Knee], overloads: dict[str, Overload]) -> list[tuple[str, ...]]:
    """The table: a line for each figure, a column for each server."""
    names = list(knees)

    def line(what: str, cell: dict[str, str]) -> tuple[str, ...]:
        return (what, *(cell.get(name, "-") for name in names))

    def of(what: str, figure: str) -> tuple[str, ...]:
        return line(
            what, {name: milliseconds(getattr(one.during, figure)) for name, one in overloads.items()}
        )

    limit = milliseconds(next(iter(knees.values())).limit)
    return [
        ("", *names),
        line(
            f"knee (p99 <= {limit} ms), requests/s",
            {name: f"{'>= ' if one.generator_limits else ''}{one.rate:.0f}" for name, one in knees.items()},
        ),
        line(
            "p99 there, ms",
            {name: milliseconds(one.step.figures.p99) for name, one in knees.items() if one.step},
        ),
        line(
            "offered in overload, requests/s",
            {name: f"{one.during.offered:.0f}" for name, one in overloads.items()},
        ),
        line("goodput, requests/s", {name: f"{one.during.served:.0f}" for name, one in overloads.items()}),
        line("goodput, of the knee", {name: f"{one.goodput:.0%}" for name, one in overloads.items()}),
        of("p99 of what is served, ms", "p99"),
        of("p50 of refusals, ms", "refused_p50"),
        of("p99 of refusals, ms", "refused_p99"),
        line("failed, requests/s", {name: f"{one.during.failed:.1f}" for name, one in overloads.items()}),
        line(
            "served in the first second after",
            {name: f"{one.first.share:.1%}" for name, one in overloads.items()},
        ),
        line(
            "p99 in that second, ms", {name: milliseconds(one.first.p99) for name, one in overloads.items()}
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where ours missed a limit."""
    parser = argparse.ArgumentParser(
        prog="make capacity", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    add_arguments(parser)
    knee.add_search(parser)
    parser.add_argument("--servers", default=",".join(SERVERS), help=f"default: {','.join(SERVERS)}")
    parser.add_argument(
        "--for", dest="span", type=float, default=15, metavar="SECONDS", help="of overload (15)"
    )
    options = parser.parse_args(arguments)
    if options.url:
        parser.error("--url: what is compared are stacks of their own")
    print(f"Load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    knees: dict[str, Knee] = {}
    overloads: dict[str, Overload] = {}
    for name in options.servers.split(","):
        with measured(Wanted.of(options, name)) as chosen:
            found = knees[name] = knee.find(
                chosen.target, knee.search_of(options), options.seconds, options.generators, name
            )
            print(knee.report(found, name), flush=True)
            if found.rate:
                title = name + overload.sized(chosen, found.rate, found.limit)
                overloads[name] = overload.overload(
                    chosen.target, found.rate, seconds=options.span, generators=options.generators
                )
                print(overload.report(overloads[name], title), flush=True)
    print(f"\n{table(rows(knees, overloads))}")
    knee.write(options.output, knees)
    overload.write(options.output, overloads)
    print(f"The picture: {options.output}/knee.svg")
    return 0 if "pronghorn" not in overloads or overloads["pronghorn"].met else 1


if __name__ == "__main__":
    sys.exit(main())
