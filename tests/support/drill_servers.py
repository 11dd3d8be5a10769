"""Who is drilled, as data: how each is started with two workers, what a drill needs besides, and what it cannot do."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKERS = 2

#: A worker with more memory than this is to be replaced (MiB); the drill of that makes one leak twice as much.
MEMORY_LIMIT = 200

#: Seconds a worker may be silent, where that can be set: short, for the drills' own sake.
SILENCE = 2


@dataclass(frozen=True, slots=True)
class Server:
    """A command line: {python}, a Path, {port} or {socket}, and {app} are filled in.

    `options` are more words for one drill, `lacks` says why there is none. `farewell` is what the old supervisor is sent
    after an upgrade; None goes by itself. `ended` are the exit statuses after SIGTERM that its documentation promises.
    """

    name: str
    command: str
    options: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    #: Where the contract is not expected to be kept, and why.
    breaks: Mapping[str, str] = field(default_factory=dict)
    farewell: signal.Signals | None = None
    ended: tuple[int, ...] = (0, -signal.SIGTERM)
    #: Whether what it writes is ours to answer for: no traceback is in it.
    ours: bool = False
    preload: str = ""

    @property
    def unix(self) -> bool:
        """Whether it is drilled on a Unix socket."""
        return "{socket}" in self.command

    def words(
        self, python: Path, address: tuple[str, int] | Path, drill: str = "", app: str = "drill_app:app"
    ) -> list[str]:
        """The command as a list."""
        split = shlex.split(f"{self.command} {self.options.get(drill, '')}")
        where = {"socket": address} if isinstance(address, Path) else {"port": address[1]}
        return [word.format(python=python, app=app, **where) for word in split]


def _pronghorn(name: str, more: str = "", *, where: str = "--port {port}", **fields: Any) -> Server:
    return Server(
        name,
        f"{{python}} -m pronghorn {{app}} {where} --workers {WORKERS} --no-access-log "
        f"--timeout-worker-healthcheck {SILENCE} {more}",
        options={
            "requests": "--limit-max-requests 300 --limit-max-requests-jitter 100",
            "memory": f"--limit-worker-memory {MEMORY_LIMIT}M",
        },
        ended=(-signal.SIGTERM,),
        ours=True,
        preload="--preload",
        **fields,
    )


def _gunicorn(name: str, worker: str, *, ours: bool = False) -> Server:
    return Server(
        name,
        f"{{python.parent}}/gunicorn {{app}} --bind 127.0.0.1:{{port}} --workers {WORKERS} --worker-class {worker} "
        f"--timeout {SILENCE} --keep-alive 5 --log-level info --no-control-socket",
        options={"requests": "--max-requests 300 --max-requests-jitter 100"},
        lacks={"memory": "no limit for the memory of a worker"},
        breaks={
            "hup-broken": "Gunicorn tells the old workers to go before the new ones serve, and ends if these do not start"
        },
        # What its documentation has the operator do: the old one goes on until it is told to leave.
        farewell=signal.SIGTERM,
        ended=(0,),
        ours=ours,
        preload="--preload",
    )


#: Those who stand beside each other in a table.
COMPARED = ("pronghorn", "gunicorn+pronghorn", "gunicorn+uvicorn", "uvicorn", "granian")

SERVERS = {
    server.name: server
    for server in (
        _pronghorn("pronghorn"),
        _pronghorn("pronghorn-reuse-port", "--reuse-port"),
        _pronghorn("pronghorn-preload", "--preload"),
        _pronghorn(
            "pronghorn-unix",
            where="--uds {socket}",
            lacks=dict.fromkeys(
                ("kill", "block", "spin"), "the kernel does not tell whose a connection to a Unix socket is"
            ),
        ),
        _gunicorn("gunicorn+pronghorn", "pronghorn.workers.PronghornWorker", ours=True),
        _gunicorn("gunicorn+uvicorn", "uvicorn.workers.UvicornWorker"),
        Server(
            "uvicorn",
            f"{{python}} -m uvicorn {{app}} --port {{port}} --workers {WORKERS} --no-access-log "
            f"--timeout-worker-healthcheck {SILENCE}",
            options={"requests": "--limit-max-requests 300 --limit-max-requests-jitter 100"},
            lacks={
                "upgrade": "no SIGUSR2",
                "upgrade-broken": "no SIGUSR2",
                "memory": "no limit for the memory of a worker",
            },
        ),
        Server(
            "granian",
            f"{{python}} -m granian --interface asgi {{app}} --port {{port}} --workers {WORKERS} --loop uvloop "
            "--respawn-failed-workers",
            options={"memory": f"--workers-max-rss {MEMORY_LIMIT} --rss-sample-interval 1"},
            lacks={
                "resize": "no SIGTTIN and SIGTTOU",
                "upgrade": "no SIGUSR2",
                "upgrade-broken": "no SIGUSR2",
                "requests": "no limit for the requests of a worker",
            },
        ),
    )
}
