"""One server in clear text and one behind TLS, for the whole session."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.conformance.h2_clients.kit import ROOT, Origin, body
from tests.support.process import serving

APP = "tests.conformance.h2_clients.application:app"

# With TLS the server speaks HTTP/2 without being told.
FLAGS = {"clear": ("--http2",), "tls": ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")}


@contextlib.contextmanager
def serve(name: str, folder: Path, authority: trustme.CA) -> Iterator[Origin]:
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "large").write_bytes(body())
    (folder / "small").write_bytes(b"a small file")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with serving(folder, APP, "--app-dir", str(ROOT), *FLAGS[name]) as server:
        scheme = "https" if name == "tls" else "http"
        yield Origin(server, f"{scheme}://localhost:{server.port}", folder, trust)


@pytest.fixture(scope="session")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Origin]]:
    """Either by its name, started when it is first asked for."""
    authority = trustme.CA()
    started: dict[str, Origin] = {}
    with contextlib.ExitStack() as stack:

        def find(name: str) -> Origin:
            if name not in started:
                started[name] = stack.enter_context(serve(name, tmp_path_factory.mktemp(name), authority))
            return started[name]

        yield find


@pytest.fixture(params=FLAGS)
def origin(request: pytest.FixtureRequest, origins: Callable[[str], Origin]) -> Origin:
    return origins(request.param)


@pytest.fixture
def clear(origins: Callable[[str], Origin]) -> Origin:
    return origins("clear")


@pytest.fixture
def tls(origins: Callable[[str], Origin]) -> Origin:
    return origins("tls")
