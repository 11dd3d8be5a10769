"""The headings under which help and reference have the options."""

BINDING = "Connection & binding"
APPLICATION = "Application"
WORKERS = "Workers & concurrency"
DEVELOPMENT = "Development"
LOGGING = "Logging"
PROXY = "Headers & proxies"
LIMITS = "Timeouts & limits"
WEBSOCKETS = "WebSocket"
TLS = "TLS"

#: In their order.
GROUPS = (BINDING, WORKERS, DEVELOPMENT, LOGGING, LIMITS, APPLICATION, PROXY, WEBSOCKETS, TLS)
