"""Any bytes at all, requests of a grammar with faults put in, and everything the corpus remembers: a short run.

`make fuzz` runs the same targets for as long as one likes, led by coverage. What it finds goes into corpus/, and is
then tried here for good.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance import targets
from tests.conformance.h2 import target as h2

SEEDS = list(targets.seeds())


def mostly(good: str, *bad: str, weight: int = 40) -> st.SearchStrategy[str]:
    """The right piece, and now and then a wrong one: a request with one fault goes further than one with ten."""
    return st.integers(0, weight).flatmap(lambda n: st.sampled_from(bad) if n == weight else st.just(good))


end = mostly("\r\n", "\n", "\r", "\r\r\n", "\n\r\n", "\r\n ", "", weight=80)
space = mostly(" ", "  ", "\t", "")
name = st.sampled_from(
    ["a", "X-Y", "connection", "upgrade", "expect", "content-length", "transfer-encoding", "host"]
)
value = st.sampled_from(
    [
        "",
        "0",
        "3",
        "+1",
        "chunked",
        "gzip, chunked",
        "close",
        "keep-alive",
        "upgrade",
        "keep-alive, Upgrade",
        "h2c",
        "100-continue",
        "a b",
        "\t1 ",
        "\x0b",
        "\x7f",
        "ÿ",
        "a:80",
        "[::1]:1",
        "1, 1",
        "websocket",
    ]
)
header = st.builds("{}{}{}{}".format, name, mostly(": ", ":", " :", ":\t", "", ": \r\n "), value, end)
line = st.builds(
    "{}{}{}{}HTTP/{}{}".format,
    mostly("GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PRI", "SOURCE", "FOO", "get", "", weight=4),
    space,
    mostly(
        "/",
        "/1",
        "/2",
        "/3",
        "/a?b",
        "*",
        "http://h/p",
        "h:1",
        "//x",
        "/%00",
        "/\x7f",
        "/#",
        "/" + "p" * 600,
        weight=4,
    ),
    space,
    mostly("1.1", "1.0", "1.2", "2.0", "0.9", "1.10", weight=8),
    end,
)
chunk = st.builds(
    "{}{}{}{}{}".format,
    mostly("3", "03", "0", "3 ", "0x3", "-1", "f" * 17, "ffffffff", ""),
    mostly("", ";a", ";a=b", ';a="b;c"', "; a", ";" + "a" * 5000, ";a\r", ";a\n", weight=3),
    end,
    mostly("abc", "ab", "abcd", ""),
    end,
)
trailers = mostly(
    "", "X: y\r\n", "Host: a\r\n", "X: y\n", "X: y\r\n z\r\n", "Content-Length: 3\r\n", weight=5
)
framed = st.one_of(
    st.just(("", "")),
    st.integers(0, 9).map(lambda size: (f"Content-Length: {size}\r\n", "GET / HTTP/1.1\r\n"[:size])),
    st.builds(
        lambda chunks, fields: ("Transfer-Encoding: chunked\r\n", f"{''.join(chunks)}0\r\n{fields}\r\n"),
        st.lists(chunk, max_size=4),
        trailers,
    ),
)
request = st.builds(
    lambda line, host, framed, headers, end: "".join(
        [line, host, framed[0], *headers, end, framed[1]]
    ).encode("latin-1"),
    line,
    mostly("Host: a\r\n", ""),
    framed,
    st.lists(header, max_size=2),
    mostly("\r\n", "\n", "\r", weight=80),
)
grammar = st.builds(b"".join, st.lists(request, min_size=1, max_size=3))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Golden requests, one behind the other, with a few bytes taken out, put in or repeated."""
    raw = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            del raw[at : at + draw(st.integers(1, 4))]
        elif kind == 1:
            raw[at:at] = draw(
                st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"0", b"\xff", b";"])
            )
        else:
            raw[at:at] = raw[at : at + draw(st.integers(1, 20))]
    return bytes(raw)


anything = st.one_of(st.binary(max_size=200), grammar, mutated())
sizes = st.lists(st.integers(0, 40), max_size=4)


@given(anything, sizes)
@settings(max_examples=400)
def test_both_parsers_read_the_same(data: bytes, sizes: list[int]) -> None:
    targets.parsers(data, sizes)


@given(anything, sizes)
@settings(max_examples=300)
def test_one_read_or_many(data: bytes, sizes: list[int]) -> None:
    targets.reads(data, sizes)


@given(anything, sizes)
@settings(max_examples=200)
def test_a_connection_answers_or_closes(data: bytes, sizes: list[int]) -> None:
    targets.connection(data, sizes)


# A head that a parser might recognise at a glance, with a body and another request behind it.
CLEAN = (
    b"POST /a?b HTTP/1.1\r\nHost: a:1\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nab"
    b"GET / HTTP/1.1\r\nHost: a:1\r\n\r\n"
)


@pytest.mark.parametrize("at", range(CLEAN.index(b"ab")))
def test_each_byte_of_a_clean_head(at: int) -> None:
    """Another byte in the place of each, and one ahead of it: no fault is overlooked at a glance."""
    for number in (*range(0x80), 0x80, 0xFF):
        targets.reads(CLEAN[:at] + bytes([number]) + CLEAN[at + 1 :])
        targets.reads(CLEAN[:at] + bytes([number]) + CLEAN[at:])
    targets.reads(CLEAN[:at] + CLEAN[at + 1 :])


@pytest.mark.parametrize("corpus", [targets.CORPUS, h2.CORPUS], ids=["http1", "h2"])
def test_the_corpus_stays_small(corpus: Path) -> None:
    sizes = [path.stat().st_size for path in corpus.iterdir()]
    assert len(sizes) < 500
    assert sum(sizes) < 262_144
    assert max(sizes) < 4096


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
@pytest.mark.parametrize("sizes", [(), (0,), (6, 1)], ids=["whole", "by byte", "in pieces"])
def test_seeds(target: str, sizes: tuple[int, ...]) -> None:
    for data in targets.seeds(target):
        targets.TARGETS[target](data, sizes)
