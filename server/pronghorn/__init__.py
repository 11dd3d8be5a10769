"""Pronghorn: an ASGI server for production.

`run` serves an application until a signal stops it; `Config` and `Server` are the two steps it is made of, for programs
that have a loop of their own.
"""

from typing import TYPE_CHECKING, Any

from pronghorn._version import __version__

if TYPE_CHECKING:
    from pronghorn.cli import run
    from pronghorn.config import Config
    from pronghorn.worker.server import Server

__all__ = ["Config", "Server", "__version__", "run"]

_HOMES = {"Config": "pronghorn.config", "Server": "pronghorn.worker.server", "run": "pronghorn.cli"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: a health check needs none of them, and starts every few seconds."""
    if name in _HOMES:
        import importlib  # noqa: PLC0415

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
