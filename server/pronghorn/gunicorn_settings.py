"""Gunicorn's settings, read as options of ours: what `pronghorn.workers` serves with.

Where both have a setting, Gunicorn's counts if somebody has set it, which is to say that it is not at its default; then what is in the
environment and in pyproject.toml, read as the command reads it; then Gunicorn's default. Options that Gunicorn has no word for come
from the environment alone, so that PRONGHORN_HEALTH_PATH means the same under both. docs/gunicorn.md has all of it in one table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gunicorn.glogging import Logger

from pronghorn.config import OPTIONS, Config
from pronghorn.errors import UsageError, UserError, did_you_mean
from pronghorn.sources import DEFAULT, Resolution, resolve

# Gunicorn kills at the end of graceful_timeout. This part of it is left for the application's shutdown.
_RESERVE: Final = 0.1
# limit_request_field_size is the limit of one field in Gunicorn. Ours is one of all together: with Gunicorn's default, our default.
_FIELD_SIZES: Final = 8


def _as_it_is(value: Any) -> Any:
    return value


def _or_unlimited(value: int) -> int:
    return value or sys.maxsize


#: Gunicorn's settings that are options of ours: the option, and how the value is read.
SETTINGS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "keepalive": ("timeout_keep_alive", _as_it_is),
    "graceful_timeout": ("timeout_graceful_shutdown", lambda seconds: seconds * (1 - _RESERVE)),
    "limit_request_line": ("limit_request_line", _or_unlimited),
    "limit_request_fields": ("limit_request_headers", _or_unlimited),
    "limit_request_field_size": (
        "limit_request_header_bytes",
        lambda size: _or_unlimited(size * _FIELD_SIZES),
    ),
    # "Connections not associated with an IP address are treated as allowed, unconditionally", say Gunicorn's docs.
    "forwarded_allow_ips": ("forwarded_allow_ips", lambda addresses: ",".join([*addresses, "unix:"])),
    "certfile": ("ssl_certfile", _as_it_is),
    "keyfile": ("ssl_keyfile", _as_it_is),
    "ca_certs": ("ssl_ca_certs", _as_it_is),
    "cert_reqs": ("ssl_cert_reqs", int),
    "ciphers": ("ssl_ciphers", _as_it_is),
    "root_path": ("root_path", _as_it_is),
    "websocket_max_message_size": ("ws_max_size", _or_unlimited),
    "asgi_loop": ("loop", _as_it_is),
    "asgi_lifespan": ("lifespan", _as_it_is),
}

# The arbiter goes by these as well, so that no variable can say otherwise.
_ARBITERS: Final = frozenset({"graceful_timeout"})

#: Settings that change nothing here, and what does it instead.
IDLE: Final[Mapping[str, str]] = {
    "worker_connections": "PRONGHORN_LIMIT_CONCURRENCY refuses requests beyond a number with 503",
    "threads": "an event loop serves all connections of a worker on one thread",
    "secure_scheme_headers": "PRONGHORN_FORWARDED_HEADERS names the headers that count",
    "pre_request": "an ASGI middleware sees every request",
    "post_request": "an ASGI middleware sees every request",
    "http_parser": "PRONGHORN_HTTP chooses the parser",
    "http_protocols": "PronghornH2CWorker is the worker class for HTTP/2",
    "http2_cleartext": "PronghornH2CWorker is the worker class for HTTP/2",
    "permit_obsolete_folding": "requests are read as RFC 9112 has them",
    "strip_header_spaces": "requests are read as RFC 9112 has them",
    "permit_unconventional_http_method": "requests are read as RFC 9112 has them",
    "permit_unconventional_http_version": "requests are read as RFC 9112 has them",
    "casefold_http_method": "requests are read as RFC 9112 has them",
}


def refusal(cfg: Any) -> str | None:
    """Why Gunicorn cannot be started with these settings, or None."""
    if cfg.proxy_protocol not in {False, "off"}:
        return "proxy_protocol: the PROXY protocol is not supported by Pronghorn. Let the proxy send X-Forwarded-For"
    if "protocol" in cfg.settings and cfg.protocol != "http":
        return f"protocol: Pronghorn speaks HTTP, not {cfg.protocol}. Use proxy_pass in nginx"
    return None


def idle(cfg: Any) -> Iterator[str]:
    """A sentence for each setting that somebody has set and that changes nothing."""
    for name, instead in IDLE.items():
        if name in cfg.settings and not _at_default(cfg, name):
            yield f"{name} has no effect with Pronghorn's workers: {instead}."


def configuration(
    cfg: Any,
    log: Any,
    app: Callable[..., Any],
    *,
    overrides: Mapping[str, Any],
    max_requests: int | None = None,
) -> tuple[Config, list[str]]:
    """What to serve `app` with, and what deserves a warning. `max_requests` has its jitter in it.

    Raises UserError.
    """
    found = resolve(_gunicorns_own(cfg, log, app), os.environ, Path.cwd())
    for name, (option, read) in SETTINGS.items():
        if name not in cfg.settings:  # of a later Gunicorn than this one
            continue
        # FORWARDED_ALLOW_IPS is Gunicorn's own variable, and is in its default.
        ours = name not in _ARBITERS and found.sources[option] not in {DEFAULT, "FORWARDED_ALLOW_IPS"}
        if not (ours and _at_default(cfg, name)):
            _put(found, option, read(getattr(cfg, name)), f"{name} of Gunicorn")
    if cfg.is_ssl and not _at_default(cfg, "ssl_context"):
        make = cfg.ssl_context
        _put(
            found,
            "ssl_context_factory",
            lambda _config, usual: make(cfg, usual),
            "ssl_context of Gunicorn",
        )
    if max_requests is not None:
        _put(found, "limit_max_requests", max_requests, "max_requests of Gunicorn")
        _put(found, "limit_max_requests_jitter", 0, "max_requests_jitter of Gunicorn")
    for option, value in overrides.items():
        if option not in OPTIONS:
            hint = did_you_mean(option, OPTIONS)
            raise UsageError(f"unknown option {option!r}", source="CONFIG_KWARGS", hint=hint)
        _put(found, option, value, "CONFIG_KWARGS")
    try:
        return found.config(), found.warnings
    except UserError as exc:
        found.blame(exc)
        raise


def _gunicorns_own(cfg: Any, log: Any, app: Callable[..., Any]) -> dict[str, Any]:
    """Options that are Gunicorn's business alone, or follow from it: nobody looks for them anywhere else."""
    return {
        "app": app,
        "workers": 1,
        "reload": False,
        "preload": False,
        "supervise": False,
        "reuse_port": False,
        "fd": None,
        "uds": None,
        # The loggers are Gunicorn's, their levels too.
        "log_config": None,
        "log_level": "info",
        "access_log": _logs_access(cfg, log),
    }


def _put(found: Resolution, option: str, value: Any, source: str) -> None:
    found.values[option], found.sources[option] = value, source


def _at_default(cfg: Any, name: str) -> bool:
    setting = cfg.settings[name]
    # Each has been through its validator, which makes lists of texts and the like: so has this one.
    pristine = type(setting)()
    return bool(setting.get() == pristine.get())


def _logs_access(cfg: Any, log: Any) -> bool:
    """Whether anybody wants to hear of requests: a place for the access log, or a logger with a mind of its own."""
    return bool(
        cfg.accesslog
        or cfg.logconfig
        or cfg.logconfig_dict
        or cfg.logconfig_json
        or (cfg.syslog and not cfg.disable_redirect_access_to_syslog)
        or type(log).access is not Logger.access
    )
