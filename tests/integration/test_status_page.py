"""The status page in a real browser: it shows what it is told, to everybody, whatever becomes of the server.

The pictures of the page are for people to look at: build/status-page/, which git ignores.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from selenium.webdriver.common.keys import Keys

from tests.integration.browser import Browser, browser
from tests.integration.stack import ROOT
from tests.support.admin import FREE, AdminListener
from tests.support.ports import free_port
from tests.support.process import ServerProcess, serving
from tests.support.status_page import NOW, Canned, canned, samples, status, worker
from tests.support.waiting import until

PICTURES = ROOT / "build/status-page"
GRAPHS = [
    "Requests",
    "Latency",
    "In flight",
    "Errors",
    "Connections",
    "Event-loop lag",
    "Traffic",
    "Memory",
    "Workers ready",
]
NOTHING = "\N{EN DASH}"
DESK, PHONE = (1440, 1240), (390, 844)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canned]:
    with canned(tmp_path_factory.mktemp("status-page")) as running:
        yield running


@pytest.fixture
def server(answering: Canned) -> Canned:
    """What answers the page: a quiet server to begin with, asked twice a second."""
    answering.says(status(interval=0.5))
    return answering


@pytest.fixture
def page(chromium: Browser, server: Canned) -> Iterator[Browser]:
    """The page with its first answer; it is the same page in the end, and the console has nothing to say about it."""
    emulate(chromium, DESK)
    chromium.open(server.url)
    until_titled(chromium, "All is well")
    yield chromium
    assert chromium.complaints() == []
    asked = chromium.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert set(asked) == {f"{server.url}status.json"}
    chromium.run("localStorage.clear()")
    chromium.leave()


# ---- What is seen of it ---------------------------------------------------------------------------------------------


def emulate(page: Browser, size: tuple[int, int], scheme: str = "light", *, sharp: int = 1) -> None:
    """A screen of that size, and a reader who likes that scheme and no motion."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": sharp, "mobile": size == PHONE}
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def picture(page: Browser, name: str) -> None:
    """The whole page, as high as it is."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    taken = page.driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True}
    )
    path = PICTURES / f"{name}.png"
    path.write_bytes(base64.b64decode(taken["data"]))
    print(f"a picture of the page: {path}")  # noqa: T201  # for whoever wants to look at it


def title(page: Browser) -> str:
    return page.texts("#title")[0]


def icon(page: Browser) -> str:
    """Of the tab, as the browser has it: drawn by the page."""
    found: str = page.run("return document.querySelector('link[rel=icon]').href")
    assert found.startswith("data:image/svg+xml,")
    return found


def until_titled(page: Browser, wanted: str) -> None:
    until(lambda: title(page) == wanted, f"the headline {wanted!r}")


def numbers(page: Browser, graph: str) -> dict[str, str]:
    """The numbers above a graph by their names, as they are read."""
    return dict(
        page.run(
            "const figure = [...document.querySelectorAll('figure')]"
            ".find((one) => one.querySelector('h2').textContent === arguments[0]);"
            "return [...figure.querySelectorAll('dl div')].map((one) =>"
            " [one.firstChild.textContent, one.lastChild.textContent])",
            graph,
        )
    )


def drawn(page: Browser) -> dict[str, str]:
    """The path of each line, by what it is of."""
    return dict(
        page.run(
            "return [...document.querySelectorAll('.drawing .line')]"
            ".map((one) => [one.dataset.key, one.getAttribute('d')])"
        )
    )


def column(page: Browser, key: str) -> list[str]:
    return page.texts(f"tbody [data-key={key}]")


def focused(page: Browser) -> str:
    """What has the focus, by its name."""
    found: str = page.run(
        "const one = document.activeElement;"
        "return (one.getAttribute('aria-label') ?? one.id) || one.textContent"
    )
    return found


def crosshair(page: Browser) -> list[str]:
    """The times under the crosshairs, one of each graph."""
    return page.texts(".cross text")


def clock(page: Browser, epoch: float) -> str:
    """As the browser would tell it: the time zone is its own."""
    return str(page.run("return new Date(arguments[0] * 1000).toTimeString().slice(0, 8)", epoch))


# ---- What it says -----------------------------------------------------------------------------------------------------


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


# ---- With the keyboard alone --------------------------------------------------------------------------------------------


def test_everything_is_reached_in_the_order_of_the_page(page: Browser) -> None:
    reached = []
    for _ in range(2 + len(GRAPHS) + 12 + 1):
        page.type(Keys.TAB)
        outline = "const style = getComputedStyle(document.activeElement); return style.outlineStyle"
        assert page.run(outline) == "solid", "a focus that is not seen"
        reached.append(focused(page))

    assert reached[:2] == ["theme", "pause"]
    assert reached[2:11] == [f"Moment in {graph}" for graph in GRAPHS]
    assert reached[11:] == ["Table of workers", *page.texts("thead button")]


def test_arrow_keys_move_the_crosshair(page: Browser, server: Canned) -> None:
    made = samples(interval=0.5)
    page.run("document.querySelectorAll('.probe')[2].focus()")
    page.type(Keys.ARROW_LEFT)

    assert crosshair(page) == [clock(page, made[-2]["t"])] * len(GRAPHS)
    assert numbers(page, "In flight") == {"requests": str(made[-2]["in_flight"])}
    page.type(Keys.PAGE_UP, Keys.HOME, Keys.ARROW_RIGHT)
    assert numbers(page, "Connections")["open"] == str(made[1]["connections"])
    assert page.run("return document.activeElement.getAttribute('aria-valuenow')") == "1"
    assert page.run("return document.activeElement.getAttribute('aria-valuetext')") == clock(
        page, made[1]["t"]
    )
    said = f"In flight at {clock(page, made[1]['t'])}: requests {made[1]['in_flight']}"
    until(lambda: page.texts("#said") == [said], "the values said")

    page.type(Keys.ESCAPE)
    assert crosshair(page) == []
    assert numbers(page, "In flight") == {"requests": str(made[-1]["in_flight"])}


def test_the_crosshair_stays_with_its_moment(page: Browser, server: Canned) -> None:
    """When new samples push the old ones to the left."""
    made = samples(interval=0.5)
    page.run("document.querySelector('.probe').focus()")
    page.type(Keys.PAGE_DOWN)
    before = crosshair(page)
    later = [*made[1:], made[-1] | {"t": NOW + 0.5, "in_flight": 99}]
    was = drawn(page)["rate"]
    server.says(status(interval=0.5, now=NOW + 0.5, samples=later))
    until(lambda: drawn(page)["rate"] != was, "the next sample")

    assert crosshair(page) == before
    assert numbers(page, "In flight") == {"requests": str(made[-11]["in_flight"])}


def test_space_pauses_and_goes_on(page: Browser, server: Canned) -> None:
    page.run("document.querySelector('.probe').focus()")
    page.type(Keys.SPACE)
    assert page.texts("#pause-name") == ["Resume"]
    assert page.texts("#pulse")[0].startswith("Paused at ")
    before = drawn(page)
    asked = page.run("return performance.getEntriesByType('resource').length")
    server.says(status(interval=0.5, ready=False, samples=samples(200, 0.5)))

    # The button and the space bar are the same; and while it lasts, nobody asks.
    until(lambda: page.texts("#said") == ["Paused"], "the pause said")
    assert page.run("return performance.getEntriesByType('resource').length") == asked
    assert (title(page), drawn(page)) == ("All is well", before)
    page.run("document.querySelector('#pause').focus()")
    page.type(Keys.SPACE)
    until_titled(page, "Not ready")
    assert page.texts("#pause-name") == ["Pause"]


def test_the_table_is_sorted_with_the_keyboard(page: Browser, server: Canned) -> None:
    workers = [
        worker(0, rss_bytes=60_000_000),
        worker(1, rss_bytes=50_000_000, state="leaving"),
        worker(2, rss_bytes=None),
    ]
    server.says(status(interval=0.5, workers=workers))
    until(lambda: column(page, "worker") == ["0", "1", "2"], "three workers")
    page.run("document.querySelector('th[data-key=rss_bytes] button').focus()")
    page.type(Keys.ENTER)
    assert column(page, "worker") == ["1", "0", "2"]
    assert page.run("return document.activeElement.parentElement.ariaSort") == "ascending"
    until(lambda: page.texts("#said") == ["Workers by Memory, least first"], "the order said")

    # What is not known comes last either way; and the order outlives the next answer, as the focus does.
    page.type(Keys.ENTER)
    assert column(page, "worker") == ["0", "1", "2"]
    server.says(status(interval=0.5, workers=[*workers[::-1], worker(3, rss_bytes=70_000_000)]))
    until(lambda: column(page, "worker") == ["3", "0", "1", "2"], "the fourth worker on top")
    assert page.run("return document.activeElement.parentElement.ariaSort") == "descending"


# ---- Whatever becomes of the server ---------------------------------------------------------------------------------------


def test_a_server_that_is_gone_and_back(chromium: Browser, tmp_path: Path) -> None:
    Canned(tmp_path).says(status(interval=0.5))
    port = free_port()
    with canned(tmp_path, port) as running:
        chromium.open(running.url)
        until_titled(chromium, "All is well")
        before = drawn(chromium)
    until_titled(chromium, "No answer")
    [reason] = chromium.texts("#reasons li")
    assert reason.startswith("Since ")
    assert reason.endswith(". It cannot be reached.")
    assert chromium.texts("#pulse") == ["Asking again"]
    assert drawn(chromium) == before

    with canned(tmp_path, port):
        until_titled(chromium, "All is well")
        assert chromium.texts("#reasons li") == []
        # Refused; or, where the server was killed while it answered, whatever that looks like.
        assert all("net::ERR_" in complaint for complaint in chromium.complaints())
        chromium.leave()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "It answers with 503."),
        ("<h1>Another page</h1>", "It answers, but not with a status."),
        ("[]", "It answers, but not with a status."),
        (json.dumps({"now": "today", "samples": []}), "It answers, but not with a status."),
    ],
)
def test_an_answer_that_is_none(chromium: Browser, server: Canned, text: str, reason: str) -> None:
    chromium.open(server.url)
    until_titled(chromium, "All is well")
    server.says_text(text)
    until_titled(chromium, "No answer")
    assert chromium.texts("#reasons li")[0].endswith(reason)

    server.says(status(interval=0.5))
    until_titled(chromium, "All is well")
    assert all("503" in complaint for complaint in chromium.complaints())
    chromium.leave()


def test_a_page_that_nobody_sees_asks_nothing(page: Browser, server: Canned) -> None:
    """And asks at once when it is seen again."""
    asked = "return performance.getEntriesByType('resource').length"
    page.driver.minimize_window()
    until(lambda: page.run("return document.hidden"), "a hidden page")
    before = page.run(asked)
    # As long as it takes to be asked twice, by a clock that runs in a hidden page too.
    page.driver.execute_async_script("setTimeout(arguments[0], 1000)")
    assert page.run(asked) == before

    server.says(status(interval=0.5, ready=False))
    page.driver.set_window_rect(0, 0, 1100, 700)
    until_titled(page, "Not ready")


# ---- With the real listener ---------------------------------------------------------------------------------------------


APPLICATION = """
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        status = 404 if scope["path"] == "/nothing" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 1000})
"""


@contextmanager
def load(server: ServerProcess) -> Iterator[None]:
    """Requests without a pause, each tenth of them for nothing, and on a new connection as often as the server ends one."""
    ended = Event()

    def ask() -> None:
        while not ended.is_set():
            # A worker that is killed takes with it what it has begun.
            with suppress(OSError, EOFError, AssertionError), server.connect() as client:
                for number in range(200):
                    client.get("/nothing" if number % 10 == 0 else "/")

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            ended.set()
        asking.result()


def test_the_real_server(chromium: Browser, tmp_path: Path) -> None:
    """Under load, with two workers, of which one is killed; and its end."""
    emulate(chromium, DESK)
    with serving(tmp_path, APPLICATION, "--workers", "2", "--lifespan", "off", *FREE) as server:
        admin = AdminListener(server)
        with load(server):
            admin.until("/readyz", 200)
            chromium.open(f"http://{admin.address}/")
            until(lambda: numbers(chromium, "Latency").get("p99", NOTHING) != NOTHING, "requests on the page")
            assert chromium.run("return document.querySelector('#verdict').dataset.kind") in {"ok", "warn"}
            assert chromium.texts("#app, #facts dd")[::3] == ["main:app", str(server.pid)]
            until(lambda: column(chromium, "state") == ["ready", "ready"], "both workers")
            # A busy machine may leave one sample without any request.
            until(lambda: numbers(chromium, "Requests")["4xx"] not in {NOTHING, "0/s"}, "those for nothing")
            assert numbers(chromium, "Requests")["5xx"] == "0/s"

            victim = int(column(chromium, "pid")[0])
            os.kill(victim, signal.SIGKILL)
            until(lambda: numbers(chromium, "Workers ready")["ended"] == "1", "the end of a worker")
            until(lambda: len(set(column(chromium, "pid")) - {str(victim)}) == 2, "its successor")
            until(lambda: len(drawn(chromium)["rate"]) > 40, "lines")
            assert chromium.run("return document.querySelectorAll('.flag').length") >= 1
            picture(chromium, "real")
            assert chromium.complaints() == []
        assert server.stop() == -signal.SIGTERM
    until_titled(chromium, "No answer")
    chromium.complaints()
    chromium.leave()


# ---- For everybody ----------------------------------------------------------------------------------------------------------


def ground(page: Browser) -> str:
    return str(page.run("return getComputedStyle(document.body).backgroundColor"))


def test_light_and_dark(page: Browser, server: Canned) -> None:
    """As the system likes it, until one says otherwise; which is remembered."""
    light = ground(page)
    emulate(page, DESK, "dark")
    dark = ground(page)
    assert light != dark

    page.run("document.querySelector('#theme').focus()")
    page.type(Keys.ENTER)
    assert (page.texts("#theme"), ground(page)) == (["Theme: light"], light)
    page.type(Keys.ENTER)
    emulate(page, DESK, "light")
    assert (page.texts("#theme"), ground(page)) == (["Theme: dark"], dark)
    page.open(server.url)
    assert (page.texts("#theme"), ground(page)) == (["Theme: dark"], dark)
    page.run("document.querySelector('#theme').click()")
    assert (page.texts("#theme"), ground(page)) == (["Theme: auto"], light)
    until_titled(page, "All is well")


def test_a_browser_that_keeps_nothing(page: Browser, server: Canned) -> None:
    forbid = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        page.open(server.url)
        until_titled(page, "All is well")
        page.run("document.querySelector('#theme').click()")
        assert page.texts("#theme") == ["Theme: light"]
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    page.open(server.url)
    until_titled(page, "All is well")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("ready", [True, False], ids=["well", "not ready"])
def test_a_linter_of_accessibility_finds_nothing(
    page: Browser, server: Canned, scheme: str, size: tuple[int, int], ready: bool
) -> None:
    """axe, which measures the contrast of what is drawn, too."""
    emulate(page, size, scheme)
    server.says(status(interval=0.5, ready=ready, reasons=[] if ready else ["draining"]))
    until_titled(page, "All is well" if ready else "Not ready")
    page.run("document.querySelector('.probe').focus()")
    page.type(Keys.ARROW_LEFT)
    found = Axe().run(page.driver)

    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


def test_graphs_stand_out_from_their_ground(page: Browser) -> None:
    """3:1 for lines and 4.5:1 for text, as WCAG asks; axe does not measure in graphs."""
    for scheme in ("light", "dark"):
        emulate(page, DESK, scheme)
        parts = [".line.first", ".line.second", ".line.third", ".marks path"]
        card = luminance(page, "figure", "background-color")
        lines = [contrast(luminance(page, part, "stroke"), card) for part in parts]
        assert min(lines) >= 3, (scheme, lines)
        assert contrast(luminance(page, ".grid text", "fill"), card) >= 4.5, scheme


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def luminance(page: Browser, selector: str, what: str) -> float:
    """The relative luminance of WCAG 2 of the colour that is drawn."""
    colour = page.run(
        "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])",
        selector,
        what,
    )
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(channel) / 255 for channel in re.findall(r"\d+", colour)[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_screen_reader_is_told_what_is_what(page: Browser) -> None:
    found = page.accessible()
    images = {name.partition(" in the last ")[0]: name for role, name in found if role == "image"}

    assert found >= {("heading", graph) for graph in GRAPHS}
    assert found >= {("slider", f"Moment in {graph}") for graph in GRAPHS}
    assert ("status", "") in found
    assert set(images) == set(GRAPHS)
    now = samples(interval=0.5)[-1]
    assert f"Now: open {now['connections']}, WebSockets {now['websockets']}." in images["Connections"]
    assert "Workers started or ended at " in images["Latency"]


def test_nothing_moves_by_itself(page: Browser) -> None:
    emulate(page, DESK, "dark")
    page.run("document.querySelector('#theme').click()")

    assert page.run("return document.getAnimations().length") == 0


def test_what_stays_the_same_is_not_touched(page: Browser, server: Canned) -> None:
    """Else the page would flicker, and a screen reader say the same again and again."""
    page.run(
        "window.changed = 0;"
        "new MutationObserver((all) => { changed += all.length })"
        ".observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true })"
    )
    asked = page.run("return performance.getEntriesByType('resource').length")
    until(
        lambda: page.run("return performance.getEntriesByType('resource').length") >= asked + 2,
        "two more answers",
    )

    assert page.run("return changed") == 0


@pytest.mark.parametrize("width", [320, 390, 700, 1024])
def test_it_fits(page: Browser, server: Canned, width: int) -> None:
    """No page is ever to be scrolled sideways; also with names that have no end."""
    emulate(page, (width, 800))
    server.says(status(interval=0.5, app="a" * 300, ready=False, reasons=["b" * 300]))
    until_titled(page, "Not ready")

    assert page.run("return document.documentElement.scrollWidth") <= width


def test_pictures(page: Browser, server: Canned) -> None:
    """They differ in what they should differ in; what they look like is for a person to say."""
    server.says(status())
    page.open(server.url)
    until_titled(page, "All is well")
    for name, size, scheme in (("light", DESK, "light"), ("dark", DESK, "dark"), ("phone", PHONE, "light")):
        emulate(page, size, scheme, sharp=2)
        picture(page, name)
    taken = {path.stem: path.read_bytes() for path in PICTURES.glob("*.png")}

    assert len({taken["light"], taken["dark"], taken["phone"]}) == 3
