"""The public names where Uvicorn has them, so that ``from uvicorn.main import Server`` needs one word changed."""

from pronghorn.cli import main, run
from pronghorn.config import Config
from pronghorn.worker.server import Server

__all__ = ["Config", "Server", "main", "run"]
