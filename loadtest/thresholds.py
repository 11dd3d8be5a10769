"""What is good enough, and whether it was: thresholds.toml, what was measured, a verdict for each, and the table of them.

Pure: what Locust counted comes in as `Sample`s. Percentiles are the nearest rank among response times as Locust keeps them: whole
milliseconds up to 100, two digits above.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest.settings import WEIGHTS, LoadTestError

#: The section that is about everything.
ALL: Final = "all"

_PERCENTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
MEASURES: Final = (*_PERCENTILES, "failures", "requests")


@dataclass(frozen=True)
class Sample:
    """What was counted under one name; `times`: milliseconds, and how many answers took so long."""

    name: str
    requests: int
    failures: int
    times: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Threshold:
    """`measure` of the requests of `section`: at most `limit`, of `requests` at least."""

    section: str
    measure: str
    limit: float


@dataclass(frozen=True)
class Verdict:
    """`measured` is None where there was no request to measure, which no limit on time or on failures is met by."""

    threshold: Threshold
    measured: float | None

    @property
    def met(self) -> bool:
        """Whether it is as good as it has to be."""
        if self.measured is None:
            return False
        if self.threshold.measure == "requests":
            return self.measured >= self.threshold.limit
        return self.measured <= self.threshold.limit

    def __str__(self) -> str:
        measure, section = self.threshold.measure, self.threshold.section
        wanted = (
            f"{'at least' if measure == 'requests' else 'at most'} {_shown(measure, self.threshold.limit)}"
        )
        return f"{section}: {measure} {_shown(measure, self.measured)}, wanted {wanted}"


def load(path: Path, overrides: str = "") -> list[Threshold]:
    """The thresholds of a file, with `section.measure=value, ...` over them. Raises `LoadTestError` naming what is wrong where."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise LoadTestError(f"LOADTEST_THRESHOLDS={path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LoadTestError(f"{path}: {error}") from error
    found: dict[tuple[str, str], Threshold] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise LoadTestError(f"{path}: {section} = {table!r} stands outside of a section")
        for measure, limit in table.items():
            found[section, measure] = _threshold(
                f"{path}, [{section}] {measure} = {limit!r}", section, measure, limit
            )
    for text in filter(None, (part.strip() for part in overrides.split(","))):
        where = f"LOADTEST_LIMITS: {text!r}"
        match = re.fullmatch(r"(.+)\.(\w+)\s*=\s*([0-9.]+)", text)
        if match is None or match[3].count(".") > 1 or match[3] == ".":
            raise LoadTestError(f"{where} is not section.measure=number, such as browse.p95=200")
        found[match[1], match[2]] = _threshold(where, match[1], match[2], float(match[3]))
    return list(found.values())


def _threshold(where: str, section: str, measure: str, limit: object) -> Threshold:
    if section.partition(":")[0] not in {ALL, *WEIGHTS}:
        raise LoadTestError(f"{where}: no group of that name, there are {', '.join((ALL, *WEIGHTS))}")
    if measure not in MEASURES:
        raise LoadTestError(f"{where}: nothing of that name is measured, there are {', '.join(MEASURES)}")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
        raise LoadTestError(f"{where}: the limit is no number from 0 on")
    if measure == "failures" and limit > 1:
        raise LoadTestError(f"{where}: failures are a part of the requests, from 0 to 1")
    return Threshold(section, measure, float(limit))


def judge(
    thresholds: Iterable[Threshold], samples: Iterable[Sample], scenarios: Iterable[str] = tuple(WEIGHTS)
) -> list[Verdict]:
    """One verdict for each threshold of a scenario that ran."""
    samples, running = list(samples), {ALL, *scenarios}
    return [
        Verdict(threshold, _measure(threshold.measure, _of(threshold.section, samples)))
        for threshold in thresholds
        if threshold.section.partition(":")[0] in running
    ]


def _of(section: str, samples: Iterable[Sample]) -> Sample:
    """All samples of a section as one."""
    chosen = [
        sample for sample in samples if section in {ALL, sample.name} or sample.name.startswith(f"{section}:")
    ]
    times: Counter[int] = Counter()
    for sample in chosen:
        times.update(sample.times)
    return Sample(section, sum(one.requests for one in chosen), sum(one.failures for one in chosen), times)


def _measure(measure: str, sample: Sample) -> float | None:
    if measure == "requests":
        return sample.requests
    if measure == "failures":
        return sample.failures / sample.requests if sample.requests else None
    return percentile(sample.times, _PERCENTILES[measure])


def percentile(times: Mapping[int, int], part: float) -> float | None:
    """The time that this part of the answers took at most; None where there was none."""
    rank = math.ceil(part * sum(times.values()))
    seen = 0
    for time in sorted(times):
        seen += times[time]
        if seen >= rank:
            return time
    return None


def table(verdicts: Iterable[Verdict]) -> str:
    """For a person: each threshold, what was wanted, what was measured, and whether that is enough."""
    rows = [("", "", "wanted", "measured", "")]
    for verdict in verdicts:
        section, measure, limit = (
            verdict.threshold.section,
            verdict.threshold.measure,
            verdict.threshold.limit,
        )
        sign = "≥" if measure == "requests" else "≤"
        wanted = f"{sign} {_shown(measure, limit)}"
        rows.append(
            (section, measure, wanted, _shown(measure, verdict.measured), "met" if verdict.met else "NOT MET")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    )


def _shown(measure: str, value: float | None) -> str:
    if value is None:
        return "none"
    if measure == "failures":
        return f"{value * 100:.3g} %"
    return f"{value:g}" if measure == "requests" else f"{value:g} ms"
