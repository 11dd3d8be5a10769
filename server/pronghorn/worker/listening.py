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
#: Most connections that are taken in one turn of the loop besides the one that the loop takes itself.
_NEWCOMERS = 32


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
    factory: Callable[[], asyncio.BaseProtocol] = functools.partial(
        _protocol(service, clear=tls is None), service
    )
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
    if tls is None:
        # Of a handshake that fails nobody but the loop's own server makes little.
        factory = Newcomers(service, listener.sock, factory)
    return await create(
        factory,
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


class Newcomers:
    """Makes what the loop asks for when it has accepted a connection, and takes in some of those that wait behind it.

    libuv accepts one connection in a turn of the loop, and so does asyncio where `accept` tells it to. In a turn every open connection
    may have a request served: the busier a server is, the longer its turns, and the longer somebody waits who has to be accepted first. Under
    constant overload that was seconds for newcomers, beside milliseconds for those who were in. Here as many more are let in
    as requests were served since the one before, so that nobody is favoured. A server that has little to do takes one at a time, and leaves
    the rest of a burst to the other processes that listen on the same socket.
    """

    def __init__(
        self, service: Service, listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._service = service
        self._listening = listening
        self._protocol = protocol
        self._requests = 0
        self._opening: set[asyncio.Task[object]] = set()

    def __call__(self) -> asyncio.BaseProtocol:
        service = self._service
        served, self._requests = service.requests - self._requests, service.requests
        for _ in range(min(served, _NEWCOMERS)):
            try:
                sock, _ = self._listening.accept()
            except OSError:
                # Nobody is left; or we are out of descriptors, which the loop finds out by itself.
                break
            sock.setblocking(False)
            opening = service.loop.create_task(service.loop.connect_accepted_socket(self._protocol, sock))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return self._protocol()
