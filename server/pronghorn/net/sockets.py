"""Listening sockets: TCP, Unix, and inherited descriptors.

Everything that can go wrong goes wrong here, before an application is told to start, and says which
option to change. The sockets come back bound, listening, non-blocking and not inheritable.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from pronghorn.errors import StartupError

if TYPE_CHECKING:
    from pronghorn.net.unix_socket import SocketFile

# With port 0 the kernel picks a port for the first address, and the others follow; it may be taken there.
_SAME_PORT_ATTEMPTS = 5


class AlreadyListening(socket.socket):
    """A listening socket that keeps its backlog, whatever the loop thinks that it should be."""

    def listen(self, backlog: int = 0, /) -> None:
        """It does."""


@dataclass(slots=True)
class Listener:
    """One listening socket, and what is known about where it came from.

    ``address`` is for people: ``127.0.0.1:8000``, ``[::1]:8000`` or a path. ``name`` is what a service manager calls it.
    """

    sock: socket.socket
    kind: Literal["tcp", "unix", "fd"]
    address: str
    file: SocketFile | None = None
    name: str = ""

    @property
    def unix(self) -> bool:
        """Whether it is a Unix socket, wherever it came from."""
        return self.sock.family == getattr(socket, "AF_UNIX", None)

    def withdraw(self) -> None:
        """Remove the socket file if it is ours, so that nobody new comes; who is in the backlog is still accepted."""
        file, self.file = self.file, None
        if file is not None:
            file.remove()

    def close(self) -> None:
        """Stop listening; remove the socket file if it is ours. An inherited socket has none."""
        self.withdraw()
        self.sock.close()


def open_listeners(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | None = None,
    backlog: int = 2048,
    uds_mode: int | None = None,
    uds_group: str | None = None,
    reuse_port: bool = False,
    environ: MutableMapping[str, str] | None = None,
) -> list[Listener]:
    """Open what the options ask for; ``fd`` goes before ``uds``, ``uds`` before ``host`` and ``port``.

    A host name gives one listener for each of its addresses; an empty host means all interfaces. A Unix
    socket gets mode 0o666, as Uvicorn gives it, unless ``uds_mode`` says otherwise; with ``uds_group``
    alone it gets 0o660, since a group would mean nothing if everybody could connect. With ``reuse_port``
    other sockets, of other processes too, may listen on the same address: see ``beside``.

    Sockets that a service manager passes to this process are told of in ``environ`` (see ``activation``), and
    go before all but ``fd``, by which one of them can be chosen.

    Raises ``StartupError``, naming the option and the way out.
    """
    if environ is not None and "LISTEN_FDS" in environ:
        from pronghorn.net import activation  # noqa: PLC0415  # not for those who open their own

        passed = activation.take(environ)
        if passed and fd is None:
            return activation.adopted(passed, backlog)
    if fd is not None:
        listener = adopt(fd, backlog)
        os.set_inheritable(fd, False)  # what the application starts has no business with it
        return [listener]
    if uds is not None:
        # Imported here because it needs fcntl and grp, and Windows, which has neither, can serve TCP.
        from pronghorn.net import unix_socket  # noqa: PLC0415

        sock, file = unix_socket.listen(uds, backlog=backlog, mode=uds_mode, group=uds_group)
        sock.setblocking(False)
        return [Listener(sock, "unix", uds, file)]
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise StartupError("this system has no SO_REUSEPORT", option="--reuse-port")
    return _open_tcp(host, port, backlog, reuse_port)


def beside(listeners: Sequence[Listener], backlog: int) -> list[Listener]:
    """Listeners of their own on the addresses of these, which were opened with ``reuse_port``, for one more process.

    The kernel gives each of them its part of the connections, so that no process is woken in vain and none
    gets many more than the others. Who waits in the backlog of one is lost when that one is closed: keep them
    open for as long as there may be a successor. Of a listener that was passed in, whose address may be nobody's
    to bind again, it is the same socket once more.

    Raises ``StartupError`` as ``open_listeners`` does.
    """
    opened: list[Listener] = []
    try:
        for listener in listeners:
            if listener.kind != "tcp":
                opened.append(
                    Listener(listener.sock.dup(), listener.kind, listener.address, name=listener.name)
                )
                continue
            sockaddr = listener.sock.getsockname()
            try:
                sock = _listen_tcp(listener.sock.family, sockaddr, backlog, reuse_port=True)
            except OSError as exc:
                _tcp_failed(exc, listener.address, reuse_port=True)
            opened.append(Listener(sock, "tcp", listener.address))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def describe(listener: Listener, tls: bool) -> str:
    """Say where a listener can be reached, as the "running on" line shows it."""
    if listener.kind == "tcp":
        return f"{'https' if tls else 'http'}://{listener.address}"
    if listener.name:
        return f"socket {listener.name} at {listener.address}"
    return f"{'unix socket' if listener.kind == 'unix' else 'socket'} {listener.address}"


# --- TCP -----------------------------------------------------------------------------------------------------


def _open_tcp(host: str, port: int, backlog: int, reuse_port: bool) -> list[Listener]:
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    # As bytes where that is the same: for text, any text, Python imports the codec of international names.
    target = name.encode("ascii") if name.isascii() else name
    try:
        found = socket.getaddrinfo(target or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError, OverflowError) as exc:
        raise StartupError(
            f"cannot resolve {host!r}: {getattr(exc, 'strerror', None) or exc}",
            option="--host",
            hint="Give an address of this machine, such as 127.0.0.1, 0.0.0.0 or ::1",
        ) from exc
    addresses = list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))
    for attempt in range(_SAME_PORT_ATTEMPTS):
        try:
            return _bind_all(addresses, port, backlog, reuse_port)
        except _PickedPortTakenError as exc:
            if attempt == _SAME_PORT_ATTEMPTS - 1:
                _tcp_failed(exc.cause, exc.address, reuse_port)
    raise AssertionError("unreachable")  # pragma: no cover


class _PickedPortTakenError(Exception):
    def __init__(self, cause: OSError, address: str) -> None:
        super().__init__(address)
        self.cause = cause
        self.address = address


def _bind_all(
    addresses: Sequence[tuple[int, tuple[object, ...]]], port: int, backlog: int, reuse_port: bool
) -> list[Listener]:
    listeners: list[Listener] = []
    absent: tuple[OSError, str] | None = None
    chosen = port
    try:
        for family, sockaddr in addresses:
            target = (sockaddr[0], chosen, *sockaddr[2:])
            try:
                sock = _listen_tcp(family, target, backlog, reuse_port)
            except OSError as exc:
                address = _display(target)
                if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    # "localhost" names ::1 on machines that have no IPv6; one address of a name is enough.
                    absent = absent or (exc, address)
                    continue
                if exc.errno == errno.EADDRINUSE and port == 0 and listeners:
                    raise _PickedPortTakenError(exc, address) from exc
                _tcp_failed(exc, address, reuse_port)
            chosen = sock.getsockname()[1]
            listeners.append(Listener(sock, "tcp", _display(sock.getsockname())))
        if not listeners and absent is not None:
            _tcp_failed(*absent, reuse_port)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_tcp(family: int, sockaddr: tuple[object, ...], backlog: int, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart must not wait for the last run's connections to leave TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Else ``::`` would also take the IPv4 port, and clash with the 0.0.0.0 of the same name.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _tcp_failed(exc: OSError, address: str, reuse_port: bool) -> NoReturn:
    option, message, hint = "--host", f"cannot listen on {address}: {exc.strerror}", None
    if exc.errno == errno.EADDRINUSE:
        option, message = "--port", f"{address} is already in use"
        hint = "Stop the other server, or choose another port; --port 0 picks a free one"
        if reuse_port:
            hint += ". To share it, the other one needs --reuse-port too, and the same user"
    elif exc.errno in (errno.EACCES, errno.EPERM):
        option, message = "--port", f"not allowed to listen on {address}"
        hint = (
            "Low ports need privileges (CAP_NET_BIND_SERVICE); choose a port above 1023, or use --fd or --uds"
        )
    elif exc.errno == errno.EADDRNOTAVAIL:
        message = f"{address} is not an address of this machine"
        hint = "Use 0.0.0.0 or :: to listen on every interface"
    elif exc.errno == errno.EAFNOSUPPORT:
        message = f"this machine cannot use {address}: {exc.strerror}"
    raise StartupError(message, option=option, hint=hint) from exc


def _display(sockaddr: tuple[object, ...]) -> str:
    host, port = sockaddr[0], sockaddr[1]
    return f"[{host}]:{port}" if len(sockaddr) == 4 else f"{host}:{port}"


# --- inherited -----------------------------------------------------------------------------------------------


def adopt(fd: int, backlog: int, *, option: str | None = "--fd", called: str | None = None) -> Listener:
    """Listen on a duplicate of an inherited descriptor; its family comes from the socket, never from us.

    ``option`` and ``called`` are for the error: the option that named the descriptor, and what to call it.
    """
    called = called or f"descriptor {fd}"
    try:
        duplicate = os.dup(fd)
    except OSError as exc:
        hint = "The parent must leave it open; systemd passes 3 and up"
        raise StartupError(f"{called} is not open", option=option, hint=hint) from exc
    try:
        sock = socket.socket(fileno=duplicate)
    except OSError as exc:
        os.close(duplicate)
        raise StartupError(f"{called} is not a socket", option=option) from exc
    try:
        fault = _fault_of(sock, backlog)
        if fault is not None:
            what, hint = fault
            raise StartupError(f"{called} {what}", option=option, hint=hint or None)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        address = (
            name.decode(errors="backslashreplace").replace("\0", "@") if isinstance(name, bytes) else name
        )
    else:
        address = _display(name)
    return Listener(sock, "fd", address)


def _fault_of(sock: socket.socket, backlog: int) -> tuple[str, str] | None:
    """What keeps this socket from being listened on, and a hint; it listens if that is nothing."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return f"is a socket of another family, {sock.family!r}", ""
    if sock.type != socket.SOCK_STREAM:
        return "is not a stream socket", "In a systemd unit it is ListenStream="
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None  # Its backlog is the business of whoever made it listen.
    name = sock.getsockname()
    if not name or (sock.family != socket.AF_UNIX and name[1] == 0):
        # listen() would succeed, on a port that nobody knows.
        return "is a socket that is not bound", ""
    try:
        sock.listen(backlog)
    except OSError:
        return "is a connection, not a listening socket", "In a systemd unit it is Accept=no"
    return None
