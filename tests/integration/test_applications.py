"""An application of one's own, as docs/applications.md has it: its dependencies, its static files, its secrets, and work on it.

One stack for Django; the folders with dependencies are built and asked, not started with nginx.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import Built, shown_on_failure
from tests.integration.stack import ROOT, Stack, build_image, docker, new_name, project
from tests.support.waiting import until

OVERRIDE = """
services:
  app:
    secrets: [django_secret_key]
    environment:
      DJANGO_SECRET_KEY_FILE: /run/secrets/django_secret_key
secrets:
  django_secret_key:
    file: {file}
"""

SECRET = "only in a file"


@dataclass(frozen=True)
class Django:
    """examples/django in a folder of its own, and its stack."""

    folder: Path
    stack: Stack

    def stylesheet(self) -> str:
        """The address of the style that the page now names."""
        with self.stack.client() as client:
            [found] = re.findall(r'"(/static/[^"]+\.css)"', client.get("/").raise_for_status().text)
        return str(found)


@pytest.fixture(scope="module")
def django(
    images: Built, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Django]:
    name, place = new_name(), tmp_path_factory.mktemp("django")
    folder = place / "mine"
    shutil.copytree(ROOT / "examples/django", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "secret").write_text(f"{SECRET}\n")
    (place / "override.yml").write_text(OVERRIDE.format(file=place / "secret"))
    settings = {
        **images.variables,
        "PRONGHORN_IMAGE": name,
        "APP_SOURCE": str(folder),
        "PRONGHORN_APP": "project.asgi:application",
        "DEV_PORT": "0",
    }
    with (
        project(name, settings, build=True, more=[str(place / "override.yml")]) as stack,
        shown_on_failure(pytestconfig, stack),
    ):
        yield Django(folder, stack)
    docker("image", "rm", "--force", name, check=False)


# ---- Static files ---------------------------------------------------------------------------------------------------


def test_a_file_with_a_hash_is_kept_for_a_year_and_comes_compressed(django: Django) -> None:
    with django.stack.client() as client:
        answer = client.get(django.stylesheet(), headers={"Accept-Encoding": "gzip"})
        plain = client.get(django.stylesheet(), headers={"Accept-Encoding": "identity"})

    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Encoding"] == "gzip"
    # Known beforehand, so it was compressed before.
    assert int(answer.headers["Content-Length"]) < len(answer.content)
    assert "Content-Encoding" not in plain.headers
    assert answer.text == plain.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_any_other_file_is_asked_about_each_time(django: Django) -> None:
    with django.stack.client() as client:
        answer = client.get("/static/hello/hello.css")
        again = client.get("/static/hello/hello.css", headers={"If-None-Match": answer.headers["ETag"]})

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    assert again.status_code == 304


def test_what_is_not_there_is_the_application_s(django: Django) -> None:
    with django.stack.client() as client:
        answers = [client.get(path) for path in ("/static/none.css", "/static/", "/static/hello/")]

    for answer in answers:
        assert (answer.status_code, answer.headers.get("Cache-Control")) == (404, None)
        assert "<h1>Not Found</h1>" in answer.text


def test_what_a_browser_keeps_is_out_of_the_application_s_reach(django: Django) -> None:
    for service in ("app", "nginx"):
        script = "touch /srv/static/mine 2>/dev/null || echo no"
        assert django.stack.execute(service, "sh", "-c", script).strip() == "no"
    assert "static" not in {mount.get("Name", "") for mount in django.stack.inspect("app")["Mounts"]}


def test_a_page_of_before_still_finds_its_style_after_a_deploy(django: Django) -> None:
    before = django.stylesheet()
    style = django.folder / "hello/static/hello/hello.css"
    # Too little to be worth compressing: the compressed copy of before may not be what is served under the same name.
    style.write_text("main { color: teal }\n")
    django.stack.run("up", "--detach", "--build", "--wait")
    after = django.stylesheet()

    assert before != after
    with django.stack.client() as client:
        assert "--accent" in client.get(before).raise_for_status().text
        assert client.get(after).raise_for_status().text == style.read_text()
        assert client.get("/static/hello/hello.css").raise_for_status().text == style.read_text()


def test_what_no_version_has_had_for_long_goes(django: Django) -> None:
    script = (
        "import os; open('/srv/static/old.css', 'w').close(); os.utime('/srv/static/old.css', (0, 0));"
        "open('/srv/static/new.css', 'w').close()"
    )
    django.stack.run("run", "--rm", "static", "python3", "-c", script)
    told = django.stack.run("run", "--rm", "static")

    assert told.strip().endswith("static files published, 1 old ones removed")
    assert "new.css" in django.stack.execute("nginx", "ls", "/srv/static")


# ---- Secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_is_a_file_and_in_no_environment(django: Django) -> None:
    code = "from project.settings import SECRET_KEY; print(SECRET_KEY)"

    assert django.stack.execute("app", "python3", "-c", code).strip() == SECRET
    assert SECRET not in str(django.stack.inspect("app")["Config"])


# ---- Work on it -----------------------------------------------------------------------------------------------------


def test_a_changed_file_is_served_by_dev(django: Django) -> None:
    django.stack.run("--profile", "dev", "up", "--detach", "--no-build", "--wait", "dev")
    port = django.stack.run("port", "dev", "8000").strip().rpartition(":")[2]
    view = django.folder / "hello/views.py"

    def says(text: str) -> bool:
        try:
            return text in httpx.get(f"http://127.0.0.1:{port}/", timeout=30).text
        except httpx.TransportError:  # between one process and the next
            return False

    until(lambda: says("Hello from Django"), "the page")
    view.write_text(
        "from django.http import HttpResponse\n\ndef index(request):\n    return HttpResponse('changed')\n"
    )
    until(lambda: says("changed"), "the changed page", 120)


# ---- Dependencies ---------------------------------------------------------------------------------------------------

PYPROJECT = '[project]\nname = "mine"\nversion = "1"\n'
ASGIREF = """asgiref==3.13.0 \\
    --hash=sha256:034cc8cbf72d00553b4be256703ac545120b4e50af13b49dec99da899aeeecb4 \\
    --hash=sha256:f9596a2434512686473d50f96ff6207fbba49ae1a785dfac614df4aeb085674d
"""


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The name of an image that there will be, and the folder of its application."""
    name = new_name()
    (tmp_path / "main.py").write_text("import asgiref\n")
    yield name, tmp_path
    docker("image", "rm", "--force", name, check=False)


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": f'{PYPROJECT}dependencies = ["asgiref>=3.8", "h11"]\n'},
        {"requirements.txt": ASGIREF},
        # Where both are there, the one that may be a lock.
        {
            "requirements.txt": "asgiref>=3.8\n",
            "pyproject.toml": f'{PYPROJECT}dependencies = ["no-such-package"]\n',
        },
    ],
    ids=["pyproject", "hashes", "both"],
)
def test_what_a_folder_asks_for_is_installed(
    images: Built, mine: tuple[str, Path], files: dict[str, str]
) -> None:
    name, folder = mine
    for file, text in files.items():
        (folder / file).write_text(text)
    built = build_image(name, images.variables, f"--build-context=app={folder}")

    assert built.returncode == 0, built.stderr[-3000:]
    docker("run", "--rm", name, "python3", "-c", "import main")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"pyproject.toml": f'{PYPROJECT}dynamic = ["dependencies"]\n'}, "put a requirements.txt beside it"),
        ({"requirements.txt": ASGIREF.replace(":0", ":1").replace(":f", ":1")}, "DO NOT MATCH THE HASHES"),
        ({"requirements.txt": "h11<0.16\n"}, "h11<0.16"),
    ],
    ids=["dynamic", "another hash", "against the lock"],
)
def test_what_cannot_be_installed_ends_the_build(
    images: Built, mine: tuple[str, Path], files: dict[str, str], told: str
) -> None:
    name, folder = mine
    for file, text in files.items():
        (folder / file).write_text(text)
    built = build_image(name, images.variables, f"--build-context=app={folder}", "--progress=plain")

    assert built.returncode != 0
    assert told in built.stderr
