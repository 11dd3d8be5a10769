"""Golden connections whole, by frame, by byte and cut at random; and with faults put in, where anything may come but a crash."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.h2 import target
from tests.conformance.h2.conftest import Subject
from tests.conformance.h2.goldens import ALL, Golden
from tests.conformance.h2.table import CASES
from tests.support.h2_frames import PREFACE, block, frame, head, literal
from tests.support.h2_frames import settings as settings_frame


def whole(one: Golden) -> Iterator[bytes]:
    yield one.raw


def by_frame(one: Golden) -> Iterator[bytes]:
    yield from one.sent


def by_byte(one: Golden) -> Iterator[bytes]:
    for index in range(len(one.raw)):
        yield one.raw[index : index + 1]


def heads_apart(one: Golden) -> Iterator[bytes]:
    """The nine bytes of each frame's head, then the rest."""
    for sent in one.sent:
        yield sent[:9]
        yield sent[9:]


IDS = [one.name for one in ALL]


@pytest.mark.parametrize("one", ALL, ids=IDS)
def test_over_a_socket(subject: Subject, one: Golden) -> None:
    with subject.connect(opening=one.raw) as client:
        client.until(lambda: one.settled(client))
        one.check(client)
        if one.error:
            client.end()


@pytest.mark.parametrize("pieces", [whole, by_frame, by_byte, heads_apart])
@pytest.mark.parametrize("one", ALL, ids=IDS)
def test_in_pieces(one: Golden, pieces: Callable[[Golden], Iterator[bytes]]) -> None:
    asyncio.run(target.play(one, pieces(one)))


@given(st.sampled_from(ALL), st.data())
def test_cut_at_random(one: Golden, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(one.raw)), max_size=8))
    edges = [0, *sorted(set(cuts)), len(one.raw)]
    pieces = [one.raw[a:b] for a, b in itertools.pairwise(edges) if a < b]
    asyncio.run(target.play(one, pieces))


# ---- Any bytes at all -----------------------------------------------------------------------------------------------

KINDS = st.sampled_from([*range(10), 16, 17, 0xFF])
STREAMS = st.sampled_from([0, 1, 2, 3, 5, 7, 99, 2**31 - 1, 2**31 + 1])
PATHS = st.sampled_from(
    [
        b"/",
        b"/echo",
        b"/stay",
        b"/refuse",
        b"/begin",
        b"/size?70000",
        b"/trailers",
        b"/push",
        b"/early",
        b"*",
        b"",
    ]
)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"x", b"X", b"te", b"cookie", b"host", b"content-length", b":path", b"expect", b"priority", b""]
        ),
        st.sampled_from(
            [b"", b"1", b"4", b"trailers", b"100-continue", b"localhost", b"u=0, i", b"\r\n", b" a"]
        ),
    ),
    max_size=3,
)
BLOCKS = st.builds(
    lambda path, method, fields, coda: block(head(*fields, path=path, method=method)) + coda,
    PATHS,
    st.sampled_from([b"GET", b"POST", b"HEAD", b"CONNECT", b"OPTIONS", b"get"]),
    FIELDS,
    st.sampled_from(
        [b"", b"", b"", b"\xbe", b"\x20", b"\x80", literal(b"x", b"y" * 900, kind=0x40) + b"\xbe" * 30]
    ),
)
NUMBERS = st.sampled_from([0, 1, 100, 65_535, 2**31 - 1, 2**32 - 1]).map(
    lambda number: number.to_bytes(4, "big")
)
SETTINGS = st.lists(
    st.builds(lambda code, value: code.to_bytes(2, "big") + value, st.integers(0, 9), NUMBERS), max_size=3
).map(b"".join)
PAYLOADS = st.one_of(
    st.binary(max_size=20), BLOCKS, BLOCKS, NUMBERS, SETTINGS, st.just(bytes(8)), st.just(bytes(5))
)
FLAGS = st.sampled_from([0, 1, 4, 5, 5, 5, 8, 0xD, 0x20, 0x25, 0x2D, 0xFF])
FRAMES = st.builds(
    lambda kind, payload, flags, stream: frame(kind, payload, flags=flags, stream=stream),
    KINDS,
    PAYLOADS,
    FLAGS,
    STREAMS,
)
#: Frames that may be in their place, more often than not.
GOOD = st.one_of(
    st.builds(
        lambda block, flags, stream: frame(1, block, flags=flags, stream=stream), BLOCKS, FLAGS, STREAMS
    ),
    st.builds(
        lambda data, end, stream: frame(0, data, flags=end, stream=stream),
        st.binary(max_size=9),
        st.booleans(),
        STREAMS,
    ),
    st.builds(lambda number, stream: frame(8, number, stream=stream), NUMBERS, STREAMS),
    st.builds(lambda number, stream: frame(3, number, stream=stream), NUMBERS, STREAMS),
    SETTINGS.map(lambda payload: frame(4, payload)),
)
TALKS = st.lists(st.one_of(GOOD, GOOD, FRAMES), max_size=8).map(b"".join)
PLAYED = [
    (case.opening or PREFACE + settings_frame(case.values))
    + b"".join(step for step in case.steps if isinstance(step, bytes))
    for case in CASES
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """What a case or a golden file sends, with a few bytes taken out, put in, changed or repeated."""
    raw = bytearray(draw(st.sampled_from([*target.seeds(), *PLAYED])))
    start = len(PREFACE)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(min(start, len(raw)), len(raw)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            del raw[at : at + draw(st.integers(1, 4))]
        elif kind == 1:
            raw[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == 2:
            raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        else:
            raw[at:at] = raw[at : at + draw(st.integers(1, 60))]
    return bytes(raw)


anything = st.one_of(TALKS, mutated(), st.binary(max_size=200))
sizes = st.lists(st.integers(0, 40), max_size=4)


@given(anything, sizes)
@settings(max_examples=400)
def test_a_connection_answers_or_closes(data: bytes, sizes: list[int]) -> None:
    target.h2(data, sizes)


@pytest.mark.parametrize("sizes", [(), (0,), (6, 1)], ids=["whole", "by byte", "in pieces"])
def test_what_cases_send(sizes: tuple[int, ...]) -> None:
    for data in PLAYED:
        if len(data) < 2000:
            target.h2(data, sizes)


def test_every_file_says_why() -> None:
    assert len(ALL) >= 25
    assert all(one.why and one.sent and (one.error or one.streams) for one in ALL)
