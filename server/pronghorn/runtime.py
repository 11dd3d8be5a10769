"""From a configuration to the things it names: logging, the imported application, the parser, the loop, TLS.

`load` is the only step between a `Config`, which is plain values, and the `Runtime` that a worker runs on. Whatever can
be wrong with what the values name is found here, before a request could meet it.
"""

import asyncio
import importlib.util
import logging
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pronghorn.config import Config
from pronghorn.errors import UsageError
from pronghorn.importer import import_app, import_string, interface_of
from pronghorn.middleware.asgi2 import ASGI2Middleware
from pronghorn.middleware.proxy_headers import TrustedProxies
from pronghorn.net.deadlines import Deadlines
from pronghorn.net.http2 import Http2
from pronghorn.net.service import NoTrust, Trust
from pronghorn.net.tls import create_context
from pronghorn.net.tls_reload import ReloadingTls
from pronghorn.net.ws_settings import MakeCodec, WebSockets
from pronghorn.observe import everything, logs
from pronghorn.types import ASGIApplication
from pronghorn.wire.headers import DefaultHeaders
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import HttpParser, Inbound

SERVER_NAME = b"pronghorn"

_FACTORY = "--ssl-context-factory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What one worker runs on. `tls` is None for clear text, `websockets` and `http2` where nobody speaks their protocol."""

    app: ASGIApplication
    parser: Callable[[Inbound], HttpParser]
    websockets: WebSockets | None
    http2: Http2 | None
    defaults: DefaultHeaders
    trust: Trust
    tls: ReloadingTls | None


def load(config: Config) -> Runtime:
    """Set up logging and make everything that `config` names. To be called inside the running loop.

    Raises `UsageError` or `StartupError`, naming the option.
    """
    logs.configure(**config.logging)
    return Runtime(
        tls=_tls(config),
        app=_application(config),
        parser=_parser(config),
        websockets=_websockets(config),
        http2=_http2(config),
        defaults=DefaultHeaders(
            server=SERVER_NAME if config.server_header else None,
            date=config.date_header,
            extra=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in config.headers],
        ),
        trust=_trust(config),
    )


def loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    """How to make the event loop of ``--loop``. Raises `UsageError` if it is not installed."""
    loop = config.loop
    if callable(loop):
        return loop
    if loop == "auto":
        loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    if loop == "uvloop":
        try:
            import uvloop  # noqa: PLC0415  # optional, and slow to import for those who do not use it
        except ImportError:
            raise UsageError(
                "uvloop is not installed", option="--loop", hint="Install it, or use asyncio"
            ) from None
        return uvloop.new_event_loop
    if loop == "asyncio":
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = _imported(loop, "--loop", config.app_dir)
    return factory


def _application(config: Config) -> ASGIApplication:
    app = import_app(config.app, factory=config.factory, app_dir=config.app_dir)
    everything.retake()
    interface = interface_of(app) if config.interface == "auto" else config.interface
    if interface == "asgi2":
        return ASGI2Middleware(app)
    if interface == "wsgi":
        try:
            from pronghorn.middleware.wsgi import WSGIMiddleware  # noqa: PLC0415  # a2wsgi is an extra
        except ImportError:
            raise UsageError(
                "a WSGI application needs a2wsgi, which is not installed",
                option="--interface",
                hint="Install pronghorn[wsgi]",
            ) from None
        return WSGIMiddleware(app, config.wsgi_threads)
    return app


def _trust(config: Config) -> Trust:
    if not config.proxy_headers:
        return NoTrust()
    try:
        return TrustedProxies(
            config.forwarded_allow_ips, headers=config.forwarded_headers, hops=config.forwarded_hops
        )
    except ValueError as exc:
        raise UsageError(str(exc), option="--forwarded-allow-ips") from None


def _limits(config: Config) -> RequestLimits:
    return RequestLimits(
        line=config.limit_request_line,
        fields=config.limit_request_headers,
        field_bytes=config.limit_request_header_bytes,
        body=config.limit_request_body,
    )


def _parser(config: Config) -> Callable[[Inbound], HttpParser]:
    limits = _limits(config)
    http = config.http
    if http not in ("auto", "httptools", "h11"):
        make: Callable[[Inbound, RequestLimits], HttpParser] = (
            http if callable(http) else _imported(http, "--http", config.app_dir)
        )
        return lambda inbound: make(inbound, limits)
    return own_parser(limits, http, config.h11_max_incomplete_event_size)


def own_parser(
    limits: RequestLimits, http: str | Callable[..., Any] = "auto", incomplete: int | None = None
) -> Callable[[Inbound], HttpParser]:
    """One of our own parsers. `incomplete` is how many bytes of a head that is not complete h11 may hold."""
    if http == "auto":
        http = "httptools" if importlib.util.find_spec("httptools") else "h11"
    if http == "h11":
        from pronghorn.wire.h1_h11 import H11Parser  # noqa: PLC0415  # only for those who use it

        return lambda inbound: H11Parser(inbound, limits, incomplete)
    try:
        from pronghorn.wire.h1_httptools import HttptoolsParser  # noqa: PLC0415  # optional
    except ImportError:
        raise UsageError(
            "httptools is not installed", option="--http", hint="Install it, or use h11"
        ) from None
    return lambda inbound: HttptoolsParser(inbound, limits)


def _websockets(config: Config) -> WebSockets | None:
    if config.ws == "none" or config.interface == "wsgi":
        return None
    return WebSockets(
        codec=_codec(config),
        # One more than that is what zlib is asked for at most.
        max_size=min(config.ws_max_size, sys.maxsize - 1),
        max_queue=config.ws_max_queue,
        ping_ticks=Deadlines.ticks(config.ws_ping_interval) if config.ws_ping_interval else None,
        pong_ticks=Deadlines.ticks(config.ws_ping_timeout) if config.ws_ping_timeout else None,
        compress=config.ws_per_message_deflate,
        origins=frozenset(origin.encode("ascii") for origin in config.ws_origins) or None,
    )


def _http2(config: Config) -> Http2 | None:
    """HTTP/2 if it is asked for; and if it is left to us, over TLS, where the client can choose."""
    if not _speaks_http2(config):
        return None
    return Http2(
        limits=_limits(config),
        clear=bool(config.http2),
        max_concurrent_streams=config.h2_max_concurrent_streams,
        max_frame_size=config.h2_max_inbound_frame_size,
        initial_window=config.h2_initial_window,
        connection_window=config.h2_connection_window,
        ping_ticks=Deadlines.ticks(config.h2_ping_interval) if config.h2_ping_interval else None,
    )


def _speaks_http2(config: Config) -> bool:
    if config.http2 is False:
        return False
    installed = importlib.util.find_spec("h2") is not None
    if config.http2 and not installed:
        raise UsageError("h2 is not installed", option="--http2", hint="Install pronghorn[http2]")
    return installed


def _codec(config: Config) -> Callable[[], MakeCodec] | None:
    """What makes the codec; that what it needs is there is found out now, and imported when it is needed."""
    ws = config.ws
    installed = [name for name in ("websockets", "wsproto") if importlib.util.find_spec(name)]
    if ws == "auto":
        if not installed:
            return None
        ws = installed[0]
    if ws == "websockets-sansio":
        ws = "websockets"
    if ws == "websockets" or ws == "wsproto":  # noqa: PLR1714  # it may be a function
        if ws not in installed:
            hint = "Install pronghorn[wsproto]" if ws == "wsproto" else "Install it, or use wsproto"
            raise UsageError(f"{ws} is not installed", option="--ws", hint=hint)
        return _websockets_codec if ws == "websockets" else _wsproto_codec
    make: MakeCodec = ws if callable(ws) else _imported(ws, "--ws", config.app_dir)
    return lambda: make


def _websockets_codec() -> MakeCodec:
    from pronghorn.wire.ws_websockets import WebsocketsCodec  # noqa: PLC0415  # optional, and slow to import

    return WebsocketsCodec


def _wsproto_codec() -> MakeCodec:
    from pronghorn.wire.ws_wsproto import WsprotoCodec  # noqa: PLC0415  # optional

    return WsprotoCodec


def _imported(name: str, option: str, app_dir: str | None) -> Any:
    found = import_string(name, app_dir=app_dir)
    if not callable(found):
        raise UsageError(f"{name} is not callable", option=option)
    return found


def _tls(config: Config) -> ReloadingTls | None:
    factory = config.ssl_context_factory
    if config.ssl_certfile is None and factory is None:
        return None
    make: Callable[[], ssl.SSLContext] = partial(
        create_context,
        certfile=config.ssl_certfile,
        keyfile=config.ssl_keyfile,
        password=config.ssl_keyfile_password,
        version=config.ssl_version,
        min_version=config.ssl_min_version,
        cert_reqs=config.ssl_cert_reqs,
        ca_certs=config.ssl_ca_certs,
        ciphers=config.ssl_ciphers,
        alpn=("h2", "http/1.1") if _speaks_http2(config) else ("http/1.1",),
    )
    if factory is not None:
        function = factory if callable(factory) else _imported(factory, _FACTORY, config.app_dir)
        make = partial(_made_by, function, config, make)
    files = [
        file for file in (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs) if file is not None
    ]
    return ReloadingTls(make, files, logging.getLogger("pronghorn.error"))


def _made_by(
    factory: Callable[..., Any], config: Config, usual: Callable[[], ssl.SSLContext]
) -> ssl.SSLContext:
    context = factory(config, usual)
    if not isinstance(context, ssl.SSLContext):
        raise UsageError(f"it returned {type(context).__name__}, not a context", option=_FACTORY)
    return context
