"""Every time and size of the shipped files that has to fit to another, and how: docs/reference/timeouts.md is written from this
(scripts/reference), and tests/unit/test_timeouts.py holds the files to it.

Values are read from the files as they are shipped, each from the one place where it is written. To add one: a line in MEASURES,
and its name in what ORDERS says of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pronghorn.config import OPTIONS

ROOT: Final = Path(__file__).resolve().parent.parent

_UNITS: Final = {
    "ms": 0.001,
    "s": 1.0,
    "h": 3600.0,
    "d": 86_400.0,
    "k": 2.0**10,
    "g": 2.0**30,
}
_MINUTES: Final = 60.0
_MEGABYTES: Final = 2.0**20


@dataclass(frozen=True)
class Measure:
    """One value: `read` finds it in the text of `file` as it is written there. `unit`: s, bytes, or nothing for a number."""

    name: str
    file: str
    read: Callable[[str], str]
    purpose: str
    unit: str = "s"

    def text(self, root: Path = ROOT) -> str:
        """As it is written."""
        return self.read((root / self.file).read_text("utf-8"))

    def value(self, root: Path = ROOT) -> float:
        """In seconds, in bytes, or as it is."""
        text = self.text(root)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdkg]?)", text)
        if match is None:
            raise ValueError(f"{self.name}: {text!r} in {self.file} is neither a time nor a size")
        number, unit = match.groups()
        # The one letter that means two things.
        factor = (_MEGABYTES if self.unit == "bytes" else _MINUTES) if unit == "m" else _UNITS.get(unit, 1.0)
        return float(number) * factor


def _line(pattern: str) -> Callable[[str], str]:
    """What the group of a pattern holds, which is in the file once."""

    def read(text: str) -> str:
        [found] = re.findall(pattern, text, re.MULTILINE)
        return str(found)

    return read


def _directive(name: str) -> Callable[[str], str]:
    """Of nginx."""
    return _line(rf"^\s*{name}\s+(?:\d+ )?([^\s;]+);")


def _key(*path: str) -> Callable[[str], str]:
    """Of YAML; where Compose has a variable, its default."""

    def read(text: str) -> str:
        found: Any = yaml.safe_load(text)
        for name in path:
            found = found[name]
        return re.sub(r"^\$\{[A-Z_]+:-(.*)\}$", r"\1", str(found))

    return read


def _tmpfs(service: str) -> Callable[[str], str]:
    """The default size of a service's /tmp."""

    def read(text: str) -> str:
        [mount] = yaml.safe_load(text)["services"][service]["tmpfs"]
        return _line(r"size=\$\{[A-Z_]+:-(\w+)\}")(mount)

    return read


def _default(option: str) -> Callable[[str], str]:
    """Of an option of the server, as config.py declares it."""
    return lambda _: f"{OPTIONS[option].fresh_default():g}"


def _shortest(pattern: str) -> Callable[[str], str]:
    """Of all the minutes and seconds that a pattern finds."""

    def read(text: str) -> str:
        found: list[str] = re.findall(pattern, text, re.MULTILINE)
        return min(found, key=lambda one: float(one[:-1]) * (_MINUTES if one.endswith("m") else 1.0))

    return read


def _health(prefix: str, file: str, who: str) -> Iterator[Measure]:
    """What HEALTHCHECK of a Dockerfile says."""
    for flag, purpose, unit in (
        ("start-period", "failures do not count yet", "s"),
        ("start-interval", "between two questions until then", "s"),
        ("interval", "between two questions", "s"),
        ("timeout", "for one answer", "s"),
        ("retries", "failures in a row, and it is unhealthy", ""),
    ):
        name = f"{prefix}_health_{flag.replace('-', '_')}"
        read = _line(rf"^HEALTHCHECK.* --{flag}=(\S+)")
        yield Measure(name, file, read, f"health of {who}: {purpose}", unit)


_COMPOSE, _OPTIONS = "docker-compose.yml", "server/pronghorn/config.py"
_SYSTEMD = "systemd/pronghorn.service.d/10-defaults.conf"
_INCLUDES = "nginx/includes"
_PROMETHEUS, _ALERTMANAGER = (
    "observability/prometheus/prometheus.yml",
    "observability/alertmanager/alertmanager.yml",
)
_RULES = "observability/prometheus/rules"
_APP = ("services", "app", "environment")


def _nginx(name: str, include: str, directive: str, purpose: str) -> Measure:
    return Measure(name, f"{_INCLUDES}/{include}.conf", _directive(directive), purpose)


def _upstream(name: str, directive: str, purpose: str) -> Measure:
    return Measure(name, "nginx/templates/upstream.conf", _directive(directive), purpose)


def _deploy(name: str) -> tuple[str, Callable[[str], str]]:
    return ".env.example", _line(rf"^#DEPLOY_{name}=(\d+)$")


def _option(name: str, purpose: str) -> Measure:
    return Measure(f"default_{name}", _OPTIONS, _default(name), f"--{name.replace('_', '-')}: {purpose}")


MEASURES: Final = (
    # ---- clients and nginx
    _nginx("client_header", "client-timeouts", "client_header_timeout", "a client's whole head"),
    _nginx("client_body", "client-timeouts", "client_body_timeout", "between two pieces of a client's body"),
    _nginx("client_send", "client-timeouts", "send_timeout", "a client that does not read"),
    _nginx("client_keep_alive", "client-timeouts", "keepalive_timeout", "a client's idle connection"),
    _nginx("tls_session", "tls", "ssl_session_timeout", "a TLS session may be resumed"),
    Measure(
        "reload_shutdown",
        "nginx/nginx.conf",
        _directive("worker_shutdown_timeout"),
        "workers of before a reload finish what they have",
    ),
    Measure(
        "certificate_look", "nginx/edge", _line(r"^interval=(\d+)$"), "between two looks at the certificate"
    ),
    # ---- nginx and the server
    _nginx("proxy_connect", "proxy-timeouts", "proxy_connect_timeout", "a connection to the server"),
    _nginx("proxy_send", "proxy-timeouts", "proxy_send_timeout", "a server that does not read"),
    _nginx("proxy_read", "proxy-timeouts", "proxy_read_timeout", "silence of an answer"),
    _nginx("ws_connect", "websocket-timeouts", "proxy_connect_timeout", "the same for a WebSocket"),
    _nginx("ws_send", "websocket-timeouts", "proxy_send_timeout", "a WebSocket's server that does not read"),
    _nginx("ws_read", "websocket-timeouts", "proxy_read_timeout", "silence of a WebSocket's server"),
    _nginx("next_upstream", "proxy", "proxy_next_upstream_timeout", "a request may be tried again"),
    _upstream("upstream_keep_alive", "keepalive_timeout", "nginx keeps an idle connection to the server"),
    _upstream("upstream_age", "keepalive_time", "nginx uses a connection to the server"),
    # ---- the server
    Measure(
        "keep_alive",
        _COMPOSE,
        _key(*_APP, "PRONGHORN_TIMEOUT_KEEP_ALIVE"),
        "the server keeps an idle connection",
    ),
    Measure(
        "drain_delay",
        _COMPOSE,
        _key(*_APP, "PRONGHORN_DRAIN_DELAY"),
        "it serves on at a stop, before it drains",
    ),
    Measure(
        "graceful",
        _COMPOSE,
        _key(*_APP, "PRONGHORN_TIMEOUT_GRACEFUL_SHUTDOWN"),
        "requests may finish at a stop",
    ),
    Measure(
        "image_keep_alive",
        "Dockerfile",
        _line(r"\bPRONGHORN_TIMEOUT_KEEP_ALIVE=(\d+)"),
        "the same, of the image alone",
    ),
    Measure(
        "image_graceful",
        "Dockerfile",
        _line(r"\bPRONGHORN_TIMEOUT_GRACEFUL_SHUTDOWN=(\d+)"),
        "the same, of the image alone",
    ),
    Measure(
        "gunicorn_keep_alive",
        "gunicorn.conf.py",
        _line(r'^keepalive = _whole\("TIMEOUT_KEEP_ALIVE", (\d+)\)'),
        "the same under Gunicorn",
    ),
    Measure(
        "gunicorn_graceful",
        "gunicorn.conf.py",
        _line(r'^graceful_timeout = _whole\("TIMEOUT_GRACEFUL_SHUTDOWN", (\d+)\)'),
        "the same under Gunicorn",
    ),
    Measure(
        "gunicorn_timeout",
        "gunicorn.conf.py",
        _line(r'^timeout = _whole\("TIMEOUT_WORKER_HEALTHCHECK", (\d+)\)'),
        "a silent worker of Gunicorn is replaced",
    ),
    _option("timeout_header", "a request's head"),
    _option("timeout_body", "between two pieces of a body, or reads of a response"),
    _option("timeout_worker_healthcheck", "a silent worker process is replaced"),
    _option("ws_ping_interval", "between two pings"),
    _option("ws_ping_timeout", "for the answer to a ping"),
    Measure(
        "heartbeat",
        "examples/sse/main.py",
        _line(r"^HEARTBEAT = (\d+)$"),
        "a stream of events says that it lives",
    ),
    # ---- health, start and stop
    *_health("app", "Dockerfile", "the server"),
    Measure(
        "app_probe",
        "Dockerfile",
        _line(r'^HEALTHCHECK.*"healthcheck", "--timeout", "(\d+)"'),
        "health of the server: the command's own patience",
    ),
    *_health("nginx", "nginx/Dockerfile", "nginx"),
    Measure(
        "nginx_probe", "nginx/healthcheck", _line(r"read -r -t (\d+)"), "health of nginx: its own patience"
    ),
    Measure("deploy_timeout", *_deploy("TIMEOUT"), "`make deploy` waits for a version to be ready"),
    Measure("deploy_watch", *_deploy("WATCH"), "it watches it, once nginx leads there"),
    Measure("deploy_drain", *_deploy("DRAIN"), "the version from before goes on with what has begun"),
    Measure("up_wait", "scripts/stack", _line(r"--wait-timeout (\d+)"), "`make up` waits for health"),
    Measure(
        "app_stop", _COMPOSE, _key("services", "app", "stop_grace_period"), "the server is killed after TERM"
    ),
    Measure(
        "nginx_stop", _COMPOSE, _key("services", "nginx", "stop_grace_period"), "nginx is killed after QUIT"
    ),
    Measure(
        "systemd_drain_delay",
        _SYSTEMD,
        _line(r"\bPRONGHORN_DRAIN_DELAY=(\d+)$"),
        "it serves on at a stop, under systemd",
    ),
    Measure(
        "systemd_graceful",
        _SYSTEMD,
        _line(r"\bPRONGHORN_TIMEOUT_GRACEFUL_SHUTDOWN=(\d+)$"),
        "requests may finish at a stop, under systemd",
    ),
    Measure(
        "systemd_keep_alive",
        _SYSTEMD,
        _line(r"\bPRONGHORN_TIMEOUT_KEEP_ALIVE=(\d+)$"),
        "the server keeps an idle connection, under systemd",
    ),
    Measure(
        "systemd_watchdog",
        _SYSTEMD,
        _line(r"^WatchdogSec=(\d+)$"),
        "systemd kills a server that says nothing",
    ),
    Measure(
        "systemd_nginx_stop",
        "systemd/nginx.service.d/pronghorn.conf",
        _line(r"^TimeoutStopSec=(\d+)$"),
        "systemd kills nginx after QUIT",
    ),
    Measure(
        "systemd_stop",
        _SYSTEMD,
        _line(r"^TimeoutStopSec=(\d+)$"),
        "systemd kills the server after TERM",
    ),
    Measure(
        "acme_look",
        "acme/acme-client",
        _line(r"if once; then sleep (\w+);"),
        "between two looks at the renewal",
    ),
    Measure("acme_again", "acme/acme-client", _line(r"else sleep (\w+);"), "the same after a refusal"),
    # ---- those who watch
    Measure(
        "scrape_interval", _PROMETHEUS, _key("global", "scrape_interval"), "between two looks of Prometheus"
    ),
    Measure("scrape_timeout", _PROMETHEUS, _key("global", "scrape_timeout"), "for one of them"),
    Measure(
        "evaluation",
        _PROMETHEUS,
        _key("global", "evaluation_interval"),
        "between two evaluations of the rules",
    ),
    Measure(
        "shortest_window", f"{_RULES}/2-rates.yml", _shortest(r"\[(\d+[sm])\]"), "shortest window of a rate"
    ),
    Measure(
        "shortest_for",
        f"{_RULES}/4-server.yml",
        _shortest(r"^ +for: (\d+[sm])$"),
        "shortest wait of an alert",
    ),
    Measure("resolve", _ALERTMANAGER, _key("global", "resolve_timeout"), "an alert not repeated is over"),
    Measure(
        "group_wait", _ALERTMANAGER, _key("route", "group_wait"), "a message waits for what belongs to it"
    ),
    Measure(
        "group_interval", _ALERTMANAGER, _key("route", "group_interval"), "between two messages of a group"
    ),
    Measure("repeat", _ALERTMANAGER, _key("route", "repeat_interval"), "the same message again"),
    # ---- room
    Measure(
        "largest_body",
        f"{_INCLUDES}/limits.conf",
        _directive("client_max_body_size"),
        "largest body of a request",
        "bytes",
    ),
    Measure("nginx_tmpfs", _COMPOSE, _tmpfs("nginx"), "where nginx collects bodies", "bytes"),
    Measure(
        "nginx_memory",
        _COMPOSE,
        _key("services", "nginx", "mem_limit"),
        "memory of nginx, tmpfs included",
        "bytes",
    ),
    Measure("app_tmpfs", _COMPOSE, _tmpfs("app"), "the application's /tmp", "bytes"),
    Measure(
        "app_memory",
        _COMPOSE,
        _key("services", "app", "mem_limit"),
        "memory of the server, tmpfs included",
        "bytes",
    ),
    Measure(
        "header_buffers",
        f"{_INCLUDES}/limits.conf",
        _line(r"^large_client_header_buffers (\d+) "),
        "buffers for a head",
        "",
    ),
    Measure(
        "header_buffer",
        f"{_INCLUDES}/limits.conf",
        _directive("large_client_header_buffers"),
        "one of them",
        "bytes",
    ),
    Measure(
        "default_limit_request_header_bytes",
        _OPTIONS,
        _default("limit_request_header_bytes"),
        "--limit-request-header-bytes: all fields of a head",
        "bytes",
    ),
)


@dataclass(frozen=True)
class Order:
    """`less` has to stay below `more`, or at it. Both are names or numbers, with `*` and `+` between."""

    less: str
    more: str
    otherwise: str
    relation: str = "<"

    def names(self) -> set[str]:
        """The measures that it is about."""
        return set(re.findall(r"[a-z]\w*", f"{self.less} {self.more}"))

    def holds(self, values: dict[str, float]) -> bool:
        """Whether it does, for these values."""
        less, more = total(self.less, values), total(self.more, values)
        return {"<": less < more, "≤": less <= more, "=": less == more}[self.relation]


def total(text: str, values: dict[str, float]) -> float:
    """What a side of an order comes to."""
    return sum(
        math.prod(float(part) if part.isdecimal() else values[part] for part in term.split(" * "))
        for term in text.split(" + ")
    )


ORDERS: Final = (
    Order("upstream_keep_alive", "keep_alive", "a request meets a closing connection: 502"),
    Order("image_keep_alive", "keep_alive", "the image alone behaves otherwise than the stack", "="),
    Order("gunicorn_keep_alive", "keep_alive", "PROCESS_MANAGER=gunicorn behaves otherwise", "="),
    Order("drain_delay + graceful", "app_stop", "the engine kills what was still finishing"),
    Order(
        "drain_delay + graceful",
        "nginx_stop",
        "the engine kills nginx while it passes on what was still finishing",
    ),
    Order("upstream_age", "deploy_watch", "a deploy watches a version that nobody is with yet"),
    Order("app_health_start_period", "deploy_timeout", "a deploy gives up what may still start"),
    Order("image_graceful", "graceful", "the image alone behaves otherwise than the stack", "="),
    Order("gunicorn_graceful", "graceful", "PROCESS_MANAGER=gunicorn behaves otherwise", "="),
    Order("systemd_drain_delay + systemd_graceful", "systemd_stop", "systemd kills what was still finishing"),
    Order(
        "systemd_drain_delay + systemd_graceful",
        "systemd_nginx_stop",
        "systemd kills nginx while it passes on what was still finishing",
    ),
    Order(
        "systemd_graceful", "graceful", "under systemd the server behaves otherwise than in the stack", "="
    ),
    Order("systemd_keep_alive", "keep_alive", "the same", "="),
    Order(
        "default_timeout_worker_healthcheck",
        "systemd_watchdog",
        "systemd ends everything for one worker that hangs",
    ),
    Order(
        "client_header",
        "default_timeout_header",
        "the server gives up a head that nginx still waits for",
        "≤",
    ),
    Order(
        "client_body", "default_timeout_body", "the server gives up an upload that nginx still waits for", "≤"
    ),
    Order(
        "client_send", "default_timeout_body", "the server gives up an answer that nginx still passes on", "≤"
    ),
    Order(
        "proxy_connect", "next_upstream", "no second attempt after a connection that could not be made", "≤"
    ),
    Order("2 * heartbeat", "proxy_read", "nginx cuts a stream that lost one heartbeat"),
    Order(
        "default_ws_ping_interval + default_ws_ping_timeout",
        "ws_read",
        "nginx cuts a WebSocket before a ping is missed",
    ),
    Order("proxy_read", "ws_read", "a quiet WebSocket is cut like an answer that does not come"),
    Order("ws_read", "reload_shutdown", "a reload cuts WebSockets sooner than silence would", "≤"),
    Order(
        "default_timeout_worker_healthcheck",
        "proxy_read",
        "a hung worker is replaced after its requests have failed",
    ),
    Order("gunicorn_timeout", "proxy_read", "the same under Gunicorn"),
    Order(
        "default_timeout_worker_healthcheck",
        "app_health_retries * app_health_interval",
        "the container is unhealthy before the server has replaced a hung worker",
    ),
    Order(
        "app_probe", "app_health_timeout", "the engine ends the question, and nobody learns what was wrong"
    ),
    Order("nginx_probe", "nginx_health_timeout", "the same for nginx"),
    Order("app_health_timeout", "app_health_interval", "questions overtake each other"),
    Order("nginx_health_timeout", "nginx_health_interval", "the same for nginx"),
    Order("app_health_start_interval", "app_health_interval", "a start is noticed late"),
    Order("nginx_health_start_interval", "nginx_health_interval", "the same for nginx"),
    Order(
        "app_health_retries * app_health_interval",
        "app_health_start_period",
        "a slow start is taken for an illness",
    ),
    Order(
        "app_health_start_period + nginx_health_start_period",
        "up_wait",
        "`make up` gives up what may still start",
    ),
    Order("acme_again", "acme_look", "who was refused waits longer than who was not", "≤"),
    Order("scrape_timeout", "scrape_interval", "looks overtake each other"),
    Order("evaluation", "shortest_for", "an alert fires at the first evaluation", "≤"),
    Order("2 * scrape_interval", "shortest_for", "one look that fails is an alert", "≤"),
    Order("4 * scrape_interval", "shortest_window", "a rate has too few points", "≤"),
    Order("2 * evaluation", "resolve", "an alert that lasts is over now and then"),
    Order("group_wait", "group_interval", "the second message comes before the first"),
    Order("group_interval", "repeat", "each message is a repetition"),
    Order("4 * largest_body", "nginx_tmpfs", "four large uploads at a time fill the tmpfs", "≤"),
    Order("nginx_tmpfs", "nginx_memory", "a full tmpfs gets nginx killed for its memory"),
    Order("app_tmpfs", "app_memory", "a full tmpfs gets the server killed for its memory"),
    Order(
        "header_buffers * header_buffer",
        "default_limit_request_header_bytes",
        "the server refuses a head that nginx let through",
        "≤",
    ),
)


def values(root: Path = ROOT) -> dict[str, float]:
    """Every measure, by its name."""
    return {measure.name: measure.value(root) for measure in MEASURES}


_PAGE: Final = """\
# Time and room

<!-- Written by scripts/reference from scripts/timeouts.py and the files it names. Change those, then run scripts/reference. -->

Every timeout of the files as they are shipped, and the sizes that have to fit. What has to stay in order with what is in the second table;
`tests/unit/test_timeouts.py` holds the files to it. Whoever changes one value looks at the numbers behind it.

| | | In | What for | Orders |
| --- | --- | --- | --- | --- |
"""


def page(root: Path = ROOT) -> str:
    """docs/reference/timeouts.md."""
    rows = []
    for measure in MEASURES:
        orders = [str(number) for number, order in enumerate(ORDERS, 1) if measure.name in order.names()]
        text = measure.text(root)
        told = text if not measure.unit or not text[-1].isdecimal() else f"{text} {measure.unit}"
        cells = (f"`{measure.name}`", told, f"`{measure.file}`", measure.purpose, ", ".join(orders))
        rows.append(f"| {' | '.join(cells)} |\n")
    table = "\n## What has to stay in order\n\n| | | or else |\n| --: | --- | --- |\n"
    for number, order in enumerate(ORDERS, 1):
        table += f"| {number} | `{order.less} {order.relation} {order.more}` | {order.otherwise} |\n"
    return _PAGE + "".join(rows) + table
