"""All cases."""

from __future__ import annotations

from tests.conformance.h2 import connections, field_blocks, frames, generic, messages

CASES = [*generic.CASES, *field_blocks.CASES, *connections.CASES, *frames.CASES, *messages.CASES]


def order(section: str) -> tuple[str, list[int]]:
    """Sorts sections as the RFC has them."""
    name, _, numbers = section.rpartition("-")
    return name, [int(number) for number in numbers.split(".")]
