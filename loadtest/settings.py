"""What a load test is told by its environment: LOADTEST_... (docs/load-tests.md has them in a table).

It knows nothing of Locust, so that a mistake is told before anything starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

HERE: Final = Path(__file__).resolve().parent

#: The scenarios, and how many of each kind of user are in `mixed` for one another.
WEIGHTS: Final = {
    "browse": 10,
    "uploads": 2,
    "downloads": 2,
    "streaming": 2,
    "sse": 2,
    "chat": 3,
    "slow": 2,
}
MIXED: Final = "mixed"

#: Exit statuses: a threshold was not met; there is no verdict.
NOT_MET: Final = 1
NO_VERDICT: Final = 2

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


class LoadTestError(Exception):
    """What keeps a load test from telling anything: one line for whoever started it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`ramp` and `duration` in seconds; `scenarios` without `mixed`, which is all of them."""

    url: str
    scenarios: tuple[str, ...] = tuple(WEIGHTS)
    users: int = 50
    ramp: float = 10
    duration: float = 60
    workers: int = 2
    insecure: bool = False
    thresholds: Path = HERE / "thresholds.toml"
    limits: str = ""
    reports: Path = Path("build/loadtest")

    @property
    def spawn_rate(self) -> float:
        """Users that are added in a second."""
        return self.users / self.ramp


def read(environment: Mapping[str, str]) -> Settings:
    """The settings that variables give; unset and empty are the same. Raises `LoadTestError` naming the variable."""
    given = {
        name.removeprefix("LOADTEST_").lower(): value.strip()
        for name, value in environment.items()
        if name.startswith("LOADTEST_") and value.strip()
    }
    settings = Settings(
        url=_url(given.get("url", "")),
        scenarios=_scenarios(given.get("scenario", MIXED)),
        users=_whole("users", given.get("users", "50")),
        ramp=_seconds("ramp", given.get("ramp", "10s")),
        duration=_seconds("duration", given.get("duration", "60s")),
        workers=_whole("workers", given.get("workers", "2")),
        insecure=insecure(environment),
        thresholds=Path(given.get("thresholds", str(HERE / "thresholds.toml"))),
        limits=given.get("limits", ""),
        reports=Path(given.get("reports", "build/loadtest")),
    )
    weights = [WEIGHTS[name] for name in settings.scenarios]
    # Locust gives out users by weight: below this the rarest kind would get none.
    least = -(-sum(weights) // min(weights))
    if settings.users < least:
        raise LoadTestError(
            f"LOADTEST_USERS={settings.users} is not enough for one of each kind: at least {least}, or name less in LOADTEST_SCENARIO"
        )
    return settings


def insecure(environment: Mapping[str, str]) -> bool:
    """Whether any certificate is taken; workers, who are told by the master where to go, ask for this alone."""
    return _flag("insecure", environment.get("LOADTEST_INSECURE", "").strip() or "0")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise LoadTestError(f"LOADTEST_URL={text!r} is no http:// or https:// URL")
    return text.rstrip("/")


def _scenarios(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in WEIGHTS and name != MIXED]
    if unknown or not names:
        known = ", ".join((*WEIGHTS, MIXED))
        raise LoadTestError(f"LOADTEST_SCENARIO={text!r}: {', '.join(unknown) or 'that'} is none of {known}")
    return tuple(WEIGHTS) if MIXED in names else names


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise LoadTestError(f"LOADTEST_{name.upper()}={text!r} is no whole number from 1 on")
    return int(text)


def _seconds(name: str, text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)([smh]?)", text)
    if match is None or float(match[1]) == 0:
        raise LoadTestError(f"LOADTEST_{name.upper()}={text!r} is no time: write 30s, 5m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _flag(name: str, text: str) -> bool:
    known = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
    if text.lower() not in known:
        raise LoadTestError(f"LOADTEST_{name.upper()}={text!r} is neither 1 nor 0")
    return known[text.lower()]
