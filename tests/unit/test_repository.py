"""Promises of the repository itself: locks, one version, the Makefile as an index, pages that agree with the code."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "server/pronghorn/_version.py").read_text(), re.MULTILINE
)


def files_of_the_repository() -> list[Path]:
    """What git has or would take; text files only."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in listing.split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()]


def locked(lock: Path) -> dict[str, Version]:
    """Name to version, as a lock has them; every line is checked to be a pinned requirement with its hashes."""
    text = lock.read_text().replace("\\\n", " ")
    versions: dict[str, Version] = {}
    for line in text.splitlines():
        statement = line.split("#")[0].strip()
        if not statement:
            continue
        requirement_text, *hashes = re.split(r"\s+--hash=", statement)
        requirement = Requirement(requirement_text)
        (pin,) = requirement.specifier
        assert pin.operator == "==", f"{lock.name}: {requirement} is not pinned"
        assert hashes, f"{lock.name}: {requirement.name} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes), (
            f"{lock.name}: {requirement.name}"
        )
        assert requirement.url is None
        versions[canonicalize_name(requirement.name)] = Version(pin.version)
    return versions


def assert_satisfied(requirements: list[str], versions: dict[str, Version]) -> None:
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == "pronghorn":
            extras = PYPROJECT["project"]["optional-dependencies"]
            for extra in requirement.extras:
                assert_satisfied(extras[extra], versions)
            continue
        assert name in versions, f"{name} is not locked: make lock"
        assert requirement.specifier.contains(versions[name]), (
            f"{name} {versions[name]} is not {requirement.specifier}"
        )


# ---- Locks ----------------------------------------------------------------------------------------------------------


def test_the_locks_are_there() -> None:
    assert [lock.name for lock in LOCKS] == [
        "autobahn.txt",
        "bench.txt",
        "build.txt",
        "dev.txt",
        "fuzz.txt",
        "loadtest.txt",
        "runtime.txt",
        "uvicorn.txt",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_everything_by_hash_and_names_no_place(lock: Path) -> None:
    assert locked(lock)
    assert not re.search(r"://|file:|--(extra-)?index-url|--find-links|--trusted-host| @ ", lock.read_text())


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("runtime.txt", PYPROJECT["project"]["dependencies"]),
        ("runtime.txt", PYPROJECT["project"]["optional-dependencies"]["gunicorn"]),
        ("dev.txt", PYPROJECT["project"]["dependencies"]),
        ("dev.txt", PYPROJECT["project"]["optional-dependencies"]["dev"]),
        ("bench.txt", PYPROJECT["project"]["dependencies"]),
        ("bench.txt", PYPROJECT["dependency-groups"]["bench"]),
        ("fuzz.txt", PYPROJECT["project"]["dependencies"]),
        ("loadtest.txt", PYPROJECT["project"]["optional-dependencies"]["loadtest"]),
        ("fuzz.txt", PYPROJECT["dependency-groups"]["fuzz"]),
        ("build.txt", PYPROJECT["build-system"]["requires"]),
    ],
)
def test_a_lock_satisfies_what_is_declared(lock: str, declared: list[str]) -> None:
    assert_satisfied(declared, locked(ROOT / "requirements" / lock))


def test_what_is_tested_and_measured_is_what_the_image_installs() -> None:
    runtime = locked(ROOT / "requirements/runtime.txt")
    for other in ("dev.txt", "bench.txt", "fuzz.txt", "loadtest.txt"):
        versions = locked(ROOT / "requirements" / other)
        # The fuzzer and the generator of load need nobody to manage processes.
        wanted = runtime.keys() & versions.keys() if other in {"fuzz.txt", "loadtest.txt"} else runtime.keys()
        assert {name: versions[name] for name in wanted} == {name: runtime[name] for name in wanted}


def test_what_generates_load_is_what_its_tests_run_with() -> None:
    image, tested = locked(ROOT / "requirements/loadtest.txt"), locked(ROOT / "requirements/dev.txt")
    assert {name: tested.get(name) for name in image} == image


def test_the_reader_of_locks_notices_a_missing_hash(tmp_path: Path) -> None:
    lock = tmp_path / "bad.txt"
    lock.write_text("click==8.1.0\n")
    with pytest.raises(AssertionError, match="has no hash"):
        locked(lock)


def test_an_unsatisfied_requirement_is_noticed() -> None:
    with pytest.raises(AssertionError, match="is not >=9"):
        assert_satisfied(["click>=9"], {"click": Version("8.1")})


# ---- One place for each thing ---------------------------------------------------------------------------------------


def test_the_version_is_written_once() -> None:
    assert VERSION is not None
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "server/pronghorn/_version.py"
    assignments = [
        file.relative_to(ROOT).as_posix()
        for file in files_of_the_repository()
        if file.suffix in {".py", ".toml", ".cfg"}
        and re.search(
            rf'^(__version__|version) *(: *\w+ *)?= *"{re.escape(VERSION[1])}"',
            file.read_text(),
            re.MULTILINE,
        )
    ]
    assert assignments == ["server/pronghorn/_version.py"]


def test_the_changelog_knows_the_version() -> None:
    assert VERSION is not None
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION[1]


def test_no_registry_and_no_path_of_this_checkout_is_named() -> None:
    # Mirrors and indexes are the machine's business: they come from its own configuration.
    registry = re.compile(r"://[a-z.]*(debian|pypi|pythonhosted|npmjs)")
    here = f"{ROOT}/"
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()[:80]}"
        for file in files_of_the_repository()
        for line in file.read_text(errors="replace").splitlines()
        if registry.search(line) or here in line
    ]
    assert found == []


def test_every_dependency_has_its_reason() -> None:
    project: dict[str, Any] = PYPROJECT["project"]
    declared = [
        *project["dependencies"],
        *(text for texts in project["optional-dependencies"].values() for text in texts),
        *(text for texts in PYPROJECT["dependency-groups"].values() for text in texts),
    ]
    page = (ROOT / "docs/dependencies.md").read_text()
    names = {Requirement(text).name for text in declared}
    cells = (cell for line in page.splitlines() if line.startswith("| ") for cell in line.split("|"))
    told = {name.strip() for cell in cells for name in cell.split(",")}
    assert sorted(names - told) == []
    extras = set(project["optional-dependencies"]) - {"dev"}
    assert sorted(extra for extra in extras if f"| {extra} |" not in page) == []


def test_every_rule_that_is_off_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.mypy]")]
    rules = [line for line in section.splitlines() if re.match(r'\s+"[A-Z]+\d*",', line)]
    assert len(rules) > 20
    assert [line for line in rules if not re.search(r'",\s+# .{8,}', line)] == []


# ---- The Makefile ---------------------------------------------------------------------------------------------------


def help_text() -> str:
    # A make that runs these tests must not lend its flags to the one under test.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", "--no-print-directory"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_make_alone_prints_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert {
        "up",
        "down",
        "run",
        "logs",
        "test",
        "lint",
        "format",
        "build",
        "bench",
        "lock",
        "docs",
        "clean",
    } <= set(phony)
    printed = help_text()
    assert [
        target for target in phony if not re.search(rf"^  {target} +\S.{{8,}}$", printed, re.MULTILINE)
    ] == []


def test_no_target_runs_into_its_description() -> None:
    assert [line for line in help_text().splitlines() if len(line) > 130] == []


def test_the_makefile_calls_scripts_that_can_be_run() -> None:
    called = set(re.findall(r"(?:^|[\s(@])(scripts/[a-z-]+)", (ROOT / "Makefile").read_text()))
    assert called
    assert sorted(name for name in called if not os.access(ROOT / name, os.X_OK)) == []


def test_ci_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "make test" in script
    assert "make lint" in script
    assert os.access(ROOT / ".ci/run", os.X_OK)


# ---- Pages ----------------------------------------------------------------------------------------------------------


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = []
    for page in (file for file in files_of_the_repository() if file.suffix == ".md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path = target.split("#")[0]
            if path and ":" not in path and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
