"""Who the client is when the peer is a proxy: ``X-Forwarded-For`` and ``X-Forwarded-Proto``.

Anyone can send these headers, so they count only when the peer itself is trusted. ``X-Forwarded-For`` grows
to the right, one address a hop: the last was written by the peer, the one before it by whoever the peer
heard it from. So it is read from the right, for as long as the hops are trusted; the first one that is not is
the client, and what stands left of it may be forged. An entry that is no address ends the walk, because
nothing left of it can be vouched for; the last good one is then the client. For the same reason the last
value of ``X-Forwarded-Proto`` is the one that counts.

The server decides trust once a connection (``trusts``) and rewrites each scope (``apply``);
``ProxyHeadersMiddleware`` does the same around an application, under any server.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pronghorn.types import ASGIApplication, Receive, Scope, Send

_HTTP_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_WS_SCHEMES = {b"http": "ws", b"https": "wss", b"ws": "ws", b"wss": "wss"}

# Values up to this size are looked up rather than parsed again: room for three or four hops, and no client
# can make the cache hold more than a few hundred kilobytes.
_CACHED_SIZE, _CACHED_VALUES = 96, 1024


class TrustedProxies:
    """A set of trusted peers: addresses, networks, ``unix:`` for every Unix peer, ``*`` for everyone."""

    def __init__(self, spec: str | Iterable[str]) -> None:
        """Take a list, or one string separated by commas; empty trusts nobody.

        Raises ``ValueError`` for an entry that is none of the above, naming it.
        """
        entries = spec.split(",") if isinstance(spec, str) else spec
        self._spec = tuple(entry.strip() for entry in entries if entry.strip())
        self._everyone = "*" in self._spec
        self._unix = self._everyone or "unix:" in self._spec
        self._addresses: set[IPv4Address | IPv6Address] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in self._spec:
            if entry in ("*", "unix:"):
                continue
            try:
                if "/" in entry:
                    self._networks.append(ip_network(entry))
                else:
                    self._addresses.add(_unmapped(ip_address(entry)))
            except ValueError as exc:
                raise ValueError(
                    f"{entry!r} is not an address, a network such as 10.0.0.0/8, 'unix:' or '*' ({exc})"
                ) from None
        self._client_of = functools.lru_cache(_CACHED_VALUES)(self._walk)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({','.join(self._spec)!r})"

    def trusts(self, client: tuple[str, int] | None, *, unix: bool) -> bool:
        """Whether a peer's forwarding headers count: its address, or that it came over a Unix socket."""
        if unix or self._everyone:
            return self._unix
        if client is None:
            return False
        try:
            return self._contains(_unmapped(ip_address(client[0])))
        except ValueError:
            return False

    def apply(self, scope: Scope) -> None:
        """Rewrite ``client`` and ``scheme`` of an http or websocket scope whose peer is trusted.

        The port of ``client`` is 0 where the header gives none, as nearly all do.
        """
        addresses = proto = None
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                # Several lines are one list (RFC 9110 section 5.3).
                addresses = value if addresses is None else addresses + b"," + value
            elif name == b"x-forwarded-proto":
                proto = value
        if addresses is not None:
            walk = self._client_of if len(addresses) <= _CACHED_SIZE else self._walk
            client = walk(addresses)
            if client is not None:
                scope["client"] = client
        if proto is not None:
            schemes = _WS_SCHEMES if scope["type"] == "websocket" else _HTTP_SCHEMES
            scheme = schemes.get(proto) or schemes.get(proto.rpartition(b",")[2].strip().lower())
            if scheme is not None:
                scope["scheme"] = scheme

    def _walk(self, value: bytes) -> tuple[str, int] | None:
        client: tuple[str, int] | None = None
        for entry in reversed(value.split(b",")):
            hop = _parse(entry.strip(b" \t"))
            if hop is None:
                break
            host, port, address = hop
            client = (host, port)
            if not (self._everyone or self._contains(address)):
                break
        return client

    def _contains(self, address: IPv4Address | IPv6Address) -> bool:
        return address in self._addresses or any(address in network for network in self._networks)


class ProxyHeadersMiddleware:
    """The same for an application under any server: ``ProxyHeadersMiddleware(app, "10.0.0.0/8")``.

    A scope without a client is taken for a Unix peer's, as the ASGI servers that listen on one make it.
    """

    def __init__(self, app: ASGIApplication, trusted_hosts: str | Iterable[str] = "127.0.0.1,::1") -> None:
        self.app = app
        self.trusted = TrustedProxies(trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with a rewritten copy of the scope, or with the scope itself."""
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            if self.trusted.trusts(client, unix=client is None):
                scope = dict(scope)
                self.trusted.apply(scope)
        await self.app(scope, receive, send)


def _parse(entry: bytes) -> tuple[str, int, IPv4Address | IPv6Address] | None:
    """Read ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; None for all else."""
    if not entry.isascii():
        return None
    host, port = entry.decode("ascii"), ""
    if host.startswith("["):
        host, closed, port = host[1:].partition("]")
        if not closed or (port and not port.startswith(":")) or ":" not in host:
            return None
        port = port[1:]
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if not port:
            return None
    # A zone ("fe80::1%eth0") means nothing to another machine, and ipaddress takes any character in one.
    if "%" in host or (port and not (port.isdecimal() and len(port) <= 5)):
        return None
    number = int(port or 0)
    try:
        return (host, number, _unmapped(ip_address(host))) if number < 65536 else None
    except ValueError:
        return None


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Take ``::ffff:192.0.2.1``, which a dual-stack socket says, for the 192.0.2.1 it means."""
    return getattr(address, "ipv4_mapped", None) or address
