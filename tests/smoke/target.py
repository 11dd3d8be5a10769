"""A deployment as its clients see it: one base URL, sockets to it, and what the caller knows of the application behind."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from tests.support.http_client import Client

#: Seconds for whatever a deployment is asked.
PATIENCE = 30.0


@dataclass(frozen=True)
class Target:
    """What SMOKE_* variables say; scripts/smoke sets them. Paths are of the application, None where it has no such thing."""

    url: str
    health: str | None
    websocket: str | None
    stream: str | None
    plain: str | None
    hsts: bool
    admin: str | None
    version: str | None
    insecure: bool

    @classmethod
    def from_environ(cls) -> Target:
        """The target of this run."""
        named = {name: os.environ.get(f"SMOKE_{name.upper()}") or None for name in cls.__annotations__}
        url = named["url"]
        assert url, "SMOKE_URL is not set: run scripts/smoke URL"
        return cls(
            url=url.rstrip("/"),
            health=named["health"],
            websocket=named["websocket"],
            stream=named["stream"],
            plain=named["plain"],
            hsts=named["hsts"] is not None,
            admin=named["admin"],
            version=named["version"],
            insecure=named["insecure"] is not None,
        )

    @property
    def tls(self) -> bool:
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def authority(self) -> str:
        """The value of Host."""
        return urlsplit(self.url).netloc

    def context(self) -> ssl.SSLContext:
        """How a careful client speaks TLS with it; without a look at the certificate where the caller said so."""
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def client(self) -> httpx.Client:
        """A client that keeps connections, follows nothing, and believes no proxy of this machine."""
        return httpx.Client(
            base_url=self.url, timeout=PATIENCE, verify=self.context() if self.tls else True, trust_env=False
        )

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """A connection for bytes of the test's own."""
        with socket.create_connection((self.host, self.port), PATIENCE) as plain:
            if not self.tls:
                yield Client(plain)
                return
            with self.context().wrap_socket(plain, server_hostname=self.host) as encrypted:
                yield Client(encrypted)
