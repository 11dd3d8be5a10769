"""One JSON object a line, by python-json-logger: what ``--log-format json`` writes.

The access log writes the same object without the logging module; a test holds the two together.
"""

from __future__ import annotations

import datetime as dt
import logging

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as BaseFormatter

from pronghorn.observe.request_id import NO_REQUEST

# Attributes of an access record that say again what other fields say, for the sake of text formats; and the
# message with colours in it that code written for Uvicorn attaches.
DERIVED = ("request_line", "full_path", "http_version", "color_message")

RENAMED = {
    "asctime": "time",
    "levelname": "level",
    "name": "logger",
    "client_addr": "client",
    "status_code": "status",
    "exc_info": "exception",
    "stack_info": "stack",
}


class JsonFormatter(BaseFormatter):
    """``time`` (RFC 3339, UTC, milliseconds), ``level``, ``logger``, ``message``, then the record's own attributes."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields=RENAMED,
            reserved_attrs=[*RESERVED_ATTRS, *DERIVED],
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Format ``record.created`` in UTC; ``datefmt`` is not asked."""
        return timestamp(record.created)

    def format(self, record: logging.LogRecord) -> str:
        """Serialize to ASCII; a status of 0, which no response has, becomes null."""
        text: str = super().format(record)
        # DEL is the one control character that JSON lets through as it is.
        return text.replace("\x7f", "\\u007f")

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        """Say null for the status of a response that was never sent, and nothing of a request where there is none."""
        if log_data.get("status") == 0:
            log_data["status"] = None
        if log_data.get("request_id") == NO_REQUEST:
            del log_data["request_id"]
        return log_data


def timestamp(seconds: float) -> str:
    """Make ``2026-11-22T12:00:00.123Z`` of seconds since the epoch."""
    moment = dt.datetime.fromtimestamp(int(seconds), dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(seconds * 1000) % 1000:03d}Z"
