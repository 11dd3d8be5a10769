"""The profile `observability` on the running stack: what is scraped, what rules and dashboard make of it, and an alert all the way.

The shipped files, in a hurry: Prometheus looks every second, and nothing waits for minutes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Built, Watchers, shown_on_failure
from tests.integration.stack import ROOT, Stack, new_name, project
from tests.support.waiting import until

DASHBOARD: dict[str, Any] = json.loads((ROOT / "observability/grafana/dashboards/pronghorn.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
#: What Grafana puts in place of its variables.
VARIABLES = {"$job": "pronghorn", "$__rate_interval": "30s", "$__range": "15m"}
#: What has to be there for a panel to show anything and is not, on a stack where nothing was refused and that nobody talks WebSocket to.
NOTHING_YET = ("websocket_closes_total", "limits_total", "protocol_errors_total", "ratio_rate")


def hurried(folder: Path) -> None:
    """The shipped configuration, with seconds for minutes."""
    shutil.copytree(ROOT / "observability", folder, dirs_exist_ok=True)
    seconds = [
        (folder / "prometheus/prometheus.yml", r"(_interval|scrape_timeout): \d+s", r"\1: 1s"),
        *((path, r"for: \d+[smh]", "for: 1s") for path in (folder / "prometheus/rules").iterdir()),
        (folder / "alertmanager/alertmanager.yml", r"(group_wait|group_interval): \d+[sm]", r"\1: 1s"),
    ]
    for path, slow, quick in seconds:
        text, changed = re.subn(slow, quick, path.read_text())
        assert changed or "rules" in path.parts
        path.write_text(text)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


class Watched:
    """The stack with its watchers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        port = stack.compose.get_service_port("prometheus", 9090)
        self.prometheus = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/", timeout=30)

    def api(self, path: str, **parameters: str) -> Any:
        answer = self.prometheus.get(path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found = self.api("query", query=expression)["result"]
        return list(found)

    def eventually(self, expression: str) -> list[dict[str, Any]]:
        """What is found once something is."""
        return until(lambda: self.query(expression), expression)


@pytest.fixture(scope="module")
def watched(
    images: Built, watchers: Watchers, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("observability")
    # pytest's own folders are for their owner alone, and nobody is to read in this one.
    for parent in [folder, *folder.parents[:3]]:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    hurried(folder)
    settings = {
        **images.variables,
        **watchers.variables,
        "COMPOSE_PROFILES": "observability",
        # With a supervisor, which counts as well.
        "PRONGHORN_WORKERS": "2",
        "GRAFANA_PROFILE": "unavailable",
        "OBSERVABILITY_FILES": str(folder),
        "PROMETHEUS_PORT": "0",
        "ALERTMANAGER_PORT": "0",
    }
    more = ("tests/integration/observability.yml",)
    with project(new_name(), settings, build=True, more=more) as stack, shown_on_failure(pytestconfig, stack):
        watched = Watched(stack)
        with watched.prometheus:
            traffic(stack)
            yield watched


def traffic(stack: Stack) -> None:
    """Something of everything that the dashboard shows, until Prometheus has seen it twice."""
    with stack.client() as client:
        for _ in range(50):
            for path in ("/process", "/nowhere", "/own-error"):
                client.get(path)


def test_every_target_is_up(watched: Watched) -> None:
    jobs = ["alertmanager", "nginx", "prometheus", "pronghorn"]

    def all_up() -> list[dict[str, Any]]:
        up = watched.query("up == 1")
        return up if len(up) == len(jobs) else []

    found = until(all_up, "four targets")
    assert sorted(series["metric"]["job"] for series in found) == jobs
    assert watched.eventually("nginx_up == 1")


def test_every_rule_works_on_what_is_really_counted(watched: Watched) -> None:
    def evaluated() -> list[dict[str, Any]]:
        rules = [rule for group in watched.api("rules")["groups"] for rule in group["rules"]]
        return [] if any(rule["health"] == "unknown" for rule in rules) else rules

    rules = until(evaluated, "every rule evaluated")
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


@pytest.mark.parametrize("expression", QUERIES)
def test_a_query_of_the_dashboard_works_and_finds_something(watched: Watched, expression: str) -> None:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    traffic(watched.stack)

    if any(name in expression for name in NOTHING_YET):
        watched.query(expression)
    else:
        assert watched.eventually(expression)


def test_every_metric_of_nginx_that_is_asked_for_is_exported(watched: Watched) -> None:
    texts = [path.read_text() for path in (ROOT / "observability").rglob("*.yml")]
    asked = set(
        re.findall(
            r"(?<![:\w])(?:nginx_(?:up|connections_\w+|http_\w+)|alertmanager_\w+_total|prometheus_\w+_total)",
            "\n".join([*texts, json.dumps(DASHBOARD)]),
        )
    )
    assert asked

    # Of each target once it has been looked at.
    until(lambda: asked <= set(watched.api("label/__name__/values")), f"all of {sorted(asked)}")


def test_an_exemplar_is_the_id_of_a_request(watched: Watched) -> None:
    asked = set()

    def found() -> bool:
        """Another one each time: a bucket takes one a second, and that may have been somebody else's."""
        with watched.stack.client() as client:
            asked.add(client.get("/process").headers["x-request-id"])
        told = watched.api(
            "query_exemplars", query="pronghorn_request_duration_seconds_bucket", start="0", end="9999999999"
        )
        return any(e["labels"].get("request_id") in asked for series in told for e in series["exemplars"])

    assert until(found, "the exemplar")


def test_only_what_one_looks_at_is_published_and_only_on_loopback(watched: Watched) -> None:
    published = {}
    for service in ("app", "nginx", "nginx-exporter", "prometheus", "alertmanager", "alert-log"):
        ports = watched.stack.inspect(service)["NetworkSettings"]["Ports"] or {}
        published[service] = {(port, b["HostIp"]) for port, bindings in ports.items() for b in bindings or []}

    assert published == {
        "app": set(),
        "nginx": {(port, "127.0.0.1") for port in ("8080/tcp", "8443/tcp", "8443/udp")},
        "nginx-exporter": set(),
        "prometheus": {("9090/tcp", "127.0.0.1")},
        "alertmanager": {("9093/tcp", "127.0.0.1")},
        "alert-log": set(),
    }


def test_nothing_that_is_private_is_served_in_public(watched: Watched) -> None:
    with watched.stack.client() as client:
        answers = {path: client.get(path) for path in ("/stub_status", "/metrics", "/workers")}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 404)
    assert "Active connections" not in answers["/stub_status"].text


@pytest.mark.parametrize("service", ["prometheus", "alertmanager", "nginx-exporter", "alert-log"])
def test_a_watcher_may_do_as_little_as_the_watched(watched: Watched, service: str) -> None:
    told = watched.stack.inspect(service)
    host = told["HostConfig"]

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] > 0
    assert host["Memory"] > 0
    assert re.fullmatch(r"[1-9]\d*:\d+", told["Config"]["User"])


def lines(stack: Stack, message: str) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [
        record for record in stack.log_records("alert-log") if record["message"].startswith(message)
    ]


def test_an_alert_reaches_the_receiver_and_so_does_its_end(watched: Watched) -> None:
    """Last, for it takes the server away."""
    stack = watched.stack
    stack.run("stop", "app")
    [fired, *_] = until(lines(stack, "PronghornUnreachable firing"), "the page", 120)
    stack.up()

    assert fired["level"] == "ERROR"
    assert fired["receiver"] == "page"
    assert fired["runbook"] == "docs/observability.md#pronghornunreachable"
    assert until(lines(stack, "PronghornUnreachable resolved"), "the end of it", 120)
