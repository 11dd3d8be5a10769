"""The headings under which help and reference have the options, and below which `config` declares them."""

from pronghorn.declare import Group

BINDING = Group("Connection & binding")
APPLICATION = Group("Application")
WORKERS = Group("Workers & concurrency")
DEVELOPMENT = Group("Development")
LOGGING = Group("Logging")
OBSERVABILITY = Group("Observability")
PROXY = Group("Headers & proxies")
LIMITS = Group("Timeouts & limits")
HTTP2 = Group("HTTP/2")
WEBSOCKETS = Group("WebSocket")
TLS = Group("TLS")

#: In their order.
GROUPS = (
    *(BINDING, WORKERS, DEVELOPMENT, LOGGING, OBSERVABILITY, LIMITS),
    *(APPLICATION, PROXY, HTTP2, WEBSOCKETS, TLS),
)
