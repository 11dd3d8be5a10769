"""Golden requests against both parsers, fed whole, by line, by byte and at random."""

import functools
import itertools
import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.wire.limits import RequestLimits
from tests.conformance.kit import ALL, REQUESTS, Golden, MakeParser, Recorded, check_http_parser
from tests.support.scripted import PARSERS


def whole(raw: bytes) -> Iterator[bytes]:
    yield raw


def by_line(raw: bytes) -> Iterator[bytes]:
    yield from raw.splitlines(keepends=True)


def by_byte(raw: bytes) -> Iterator[bytes]:
    for index in range(len(raw)):
        yield raw[index : index + 1]


@pytest.fixture(params=sorted(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def maker(parser: str) -> MakeParser:
    return functools.partial(PARSERS[parser], limits=RequestLimits())


@pytest.mark.parametrize("cut", [whole, by_line, by_byte])
@pytest.mark.parametrize("golden", ALL, ids=lambda golden: golden.name)
def test_golden_request(parser: str, golden: Golden, cut: Callable[[bytes], Iterator[bytes]]) -> None:
    check_http_parser(maker(parser), golden, cut(golden.raw))


@given(st.sampled_from(ALL), st.data())
def test_golden_request_cut_at_random(golden: Golden, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(golden.raw)), max_size=8))
    edges = [0, *sorted(set(cuts)), len(golden.raw)]
    pieces = [golden.raw[a:b] for a, b in itertools.pairwise(edges) if a < b]
    for parser in PARSERS:
        check_http_parser(maker(parser), golden, pieces)


def test_every_request_has_its_outcome_and_says_why() -> None:
    names = {path.stem for path in REQUESTS.glob("*.http")}
    outcomes = {path.stem: json.loads(path.read_text()) for path in REQUESTS.glob("*.json")}
    assert names == set(outcomes) == {golden.name for golden in ALL}
    assert all(outcome["why"] for outcome in outcomes.values())


@pytest.mark.parametrize("parser", sorted(PARSERS))
def test_thousands_of_ignored_upgrades_in_one_read(parser: str) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    inbound = Recorded()
    maker(parser)(inbound).feed(request * 3000)
    assert inbound.error is None
    assert inbound.complete == [True] * 3000


@pytest.mark.parametrize("parser", sorted(PARSERS))
def test_what_is_ahead_of_an_unfinished_head_is_no_part_of_it(parser: str) -> None:
    """A read ends where it likes: a head is not too large because it comes behind many others."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    inbound = Recorded()
    made = maker(parser)(inbound)
    for _ in range(2):
        made.feed(request * 4000 + request[:10])
        made.feed(request[10:])
    assert inbound.error is None
    assert inbound.complete == [True] * 8002
