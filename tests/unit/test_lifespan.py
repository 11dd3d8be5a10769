"""The lifespan protocol: what an application may do with it, in each of the three modes."""

import asyncio
import logging

import pytest

from pronghorn.asgi.lifespan import Lifespan, LifespanFailed
from pronghorn.types import Receive, Scope, Send

LOGGER = logging.getLogger("pronghorn.error")


@pytest.fixture(autouse=True)
def _all_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def good(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert await receive() == {"type": "lifespan.startup"}
    scope["state"]["db"] = "pool"
    await send({"type": "lifespan.startup.complete"})
    assert await receive() == {"type": "lifespan.shutdown"}
    scope["state"]["closed"] = True
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_startup_and_shutdown(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan(good, mode=mode, logger=LOGGER)
    await lifespan.startup()
    assert lifespan.state == {"db": "pool"}
    assert await lifespan.shutdown()
    assert lifespan.state["closed"]
    await lifespan.cancel()
    assert [record.getMessage() for record in caplog.records] == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


async def test_off_does_not_call_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    lifespan = Lifespan(app, mode="off", logger=LOGGER)
    await lifespan.startup()
    assert await lifespan.shutdown()
    await lifespan.cancel()


async def unaware(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def test_auto_serves_an_application_without_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan(unaware, mode="auto", logger=LOGGER)
    await lifespan.startup()
    assert await lifespan.shutdown()
    assert "appears unsupported" in caplog.text


async def test_on_requires_it() -> None:
    with pytest.raises(LifespanFailed, match=r"AssertionError.*test_lifespan.py:\d+, in unaware"):
        await Lifespan(unaware, mode="on", logger=LOGGER).startup()


async def test_application_that_returns_at_once_has_none(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    lifespan = Lifespan(app, mode="auto", logger=LOGGER)
    await lifespan.startup()
    assert await lifespan.shutdown()
    assert "Application startup complete." not in caplog.text


async def test_startup_that_raises_is_told_in_auto_and_fatal_with_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ConnectionError("no database")

    await Lifespan(app, mode="auto", logger=LOGGER).startup()
    assert "ConnectionError: no database" in caplog.text
    assert "--lifespan on" in caplog.text
    with pytest.raises(LifespanFailed, match="ConnectionError: no database"):
        await Lifespan(app, mode="on", logger=LOGGER).startup()


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"message": "no database"}, "no database"),
        ({"message": "Traceback (most recent call last):\n  ...\nOSError: gone"}, "OSError: gone"),
        ({}, "gave no reason"),
    ],
)
async def test_startup_that_fails_is_fatal_and_one_line(
    mode: str, message: dict[str, str], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", **message})

    with pytest.raises(LifespanFailed, match=told) as failed:
        await Lifespan(app, mode=mode, logger=LOGGER).startup()
    assert "\n" not in str(failed.value)
    assert ("Traceback" in caplog.text) is ("Traceback" in message.get("message", ""))


async def test_shutdown_that_fails_or_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "stuck"})

    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ValueError("stuck")

    for app in (fails, raises):
        caplog.clear()
        lifespan = Lifespan(app, mode="auto", logger=LOGGER)
        await lifespan.startup()
        assert not await lifespan.shutdown()
        assert "Application shutdown failed: " in caplog.text
        assert "stuck" in caplog.text


async def test_lifespan_that_ends_early_does_not_hold_the_shutdown_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    lifespan = Lifespan(app, mode="auto", logger=LOGGER)
    await lifespan.startup()
    await asyncio.sleep(0)
    assert await lifespan.shutdown()
    assert "Waiting for application shutdown." not in caplog.text


@pytest.mark.parametrize(
    "events",
    [
        ["lifespan.startup.complete", "lifespan.startup.complete"],
        ["lifespan.shutdown.complete"],
        ["http.response.start"],
    ],
)
async def test_event_out_of_turn_is_an_error(events: list[str]) -> None:
    failure: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            for event in events:
                await send({"type": event})
        except RuntimeError as exc:
            failure.append(exc)

    lifespan = Lifespan(app, mode="auto", logger=LOGGER)
    await lifespan.startup()
    await asyncio.sleep(0)
    assert len(failure) == 1


async def test_cancel_ends_the_call() -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            ended.append(True)

    lifespan = Lifespan(app, mode="auto", logger=LOGGER)
    await lifespan.startup()
    await lifespan.cancel()
    assert ended == [True]
