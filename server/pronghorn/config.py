"""Every option, declared once.

Names are Uvicorn's where Uvicorn has the option. The order within a group is the order of `--help` and of the reference page.
A `Config` that exists is valid: each value has been read by its kind, and those that depend on each other agree. What the
command line, the environment and pyproject.toml say is put together in `sources`; a program makes its `Config` here.
"""

# ruff: noqa: RUF009  # Group.option() is a field specifier, as dataclasses.field is, and makes a fresh field each time

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

from pronghorn import kinds, web_kinds
from pronghorn.agreement import check_together
from pronghorn.declare import Option, declared
from pronghorn.headings import (
    APPLICATION,
    BINDING,
    DEVELOPMENT,
    HTTP2,
    LIMITS,
    LOGGING,
    OBSERVABILITY,
    PROXY,
    TLS,
    WEBSOCKETS,
    WORKERS,
)


@dataclass(frozen=True, slots=True, eq=False)
class Config:
    """How to serve one application. Immutable; everything but `app` is given by keyword.

    `app` is "module:attribute" or the application itself. None for any option means its default. `environ` is where
    `env_file` loads into and where WEB_CONCURRENCY and FORWARDED_ALLOW_IPS are looked up: `os.environ` unless given.
    `workers` and whatever else needs a supervisor are for `pronghorn.run` and the command: `Server.serve()` is always one process,
    this one.

    Raises UsageError, naming the parameter, for a value that cannot be used.
    """

    app: str | Callable[..., Any] = APPLICATION.option(
        kinds.ImportedApp(), flag="", help="The application to serve: module:attribute, such as main:app."
    )
    _: KW_ONLY

    # Connection & binding
    host: str = BINDING.option(
        kinds.Text(),
        default="127.0.0.1",
        help="Listen on this host name or address. 0.0.0.0 or :: is every interface.",
    )
    port: int = BINDING.option(
        kinds.Whole(0, 65535),
        default=8000,
        help="Listen on this port. 0 takes a free one, which the log tells.",
    )
    uds: str | None = BINDING.option(
        kinds.SocketPath(), help="Listen on a Unix socket at this path instead of on a host and port."
    )
    uds_mode: int | None = BINDING.option(
        kinds.FileMode(),
        default_text="666, as Uvicorn",
        help="Permissions of the Unix socket, in octal, set before it can be reached.",
    )
    uds_group: str | None = BINDING.option(
        kinds.Text(metavar="GROUP"),
        help="Group of the Unix socket, by name or number, set before it can be reached.",
    )
    fd: int | None = BINDING.option(
        kinds.Whole(0),
        help="Listen on the socket that is open as this file descriptor; its family is its own.",
    )

    reuse_port: bool = BINDING.option(
        kinds.Flag(),
        default=False,
        help="Give each worker process a socket of its own on the port (SO_REUSEPORT): the kernel spreads connections evenly.",
    )

    # Workers & concurrency
    workers: int | str = WORKERS.option(
        kinds.Processes(),
        default=1,
        ambient="WEB_CONCURRENCY",
        default_text="$WEB_CONCURRENCY or 1",
        help="How many worker processes. auto is as many as there are processors for us: the CPU quota of the container counts.",
    )
    supervise: bool = WORKERS.option(
        kinds.Flag(),
        default=False,
        help="Run under a supervisor even if there is but one worker process, so that it is replaced when it fails.",
    )
    preload: bool = WORKERS.option(
        kinds.Flag(),
        default=False,
        help="Import the application once and fork the worker processes from that, which saves memory.",
    )
    loop: str | Callable[..., Any] = WORKERS.option(
        kinds.Choice(("auto", "asyncio", "uvloop"), attribute=True),
        default="auto",
        help="Event loop. auto is uvloop where it is installed.",
    )
    http: str | Callable[..., Any] = WORKERS.option(
        kinds.Choice(("auto", "h11", "httptools"), attribute=True),
        default="auto",
        help="HTTP/1.1 parser. auto is httptools where it is installed.",
    )
    http2: bool | None = WORKERS.option(
        kinds.Flag(),
        default_text="over TLS, where h2 is installed",
        help="Speak HTTP/2 too, over TLS and in clear text. Needs h2.",
    )
    ws: str | Callable[..., Any] = WORKERS.option(
        kinds.Choice(("auto", "none", "websockets", "websockets-sansio", "wsproto"), attribute=True),
        default="auto",
        help="WebSocket codec. auto is websockets where it is installed, or else wsproto; websockets-sansio is websockets.",
    )
    limit_concurrency: int | None = WORKERS.option(
        kinds.Whole(1, metavar="COUNT"),
        help="Serve this many requests at a time and refuse the next with 503.",
    )
    backlog: int = WORKERS.option(
        kinds.Whole(0, 2**31 - 1, metavar="COUNT"),
        default=2048,
        help="How many connections may wait to be accepted.",
    )

    # Development
    reload: bool = DEVELOPMENT.option(kinds.Flag(), default=False, help="Restart when a source file changes.")
    reload_dirs: list[str] = DEVELOPMENT.option(
        kinds.Words(metavar="PATH"),
        default=[],
        flag="--reload-dir",
        default_text="current folder",
        help="Watch this folder. May be repeated.",
    )
    reload_includes: list[str] = DEVELOPMENT.option(
        kinds.Words(metavar="GLOB"),
        default=["*.py"],
        flag="--reload-include",
        help="Watch files of this pattern. May be repeated.",
    )
    reload_excludes: list[str] = DEVELOPMENT.option(
        kinds.Words(metavar="GLOB"),
        default=[],
        flag="--reload-exclude",
        help="Do not watch files of this pattern. May be repeated.",
    )
    reload_delay: int | float = DEVELOPMENT.option(
        kinds.Seconds(), default=0.25, help="Seconds between a change and the restart."
    )

    # Logging
    log_level: str | int = LOGGING.option(
        kinds.LogLevel(("critical", "error", "warning", "info", "debug", "trace")),
        default="info",
        help="The least severe message to log.",
    )
    log_config: str | dict[str, Any] | None = LOGGING.option(
        kinds.LogConfig(),
        default=kinds.LogConfig.OWN,
        nullable=True,
        help="Logging configuration: a .json, .yaml or .ini file as logging.config takes it. None in code leaves logging alone.",
    )
    log_format: str = LOGGING.option(
        kinds.Choice(("auto", "text", "json", "journal")),
        default="auto",
        help="How lines are written without --log-config. auto is text, or JSON where the application's root logger writes that. journal is JSON, and records with fields where systemd's journal reads.",
    )
    access_log: bool = LOGGING.option(kinds.Flag(), default=True, help="Log each request.")
    request_id: bool = LOGGING.option(
        kinds.Flag(),
        default=True,
        help="Give each request an id, a trusted peer's or one of its own: in its headers, its log records and its response.",
    )
    use_colors: bool | None = LOGGING.option(
        kinds.Flag(), default_text="on a terminal", help="Colour the level names."
    )

    # Observability
    admin: web_kinds.Address | None = OBSERVABILITY.option(
        web_kinds.AdminAddress(),
        help="Answer /livez, /readyz, /metrics, /workers and a status page here, and never where the application is: host:port, :port of this machine alone, or unix:PATH.",
    )
    metrics: bool = OBSERVABILITY.option(
        kinds.Flag(),
        default_text="with --admin or --metrics-dir",
        help="Count requests, connections and more, for /metrics of the admin listener.",
    )
    metrics_dir: str | None = OBSERVABILITY.option(
        kinds.FolderPath(),
        ambient="PROMETHEUS_MULTIPROC_DIR",
        default_text="$PROMETHEUS_MULTIPROC_DIR or a new one in memory",
        help="Where the numbers of all processes are kept, prometheus-client's too. What an earlier server has left there is removed.",
    )
    health_path: str | None = OBSERVABILITY.option(
        web_kinds.UrlPath(),
        help="The server itself answers this path beside the application: 200 when ready, 503 while it starts or stops.",
    )

    # Timeouts & limits
    timeout_keep_alive: int | float = LIMITS.option(
        kinds.Seconds(), default=5, help="Seconds an idle connection is kept for its next request."
    )
    timeout_header: int | float = LIMITS.option(
        kinds.Seconds(zero=False),
        default=30,
        help="Seconds a request's head may take to arrive, from its first byte; a TLS handshake gets as many.",
    )
    timeout_body: int | float = LIMITS.option(
        kinds.Seconds(zero=False),
        default=60,
        help="Seconds a request's body may pause between two pieces, or a client in reading a response.",
    )
    min_client_rate: int = LIMITS.option(
        kinds.Whole(0, metavar="BYTES"),
        default=100,
        help="Least bytes a second, over each --timeout-body, of a body that comes or a response that is read. 0 is any rate.",
    )
    timeout_graceful_shutdown: int | float | None = LIMITS.option(
        kinds.Seconds(),
        default_text="no limit",
        help="Seconds that requests in progress get to finish at shutdown.",
    )
    drain_delay: int | float = LIMITS.option(
        kinds.Seconds(),
        default=0,
        help="Seconds to serve on after SIGTERM, not ready any more, before the shutdown begins.",
    )
    timeout_notify: int | float = LIMITS.option(
        kinds.Seconds(zero=False),
        default=30,
        help="Seconds between two heartbeats of a worker process.",
    )
    timeout_worker_healthcheck: int | float = LIMITS.option(
        kinds.Seconds(zero=False),
        default=5,
        help="Seconds a worker process may stay silent before it is replaced.",
    )
    limit_request_line: int = LIMITS.option(
        kinds.Whole(1, metavar="BYTES"),
        default=8190,
        help="Longest request line in bytes; a longer one is answered 414.",
    )
    limit_request_headers: int = LIMITS.option(
        kinds.Whole(1, metavar="COUNT"),
        default=100,
        help="Most header fields of a request; more are answered 431.",
    )
    limit_request_header_bytes: int = LIMITS.option(
        kinds.Whole(1, metavar="BYTES"),
        default=65536,
        help="Most bytes of all header fields together; more are answered 431.",
    )
    limit_request_body: int | None = LIMITS.option(
        kinds.Whole(0, metavar="BYTES"),
        default_text="no limit",
        help="Largest request body in bytes; a larger one is answered 413.",
    )
    h11_max_incomplete_event_size: int | None = LIMITS.option(
        kinds.Whole(1, metavar="BYTES"),
        help="Most bytes of a request head that the h11 parser holds while the rest is still to come.",
    )
    limit_max_requests: int | None = LIMITS.option(
        kinds.Whole(1, metavar="COUNT"), help="Stop the process after this many requests."
    )
    limit_max_requests_jitter: int = LIMITS.option(
        kinds.Whole(0, metavar="COUNT"),
        default=0,
        help="Up to this many more, at random, so that processes do not all stop together.",
    )
    limit_worker_memory: int | None = LIMITS.option(
        kinds.Size(),
        help="Replace a worker process whose resident memory is over this, such as 512M; a new one is ready first.",
    )
    limit_worker_lifetime: int | float | None = LIMITS.option(
        kinds.Seconds(zero=False),
        help="Replace a worker process after this many seconds; a new one is ready first.",
    )
    limit_worker_lifetime_jitter: int | float = LIMITS.option(
        kinds.Seconds(),
        default=0,
        help="Up to this many seconds more, at random, so that machines started together do not all do so together.",
    )

    # Application
    interface: str = APPLICATION.option(
        kinds.Choice(("auto", "asgi3", "asgi2", "wsgi")),
        default="auto",
        help="What the application speaks. auto tells asgi3 and asgi2 apart; WSGI has to be said, and needs a2wsgi.",
    )
    wsgi_threads: int = APPLICATION.option(
        kinds.Whole(1, metavar="COUNT"),
        default=10,
        help="How many requests a WSGI application works on at a time, each on a thread of its own.",
    )
    send_after_disconnect: str = APPLICATION.option(
        kinds.Choice(("raise", "ignore")),
        default="raise",
        help="What send() does once the client is gone: raise an OSError, or nothing.",
    )
    early_hints: str = APPLICATION.option(
        kinds.Choice(("auto", "on", "off")),
        default="auto",
        help="Whether applications may send 103. auto: not over Unix sockets, nor with forwarding headers; Nginx before 1.29 fails at it.",
    )
    factory: bool = APPLICATION.option(
        kinds.Flag(),
        default=False,
        help="APP is a function that is called once, without arguments, and returns the application.",
    )
    app_dir: str | None = APPLICATION.option(
        kinds.File(folder=True),
        default_text="current folder",
        help="Look for APP's module in this folder first.",
    )
    env_file: str | None = APPLICATION.option(
        kinds.File(),
        help="Load this .env file into the application's environment; what is set already stays. Needs python-dotenv.",
    )
    lifespan: str = APPLICATION.option(
        kinds.Choice(("auto", "on", "off")),
        default="auto",
        help="Startup and shutdown events. on: an application that fails them does not start.",
    )
    root_path: str = APPLICATION.option(
        kinds.Text(metavar="PATH"),
        default="",
        help="The ASGI root_path, for an application mounted below a URL path.",
    )
    reset_contextvars: bool = APPLICATION.option(
        kinds.Flag(),
        default=False,
        help="Accepted for Uvicorn's sake: here each request has a contextvars context of its own in any case.",
    )

    # Headers & proxies
    proxy_headers: bool = PROXY.option(
        kinds.Flag(),
        default=True,
        help="Take client address, scheme and more from the forwarding headers of trusted peers.",
    )
    forwarded_allow_ips: str = PROXY.option(
        web_kinds.Addresses(),
        default="127.0.0.1,::1",
        ambient="FORWARDED_ALLOW_IPS",
        default_text="$FORWARDED_ALLOW_IPS or 127.0.0.1,::1",
        help="Trusted peers: addresses and networks with commas between; unix: is any Unix socket peer, * is everyone.",
    )
    forwarded_headers: str = PROXY.option(
        web_kinds.ForwardedHeaders(),
        default="x-forwarded-for,x-forwarded-proto",
        help="Which of their headers count: forwarded, x-forwarded-for, -proto, -host, -port and -prefix, with commas between.",
    )
    forwarded_hops: int | None = PROXY.option(
        kinds.Whole(1, metavar="COUNT"),
        default_text="no limit",
        help="How many proxies there are at most: the client's address is looked for among that many, counted from the right.",
    )
    headers: list[tuple[str, str]] = PROXY.option(
        web_kinds.Headers(),
        default=[],
        flag="--header",
        help="Add this header to every response. May be repeated.",
    )
    server_header: bool = PROXY.option(kinds.Flag(), default=True, help="Send a Server header.")
    date_header: bool = PROXY.option(kinds.Flag(), default=True, help="Send a Date header.")

    # HTTP/2
    h2_max_concurrent_streams: int = HTTP2.option(
        kinds.Whole(1, 2**31 - 1, metavar="COUNT"),
        default=100,
        help="Requests that one connection may have open at a time.",
    )
    h2_max_inbound_frame_size: int = HTTP2.option(
        kinds.Whole(16384, 2**24 - 1, metavar="BYTES"),
        default=16384,
        help="Largest payload of a frame that a client may send.",
    )
    h2_initial_window: int = HTTP2.option(
        kinds.Whole(65535, 2**31 - 1, metavar="BYTES"),
        default=262144,
        help="Bytes of one request's body that a client may send ahead of the application.",
    )
    h2_connection_window: int = HTTP2.option(
        kinds.Whole(65535, 2**31 - 1, metavar="BYTES"),
        default=1048576,
        help="The same for all requests of a connection together, and so the memory that their bodies may take.",
    )
    h2_ping_interval: int | float | None = HTTP2.option(
        kinds.Seconds(),
        default=0,
        nullable=True,
        help="Seconds of a client's silence after which it is asked for a sign of life. 0, or None in code, is never.",
    )

    # WebSocket
    ws_max_size: int = WEBSOCKETS.option(
        kinds.Whole(1, metavar="BYTES"),
        default=16777216,
        help="Largest message in bytes, as it is when it is not compressed; a larger one closes the connection with 1009.",
    )
    ws_max_queue: int = WEBSOCKETS.option(
        kinds.Whole(1, metavar="COUNT"),
        default=32,
        help="Most messages held for an application that does not take them; at 64 KiB of them it is fewer. Then the client waits.",
    )
    ws_ping_interval: int | float | None = WEBSOCKETS.option(
        kinds.Seconds(),
        default=20,
        nullable=True,
        help="Seconds between two pings. 0, or None in code, is no pings.",
    )
    ws_ping_timeout: int | float | None = WEBSOCKETS.option(
        kinds.Seconds(),
        default=20,
        nullable=True,
        help="Seconds a ping may stay without an answer, and then the client is gone. 0, or None in code, is any time.",
    )
    ws_per_message_deflate: bool = WEBSOCKETS.option(
        kinds.Flag(), default=True, valued=True, help="Compress messages for clients that offer it."
    )
    ws_origins: list[str] = WEBSOCKETS.option(
        web_kinds.Origins(),
        default=[],
        default_text="any",
        help="Origins of the pages that may open a WebSocket, with commas between; others get 403. May be repeated.",
    )

    # TLS
    ssl_keyfile: str | None = TLS.option(
        kinds.File(), help="Private key, PEM. Without it the key is looked for in --ssl-certfile."
    )
    ssl_certfile: str | None = TLS.option(
        kinds.File(), help="Certificate and its chain, PEM. With it the server speaks TLS."
    )
    ssl_keyfile_password: str | None = TLS.option(
        kinds.Text(),
        secret=True,
        help="Password of the private key. Rather in a variable than on the command line, which others can see.",
    )
    ssl_version: int = TLS.option(
        kinds.Whole(0),
        default=17,  # ssl.PROTOCOL_TLS_SERVER
        help="A number of Python's ssl module, for Uvicorn's sake. 17: TLS 1.2 or later; 772: TLS 1.3 alone.",
    )
    ssl_min_version: str | None = TLS.option(
        kinds.TlsVersion(), default_text="1.2", help="The oldest version of TLS that is spoken."
    )
    ssl_cert_reqs: int = TLS.option(
        kinds.Whole(0, 2),
        default=0,  # ssl.CERT_NONE
        help="Client certificates: 0 none, 1 optional, 2 required.",
    )
    ssl_ca_certs: str | None = TLS.option(
        kinds.File(), help="Authorities that client certificates must come from, PEM."
    )
    ssl_ciphers: str | None = TLS.option(
        kinds.Text(),
        default_text="OpenSSL's own",
        help="Ciphers of TLS 1.2 in OpenSSL's notation. It does not set a minimum version.",
    )

    ssl_context_factory: str | Callable[..., Any] | None = TLS.option(
        kinds.Reference(),
        help="Makes the TLS context itself: called with the configuration and a function that makes the usual one.",
    )

    environ: InitVar[MutableMapping[str, str] | None] = None

    def __post_init__(self, environ: MutableMapping[str, str] | None) -> None:
        """Read each value by its kind, then look at those that depend on each other."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        if self.env_file is not None:
            from pronghorn.env_file import load_env_file  # noqa: PLC0415  # few have one

            load_env_file(OPTIONS["env_file"].read_code(self.env_file), environ)
        for name, told in OPTIONS.items():
            value = getattr(self, name)
            if value is None and told.ambient and environ.get(told.ambient):
                value = told.read_ambient(environ[told.ambient])
            values[name] = value = told.read_code(value)
            object.__setattr__(self, name, value)
        if not (isinstance(self.app, str) or callable(self.app)):
            raise OPTIONS["app"].fault("there is no application to serve", source=None, code=True)
        check_together(values, OPTIONS, code=True)
        if values["metrics"] is None:
            readable = self.admin is not None or self.metrics_dir is not None
            object.__setattr__(self, "metrics", readable)

    @property
    def logging(self) -> dict[str, Any]:
        """The options that `observe.logs.configure` takes, under its names."""
        return {
            "level": self.log_level,
            "fmt": self.log_format,
            "log_config": self.log_config,
            "use_colors": self.use_colors,
            "access_log": self.access_log,
        }

    # By hand: what a dataclass compiles for so many fields at each start takes longer than the rest of this module.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in OPTIONS)

    __hash__ = None  # type: ignore[assignment]  # some values are lists


OPTIONS: Mapping[str, Option] = declared(Config)
"""Every declared option by name, `app` first."""
