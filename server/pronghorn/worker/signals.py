"""The signals of one server process: caught while it serves, passed on once it is done.

A server that swallowed SIGTERM would end with exit code 0, and whoever sent the signal could not tell a stop from a
crash. So the first signal starts the drain, and when that is over the process is left to the handler that was there
before: by default it dies of SIGTERM (143), and SIGINT becomes a `KeyboardInterrupt`.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, Final

from pronghorn.observe import output

Handler = Callable[[int, FrameType | None], object]

#: SIGBREAK is Windows' second way to ask (Ctrl+Break); elsewhere there is no such signal.
HANDLED: Final = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGBREAK") if name in signal.Signals.__members__
)


@contextlib.contextmanager
def captured(
    on_signal: Callable[[int], None], others: Mapping[str, Handler] | None = None
) -> Iterator[list[int]]:
    """Call `on_signal` for each of `HANDLED` inside the block; yields the list of those that came.

    `others` are handlers of more signals, by name. One is left out where this system has no such signal, or where the
    program around us has a use for it. Only the main thread of a process can have handlers; in another one the block is
    left without.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        on_signal(number)

    # signal.signal and not loop.add_signal_handler: an application may hold the loop up, and a second SIGINT has to
    # be counted all the same.
    previous: dict[int, Any] = {number: signal.signal(number, handle) for number in HANDLED}
    for name, call in (others or {}).items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            previous[number] = signal.signal(number, call)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def pass_on(caught: list[int]) -> None:
    """Let the process have the signals that the server had caught, the last one first."""
    for number in dict.fromkeys(reversed(caught)):
        # Death by a signal skips the interpreter's own clean-up, and with it what is still in these buffers.
        output.finish()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        signal.raise_signal(number)
        if signal.getsignal(number) is signal.SIG_DFL:
            # Still here: the kernel protects PID 1, as the server is in a container without an init, from dying of a
            # signal by default. The exit code is the one that a shell would show.
            raise SystemExit(128 + number)
