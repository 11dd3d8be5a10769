"""The knee: at how many requests a second the 99th percentile passes a limit. `make knee`.

Each step is some seconds of open load at one rate (openloop.py). Rates grow until one is too much, and then the gap between the last that was
carried and the first that was not is halved a few times. A step that fails is repeated once before it counts, since on a machine with others
on it any few seconds may be theirs. Where the generator itself was the limit the search ends, and says so: what is found is at least so
much then, and no knee.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest import picture
from loadtest.figures import HEAD, Figures, milliseconds, remarks, row, table
from loadtest.openloop import Phase, Target, drive
from loadtest.stacks import SERVERS, Wanted, add_arguments, measured

#: A rate is carried if so much of it is served, and the rest of it is in time.
CARRIED = 0.99
#: Seconds at the start of a step that do not count: connections are opened, and queues of the step before end.
WARM_UP = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One rate, and whether it was carried."""

    rate: float
    figures: Figures
    carried: bool


@dataclass(frozen=True, slots=True)
class Knee:
    """The steps in the order of their rates, and the highest that was carried; None where not even the lowest was."""

    steps: tuple[Step, ...]
    limit: float

    @property
    def step(self) -> Step | None:
        carried = [step for step in self.steps if step.carried]
        return carried[-1] if carried else None

    @property
    def rate(self) -> float:
        """Requests served in a second at the knee; 0 where there is none."""
        return self.step.figures.served if self.step else 0.0

    @property
    def generator_limits(self) -> bool:
        """Whether it ended because the generator could not ask for more."""
        return any(step.figures.generator_limits for step in self.steps if not step.carried)

    @property
    def concurrency(self) -> int:
        """Requests at the application at the knee with the limit used up (Little's law), as a power of two: what APP_REQUESTS may be."""
        return requests_for(self.rate, self.limit)


def requests_for(rate: float, limit: float) -> int:
    """How many requests may be at an application that serves `rate` a second, if each is to be answered within `limit` seconds."""
    return 1 << max(3, math.floor(math.log2(max(1.0, rate * limit))))


@dataclass(frozen=True, slots=True)
class Search:
    """Where to begin, by how much rates grow, how often the gap is halved at the end, and the limit of the 99th percentile in seconds."""

    first: float = 100.0
    growth: float = 1.4
    halvings: int = 3
    most: float = 50_000.0
    limit: float = 0.25

    def run(self, measure: Callable[[float], Figures], tell: Callable[[Step], None] = lambda _: None) -> Knee:
        """Ask for steps until the knee is found."""
        steps: list[Step] = []

        def carried(rate: float) -> bool:
            figures = measure(rate)
            if not self.carries(figures) and not figures.generator_limits:
                figures = measure(rate)
            steps.append(Step(rate, figures, self.carries(figures)))
            tell(steps[-1])
            return steps[-1].carried

        low, high = 0.0, self.first
        while high <= self.most and carried(high):
            low, high = high, high * self.growth
        for _ in range(self.halvings if low > 0 and high <= self.most else 0):
            if steps[-1].figures.generator_limits:
                break
            middle = math.sqrt(low * high)
            if carried(middle):
                low = middle
            else:
                high = middle
        return Knee(tuple(sorted(steps, key=lambda step: step.rate)), self.limit)

    def carries(self, figures: Figures) -> bool:
        """Whether this will do."""
        return figures.share >= CARRIED and figures.p99 <= self.limit


def measurement(target: Target, seconds: float, generators: int) -> Callable[[float], Figures]:
    """Steps of so many seconds."""

    def measure(rate: float) -> Figures:
        result = drive(target, [Phase(rate, WARM_UP + seconds)], generators=generators)
        # What a step that was too much has left behind is gone when the next one begins.
        time.sleep(0.5)
        return Figures.of(result.between(WARM_UP, WARM_UP + seconds))

    return measure


def find(target: Target, search: Search, seconds: float, generators: int, title: str) -> Knee:
    """The knee of a target, told step by step."""
    print(
        f"\n{title}: the rate at which p99 passes {milliseconds(search.limit)} ms, in steps of {seconds:g} s"
    )
    print(table([HEAD]))

    def tell(step: Step) -> None:
        told = remarks(step.figures)
        line = table([HEAD, row("carried" if step.carried else "too much", step.figures)]).splitlines()[1]
        print(f"{line}  {'; '.join(told)}".rstrip(), flush=True)

    return search.run(measurement(target, seconds, generators), tell)


def report(knee: Knee, title: str) -> str:
    """For a terminal: the chart, and the knee in a sentence."""
    lines = [picture.chart(knee_series(knee), "requests a second offered", "p99 ms", knee.limit * 1000)]
    if knee.step is None:
        lines.append(f"{title}: not even {knee.steps[0].rate:.0f} requests a second were carried.")
    elif knee.generator_limits:
        lines.append(
            f"{title}: at least {knee.rate:.0f} requests a second. The generator did not keep up: more of them "
            "(--generators), or a machine with less to do."
        )
    else:
        lines.append(
            f"{title}: the knee is at {knee.rate:.0f} requests a second, p99 {milliseconds(knee.step.figures.p99)} ms. "
            f"APP_REQUESTS={knee.concurrency} keeps what is served within the limit beyond it."
        )
    return "\n".join(lines)


def knee_series(knee: Knee) -> list[tuple[float, float]]:
    """Offered rate and 99th percentile in milliseconds, of steps that had one."""
    return [
        (step.figures.offered, step.figures.p99 * 1000)
        for step in knee.steps
        if not math.isnan(step.figures.p99)
    ]


def write(folder: Path, knees: dict[str, Knee]) -> None:
    """knee.svg and knee.json."""
    folder.mkdir(parents=True, exist_ok=True)
    limit = next(iter(knees.values())).limit
    drawn = picture.svg(
        {name: knee_series(knee) for name, knee in knees.items()},
        "99th percentile (ms) by requests a second offered",
        limit * 1000,
    )
    (folder / "knee.svg").write_text(drawn)
    data = {
        name: {"rate": knee.rate, "limit": knee.limit, "steps": [asdict(step) for step in knee.steps]}
        for name, knee in knees.items()
    }
    (folder / "knee.json").write_text(json.dumps(data, indent=1) + "\n")


def add_search(parser: argparse.ArgumentParser) -> None:
    """The options of a search."""
    parser.add_argument(
        "--limit", type=float, default=250, metavar="MS", help="of p99, in milliseconds (250)"
    )
    parser.add_argument("--first", type=float, default=100, metavar="RATE", help="the first step (100)")
    parser.add_argument("--seconds", type=float, default=6, help="of each step (6)")


def search_of(options: argparse.Namespace) -> Search:
    """What they say."""
    return Search(first=options.first, limit=options.limit / 1000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Find it, print it, draw it; 1 where there was none."""
    parser = argparse.ArgumentParser(
        prog="make knee", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    add_arguments(parser)
    add_search(parser)
    parser.add_argument(
        "--servers", default="pronghorn", help=f"in the same stack, with commas between: {', '.join(SERVERS)}"
    )
    options = parser.parse_args(arguments)
    knees: dict[str, Knee] = {}
    for name in ["target"] if options.url else options.servers.split(","):
        with measured(Wanted.of(options, name)) as chosen:
            title = options.url or name
            knees[title] = find(chosen.target, search_of(options), options.seconds, options.generators, title)
            print(report(knees[title], title), flush=True)
    write(options.output, knees)
    print(f"The picture: {options.output}/knee.svg")
    return 0 if all(knee.step for knee in knees.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
