"""Whose id nginx takes: the map as it is shipped, in a real nginx that answers with what it chose."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_client import Client
from tests.support.process import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
MADE = re.compile(r"[0-9a-f]{32}").fullmatch

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log stderr emerg;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    scgi_temp_path {folder}; uwsgi_temp_path {folder};
    geo $realip_remote_addr $from_trusted_proxy {{ default 0; {trusted} }}
    include {root}/nginx/includes/request-id-maps.conf;
    server {{
        listen 127.0.0.1:{port};
        return 200 $chosen_request_id;
    }}
}}
"""
TRUSTING = "127.0.0.1/32 1;"


@pytest.fixture(scope="module")
def binary() -> str:
    command = [str(ROOT / "scripts" / "nginx-binary"), str(ROOT / ".bench" / "nginx")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def answer(port: int, *lines: str) -> str:
    with Client(socket.create_connection(("127.0.0.1", port), PATIENCE)) as client:
        client.request("GET", "/", *lines)
        return client.response().text


@pytest.fixture(params=[TRUSTING, ""], ids=["behind-a-proxy", "as-shipped"])
def nginx(request: pytest.FixtureRequest, binary: str, tmp_path: Path) -> Iterator[tuple[int, bool]]:
    """The port, and whether this machine is trusted. nginx inherits its socket, so that nothing has to be waited for."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    text = CONFIGURATION.format(folder=tmp_path, root=ROOT, port=port, trusted=request.param)
    (tmp_path / "nginx.conf").write_text(text)
    process = subprocess.Popen(
        [binary, "-p", tmp_path, "-c", tmp_path / "nginx.conf"],
        env={"NGINX": f"{listener.fileno()};"},
        pass_fds=[listener.fileno()],
    )
    listener.close()
    yield port, bool(request.param)
    process.terminate()
    process.wait(PATIENCE)


def test_the_id_of_a_trusted_proxy_is_the_requests(nginx: tuple[int, bool]) -> None:
    """Nobody else's: what a client calls its request is of no account."""
    port, trusting = nginx
    told = answer(port, "X-Request-ID: 7f-3a")
    assert told == "7f-3a" if trusting else MADE(told)


@pytest.mark.parametrize("value", ["a b", 'a"b', "a\\b", "a" * 129, ""])
def test_what_is_no_id_is_replaced(nginx: tuple[int, bool], value: str) -> None:
    assert MADE(answer(nginx[0], f"X-Request-ID: {value}"))
