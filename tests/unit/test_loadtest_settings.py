"""What a load test is told by its environment, and the command line of Locust that comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.settings import WEIGHTS, LoadTestError, Settings, read

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:8080"


def test_a_url_is_enough() -> None:
    assert read({"LOADTEST_URL": URL}) == Settings(url=URL)


def test_everything_can_be_said() -> None:
    told = {
        "LOADTEST_URL": "https://shop.example/base/",
        "LOADTEST_SCENARIO": "chat, browse,chat",
        "LOADTEST_USERS": "200",
        "LOADTEST_RAMP": "20",
        "LOADTEST_DURATION": "1.5m",
        "LOADTEST_WORKERS": "4",
        "LOADTEST_INSECURE": "1",
        "LOADTEST_THRESHOLDS": "/etc/thresholds.toml",
        "LOADTEST_LIMITS": "browse.p95=100",
        "LOADTEST_REPORTS": "/reports",
        "HOME": "/root",
    }
    settings = read(told)

    assert settings == Settings(
        url="https://shop.example/base",
        scenarios=("chat", "browse"),
        users=200,
        ramp=20,
        duration=90,
        workers=4,
        insecure=True,
        thresholds=Path("/etc/thresholds.toml"),
        limits="browse.p95=100",
        reports=Path("/reports"),
    )
    assert settings.spawn_rate == 10


def test_what_is_empty_is_not_said() -> None:
    """Compose has no other way to leave a variable out."""
    names = (
        "SCENARIO",
        "USERS",
        "RAMP",
        "DURATION",
        "WORKERS",
        "INSECURE",
        "THRESHOLDS",
        "LIMITS",
        "REPORTS",
    )
    assert read({"LOADTEST_URL": URL, **{f"LOADTEST_{name}": " " for name in names}}) == Settings(url=URL)


def test_mixed_is_all_of_them() -> None:
    assert read({"LOADTEST_URL": URL, "LOADTEST_SCENARIO": "chat,mixed"}).scenarios == tuple(WEIGHTS)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("URL", "", "LOADTEST_URL='' is no http:// or https:// URL"),
        ("URL", "shop.example", "LOADTEST_URL='shop.example' is no http:// or https:// URL"),
        ("URL", "ws://shop.example", "is no http:// or https:// URL"),
        ("SCENARIO", "brwose", "LOADTEST_SCENARIO='brwose': brwose is none of browse, uploads, downloads, streaming, sse, chat, slow, mixed"),
        ("SCENARIO", ",", "LOADTEST_SCENARIO=','"),
        ("USERS", "0", "LOADTEST_USERS='0' is no whole number from 1 on"),
        ("USERS", "many", "LOADTEST_USERS='many' is no whole number from 1 on"),
        ("USERS", "11", "LOADTEST_USERS=11 is not enough for one of each kind: at least 12, or name less in LOADTEST_SCENARIO"),
        ("WORKERS", "1.5", "LOADTEST_WORKERS='1.5' is no whole number"),
        ("RAMP", "0", "LOADTEST_RAMP='0' is no time: write 30s, 5m or 2h"),
        ("DURATION", "1d", "LOADTEST_DURATION='1d' is no time: write 30s, 5m or 2h"),
        ("DURATION", "-5s", "is no time"),
        ("INSECURE", "maybe", "LOADTEST_INSECURE='maybe' is neither 1 nor 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_variable(name: str, value: str, fault: str) -> None:
    with pytest.raises(LoadTestError) as caught:
        read({"LOADTEST_URL": URL, f"LOADTEST_{name}": value})

    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({}, "error: LOADTEST_URL='' is no http:// or https:// URL\n"),
        (
            {"LOADTEST_URL": URL, "LOADTEST_LIMITS": "browse.p95"},
            "error: LOADTEST_LIMITS: 'browse.p95' is not",
        ),
        (
            {"LOADTEST_URL": URL, "LOADTEST_THRESHOLDS": "/none"},
            "error: LOADTEST_THRESHOLDS=/none: No such file",
        ),
    ],
)
def test_the_command_says_it_in_one_line_and_starts_nothing(told: dict[str, str], fault: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", "run"],
        cwd=ROOT,
        env=told,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(fault)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["start"], ["run", "ui"]])
def test_the_command_tells_its_words(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (2, "usage: python -m loadtest run|ui|master|worker\n")
