"""Where the load goes: how a user of any kind connects there, and what has to be there before any of them starts."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from loadtest.settings import LoadTestError, Settings

#: Seconds until a connection, or silence on one, is given up: longer than nginx waits for the application.
PATIENCE = 70.0

#: What a scenario cannot be without: a path, and what its answer shows to be the right application.
NEEDED = {
    "browse": "/api/products",
    "uploads": "/uploads",
    "downloads": "/files/catalogue.bin",
    "streaming": "/reports/sales.csv",
    "sse": "/events",
    "chat": "/chat",
    "slow": "/uploads",
}

#: The application that has all of it.
APPLICATION = "examples/shop"


@dataclass(frozen=True)
class Target:
    """One deployment, by its base URL. `insecure`: any certificate is taken."""

    url: str
    insecure: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Target:
        """The one that the settings name."""
        return cls(settings.url, settings.insecure)

    @property
    def secure(self) -> bool:
        """Whether it is spoken to in TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """Without brackets, where it is an IPv6 address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """As it is written, or the scheme's."""
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def authority(self) -> str:
        """What belongs into the field Host."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What certificates are checked with."""
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def path(self, path: str) -> str:
        """Below the path of the base URL, if that has one."""
        return f"{urlsplit(self.url).path}{path}"

    def websocket_url(self, path: str) -> str:
        """The same place for a WebSocket."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path(path)}"

    def connection(self, timeout: float = PATIENCE) -> http.client.HTTPConnection:
        """A connection of HTTP/1.1, not yet open; its `read1` gives the pieces of a stream as they come."""
        if self.secure:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def socket(self, timeout: float = PATIENCE, receive_buffer: int = 0) -> socket.socket:
        """An open connection for whoever writes and reads bytes. A small `receive_buffer` makes a slow reader felt at the other end."""
        family, kind, protocol, _, address = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        )[0]
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(timeout)
            if receive_buffer:
                # Before it connects, or the window is already told.
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.connect(address)
            return self.tls.wrap_socket(plain, server_hostname=self.host) if self.secure else plain
        except BaseException:
            plain.close()
            raise


def require(target: Target, scenarios: tuple[str, ...]) -> None:
    """Asks once for what the scenarios need. Raises `LoadTestError`: it is not reached, or is another application."""
    try:
        connection = target.connection(timeout=15)
        connection.request("GET", target.path("/api"), headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(65_536)
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise LoadTestError(f"{target.url} is not reached: {_reason(error)}") from error
    if location := answer.getheader("Location"):
        raise LoadTestError(f"{target.url} leads to {location}: give that as the URL")
    try:
        paths = json.loads(body)["paths"] if answer.status == 200 else []
        missing = [NEEDED[name] for name in scenarios if NEEDED[name] not in paths]
    except (ValueError, LookupError, TypeError):
        missing = [NEEDED[name] for name in scenarios]
    if missing:
        raise LoadTestError(
            f"{target.url} has no {', '.join(dict.fromkeys(missing))} ({answer.status} for /api): "
            f"the scenarios are for {APPLICATION}, start that: make up APP={APPLICATION}"
        )


def _reason(error: Exception) -> str:
    """In the words of the system, without numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}; LOADTEST_INSECURE=1 takes any certificate"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
