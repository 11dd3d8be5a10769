"""TLS over real connections: versions, client certificates, a certificate that is replaced, and clients that keep silent."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.process import PATIENCE, ServerProcess, serving

SERVED = ("--app-dir", str(Path(__file__).resolve().parent.parent / "support"))
FILES = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path, authority: trustme.CA) -> Path:
    issue(tmp_path, authority)
    return tmp_path


def issue(folder: Path, authority: trustme.CA) -> bytes:
    issued = authority.issue_cert("localhost")
    for name, pem in (("cert", issued.cert_chain_pems[0]), ("key", issued.private_key_pem)):
        pem.write_to_path(folder / f"{name}.new")
        os.replace(folder / f"{name}.new", folder / f"{name}.pem")  # noqa: PTH105
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def client_context(authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@contextlib.contextmanager
def secure(folder: Path, *flags: str) -> Iterator[ServerProcess]:
    with serving(folder, "served:app", *SERVED, *FILES, *flags) as server:
        yield server


def certificate_of(server: ServerProcess, context: ssl.SSLContext) -> bytes | None:
    with server.connect(context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True)


@LOOPS
def test_a_renewed_certificate_is_used_without_a_restart(
    folder: Path, authority: trustme.CA, loop: str
) -> None:
    context = client_context(authority)
    with secure(folder, "--loop", loop) as server, server.connect(context) as old:
        assert old.get("/").text == "hello"
        renewed = issue(folder, authority)
        server.stderr.wait_for("Loaded the new certificate.")
        assert certificate_of(server, context) == renewed
        assert server.get(tls=context).text == "hello"
        assert old.get("/").text == "hello", "who is there stays"
        (folder / "cert.pem").write_text("broken\n")
        line = server.stderr.wait_for("The new certificate cannot be used, the old one stays")
        assert "cert.pem holds no certificate in PEM form" in line
        assert certificate_of(server, context) == renewed


@pytest.mark.parametrize(
    ("flags", "served"),
    [
        ((), {"TLSv1.2", "TLSv1.3"}),
        (("--ssl-min-version", "1.2"), {"TLSv1.2", "TLSv1.3"}),
        (("--ssl-min-version", "1.3"), {"TLSv1.3"}),
        (("--ssl-version", "772"), {"TLSv1.3"}),
    ],
)
def test_the_oldest_version(
    folder: Path, authority: trustme.CA, flags: tuple[str, ...], served: set[str]
) -> None:
    taken = set()
    with secure(folder, *flags) as server:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(authority)
            context.minimum_version = context.maximum_version = version
            with contextlib.suppress(ssl.SSLError, ConnectionError), server.connect(context) as client:
                assert client.get("/").text == "hello"
                assert isinstance(client.sock, ssl.SSLSocket)
                taken.add(client.sock.version())
    assert taken == served


@LOOPS
def test_client_certificates(folder: Path, authority: trustme.CA, loop: str) -> None:
    friends, strangers = trustme.CA(), trustme.CA()
    friends.cert_pem.write_to_path(folder / "friends.pem")
    with secure(folder, "--loop", loop, "--ssl-cert-reqs", "2", "--ssl-ca-certs", "friends.pem") as server:
        friend = client_context(authority, friends.issue_cert("friend"))
        stranger = client_context(authority, strangers.issue_cert("stranger"))
        assert server.get(tls=friend).text == "hello"
        for context in (client_context(authority), stranger):
            # With TLS 1.3 the client is done before the server has looked at its certificate.
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                server.get(tls=context)
        # Whose certificates are good can change while serving, as the server's own can.
        strangers.cert_pem.write_to_path(folder / "friends.new")
        os.replace(folder / "friends.new", folder / "friends.pem")  # noqa: PTH105
        server.stderr.wait_for("Loaded the new certificate.")
        assert server.get(tls=stranger).text == "hello"
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            server.get(tls=friend)


def test_optional_client_certificates(folder: Path, authority: trustme.CA) -> None:
    friends = trustme.CA()
    friends.cert_pem.write_to_path(folder / "friends.pem")
    with secure(folder, "--ssl-cert-reqs", "1", "--ssl-ca-certs", "friends.pem") as server:
        for certificate in (None, friends.issue_cert("friend")):
            assert server.get(tls=client_context(authority, certificate)).text == "hello"
        stranger = client_context(authority, trustme.CA().issue_cert("stranger"))
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            server.get(tls=stranger)


FACTORY = """
    import ssl


    def context(config, usual):
        made = usual()
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        print("app: made a context of", config.ssl_certfile, flush=True)
        return made


    def nothing(config, usual):
        return None


    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})
"""


def test_a_context_of_one_s_own(folder: Path, authority: trustme.CA) -> None:
    old = client_context(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(folder, FACTORY, *FILES, "--ssl-context-factory", "main:context") as server:
        assert server.get(tls=client_context(authority)).text == "hello"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.get(tls=old)
        issue(folder, authority)
        server.stdout.wait_for("app: made a context of cert.pem", count=2)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--ssl-context-factory", "main:nothing"),
            "--ssl-context-factory: it returned NoneType, not a context",
        ),
        (("--ssl-context-factory", "main:context"), "--ssl-certfile: a context needs a certificate"),
        (("--ssl-context-factory", "main"), "--ssl-context-factory: 'main' is not module:attribute"),
    ],
)
def test_a_context_that_cannot_be_used(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    with serving(tmp_path, FACTORY, *flags, ready=False) as server:
        assert server.wait() == 2
        assert server.stderr.all() == [f"pronghorn: error: {said}"]


@LOOPS
def test_a_handshake_that_does_not_come_is_not_waited_for(
    folder: Path, authority: trustme.CA, loop: str
) -> None:
    # Long enough for a handshake that does come, on a machine that stands still in the middle of it.
    with secure(folder, "--loop", loop, "--timeout-header", "2.5") as server:
        port = server.port
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as silent:
            with contextlib.suppress(ConnectionResetError):
                assert silent.recv(1) == b""
            assert time.monotonic() - begun < PATIENCE / 2
        assert server.get(tls=client_context(authority)).text == "hello"


@LOOPS
def test_noise_instead_of_a_handshake(folder: Path, authority: trustme.CA, loop: str) -> None:
    with secure(folder, "--loop", loop) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as noisy:
            noisy.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while noisy.recv(65536):
                    pass
        assert server.get(tls=client_context(authority)).text == "hello"


TELL_TLS = """
    import json

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": json.dumps(scope["extensions"]["tls"]).encode()})
"""


@LOOPS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_the_application_is_told_of_the_connection(
    folder: Path, authority: trustme.CA, loop: str, version: ssl.TLSVersion
) -> None:
    clients = trustme.CA(organization_name='Cert, "Makers"')
    clients.cert_pem.write_to_path(folder / "clients.pem")
    mine = clients.issue_cert("alice@example.org", common_name="Alice, Ltd.", organization_name="Wonder+land")
    flags = (*FILES, "--ssl-ca-certs", "clients.pem", "--ssl-cert-reqs", "1", "--lifespan", "off")
    context, known = client_context(authority), client_context(authority, mine)
    context.maximum_version = known.maximum_version = version
    with serving(folder, TELL_TLS, *flags, "--loop", loop) as server:
        with server.connect(context) as client:
            told = client.get("/").json()
            assert isinstance(client.sock, ssl.SSLSocket)
            suite = client.sock.cipher()
        assert told["server_cert"] == (folder / "cert.pem").read_text().replace("\r\n", "\n")
        assert told["tls_version"] == version.value
        assert suite is not None
        numbers = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
        assert told["cipher_suite"] == numbers[suite[0]]
        assert (told["client_cert_chain"], told["client_cert_name"]) == ([], None)
        with server.connect(known) as client:
            told = client.get("/").json()
        assert ssl.PEM_cert_to_DER_cert(told["client_cert_chain"][0]) == ssl.PEM_cert_to_DER_cert(
            mine.cert_chain_pems[0].bytes().decode()
        )
        assert told["client_cert_name"].startswith(r"CN=Alice\, Ltd.,")
        assert told["client_cert_name"].endswith(r"O=Wonder\+land")
        assert told["client_cert_error"] is None


@LOOPS
def test_each_client_is_told_the_certificate_it_was_shown(
    folder: Path, authority: trustme.CA, loop: str
) -> None:
    flags = (*FILES, "--lifespan", "off", "--loop", loop)
    context = client_context(authority)
    with serving(folder, TELL_TLS, *flags) as server, server.connect(context) as early:
        first = early.get("/").json()["server_cert"]
        issue(folder, authority)
        server.stderr.wait_for("Loaded the new certificate.")
        with server.connect(context) as late:
            second = late.get("/").json()["server_cert"]
        assert second == (folder / "cert.pem").read_text().replace("\r\n", "\n")
        assert early.get("/").json()["server_cert"] == first != second
