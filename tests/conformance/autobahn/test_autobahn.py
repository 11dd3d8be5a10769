"""The Autobahn test suite against the real server, with each WebSocket codec: docs/autobahn.md."""

from __future__ import annotations

import pytest

from tests.conformance.autobahn.cases import CODECS, everything, selected
from tests.conformance.autobahn.suite import Report, cases_of
from tests.conformance.autobahn.verdict import complaint, load


def test_the_suite_has_the_cases_that_are_counted_here(image: str) -> None:
    assert cases_of(image) == list(everything())


@pytest.mark.parametrize("case", selected())
@pytest.mark.parametrize("codec", CODECS)
def test_case(codec: str, case: str, reports: dict[str, Report]) -> None:
    report = reports[codec]
    wrong = complaint(case, report.outcomes, load(codec))
    if wrong:
        pytest.fail(f"{codec} {case}: {wrong}\n{report.outcomes.get(case, report.last_words)}", pytrace=False)
