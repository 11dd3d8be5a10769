"""Every case, in clear text and over TLS."""

from __future__ import annotations

import pytest

from tests.conformance.h2.case import Case, play
from tests.conformance.h2.conftest import Subject
from tests.conformance.h2.table import CASES, order

#: What a server has to be held to at the least: the sections that h2spec has cases for, as RFC 9113 numbers them.
SECTIONS = {
    *("generic-1", "generic-2", "generic-4", "generic-5"),
    *(f"generic-3.{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10)),
    *("hpack-2.3.3", "hpack-4.2", "hpack-5.2", "hpack-6.1", "hpack-6.3"),
    *("3.4", "4.1", "4.2", "4.3", "5.1", "5.1.1", "5.3.2", "5.4.1", "5.5"),
    *("6.1", "6.2", "6.3", "6.4", "6.5", "6.5.2", "6.5.3", "6.6", "6.7", "6.8", "6.9", "6.9.1", "6.9.2", "6.10", "7"),
    *("8.1", "8.1.1", "8.2.1", "8.2.2", "8.3", "8.3.1", "8.4"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(subject: Subject, case: Case) -> None:
    play(case, subject.socket, subject.seen)


def test_every_case_has_a_name_of_its_own_and_no_section_is_left_out() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names))
    assert {case.section for case in CASES} >= SECTIONS
    assert sorted(SECTIONS, key=order)
