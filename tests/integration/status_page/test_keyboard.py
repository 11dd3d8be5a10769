"""The status page with the keyboard alone."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from tests.integration.browser import Browser
from tests.integration.status_page.seen import (
    GRAPHS,
    clock,
    column,
    crosshair,
    drawn,
    focused,
    numbers,
    title,
    until_titled,
)
from tests.support.status_page import NOW, Canned, samples, status, worker
from tests.support.waiting import until


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
