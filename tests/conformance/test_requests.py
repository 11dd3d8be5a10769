"""Golden requests against both parsers, fed whole, by line, by byte and at random."""

import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import HttpParser, Inbound
from tests.conformance.kit import ALL, REQUESTS, Golden, check_http_parser
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


def make(parser: str, inbound: Inbound) -> HttpParser:
    return PARSERS[parser](inbound, RequestLimits())


@pytest.mark.parametrize("cut", [whole, by_line, by_byte])
@pytest.mark.parametrize("golden", ALL, ids=lambda golden: golden.name)
def test_golden_request(parser, golden, cut):
    check_http_parser(lambda inbound: make(parser, inbound), golden, cut(golden.raw))


@given(st.sampled_from(ALL), st.data())
def test_golden_request_cut_at_random(golden: Golden, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(golden.raw)), max_size=8))
    edges = [0, *sorted(set(cuts)), len(golden.raw)]
    pieces = [golden.raw[a:b] for a, b in itertools.pairwise(edges) if a < b]
    for parser in PARSERS:
        check_http_parser(lambda inbound, parser=parser: make(parser, inbound), golden, pieces)


def test_every_request_has_its_outcome_and_says_why():
    names = {path.stem for path in REQUESTS.glob("*.http")}
    outcomes = {path.stem: json.loads(path.read_text()) for path in REQUESTS.glob("*.json")}
    assert names == set(outcomes) == {golden.name for golden in ALL}
    assert all(outcome["why"] for outcome in outcomes.values())
