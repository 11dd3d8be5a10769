"""What forwarding headers say, read strictly: ``Forwarded`` (RFC 7239) and the values of ``X-Forwarded-*``.

All of it comes from outside, so every reader here takes what it understands whole and nothing else, in linear time.

A list is cut at its commas and read from the right, where the trusted end is. RFC 7239 also allows a comma inside a quoted
string, which no address, scheme or host has; an element with one is taken for malformed. That makes the cut safe: a
client that opens a quote in the part of the list that it writes cannot swallow what a proxy appends.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

#: Host, port (0 if none is told) and what the host is as an address.
Hop = tuple[str, int, IPv4Address | IPv6Address]

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*"'
# RFC 7239, section 4. The grammar allows pairs that are empty; spaces it has none, and some proxies write them.
_PAIR: Final = re.compile(rb"[ \t]*(?:(%b)=(%b|%b))?[ \t]*" % (_TOKEN, _TOKEN, _QUOTED)).match
_ESCAPED: Final = re.compile(rb"\\(.)")
# Section 6.3: a port that its proxy wants to hide.
_HIDDEN_PORT: Final = re.compile(rb":_[A-Za-z0-9._\-]+").search
# RFC 3986, section 3.2, without userinfo and never empty.
_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~]+)(?::([0-9]{1,5}))?").fullmatch
# Segments of a path, none of them empty: with "//example.com" every redirect would lead to another site.
_PREFIX: Final = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+;=:@]+)+").fullmatch


def last(value: bytes) -> bytes:
    """The last item of a list, which is the peer's own; what stands before it came from further away."""
    return value.rpartition(b",")[2].strip(b" \t")


def element(raw: bytes) -> dict[bytes, bytes] | None:
    """The parameters of one element of ``Forwarded``, names in lower case, values unquoted; None if malformed."""
    found: dict[bytes, bytes] = {}
    position = 0
    while (pair := _PAIR(raw, position)) is not None:
        name, value = pair[1], pair[2]
        if name is not None:
            name = name.lower()
            if name in found:  # Section 4: "Each parameter MUST NOT occur more than once per field-value."
                return None
            found[name] = _ESCAPED.sub(rb"\1", value[1:-1]) if value[:1] == b'"' else value
        position = pair.end()
        if position == len(raw):
            return found
        if raw[position] != 0x3B:  # semicolon
            return None
        position += 1
    return None


def node(raw: bytes) -> Hop | None:
    """The hop that ``for=`` names; None for ``unknown`` and for identifiers that hide it (section 6)."""
    hidden = _HIDDEN_PORT(raw)
    return hop(raw if hidden is None else raw[: hidden.start()])


def hop(raw: bytes) -> Hop | None:
    """Read ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; None for all else."""
    if not raw.isascii():
        return None
    host, port = raw.decode("ascii"), ""
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
        return (host, number, unmapped(ip_address(host))) if number < 65536 else None
    except ValueError:
        return None


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Take ``::ffff:192.0.2.1``, which a dual-stack socket says, for the 192.0.2.1 it means."""
    return getattr(address, "ipv4_mapped", None) or address


def authority(host: bytes, port: bytes | None, *, tls: bool) -> bytes | None:
    """The Host field for a host and the port that goes before the one in it; None if there is no sense in them.

    The port that is the scheme's own is left out when it is told apart, as clients leave it out.
    """
    match = _AUTHORITY(host)
    if match is None or not _is_port(match[2]) or not _is_port(port):
        return None
    if port is None:
        return host
    number = int(port)
    return match[1] if number == (443 if tls else 80) else b"%b:%d" % (match[1], number)


def prefix(value: bytes) -> bytes | None:
    """The path below which the proxy has the application, without a slash at its end; None if it is no such path."""
    value = value.removesuffix(b"/")
    if _PREFIX(value) is None or not {b".", b".."}.isdisjoint(value.split(b"/")):
        return None
    return value


def _is_port(value: bytes | None) -> bool:
    return value is None or (value.isdigit() and len(value) <= 5 and 0 < int(value) < 65536)
