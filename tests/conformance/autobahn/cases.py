"""Which cases the suite has, and which of them a run makes.

The suite itself is in an image; tests are named before there is one. So the cases are counted here, and a test asks the
image whether it counts the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

#: How many cases each section has; they are numbered from 1.
_COUNTS = """
    1.1: 8   1.2: 8                                            framing: text, binary
    2: 11                                                      ping and pong
    3: 7                                                       reserved bits
    4.1: 5   4.2: 5                                            reserved opcodes: of data, of control frames
    5: 20                                                      fragmentation
    6.1: 3   6.2: 4   6.3: 2   6.4: 4   6.5: 5   6.6: 11       UTF-8
    6.7: 4   6.8: 2   6.9: 4   6.10: 3  6.11: 5  6.12: 8
    6.13: 5  6.14: 10 6.15: 1  6.16: 3  6.17: 5  6.18: 5
    6.19: 5  6.20: 7  6.21: 8  6.22: 34 6.23: 7
    7.1: 6   7.3: 6   7.5: 1   7.7: 13  7.9: 9   7.13: 2       the closing handshake
    9.1: 6   9.2: 6   9.3: 9   9.4: 9                          limits: sizes, sizes of fragments
    9.5: 6   9.6: 6   9.7: 6   9.8: 6                          limits: sizes of segments, round trips
    10.1: 1                                                    a message in many frames
    12.1: 18 12.2: 18 12.3: 18 12.4: 18 12.5: 18               permessage-deflate: five kinds of data
    13.1: 18 13.2: 18 13.3: 18 13.4: 18 13.5: 18 13.6: 18      permessage-deflate: seven offers
    13.7: 18
"""
SECTIONS = {section: int(count) for section, count in re.findall(r"(\d[\d.]*): (\d+)", _COUNTS)}

CODECS = ("websockets", "wsproto")


def everything() -> Iterator[str]:
    """Every case of the suite, in its own order."""
    for section, count in SECTIONS.items():
        for number in range(1, count + 1):
            yield f"{section}.{number}"


def selected(wanted: str | None = None) -> list[str]:
    """The cases that a run makes: every one with AUTOBAHN=all, otherwise those that do not take long."""
    wanted = os.environ.get("AUTOBAHN", "") if wanted is None else wanted
    return [case for case in everything() if wanted == "all" or not takes_long(case)]


#: Of the 18 cases of each kind of data and offer in 12 and 13, a thousand messages each: those of 16 and 256 bytes, 4 and 16 KiB, and
#: one of 8 KiB in fragments of 256 bytes. The others are more of the same, and most of the time that a whole run takes.
SHORT_DEFLATE = {1, 3, 5, 7, 11}


def takes_long(case: str) -> bool:
    """Whether a run leaves a case out unless it makes all of them."""
    section, *_, number = case.split(".")
    return section in {"12", "13"} and int(number) not in SHORT_DEFLATE


def limit() -> int:
    """Seconds until a run is ended; several times what it needs on an idle machine."""
    return 3600 if os.environ.get("AUTOBAHN") == "all" else 900
