"""The id of the request that a log record belongs to, in every record of the process and without a line of code in the application.

`CURRENT` is set in the context in which a request is served. What the application starts from there has a copy of that context:
tasks, `asyncio.to_thread`, the threads of anyio. `install` makes the logging module look there for each record it creates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

#: What a record outside of any request says.
NO_REQUEST: Final = "-"

CURRENT: Final[ContextVar[str]] = ContextVar("pronghorn.request_id", default=NO_REQUEST)


def install() -> None:
    """Give every record from now on a `request_id`; once, however often it is called."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Factory):
        logging.setLogRecordFactory(_Factory(factory))


class _Factory:
    """The factory that was there, an application's own perhaps, and the id on what it makes. What has one keeps it."""

    def __init__(self, factory: Callable[..., logging.LogRecord]) -> None:
        self._factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._factory(*args, **kwargs)
        if type(record.__dict__) is dict:
            record.__dict__ = _Attributes(record.__dict__)
            record.__dict__.setdefault("request_id", CURRENT.get())
        return record


class _Attributes(dict[str, Any]):
    """Those of a record. They deny that there is a `request_id`, or logging would refuse one that the application gives in `extra`.

    "Attempt to overwrite 'request_id' in LogRecord" would be the end of many a call that worked under every other server.
    """

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return name != "request_id" and super().__contains__(name)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """As a plain dictionary, for records that go to another process."""
        return dict, (dict(self),)
