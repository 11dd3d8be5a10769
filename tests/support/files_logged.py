"""An application, and the logging configuration that has its access lines written to the file access.log."""

from __future__ import annotations

from typing import Any

APP = """
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
    """
LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "formatters": {"bare": {"format": "%(message)s"}},
    "handlers": {
        "access": {"class": "logging.FileHandler", "filename": "access.log", "formatter": "bare"},
        "error": {"class": "logging.StreamHandler", "formatter": "bare", "stream": "ext://sys.stderr"},
    },
    "loggers": {
        "pronghorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        "pronghorn.error": {"handlers": ["error"], "level": "INFO", "propagate": False},
    },
}
