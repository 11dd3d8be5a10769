"""Log files opened anew, for those who move them away: logrotate(8), or a person.

A file that has been renamed goes on being written to under its new name, until whoever writes is told to look for the old name
again. Only what `logging` opened by name can be: stdout and stderr belong to whoever started this process, and a file behind them
is for `copytruncate`.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("pronghorn.error")


def reopen() -> int:
    """Have every file handler of this process open its file again; how many did.

    No line is lost: a record that is being written goes to the old file whole, and the next one to the new file. Where the new one
    cannot be opened, the old one stays. Not to be called from a signal handler, which may interrupt a handler of `logging`.
    """
    # Not by way of the loggers: a handler may be behind another one, or behind a queue.
    references = logging._handlerList[:]  # type: ignore[attr-defined]  # noqa: SLF001
    handlers = [
        handler for reference in references if isinstance(handler := reference(), logging.FileHandler)
    ]
    done = sum(map(_reopened, handlers))
    logger.info("Log files were reopened: %d", done)
    return done


def _reopened(handler: logging.FileHandler) -> bool:
    mode = handler.mode
    handler.acquire()
    try:
        if handler.stream is None:  # one that opens its file for its first record, which has not come yet
            return False
        # Where nobody has moved the file, "w" would empty it.
        handler.mode = mode.replace("w", "a").replace("x", "a")
        stream = handler._open()  # noqa: SLF001  # which subclasses override: compression, another encoding
        old, handler.stream = handler.stream, stream
        old.close()
    except OSError as exc:
        problem = exc
    else:
        return True
    finally:
        handler.mode = mode
        handler.release()
    logger.warning("%s cannot be reopened, the old file stays in use: %s", handler.baseFilename, problem)
    return False
