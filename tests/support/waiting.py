"""Waiting for what has to come, and not for a while that may be too short, or longer than need be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(found: Callable[[], Found | None], what: str, seconds: float = 60) -> Found:
    """What is found once there is something; for what never comes, an AssertionError that says what that was."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.01)
    return value
