"""The images themselves: what is in them, how large they are, what they say of themselves, and that a build makes them again.

And an image of one's own `FROM pronghorn`, as docs/deployment.md has it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Built
from tests.integration.stack import ROOT, Stack, build_image, docker, new_name

OWN = """
FROM {image}
COPY <<MAIN /app/main.py
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"my own"}})
MAIN
"""

ASK = """
import socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/pronghorn/app.sock")
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    print(b"".join(iter(lambda: connection.recv(65536), b"")).decode())
"""


@pytest.fixture
def own_image(stack: Stack, images: Built) -> Iterator[str]:
    """An image made `FROM` this run's, with one file in it; `stack` is what built that one."""
    name = new_name()
    dockerfile = OWN.format(image=images.names[0])
    subprocess.run(
        ["docker", "build", "--tag", name, "-"], input=dockerfile, text=True, check=True, capture_output=True
    )
    yield name
    docker("image", "rm", "--force", name, check=False)


def test_from_pronghorn_and_one_file_is_a_server(own_image: str) -> None:
    # The first health check is the engine's own business; asking the probe until it agrees needs no clock.
    container = docker(
        "run", "--detach", "--read-only", "--tmpfs", "/tmp", "--volume", "/run/pronghorn", own_image
    ).strip()
    try:
        for _ in range(100):
            if docker("exec", container, "pronghorn", "healthcheck", check=False).startswith("healthy"):
                break
            time.sleep(0.1)
        assert docker("exec", container, "python3", "-c", ASK).endswith("my own\n")
        docker("stop", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "143"
    finally:
        docker("rm", "--force", "--volumes", container)


# ---- What an image says of itself -----------------------------------------------------------------------------------


def inspected(image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(docker("image", "inspect", image))
    return found[0]


@pytest.mark.parametrize("number", [0, 1], ids=["app", "nginx"])
def test_the_labels_say_what_it_was_made_of(stack: Stack, images: Built, number: int) -> None:
    given = images.variables
    labels = inspected(images.names[number])["Config"]["Labels"]
    base = ("PYTHON_IMAGE", "NGINX_IMAGE")[number]
    prefix = "org.opencontainers.image."

    assert labels[f"{prefix}version"] == given["IMAGE_VERSION"]
    assert labels[f"{prefix}revision"] == given["IMAGE_REVISION"]
    assert labels[f"{prefix}created"] == given["IMAGE_CREATED"]
    assert labels[f"{prefix}source"] == given.get("IMAGE_SOURCE", "")
    assert labels[f"{prefix}licenses"] == "BSD-3-Clause"
    assert labels[f"{prefix}base.name"] == given[base]
    assert labels[f"{prefix}base.digest"] == given[f"{base}_DIGEST"]


@pytest.mark.parametrize("number", [0, 1], ids=["app", "nginx"])
def test_the_image_is_dated_as_the_commit_is(stack: Stack, images: Built, number: int) -> None:
    assert inspected(images.names[number])["Created"] == images.variables["IMAGE_CREATED"]


#: Megabytes on top of the base image, of which what somebody else makes is none of ours: measured 27 and 1, with a little room.
BUDGETS = {"app": 35, "nginx": 5}


@pytest.mark.parametrize(("number", "service"), [*enumerate(BUDGETS)])
def test_what_we_add_stays_within_its_budget(stack: Stack, images: Built, number: int, service: str) -> None:
    base = images.variables[("PYTHON_IMAGE", "NGINX_IMAGE")[number]]
    added = (inspected(images.names[number])["Size"] - inspected(base)["Size"]) / 1e6

    assert 0 < added < BUDGETS[service]


# ---- What nobody can use ---------------------------------------------------------------------------------------------

#: Runs as root in a container of the image that has every right: what it does not find there is not there.
LOOK = """
find / -xdev -type f -perm /6000
find / -xdev ! -type l -perm -o+w ! -path /tmp
for tool in apt apt-get dpkg pip pip3 gcc cc make curl wget; do command -v $tool; done
true
"""


@pytest.mark.parametrize("number", [0, 1], ids=["app", "nginx"])
def test_nothing_in_it_writes_installs_or_escalates(stack: Stack, images: Built, number: int) -> None:
    command = [
        "run",
        "--rm",
        "--user=0",
        "--network=none",
        "--entrypoint=sh",
        images.names[number],
        "-c",
        LOOK,
    ]

    assert docker(*command) == ""


@pytest.fixture(scope="module")
def files(stack: Stack, images: Built, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both images, as archives of all their files."""
    folder = tmp_path_factory.mktemp("files")
    return [exported(image, folder / f"{number}.tar") for number, image in enumerate(images.names)]


def exported(image: str, archive: Path) -> Path:
    container = docker("create", image).strip()
    try:
        docker("export", f"--output={archive}", container)
    finally:
        docker("rm", "--force", "--volumes", container)
    return archive


def test_no_file_has_capabilities(files: list[Path]) -> None:
    for archive in files:
        with tarfile.open(archive) as opened:
            assert [
                member.name for member in opened if "security.capability" in str(member.pax_headers)
            ] == []


# ---- What is in it, written down ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["app", "nginx"])
def test_the_sbom_names_all_that_is_installed(
    stack: Stack, images: Built, files: list[Path], tmp_path: Path, number: int
) -> None:
    told = []
    for name in ("once", "again"):
        subprocess.run(
            [sys.executable, "scripts/sbom", images.names[number], tmp_path / name], cwd=ROOT, check=True
        )
        told.append((tmp_path / name).read_text())
    bom = json.loads(told[0])
    named = {(each["purl"].split("/")[0], each["name"], each["version"]) for each in bom["components"]}

    # The script itself refuses to write what does not follow the schema.
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert told[0] == told[1]
    with tarfile.open(files[number]) as opened:
        status = opened.extractfile("var/lib/dpkg/status")
        assert status is not None
        paragraphs = status.read().decode().strip().split("\n\n")
        folders = [member.name for member in opened if member.isdir() and member.name.endswith(".dist-info")]
    debian = {
        ("pkg:deb", fields["Package"], fields["Version"])
        for fields in (
            dict(line.split(": ", 1) for line in text.splitlines() if ": " in line) for text in paragraphs
        )
    }
    assert {each for each in named if each[0] == "pkg:deb"} == debian
    # The folder's name is name-version, normalised.
    installed = {Path(name).name.removesuffix(".dist-info") for name in folders}
    assert {
        f"{name.replace('-', '_')}-{version}".lower() for kind, name, version in named if kind == "pkg:pypi"
    } == {name.lower() for name in installed}
    assert bool(installed) is (number == 0)


# ---- The same again -------------------------------------------------------------------------------------------------


def contents(archive: Path) -> dict[str, tuple[object, ...]]:
    """Each file: what it is, whose, and a sum of what is in it; when it was made only where that is ours to say."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isfile() else None
            summed = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
            ours = member.name.startswith(("opt/pronghorn/", "app/"))
            time_of_it = member.mtime if ours else None
            found[member.name] = (member.type, member.mode, member.uid, member.gid, summed, time_of_it)
    return found


def test_two_builds_of_one_commit_have_the_same_in_them(
    stack: Stack, images: Built, files: list[Path], tmp_path: Path
) -> None:
    """Nothing of the first is taken over: the server is compiled again, and all is installed again."""
    name = new_name()
    application = ROOT / "tests/integration/app"
    built = build_image(name, images.variables, "--no-cache", f"--build-context=app={application}")
    try:
        assert built.returncode == 0, built.stderr[-3000:]
        first, second = contents(files[0]), contents(exported(name, tmp_path / "second.tar"))
    finally:
        docker("image", "rm", "--force", name, check=False)

    assert [path for path in first.keys() | second.keys() if first.get(path) != second.get(path)] == []
    assert len(first) > 5000


# ---- docker buildx bake ---------------------------------------------------------------------------------------------


def bake(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "buildx", "bake", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_a_release_is_for_two_platforms_and_says_where_it_comes_from(images: Built) -> None:
    targets = json.loads(bake("--print", "release", **images.variables).stdout)["target"]

    assert sorted(targets) == ["app-release", "nginx-release"]
    for target in targets.values():
        assert target["platforms"] == ["linux/amd64", "linux/arm64"]
        assert target["attest"] == ["type=sbom", "type=provenance,mode=max"]
        assert target["output"] == ["type=image,rewrite-timestamp=true"]
        assert target["args"]["IMAGE_REVISION"] == images.variables["IMAGE_REVISION"]


def configuration(image: str) -> dict[str, Any]:
    """How it is started, and its labels but for those by which Compose finds its own."""
    found: dict[str, Any] = inspected(image)["Config"]
    labels = {name: text for name, text in found["Labels"].items() if not name.startswith("com.docker.")}
    return found | {"Labels": labels}


def test_bake_builds_what_compose_builds(
    stack: Stack, images: Built, files: list[Path], tmp_path: Path
) -> None:
    """The same in them, and started the same way; the layers are the cache's, which may have made them twice."""
    names = [new_name(), new_name()]
    given = {
        "PRONGHORN_IMAGE": names[0],
        "PRONGHORN_NGINX_IMAGE": names[1],
        "APP_SOURCE": "tests/integration/app",
    }
    try:
        bake(**images.variables | given)
        for ours, composed, archive in zip(names, images.names, files, strict=True):
            assert configuration(ours) == configuration(composed)
            assert contents(exported(ours, tmp_path / f"{ours}.tar")) == contents(archive)
    finally:
        docker("image", "rm", "--force", *names, check=False)
