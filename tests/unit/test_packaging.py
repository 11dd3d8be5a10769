"""What the Debian package is made with: the site of nginx, the manual and the completion, from what is written elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pronghorn.config import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
SOCKET = "/run/pronghorn/pronghorn.sock"


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "packaging" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1795838685"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = run("nginx-site", ROOT / "nginx", SOCKET, "1.22", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_name_that_sites_share_is_ours(site: Path) -> None:
    text = "\n".join(file.read_text() for file in (site / "includes").glob("*.conf"))
    made = re.findall(r"^(?:map|geo) .*\$(\w+) \{", text, re.MULTILINE) + re.findall(r"\?<(\w+)>", text)
    zones = re.findall(
        r"zone=(\w+):|shared:(\w+):|^upstream (\w+)|^ *zone (\w+) |^log_format (\w+)", text, re.MULTILINE
    )

    assert made
    assert [name for name in made if not name.startswith("p_")] == []
    assert len(zones) >= 5
    assert [names for names in zones if not "".join(names).startswith("pronghorn_")] == []
    # Nothing still goes by its old name: each of ours that is used is made, and the page of errors uses them as well.
    used = set(re.findall(r"\$(p_\w+)", text)) | set(
        re.findall(r'var="(p_\w+)"', (site / "error.html").read_text())
    )
    assert used <= set(made)


def test_nothing_of_the_container_is_left(site: Path) -> None:
    directives = [
        line
        for file in (site / "includes").glob("*.conf")
        for line in file.read_text().splitlines()
        if not line.lstrip().startswith("#")
    ]
    assert [
        line for line in directives if "/tmp" in line or "include includes/" in line or "/run/acme" in line
    ] == []
    sockets = {word for line in directives for word in re.findall(r"unix:[^ ;]+", line)}
    assert sockets == {f"unix:{SOCKET}", f"unix:/.{SOCKET}"}


def test_the_site_includes_what_is_there_and_all_of_it(site: Path) -> None:
    text = (site / "sites-available/pronghorn").read_text()
    texts = [text, *(file.read_text() for file in (site / "includes").glob("*.conf"))]
    included = {
        name for text in texts for name in re.findall(r"include /etc/pronghorn/nginx/([\w-]+)\.conf;", text)
    }
    assert included == {file.stem for file in (site / "includes").glob("*.conf")}


def test_an_older_nginx_has_http2_with_listen_and_a_newer_one_a_directive(site: Path, tmp_path: Path) -> None:
    assert "listen 443 ssl http2 default_server;" in (site / "sites-available/pronghorn").read_text()
    assert "http2 on;" not in (site / "includes/http2.conf").read_text()
    assert run("nginx-site", ROOT / "nginx", SOCKET, "1.26.3", tmp_path).returncode == 0
    assert "listen 443 ssl default_server;" in (tmp_path / "sites-available/pronghorn").read_text()
    assert "\nhttp2 on;" in (tmp_path / "includes/http2.conf").read_text()


def test_a_file_that_nobody_has_placed_is_an_error_that_names_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "nginx", tmp_path / "nginx")
    frame = tmp_path / "nginx/nginx.conf"
    frame.write_text(
        frame.read_text().replace("include includes/limits.conf;", "include includes/brand-new.conf;")
    )
    done = run("nginx-site", tmp_path / "nginx", SOCKET, "1.22", tmp_path / "site")
    assert done.returncode == 1
    assert done.stderr.startswith("packaging/nginx-site: say where brand-new of nginx.conf belongs")


def test_the_manual_has_every_option_exit_code_and_signal() -> None:
    done = run("man-page")
    assert (done.returncode, done.stderr) == (0, "")
    page = done.stdout.replace(r"\-", "-")
    assert [told.flag for told in OPTIONS.values() if told.flag and rf"\fB{told.flag}\fR" not in page] == []
    assert re.findall(r"^\\fB(\d+)\\fR$", page, re.MULTILINE) == ["0", "143", "2", "3"]
    assert r"\fBHUP\fR" in page
    assert page.startswith('.TH PRONGHORN 1 "2026-11-28"')


def test_the_completion_has_every_option() -> None:
    done = run("bash-completion")
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0
    words = set(done.stdout.split())
    wanted = {told.flag for told in OPTIONS.values() if told.flag} - words
    assert {
        flag for flag in wanted if f"({flag}" not in done.stdout and f"{flag})" not in done.stdout
    } == set()


def test_every_bundled_distribution_has_its_licence(tmp_path: Path) -> None:
    place = tmp_path / "lib/python3.11/site-packages"
    place.mkdir(parents=True)
    metadata = place / "thing-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: thing\nVersion: 1.0\nLicense-Expression: MIT\n"
    )
    (metadata / "RECORD").write_text("thing.py,,\nthing-1.0.dist-info/METADATA,,\n")
    (place / "thing.py").touch()

    done = run("bundled-licenses", tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "packaging/bundled-licenses: thing brings no licence, or nobody's copyright\n",
    )

    with (metadata / "RECORD").open("a") as record:
        record.write("thing-1.0.dist-info/licenses/LICENSE,,\n")
    (metadata / "licenses").mkdir()
    (metadata / "licenses/LICENSE").write_text("Copyright (c) 2026 Somebody\n\nDo as you like.\n")
    done = run("bundled-licenses", tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith(
        "Copyright:\n Copyright (c) 2026 Somebody\nLicense: Expat-of-thing\n"
        " Copyright (c) 2026 Somebody\n .\n Do as you like.\n"
    )
