"""What an nginx in front says about time and size, read from the output of `nginx -T`: its whole configuration, includes and all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pronghorn.errors import UsageError

# Words, quoted or not, the three marks, and comments, which say nothing.
_TOKEN: Final = re.compile(
    r"""\s*(?:(#[^\n]*)|([;{}])|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([^\s;{}]+))"""
)

_SECONDS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}

# ngx_http_upstream_module and ngx_http_proxy_module: what holds where nothing is said.
_KEEPALIVE_TIMEOUT: Final = "60s"
_READ_TIMEOUT: Final = "60s"
_BODY_SIZE: Final = "1m"
_HEADER_BUFFERS: Final = ("4", "8k")


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive: its name, its arguments, and the blocks it stands in, the outermost first."""

    name: str
    arguments: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Nginx:
    """The directives of a configuration, in order."""

    directives: list[Directive] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Nginx:
        """Read a dump. Raises UsageError for what is none."""
        found = cls(list(_directives(text)))
        if not any(one.name in {"events", "http", "listen", "server"} for one in found.directives):
            raise UsageError(
                "this is no nginx configuration", option="--nginx", hint="Give it the output of nginx -T"
            )
        return found

    def upstream_keep_alive(self, address: str) -> float | None:
        """Seconds that an idle connection to the upstream with this server is kept; None if there is none or it keeps none."""
        for block in self._upstreams(address):
            inside = [one for one in self.directives if block in one.blocks]
            if any(one.name == "keepalive" for one in inside):
                timeout = next(
                    (one.arguments[0] for one in inside if one.name == "keepalive_timeout"),
                    _KEEPALIVE_TIMEOUT,
                )
                return seconds(timeout)
        return None

    def knows(self, address: str) -> bool:
        """Whether any upstream or proxy_pass leads to this address."""
        return any(self._upstreams(address)) or any(
            one.name == "proxy_pass" and address in one.arguments[0] for one in self.directives
        )

    def longest_read(self) -> float:
        """Seconds of silence that the most patient location allows the application."""
        return max(map(seconds, self._values("proxy_read_timeout") or [_READ_TIMEOUT]))

    def largest_body(self) -> int:
        """Bytes of the largest request body that some location lets through; 0 is any."""
        # Nobody sends a body to where nginx alone leads, such as a page of an error.
        internal = {one.blocks for one in self.directives if one.name == "internal"}
        said = [
            size(one.arguments[0])
            for one in self.directives
            if one.name == "client_max_body_size" and one.blocks not in internal
        ]
        sizes = said or [size(_BODY_SIZE)]
        return 0 if 0 in sizes else max(sizes)

    def largest_head(self) -> int:
        """Bytes of request line and header fields that are let through."""
        found = [one.arguments for one in self.directives if one.name == "large_client_header_buffers"]
        return max(int(number) * size(each) for number, each in found or [_HEADER_BUFFERS])

    def _values(self, name: str) -> list[str]:
        return [one.arguments[0] for one in self.directives if one.name == name and one.arguments]

    def _upstreams(self, address: str) -> Iterator[tuple[str, ...]]:
        for one in self.directives:
            if (
                one.name == "server"
                and one.arguments[:1] == (address,)
                and one.blocks[-1][:1] == ("upstream",)
            ):
                yield one.blocks[-1]


def _directives(text: str) -> Iterator[Directive]:
    words: list[str] = []
    blocks: list[tuple[str, ...]] = []
    for match in _TOKEN.finditer(text):
        comment, mark, double, single, plain = match.groups()
        if comment is not None:
            continue
        if mark is None:
            words.append(next(word for word in (double, single, plain) if word is not None))
            continue
        if words and mark != "}":
            yield Directive(words[0], tuple(words[1:]), tuple(blocks))
        if mark == "{":
            blocks.append(tuple(words))
        elif mark == "}" and blocks:
            blocks.pop()
        words = []


def seconds(text: str) -> float:
    """Read ``60s``, ``1h30m``, ``500ms`` or a bare number, as nginx has times."""
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdw]?)", text))


def size(text: str) -> int:
    """Read ``64k``, ``1m`` or a bare number, as nginx has sizes."""
    match = re.fullmatch(r"(\d+)([kmg]?)", text.lower())
    return 0 if match is None else int(match[1]) * _BYTES[match[2]]
