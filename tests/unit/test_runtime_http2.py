"""Whether HTTP/2 is spoken, from what the options say and what is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from pronghorn import runtime
from pronghorn.config import Config
from pronghorn.errors import UsageError


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "h2" else find(name, *rest)
    )


def spoken(**options: Any) -> Any:
    return runtime._http2(Config("main:app", environ={}, **options))


def test_left_to_us_it_is_spoken_over_tls_alone() -> None:
    assert spoken().clear is False
    assert spoken(http2=True).clear is True
    assert spoken(http2=False) is None


def test_options_arrive() -> None:
    http2 = spoken(
        h2_max_concurrent_streams=7,
        h2_max_inbound_frame_size=20_000,
        h2_initial_window=70_000,
        h2_connection_window=80_000,
        h2_ping_interval=5,
        limit_request_body=9,
    )
    own = http2.own(connect=True)
    assert (own.max_concurrent_streams, own.max_frame_size) == (7, 20_000)
    assert (own.initial_window, own.connection_window) == (70_000, 80_000)
    assert (http2.ping_ticks, http2.limits.body) == (6, 9)
    assert spoken().ping_ticks is None


@pytest.mark.usefixtures("absent")
def test_without_the_package_it_is_off_or_an_error_that_names_the_extra() -> None:
    assert spoken() is None
    with pytest.raises(UsageError, match=r"^--http2: h2 is not installed\. Install pronghorn\[http2\]$"):
        spoken(http2=True)
