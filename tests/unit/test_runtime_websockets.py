"""Which codec `--ws` comes to, with what is installed and without."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from pronghorn.config import Config
from pronghorn.errors import UsageError
from pronghorn.net.ws_settings import WebSockets
from pronghorn.runtime import _websockets
from pronghorn.wire.ws_websockets import WebsocketsCodec
from pronghorn.wire.ws_wsproto import WsprotoCodec


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def settings(**options: Any) -> WebSockets | None:
    return _websockets(Config(app, environ={}, **options))


def codec(**options: Any) -> object:
    found = settings(**options)
    assert found is not None
    return found.codec and found.make_codec


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make as if these were not installed."""

    def missing(*names: str) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find(name))

    return missing


@pytest.mark.parametrize(
    ("ws", "expected"),
    [
        ("auto", WebsocketsCodec),
        ("websockets", WebsocketsCodec),
        ("websockets-sansio", WebsocketsCodec),
        ("wsproto", WsprotoCodec),
        ("pronghorn.wire.ws_wsproto:WsprotoCodec", WsprotoCodec),
        (WsprotoCodec, WsprotoCodec),
    ],
)
def test_codecs(ws: Any, expected: object) -> None:
    assert codec(ws=ws) is expected


def test_auto_takes_what_there_is(without: Callable[..., None]) -> None:
    without("websockets")
    assert codec() is WsprotoCodec
    without("websockets", "wsproto")
    assert codec() is None


@pytest.mark.parametrize(
    ("ws", "hint"), [("websockets", "use wsproto"), ("wsproto", r"pronghorn\[wsproto\]")]
)
def test_what_is_not_installed_is_said_at_start(without: Callable[..., None], ws: str, hint: str) -> None:
    without(ws)
    with pytest.raises(UsageError, match=f"--ws: {ws} is not installed.*{hint}"):
        settings(ws=ws)


def test_none() -> None:
    assert settings(ws="none") is None
    assert settings(interface="wsgi") is None


def test_values() -> None:
    found = settings(
        ws_max_size=1,
        ws_max_queue=2,
        ws_ping_interval=0,
        ws_ping_timeout=3,
        ws_per_message_deflate=False,
        ws_origins=["https://a.example"],
    )
    assert found is not None
    assert (found.max_size, found.max_queue, found.ping_ticks, found.pong_ticks) == (1, 2, None, 4)
    assert (found.compress, found.origins) == (False, frozenset((b"https://a.example",)))
    defaults = settings()
    assert defaults is not None
    assert (defaults.ping_ticks, defaults.origins, defaults.compress) == (21, None, True)
