"""Options of a real process that no other test takes so far: where they come from, and what they may name."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.support.process import command, running

APP = """
    import asyncio

    from pronghorn.wire.h1_h11 import H11Parser


    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": type(asyncio.get_running_loop()).__name__.encode()})


    class Loop(asyncio.SelectorEventLoop):
        pass


    def parser(inbound, limits):
        print("parser of ours", limits.line, flush=True)
        return H11Parser(inbound, limits)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(textwrap.dedent(APP), "utf-8")
    return tmp_path


PLACES = ("flag", "PRONGHORN_HEADERS", "UVICORN_HEADERS", "[tool.pronghorn]", "[tool.uvicorn]")


@pytest.mark.parametrize("first", range(len(PLACES)), ids=PLACES)
def test_who_has_the_last_word(folder: Path, first: int) -> None:
    """Every place from `first` on says which one it is; the one before all others is what the responses have."""
    said = PLACES[first:]
    (folder / "pyproject.toml").write_text(
        "\n".join(f'{place}\nheaders = ["X-From:{place}"]' for place in said if place.startswith("["))
    )
    environ = {name: f"X-From:{name}" for name in said if name.isupper()}
    flags = ("--header", "X-From:flag") if "flag" in said else ()
    words = command("main:app", "--port", "0", "--lifespan", "off", *flags)
    with running(folder, words, environ=environ) as server:
        assert server.get("/")["x-from"] == said[0]


def test_a_parser_and_a_loop_of_ones_own(folder: Path) -> None:
    flags = ("--http", "main:parser", "--loop", "main:Loop", "--limit-request-line", "77")
    with running(folder, command("main:app", "--port", "0", "--lifespan", "off", *flags)) as server:
        assert server.get("/").text == "Loop"
        server.stdout.wait_for("parser of ours 77")
