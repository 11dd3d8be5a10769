"""The units as they are shipped: what systemd thinks of them, who gets in, and what gets out."""

from __future__ import annotations

import re

import pytest

from tests.support.waiting import until
from tests.systemd.machine import Machine

SOCKET = "/run/pronghorn/pronghorn.sock"
UNITS = [
    "pronghorn.socket",
    "pronghorn.service",
    "pronghorn@shop.socket",
    "pronghorn@shop.service",
    "pronghorn-gunicorn.socket",
    "pronghorn-gunicorn.service",
]
SERVICES = [unit for unit in UNITS if unit.endswith(".service")]
EXPOSURE = 1.5


def ask(machine: Machine, path: str = "/", socket: str = SOCKET, user: str = "www-data") -> str:
    """What nginx's user is answered."""
    return machine.run(
        "curl", "-sS", "--max-time", "30", "--unix-socket", socket, f"http://localhost{path}", user=user
    )


def drop_in(machine: Machine, unit: str, text: str, name: str = "test") -> None:
    """A drop-in of an administrator's."""
    machine.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
    machine.systemctl("daemon-reload")


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_about(installed: Machine, unit: str) -> None:
    done = installed.attempt("systemd-analyze", "verify", "--man=no", unit)
    assert (done.code, done.output + done.errors) == (0, "")


def test_nor_about_nginx_with_our_drop_in(installed: Machine) -> None:
    done = installed.attempt("systemd-analyze", "verify", "--man=no", "nginx.service")
    assert (done.code, done.output + done.errors) == (0, "")
    assert installed.show("nginx.service", "TimeoutStopUSec") == "40s"


def exposure(machine: Machine, unit: str) -> float:
    """The sum of what a service could do, from 0 to 10."""
    found = re.search(
        r"exposure level for \S+: ([0-9.]+)", machine.run("systemd-analyze", "security", "--no-pager", unit)
    )
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(installed: Machine, unit: str) -> None:
    assert exposure(installed, unit) <= EXPOSURE


def test_exposure_with_a_network(host: Machine) -> None:
    drop_in(host, "pronghorn.service", host.read("/usr/local/share/pronghorn/examples/network.conf"))
    assert exposure(host, "pronghorn.service") <= EXPOSURE


def test_the_first_request_starts_the_service(host: Machine) -> None:
    host.systemctl("enable", "--now", "pronghorn.socket")
    assert (host.state("pronghorn.socket"), host.state("pronghorn.service")) == (
        "active listening",
        "inactive dead",
    )
    assert ask(host, "/?n=7").split()[1] == "7"
    # A worker answers a moment before systemd has heard that the service is ready.
    host.reaches("pronghorn.service", "active running")
    assert host.state("pronghorn.socket") == "active running"


def test_nginx_may_connect_and_others_may_not(host: Machine) -> None:
    host.systemctl("start", "pronghorn.socket")
    assert ask(host, user="www-data")
    done = host.attempt("curl", "-sS", "--unix-socket", SOCKET, "http://localhost/", user="nobody")
    assert done.code != 0
    assert "Permission denied" in done.errors or "Couldn't connect" in done.errors


def test_a_network_is_what_the_drop_in_gives(host: Machine) -> None:
    host.shell(
        "systemd-run --quiet --unit=neighbour --service-type=exec python3 -m http.server --bind 127.0.0.1 8081;"
        "curl --silent --output /dev/null --retry 50 --retry-connrefused --retry-delay 1 http://127.0.0.1:8081/"
    )
    try:
        host.systemctl("start", "pronghorn.socket")
        assert ask(host, "/connect/8081") == "Internal Server Error"
        # As the file itself says.
        example = host.read("/usr/local/share/pronghorn/examples/network.conf")
        host.shell("\n".join(re.findall(r"^#   (.+)$", example, re.MULTILINE)))
        assert ask(host, "/connect/8081").split()[1] == "0"
    finally:
        host.systemctl("stop", "neighbour")


def test_it_writes_where_it_may_and_nowhere_else(host: Machine) -> None:
    host.systemctl("start", "pronghorn.socket")
    host.run("chmod", "777", "/srv/pronghorn/app")
    for place in ("/srv/pronghorn/app/x", "/etc/x", "/run/x", "/home/x"):
        assert ask(host, f"/write{place}") == "Internal Server Error", place
    for place in ("/var/lib/pronghorn/x", "/var/cache/pronghorn/x", "/tmp/x"):
        assert ask(host, f"/write{place}").split()[1] == "0", place
    assert not host.path("/tmp/x").exists(), "its /tmp is its own"


SITE = f"""
upstream pronghorn {{ server unix:{SOCKET}; keepalive 8; }}
server {{
    listen 127.0.0.1:8080;
    location / {{ proxy_pass http://pronghorn; proxy_http_version 1.1; proxy_set_header Connection ""; }}
}}
"""


def test_nginx_gets_in_and_comes_back_when_it_is_killed(host: Machine) -> None:
    host.write("/etc/nginx/conf.d/pronghorn.conf", SITE)
    host.systemctl("start", "nginx", "pronghorn.socket")
    try:
        before = host.show("nginx", "MainPID")
        assert host.run("curl", "-sS", "http://127.0.0.1:8080/?n=7").split()[1] == "7"
        host.systemctl("kill", "--signal=KILL", "nginx")
        until(lambda: host.show("nginx", "MainPID") not in {before, "0"}, "systemd starts it again")
        host.reaches("nginx.service", "active running")
        assert host.run("curl", "-sS", "http://127.0.0.1:8080/?n=8").split()[1] == "8"
    finally:
        host.shell("systemctl stop nginx; rm /etc/nginx/conf.d/pronghorn.conf")
