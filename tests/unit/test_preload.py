"""The process that workers are forked from, and its supervisor."""

from __future__ import annotations

import os

import pytest

from pronghorn.supervise import preload
from pronghorn.supervise.channel import Channel
from pronghorn.supervise.process import Preloader
from tests.support import kernel


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


def test_a_process_to_fork_from_that_is_gone_leaves_nothing_open() -> None:
    ours, theirs = Channel.pair()
    theirs.close()
    preloader = Preloader(
        pid=os.getpid(),
        slot=-1,
        channel=ours,
        generation=0,
        lifetime=None,
        started=0.0,
        since=0.0,
        heard=0.0,
    )
    before = set(kernel.descriptors(os.getpid()))

    with pytest.raises(OSError, match="Broken pipe"):
        preloader.fork((), 0.0)

    # Readers of earlier tests' pipes may close theirs meanwhile.
    assert set(kernel.descriptors(os.getpid())) <= before
    ours.close()
