"""Files as bodies over real sockets, sent by reference and block by block: both loops, in clear text, TLS and Unix sockets."""

import contextlib
import hashlib
import json
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.support import kernel
from tests.support.http_client import Client
from tests.support.process import ServerProcess, serving

MEGABYTE = 1 << 20
#: What a server may take more while it sends a file of 50 MB: a few blocks, buffers, and slack.
ROOM = 24 * MEGABYTE

APP = """
    import asyncio, os, pathlib
    from urllib.parse import parse_qs

    def say(*words):
        print("app:", *words, flush=True)

    async def appears(name):
        while not pathlib.Path(name).exists():
            await asyncio.sleep(0.01)

    async def by_path(scope, send, asked):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-kind", b"path")]})
        await send({"type": "http.response.pathsend", "path": str(pathlib.Path(asked["name"]).absolute())})

    async def by_descriptor(scope, send, asked):
        headers = [(b"content-length", asked["length"].encode())] if "length" in asked else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if "chunked" in asked:
            await send({"type": "http.response.body", "body": b"<", "more_body": True})
        with open(asked["name"], "rb", buffering=0) as file:
            message = {"type": "http.response.zerocopysend", "file": file}
            for key in ("offset", "count"):
                if key in asked:
                    message[key] = int(asked[key])
            if "shrink" in asked:
                sending = asyncio.ensure_future(send(message))
                await asyncio.sleep(0)
                os.truncate(asked["name"], int(asked["shrink"]))
                say("shrunk")
                await sending
            else:
                await send(message)
            say("at", file.tell())

    async def mixed(scope, send, asked):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"<", "more_body": True})
        with open(asked["name"], "rb") as file:
            half = os.path.getsize(asked["name"]) // 2
            await send({"type": "http.response.zerocopysend", "file": file, "count": half, "more_body": True})
            await send({"type": "http.response.body", "body": b"|", "more_body": True})
            await send({"type": "http.response.zerocopysend", "file": file, "more_body": True})
        await send({"type": "http.response.body", "body": b">"})

    ROUTES = {"/path": by_path, "/descriptor": by_descriptor, "/mixed": mixed}

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        asked = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
        try:
            await ROUTES[scope["path"]](scope, send, asked)
            say("sent")
        except OSError as exc:
            say("raised", type(exc).__name__)
            raise
"""

SIZES = {"empty": 0, "one": 1, "some": 200_000, "large": 50 * MEGABYTE}


def content(size: int) -> bytes:
    block = bytes(range(256)) * 4096
    return (block * (size // len(block) + 1))[:size]


@dataclass
class Served:
    server: ServerProcess
    context: ssl.SSLContext | None
    folder: Path

    def connect(self) -> Client:
        return self.server.connect(self.context)


@pytest.fixture(
    scope="module",
    params=["uvloop-tcp", "asyncio-tcp", "uvloop-unix", "asyncio-unix", "uvloop-tls", "asyncio-tls"],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    loop, _, how = request.param.partition("-")
    folder = tmp_path_factory.mktemp("files")
    for name, size in SIZES.items():
        (folder / name).write_bytes(content(size))
    flags = ["--loop", loop, "--log-format", "json"]
    context = None
    if how == "unix":
        flags += ["--uds", "s"]
    if how == "tls":
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / "all.pem")
        flags += ["--ssl-certfile", "all.pem"]
        context = ssl.create_default_context()
        authority.configure_trust(context)
    with serving(folder, APP, *flags) as server:
        yield Served(server, context, folder)


@pytest.mark.parametrize("route", ["path", "descriptor"])
@pytest.mark.parametrize("name", SIZES)
def test_a_file_arrives_whole_and_the_connection_lives(served: Served, route: str, name: str) -> None:
    with served.connect() as client:
        for _ in range(2):
            response = client.get(f"/{route}?name={name}")
            assert response.status == 200
            assert response["content-length"] == str(SIZES[name])
            assert hashlib.sha256(response.body).digest() == hashlib.sha256(content(SIZES[name])).digest()


@pytest.mark.parametrize("name", ["one", "some"])
def test_head_has_the_length_and_no_body(served: Served, name: str) -> None:
    with served.connect() as client:
        client.request("HEAD", f"/path?name={name}")
        assert client.response("HEAD")["content-length"] == str(SIZES[name])
        assert client.get("/path?name=one").body == b"\0"


@pytest.mark.parametrize("name", ["one", "some", "large"])
def test_a_file_in_pieces_between_other_pieces(served: Served, name: str) -> None:
    whole = content(SIZES[name])
    half = len(whole) // 2
    with served.connect() as client:
        assert client.get(f"/mixed?name={name}").body == b"<" + whole[:half] + b"|" + whole[half:] + b">"
        client.request("GET", f"/mixed?name={name}", version="1.0")
        assert client.response().body == b"<" + whole[:half] + b"|" + whole[half:] + b">"


@pytest.mark.parametrize(
    ("offset", "count"), [(0, 10), (100_000, 70_000), (199_999, 5), (200_001, 5), (5, 0)]
)
def test_a_part_of_a_file(served: Served, offset: int, count: int) -> None:
    with served.connect() as client:
        response = client.get(f"/descriptor?name=some&offset={offset}&count={count}")
        assert response.body == content(200_000)[offset : offset + count]
        assert response["content-length"] == str(len(response.body))


def test_a_declared_length_rules(served: Served) -> None:
    with served.connect() as client:
        assert client.get("/descriptor?name=some&length=150000").body == content(150_000)
        assert client.get("/path?name=one").body == b"\0"
        client.request("GET", "/descriptor?name=some&length=250000")
        assert client.head()["content-length"] == "250000"
        assert client.rest() == content(200_000), "short, and the connection says so by its end"


def test_a_missing_file_is_a_500(tmp_path: Path) -> None:
    with serving(tmp_path, APP, shameful=True) as server, server.connect() as client:
        assert client.get("/path?name=missing").status == 500
        server.stdout.wait_for("raised FileNotFoundError")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_file_that_shrinks_while_it_is_sent(tmp_path: Path, loop: str, framing: str) -> None:
    size = 50 * MEGABYTE
    (tmp_path / "large").write_bytes(bytes(size))
    target = "/descriptor?name=large&shrink=1000000" + (
        f"&length={size}" if framing == "length" else "&chunked=1"
    )
    with serving(tmp_path, APP, "--loop", loop, shameful=True) as server, server.connect() as client:
        client.request("GET", target)
        assert client.head()["content-length"] == (str(size) if framing == "length" else None)
        server.stdout.wait_for("shrunk")
        with contextlib.suppress(ConnectionResetError):
            assert len(client.rest()) < size, "the client can tell that it is not whole"
        if framing == "length":
            server.stderr.wait_for("is shorter than its Content-Length")
        else:
            server.stderr.wait_for("the file got shorter while it was sent")
        with server.connect() as other:
            assert len(other.get("/path?name=large").body) == 1_000_000


def test_a_slow_reader_gets_everything_and_costs_no_memory(served: Served) -> None:
    whole = content(SIZES["large"])
    with served.connect() as client:
        before = served.server.memory("VmRSS")
        client.request("GET", "/path?name=large")
        assert client.head().status == 200
        assert client.read(10_000) == whole[:10_000]
        with served.connect() as other:  # nobody else waits meanwhile
            assert other.get("/path?name=some").status == 200
        assert served.server.memory("VmRSS") - before < ROOM
        assert client.read(len(whole) - 10_000) == whole[10_000:]
        assert client.get("/path?name=one").body == b"\0"


def test_a_client_that_leaves_in_the_middle(served: Served) -> None:
    count = len([line for line in served.server.stdout.so_far() if "raised ClientDisconnected" in line])
    for _ in range(3):
        with served.connect() as client:
            client.request("GET", "/path?name=large")
            client.head()
            client.read(100_000)
        count += 1
        served.server.stdout.wait_for("raised ClientDisconnected", count=count)
    with served.connect() as client:
        assert client.get("/path?name=some").status == 200
    opened = [Path(leads_to).name for leads_to in kernel.descriptors(served.server.pid)]
    assert "large" not in opened


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_client_that_does_not_read_is_given_up(tmp_path: Path, loop: str) -> None:
    (tmp_path / "large").write_bytes(bytes(50 * MEGABYTE))
    with serving(tmp_path, APP, "--loop", loop, "--timeout-body", "1") as server, server.connect() as client:
        client.request("GET", "/path?name=large")
        server.stdout.wait_for("raised ClientDisconnected")
        assert server.get("/path?name=large").body == bytes(50 * MEGABYTE)
        assert server.stop() == -signal.SIGTERM


def test_the_access_log_counts_what_went_out(tmp_path: Path) -> None:
    (tmp_path / "some").write_bytes(bytes(200_000))
    with serving(tmp_path, APP, "--log-format", "json") as server:
        with server.connect() as client:
            client.get("/path?name=some")
            client.get("/mixed?name=some")
            client.request("HEAD", "/path?name=some")
            client.response("HEAD")
        assert server.stop() == -signal.SIGTERM
        lines = [line for line in server.stdout.all() if line.startswith("{")]
    assert [json.loads(line)["bytes_out"] for line in lines] == [200_000, 200_003, 0]
