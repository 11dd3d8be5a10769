"""One target under atheris: `python fuzz.py TARGET [libFuzzer's arguments]`, as scripts/fuzz calls it.

An input is what a client sends. How it is cut into reads follows from a checksum of it, so that a file of the corpus is
nothing but bytes and still says everything.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pronghorn", "h11"]):
    from tests.conformance import targets


def sizes(data: bytes) -> tuple[int, ...]:
    """Whole for a quarter of all inputs, else pieces of two sizes in turn."""
    mixed = zlib.crc32(data)
    return () if mixed % 4 == 0 else (mixed // 4 % 7, mixed // 28 % 90)


def main(target: str, *arguments: str) -> None:
    if arguments[:1] == ("--seeds",):
        for number, seed in enumerate(targets.seeds()):
            Path(arguments[1], f"{number:03}").write_bytes(seed)
        return
    check = targets.TARGETS[target]
    targets.quiet()
    # libFuzzer runs itself again to merge, through a shell and by what it takes for its own name.
    name = f"{sys.executable} {__file__} {target}"
    atheris.Setup([name, *arguments], lambda data: check(data, sizes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
