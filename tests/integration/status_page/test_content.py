"""The status page shows what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.browser import Browser
from tests.integration.status_page.seen import GRAPHS, NOTHING, column, drawn, icon, numbers, until_titled
from tests.support.status_page import NOW, Canned, samples, status, worker
from tests.support.waiting import until

LAST = {
    "t": NOW,
    "rate": 1234.4,
    "errors": 6.172,
    "client_errors": 30.86,
    "p50": 0.0042,
    "p95": 0.0567,
    "p99": 1.234,
    "in_flight": 17,
    "connections": 83,
    "websockets": 12,
    "lag": 0.0004,
    "workers": 2,
    "starts": 1,
    "exits": 0,
    "bytes_in": 21_300.0,
    "bytes_out": 1_940_000.0,
    "rss": 412_000_000,
}


def test_the_numbers_are_those_of_the_server(page: Browser, server: Canned) -> None:
    server.says(status(interval=0.5, samples=[*samples(interval=0.5)[:-1], LAST]))
    until(lambda: numbers(page, "Requests")["all"] == "1.2k/s", "the new numbers")

    assert {graph: numbers(page, graph) for graph in GRAPHS} == {
        "Requests": {"all": "1.2k/s", "4xx": "31/s", "5xx": "6.2/s"},
        "Latency": {"p50": "4.2ms", "p95": "57ms", "p99": "1.2s"},
        "In flight": {"requests": "17"},
        "Errors": {"5xx": "0.5%", "4xx": "2.5%"},
        "Connections": {"open": "83", "WebSockets": "12"},
        "Event-loop lag": {"worst": "0.4ms"},
        "Traffic": {"out": "1.9MB/s", "in": "21kB/s"},
        "Memory": {"resident": "412MB"},
        "Workers ready": {"ready": "2", "started": "2", "ended": "1"},
    }
    assert page.texts("#summary") == ["2 of 2 workers ready, 1.2 k requests/s, up 3 h 12 min"]
    assert page.texts("#facts dd") == ["0.4.0", "3.13.5", "4120"]
    assert page.run("return document.title") == "All is well · main:app"


def test_the_table_shows_every_worker(page: Browser) -> None:
    assert page.texts("tbody tr:first-child > *") == [
        *[
            "0",
            "ready",
            "3 h 12 min",
            "1,204,220",
            "4",
            "31",
            "6",
            "41 MB",
            "1.1 ms",
            "400 ms ago",
            "4121",
            "0",
        ]
    ]
    assert column(page, "worker") == ["0", "1"]
    assert page.texts("#supervisor") == ["Supervisor: process 4120 · 3 starts so far · ended: 1 retired"]


def test_the_lines_follow_the_data(page: Browser, server: Canned) -> None:
    before = drawn(page)
    assert len(before) == 16
    assert all(path.startswith("M") and len(path) > 100 for path in before.values())

    made = samples(interval=0.5)
    server.says(
        status(interval=0.5, samples=[one | {"t": at["t"]} for one, at in zip(made[::-1], made, strict=True)])
    )
    until(lambda: all(path != before[key] for key, path in drawn(page).items()), "every line drawn anew")


def test_a_hole_in_the_data_is_a_hole_in_the_line(page: Browser, server: Canned) -> None:
    """Where nothing was asked there are no quantiles; where nobody was there to take samples, there is nothing."""
    made = samples(interval=0.5)
    for one in (*made[100:110], *made[111:120]):
        one |= {"p50": None, "p95": None, "p99": None}
    server.says(status(interval=0.5, samples=[*made[:40], *made[60:]]))
    until(lambda: drawn(page)["p99"].count("M") == 4, "three holes in the latency")

    assert drawn(page)["rate"].count("M") == 2
    # The one between two holes is a dash of some length, since nothing is drawn of a dashed line that has none.
    assert drawn(page)["p99"].count("h3") == 1


def test_restarts_are_marked_in_every_graph(page: Browser, server: Canned) -> None:
    marks = "return [...document.querySelectorAll('.marks')].map((one) => one.querySelectorAll(':not(.flag)').length)"
    assert page.run(marks) == [2] * len(GRAPHS)
    assert page.run("return document.querySelectorAll('.flag').length") == 2

    server.says(
        status(interval=0.5, samples=[one | {"starts": 0, "exits": 0} for one in samples(interval=0.5)])
    )
    until(lambda: page.run(marks) == [0] * len(GRAPHS), "no marks")


def test_a_server_that_has_just_started_has_nothing_to_show_yet(page: Browser, server: Canned) -> None:
    server.says(
        status(interval=0.5, samples=[], workers=[], uptime_seconds=0.4, ready=False, reasons=["starting"])
    )
    until_titled(page, "Not ready")

    assert page.texts("#reasons li") == ["starting"]
    assert page.texts("#summary") == ["up 0 s"]
    assert numbers(page, "Requests") == dict.fromkeys(("all", "4xx", "5xx"), NOTHING)
    assert page.texts("#no-workers") == ["None."]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"wanted": 3}, "2 of 3 workers ready"),
        ({"reasons": ["the certificate ends today"]}, "the certificate ends today"),
        ({"workers": [worker(0, heartbeat_age_seconds=7.6)]}, "Worker 0 was last heard of 7 s ago"),
        (
            {"samples": [one | {"errors": one["rate"] / 20} for one in samples(interval=0.5)]},
            "5 % of the requests of the last minute failed",
        ),
        (
            {"samples": [*samples(interval=0.5)[:-1], LAST | {"lag": 0.8, "errors": 0}]},
            "An event loop stood still for 800 ms within the last minute",
        ),
    ],
)
def test_the_headline_says_what_is_not_well(
    page: Browser, server: Canned, said: dict[str, Any], reason: str
) -> None:
    quiet = [one | {"errors": 0} for one in samples(interval=0.5)]
    server.says(status(**{"interval": 0.5, "samples": quiet} | said))
    until_titled(page, "Serving, but not all is well")

    assert page.texts("#reasons li") == [reason]


def test_a_server_that_is_not_ready_says_why(page: Browser, server: Canned) -> None:
    well = icon(page)
    server.says(status(interval=0.5, ready=False, reasons=["draining", "over the limit of 100 requests"]))
    until_titled(page, "Not ready")

    assert page.texts("#reasons li") == ["draining", "over the limit of 100 requests"]
    assert page.run("return document.title") == "Not ready · main:app"
    assert icon(page) != well


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\"'"


def test_text_is_text(page: Browser, server: Canned) -> None:
    """Whatever a string has in it; and a string where a number should be is no number."""
    server.says(
        status(
            interval=0.5,
            app=HOSTILE,
            version=HOSTILE,
            python=HOSTILE,
            ready=False,
            reasons=[HOSTILE],
            supervisor={"pid": HOSTILE, "starts": HOSTILE, "exits": {HOSTILE: 1}},
            workers=[dict.fromkeys(worker(0), HOSTILE)],
            samples=[dict.fromkeys(LAST, HOSTILE) | {"t": NOW}],
        )
    )
    until_titled(page, "Not ready")

    assert page.texts("#app, #reasons li, tbody .state") == [HOSTILE] * 3
    assert page.texts("#facts dd") == [HOSTILE, HOSTILE, "4120"]
    assert page.texts("#supervisor") == [f"Supervisor: process {NOTHING} · ended: 1 {HOSTILE}"]
    assert column(page, "pid") == [NOTHING]
    assert numbers(page, "Memory") == {"resident": NOTHING}
    assert page.run("return document.querySelectorAll('img, script').length") == 1


def test_the_policy_of_the_tests_is_enforced(page: Browser) -> None:
    """Else no complaint about it would prove nothing."""
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), { text: 'window.ran = 1' }))"
    )

    assert page.run("return window.ran") is None
    assert any("Content Security Policy" in complaint for complaint in page.complaints())
