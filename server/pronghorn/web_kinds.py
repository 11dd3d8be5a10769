"""What a value may be that names something of the network or of HTTP: addresses, paths of URLs, header fields, origins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pronghorn.errors import did_you_mean
from pronghorn.kinds import Kind, Whole, Words

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # a token: RFC 9110, section 5.6.2


class UrlPath(Kind):
    """The path of a URL, alone."""

    metavar = "PATH"
    type = "URL path"

    def from_text(self, text: str) -> str:
        """An absolute path in the characters that a request line carries as they are (RFC 3986, section 3.3)."""
        if not re.fullmatch(r"/[A-Za-z0-9/._~!$&'()*+,;=:@-]*", text):
            raise ValueError(f"{text!r} is not a URL path such as /healthz")
        return text


class Address(NamedTuple):
    """Where to listen or to connect: a host and a port, or, if `uds` is not empty, a Unix socket at that path."""

    host: str
    port: int
    uds: str = ""

    def __str__(self) -> str:
        if self.uds:
            return f"unix:{self.uds}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class AdminAddress(Kind):
    """An address in one text. A port alone is one of the loopback: who wants others to reach it has to say so."""

    metavar = "ADDRESS"
    type = "address"

    _UNIX = "unix:"

    def from_text(self, text: str) -> Address:
        """host:port, [v6]:port, :port or unix:PATH."""
        if text.startswith(self._UNIX):
            path = text.removeprefix(self._UNIX)
            if not path:
                raise ValueError("the path is empty, write unix:/run/pronghorn/admin.sock or the like")
            return Address("", 0, path)
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%[^\s\[\]]+)?\]|[^\s\[\]:/]*):([0-9]{1,18})", text)
        if not found:
            raise ValueError(f"{text!r} is not an address, {self._way_out(text)}")
        try:
            port = Whole(0, 65535).from_text(found[2])
        except ValueError as exc:
            raise ValueError(f"port {exc}") from None
        return Address(found[1].strip("[]") or "127.0.0.1", port)

    def from_data(self, value: Any) -> Any:
        """One that was read already is one."""
        return value if isinstance(value, Address) else super().from_data(value)

    @staticmethod
    def _way_out(text: str) -> str:
        if text.isascii() and text.isdigit():
            return f"write :{text} for a port of this machine alone"
        if text.count(":") > 1 and "/" not in text:
            return "write an IPv6 address in brackets, such as [::1]:9464"
        if text.startswith(("/", ".")):
            return f"write unix:{text} for a Unix socket"
        return "write host:port, :port or unix:PATH, such as 127.0.0.1:9464"


class Addresses(Kind):
    """Addresses with commas between, or a list of them; held as one text."""

    metavar = "LIST"
    type = "comma-separated list"

    def from_data(self, value: Any) -> str:
        """A list is joined."""
        return ",".join(Words().from_data(value))


class ForwardedHeaders(Addresses):
    """Names of forwarding headers, in the same form; lower case, as ASGI has them."""

    WORDS = (
        "forwarded",
        *(
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
        ),
    )
    # What `Forwarded` says too. A proxy sets the one or the other, and the client could forge the one that it does not set.
    _TWICE = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})

    def from_text(self, text: str) -> str:
        """The names, each one known and once."""
        names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
        if not names:
            raise ValueError("no header is named, --no-proxy-headers believes none")
        for name in names:
            if name not in self.WORDS:
                near = did_you_mean(name, self.WORDS)
                raise ValueError(
                    f"{name!r} is not one of {', '.join(self.WORDS)}" + (f". {near}" if near else "")
                )
        if "forwarded" in names and (twice := sorted(self._TWICE.intersection(names))):
            raise ValueError(
                f"forwarded and {twice[0]} say the same, and a client can forge the one that the proxy does not set"
            )
        return ",".join(names)

    def from_data(self, value: Any) -> str:
        """A list is joined first."""
        return self.from_text(super().from_data(value))


class Origins(Words):
    """Origins of web pages (RFC 6454, section 7), in lower case as browsers send them."""

    metavar = "ORIGIN"
    type = "comma-separated list"

    # A scheme and an authority, and nothing behind it; a page without an origin of its own has "null".
    _ORIGIN = re.compile(r"null|[a-z][a-z0-9+.\-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9\-._]+)(?::[0-9]{1,5})?")

    def from_text(self, text: str) -> list[str]:
        """With commas between."""
        return self.from_data([text])

    def from_data(self, value: Any) -> list[str]:
        """A list, each part of it one origin or several with commas between."""
        origins = [part.strip().lower() for item in super().from_data(value) for part in item.split(",")]
        for origin in origins:
            if not self._ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin such as https://example.com, without a path")
        return list(dict.fromkeys(origins))

    def show(self, value: Any) -> str:
        """With commas between."""
        return ",".join(value)


class Headers(Kind):
    """Header fields, each Name:Value."""

    metavar = "NAME:VALUE"
    type = "list of Name:Value"
    repeatable = True

    # Where one field ends and the next begins in a variable: a blank, then a token and a colon (but not a URL's).
    _NEXT = rf"[ \t]+(?={_NAME}:(?!//))"
    # They say where a message ends, and the server alone knows that.
    _FRAMING = frozenset({"content-length", "transfer-encoding"})

    def from_text(self, text: str) -> list[tuple[str, str]]:
        """The fields of a variable: one a line, or with spaces between as Uvicorn has them."""
        fields = text.split("\n") if "\n" in text else re.split(self._NEXT, text)
        return [self.pair(item) for item in fields if item.strip()]

    def from_data(self, value: Any) -> list[tuple[str, str]]:
        """A list of "Name:Value" or of (name, value), or one "Name:Value"."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, Sequence):
            raise ValueError(f"expected a {self.type}, not {value!r}")
        return [self.pair(item) for item in items]

    def pair(self, item: Any) -> tuple[str, str]:
        """One field, fit to be sent: RFC 9110, sections 5.1 and 5.5."""
        if isinstance(item, str):
            name, colon, value = item.strip().partition(":")
            if not colon:
                raise ValueError(f"{item!r} has no colon, write Name:Value")
        elif isinstance(item, Sequence) and len(item) == 2 and all(isinstance(part, str) for part in item):
            name, value = item
        else:
            raise ValueError(f"{item!r} is not a Name:Value pair")
        value = value.strip(" \t")
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"{name!r} is not a header name")
        if name.lower() in self._FRAMING:
            raise ValueError(f"{name} is for the server to set")
        if not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value):
            raise ValueError(f"{value!r} cannot be sent as a header value")
        return name, value

    def show(self, value: Any) -> str:
        """One field after the other."""
        return " ".join(f"{name}:{content}" for name, content in value)
