"""Time and room of the shipped files: every order of scripts/timeouts.py holds, and nothing that has a time is missing there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from scripts import timeouts
from scripts.timeouts import MEASURES, ORDERS, ROOT, Measure, Order

VALUES = timeouts.values()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.less} {order.relation} {order.more}")
def test_what_has_to_stay_in_order_does(order: Order) -> None:
    shown = {name: VALUES[name] for name in order.names()}

    assert order.holds(VALUES), f"{shown}: {order.otherwise}"


def test_names_are_known_and_one_is_one() -> None:
    assert len(VALUES) == len(MEASURES)
    assert set().union(*(order.names() for order in ORDERS)) <= VALUES.keys()
    assert len({(order.less, order.more) for order in ORDERS}) == len(ORDERS)


def test_an_order_that_is_broken_is_noticed() -> None:
    values = {"a": 10.0, "b": 20.0, "n": 2.0}

    assert Order("n * a", "b", "", "≤").holds(values)
    assert Order("n * a", "b", "", "=").holds(values)
    assert not Order("n * a", "b", "").holds(values)
    assert not Order("2 * a + 1", "b", "", "≤").holds(values)
    assert not Order("a", "b", "", "=").holds(values)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        *(
            ("15", "s", 15),
            ("0.5s", "s", 0.5),
            ("500ms", "s", 0.5),
            ("5m", "s", 300),
            ("1h", "s", 3600),
            ("1d", "s", 86_400),
        ),
        *(("64m", "bytes", 64 << 20), ("8k", "bytes", 8192), ("1g", "bytes", 1 << 30), ("3", "", 3)),
    ],
)
def test_values_are_read_as_those_who_use_them_do(tmp_path: Path, text: str, unit: str, value: float) -> None:
    (tmp_path / "file").write_text(text)

    assert Measure("a", "file", str.strip, "", unit).value(tmp_path) == value


def test_what_is_neither_a_time_nor_a_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("soon")

    with pytest.raises(ValueError, match="'soon' in file"):
        Measure("a", "file", str.strip, "").value(tmp_path)


def test_every_timeout_of_nginx_is_in_the_table() -> None:
    """However many there will be: a directive whose name says so has its row, by its file."""
    told = {measure.file for measure in MEASURES}
    for path in (ROOT / "nginx").rglob("*.conf"):
        found = re.findall(r"^\s*(\w*timeout|keepalive_time)\s", path.read_text(), re.MULTILINE)
        # A switch, and no time.
        found = [name for name in found if name != "reset_timedout_connection"]
        file = path.relative_to(ROOT).as_posix()
        rows = [measure for measure in MEASURES if measure.file == file and measure.unit == "s"]
        assert len(rows) == len(found), f"{file}: {found}"
        assert not found or file in told


def test_every_time_of_a_service_is_in_the_table() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    told = {measure.name: measure.text() for measure in MEASURES}
    named = (ROOT / "scripts/timeouts.py").read_text()

    # Nobody waits for what Prometheus writes.
    graces = {name: settings.get("stop_grace_period") for name, settings in services.items()}
    assert graces.pop("prometheus") == "30s"
    assert set(graces.values()) == {told["app_stop"], told["nginx_stop"], None}
    timed = [name for name in services["app"]["environment"] if re.search("TIMEOUT|DELAY", name)]
    assert timed
    assert [name for name in timed if f'"{name}"' not in named] == []


def test_every_alert_waits_for_more_than_one_look() -> None:
    """The table has the shortest one of the server's."""
    shortest = {}
    for path in sorted((ROOT / "observability/prometheus/rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    number, unit = int(rule["for"][:-1]), rule["for"][-1]
                    shortest[rule["alert"]] = number * {"s": 1, "m": 60}[unit]

    assert shortest
    assert min(shortest.values()) == VALUES["shortest_for"]
