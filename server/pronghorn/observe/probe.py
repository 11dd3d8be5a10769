"""What `pronghorn healthcheck` does: ask a server for its health.

It needs no curl in the image and follows no proxy settings. Apart from the endpoint that it asks, because a server
would import an HTTP client for nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl

from pronghorn.observe.escape import one_line

# What a wildcard address listens on cannot be connected to everywhere; its loopback can.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}


def probe(
    *, host: str, port: int, uds: str | None, path: str, timeout: float, tls: bool = False
) -> tuple[bool, str]:
    """Ask a server for its health: whether it answered 200, and one line that says so or why not.

    ``uds`` goes before ``host`` and ``port``; a wildcard host is asked on its loopback. ``timeout`` is in seconds, for
    the connection and for each read. A certificate is not verified: the probe talks to its own machine, and the
    certificate names another.
    """
    connection: http.client.HTTPConnection
    if uds is not None:
        connection = _UnixConnection(uds, timeout, tls)
        where = f"unix socket {uds}"
    else:
        name = _LOOPBACK.get(host, host)
        if tls:
            connection = http.client.HTTPSConnection(name, port, timeout=timeout, context=_unverified())
        else:
            connection = http.client.HTTPConnection(name, port, timeout=timeout)
        where = f"{'https' if tls else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"
    try:
        connection.request(
            "GET", path, headers={"User-Agent": "pronghorn-healthcheck", "Connection": "close"}
        )
        response = connection.getresponse()
        body = response.read(80).decode("utf-8", "replace").strip()
    except TimeoutError:
        return False, one_line(f"unhealthy: {where} did not answer within {timeout:g} s")
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        return False, one_line(f"unhealthy: {where}: {reason}")
    finally:
        connection.close()
    healthy = response.status == 200
    answer = f"{response.status} {body}".rstrip()
    return healthy, one_line(f"{'healthy' if healthy else 'unhealthy'}: {where} answered {answer} to {path}")


def certificate(*, host: str, port: int, uds: str | None, timeout: float) -> bytes:
    """The certificate, as DER, that a server shows at that address, whether it is good or not. Raises OSError for no handshake."""
    with contextlib.ExitStack() as stack:
        if uds is None:
            plain = stack.enter_context(socket.create_connection((_LOOPBACK.get(host, host), port), timeout))
        else:
            plain = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            plain.settimeout(timeout)
            plain.connect(uds)
        encrypted = stack.enter_context(_unverified().wrap_socket(plain, server_hostname="localhost"))
        return encrypted.getpeercert(binary_form=True) or b""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float, tls: bool) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._tls = tls

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        if self._tls:
            self.sock = _unverified().wrap_socket(self.sock, server_hostname="localhost")


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
