"""What is seen of the status page."""

from __future__ import annotations

import base64

from tests.integration.browser import Browser
from tests.integration.stack import ROOT
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
