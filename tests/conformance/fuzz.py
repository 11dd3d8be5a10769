"""One target until it is told to stop, as scripts/fuzz calls it.

    python fuzz.py TARGET [libFuzzer's arguments]       with atheris, which coverage leads
    python fuzz.py TARGET --hypothesis SECONDS          without: at random, by the grammar of the tests
    python fuzz.py TARGET --seeds FOLDER                write where all of them start from

To atheris an input is what a client sends. How it is cut into reads follows from a checksum of it, so that a file of the
corpus is nothing but bytes and still says everything.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

Check = Callable[[bytes, Sequence[int]], None]

#: Examples of one run of hypothesis, between two looks at the clock.
_EXAMPLES = 1000


def sizes(data: bytes) -> tuple[int, ...]:
    """Whole for a quarter of all inputs, else pieces of two sizes in turn."""
    mixed = zlib.crc32(data)
    return () if mixed % 4 == 0 else (mixed // 4 % 7, mixed // 28 % 90)


def main(target: str, *arguments: str) -> None:
    if arguments[:1] == ("--seeds",):
        from tests.conformance import targets  # below it has to be imported in another way

        for number, seed in enumerate(targets.seeds(target)):
            Path(arguments[1], f"{number:03}").write_bytes(seed)
    elif arguments[:1] == ("--hypothesis",):
        at_random(target, float(arguments[1]))
    else:
        led_by_coverage(target, arguments)


def led_by_coverage(target: str, arguments: Sequence[str]) -> None:
    import atheris  # not to be had for every Python

    with atheris.instrument_imports(include=["pronghorn", "h11", "wsproto", "hpack"]):
        from tests.conformance import targets

    check = targets.TARGETS[target]
    targets.quiet()
    # libFuzzer runs itself again to merge, through a shell and by what it takes for its own name.
    name = f"{sys.executable} {__file__} {target}"
    atheris.Setup([name, *arguments], lambda data: check(data, sizes(data)))
    atheris.Fuzz()


def at_random(target: str, seconds: float) -> None:
    from hypothesis import given, seed, settings  # atheris can do without

    from tests.conformance import targets, test_fuzz
    from tests.conformance.h2 import test_golden

    anything = test_golden.anything if target == "h2" else test_fuzz.anything
    check = targets.TARGETS[target]
    targets.quiet()
    end, runs = time.monotonic() + seconds, 0
    while time.monotonic() < end:

        @settings(max_examples=_EXAMPLES, deadline=None, database=None)
        @seed(time.time_ns())
        @given(anything, test_fuzz.sizes)
        def run(data: bytes, sizes: list[int]) -> None:
            check(data, sizes)

        run()
        runs += 1
    sys.stderr.write(f"Done {runs * _EXAMPLES} runs in {seconds:.0f} second(s)\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
