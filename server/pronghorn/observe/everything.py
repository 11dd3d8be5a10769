"""With ``--log-format json`` the whole output is JSON: what the application logs, and what Python prints by itself.

The application need not know. The root logger has a handler of ours before the application is imported, so that records come out
like the server's and ``logging.basicConfig()`` finds that there is nothing to do. What an application sets up in full is its own: it
may take our handler away, as ``dictConfig`` with a root logger does, and a record that a handler of its own writes to the console is
not written a second time. docs/logging.md has the rules in a table.

Warnings, and exceptions that nobody caught, are records then, one line each with the traceback inside, unless somebody else has a
hook for them.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pronghorn.observe.logs import ERROR, ROOT, ConsoleHandler

if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from threading import ExceptHookArgs

_logger = logging.getLogger(ERROR)


class RootHandler(ConsoleHandler):
    """The root logger's: stderr, for what nobody else has written there."""

    def __init__(self) -> None:
        super().__init__("stderr", "json", use_colors=False)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, unless a handler of the application's own on the record's way did."""
        if not _on_console(record):
            super().emit(record)


def take(level: int) -> None:
    """Have all of the process's output be JSON; `level` is the root logger's, unless the application has set that logger up."""
    root = logging.root
    for handler in root.handlers[:]:
        if isinstance(handler, RootHandler) or _basic(handler):
            root.removeHandler(handler)
    if not root.handlers:
        root.addHandler(RootHandler())
        root.setLevel(level)
    logging.captureWarnings(True)
    # Whoever has set one of these, such as a service that collects errors, knows what he does.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable


def taken() -> bool:
    """Whether our own lines are JSON on the console, and all others are to be."""
    handlers = logging.getLogger(ROOT).handlers
    return any(isinstance(handler, ConsoleHandler) and handler.json for handler in handlers)


def tell(text: str, exception: str | None = None) -> bool:
    """Log what ends this process, if that is a line of JSON; else whoever asks has to print it."""
    if taken():
        _logger.critical("%s", text, extra={"exception": exception} if exception else None)
        return True
    return False


def retake() -> None:
    """Once the application is imported, and again when it is started: what ``basicConfig(force=True)`` made gives way as well."""
    root = logging.root
    basic = [handler for handler in root.handlers if _basic(handler)]
    if basic and taken():
        for handler in basic:
            root.removeHandler(handler)
        if not root.handlers:
            root.addHandler(RootHandler())


def _basic(handler: logging.Handler) -> bool:
    """Whether it is what ``basicConfig`` makes: text to the console. Those of a ``dictConfig`` have names."""
    return (
        type(handler) is logging.StreamHandler
        and handler.name is None
        and type(handler.formatter) in (logging.Formatter, type(None))
        and _is_console(handler)
    )


def _on_console(record: logging.LogRecord) -> bool:
    logger = logging.Logger.manager.loggerDict.get(record.name)
    found = logger if isinstance(logger, logging.Logger) else logging.root
    while True:
        for handler in found.handlers:
            if (
                isinstance(handler, logging.StreamHandler)
                and record.levelno >= handler.level
                and _is_console(handler)
            ):
                return True
        if found.parent is None:
            return False
        found = found.parent


def _is_console(handler: logging.StreamHandler[Any]) -> bool:
    return any(
        handler.stream is stream for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    )


def _uncaught(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, exc, traceback)
    else:
        _logger.critical("Uncaught exception", exc_info=(kind, exc, traceback))


def _uncaught_in_thread(args: ExceptHookArgs) -> None:
    exc = args.exc_value
    if exc is not None and not isinstance(exc, SystemExit):
        name = "a thread" if args.thread is None else f"thread {args.thread.name}"
        _logger.error("Uncaught exception in %s", name, exc_info=(type(exc), exc, args.exc_traceback))


def _unraisable(args: UnraisableHookArgs) -> None:
    exc = args.exc_value
    if exc is not None:
        message = f"{args.err_msg or 'Exception ignored in'}: {args.object!r}"
        _logger.error("%s", message, exc_info=(type(exc), exc, args.exc_traceback))
