"""The lifespan protocol: one call of the application that outlives all requests (ASGI Lifespan specification 2.0)."""

import asyncio
import logging
import traceback
from typing import Any, Final

from pronghorn.types import ASGIApplication, Message

_SPEC: Final = {"version": "3.0", "spec_version": "2.0"}


class LifespanFailed(Exception):
    """The application could not start. The message is one line; what the application said of it is logged before."""


class Lifespan:
    """Runs the lifespan of one application. `mode` is ``auto``, ``on`` or ``off``.

    `state` is the dictionary that the application may fill at start-up and that every request gets a copy of.
    """

    def __init__(self, app: ASGIApplication, *, mode: str, logger: logging.Logger) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode
        self._logger = logger
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._received = (
            False  # whether the application took the start-up event, so that it knows the protocol
        )
        self._supported = False
        self._failure: str | None = None

    async def startup(self) -> None:
        """Wait until the application is ready. Raises `LifespanFailed` if it says, or shows, that it cannot be.

        In mode ``auto`` an application that raises has no lifespan, as the specification has it, and is served all
        the same.
        """
        if self._mode == "off":
            return
        self._logger.info("Waiting for application startup.")
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        self._events.put_nowait({"type": "lifespan.startup"})
        await self._started.wait()
        if self._failure is not None:
            raise LifespanFailed(self._failure)
        if self._supported:
            self._logger.info("Application startup complete.")

    async def shutdown(self) -> bool:
        """Tell the application that it is over, and wait for it. False if it failed at that."""
        if not self._supported or self._task is None:
            return True
        if self._task.done():
            # It ended, or broke, while requests were served; there is nobody left to tell.
            return True
        self._logger.info("Waiting for application shutdown.")
        self._events.put_nowait({"type": "lifespan.shutdown"})
        await self._stopped.wait()
        if self._failure is not None:
            self._logger.error("Application shutdown failed: %s", self._failure)
            return False
        self._logger.info("Application shutdown complete.")
        return True

    async def cancel(self) -> None:
        """End the application's call, if it still runs, and wait for that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": dict(_SPEC), "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as exc:  # noqa: BLE001  # whatever it is, it is the application's, and it is logged
            self._failed(exc)
        finally:
            self._started.set()
            self._stopped.set()

    def _failed(self, exc: Exception) -> None:
        where = _where(exc)
        summary = f"{type(exc).__name__}: {exc}{where}".replace("\n", " ")
        if self._started.is_set():
            self._logger.error("Exception in 'lifespan' protocol", exc_info=exc)
            self._failure = self._failure or summary
        elif self._mode == "on":
            self._logger.error("Exception in 'lifespan' protocol", exc_info=exc)
            self._failure = summary
        elif self._received:
            self._logger.warning(
                "The application raised in lifespan.startup (%s) and is served without a lifespan. "
                "Use --lifespan on to treat that as a failure.",
                summary,
            )
        else:
            self._logger.info("ASGI 'lifespan' protocol appears unsupported.")

    async def _receive(self) -> Message:
        event = await self._events.get()
        self._received = True
        return event

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            if self._started.is_set():
                raise RuntimeError(f"Unexpected ASGI message {kind!r}: start-up is over.")
            if kind == "lifespan.startup.complete":
                self._supported = True
            else:
                self._failure = self._last_line(message)
            self._started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if not self._started.is_set() or self._stopped.is_set():
                raise RuntimeError(f"Unexpected ASGI message {kind!r}: no shutdown is going on.")
            if kind == "lifespan.shutdown.failed":
                self._failure = self._last_line(message)
            self._stopped.set()
        else:
            raise RuntimeError(f"Expected a lifespan message, but got {kind!r}.")

    def _last_line(self, message: Message) -> str:
        """What the application says of its failure, on one line; frameworks send a whole traceback, which is logged."""
        text = str(message.get("message", "")).strip()
        lines = text.splitlines() or ["the application gave no reason"]
        if len(lines) > 1:
            self._logger.error(text)
        return lines[-1]


def _where(exc: Exception) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name})" if frames else ""
