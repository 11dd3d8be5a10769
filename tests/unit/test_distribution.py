"""The files of the distribution, read as they are shipped: what they promise each other."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX_DOCKERFILE = (ROOT / "nginx/Dockerfile").read_text()
NGINX = {path.name: path.read_text() for path in (ROOT / "nginx").rglob("*.conf")}


def directive(file: str, name: str) -> str:
    """The value of an nginx directive that occurs once in a file."""
    [value] = re.findall(rf"^\s*{name}\s+([^;]+);", NGINX[file], re.MULTILINE)
    return str(value)


# ---- Two slots ------------------------------------------------------------------------------------------------------


def test_the_slots_differ_in_their_sockets_alone() -> None:
    blue, green = (dict(COMPOSE["services"][slot]) for slot in ("app", "app-green"))
    sockets = [one["environment"]["PRONGHORN_UDS"] for one in (blue, green)]
    for one in (blue, green):
        one["environment"] = {k: v for k, v in one["environment"].items() if k != "PRONGHORN_UDS"}

    # `up` starts blue, and the link to its socket is in the image.
    assert green.pop("profiles") == ["green"]
    assert blue == green
    assert sockets == ["/run/pronghorn/blue.sock", "/run/pronghorn/green.sock"]
    assert "ln -s blue.sock /run/pronghorn/app.sock" in DOCKERFILE
    # Several times, so that what may be asked again is, at last on a new connection; and none is ever shunned for what another one did.
    servers = re.findall(r"^\s*server\s+([^;]+);", NGINX["upstream.conf"], re.MULTILINE)
    link = "unix:/run/pronghorn/app.sock max_fails=0"
    again = "unix:/./run/pronghorn/app.sock max_fails=0 max_conns=${BACKUP_PLACES} backup"
    assert servers == 2 * [f"{link} max_conns=${{PLACES}}"] + [again, link, link]


# ---- Connections ----------------------------------------------------------------------------------------------------


def test_what_nginx_may_open_is_allowed_to_it() -> None:
    connections = int(directive("nginx.conf", "worker_connections"))
    descriptors = int(directive("nginx.conf", "worker_rlimit_nofile"))

    # Two a socket; and besides connections there are bodies on the tmpfs, the log, the listeners.
    assert connections // 2 > 6000
    assert connections + 4096 <= descriptors
    for service in ("app", "nginx"):
        assert COMPOSE["services"][service]["ulimits"] == {"nofile": f"${{OPEN_FILES:-{descriptors}}}"}


def test_alerts_know_the_limits_that_the_files_set() -> None:
    rules = yaml.safe_load((ROOT / "observability/prometheus/rules/1-objectives.yml").read_text())
    limits = {
        rule["record"]: float(rule["expr"].removeprefix("vector(").removesuffix(")"))
        for group in rules["groups"]
        for rule in group["rules"]
    }
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE_TEXT))

    assert limits["limit:nginx_connections:max"] == int(directive("nginx.conf", "worker_connections"))
    assert limits["limit:pronghorn_open_files:max"] == int(defaults["OPEN_FILES"])
    assert f"{limits['limit:pronghorn_memory_bytes:max'] / 2**20:.0f}m" == defaults["APP_MEMORY"]


# ---- Settings -------------------------------------------------------------------------------------------------------


def test_every_variable_is_explained_with_its_default() -> None:
    used = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", COMPOSE_TEXT))
    explained = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", ENV_EXAMPLE, re.MULTILINE))
    scripts = (ROOT / "scripts/lib/deploy.sh").read_text()
    deploys = dict(re.findall(r"\$\{(DEPLOY_[A-Z]+):-([^}]*)\}", scripts))

    # The first is Compose's own.
    assert explained == used | deploys | {"COMPOSE_PROFILES": ""}
    # What the scripts take from .env or set for Compose is a variable of Compose's, and so is each argument of a build.
    stack = (ROOT / "scripts/stack").read_text()
    listed = re.findall(r"^\w+_variables=\(([A-Z0-9_ ]+)\)$", stack, re.MULTILINE)
    assert listed
    assert {name for names in listed for name in names.split()} <= explained.keys()
    arguments = set(re.findall(r"^ARG ([A-Z_]+)", DOCKERFILE + NGINX_DOCKERFILE, re.MULTILINE))
    # The application comes by a context, and whoever sets the other knows that there is no compiler.
    assert arguments - {"APP", "PRONGHORN_COMPILE"} <= explained.keys()
    assert re.findall(r"\$\{(?![A-Z0-9_]+:-)", COMPOSE_TEXT) == []


def test_the_default_application_is_the_same_everywhere() -> None:
    assert "ARG APP=examples/raw" in DOCKERFILE
    assert "${APP_SOURCE:-./examples/raw}" in COMPOSE_TEXT
    assert (ROOT / "examples/raw/main.py").is_file()


# ---- Hardening ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_a_service_gives_away_nothing_it_does_not_need(service: str) -> None:
    settings = COMPOSE["services"][service]

    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings["init"] is True
    assert {"mem_limit", "pids_limit", "logging"} <= settings.keys()
    # What publishes static files writes nothing else.
    assert ("tmpfs" in settings) is (service != "static")


def test_nginx_and_the_application_have_nothing_in_common_but_the_socket() -> None:
    services = COMPOSE["services"]

    assert not set(services["app"]["networks"]) & set(services["nginx"]["networks"])
    assert services["static"]["network_mode"] == "none"
    # nginx writes neither; the application has no part in what browsers keep.
    assert {"socket:/run/pronghorn:ro", "static:/srv/static:ro"} < set(services["nginx"]["volumes"])
    assert services["app"]["volumes"] == ["socket:/run/pronghorn"]


def test_nothing_is_published_but_nginx_and_what_one_looks_at_and_all_on_loopback() -> None:
    ports = {name: settings["ports"] for name, settings in COMPOSE["services"].items() if "ports" in settings}
    watchers = {
        "prometheus": ("PROMETHEUS", 9090),
        "alertmanager": ("ALERTMANAGER", 9093),
        "grafana": ("GRAFANA", 3000),
    }

    published = [
        f"${{HTTP_ADDRESS:-127.0.0.1}}:{port}"
        for port in ("${HTTP_PORT:-8080}:8080", "${HTTPS_PORT:-8443}:8443", "${HTTPS_PORT:-8443}:8443/udp")
    ]
    # Both have a profile that nobody starts by accident.
    assert COMPOSE["services"]["dev"]["profiles"] == ["dev"]
    assert COMPOSE["services"]["locust-master"]["profiles"] == ["loadtest"]
    assert ports == {
        "nginx": published,
        "dev": ["127.0.0.1:${DEV_PORT:-8000}:8000"],
        "locust-master": ["127.0.0.1:${LOADTEST_PORT:-8089}:8089"],
    } | {
        service: [f"${{OBSERVABILITY_ADDRESS:-127.0.0.1}}:${{{name}_PORT:-{port}}}:{port}"]
        for service, (name, port) in watchers.items()
    }


@pytest.mark.parametrize("file", ["Dockerfile", "nginx/Dockerfile", "acme/Dockerfile"])
def test_an_image_runs_as_numbers_and_needs_no_registry_to_be_parsed(file: str) -> None:
    text = (ROOT / file).read_text()

    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] in {"10001:10000", "10002:10000"}
    assert not re.search(r"^#\s*syntax=", text, re.MULTILINE | re.IGNORECASE)


def test_the_production_stage_is_the_last() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)

    assert stages == [
        "app",
        "base",
        "tools",
        "wheel",
        "builder",
        "dev",
        "test",
        "locust",
        "loadtest",
        "production",
    ]


# ---- nginx ----------------------------------------------------------------------------------------------------------


def test_every_include_is_included_and_exists() -> None:
    files = [*NGINX.values()]
    included = {name for text in files for name in re.findall(r"include includes/([\w-]+\.conf);", text)}
    rendered = {name for text in files for name in re.findall(r"include /tmp/edge/([\w-]+\.conf);", text)}

    assert included == {path.name for path in (ROOT / "nginx/includes").iterdir()}
    assert rendered == {path.name for path in (ROOT / "nginx/templates").iterdir()}


def test_both_servers_answer_the_same() -> None:
    assert NGINX["nginx.conf"].count("include includes/server.conf;") == 2
    assert "location" not in NGINX["nginx.conf"]


def test_headers_are_added_in_one_level_and_always() -> None:
    """An add_header in a location drops those of the server around it; without `always` an error page has none."""
    adding = {name for name, text in NGINX.items() if re.search(r"^\s*add_header ", text, re.MULTILINE)}
    lines = [
        line for text in NGINX.values() for line in re.findall(r"^\s*add_header .*$", text, re.MULTILINE)
    ]

    assert adding == {"security-headers.conf", "request-id.conf", "edge-headers.conf"}
    assert [line for line in lines if not line.endswith(" always;")] == []
    server = NGINX["server.conf"].partition("location /")[0]
    assert all(f"include includes/{name};" in server for name in adding)


def test_no_forwarding_header_is_appended_to() -> None:
    directives = [
        line for text in NGINX.values() for line in text.splitlines() if not line.strip().startswith("#")
    ]

    assert [line for line in directives if "$proxy_add_x_forwarded_for" in line] == []


def test_a_websocket_is_the_only_upgrade_that_is_passed_on() -> None:
    """What nginx makes of a client's wish, said by the maps themselves; the integration tests ask nginx."""
    [pattern] = re.findall(r'"~\*(.+?)"\s+websocket;', NGINX["websocket.conf"])
    wishes = ("GET websocket", "GET WebSocket", "GET h2c, websocket", "GET websocket,x")
    others = ("GET ", "GET h2c", "POST websocket", "GET websockets", "GET xwebsocket")

    def passed_on(text: str) -> bool:
        return bool(re.search(pattern, text, re.IGNORECASE))

    assert all(passed_on(f"HTTP/1.1 {wish}") for wish in wishes)
    assert not any(passed_on(f"HTTP/1.1 {other}") for other in others)
    # Where it means nothing, what follows would be a body to nginx and a connection to the server.
    assert not any(passed_on(f"{version} {wish}") for version in ("HTTP/2.0", "HTTP/3.0") for wish in wishes)
    sent = re.findall(
        r"^proxy_set_header (Connection|Upgrade) (.+);$", NGINX["proxy-headers.conf"], re.MULTILINE
    )
    assert sent == [("Connection", "$connection_upgrade"), ("Upgrade", "$upgrade_to")]


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/static/hello/hello.e9f6efb7a829.css", "immutable"),
        ("/static/assets/index-B8xJ0k2a.js", "immutable"),
        ("/static/main.8d3f21aa.chunk.js", "immutable"),
        ("/static/main.8d3f21aa.css.map", "immutable"),
        ("/static/hello.css", "no-cache"),
        ("/static/report.20240101.pdf", "no-cache"),
        ("/static/bootstrap-responsive2.css", "no-cache"),
        ("/static/jquery-3.7.1.min.js", "no-cache"),
        ("/static/face.deadbeef.css", "no-cache"),
        ("/other/hello.e9f6efb7a829.css", ""),
    ],
)
def test_only_a_name_with_a_hash_is_kept_without_asking(path: str, kept: str) -> None:
    """nginx takes the first pattern that matches. Of what the application answers nothing is said."""
    rules = re.findall(r'^    "(~.+/static/.*)" +"(.+)";$', NGINX["edge-headers-maps.conf"], re.MULTILINE)
    assert len(rules) == 3
    found, passed = (
        next((value for pattern, value in rules if re.search(pattern[1:], f"{status}{path}")), "")
        for status in ("200  ", "200 200 ")
    )
    assert passed == ""

    assert found.endswith(kept)
    assert bool(found) is bool(kept)


# ---- The scripts ----------------------------------------------------------------------------------------------------


def fake(folder: Path, name: str, script: str) -> None:
    """A program of that name, first in the PATH of what run() starts."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


WATCHERS = {"PROMETHEUS_IMAGE", "ALERTMANAGER_IMAGE", "NGINX_EXPORTER_IMAGE", "GRAFANA_IMAGE"}
GIVEN = {
    "PYTHON_IMAGE",
    "PYTHON_BUILD_IMAGE",
    "NGINX_IMAGE",
    "BULLSEYE_IMAGE",
    "PRONGHORN_REGISTRY",
} | WATCHERS


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    cleared = {key: value for key, value in os.environ.items() if key not in GIVEN}
    variables = {
        **cleared,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PRONGHORN_ENGINE_DIR": str(folder / "state"),
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_engine_that_answers_is_left_alone(tmp_path: Path) -> None:
    fake(tmp_path, "docker", f'echo "$@" >> {tmp_path}/calls; echo "an engine"')
    done = run(tmp_path, "scripts/engine")

    assert done.returncode == 0
    assert done.stderr.splitlines() == ["  an engine answers; nothing to do."]
    assert not (tmp_path / "state").exists()


def test_a_build_is_none_the_worse_where_somebody_else_prunes(tmp_path: Path) -> None:
    """The engine does that once at a time."""
    refused = "a prune operation is already running"
    fake(tmp_path, "docker", f'case "$*" in "image prune"*) echo "{refused}" >&2; exit 1 ;; esac')
    images = dict.fromkeys(("PYTHON_IMAGE", "PYTHON_BUILD_IMAGE", "NGINX_IMAGE"), "registry.example/own")
    done = run(tmp_path, "scripts/stack", "build", **images)

    assert done.returncode == 0, done.stderr
    assert refused not in done.stderr


def test_without_root_the_missing_parts_are_named(tmp_path: Path) -> None:
    fake(tmp_path, "docker", "exit 1")
    fake(tmp_path, "id", "echo 1000")
    fake(tmp_path, "apt-get", f"touch {tmp_path}/installed")
    done = run(tmp_path, "scripts/engine")

    assert done.returncode == 1
    assert done.stderr.startswith("error: no usable Docker engine: missing compose buildx engine\n")
    assert "docker.io docker-cli docker-buildx docker-compose" in done.stderr
    assert not (tmp_path / "installed").exists()


def test_stop_ends_no_engine_but_its_own(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "state").mkdir()
        (tmp_path / "state/dockerd.pid").write_text(str(other.pid))
        done = run(tmp_path, "scripts/engine", "stop")
        alive = other.poll() is None
        other.kill()

    assert done.returncode == 0
    assert "nothing to stop" in done.stderr
    assert alive


def chosen(python: str, build: str, nginx: str) -> str:
    return f"export PYTHON_IMAGE={python} PYTHON_BUILD_IMAGE={build} NGINX_IMAGE={nginx}\n"


def test_given_base_images_are_taken_as_they_are(tmp_path: Path) -> None:
    fake(tmp_path, "docker", f'[ "$1" = info ] || touch {tmp_path}/asked')
    given = {"PYTHON_IMAGE": "mine/python", "PYTHON_BUILD_IMAGE": "mine/build", "NGINX_IMAGE": "mine/nginx"}
    done = run(tmp_path, "scripts/base-images", **given)

    assert done.stdout == chosen(*given.values())
    assert not (tmp_path / "asked").exists()


def test_a_registry_that_answers_makes_no_images(tmp_path: Path) -> None:
    fake(tmp_path, "docker", '[ "$1 $2" != "image inspect" ]')
    fake(tmp_path, "debootstrap", f"touch {tmp_path}/made")
    done = run(tmp_path, "scripts/base-images")

    assert done.stdout == chosen("python:3.13-slim-trixie", "python:3.13-trixie", "nginx:stable")
    assert not (tmp_path / "made").exists()


def test_images_made_before_are_used_again(tmp_path: Path) -> None:
    fake(tmp_path, "docker", 'case "$*" in info) ;; "image inspect pronghorn/base-"*) ;; *) exit 1 ;; esac')
    done = run(tmp_path, "scripts/base-images")

    assert done.stdout == chosen(
        *(f"pronghorn/base-{name}" for name in ("python:trixie", "python-build:trixie", "nginx:trixie-2"))
    )


def test_one_image_that_is_given_wins_over_what_is_there(tmp_path: Path) -> None:
    fake(tmp_path, "docker", 'case "$*" in info) ;; "image inspect "*) ;; *) exit 1 ;; esac')
    done = run(tmp_path, "scripts/base-images", NGINX_IMAGE="mine/nginx")

    assert done.stdout == chosen("python:3.13-slim-trixie", "python:3.13-trixie", "mine/nginx")


def test_where_no_registry_answers_grafana_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    fake(tmp_path, "docker", 'case "$*" in info) ;; "image inspect pronghorn/base-"*) ;; *) exit 1 ;; esac')
    done = run(tmp_path, "scripts/base-images", "observability")
    made = (f"pronghorn/base-{name}:trixie" for name in ("prometheus", "alertmanager", "nginx-exporter"))

    assignments = " ".join(
        f"{name}_IMAGE={image}"
        for name, image in zip(("PROMETHEUS", "ALERTMANAGER", "NGINX_EXPORTER"), made, strict=True)
    )
    assert done.stdout == f"export {assignments}\nexport GRAFANA_PROFILE=unavailable\n"
    assert "Grafana is left out" in done.stderr


def test_where_a_registry_answers_the_images_are_those_of_the_compose_file(tmp_path: Path) -> None:
    fake(tmp_path, "docker", '[ "$1 $2" != "image inspect" ]')
    done = run(tmp_path, "scripts/base-images", "observability")

    chosen_images = dict(re.findall(r"([A-Z_]+_IMAGE)=(\S+)", done.stdout))
    used = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE_TEXT))
    assert chosen_images.keys() == WATCHERS - {"GRAFANA_IMAGE"}
    assert chosen_images.items() <= used.items()
    assert "export GRAFANA_PROFILE=observability\n" in done.stdout


def test_without_a_registry_and_without_root_the_way_out_is_named(tmp_path: Path) -> None:
    fake(tmp_path, "docker", '[ "$1" = info ]')
    fake(tmp_path, "id", "echo 1000")
    done = run(tmp_path, "scripts/base-images")

    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert "set PYTHON_IMAGE, PYTHON_BUILD_IMAGE and NGINX_IMAGE" in done.stderr


def test_the_mirror_is_the_one_apt_uses_and_never_its_security_archive(tmp_path: Path) -> None:
    sources = tmp_path / "sources.list"
    key = tmp_path / "key.gpg"
    key.touch()
    sources.write_text(f"deb [signed-by={key}] http://mirror.example/debian bookworm main\n")
    lines = (
        f"http://security.example/debian-security/ bookworm-security {sources}:2",
        f"http://mirror.example/debian/ bookworm {sources}:1",
    )
    fake(tmp_path, "apt-get", "\n".join(f"echo '{line}'" for line in lines))
    script = """
        . scripts/lib/say.sh; . scripts/lib/debian.sh
        debian_codename() { echo bookworm; }
        echo "$(debian_mirror) $(debian_security_mirror) $(debian_keyring)"
    """
    done = run(tmp_path, "bash", "-euo", "pipefail", "-c", script)

    expected = "http://mirror.example/debian/ http://security.example/debian-security/"
    assert done.stdout.strip() == f"{expected} {key}"


#: A docker that says what it was asked to build on; it has the images that match the pattern, and no registry answers it.
RECORDING = """
case "$*" in
    info*|"compose version"|"buildx version") echo "an engine" ;;
    "image inspect "{has}) ;;
    build*) printf '%s\\n' "$@" >>{folder}/built ;;
    *) exit 1 ;;
esac
"""


def test_the_autobahn_image_is_not_built_twice(tmp_path: Path) -> None:
    fake(tmp_path, "docker", RECORDING.format(has="pronghorn/autobahn:*", folder=tmp_path))
    done = run(tmp_path, "scripts/autobahn", "image")

    assert re.fullmatch(r"pronghorn/autobahn:[0-9a-f]{12}\n", done.stdout)
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize(
    ("has", "given", "base"),
    [
        ("pronghorn/base-debian:bullseye", {}, "pronghorn/base-debian:bullseye"),
        ("debian:bullseye-slim", {}, "debian:bullseye-slim"),
        ("pronghorn/base-debian:bullseye", {"BULLSEYE_IMAGE": "mine"}, "mine"),
    ],
)
def test_the_autobahn_image_is_built_on_what_is_there(
    tmp_path: Path, has: str, given: dict[str, str], base: str
) -> None:
    fake(tmp_path, "docker", RECORDING.format(has=has, folder=tmp_path))
    done = run(tmp_path, "scripts/autobahn", "image", **given)

    assert done.stdout.startswith("pronghorn/autobahn:")
    assert f"BULLSEYE_IMAGE={base}" in (tmp_path / "built").read_text().splitlines()


def test_without_bullseye_and_without_root_the_way_out_is_named(tmp_path: Path) -> None:
    fake(tmp_path, "docker", RECORDING.format(has="none", folder=tmp_path))
    fake(tmp_path, "id", "echo 1000")
    done = run(tmp_path, "scripts/autobahn", "image")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs root" in done.stderr
    assert "Set BULLSEYE_IMAGE" in done.stderr


@pytest.mark.parametrize(
    ("service", "status", "told"),
    [
        # Not there at all, and there but without advisories, as a mirror is: neither is an answer.
        ("echo no connection >&2; exit 1", 2, "does not answer: no connection"),
        ("echo No known vulnerabilities found", 2, "nothing known of jinja2"),
        (
            'case "$*" in *requirements/*) ;; *) echo CVE-2019-10906; exit 1 ;; esac',
            0,
            "requirements/runtime.txt",
        ),
        ("echo CVE-2019-10906; exit 1", 1, "requirements/runtime.txt"),
    ],
)
def test_an_audit_that_could_not_ask_is_none(tmp_path: Path, service: str, status: int, told: str) -> None:
    (tmp_path / "bin").mkdir()
    fake(tmp_path / "bin", "pip-audit", service)
    done = run(tmp_path, "scripts/audit", "python", VENV=str(tmp_path))

    assert done.returncode == status
    assert told in done.stderr
