"""Options that depend on each other: which contradict each other, and which are idle beside others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pronghorn.declare import Option

_WILDCARDS = frozenset({"", "0.0.0.0", "::", "[::]"})  # every interface, and so the other's too


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
    if values["reuse_port"]:
        for other in ("uds", "fd"):
            if values[other] is not None:
                refuse("reuse_port", other, "is for a host and a port, and cannot be given together with {}")
    if _same_place(values):
        refuse(
            "admin",
            "uds" if values["admin"].uds else "port",
            "that is where the application is: {} has it already",
        )
    if values["preload"] and values["reload"]:
        refuse(
            "preload",
            "reload",
            "cannot be given together with {}, which imports the application anew each time",
        )


def _same_place(values: Mapping[str, Any]) -> bool:
    """Whether the admin listener would be the public one."""
    admin = values["admin"]
    if admin is None or admin.uds or values["uds"] is not None or values["fd"] is not None:
        return admin is not None and bool(admin.uds) and admin.uds == values["uds"]
    either = {admin.host, values["host"]}
    return admin.port == values["port"] != 0 and (len(either) == 1 or not either.isdisjoint(_WILDCARDS))


def supervisor_for(values: Mapping[str, Any]) -> str | None:
    """The option that asks for a supervisor and worker processes, or None if one process serves."""
    if values["workers"] != 1:  # "auto" included: how many that is, another machine decides
        return "workers"
    for name in ("reload", "preload", "supervise"):
        if values[name]:
            return name
    for name in ("limit_worker_memory", "limit_worker_lifetime"):
        if values[name] is not None:
            return name
    return None


def check_supervised(
    values: Mapping[str, Any], options: Mapping[str, Option], *, code: bool, posix: bool = os.name == "posix"
) -> None:
    """Raise UsageError when these values ask for worker processes that cannot be had.

    For whoever starts processes: the command and `pronghorn.run`. A `Config` with the same values is sound, `Server.serve()` is one
    process.
    """
    name = supervisor_for(values)
    if name is None:
        return
    if not posix:
        raise options[name].fault(
            "worker processes need fork and Unix signals, which this system does not have",
            source=None,
            code=code,
        )
    if not isinstance(values["app"], str):
        raise options[name].fault(
            "other processes import the application: give it as module:attribute, such as main:app, not as an object",
            source=None,
            code=code,
        )


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
    if values["http2"] is False:
        idle += [(name, "beside --no-http2") for name in options if name.startswith("h2_")]
    if not values["proxy_headers"]:
        names = ("forwarded_headers", "forwarded_hops")
        idle += [(name, "beside --no-proxy-headers") for name in names]
    if values["reload"]:
        idle.append(("workers", "beside --reload, which has one worker process"))
    if values["limit_worker_lifetime"] is None:
        idle.append(("limit_worker_lifetime_jitter", "without --limit-worker-lifetime"))
    if values["interface"] != "wsgi":
        idle.append(("wsgi_threads", "without --interface wsgi"))
    for name, value in (("ws", "none"), ("interface", "wsgi")):
        if values[name] == value:
            idle += [
                (other, f"beside {options[name].flag} {value}")
                for other in options
                if other.startswith("ws_") or (other == "ws" and name == "interface")
            ]
            break
    else:
        if not values["ws_ping_interval"]:
            idle.append(("ws_ping_timeout", "without --ws-ping-interval"))
    return idle
