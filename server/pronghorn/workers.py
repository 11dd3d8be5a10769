"""Gunicorn's worker classes: ``gunicorn main:app -k pronghorn.workers.PronghornWorker``.

Gunicorn starts the processes, owns the sockets and decides who lives; each worker runs a `Server` on those sockets, with the
configuration that `gunicorn_settings` reads from Gunicorn's.

Three things are done otherwise than in Gunicorn's own workers. The heartbeat comes from the event loop, start-up and drain included: a
loop that is blocked is what Gunicorn's timeout is for, and one that is only slow to start is left alone. A worker that is told to go
answers what comes in on open connections for a second more, since a worker cannot know whether its successor or nobody comes after
it. And a worker that is killed for its silence, or crashes in C, leaves word of where it stood.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from logging.handlers import SysLogHandler
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker
from gunicorn.workers.workertmp import WorkerTmp

from pronghorn.config import Config
from pronghorn.errors import UserError
from pronghorn.gunicorn_settings import configuration, idle, refusal
from pronghorn.importer import cause_text
from pronghorn.observe import everything, logs, output
from pronghorn.observe.atoms import GunicornAccessLog
from pronghorn.observe.health import QuietProbes
from pronghorn.observe.json_formatter import JsonFormatter
from pronghorn.observe.request_id import install
from pronghorn.runtime import loop_factory
from pronghorn.supervise.kernel import die_with_parent
from pronghorn.worker.server import Server
from pronghorn.worker.supervision import Alone

if TYPE_CHECKING:
    from pronghorn.observe.access import AccessLog
    from pronghorn.types import ASGIApplication, Receive, Scope, Send

# Seconds between two heartbeats; less where Gunicorn's timeout is that short. A loop that is two of them late is blocked.
_BEAT: Final = 1.0
# Seconds for which an idle connection may bring one more request once its worker was told to go.
_LINGER: Final = 1.0
# Seconds after which all threads of an arbiter that was killed are gone.
_ORPHANED: Final = 1.0


class JsonLogger(Logger):  # type: ignore[misc]  # Gunicorn has no types
    """A `logger_class`: everything as one JSON object a line, access lines in the way of ``--log-format json``."""

    FORMAT: ClassVar[str] = "json"

    def setup(self, cfg: Any) -> None:
        """Set Gunicorn's handlers up, again at each reload, and give them our format."""
        super().setup(cfg)
        output.use_fields(self.FORMAT == "journal")
        consoles: tuple[tuple[logging.Logger, output.Name], ...]
        consoles = ((self.error_log, "stderr"), (self.access_log, "stdout"))
        for log, stream in consoles:
            # Not those of the user's logconfig; and syslog has a format of its own.
            for place, handler in enumerate(log.handlers):
                if hasattr(handler, "_gunicorn") and not isinstance(handler, SysLogHandler):
                    if type(handler) is logging.StreamHandler:
                        console = logs.ConsoleHandler(stream, self.FORMAT, use_colors=False)
                        vars(console)["_gunicorn"] = True  # by which Gunicorn finds it again
                        log.handlers[place] = console
                    else:
                        handler.setFormatter(JsonFormatter())
        if not (cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json):
            everything.take(self.error_log.level)


class JournalLogger(JsonLogger):
    """The same in the way of ``--log-format journal``."""

    FORMAT = "journal"


class _Heartbeat(WorkerTmp):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn's heartbeat file, and a second one beside it for where a worker stood when it died.

    Both are open in the arbiter and in the worker. The worker's faulthandler writes into the second one when no line of Python can run
    any more: after a crash in C, or when a loop is blocked there and the interpreter is not let go. The arbiter closes the
    heartbeat of a worker that has ended, and that is when it reads what is there.
    """

    def __init__(self, cfg: Any, worker: PronghornWorker) -> None:
        super().__init__(cfg)
        self._worker = worker
        self._arbiter = os.getpid()
        self.stack = tempfile.TemporaryFile(dir=cfg.worker_tmp_dir)  # noqa: SIM115  # closed below

    def forget(self) -> None:
        """The worker can speak for itself."""
        self.stack.seek(0)
        self.stack.truncate()

    def close(self) -> None:
        """Close both; in the arbiter, log what the worker has left."""
        super().close()
        if os.getpid() == self._arbiter and not self.stack.closed:
            self.stack.seek(0)
            left = self.stack.read().decode("utf-8", "replace").strip()
            if left:
                self._worker.log.critical("Worker (pid:%s) has left this:\n%s", self._worker.pid, left)
        self.stack.close()


class _Supervision(Alone):
    """What a server tells, in Gunicorn's terms: a worker that is at its limit leaves, and Gunicorn starts another one then."""

    alone = False

    def __init__(self, worker: PronghornWorker) -> None:
        self._worker = worker

    def serving(self, server: Server, where: Sequence[str]) -> None:
        self._worker.serving()
        super().serving(server, where)

    def request_limit_reached(self, server: Server) -> None:
        self._worker.log.info(
            "Maximum request limit of %d reached, the worker is replaced.", server.config.limit_max_requests
        )
        server.retire(_LINGER)

    def draining(self, server: Server) -> None:
        """Gunicorn wanted it, or sees it when it is over."""


class _GunicornServer(Server):
    """A server that leaves signals to the worker, and writes its access log as Gunicorn does."""

    def __init__(self, config: Config, worker: PronghornWorker) -> None:
        super().__init__(config, _Supervision(worker))
        self._log = worker.log

    async def serve_quietly(self, sockets: Sequence[Any]) -> None:
        """Serve until `should_exit` is set, without a hand on any signal."""
        await self._serve(sockets)

    def _access_log(self) -> AccessLog | QuietProbes | None:
        if isinstance(self._log, JsonLogger):
            return super()._access_log()
        access_log = GunicornAccessLog(self._log)
        path = self.config.health_path
        return access_log if path is None else QuietProbes(access_log, path)


class PronghornWorker(Worker):  # type: ignore[misc]  # Gunicorn has no types
    """The worker class. Subclasses may set options of `Config` in CONFIG_KWARGS, which go before everything else."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {}

    ppid: int
    tmp: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tmp.close()
        self.tmp = _Heartbeat(self.cfg, self)
        self._server: _GunicornServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Gunicorn gives half of its timeout, so that one heartbeat may be late.
        self._beat = min(_BEAT, self.timeout / 2) if self.timeout else _BEAT
        self._beaten = 0.0

    @classmethod
    def setup(cls) -> None:
        """Let formats of the arbiter's ask for a request id, though it has none. Called before it logs its first line."""
        install()

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Complain before anything is started. Called by the arbiter, which prints a RuntimeError and exits with 1."""
        reason = refusal(cfg)
        if reason is not None:
            raise RuntimeError(reason)
        try:
            _, warnings = configuration(cfg, log, _failed(""), overrides=cls.CONFIG_KWARGS)
        except UserError as exc:
            raise RuntimeError(str(exc)) from None
        for warning in (*warnings, *idle(cfg)):
            log.warning("%s", warning)

    # In the worker's process.

    def load_wsgi(self) -> None:
        """Import the application. With --reload, one that is no Python yet is replaced by its error until it is saved again."""
        try:
            self.wsgi = self.app.wsgi()
        except SyntaxError as exc:
            if not self.cfg.reload:
                raise
            self.log.exception("The application is no Python")
            if self.reloader is not None and exc.filename is not None:
                self.reloader.add_extra_file(exc.filename)
            self.wsgi = _failed("".join(traceback.format_exception(exc)))

    def init_signals(self) -> None:
        """Handlers of Python's, not of the loop's: they have to be heard when the loop is blocked."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        handlers = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_quit,
            signal.SIGQUIT: self.handle_quit,
            signal.SIGABRT: self.handle_abort,
            signal.SIGUSR1: self.handle_usr1,
            signal.SIGWINCH: self.handle_winch,
        }
        for number, handler in handlers.items():
            signal.signal(number, handler)
            signal.siginterrupt(number, False)
        if not faulthandler.is_enabled():
            # Comes before the handler for SIGABRT, and leaves it the signal.
            faulthandler.enable(self.tmp.stack)
        die_with_parent()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: finish what has begun. It comes from the kernel too, when the arbiter is gone.

        To be exact, when the thread of it is gone that has forked us: as long as another one is not, it is our parent yet.
        """
        self.alive = False
        if not self._orphaned():
            _later(_ORPHANED, self._orphaned)
        if self._server is not None:
            # Gunicorn has closed the listeners by now, so that all that can be put off is the end of open connections.
            self._server.retire(max(_LINGER, self._server.config.drain_delay))

    def _orphaned(self) -> bool:
        """Whether the arbiter was found to be gone just now: nobody is left who would kill this worker if it did not end in time."""
        parent = os.getppid()
        if parent == self.ppid:
            return False
        self.ppid = parent  # once is enough
        self.alive = False
        self.log.info("Parent changed, shutting down: %s", self)
        _later(self.cfg.graceful_timeout, os.kill, os.getpid(), signal.SIGQUIT)
        return True

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT and SIGINT: go now, without the application's shutdown; out of a blocked loop as well."""
        self.alive = False
        first = self._server is None or not self._server.force_exit
        if first:
            self.cfg.worker_int(self)
        if self._server is None:
            sys.exit(0)
        self._server.force_exit = True
        if self._silence() > 2 * self._beat:
            # Out of what blocks the loop. If the loop goes on in spite of it, as uvloop may, it finds that it has to end.
            sys.exit(0)
        if first:
            _later(2 * self._beat, os.kill, os.getpid(), sig)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """SIGABRT: nothing was heard of the loop for longer than `timeout`. Say where it is, and go."""
        self.tmp.forget()
        where = "".join(traceback.format_stack(frame)).rstrip("\n")
        silence = self._silence() if self._beaten else 0.0
        self.log.critical(
            "Worker (pid:%s) is aborted, its event loop was blocked for %.1f s in:\n%s",
            self.pid,
            silence,
            where,
        )
        self.cfg.worker_abort(self)
        output.finish()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Not by an exception: it would come out of whatever blocks, and that, or uvloop, may go on in spite of it.
        os._exit(1)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """SIGUSR1: reopen the log files; in the loop, so that no line is cut in two."""
        if self._loop is None:
            self.log.reopen_files()
        else:
            self._loop.call_soon_threadsafe(self.log.reopen_files)

    def _silence(self) -> float:
        """Seconds since the event loop last turned, as far as we know."""
        return time.monotonic() - self._beaten

    def run(self) -> None:
        """Serve until told to stop. What keeps the worker from serving is one line, and the code at which Gunicorn gives up."""
        if not self.alive:
            return
        # Gunicorn thinks that a worker which has imported its application is up. It is when it serves.
        self.booted = False
        try:
            config, _ = configuration(
                self.cfg,
                self.log,
                self.wsgi,
                overrides=self.CONFIG_KWARGS,
                max_requests=self.max_requests if self.max_requests < sys.maxsize else None,
            )
            self._adopt_loggers()
            self._server = _GunicornServer(config, self)
            with asyncio.Runner(loop_factory=loop_factory(config)) as runner:
                runner.run(self._serve(self._server))
        except UserError as exc:
            if exc.show_cause and exc.__cause__ is not None:
                self.log.error("%s", cause_text(exc.__cause__))  # noqa: TRY400  # without our own part
            self.log.error("%s", exc)  # noqa: TRY400  # one line
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _adopt_loggers(self) -> None:
        """Let what we log, and what applications log through Uvicorn's names, come out where Gunicorn's own lines do."""
        error_log = self.log.error_log
        for name in (logs.ROOT, "uvicorn"):
            logger = logging.getLogger(name)
            logger.handlers = list(error_log.handlers)
            logger.setLevel(error_log.level)
            logger.propagate = False
        if isinstance(self.log, JsonLogger):
            access = logging.getLogger(logs.ACCESS)
            access.handlers = list(self.log.access_log.handlers)
            access.setLevel(logging.INFO)
            access.propagate = False

    async def _serve(self, server: _GunicornServer) -> None:
        self._loop = asyncio.get_running_loop()
        # The reloader, which is a thread, writes into this pipe.
        self._loop.add_reader(self.PIPE[0], self._changed, server)
        beating = self._loop.create_task(self._keep_beating(server))
        try:
            await server.serve_quietly([sock.sock for sock in self.sockets])
        finally:
            beating.cancel()
            self._loop.remove_reader(self.PIPE[0])
            # The loop is about to be closed: a signal that comes now has nothing to do.
            self._server = self._loop = None

    def _changed(self, server: _GunicornServer) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self.PIPE[0])
        server.retire(_LINGER)

    async def _keep_beating(self, server: _GunicornServer) -> None:
        while True:
            self._beaten = time.monotonic()
            self.notify()
            if self.alive and self._orphaned():  # where the kernel does not tell
                server.retire(_LINGER)
            await asyncio.sleep(self._beat)

    def serving(self) -> None:
        """The worker is up. The server has descriptors of its own; Gunicorn's would keep the port open after it has left."""
        self.booted = True
        for sock in self.sockets:
            sock.close()


class PronghornH11Worker(PronghornWorker):
    """In pure Python, for PyPy and for whoever wants the stricter parser."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "asyncio", "http": "h11"}


class PronghornH2CWorker(PronghornWorker):
    """HTTP/2 besides HTTP/1.1, in clear text as well. Needs h2."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"http2": True}


# The names of Uvicorn's workers, so that `uvicorn.workers.UvicornWorker` needs one word changed.
UvicornWorker = PronghornWorker
UvicornH11Worker = PronghornH11Worker
UvicornH2CWorker = PronghornH2CWorker


def _later(seconds: float, call: Callable[..., object], *arguments: object) -> None:
    """Call this, unless we have ended by then. A thread, since the loop may be what is stuck."""
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()


def _failed(text: str) -> ASGIApplication:
    """An application that answers every request with 500 and this text."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # as ASGI has it
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": text.encode()})

    return app
