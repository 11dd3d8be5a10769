"""The Debian package on a machine where nothing is installed: apt installs it, upgrades it under load, removes and purges it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack import ROOT, docker
from tests.support.steady import Fate, Load, Steady
from tests.support.waiting import until
from tests.systemd.conftest import put_application, told
from tests.systemd.machine import Machine, booted

PACKAGE, NEXT = "/root/pronghorn.deb", "/root/next.deb"
SITE, DEFAULT = "/etc/nginx/sites-enabled/pronghorn", "/etc/nginx/sites-enabled/default"
INCLUDES = "/etc/pronghorn/nginx"
SOCKET = "/run/pronghorn/pronghorn.sock"
WELCOME = "Welcome to nginx!"
UNITS = ("pronghorn.socket", "pronghorn.service")

#: Requests a second. So few that those of the longest restart on a busy machine fit into what the site lets wait: 256 (APP_REQUESTS).
LOAD = Load(kept=8, fresh=3, slow=0.5, uploads=0.5, timeout=60)
#: Answers before the upgrade, and after it.
ENOUGH = 60

#: The next version: nothing else is another, but for two files of settings.
MAKE_NEXT = f"""
rm -rf /root/next
dpkg-deb --raw-extract {PACKAGE} /root/next
sed -i 's/^Version: .*/&.1/' /root/next/DEBIAN/control
echo '# of the next version' | tee -a /root/next{INCLUDES}/limits.conf >>/root/next{INCLUDES}/proxy.conf
dpkg-deb -Znone --root-owner-group --build /root/next {NEXT}
"""


def scripts_deb(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """scripts/deb with the folder that the package is in; what it does goes to our stderr."""
    environment = {**os.environ, "DEB_FOLDER": str(package)}
    return subprocess.run(
        [ROOT / "scripts/deb", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The package as `make deb` makes it, lintian's look at it included; minutes, where the server has to be compiled."""
    with told(pytestconfig):
        done = scripts_deb(tmp_path_factory.mktemp("deb"))
    assert done.returncode == 0
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def clean_image(machine_image: str) -> str:
    """A machine without nginx and Python, which has in apt's cache what apt would fetch."""
    dockerfile = (ROOT / "tests/systemd/clean/Dockerfile").read_text()
    name = (
        f"pronghorn/clean-machine:{hashlib.sha256(f'{machine_image}{dockerfile}'.encode()).hexdigest()[:12]}"
    )
    if not docker("image", "ls", "--quiet", name):
        options = (
            f"--tag={name}",
            f"--build-arg=MACHINE_IMAGE={machine_image}",
            "--label=org.pronghorn.systemd-machine=true",
        )
        docker("build", "--quiet", "--network=host", "--pull=false", *options, "tests/systemd/clean")
    return name


@pytest.fixture(scope="module")
def clean(clean_image: str, package: Path) -> Iterator[Machine]:
    """Such a machine, and the package on it, not installed; it is reached from here, so that a load stays outside."""
    with booted(clean_image, network="bridge") as machine:
        docker("cp", "--quiet", str(package), f"{machine.name}:{PACKAGE}")
        yield machine


@pytest.fixture(scope="module")
def once_installed(clean: Machine) -> Machine:
    apt(clean, "install", PACKAGE)
    return clean


@pytest.fixture
def host(once_installed: Machine) -> Machine:
    """The machine with the package installed, whatever the test before has done to that."""
    if not once_installed.path("/usr/lib/pronghorn").exists():
        apt(once_installed, "install", PACKAGE)
    return once_installed


def apt(machine: Machine, *arguments: str) -> str:
    """As unattended-upgrades calls it: nobody is asked, and settings that somebody has changed stay."""
    keep = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
    return machine.run(
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", *keep, *arguments
    )


def ask(machine: Machine, path: str = "/", *options: str) -> str:
    """What a client of nginx's port 80 on the machine is answered, head and body."""
    return machine.run("curl", "-sSi", "--max-time", "60", *options, f"http://127.0.0.1{path}")


def field(answer: str, name: str) -> str:
    """A field of an answer's head."""
    [value] = [
        line.partition(": ")[2] for line in answer.splitlines() if line.lower().startswith(f"{name}: ")
    ]
    return value


def states(machine: Machine) -> set[str]:
    return {machine.show(unit, "ActiveState") for unit in UNITS}


# ---- The package itself ----


def test_it_is_named_after_version_release_and_architecture(package: Path) -> None:
    version = (ROOT / "server/pronghorn/_version.py").read_text().split('"')[-2]
    architecture = docker("version", "--format", "{{.Server.Arch}}").strip()
    assert package.name == f"pronghorn_{version}-1~deb12_{architecture}.deb"


def test_lintian_finds_nothing_and_overrides_are_about_something(package: Path) -> None:
    done = scripts_deb(package.parent, "lint")
    said = [line for line in done.stdout.splitlines() if not line.startswith(("N:", "O:"))]
    assert (done.returncode, said) == (0, [])
    overridden = {line.split()[2] for line in done.stdout.splitlines() if line.startswith("O:")}
    overrides = (ROOT / "packaging/debian/pronghorn.lintian-overrides").read_text().splitlines()
    assert overridden == {line.split()[1] for line in overrides if not line.startswith("#")}


def test_the_same_commit_makes_the_same_bytes(package: Path) -> None:
    assert scripts_deb(package.parent, "verify").returncode == 0


# ---- Installing ----


def test_a_clean_machine_answers_from_the_example_behind_nginx(host: Machine) -> None:
    answer = ask(host)
    assert '{"hello": "from Pronghorn", "path": "/", "client": "127.0.0.1", "scheme": "http"}' in answer
    assert field(answer, "server") == "nginx"
    assert states(host) == {"active"}
    for unit in (*UNITS, "nginx.service"):
        assert host.systemctl("is-enabled", unit).strip() == "enabled", unit
    assert host.run("systemctl", "is-system-running").strip() == "running"


def test_the_command_is_compiled_and_nothing_of_pip_is_left(host: Machine) -> None:
    assert host.run("pronghorn", "--version").strip().endswith(", compiled")
    assert host.attempt("/usr/lib/pronghorn/bin/python", "-m", "pip").code == 1
    # What is installed is what the package has in it.
    assert host.run("dpkg", "--verify", "pronghorn") == ""


def test_one_id_joins_the_answer_nginx_and_the_journal(host: Machine) -> None:
    chosen = field(ask(host), "x-request-id")

    def written() -> list[int]:
        """nginx logs a request when it is over, which the client may know before."""
        log = host.read("/var/log/nginx/pronghorn.access.log").rpartition("\n")[0]
        lines = [json.loads(line) for line in log.splitlines()]
        return [line["status"] for line in lines if line["request_id"] == chosen]

    assert until(written, "the line of the request in nginx' log") == [200]
    until(lambda: host.journal(f"REQUEST_ID={chosen}"), "the line of the request in the journal")


def test_static_files_are_served_by_nginx(host: Machine) -> None:
    host.write("/var/www/pronghorn/static/hello.txt", "from nginx\n")
    try:
        answer = ask(host, "/static/hello.txt")
        assert answer.endswith("\n\nfrom nginx\n")
        assert field(answer, "cache-control") == "no-cache"
    finally:
        host.run("rm", "-r", "/var/www/pronghorn")


def test_without_the_application_there_is_a_page_that_names_the_request(host: Machine) -> None:
    host.systemctl("stop", *UNITS)
    try:
        for accept, begins in (("text/html", "<!doctype html>"), ("*/*", '{"error":"bad gateway"')):
            answer = ask(host, "/", "--header", f"Accept: {accept}")
            assert answer.startswith("HTTP/1.1 502 ")
            assert answer.partition("\n\n")[2].startswith(begins)
            assert answer.count(field(answer, "x-request-id")) == 2, "the id is in the body as well"
    finally:
        host.systemctl("start", *UNITS)


def test_a_manual_and_completion_come_with_it(host: Machine) -> None:
    packed = docker("exec", host.name, "dpkg-deb", "--contents", PACKAGE)
    assert "./usr/share/man/man1/pronghorn.1.gz" in packed
    completed = host.shell(
        "_init_completion() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cword=$COMP_CWORD;"
        ' words=("${COMP_WORDS[@]}"); }; . /usr/share/bash-completion/completions/pronghorn;'
        'COMP_WORDS=(pronghorn main:app --http h); COMP_CWORD=3; _pronghorn; echo "${COMPREPLY[@]}";'
        'COMP_WORDS=(pronghorn --uds-); COMP_CWORD=1; _pronghorn; echo "${COMPREPLY[@]}"'
    )
    assert completed.splitlines() == ["h11 httptools", "--uds-group --uds-mode"]


# ---- Upgrading ----


async def upgrade_under_load(machine: Machine, address: str) -> Steady:
    async with asyncio.timeout(300), Steady((address, 80), LOAD) as steady:
        for action in (lambda: apt(machine, "install", NEXT), lambda: None):
            before = steady.counts().answered
            while steady.counts().answered < before + ENOUGH:  # noqa: ASYNC110 - it counts, and tells nobody
                await asyncio.sleep(0.05)
            await asyncio.to_thread(action)
    return steady


def test_an_upgrade_under_load_loses_no_request_and_keeps_what_was_changed(host: Machine) -> None:
    put_application(host, "app")
    # The load stands for many clients; half of what may wait is what the site leaves to one.
    host.shell(
        f"{MAKE_NEXT}\nsystemctl restart pronghorn; echo '# mine' >>{INCLUDES}/limits.conf;"
        f"sed -i '/^limit_conn pronghorn_requests_under_way /d' {INCLUDES}/rates.conf; systemctl reload nginx"
    )
    address = json.loads(docker("inspect", host.name))[0]["NetworkSettings"]["IPAddress"]
    before = host.show("pronghorn.service", "MainPID"), host.path(SOCKET).stat().st_ino

    counts = asyncio.run(upgrade_under_load(host, address)).counts()

    assert host.run("dpkg-query", "--show", "--showformat=${Version}", "pronghorn").endswith("~deb12.1")
    # When nginx reads its files again it closes connections that are idle: a client asks again on another, as RFC 9112 has it.
    asked_again = counts.fates[Fate.RETRIABLE]
    assert counts.failed == asked_again <= LOAD.connections, f"{counts}: {counts.failures}"
    after = host.show("pronghorn.service", "MainPID"), host.path(SOCKET).stat().st_ino
    assert after[0] not in {before[0], "0"}, "the server that runs is the one of the new version"
    assert after[1] == before[1], "nobody was turned away by a socket that went"
    assert host.read(f"{INCLUDES}/limits.conf").endswith("\n# mine\n")
    assert host.read(f"{INCLUDES}/limits.conf.dpkg-dist").endswith("\n# of the next version\n")
    assert host.read(f"{INCLUDES}/proxy.conf").endswith("\n# of the next version\n")
    assert "PRONGHORN_WORKERS=2" in host.read("/etc/pronghorn/pronghorn.env")


def test_a_site_that_somebody_took_out_stays_out(host: Machine) -> None:
    host.shell(f"rm {SITE}; ln -s /etc/nginx/sites-available/default {DEFAULT}; systemctl reload nginx")
    try:
        apt(host, "install", "--reinstall", PACKAGE, "--allow-downgrades")
        assert not host.path(SITE).is_symlink()
        until(lambda: WELCOME in ask(host), "the default page")
    finally:
        host.shell(f"rm {DEFAULT}; ln -s ../sites-available/pronghorn {SITE}; systemctl reload nginx")


# ---- Removing ----


def test_a_removal_stops_it_and_keeps_settings_for_its_return(host: Machine) -> None:
    host.shell(f"echo '# kept' >>{INCLUDES}/rates.conf")
    apt(host, "remove", "pronghorn")
    until(lambda: WELCOME in ask(host), "the default page is back")
    assert host.run("systemctl", "list-units", "--all", "--state=loaded", "--no-legend", "pronghorn*") == ""
    assert not host.path(SOCKET).exists()

    apt(host, "install", PACKAGE)
    until(lambda: ask(host).startswith("HTTP/1.1 200 "), "the application is back")
    assert WELCOME not in ask(host)
    assert host.read(f"{INCLUDES}/rates.conf").endswith("\n# kept\n")


#: What is another after any installation of any package.
_PASSING = (
    "./var/lib/dpkg",
    "./var/lib/apt",
    "./var/log",
    "./var/cache",
    "./var/backups",
    "./root",
    "./etc/.pwd.lock",
)


def everything(machine: Machine) -> dict[str, str]:
    """Every file and link, with size and target; accounts are in files as well."""
    found = machine.shell(
        r"cd /; find . -xdev ! -type d -printf '%p\t%s %l\n'; find ./etc ./usr ./srv -xdev -type d -printf '%p\t-\n'"
    )
    rows = dict(line.split("\t", 1) for line in found.splitlines())
    return {
        path: row for path, row in rows.items() if not path.startswith(_PASSING) and not path.endswith("-")
    }


@pytest.fixture(scope="module")
def with_nginx(clean_image: str, package: Path) -> Iterator[Machine]:
    """A machine that has had nginx for a while, and Python."""
    with booted(clean_image) as machine:
        docker("cp", "--quiet", str(package), f"{machine.name}:{PACKAGE}")
        apt(machine, "install", "nginx", "python3")
        yield machine


def test_a_purge_leaves_nothing(with_nginx: Machine) -> None:
    before = everything(with_nginx)
    apt(with_nginx, "install", PACKAGE)
    assert "from Pronghorn" in ask(with_nginx)
    # Another application of the same machine, and what belongs to it.
    with_nginx.shell(
        "cp /etc/pronghorn/pronghorn.env /etc/pronghorn/shop.env; ln -s /usr/share/pronghorn/examples/hello /srv/pronghorn/shop;"
        "systemctl enable --now pronghorn@shop.socket pronghorn@shop.service"
    )
    with_nginx.reaches("pronghorn@shop.service", "active running")
    with_nginx.shell("rm /srv/pronghorn/shop")

    apt(with_nginx, "purge", "pronghorn")

    after = everything(with_nginx)
    assert {path: row for path, row in after.items() if before.get(path) != row} == {}
    assert before.keys() - after.keys() == set()
    assert with_nginx.attempt("getent", "passwd", "pronghorn").code == 2
    assert (
        with_nginx.run("systemctl", "list-units", "--all", "--state=loaded", "--no-legend", "pronghorn*")
        == ""
    )
    until(lambda: WELCOME in ask(with_nginx), "the default page is back")


def test_what_an_application_wrote_is_never_purged(with_nginx: Machine) -> None:
    apt(with_nginx, "install", PACKAGE)
    with_nginx.write("/var/lib/pronghorn/orders.db", "paid\n")
    try:
        said = apt(with_nginx, "purge", "pronghorn")
        assert "/var/lib/pronghorn has what the application wrote" in said
        assert with_nginx.read("/var/lib/pronghorn/orders.db") == "paid\n"
        assert with_nginx.attempt("getent", "passwd", "pronghorn").code == 0, "nobody else gets the files"
    finally:
        with_nginx.shell("rm -r /var/lib/pronghorn; userdel pronghorn")


def claimed(machine: Machine) -> str:
    """What an installation says of nginx: one, the first time, and what it runs."""
    if machine.path("/usr/lib/pronghorn").exists():
        return machine.run("/usr/share/pronghorn/nginx-site", "claim")
    return apt(machine, "install", PACKAGE)


@pytest.mark.parametrize(
    "serves",
    [
        "echo mine >/var/www/html/index.html",
        "printf 'server { listen 80 default_server; return 200 mine; }' >/etc/nginx/sites-enabled/mine; rm {DEFAULT}",
        "printf 'server { listen 127.0.0.1:80; return 200 mine; }' >/etc/nginx/conf.d/mine.conf",
        "sed -i 's/index index.html/# &/; s/try_files .*/return 200 mine;/' /etc/nginx/sites-available/default",
    ],
    ids=["a page", "a site", "conf.d", "a default of one's own"],
)
def test_an_nginx_that_serves_something_is_left_alone(with_nginx: Machine, serves: str) -> None:
    with_nginx.shell(
        f"cp -a /etc/nginx /root/nginx.before; {serves.replace('{DEFAULT}', DEFAULT)}; nginx -t; systemctl reload nginx"
    )
    try:
        until(lambda: ask(with_nginx).strip().endswith("mine"), "nginx serves it")
        assert "nginx serves sites of its own, and is left alone" in claimed(with_nginx)
        assert not with_nginx.path(SITE).is_symlink()
        assert ask(with_nginx).strip().endswith("mine")
        assert states(with_nginx) == {"active"}, "it waits on its socket for a site that leads there"
    finally:
        with_nginx.shell(
            "cd /etc/nginx; rm -rf sites-enabled conf.d; cp -a /root/nginx.before/sites-enabled /root/nginx.before/conf.d .;"
            "cp -a /root/nginx.before/sites-available/default sites-available/; rm -rf /root/nginx.before;"
            "rm -f /var/www/html/index.html; systemctl reload nginx"
        )
