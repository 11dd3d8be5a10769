"""The drills of the stack in what needs no stack: the table at the end, the counters that are watched, and that each is in docs/drills.md."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tests.drills.drill import NAMED as NAME
from tests.drills.report import NAMED, Table
from tests.drills.watch import counters
from tests.integration.edge_load import BrokenOff, Refused, Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/drills.md").read_text()


def told() -> dict[str, dict[str, Any]]:
    """What the marker of each drill says, by the drill's name."""
    found = {}
    for file in sorted((ROOT / "tests/drills").glob("test_*.py")):
        for test in ast.parse(file.read_text()).body:
            if isinstance(test, ast.AsyncFunctionDef) and test.name.startswith("test_"):
                calls = [one for one in test.decorator_list if isinstance(one, ast.Call)]
                words = {
                    str(word.arg): ast.literal_eval(word.value) for call in calls for word in call.keywords
                }
                found[test.name.removeprefix("test_").replace("_", "-")] = words
    return found


@pytest.mark.parametrize(("name", "words"), told().items())
def test_each_is_on_the_page_and_in_its_runbook(name: str, words: dict[str, Any]) -> None:
    assert f"| {name} | {words['did']} | {words['must']} |" in PAGE
    runbook = PAGE.partition("## Runbook")[2].partition("## Servers, side by side")[0]
    assert re.search(rf"\*\*[a-z, -]*\b{name}\b[a-z, -]*\*\*", runbook)


def test_nothing_on_the_page_is_no_drill_any_more() -> None:
    described = re.findall(r"^\| ([a-z][a-z-]+) \|", PAGE.partition("## Runbook")[0], re.MULTILINE)
    assert set(described) - {"drill"} == told().keys()


def row(kind: str, *failures: str, sent: int = 10, recovered: float = 0.0) -> Row:
    return Row(kind, sent=sent, failures=list(failures), gap=0.5, recovered=recovered)


def test_a_few_lost_requests_are_named_and_many_are_counted() -> None:
    table = Table()
    table.add("few", "done", "held", [row("uploads", "Refused(502, 'ab12')"), row("events")], 1.25)
    many = [f"Refused(502, '{number:x}')" for number in range(NAMED + 1)]
    table.add(
        "many", "done", "held", [row("fresh", *many), row("events", "BrokenOff('EOFError', 'ab')")], math.inf
    )
    few, more = table.lines
    assert few.names() == ["uploads: Refused(502, 'ab12')"]
    assert (few.sent, len(few.lost), few.recovery) == (20, 1, 1.25)
    assert more.names() == [f"{NAMED + 1} times fresh: 502; 1 times events: EOFError"]
    assert "lost: uploads: Refused(502, 'ab12')" in str(table)


def test_the_id_of_a_refusal_is_in_what_is_remembered_of_it() -> None:
    headers = {"x-request-id": "00ff" * 8}
    assert NAME.findall(repr(Refused(502, headers))) == [("502", "00ff" * 8)]
    assert NAME.findall(repr(BrokenOff(EOFError(), headers))) == [("'EOFError'", "00ff" * 8)]
    assert NAME.search(repr(Refused(502, {}))) is None


def test_counters_are_what_may_not_fall() -> None:
    text = '# TYPE a_total counter\na_total{b="c d"} 3.0\nb_count 4.0\nc_bucket 5.0\nd 6.0\n'
    assert counters(text) == {'a_total{b="c d"}': 3.0, "b_count": 4.0}
