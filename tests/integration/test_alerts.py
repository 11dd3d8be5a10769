"""The rules and the routes in the programs that will read them: checked, and each alert's unit tests run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Watchers
from tests.integration.stack import ROOT, docker

CASES = sorted(path.name for path in (Path(__file__).parent / "alerts").glob("*.yml"))


def tool(image: str, folder: str, *command: str) -> str:
    """What a program of that image says of the repository; its failure is the test's."""
    mount = ("--volume", f"{ROOT}:/repository:ro", "--workdir", f"/repository/{folder}")
    return docker("run", "--rm", "--network", "none", *mount, "--entrypoint", command[0], image, *command[1:])


def test_prometheus_takes_its_configuration_and_every_rule(watchers: Watchers) -> None:
    said = tool(
        watchers.prometheus, "observability/prometheus", "promtool", "check", "config", "prometheus.yml"
    )

    assert "6 rule files found" in said
    assert "FAILED" not in said


def test_alertmanager_takes_its_configuration(watchers: Watchers) -> None:
    said = tool(
        watchers.alertmanager, "observability/alertmanager", "amtool", "check-config", "alertmanager.yml"
    )

    assert "SUCCESS" in said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=PronghornNoWorkerReady", "severity=page"], "page"),
        (["alertname=TargetDown", "severity=ticket"], "ticket"),
        (["alertname=SomebodyElsesWithoutSeverity"], "ticket"),
    ],
)
def test_an_alert_goes_to_whoever_its_severity_says(
    watchers: Watchers, labels: list[str], receiver: str
) -> None:
    route = ("amtool", "config", "routes", "test", "--config.file=alertmanager.yml")

    assert tool(watchers.alertmanager, "observability/alertmanager", *route, *labels).strip() == receiver


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_not_when_they_should_not(watchers: Watchers, case: str) -> None:
    tool(watchers.prometheus, "tests/integration/alerts", "promtool", "test", "rules", case)
