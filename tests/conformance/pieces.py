"""How bytes are cut into reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """`data` in pieces of these sizes over and over; whole if there are none."""
    if not sizes:
        yield data
        return
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + size + 1]
        at += size + 1
