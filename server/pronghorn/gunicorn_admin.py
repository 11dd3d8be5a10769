"""The admin listener under Gunicorn, for the hooks of gunicorn.conf.py: a process beside the workers, as under our supervisor.

The arbiter owns the socket, and starts the process when it is ready. It looks after it whenever it starts a worker, which is as often as
Gunicorn lets a hook of a configuration file look at anything. What there is to look after hangs on the arbiter: a reload executes the
file anew, and means this server still.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pronghorn.config import Config
from pronghorn.errors import UserError
from pronghorn.net.sockets import Listener, describe
from pronghorn.observe.application import VARIABLE
from pronghorn.observe.slots import Folder, directory
from pronghorn.sources import resolve
from pronghorn.supervise.process import AdminProcess, start_admin
from pronghorn.worker.listening import listen_admin

_NAME: Final = "pronghorn_admin"
#: Gunicorn's timeout may be 0, for none.
_SILENCE: Final = 30


def _configuration(server: Any) -> Config:
    """What the process is to know: of Gunicorn's settings and of the environment, as the workers read them."""
    cfg = server.cfg
    values = resolve(
        {"app": getattr(server.app, "app_uri", None) or server.proc_name}, os.environ, Path.cwd()
    ).values
    names = ("admin", "metrics", "metrics_dir", "log_level", "log_format", "use_colors")
    options = {name: values[name] for name in names}
    return Config(values["app"], timeout_worker_healthcheck=cfg.timeout or _SILENCE, environ={}, **options)


class Admin:
    """The admin listener of one arbiter; nothing, where none is asked for."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._listeners: list[Listener] = []
        self._process: AdminProcess | None = None
        self._folder: Folder | None = None
        self._config = _configuration(server)

    def open(self) -> None:
        """Open the listener, and the folder of the count files, of which the workers learn by the environment. Raises UserError."""
        if self._config.admin is None and not self._config.metrics:
            return
        self._folder = directory(self._config.metrics_dir)
        os.environ["PRONGHORN_METRICS_DIR"] = str(self._folder.path)
        if self._config.metrics:
            os.environ[VARIABLE] = str(self._folder.path)
        self._config = replace(self._config, metrics_dir=str(self._folder.path))
        self._listeners = listen_admin(self._config)

    def see_to(self) -> None:
        """Start the process, unless it is there."""
        if not self._listeners or self._lives():
            return
        try:
            self._process = start_admin(
                self._config, [listener.sock.fileno() for listener in self._listeners], now=time.monotonic()
            )
        except (OSError, UserError) as exc:
            self._server.log.error("Cannot start the admin process: %s", exc)  # noqa: TRY400  # one line
            return
        for listener in self._listeners:
            self._server.log.info("Admin listener on %s", describe(listener, tls=False))

    def _lives(self) -> bool:
        if self._process is None:
            return False
        self._process.channel.receive()
        with suppress(ChildProcessError):  # Gunicorn has reaped it
            if os.waitpid(self._process.pid, os.WNOHANG) == (0, 0):
                return True
        self._server.log.error("The admin process [%d] died", self._process.pid)
        self._process.channel.close()
        self._process = None
        return False

    def forget(self) -> None:
        """In a worker, which has no part in this."""
        if self._process is not None:
            self._process.channel.close()
        for listener in self._listeners:
            listener.sock.close()

    def close(self) -> None:
        """The end: the workers are gone, and nothing is left to be told."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._process.pid, 0)
            self._process.channel.close()
        for listener in self._listeners:
            listener.close()
        if self._folder is not None:
            self._folder.close()


def on_starting(server: Any) -> None:
    """Before anything is started. A listener that cannot be had is one line, and the end."""
    admin = Admin(server)
    try:
        admin.open()
    except UserError as exc:
        server.log.error("%s", exc)  # noqa: TRY400  # one line
        if server.pidfile is not None:
            server.pidfile.unlink()
        raise SystemExit(exc.exit_code) from None
    setattr(server, _NAME, admin)


def see_to(server: Any) -> None:
    """When the arbiter is ready, and before each worker."""
    getattr(server, _NAME).see_to()


def forget(server: Any) -> None:
    """In a worker."""
    getattr(server, _NAME).forget()


def on_exit(server: Any) -> None:
    """When the last worker is gone."""
    admin = getattr(server, _NAME, None)
    if admin is not None:
        admin.close()
