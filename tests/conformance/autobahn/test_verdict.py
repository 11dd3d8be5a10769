"""The judge of a run tells truth from falsehood, and the list of exceptions is one that it can use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.autobahn.cases import CODECS, everything, selected
from tests.conformance.autobahn.suite import Outcome, read
from tests.conformance.autobahn.verdict import BEHAVIORS, CLOSINGS, EXCEPTIONS, Expected, complaint, load

NON_STRICT = Expected("NON-STRICT", "OK", "because")


@pytest.mark.parametrize("codec", CODECS)
def test_every_exception_is_of_a_case_and_has_a_reason(codec: str) -> None:
    for case, expected in load(codec).items():
        assert case in everything()
        assert (expected.behavior, expected.closing) != ("OK", "OK")
        assert expected.behavior in BEHAVIORS
        assert expected.closing in CLOSINGS
        assert len(expected.reason) > 20


def test_exceptions_are_of_codecs_that_there_are() -> None:
    tables = {
        line[1:].split(".")[0] for line in EXCEPTIONS.read_text("utf-8").splitlines() if line[:1] == "["
    }
    assert tables <= {"every", *CODECS}


def test_a_codecs_own_exception_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.toml"
    file.write_text(
        '[every."2.1"]\nbehavior = "FAILED"\nreason = "a"\n[wsproto."2.1"]\nclosing = "UNCLEAN"\nreason = "b"\n'
    )
    assert load("websockets", file) == {"2.1": Expected("FAILED", "OK", "a")}
    assert load("wsproto", file) == {"2.1": Expected("OK", "UNCLEAN", "b")}


@pytest.mark.parametrize(
    ("behavior", "closing", "listed", "words"),
    [
        ("OK", "OK", None, None),
        ("NON-STRICT", "OK", NON_STRICT, None),
        ("NON-STRICT", "OK", None, "not in exceptions"),
        ("INFORMATIONAL", "INFORMATIONAL", None, "not in exceptions"),
        ("UNIMPLEMENTED", "OK", None, "not in exceptions"),
        ("OK", "WRONG CODE", None, "not in exceptions"),
        ("FAILED", "OK", NON_STRICT, "has behavior NON-STRICT"),
        ("NON-STRICT", "UNCLEAN", NON_STRICT, "closing OK"),
        ("OK", "OK", NON_STRICT, "take it out"),
    ],
)
def test_what_is_not_as_listed_is_complained_of(
    behavior: str, closing: str, listed: Expected | None, words: str | None
) -> None:
    exceptions = {"2.1": listed} if listed else {}
    said = complaint("2.1", {"2.1": Outcome(behavior, closing, {})}, exceptions)

    assert said is None if words is None else words in (said or "")


def test_a_case_that_never_ended_is_complained_of_even_if_listed() -> None:
    assert complaint("2.1", {}, {"2.1": NON_STRICT}) == "the suite came to no end with it"


def test_a_report_is_read_case_by_case(tmp_path: Path) -> None:
    words = {"behavior": "OK", "behaviorClose": "UNCLEAN", "reportfile": "server_case_2_1.json"}
    (tmp_path / "index.json").write_text(json.dumps({"server": {"2.1": words}}))
    (tmp_path / "server_case_2_1.json").write_text(
        json.dumps({"result": "as expected", "received": [["pong", "x"]]})
    )

    outcome = read(tmp_path)["2.1"]

    assert (outcome.behavior, outcome.closing) == ("OK", "UNCLEAN")
    assert 'received: [["pong", "x"]]' in str(outcome)


def test_without_a_report_nothing_has_an_outcome(tmp_path: Path) -> None:
    assert read(tmp_path / "report") == {}


def test_a_run_makes_cases_that_there_are_in_order() -> None:
    known = list(everything())
    assert selected() == [case for case in known if case in set(selected())]
    assert set(selected("all")) == set(known)
    assert {case.split(".")[0] for case in selected("")} == {case.split(".")[0] for case in known}
