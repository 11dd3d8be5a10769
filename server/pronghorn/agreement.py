"""Options that depend on each other: which contradict each other, and which are idle beside others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pronghorn.declare import Option


def check_together(values: Mapping[str, Any], options: Mapping[str, Option], *, code: bool) -> None:
    """Raise UsageError when values that are sound one by one contradict each other.

    What Uvicorn lets pass without harm, such as a port beside a Unix socket, is not refused here.
    """

    def refuse(name: str, other: str, message: str) -> None:
        named = other if code else options[other].flag
        raise options[name].fault(message.format(named), source=None, code=code)

    if values["uds"] is not None and values["fd"] is not None:
        refuse("fd", "uds", "cannot be given together with {}, listen on one of them")
    if values["ssl_keyfile"] is not None and values["ssl_certfile"] is None:
        refuse("ssl_keyfile", "ssl_certfile", "a key is of no use without {}")
    if values["ssl_min_version"] == "1.3" and values["ssl_version"] == 5:  # ssl.PROTOCOL_TLSv1_2
        refuse("ssl_min_version", "ssl_version", "1.3 contradicts {} 5, which is TLS 1.2 alone")


def without_effect(values: Mapping[str, Any], options: Mapping[str, Option]) -> list[tuple[str, str]]:
    """The options that change nothing beside these values, whether anybody gave them or not, and why they do not."""
    idle: list[tuple[str, str]] = []
    for name in ("uds", "fd"):
        if values[name] is not None:
            idle += [(other, f"beside {options[name].flag}") for other in ("host", "port")]
    if values["uds"] is None:
        idle += [(name, "without --uds") for name in ("uds_mode", "uds_group")]
    if values["ssl_certfile"] is None and values["ssl_context_factory"] is None:
        idle += [
            (name, "without --ssl-certfile, the server does not speak TLS")
            for name in options
            if name.startswith("ssl_") and name not in {"ssl_certfile", "ssl_keyfile", "ssl_context_factory"}
        ]
    if not values["proxy_headers"]:
        names = ("forwarded_headers", "forwarded_hops")
        idle += [(name, "beside --no-proxy-headers") for name in names]
    if values["interface"] != "wsgi":
        idle.append(("wsgi_threads", "without --interface wsgi"))
    return idle
