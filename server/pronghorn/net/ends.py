"""The two ends of a connection, by the names that a scope has for them."""

import asyncio
import socket
import ssl
from typing import Any, NamedTuple

from pronghorn.types import Address

from . import tls_extension


class Ends(NamedTuple):
    """`client` is None and `server` ``(path, None)`` over a Unix socket; `tls` is the extension's value, None in clear text."""

    client: tuple[str, int] | None
    server: Address
    unix: bool
    tls: dict[str, Any] | None


def ends_of(transport: asyncio.Transport) -> Ends:
    """What the transport knows of both."""
    connection: socket.socket = transport.get_extra_info("socket")
    unix = connection.family == getattr(socket, "AF_UNIX", None)
    peer, name = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    tls: ssl.SSLContext | None = transport.get_extra_info("sslcontext")
    return Ends(
        client=None if unix or not peer else (str(peer[0]), int(peer[1])),
        server=(_path(name), None) if unix else (str(name[0]), int(name[1])),
        unix=unix,
        tls=None if tls is None else tls_extension.describe(transport.get_extra_info("ssl_object")),
    )


def _path(name: Any) -> str:
    """The path of a Unix socket; one in the abstract namespace is written with a leading ``@``, as ss(8) does."""
    if isinstance(name, bytes):
        text = name.lstrip(b"\0").decode("utf-8", "replace")
        return "@" + text if name[:1] == b"\0" else text
    return str(name)
