"""Alerts and dashboard as files: each alert leads somewhere, and everything that is asked for is something that is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((ROOT / "observability/prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "observability/grafana/dashboards/pronghorn.json").read_text())
PAGE = (ROOT / "docs/observability.md").read_text()
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for target in TARGETS]


def named(alert: dict[str, Any]) -> str:
    return "-".join([alert["alert"], alert["labels"]["severity"], alert["labels"].get("window", "")])


@pytest.mark.parametrize("alert", ALERTS, ids=named)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/observability.md#{alert['alert'].lower()}"
    assert f"\n### {alert['alert']}\n" in PAGE


def test_the_page_has_no_alert_that_is_gone() -> None:
    told = set(re.findall(r"^### ([A-Z]\w+)$", PAGE, re.MULTILINE))

    assert told == {alert["alert"] for alert in ALERTS}


def test_every_alert_has_a_case_where_it_fires() -> None:
    cases = "".join(path.read_text() for path in (ROOT / "tests/integration/alerts").glob("*.yml"))

    assert {a["alert"] for a in ALERTS} == set(re.findall(r'alertname="(\w+)"', cases))


def test_the_threshold_of_latency_is_the_same_in_every_rule() -> None:
    assert {bound for text in EXPRESSIONS for bound in re.findall(r'le="([^"]+)"', text)} == {"0.5"}


def test_every_metric_of_the_server_that_is_asked_for_is_counted() -> None:
    reference = (ROOT / "docs/reference/metrics.md").read_text()
    asked = {name for text in EXPRESSIONS for name in re.findall(r"(?<![:\w])pronghorn_\w+", text)}
    counted = set(re.findall(r"`(pronghorn_\w+)`", reference))

    assert asked
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= counted


def test_every_rule_that_is_asked_for_is_there() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}

    assert {name for text in EXPRESSIONS for name in re.findall(r"\w+(?::\w+)+", text)} <= recorded


def test_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["type"] == "row" or panel["description"]
        taken |= cells
