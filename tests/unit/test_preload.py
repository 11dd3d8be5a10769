"""The process that workers are forked from, and its supervisor."""

from __future__ import annotations

from pronghorn.supervise import preload
from pronghorn.supervise.channel import Channel


def test_a_supervisor_that_was_killed_before_it_had_read_everything_is_gone() -> None:
    supervisor, ours = Channel.pair()
    ours.send({"ready": []})
    # The kernel resets a connection whose end is closed with something in it.
    supervisor.close()
    assert preload._receive(ours) == (b"", [])
    ours.close()


def test_a_supervisor_that_left_in_order_is_gone() -> None:
    supervisor, ours = Channel.pair()
    supervisor.close()
    assert preload._receive(ours) == (b"", [])
    ours.close()
