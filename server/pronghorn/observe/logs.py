"""The server's loggers: ``pronghorn`` and ``pronghorn.error`` to stderr, ``pronghorn.access`` to stdout.

They do not propagate, as Uvicorn's do not, so that an application that sets up the root logger for itself
sees no record twice. One case is different on purpose: an application that gives the root logger a
python-json-logger formatter wants its whole output to be JSON, and our text in between would break whatever
reads it. With the format left at ``auto``, our records then go to that handler instead of ours.

And the other way round: whoever asks for ``json`` reads the output with a program, and wants all of it. Then the
application's records come out as ours do, and so does what else Python prints by itself (`pronghorn.observe.everything`).

Programs know these loggers by Uvicorn's names. A configuration written for ``uvicorn``, ``uvicorn.error``,
``uvicorn.access`` and ``uvicorn.logging.*Formatter`` is read as if it said ``pronghorn``, and what an
application logs through Uvicorn's loggers comes out where ours does.
"""

from __future__ import annotations

import http
import logging
import sys
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pronghorn.errors import UsageError
from pronghorn.observe import output, request_id
from pronghorn.observe.escape import lines, one_line

if TYPE_CHECKING:
    from pronghorn.observe.log_config import Source

TRACE = 5
LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}

ROOT, ERROR, ACCESS = "pronghorn", "pronghorn.error", "pronghorn.access"

#: Formats whose lines are JSON. In the second one systemd's journal gets fields instead (`pronghorn.observe.journal`).
JSON_FORMATS = ("json", "journal")

#: The ``log_config`` that stands for the handlers of this module.
OWN = ""

RESET, BOLD = "\x1b[0m", "\x1b[1m"
_LEVEL_COLORS = {TRACE: "34", 10: "36", 20: "32", 30: "33", 40: "31", 50: "91"}
_STATUS_COLORS = {1: "97", 2: "32", 3: "33", 4: "31", 5: "91"}


def configure(
    *,
    level: str | int = "info",
    fmt: str = "auto",
    log_config: Source | None = OWN,
    use_colors: bool | None = None,
    access_log: bool = True,
) -> None:
    """Set up the loggers; again and again, if need be, without one handler too many.

    ``fmt`` is ``text``, ``json``, ``journal``, which is JSON with fields for systemd, or ``auto``, which is text. ``log_config`` is a dictionary for
    ``logging.config.dictConfig``, or the path of a ``.json``, ``.yaml``/``.yml`` or (any other suffix) ini file; it
    replaces our handlers. None leaves handlers and formats to the program, as with Uvicorn. In both cases the levels
    that are there stand as long as ``level`` is ``info``, the default; any other level goes before them. No existing
    logger is disabled unless a configuration says so itself. In all cases records have a `request_id` from here on.

    Raises ``UsageError``.
    """
    number = _level_number(level)
    request_id.install()
    logging.addLevelName(TRACE, "TRACE")
    root, access = logging.getLogger(ROOT), logging.getLogger(ACCESS)
    if log_config == OWN:
        output.use_fields(fmt == "journal")
        _give(root, ConsoleHandler("stderr", fmt, use_colors))
        _give(access, ConsoleHandler("stdout", fmt, use_colors))
        if fmt in JSON_FORMATS:
            from pronghorn.observe import everything  # noqa: PLC0415  # not for those who read text

            everything.take(number)
    elif log_config is not None:
        # Imported here because logging.config brings queues, pickles and a socket server along.
        from pronghorn.observe.log_config import apply  # noqa: PLC0415

        apply(log_config)
    if log_config == OWN or number != logging.INFO:
        for name in (ROOT, ERROR, ACCESS):
            logging.getLogger(name).setLevel(number)
    if not access_log:
        access.handlers.clear()
        access.propagate = False
    if log_config is None:
        return
    for name in (ROOT, ERROR, ACCESS, "pronghorn.asgi"):
        alias = logging.getLogger(name.replace("pronghorn", "uvicorn"))
        alias.parent = logging.getLogger(name)
        alias.propagate = True
        alias.setLevel(alias.level)  # Drops what the logging module remembers of the former parent's level.


def _give(logger: logging.Logger, handler: logging.Handler) -> None:
    for old in [handler for handler in logger.handlers if isinstance(handler, ConsoleHandler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.propagate = False


def _level_number(level: str | int) -> int:
    number = LEVELS.get(level.lower()) if isinstance(level, str) else level
    if number is None:
        raise UsageError(f"{level!r} is not one of {', '.join(LEVELS)}", option="--log-level")
    return number


class ConsoleHandler(logging.Handler):
    """Our own handler: one of the process's two streams, looked up anew for every record.

    A stream that is closed or gets no reader loses the record and disturbs nothing.
    """

    def __init__(self, stream: Literal["stdout", "stderr"], fmt: str, use_colors: bool | None) -> None:
        super().__init__()
        self.stream_name = stream
        self.output = output.of(stream)
        self.output.dress = self._dressed
        self.auto = fmt == "auto"
        self.json = fmt in JSON_FORMATS
        self.colors = _is_terminal(self.stream) if use_colors is None else use_colors
        formatter: logging.Formatter
        if self.json:
            # Imported here because most processes never need it.
            from pronghorn.observe.json_formatter import JsonFormatter  # noqa: PLC0415

            formatter = JsonFormatter()
        elif stream == "stdout":
            formatter = AccessFormatter(ACCESS_FORMAT, use_colors=self.colors)
        else:
            formatter = DefaultFormatter("%(levelprefix)s %(message)s", use_colors=self.colors)
        self.setFormatter(formatter)

    @property
    def stream(self) -> TextIO | None:
        """The stream as it is now; None in a process without a console."""
        return getattr(sys, self.stream_name, None)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, or let the application's own JSON handlers do it."""
        if self.auto and (others := json_handlers()):
            for handler in others:
                if record.levelno >= handler.level:
                    handler.handle(record)
            return
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as every handler of the logging module does
            self.handleError(record)
            return
        self.output.write(line, whole=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say that a record cannot be formatted, and where it was made; as a record too where all lines are."""
        if not self.json:
            super().handleError(record)
            return
        where = f"{record.pathname}:{record.lineno}"
        told = logging.LogRecord(
            *(record.name, logging.ERROR, record.pathname, record.lineno),
            *("A log record cannot be formatted: %r with %r, made in %s", (record.msg, record.args, where)),
            exc_info=sys.exc_info(),
        )
        self.output.write(self.format(told) + "\n", whole=True)

    def _dressed(self, message: str) -> str:
        record = logging.LogRecord(ERROR, logging.WARNING, __file__, 0, message, None, None)
        return self.format(record) + "\n"


def json_handlers() -> list[logging.Handler]:
    """Find the handlers of the root logger that write JSON by way of python-json-logger."""
    core = sys.modules.get("pythonjsonlogger.core")  # Nobody can use it who has not imported it.
    if core is None:
        return []
    return [
        handler for handler in logging.root.handlers if isinstance(handler.formatter, core.BaseJsonFormatter)
    ]


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # Closed.
        return False


# --- formatters, usable in a log_config too --------------------------------------------------------------------


def level_prefix(name: str, number: int, colors: bool) -> str:
    """Make ``INFO:    ``: the level, a colon, and spaces up to a common width of nine."""
    padding = " " * (8 - len(name))
    if colors and number in _LEVEL_COLORS:
        name = f"\x1b[{_LEVEL_COLORS[number]}m{name}{RESET}"
    return f"{name}:{padding}"


def status_text(status: int, colors: bool) -> str:
    """Make ``200 OK``; ``-`` for 0, which means that no response was sent."""
    try:
        text = "-" if status == 0 else f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        text = str(status)
    if colors and status // 100 in _STATUS_COLORS:
        text = f"\x1b[{_STATUS_COLORS[status // 100]}m{text}{RESET}"
    return text


class DefaultFormatter(logging.Formatter):
    """Uvicorn's: the standard formatter, and ``%(levelprefix)s``. Each message is one line."""

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        self.use_colors = _is_terminal(self._terminal()) if use_colors is None else use_colors
        super().__init__(fmt, datefmt, style)

    def _terminal(self) -> TextIO | None:
        return sys.stderr

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Format a copy, since other handlers see the same record."""
        record = copy(record)
        record.message = one_line(record.message)
        record.levelprefix = level_prefix(record.levelname, record.levelno, self.use_colors)
        return self.layout(record)

    def layout(self, record: logging.LogRecord) -> str:
        """Fill in the format; the record is a copy, to be changed at will."""
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Leave a traceback its lines, and nothing else that a terminal would obey."""
        return lines(super().formatException(ei))


ACCESS_FORMAT = (
    '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s %(bytes_out)sB %(duration_ms).2fms'
)


class AccessFormatter(DefaultFormatter):
    """Uvicorn's: ``%(status_code)s`` comes with its phrase, and in colour like ``%(request_line)s``."""

    def _terminal(self) -> TextIO | None:
        return sys.stdout

    def layout(self, record: logging.LogRecord) -> str:
        """Dress an access record; whatever else goes to this logger comes out as a plain message."""
        if not hasattr(record, "request_line"):
            return f"{record.levelprefix} {record.message}"  # type: ignore[attr-defined]
        record.status_code = status_text(record.status_code, self.use_colors)  # type: ignore[attr-defined]
        if self.use_colors:
            record.request_line = f"{BOLD}{record.request_line}{RESET}"
        return super().layout(record)
