"""What is good enough: how the file and the overrides are read, every verdict, and the table of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import settings
from loadtest.thresholds import MEASURES, Sample, Threshold, Verdict, judge, load, percentile, table

SHIPPED = settings.HERE / "thresholds.toml"

LIST = Sample("browse: list", 80, 0, {10: 60, 20: 20})
ORDER = Sample("browse: order", 20, 2, {20: 18, 900: 2})
TRIP = Sample("chat: round trip", 4, 0, {5: 4})
SAMPLES = [LIST, ORDER, TRIP]


def one(section: str, measure: str, limit: float, samples: list[Sample] | None = None) -> Verdict:
    [verdict] = judge([Threshold(section, measure, limit)], SAMPLES if samples is None else samples)
    return verdict


# ---- Verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "measure", "measured"),
    [
        # All of a group as one: 60 answers in 10 ms, 38 in 20, 2 in 900.
        ("browse", "p50", 10),
        ("browse", "p95", 20),
        ("browse", "p99", 900),
        ("browse", "failures", 0.02),
        ("browse", "requests", 100),
        # One of them by its whole name, which has a colon itself.
        ("browse: order", "p50", 20),
        ("browse: order", "failures", 0.1),
        ("browse: order", "requests", 20),
        ("all", "requests", 104),
        ("all", "failures", 2 / 104),
        ("all", "p50", 10),
    ],
)
def test_a_limit_is_met_up_to_itself(section: str, measure: str, measured: float) -> None:
    found = one(section, measure, measured)

    assert found.measured == pytest.approx(measured)
    assert found.met
    beyond = measured + 1 if measure == "requests" else measured - 0.001
    assert not one(section, measure, beyond).met


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != "requests"])
def test_nothing_measured_is_not_good_enough(measure: str) -> None:
    assert one("sse", measure, 1 if measure == "failures" else 99_999) == Verdict(
        Threshold("sse", measure, 1 if measure == "failures" else 99_999), None
    )
    assert not one("sse", measure, 1).met


def test_no_request_is_none() -> None:
    assert one("sse", "requests", 1).measured == 0
    assert not one("sse", "requests", 1).met
    assert one("sse", "requests", 0).met


def test_a_name_is_no_group_that_merely_begins_like_it() -> None:
    assert one("chat: round", "requests", 1).measured == 0
    assert one("chat", "requests", 1).measured == 4


def test_what_does_not_run_is_not_judged() -> None:
    wanted = [
        Threshold("browse", "requests", 1),
        Threshold("chat: open", "p50", 1),
        Threshold("all", "p50", 1),
    ]

    assert [verdict.threshold.section for verdict in judge(wanted, SAMPLES, ("browse",))] == ["browse", "all"]


@given(st.dictionaries(st.integers(0, 500), st.integers(1, 50), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_nearest_rank(times: dict[int, int], part: float) -> None:
    """At least that part took no longer, and less than that part took less."""
    found = percentile(times, part)
    total = sum(times.values())

    assert found in times
    assert sum(count for time, count in times.items() if time <= found) >= part * total
    assert sum(count for time, count in times.items() if time < found) < part * total


def test_a_percentile_of_nothing_is_none() -> None:
    assert percentile({}, 0.5) is None


# ---- The table ------------------------------------------------------------------------------------------------------


def test_the_table_says_what_was_wanted_and_what_came() -> None:
    verdicts = judge(
        [
            Threshold("browse", "p99", 250),
            Threshold("browse", "failures", 0.05),
            Threshold("chat: round trip", "requests", 10),
            Threshold("sse", "p50", 1),
        ],
        SAMPLES,
    )

    assert table(verdicts).splitlines() == [
        "                              wanted  measured",
        "browse            p99       ≤ 250 ms    900 ms  NOT MET",
        "browse            failures     ≤ 5 %       2 %  met",
        "chat: round trip  requests      ≥ 10         4  NOT MET",
        "sse               p50         ≤ 1 ms      none  NOT MET",
    ]
    assert str(verdicts[0]) == "browse: p99 900 ms, wanted at most 250 ms"
    assert str(verdicts[2]) == "chat: round trip: requests 4, wanted at least 10"


# ---- The file, and what is laid over it -----------------------------------------------------------------------------


def test_the_shipped_file_judges_every_scenario_in_every_way() -> None:
    wanted = load(SHIPPED)
    measured = {
        group: {one.measure for one in wanted if one.section.partition(":")[0] == group}
        for group in settings.WEIGHTS
    }

    assert {group for group, measures in measured.items() if measures == set(MEASURES)} == set(
        settings.WEIGHTS
    ) - {"slow"}
    # How slow they are is their own doing.
    assert measured["slow"] == {"failures", "requests"}


def test_overrides_change_add_and_leave_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text('[browse]\np95 = 100\nrequests = 5\n["chat: round trip"]\np99 = 50\n')

    assert load(file, "browse.p95=250, chat: round trip.p99 = 7.5 ,all.failures=0,") == [
        Threshold("browse", "p95", 250),
        Threshold("browse", "requests", 5),
        Threshold("chat: round trip", "p99", 7.5),
        Threshold("all", "failures", 0),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[brwose]\np95 = 1\n", "[brwose] p95 = 1: no group of that name, there are all, browse, uploads"),
        ("[browse]\np90 = 1\n", "[browse] p90 = 1: nothing of that name is measured, there are p50, p95, p99, failures, requests"),
        ("[browse]\np95 = '1'\n", "p95 = '1': the limit is no number from 0 on"),
        ("[browse]\np95 = true\n", "the limit is no number"),
        ("[browse]\np95 = -1\n", "the limit is no number"),
        ("[browse]\np95 = nan\n", "the limit is no number"),
        ("[browse]\nfailures = 5\n", "failures are a part of the requests, from 0 to 1"),
        ("p95 = 5\n", "p95 = 5 stands outside of a section"),
        ("[browse\n", "Expected ']'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_one_line_that_names_the_place(
    tmp_path: Path, text: str, fault: str
) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text(text)
    with pytest.raises(settings.LoadTestError) as caught:
        load(file)

    assert str(file) in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_by_the_variable() -> None:
    with pytest.raises(
        settings.LoadTestError, match=r"^LOADTEST_THRESHOLDS=/none\.toml: No such file or directory$"
    ):
        load(Path("/none.toml"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("browse.p95", "'browse.p95' is not section.measure=number, such as browse.p95=200"),
        ("p95=5", "'p95=5' is not section.measure=number"),
        ("browse.p95=fast", "is not section.measure=number"),
        ("browse.p95=1.2.3", "is not section.measure=number"),
        ("shop.p95=5", "'shop.p95=5': no group of that name"),
        ("browse.p42=5", "'browse.p42=5': nothing of that name is measured"),
        ("browse.failures=5", "failures are a part of the requests"),
    ],
)
def test_a_mistake_in_an_override_is_told(text: str, fault: str) -> None:
    with pytest.raises(settings.LoadTestError) as caught:
        load(SHIPPED, text)

    assert str(caught.value).startswith("LOADTEST_LIMITS: ")
    assert fault in str(caught.value)
