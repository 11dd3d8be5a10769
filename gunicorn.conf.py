"""Gunicorn with Pronghorn's workers, for production: `gunicorn main:app` in a folder with this file, or with `-c gunicorn.conf.py`.

Each setting has its reason here, and its value from the environment, under the names that the command `pronghorn` reads: what is set
for the one holds for the other. docs/gunicorn.md explains what every setting of Gunicorn does with these workers. An
application that has a gunicorn.conf.py of its own, in its folder in the image, is served with that one instead.
"""

import gc
import math
import os
from collections.abc import Callable
from typing import Any

from pronghorn import gunicorn_admin
from pronghorn.supervise.cpus import available

_YES = {"1", "true", "yes", "on"}


def _setting(name: str, default: Any) -> Any:
    """PRONGHORN_<name>, or UVICORN_<name>; one that is empty counts as not set, as `${NAME:-}` leaves it in compose files."""
    return os.environ.get(f"PRONGHORN_{name}") or os.environ.get(f"UVICORN_{name}") or default


def _number(name: str, default: Any, read: Callable[[str], int]) -> int:
    value = str(_setting(name, default))
    try:
        return read(value)
    except ValueError:
        raise SystemExit(f"gunicorn.conf.py: {value!r} is no number (PRONGHORN_{name})") from None


def _whole(name: str, default: Any) -> int:
    """Gunicorn counts whole seconds; 0 would mean none at all, so a part of one is one."""
    return _number(name, default, lambda text: math.ceil(float(text)))


# ---- What is served, and where --------------------------------------------------------------------------------------

# Only where the command line names no application.
wsgi_app = _setting("APP", None)

# A Unix socket where nginx is the neighbour: no port to guard, and nginx alone may connect. Else loopback, never every interface
# by accident.
_uds, _host = _setting("UDS", None), _setting("HOST", "127.0.0.1")
_port = _setting("PORT", os.environ.get("PORT") or "8000")
bind = f"unix:{_uds}" if _uds else f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"

# Gunicorn gives a Unix socket its permissions by its umask: 660, the group's and nobody else's, is 117.
umask = 0o777 & ~_number("UDS_MODE", "660", lambda text: int(text, 8))

# Connections that wait while every worker is busy, or while the last one is replaced. The kernel's net.core.somaxconn caps it.
backlog = _whole("BACKLOG", 2048)

# ---- Workers --------------------------------------------------------------------------------------------------------

worker_class = "pronghorn.workers.PronghornWorker"

# As many as can run at a time, which in a container is its CPU quota and not the machine's number of processors. Not 2 n + 1: that
# is for workers that wait for their databases, and an event loop does something else meanwhile.
_concurrency = os.environ.get("WEB_CONCURRENCY") or "auto"
workers = available() if _setting("WORKERS", _concurrency) == "auto" else _whole("WORKERS", _concurrency)

# Off: a HUP brings new code only where each worker imports it. On, the workers share the memory of what was imported.
preload_app = _setting("PRELOAD", "false").lower() in _YES

# Against leaks that nobody has found yet: a worker is replaced after so many requests, and the jitter keeps two from going together.
max_requests = _whole("LIMIT_MAX_REQUESTS", 10_000)
max_requests_jitter = _whole("LIMIT_MAX_REQUESTS_JITTER", max_requests // 10)

# The heartbeat is a file whose time is set. On a disk that is busy, setting it can take longer than `timeout`; this is memory.
worker_tmp_dir = next((folder for folder in ("/dev/shm", "/run/shm") if os.access(folder, os.W_OK)), None)  # noqa: S108

# ---- Time -----------------------------------------------------------------------------------------------------------

# How long an event loop may stand still. Not how long a request may take: the heartbeat comes from the loop, whatever it serves.
timeout = _whole("TIMEOUT_WORKER_HEALTHCHECK", 30)

# Requests may finish for this long when a worker is stopped. Shorter than the grace period of whoever stops Gunicorn.
graceful_timeout = _whole("TIMEOUT_GRACEFUL_SHUTDOWN", 30)

# Longer than the 60 s that nginx keeps an idle connection to us, or every so often a request meets a closing one: a 502.
keepalive = _whole("TIMEOUT_KEEP_ALIVE", 75)

# ---- What a request may be ------------------------------------------------------------------------------------------

# As the command has them; Gunicorn's own limit of the line is 4094, which RFC 9112 (section 3) thinks is short.
limit_request_line = _whole("LIMIT_REQUEST_LINE", 8190)
limit_request_fields = _whole("LIMIT_REQUEST_HEADERS", 100)

# Whose X-Forwarded-For counts. Peers on a Unix socket are believed in any case, as Gunicorn does it: only nginx can connect there.
_trusted = _setting("FORWARDED_ALLOW_IPS", os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1")
forwarded_allow_ips = ",".join(peer for peer in _trusted.split(",") if peer.strip() != "unix:")

# TLS, for where no proxy does it.
certfile = _setting("SSL_CERTFILE", None)
keyfile = _setting("SSL_KEYFILE", None)

# ---- Logs -----------------------------------------------------------------------------------------------------------

# Streams, since whoever runs the container or the unit collects them. `-` is stdout for requests, stderr for the rest.
accesslog = "-" if _setting("ACCESS_LOG", "true").lower() in _YES else None
errorlog = "-"
_level = _setting("LOG_LEVEL", "info").lower()
loglevel = "debug" if _level == "trace" else _level  # Gunicorn has no trace

# JSON, one object a line and with the names that nginx' lines have; the same as fields of systemd's journal; or text, which people read.
_format = _setting("LOG_FORMAT", "json")
if _format == "json":
    logger_class = "pronghorn.workers.JsonLogger"
elif _format == "journal":
    logger_class = "pronghorn.workers.JournalLogger"
else:
    access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(D)sµs'

# ---- Odds and ends --------------------------------------------------------------------------------------------------

# Who it is in a list of processes, with setproctitle installed.
proc_name = "pronghorn"

# A second way in, over a socket in the home folder. Signals do the same, and a container has no home folder.
control_socket_disable = True


# ---- Hooks ----------------------------------------------------------------------------------------------------------


def on_starting(server: Any) -> None:
    """PRONGHORN_ADMIN: the listener for health, metrics and the status page; its process is started when Gunicorn is ready."""
    gunicorn_admin.on_starting(server)


def pre_fork(server: Any, worker: Any) -> None:  # noqa: ARG001  # Gunicorn looks at the names
    """Should that process have died, there is another one by the time that a worker starts."""
    gunicorn_admin.see_to(server)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001  # the same
    """It is the arbiter's, and the worker has no part in it."""
    gunicorn_admin.forget(server)


def on_exit(server: Any) -> None:
    """The workers are gone: nobody is left to be told of."""
    gunicorn_admin.on_exit(server)


def when_ready(server: Any) -> None:
    """With `preload_app`: what was imported is never collected, so the collector does not touch its pages and they stay shared."""
    if server.cfg.preload_app:
        gc.collect()
        gc.freeze()
    gunicorn_admin.see_to(server)
    server.log.info("Ready: %d workers, %s", server.num_workers, server.cfg.bind)


def worker_int(worker: Any) -> None:
    """SIGINT or SIGQUIT: what was under way is given up."""
    worker.log.warning("Worker (pid:%s) was told to go at once", worker.pid)


def worker_abort(worker: Any) -> None:
    """SIGABRT: it was silent for `timeout` seconds. Where it stood is in the line before this one."""
    worker.log.error(
        "Worker (pid:%s) is replaced, it was silent for longer than %d s", worker.pid, worker.cfg.timeout
    )


def child_exit(server: Any, worker: Any) -> None:
    """In the arbiter, when a worker is gone; if it was a signal or an error, Gunicorn has said which in the line before."""
    server.log.info(
        "Worker (pid:%s) has ended%s", worker.pid, ", its loop was blocked" if worker.aborted else ""
    )
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        # Of an application that counts in several processes: gauges of the one that is gone count no more.
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  # needs the variable

        mark_process_dead(worker.pid)
