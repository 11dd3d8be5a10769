"""One process that serves: start, serve, drain.

The order at the end is what makes a restart lossless. With ``--drain-delay`` all goes on for that long, but readiness is
false, and each response says that it was the last of its connection: who sends requests here has time to hear of it, and
is on connections to somebody else when it is over. Then the socket file goes, so that nobody new can come; then the
loop turns until whoever was waiting in the backlog, and every request that is already in a socket buffer, is taken in;
only then is the listener closed. Connections that rest are closed, the others answer what they
have and say that it was the last.
"""

import asyncio
import contextlib
import functools
import logging
import math
import os
import selectors
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pronghorn.asgi.disconnect import IgnoringSend
from pronghorn.asgi.http import Observer
from pronghorn.asgi.lifespan import Lifespan, LifespanFailed
from pronghorn.asgi.request_id import RequestIds
from pronghorn.config import Config
from pronghorn.errors import StartupError
from pronghorn.net.deadlines import TICK, Deadlines, Ticker
from pronghorn.net.service import Service
from pronghorn.net.sockets import Listener, describe
from pronghorn.observe import everything
from pronghorn.observe.health import HealthEndpoint, QuietProbes
from pronghorn.observe.reopen import reopen
from pronghorn.observe.request_id import CURRENT
from pronghorn.runtime import Runtime, load, loop_factory

from .counting import Counting, Uncounted
from .descriptors import Descriptors
from .listening import accept, listen, listen_admin
from .signals import captured, pass_on
from .supervision import Alone, Supervision

if TYPE_CHECKING:
    from pronghorn.observe.access import AccessLog

logger = logging.getLogger("pronghorn.error")

# How often the end of a drain is looked for, in seconds. Connections end by themselves; this only notices.
_DRAIN_POLL = 0.02
# How long a stream of events may go on once its application was told that the server is going, in seconds; at most half
# of --timeout-graceful-shutdown. And the part of that timeout after which any other response that has begun is told.
_STREAM_GRACE = 3.0
_HURRY = 0.75
# Turns of the loop from the last accept until the first bytes have been taken in: one to make the connection, one to
# read, and two in reserve.
_DRAIN_TURNS = 4


class Server:
    """Serves the application of one `Config` in this process.

    `started` is true while requests are accepted. Setting `should_exit` starts a graceful shutdown, `force_exit` cuts
    that short; both may be set from a signal handler or from another thread. `servers` are those of the loop, one for
    each listener; with port 0, ``servers[0].sockets[0].getsockname()`` tells which port it is.
    """

    def __init__(self, config: Config, supervision: Supervision | None = None) -> None:
        self.config = config
        self.started = False
        self.servers: list[asyncio.Server] = []
        self.service: Service | None = None  # once there is an application to serve
        self._supervision = Alone() if supervision is None else supervision
        self._linger: float | None = None
        self._should_exit = False
        self._force_exit = False
        self._announced = False
        self._delay: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._going = asyncio.Event()  # its end is known, and may be put off by --drain-delay
        self._exit_wanted = asyncio.Event()
        self._force_wanted = asyncio.Event()

    @property
    def should_exit(self) -> bool:
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value:
            self._wake(self._going)
            self._wake(self._exit_wanted)

    @property
    def ready(self) -> bool:
        """Whether requests are accepted, and somebody should send them."""
        return self.started and not self._announced

    @property
    def force_exit(self) -> bool:
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        if value:
            self.should_exit = True
            self._wake(self._force_wanted)

    def _wake(self, event: asyncio.Event) -> None:
        if self._loop is None:
            event.set()  # nobody waits yet
        else:
            self._loop.call_soon_threadsafe(event.set)

    def retire(self, linger: float | None = None) -> None:
        """Stop as somebody who has a successor: whoever has a connection open may use it once more.

        For `linger` seconds, at least one; by default for as long as idle connections are kept.
        """
        self._linger = self.config.timeout_keep_alive if linger is None else linger
        self.should_exit = True

    def announce(self, delay: float | None = None) -> None:
        """Be ready no more, but serve on: for so many seconds, or until `should_exit` is set."""
        self._delay = delay
        self._announced = True
        self._wake(self._going)

    def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Serve in an event loop of its own until a signal or `should_exit`; `sockets` are bound ones to use.

        Raises `StartupError` or `UsageError` if it cannot, and passes a signal that stopped it on to the process.
        """
        with asyncio.Runner(loop_factory=loop_factory(self.config)) as runner:
            caught = runner.run(self._serve_until_signal(sockets))
        pass_on(caught)

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """The same inside a loop that is running already, next to whatever else that loop does."""
        pass_on(await self._serve_until_signal(sockets))

    async def _serve_until_signal(self, sockets: Sequence[socket.socket] | None) -> list[int]:
        with captured(self.handle_exit, {"SIGUSR1": self._reopen_logs}) as caught:
            await self._serve(sockets)
        return caught

    def handle_exit(self, number: int) -> None:
        """What a signal does: the first one drains, a SIGINT after that forces.

        With ``--drain-delay`` a SIGTERM announces the drain, which begins when the time is over or with the next signal.
        """
        if self.should_exit:
            self.force_exit = self.force_exit or number == signal.SIGINT
            return
        if number == signal.SIGTERM and self.ready and self.config.drain_delay:
            self.announce(self.config.drain_delay)
            return
        self.should_exit = True
        if not self.started and self._loop is not None:
            self._loop.call_soon_threadsafe(
                logger.info, "Waiting for application startup to finish. (CTRL+C to force quit)"
            )

    def _reopen_logs(self, _number: int, _frame: FrameType | None) -> None:
        if self._loop is not None:  # else there is no log yet
            self._loop.call_soon_threadsafe(reopen)

    async def _serve(self, sockets: Sequence[socket.socket] | None) -> None:
        self._loop = asyncio.get_running_loop()
        with self._counting() as counting:
            await self._serve_counted(sockets, counting)

    async def _serve_counted(self, sockets: Sequence[socket.socket] | None, counting: Counting) -> None:
        runtime = load(self.config)
        # The sockets come first. A port that is taken is found before the application opens its database, and who
        # connects while it does so waits instead of being refused.
        listeners = listen(self.config, sockets)
        try:
            logger.info("Started server process [%d]", os.getpid())
            async with self._administered(counting.folder):
                await self._serve_listeners(runtime, listeners, counting)
            logger.info("Finished server process [%d]", os.getpid())
        finally:
            for listener in listeners:
                listener.close()

    @contextlib.asynccontextmanager
    async def _administered(self, folder: Path | None) -> AsyncIterator[None]:
        """Serve the admin listener beside all the rest, from before the application starts until it has ended, if it is ours to serve.

        It tells what the count files in `folder` say.
        """
        if folder is None or self.config.admin is None or not self._supervision.alone:
            yield
            return
        from .admin import administered, app_of  # noqa: PLC0415  # not for those who have none

        listeners = listen_admin(self.config)
        try:
            async with administered(app_of(self.config, folder, pid=os.getpid()), listeners):
                for listener in listeners:
                    logger.info("Admin listener on %s", describe(listener, tls=False))
                yield
        finally:
            for listener in listeners:
                listener.close()

    @contextlib.contextmanager
    def _counting(self) -> Iterator[Counting]:
        """Keep numbers where somebody can read them. Who has a supervisor is given the folder by it."""
        config, supervision = self.config, self._supervision
        if not (config.metrics or config.admin) or not (supervision.alone or config.metrics_dir):
            yield Uncounted()
            return
        from pronghorn.observe import slots  # noqa: PLC0415  # not for those who have none

        from .counted import Counted  # noqa: PLC0415  # the same

        folder = (
            slots.directory(config.metrics_dir)
            if supervision.alone
            else slots.Folder(Path(str(config.metrics_dir)))
        )
        with contextlib.closing(folder):
            counting = Counted(
                folder.path,
                worker=supervision.slot,
                generation=supervision.generation,
                responses=bool(config.metrics),
            )
            with contextlib.closing(counting):
                yield counting

    async def _serve_listeners(self, runtime: Runtime, listeners: list[Listener], counting: Counting) -> None:
        lifespan = Lifespan(runtime.app, mode=self.config.lifespan, logger=logger)
        try:
            await self._unless_forced(lifespan.startup())
        except LifespanFailed as exc:
            raise StartupError(
                f"application startup failed: {exc}",
                hint="The application decides this, in its lifespan.startup; what it logged is above",
            ) from exc
        everything.retake()
        # Chosen only now, because an application may set up logging of its own while it starts.
        access_log = self._access_log() if self.config.access_log else None
        service = self.service = self._service(runtime, lifespan, counting.observed(access_log))
        service.meter = counting.meter
        counting.publish(service, 0.0)
        descriptors = Descriptors()
        ticker = Ticker(lambda: self._tick(service, runtime, counting, descriptors, ticker))
        try:
            if not self.should_exit:
                self.servers = [
                    await accept(
                        listener,
                        service,
                        backlog=self.config.backlog,
                        tls=None if runtime.tls is None else runtime.tls.context,
                        handshake=self.config.timeout_header,
                    )
                    for listener in listeners
                ]
                self.started = True
                counting.enter("ready")
                tls = runtime.tls is not None
                self._supervision.serving(self, [describe(listener, tls) for listener in listeners])
                await self._going.wait()
            counting.enter("leaving")
            self._supervision.draining(self)
            if not self.should_exit:
                await self._serve_on(service)
            await self._drain(service, listeners)
            if not self.force_exit:
                await self._unless_forced(lifespan.shutdown())
        finally:
            ticker.stop()
            for server in self.servers:
                server.close()
            for connection in list(service.connections):
                connection.abort()
            await lifespan.cancel()
            counting.publish(service, 0.0)
            if access_log is not None:
                access_log.flush()

    async def _unless_forced(self, step: Coroutine[Any, Any, object]) -> None:
        """Wait for a step of the application, but no longer than the person at the terminal has patience."""
        task = asyncio.ensure_future(step)
        forced = asyncio.ensure_future(self._force_wanted.wait())
        await asyncio.wait((task, forced), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if task.done():
            task.result()
        else:
            task.cancel()

    def _access_log(self) -> "AccessLog | QuietProbes | None":
        from pronghorn.observe import access  # noqa: PLC0415  # not for those who have none

        access_log = access.make(asyncio.get_running_loop())
        if access_log is None or self.config.health_path is None:
            return access_log
        return QuietProbes(access_log, self.config.health_path)

    def _service(self, runtime: Runtime, lifespan: Lifespan, observer: Observer) -> Service:
        config = self.config
        app = runtime.app
        # A WSGI application never sees the exception; what runs it needs it, to stop.
        if config.send_after_disconnect == "ignore" and config.interface != "wsgi":
            app = IgnoringSend(app)
        if config.health_path is not None:
            app = HealthEndpoint(app, config.health_path, lambda: self.ready)
        return Service(
            app=app,
            parser=runtime.parser,
            defaults=runtime.defaults,
            deadlines=Deadlines(),
            keep_alive_ticks=Deadlines.ticks(config.timeout_keep_alive),
            header_ticks=Deadlines.ticks(config.timeout_header),
            body_ticks=Deadlines.ticks(config.timeout_body),
            pace=math.ceil(config.min_client_rate * config.timeout_body),
            logger=logger,
            loop=asyncio.get_running_loop(),
            observer=observer,
            trust=runtime.trust,
            ids=RequestIds(os.urandom(8).hex(), CURRENT.set) if config.request_id else None,
            websockets=runtime.websockets,
            http2=runtime.http2,
            early_hints=config.early_hints,
            root_path=config.root_path,
            lifespan_state=lifespan.state,
            limit_concurrency=config.limit_concurrency,
            limit_requests=_jittered(config.limit_max_requests, config.limit_max_requests_jitter),
            on_request_limit=functools.partial(self._supervision.request_limit_reached, self),
        )

    @staticmethod
    def _tick(
        service: Service, runtime: Runtime, counting: Counting, descriptors: Descriptors, ticker: Ticker
    ) -> None:
        counting.publish(service, ticker.late)
        service.defaults.renew(None)
        service.deadlines.advance()
        if runtime.tls is not None:
            runtime.tls.check()
        descriptors.look()

    async def _serve_on(self, service: Service) -> None:
        """Go on after `announce`, and see that whoever keeps connections loses them one by one, each between two requests."""
        if self._delay is not None:
            logger.info("Shutting down in %g s. (CTRL+C to do it now)", self._delay)
        service.parting = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delay):
                await self._exit_wanted.wait()
        self.should_exit = True

    async def _drain(self, service: Service, listeners: list[Listener]) -> None:
        """Let what is in flight finish, within ``--timeout-graceful-shutdown``."""
        logger.info("Shutting down")
        service.parting = service.draining = True
        service.succeeded = self._linger is not None
        self.started = False
        for listener in listeners:
            listener.withdraw()
        # First of all who works: what is answered from now on is a connection's last answer, and has to say so.
        for connection in list(service.connections):
            if connection.busy:
                connection.shutdown()
        await self._take_in([listener.sock for listener in listeners])
        for server in self.servers:
            server.close()
        for connection in list(service.connections):
            if connection.busy or not (connection.fresh or self._linger is not None):
                connection.shutdown()
        if not await self._drained(service):
            for task in service.tasks:
                task.cancel("Task cancelled, timeout graceful shutdown exceeded")
            if service.tasks:
                await asyncio.wait(service.tasks, timeout=TICK)

    @staticmethod
    async def _take_in(backlogs: list[socket.socket]) -> None:
        """Turn the loop until nobody waits in a backlog and what was accepted has been read for the first time.

        libuv accepts one connection a turn, so the number of turns cannot be known beforehand. On a TCP port the
        stream of newcomers may never end, and out of descriptors it cannot; hence the time limit.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + TICK
        turns = 0
        with selectors.DefaultSelector() as waiting:
            for backlog in backlogs:
                waiting.register(backlog, selectors.EVENT_READ)
            while turns < _DRAIN_TURNS:
                await asyncio.sleep(0)
                turns = 0 if waiting.select(0) and loop.time() < give_up else turns + 1

    async def _drained(self, service: Service) -> bool:
        """Wait until all is done; false if time ran out, or the patience of whoever sent the second SIGINT."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        timeout = self.config.timeout_graceful_shutdown
        # An idle connection that is closed may have its next request on the way. One that has just been made certainly has.
        idle = max(TICK, self._linger or 0)
        told = ""
        while service.connections or service.tasks:
            elapsed = loop.time() - begun
            if self.force_exit:
                return False
            if timeout is not None and elapsed >= timeout:
                logger.error(
                    "Cancel %d running task(s), timeout graceful shutdown exceeded", len(service.tasks)
                )
                return False
            if elapsed >= idle:
                for connection in list(service.connections):
                    connection.shutdown()
            self._hasten(service, elapsed)
            waiting_for = "connections to close" if service.connections else "background tasks to complete"
            if service.tasks and waiting_for != told:
                logger.info("Waiting for %s. (CTRL+C to force quit)", waiting_for)
                told = waiting_for
            await asyncio.sleep(_DRAIN_POLL)
        return True

    def _hasten(self, service: Service, elapsed: float) -> None:
        """See that no stream holds the shutdown up that could as well go on elsewhere."""
        timeout = self.config.timeout_graceful_shutdown
        if elapsed >= (_STREAM_GRACE if timeout is None else min(_STREAM_GRACE, timeout / 2)):
            for connection in list(service.connections):
                connection.end_stream()
        if timeout is not None and elapsed >= timeout * _HURRY:
            for connection in list(service.connections):
                connection.hurry()


def _jittered(limit: int | None, jitter: int) -> int | None:
    if limit is None or not jitter:
        return limit
    import random  # noqa: PLC0415  # few ask for it

    return limit + random.randint(0, jitter)  # noqa: S311  # spread, not secrecy
