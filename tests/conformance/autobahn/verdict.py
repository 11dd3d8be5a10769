"""What is expected of each case: OK on both counts, or exactly what exceptions.toml says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.autobahn.suite import Outcome

EXCEPTIONS = Path(__file__).parent / "exceptions.toml"

#: Everything that the suite can say (its case/case.py, and report.py on what the words stand for).
BEHAVIORS = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"}
CLOSINGS = {"OK", "INFORMATIONAL", "FAILED", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT"}


@dataclass(frozen=True)
class Expected:
    """The two words that a case shall come out with, and why they are not OK."""

    behavior: str = "OK"
    closing: str = "OK"
    reason: str = ""


def load(codec: str, file: Path = EXCEPTIONS) -> dict[str, Expected]:
    """The exceptions that count for a codec; its own come before those of every codec."""
    tables = tomllib.loads(file.read_text("utf-8"))
    listed = tables.get("every", {}) | tables.get(codec, {})
    return {case: Expected(**words) for case, words in listed.items()}


def complaint(case: str, outcomes: Mapping[str, Outcome], exceptions: Mapping[str, Expected]) -> str | None:
    """What is wrong with a case of a run, in one line; None if it came out as expected."""
    outcome = outcomes.get(case)
    if outcome is None:
        return "the suite came to no end with it"
    found = (outcome.behavior, outcome.closing)
    listed = exceptions.get(case)
    if listed is None:
        return None if found == ("OK", "OK") else "it is not OK, and not in exceptions.toml"
    if found == (listed.behavior, listed.closing):
        return None
    if found == ("OK", "OK"):
        return "it is OK: take it out of exceptions.toml"
    return f"exceptions.toml has behavior {listed.behavior}, closing {listed.closing}"
