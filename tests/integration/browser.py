"""A real browser: headless Chromium of Debian's packages, driven over WebDriver.

Pages are looked at with scripts that return plain values, because an element that is held may be gone from the page by the time it is
asked. Nothing waits for a time; `until` (stack.py) waits for what is there to be seen.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.integration.stack import ROOT
from tests.support.waiting import until

# Without a display, a GPU, a sandbox of its own (root has none), or a word to anybody but the page's server.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,700",
)


def programs() -> tuple[str, str]:
    """The paths of the browser and of its driver; where they are missing, they are installed (scripts/ensure)."""
    subprocess.run([ROOT / "scripts/ensure", "chromedriver", "chromium-driver"], check=True, cwd=ROOT)
    subprocess.run([ROOT / "scripts/ensure", "chromium", "chromium"], check=True, cwd=ROOT)
    found = shutil.which("chromium"), shutil.which("chromedriver")
    assert found[0], "chromium is not on PATH"
    assert found[1], "chromedriver is not on PATH"
    return found[0], found[1]


class Browser:
    """One browser with one page."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Loads a page, and notes each later change of its data-state, which is how both examples tell of the connection."""
        self.complaints()
        self.driver.get(url)
        self.run(
            "window.states = [];"
            "new MutationObserver(() => states.push(document.body.dataset.state))"
            ".observe(document.body, { attributeFilter: ['data-state'] })"
        )

    def leave(self) -> None:
        self.driver.get("about:blank")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns that runs in the page."""
        return self.driver.execute_script(script, *arguments)

    def type(self, *keys: str) -> None:
        """Keys, to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def texts(self, selector: str) -> list[str]:
        """The text of each element that a selector finds."""
        script = "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent)"
        found: list[str] = self.run(script, selector)
        return found

    def is_open(self) -> bool:
        """Is the page connected?"""
        return bool(self.run("return document.body.dataset.state === 'open'"))

    def states(self) -> list[str]:
        """What became of the connection since the page was opened, or since they were forgotten, oldest first."""
        passed: list[str] = self.run("return states")
        return passed

    def forget_states(self) -> None:
        self.run("states.length = 0")

    def accessible(self) -> set[tuple[str, str]]:
        """Role and name of everything that a screen reader is told of."""
        tree = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
        nodes = (node for node in tree["nodes"] if not node["ignored"])
        return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}

    def complaints(self) -> list[str]:
        """What the console has got since a page was opened, or this was asked last."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def until_open(self) -> None:
        until(self.is_open, "a connection")


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that knows nothing of others, and leaves nothing."""
    chromium, chromedriver = programs()
    with TemporaryDirectory(prefix="pronghorn-chromium-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        # The development certificate of a stack is nobody's whom a browser trusts.
        options.accept_insecure_certs = True
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = Chrome(options=options, service=Service(chromedriver))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
