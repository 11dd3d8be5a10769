"""What the doctor says: one line for each thing looked at, and below it, where something is wrong, what to do."""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pronghorn.observe.escape import one_line


class Verdict(enum.Enum):
    """How bad it is. `UNKNOWN` is what cannot be told from here, by this user."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one subject; `cure` is the way out, a sentence, empty where none is needed."""

    verdict: Verdict
    subject: str
    text: str
    cure: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, subject, text)


def warning(subject: str, text: str, cure: str) -> Finding:
    """It works, and will not always."""
    return Finding(Verdict.WARNING, subject, text, cure)


def bad(subject: str, text: str, cure: str) -> Finding:
    """Requests are lost, or somebody may do what he should not."""
    return Finding(Verdict.BAD, subject, text, cure)


def unknown(subject: str, text: str, cure: str) -> Finding:
    """It cannot be told; `cure` says who could."""
    return Finding(Verdict.UNKNOWN, subject, text, cure)


def as_text(findings: Sequence[Finding]) -> str:
    """For people: aligned, the cures indented, and a sum at the end."""
    width = max(len(verdict.value) for verdict in Verdict)
    subjects = max((len(finding.subject) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(
            f"{finding.verdict.value:<{width}}  {finding.subject:<{subjects}}  {one_line(finding.text)}"
        )
        if finding.cure:
            lines.append(f"{'':<{width}}  {'':<{subjects}}  -> {one_line(finding.cure)}")
    counts = Counter(finding.verdict for finding in findings)
    lines += ["", ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)]
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """For programs: one array of objects."""
    return json.dumps(
        [
            {"verdict": one.verdict.value, "subject": one.subject, "text": one.text, "cure": one.cure}
            for one in findings
        ],
        indent=2,
    )
