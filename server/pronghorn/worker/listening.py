"""What a configuration listens on: opened, for a server that is one process and for a supervisor of many, and accepted from."""

import asyncio
import functools
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence

from pronghorn.config import Config
from pronghorn.errors import StartupError
from pronghorn.net.h1_connection import H1Connection
from pronghorn.net.service import Service
from pronghorn.net.sockets import AlreadyListening, Listener, adopt, open_listeners

#: Who may use the admin listener's Unix socket: our user and group. What the public one is open to by default is not for it.
_ADMIN_MODE = 0o660
#: Whoever asks there asks every few seconds.
ADMIN_BACKLOG = 64


def listen(
    config: Config,
    sockets: Sequence[socket.socket] | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> list[Listener]:
    """Listeners on `sockets`, which stay the caller's; without any, what a service manager passes or the options say.

    Raises `StartupError`.
    """
    if sockets:
        return [adopt(sock.fileno(), config.backlog) for sock in sockets]
    return open_listeners(
        host=config.host,
        port=config.port,
        uds=config.uds,
        fd=config.fd,
        backlog=config.backlog,
        uds_mode=config.uds_mode,
        uds_group=config.uds_group,
        reuse_port=config.reuse_port,
        environ=environ,
    )


def listen_admin(config: Config) -> list[Listener]:
    """The listeners of ``--admin``; none without it. Raises `StartupError`."""
    if config.admin is None:
        return []
    host, port, uds = config.admin
    try:
        return open_listeners(
            host=host, port=port, uds=uds or None, uds_mode=_ADMIN_MODE, backlog=ADMIN_BACKLOG
        )
    except StartupError as exc:
        # What it says of --host, --port and --uds is meant for the public listener.
        raise StartupError(
            exc.message, option="--admin", hint="Give it another address, or stop what is there"
        ) from exc


async def accept(
    listener: Listener,
    service: Service,
    *,
    backlog: int,
    tls: ssl.SSLContext | None = None,
    handshake: float | None = None,
) -> asyncio.Server:
    """Accept connections for `service`. `handshake` is how many seconds one of TLS may take."""
    loop = asyncio.get_running_loop()
    # The loops want to know the family beforehand; the descriptor is the one to ask.
    create: Callable[..., Awaitable[asyncio.Server]] = loop.create_server
    if listener.unix:
        create = loop.create_unix_server
        if sys.version_info >= (3, 13):
            # From then on the loops remove the file when the server closes, an inherited one as well.
            create = functools.partial(create, cleanup_socket=False)
    if isinstance(loop, asyncio.SelectorEventLoop):
        # What asyncio calls backlog is also how often it tries to accept in one turn, and it goes on trying when it is
        # out of descriptors: with a traceback for each of 2048 attempts, each second. One a turn is enough.
        listener.sock, backlog = AlreadyListening(fileno=listener.sock.detach()), 1
    return await create(
        functools.partial(_protocol(service, clear=tls is None), service),
        sock=listener.sock,
        ssl=tls,
        # Before a TLS handshake is done there is no connection that could have a deadline of its own.
        ssl_handshake_timeout=None if tls is None else handshake,
        backlog=backlog,
    )


def _protocol(service: Service, *, clear: bool) -> Callable[[Service], asyncio.BaseProtocol]:
    """What a new connection begins with: where it can only be HTTP/1.1, with that."""
    if service.http2 is None or (clear and not service.http2.clear):
        return H1Connection  # type: ignore[return-value]  # its methods are what counts
    from pronghorn.net.first_bytes import FirstBytes  # noqa: PLC0415  # the library is optional

    return FirstBytes  # type: ignore[return-value]  # as above
