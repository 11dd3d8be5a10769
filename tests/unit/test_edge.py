"""nginx-edge, run as the container runs it, with folders of the test's own: settings, certificates, and what gixy says of the result."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
import yaml

ROOT = Path(__file__).resolve().parents[2]
NGINX = ROOT / "nginx"

#: What gixy is not right about here, and why.
ALLOWED = {
    "worker_rlimit_nofile_vs_connections": (
        "it counts two descriptors a connection; nginx's count has both sides in it (test_distribution.py), and 4,096 are left"
    ),
    "try_files_is_evil_too": (
        "open_file_cache would answer for static files that a deploy has replaced; the look-up costs 1 to 2 µs (server.conf)"
    ),
}


class Edge:
    """A place where it can be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "edge"
        self.certificates = folder / "certificates"
        self.certificates.mkdir()

    def run(self, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "EDGE_TEMPLATES": str(NGINX / "templates"),
            "EDGE_FOLDER": str(self.folder),
            "EDGE_CERTIFICATES": str(self.certificates),
            **settings,
        }
        command = [str(NGINX / "edge"), "render"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def rendered(self, **settings: str) -> dict[str, str]:
        """The configuration without its comments, by file."""
        done = self.run(**settings)
        assert done.returncode == 0, done.stderr
        files = {path.name: path.read_text() for path in self.folder.glob("*.conf")}
        return {name: re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE) for name, text in files.items()}


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    return Edge(tmp_path)


# ---- Settings -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_compose_file(edge: Edge) -> None:
    environment = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["nginx"][
        "environment"
    ]
    defaults = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value)) for name, value in environment.items()}

    assert edge.rendered() == edge.rendered(**defaults)


def test_no_placeholder_is_left(edge: Edge) -> None:
    assert [name for name, text in edge.rendered().items() if "${" in text] == []


def test_every_setting_reaches_nginx(edge: Edge) -> None:
    files = edge.rendered(
        HTTPS_PORT="9443",
        HTTP3="on",
        HSTS="max-age=60; includeSubDomains",
        HTTPS_REDIRECT="on",
        RATE_LIMIT="7",
        RATE_BURST="8",
        CONNECTION_LIMIT="9",
        APP_REQUESTS="11",
        TRUSTED_PROXIES="192.0.2.1,2001:db8::/32",
    )
    everything = "".join(files.values())

    for expected in (
        'default ":9443";',
        r'default "h3=\":9443\"; ma=86400";',
        'default "max-age=60; includeSubDomains";',
        "default on;",
        "rate=7r/s;",
        "burst=8 nodelay;",
        "limit_conn underway 9;",
        2 * "    server unix:/run/pronghorn/app.sock max_fails=0 max_conns=3;\n"
        + "    server unix:/./run/pronghorn/app.sock max_fails=0 max_conns=5 backup;\n",
        "limit_conn requests_under_way 6;",
        "set_real_ip_from 192.0.2.1; set_real_ip_from 2001:db8::/32;",
        "192.0.2.1 1; 2001:db8::/32 1;",
    ):
        assert expected in everything


def test_what_is_switched_off_is_not_there(edge: Edge) -> None:
    files = edge.rendered(HTTP3="off", RATE_LIMIT="0", CONNECTION_LIMIT="0")

    assert "quic" not in files["listen-quic.conf"]
    assert "h3" not in files["settings.conf"]
    assert not re.search(r"limit_(req|conn)(_zone)? ", files["rates.conf"])
    assert "real_ip" not in files["real-ip.conf"]


def test_the_port_is_not_told_where_it_is_the_schemes_own_or_not_known(edge: Edge) -> None:
    assert 'default ":' not in edge.rendered(HTTPS_PORT="443")["settings.conf"]
    chosen_by_the_engine = edge.rendered(HTTPS_PORT="0", HTTP3="on")["settings.conf"]
    assert 'default ":' not in chosen_by_the_engine
    assert "h3" not in chosen_by_the_engine


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PORT", "https"),
        ("HTTP3", "yes"),
        ("HTTPS_REDIRECT", "on; return 200 hi"),
        ("HSTS", 'max-age=1"; add_header X y'),
        ("RATE_LIMIT", "10r/s"),
        ("RATE_BURST", "-1"),
        ("CONNECTION_LIMIT", "many"),
        ("APP_REQUESTS", "-1"),
        ("APP_REQUESTS", "2"),
        ("TRUSTED_PROXIES", "192.0.2.1 192.0.2.2"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.256"),
        ("TRUSTED_PROXIES", "proxy.example"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(edge: Edge, name: str, value: str) -> None:
    done = edge.run(**{name: value})

    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {name} is "{value}"\nIt has to be ')
    assert not edge.folder.exists()


# ---- Certificates ---------------------------------------------------------------------------------------------------


def test_a_development_certificate_is_made_once(edge: Edge) -> None:
    first, made = edge.run(), edge.certificates / "development/fullchain.pem"
    before = made.read_bytes()
    second = edge.run()

    assert f"made one for development, {made}" in first.stderr
    assert (second.stderr, made.read_bytes()) == ("", before)
    assert (edge.certificates / "development/privkey.pem").stat().st_mode & 0o077 == 0
    shown = subprocess.run(
        ["openssl", "x509", "-in", made, "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "DNS:localhost, IP Address:127.0.0.1" in shown.stdout


def test_ones_own_certificate_wins_and_stays_as_it_is(edge: Edge) -> None:
    edge.run()
    own = trustme.CA().issue_cert("example.org")
    chain, key = edge.certificates / "fullchain.pem", edge.certificates / "privkey.pem"
    own.private_key_pem.write_to_path(key)
    own.cert_chain_pems[0].write_to_path(chain)
    before = chain.read_bytes(), key.read_bytes()
    certificate = edge.rendered()["certificate.conf"]

    assert f"ssl_certificate {chain};\nssl_certificate_key {key};" in certificate
    assert (chain.read_bytes(), key.read_bytes()) == before


def test_half_a_certificate_is_no_reason_to_make_one(edge: Edge) -> None:
    (edge.certificates / "fullchain.pem").touch()
    done = edge.run()

    assert done.returncode == 1
    assert done.stderr.startswith("error: one of ")
    assert not (edge.certificates / "development").exists()


# ---- gixy -----------------------------------------------------------------------------------------------------------


def whole(edge: Edge, **settings: str) -> Path:
    """The configuration in a folder of the test's, as nginx in the container sees it."""
    edge.rendered(**settings)
    copy = edge.folder.parent / "nginx"
    for file in [NGINX / "nginx.conf", *(NGINX / "includes").iterdir()]:
        text = file.read_text().replace("/tmp/edge/", f"{edge.folder}/")
        text = text.replace("include includes/", f"include {copy}/includes/")
        text = text.replace("include /etc/nginx/mime.types;", "")
        place = copy / file.relative_to(NGINX)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return copy / "nginx.conf"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"HTTP3": "on", "HTTPS_REDIRECT": "on", "HSTS": "max-age=63072000", "TRUSTED_PROXIES": "10.0.0.0/8"},
        {"HTTP3": "off", "RATE_LIMIT": "0", "CONNECTION_LIMIT": "0"},
    ],
    ids=["as shipped", "strict", "loose"],
)
def test_gixy_finds_nothing_that_is_not_explained(edge: Edge, settings: dict[str, str]) -> None:
    gixy = Path(sys.executable).parent / "gixy"
    command = [str(gixy), "--format", "json", str(whole(edge, **settings))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)

    # Those that are allowed are found, or it did not read the configuration.
    assert {one["plugin"] for one in found} == set(ALLOWED), done.stdout
