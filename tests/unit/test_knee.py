"""The search for the knee on figures that are made up, the verdicts of an overload, trends, and the pictures."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loadtest import capacity, knee, overload, picture, soak, stacks
from loadtest.figures import Figures
from loadtest.knee import Knee, Search, Step, requests_for
from loadtest.openloop import GAVE_UP, Phase, Result
from loadtest.overload import Limits
from loadtest.stacks import Wanted
from loadtest.trend import Allowed, Trend


def figures(rate: float, *, p99: float = 0.01, served: float | None = None, busy: float = 0.2) -> Figures:
    right = rate if served is None else served
    return Figures(rate, right, rate - right, 0, p99 / 2, p99, p99, math.nan, math.nan, 0, 0.001, busy)


# ---- The search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carried", [137.0, 1000.0, 4321.0])
def test_the_knee_is_found_within_a_tenth(carried: float) -> None:
    asked: list[float] = []

    def measure(rate: float) -> Figures:
        asked.append(rate)
        return figures(rate, p99=0.02 if rate <= carried else 2.0)

    found = Search(first=50).run(measure)

    assert found.rate <= carried < found.rate * 1.1
    assert not found.generator_limits
    assert [step.rate for step in found.steps] == sorted({*asked})


def test_what_is_refused_is_not_carried_however_fast() -> None:
    found = Search(first=100).run(lambda rate: figures(rate, served=min(rate, 500)))

    assert 500 / 1.1 < found.rate <= 506


def test_a_step_that_fails_once_is_repeated() -> None:
    seen: list[float] = []

    def measure(rate: float) -> Figures:
        seen.append(rate)
        disturbed = len(seen) == 2
        return figures(rate, p99=2.0 if disturbed or rate > 1000 else 0.02)

    assert Search(first=100).run(measure).rate > 1000 / 1.1


def test_a_generator_that_is_the_limit_ends_the_search() -> None:
    def measure(rate: float) -> Figures:
        return figures(rate, p99=0.02 if rate < 1000 else 2.0, busy=0.2 if rate < 1000 else 0.99)

    found = Search(first=100).run(measure)

    assert found.generator_limits
    assert [step.rate > 1000 for step in found.steps].count(True) == 1
    assert "at least" in knee.report(found, "shop")


def test_where_nothing_is_carried_there_is_no_knee() -> None:
    found = Search(first=100).run(lambda rate: figures(rate, p99=2.0))

    assert (found.step, found.rate, len(found.steps)) == (None, 0, 1)
    assert "not even 100" in knee.report(found, "shop")


def test_a_search_comes_to_an_end_where_everything_is_carried() -> None:
    found = Search(first=100, most=1000).run(figures)

    assert found.steps[-1].rate <= 1000
    assert all(step.carried for step in found.steps)


@pytest.mark.parametrize(("rate", "limit", "requests"), [(400, 0.25, 64), (2000, 0.25, 256), (3, 0.25, 8)])
def test_the_number_of_requests_is_littles(rate: float, limit: float, requests: int) -> None:
    assert requests_for(rate, limit) == requests


# ---- Pictures -------------------------------------------------------------------------------------------------------


def found() -> Knee:
    steps = [
        Step(rate, figures(rate, p99=0.001 * 3 ** (rate / 100)), rate < 500) for rate in (100, 300, 500, 700)
    ]
    return Knee(tuple(steps), 0.25)


def test_the_chart_has_a_mark_for_each_step_and_the_limit() -> None:
    lines = knee.report(found(), "shop").splitlines()

    assert sum(line.count("o") for line in lines if "|" in line) == 4
    assert [line for line in lines if line.strip().startswith("250 |---")]
    assert "the knee is at 300 requests a second" in lines[-1]
    assert "APP_REQUESTS=64" in lines[-1]


def test_the_picture_is_written_with_a_line_for_each_server(tmp_path: Path) -> None:
    knee.write(tmp_path, {"ours <&>": found(), "theirs": found()})

    drawn = ET.fromstring((tmp_path / "knee.svg").read_text())
    names = [element.tag.rpartition("}")[2] for element in drawn.iter()]
    assert names.count("polyline") == 2
    assert names.count("circle") == 8
    assert "ours <&>" in [element.text for element in drawn.iter()]
    assert '"rate": 300' in (tmp_path / "knee.json").read_text()


def test_a_picture_may_begin_at_zero() -> None:
    drawn = picture.svg({"memory": [(0.0, 10.0), (10.0, 20.0)]}, "MiB", from_zero=True)

    (line,) = [part for part in ET.fromstring(drawn).iter() if part.tag.endswith("polyline")]
    assert line.get("points") == "60.0,180.0 580.0,50.0"


# ---- Overload -------------------------------------------------------------------------------------------------------

PHASES = [Phase(50, 2), Phase(300, 4), Phase(50, 2)]


def crowd(*, served: int = 95, refusal: float = 0.002, lost: int = 0, recovery: float = 0.02) -> Result:
    """A second by second account of 8 s with so many served in each of the four that are too much."""
    result = Result(8)

    def one(due: float, took: float, fate: int) -> None:
        result.due.append(due)
        result.took.append(took)
        result.fate.append(fate)
        result.late.append(0.0)

    for second in range(8):
        over = 2 <= second < 6
        for number in range(300 if over else 50):
            due = second + number / 300
            if not over:
                one(due, recovery if second == 6 else 0.02, 200)
            elif number < served:
                one(due, 0.3, 200)
            elif number < served + lost:
                one(due, 5.0, GAVE_UP)
            else:
                one(due, refusal, 503)
    return result


def test_an_overload_that_is_stood_well() -> None:
    found = overload.judge(crowd(), 100, PHASES, Limits(), 1.0)

    assert found.met
    assert found.goodput == pytest.approx(0.95)
    assert (found.before.offered, found.during.offered, found.after.offered) == (50, 300, 50)
    assert "MISSED" not in overload.report(found, "shop")


@pytest.mark.parametrize(
    ("made", "missed"),
    [
        ({"served": 70}, "served while 3 times as many ask"),
        ({"refusal": 0.7}, "p50 of the refusals"),
        ({"lost": 10}, "neither served nor refused"),
        ({"recovery": 1.5}, "p99 in the first second after it"),
    ],
)
def test_an_overload_that_is_not(made: dict[str, float], missed: str) -> None:
    found = overload.judge(crowd(**made), 100, PHASES, Limits(), 1.0)  # type: ignore[arg-type]

    assert not found.met
    assert missed in " ".join(one.what for one in found.verdicts() if not one.met)


def test_where_nobody_is_served_nothing_is_in_time() -> None:
    found = overload.judge(crowd(served=0), 100, PHASES, Limits(), 1.0)

    assert "p99 of what is served meanwhile" in [one.what for one in found.verdicts() if not one.met]


def test_a_refusal_without_a_word_of_when_is_missed() -> None:
    result = crowd()
    result.silent = 1

    assert not overload.judge(result, 100, PHASES, Limits(), 1.0).met


def test_servers_are_compared_in_columns() -> None:
    judged = overload.judge(crowd(), 100, PHASES, Limits(), 1.0)
    rows = capacity.rows({"pronghorn": found(), "uvicorn": found()}, {"pronghorn": judged})

    assert rows[0] == ("", "pronghorn", "uvicorn")
    assert rows[1][1:] == ("300", "300")
    assert ("goodput, of the knee", "95%", "-") in rows


# ---- Trends ---------------------------------------------------------------------------------------------------------


def test_growth_is_that_of_the_line_and_not_of_the_odd_sample() -> None:
    flat = [(float(second), 100.0 + (50 if second == 60 else second % 3)) for second in range(0, 61, 2)]
    rising = [(float(second), 100.0 + second) for second in range(61)]

    assert abs(Trend.of(flat, 10).growth) < 1
    assert Trend.of(rising, 10).growth == pytest.approx(50)


def test_the_warm_up_does_not_count() -> None:
    series = [(float(second), min(second, 20.0)) for second in range(60)]

    assert Trend.of(series, 0).growth > 5
    assert Trend.of(series, 20).growth == 0
    with pytest.raises(ValueError, match="too few"):
        Trend.of(series, 58)


def test_what_is_allowed_is_the_larger_of_both() -> None:
    small, large = Trend(1, 1, 1, 1, 0, 9), Trend(100, 100, 100, 100, 0, 9)

    assert Allowed(0.1, 8).limit(small) == 8
    assert Allowed(0.1, 8).limit(large) == 10


def record(leak: float = 0.0, slower: float = 0.0) -> soak.Record:
    found = soak.Record(probes=1000)
    for second in range(0, 300, 5):
        found.add("app memory MiB", second, 60 + leak * second)
        found.add("app descriptors", second, 40)
        found.add("probe p50 ms", second, 2 + slower * second)
    return found


def test_a_soak_in_which_nothing_grows() -> None:
    assert all(one.met for one in soak.judge(record(), 60, 0))
    assert "app memory MiB" in soak.summary(record(), 60)


@pytest.mark.parametrize(
    ("found", "users", "missed"),
    [
        (record(leak=0.1), 0, "app memory MiB: growth"),
        (record(slower=0.1), 0, "probe p50 ms: growth"),
        (record(), 1, "thresholds of the users"),
    ],
)
def test_a_soak_in_which_something_does(found: soak.Record, users: int, missed: str) -> None:
    assert [one.what for one in soak.judge(found, 60, users) if not one.met] == [missed]


def test_a_process_that_was_replaced_and_probes_that_failed_are_told() -> None:
    found = record()
    found.replaced.append("app has ended")
    found.failed = 5

    assert [one.found for one in soak.judge(found, 60, 0) if not one.met] == [
        "0.50% of 1000",
        "app has ended",
    ]


def test_a_process_is_known_by_its_name() -> None:
    assert soak.name(os.getpid()) == Path("/proc/self/comm").read_text().strip()
    assert soak.name(2**22 + 1) in soak.PASSING


def test_a_soak_is_drawn(tmp_path: Path) -> None:
    soak.write(tmp_path, record())

    assert "app descriptors" in (tmp_path / "soak-descriptors.svg").read_text()


# ---- What is measured -----------------------------------------------------------------------------------------------


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    stacks.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_shop_is_asked_for_its_json_and_others_for_what_is_named() -> None:
    assert "/api/products/1" in Wanted.of(options()).paths
    assert Wanted.of(options("--app", "mine", "--path", "/a", "--path", "/b")).paths == ("/a", "/b")
    assert Wanted.of(options("--url", "http://a")).paths == ()
    assert Wanted.of(options("--set", "APP_REQUESTS=64")).settings == (("APP_REQUESTS", "64"),)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(url="https://example.org"), "--url"),
        (Wanted(app="nowhere"), "--app"),
        (Wanted(server="apache"), "--servers"),
    ],
)
def test_what_can_not_be_measured_is_said_in_a_line(wanted: Wanted, said: str) -> None:
    with pytest.raises(SystemExit, match=said), stacks.measured(wanted):
        pass
