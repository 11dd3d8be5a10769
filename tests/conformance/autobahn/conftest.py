"""One run of the suite for each codec, all of them at the same time, before the first test that asks for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.conformance.autobahn.cases import CODECS, everything, limit, selected
from tests.conformance.autobahn.suite import Report, Say, prepare_image, started
from tests.support.process import serving

REPORTS = pytest.StashKey[dict[str, Report]]()

ECHO = """
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})
"""


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    """Prints a line at once, past pytest's capturing: minutes of silence look like a hang."""
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")

    def line(text: str) -> None:
        with uncaptured(pytestconfig):
            reporter.ensure_newline()
            reporter.write_line(f"  {text}", flush=True)

    return line


def uncaptured(config: pytest.Config) -> ExitStack:
    """Output goes where pytest's own goes, for as long as the block lasts."""
    stack = ExitStack()
    if capture := config.pluginmanager.getplugin("capturemanager"):
        stack.enter_context(capture.global_and_fixture_disabled())
    return stack


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> str:
    """The image of the suite."""
    with uncaptured(pytestconfig):
        return prepare_image()


@pytest.fixture(scope="session")
def reports(
    image: str, say: Say, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Report]:
    """What the suite found, for each codec that a test of this session is about."""
    asked_for = {
        item.callspec.params.get("codec") for item in request.session.items if hasattr(item, "callspec")
    }
    codecs = [codec for codec in CODECS if codec in asked_for]
    cases = selected()
    say(f"Autobahn: {len(cases)} cases with {' and with '.join(codecs)}; this takes minutes")
    with ExitStack() as stack:
        runs = {}
        for codec in codecs:
            folder = tmp_path_factory.mktemp(codec)
            server = stack.enter_context(serving(folder, ECHO, "--ws", codec, "--no-access-log"))
            (folder / "suite").mkdir()
            url = f"ws://127.0.0.1:{server.port}"
            runs[codec] = stack.enter_context(started(image, url, cases, folder / "suite", limit()))
        found = {codec: run.report(_named(say, codec)) for codec, run in runs.items()}
    request.config.stash[REPORTS] = found
    return found


def _named(say: Say, codec: str) -> Callable[[str], None]:
    return lambda text: say(f"{codec}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The totals, for each codec."""
    found = config.stash.get(REPORTS, None)
    if found is None:
        return
    terminalreporter.section(f"Autobahn: {len(selected())} of the {len(list(everything()))} cases")
    for codec, report in found.items():
        behavior = Counter(outcome.behavior for outcome in report.outcomes.values())
        closing = Counter(outcome.closing for outcome in report.outcomes.values())
        terminalreporter.write_line(
            f"{codec:<12}behavior: {_listed(behavior)}; closing: {_listed(closing)}; {report.seconds:.0f} s"
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "none"
