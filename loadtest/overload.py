"""Overload: three times as much as is carried. `make overload`.

Some seconds of half the capacity, some of three times the capacity, and half of it again, without a pause between: an open load, of
clients that wait for an answer no longer than `PATIENCE`. What has to hold: while there is too much, as much is served as before, in bounded
time; the excess is refused at once and told when to come again; nothing fails in any other way; and the first second after it is
like any other. The capacity is the knee (knee.py), which is looked for unless it is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest import knee
from loadtest.figures import HEAD, Figures, Verdict, milliseconds, remarks, row, table, verdicts
from loadtest.openloop import Phase, Result, Target, drive
from loadtest.stacks import Measured, Wanted, add_arguments, measured

#: Seconds until a client gives up.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What has to hold. Times in seconds."""

    times: float = 3.0
    #: Of the capacity, while there is too much.
    goodput: float = 0.8
    served_p99: float = 2.0
    refused_p50: float = 0.05
    refused_p99: float = 0.5
    #: Of all requests: neither served nor refused.
    failed: float = 0.001
    #: In the first second after it: of what is asked, and the 99th percentile.
    recovered: float = 0.99
    recovered_p99: float = 0.5


@dataclass(frozen=True, slots=True)
class Overload:
    """What came of it. The crowd has `settling` seconds to make itself felt, which do not count."""

    capacity: float
    before: Figures
    during: Figures
    first: Figures
    after: Figures
    limits: Limits

    @property
    def goodput(self) -> float:
        """Requests served in a second of overload, as a share of the capacity."""
        return self.during.served / self.capacity

    def verdicts(self) -> list[Verdict]:
        """Each limit."""
        limits, during = self.limits, self.during
        failed = sum(one.failed for one in (self.before, during, self.after)) / max(
            1.0, sum(one.offered for one in (self.before, during, self.after))
        )

        def at_most(what: str, limit: float, found: float, *, needed: bool = True) -> Verdict:
            met = found <= limit or (not needed and math.isnan(found))
            return Verdict(what, f"<= {milliseconds(limit)} ms", f"{milliseconds(found)} ms", met)

        return [
            Verdict(
                f"served while {limits.times:g} times as many ask, of the capacity",
                f">= {limits.goodput:.0%}",
                f"{self.goodput:.0%}",
                self.goodput >= limits.goodput,
            ),
            at_most("p99 of what is served meanwhile", limits.served_p99, during.p99),
            at_most("p50 of the refusals", limits.refused_p50, during.refused_p50, needed=False),
            at_most("p99 of the refusals", limits.refused_p99, during.refused_p99, needed=False),
            Verdict("refusals without Retry-After", "0", str(during.silent), during.silent == 0),
            Verdict(
                "neither served nor refused",
                f"<= {limits.failed:.1%}",
                f"{failed:.2%}",
                failed <= limits.failed,
            ),
            Verdict(
                "served in the first second after it",
                f">= {limits.recovered:.0%}",
                f"{self.first.share:.1%}",
                self.first.share >= limits.recovered,
            ),
            at_most("p99 in the first second after it", limits.recovered_p99, self.first.p99),
        ]

    @property
    def met(self) -> bool:
        """Whether all of them hold."""
        return all(one.met for one in self.verdicts())


def overload(
    target: Target,
    capacity: float,
    *,
    limits: Limits | None = None,
    calm: float = 5.0,
    seconds: float = 15.0,
    settling: float = 1.0,
    generators: int = 1,
) -> Overload:
    """Half the capacity for `calm` seconds, too much for `seconds`, and half of it again."""
    limits = limits or Limits()
    phases = [Phase(capacity / 2, calm), Phase(capacity * limits.times, seconds), Phase(capacity / 2, calm)]
    return judge(
        drive(target, phases, patience=PATIENCE, generators=generators), capacity, phases, limits, settling
    )


def judge(
    result: Result, capacity: float, phases: Sequence[Phase], limits: Limits, settling: float
) -> Overload:
    """What a load of these phases came to."""
    begin = phases[0].seconds
    end = begin + phases[1].seconds
    return Overload(
        capacity,
        Figures.of(result.between(min(settling, begin / 2), begin)),
        Figures.of(result.between(begin + settling, end)),
        Figures.of(result.between(end, end + 1.0)),
        Figures.of(result.between(end, end + phases[2].seconds)),
        limits,
    )


def report(found: Overload, title: str) -> str:
    """For a terminal."""
    times = f"{found.limits.times:g} x capacity"
    named = [
        ("before", found.before),
        (times, found.during),
        ("first second after", found.first),
        ("after", found.after),
    ]
    lines = [
        f"\n{title}: a capacity of {found.capacity:.0f} requests a second",
        table([HEAD, *(row(name, figures) for name, figures in named)]),
        *(f"{name}: {remark}" for name, figures in named for remark in remarks(figures)),
        "",
        verdicts(found.verdicts()),
    ]
    return "\n".join(lines)


def write(folder: Path, found: dict[str, Overload]) -> None:
    """overload.json."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        name: {**dataclasses.asdict(one), "goodput": one.goodput, "met": one.met}
        for name, one in found.items()
    }
    (folder / "overload.json").write_text(json.dumps(data, indent=1) + "\n")


def sized(chosen: Measured, capacity: float, limit: float) -> str:
    """Allows as many requests at the application as docs/capacity.md tells for this capacity; what to say of it."""
    requests = knee.requests_for(capacity, limit)
    return f", APP_REQUESTS={requests}" if chosen.allow(requests) else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Find the capacity, ask for three times as much, and judge; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(
        prog="make overload", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    add_arguments(parser)
    knee.add_search(parser)
    parser.add_argument(
        "--capacity", type=float, default=0, metavar="RATE", help="known beforehand (default: the knee)"
    )
    parser.add_argument(
        "--for", dest="span", type=float, default=15, metavar="SECONDS", help="of overload (15)"
    )
    options = parser.parse_args(arguments)
    title = options.url or "pronghorn"
    with measured(Wanted.of(options)) as chosen:
        capacity = options.capacity
        if not capacity:
            capacity = knee.find(
                chosen.target, knee.search_of(options), options.seconds, options.generators, title
            ).rate
        if not capacity:
            print(
                "error: nothing is carried at all, so that there is nothing to multiply (see above)",
                file=sys.stderr,
            )
            return 1
        title += sized(chosen, capacity, options.limit / 1000)
        found = overload(chosen.target, capacity, seconds=options.span, generators=options.generators)
    print(report(found, title))
    write(options.output, {title: found})
    return 0 if found.met else 1


if __name__ == "__main__":
    sys.exit(main())
