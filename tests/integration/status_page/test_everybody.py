"""The status page is for everybody: whatever the screen, the colours, the browser and the senses."""

from __future__ import annotations

import re

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from selenium.webdriver.common.keys import Keys

from tests.integration.browser import Browser
from tests.integration.status_page.seen import DESK, GRAPHS, PHONE, PICTURES, emulate, picture, until_titled
from tests.support.status_page import Canned, samples, status
from tests.support.waiting import until


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
