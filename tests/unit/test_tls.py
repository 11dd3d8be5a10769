"""TLS contexts: real handshakes over loopback, and one line for each file that cannot be used."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pronghorn.errors import UsageError
from pronghorn.net.tls import create_context


@dataclass
class Files:
    folder: Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def self_signed(folder: Path, name: str) -> None:
    openssl(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", f"{name}_key.pem", "-out", f"{name}.pem", "-days", "2"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    self_signed(folder, "cert")
    self_signed(folder, "other")
    openssl(
        folder,
        *("pkcs8", "-topk8", "-in", "cert_key.pem", "-out", "locked_key.pem", "-passout", "pass:secret"),
    )
    (folder / "both.pem").write_bytes(
        (folder / "cert.pem").read_bytes() + (folder / "cert_key.pem").read_bytes()
    )
    (folder / "text.pem").write_text("not a certificate\n")
    (folder / "broken.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    )
    return Files(folder)


def client_context(files: Files, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.cert)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Connect the two over loopback; what the client saw, or raise what it raised."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                sock.settimeout(10)
                with server.wrap_socket(sock, server_side=True) as tls:
                    tls.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as sock,
                client.wrap_socket(sock, server_hostname="localhost") as tls,
            ):
                return {
                    "data": tls.recv(5),
                    "version": tls.version(),
                    "alpn": tls.selected_alpn_protocol(),
                    "cipher": tls.cipher(),
                    "compression": tls.compression(),
                }
        finally:
            thread.join()


def test_handshake(files: Files) -> None:
    server = create_context(certfile=files.cert, keyfile=files.cert_key)
    client = client_context(files)
    client.set_alpn_protocols(["h2", "http/1.1"])
    seen = handshake(server, client)
    assert (seen["data"], seen["version"], seen["alpn"]) == (b"hello", "TLSv1.3", "http/1.1")
    assert seen["compression"] is None
    assert server.options & ssl.OP_NO_RENEGOTIATION
    assert server.options & ssl.OP_NO_COMPRESSION


def test_the_servers_preference_decides_alpn(files: Files) -> None:
    server = create_context(certfile=files.cert, keyfile=files.cert_key, alpn=["h2", "http/1.1"])
    client = client_context(files)
    client.set_alpn_protocols(["http/1.1", "h2"])
    assert handshake(server, client)["alpn"] == "h2"


@pytest.mark.parametrize("alpn", [[], ["http/1.1"]])
def test_a_client_with_other_protocols_is_served(files: Files, alpn: list[str]) -> None:
    server = create_context(certfile=files.cert, keyfile=files.cert_key, alpn=alpn)
    client = client_context(files)
    client.set_alpn_protocols(["spdy/1"])
    assert handshake(server, client)["alpn"] is None


@pytest.mark.parametrize(
    ("version", "offered"),
    [
        (ssl.PROTOCOL_TLS_SERVER, {"TLSv1.2", "TLSv1.3"}),
        (2, {"TLSv1.2", "TLSv1.3"}),
        (5, {"TLSv1.2"}),
        (ssl.TLSVersion.TLSv1_2, {"TLSv1.2", "TLSv1.3"}),
        (ssl.TLSVersion.TLSv1_3, {"TLSv1.3"}),
    ],
)
def test_versions(files: Files, version: int, offered: set[str]) -> None:
    server = create_context(certfile=files.cert, keyfile=files.cert_key, version=version)
    taken = set()
    for wanted in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            taken.add(handshake(server, client_context(files, version=wanted))["version"])
    assert taken == offered


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_no_tls_1_1(files: Files) -> None:
    server = create_context(certfile=files.cert, keyfile=files.cert_key, ciphers="ALL:@SECLEVEL=0")
    client = client_context(files)
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, client)


def test_ciphers(files: Files) -> None:
    server = create_context(
        certfile=files.cert, keyfile=files.cert_key, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"
    )
    seen = handshake(server, client_context(files, version=ssl.TLSVersion.TLSv1_2))
    assert seen["cipher"][0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_key_in_the_certificates_file_and_paths(files: Files) -> None:
    assert handshake(create_context(certfile=Path(files.both)), client_context(files))["data"] == b"hello"


def test_encrypted_key(files: Files) -> None:
    server = create_context(certfile=files.cert, keyfile=files.locked_key, password="secret")
    assert handshake(server, client_context(files))["data"] == b"hello"


@pytest.mark.parametrize(
    ("cert_reqs", "presented", "served"),
    [(0, False, True), (1, False, True), (1, True, True), (2, False, False), (2, True, True)],
)
def test_client_certificates(files: Files, cert_reqs: int, presented: bool, served: bool) -> None:
    server = create_context(
        certfile=files.cert, keyfile=files.cert_key, cert_reqs=cert_reqs, ca_certs=files.other
    )
    # With TLS 1.3 a client learns of the refusal only when it reads.
    client = client_context(files, version=ssl.TLSVersion.TLSv1_2)
    if presented:
        client.load_cert_chain(files.other, files.other_key)
    if served:
        assert handshake(server, client)["data"] == b"hello"
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(server, client)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"certfile": None, "keyfile": "cert_key"}, "--ssl-keyfile: a key needs its certificate"),
        ({"certfile": "nowhere"}, "--ssl-certfile: cannot read {nowhere}: No such file"),
        ({"keyfile": "nowhere"}, "--ssl-keyfile: cannot read {nowhere}: No such file"),
        ({"certfile": "text"}, "--ssl-certfile: {text} holds no certificate in PEM form"),
        ({"certfile": "cert_key"}, "--ssl-certfile: {cert_key} holds no certificate in PEM form"),
        ({"keyfile": "text"}, "--ssl-keyfile: {text} holds no private key in PEM form"),
        ({"keyfile": None}, "--ssl-keyfile: {cert} holds no private key in PEM form"),
        ({"certfile": "broken"}, "--ssl-certfile: OpenSSL cannot use {broken} with the key in {cert_key}"),
        ({"keyfile": "other_key"}, "--ssl-keyfile: the key in {other_key} does not belong to"),
        ({"keyfile": "locked_key"}, "--ssl-keyfile-password: the key in {locked_key} is encrypted"),
        (
            {"keyfile": "locked_key", "password": "wrong"},
            "--ssl-keyfile-password: the password does not open {locked_key}",
        ),
        ({"version": 3}, "--ssl-version: 3 is no version"),
        ({"version": ssl.PROTOCOL_TLS_CLIENT}, "--ssl-version: "),
        ({"version": 4}, "--ssl-version: "),
        ({"cert_reqs": 3}, "--ssl-cert-reqs: 3 is not 0 (none), 1 (optional) or 2 (required)"),
        ({"cert_reqs": 2}, "--ssl-cert-reqs: client certificates are asked for"),
        ({"ca_certs": "nowhere"}, "--ssl-ca-certs: cannot read {nowhere}"),
        ({"ca_certs": "text"}, "--ssl-ca-certs: {text} holds no certificate"),
        ({"ciphers": "NONSENSE"}, "--ssl-ciphers: 'NONSENSE' selects no cipher"),
    ],
)
def test_refusals(files: Files, options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"certfile": "cert", "keyfile": "cert_key", **options}
    for option in ("certfile", "keyfile", "ca_certs"):
        if given.get(option):
            given[option] = getattr(files, given[option])
    names = ("nowhere", "text", "cert", "cert_key", "broken", "other_key", "locked_key")
    expected = said.format(**{name: getattr(files, name) for name in names})
    with pytest.raises(UsageError) as raised:
        create_context(**given)
    assert str(raised.value).startswith(expected)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--ssl-certfile: cannot read .*: Is a directory"):
        create_context(certfile=tmp_path)


def test_unreadable_key(files: Files, tmp_path: Path) -> None:
    readable = shutil.copy(files.cert, tmp_path / "cert.pem")
    secret = Path(shutil.copy(files.cert_key, tmp_path / "key.pem"))
    secret.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    # Root may read everything, so somebody else has to try.
    code = """
import os, sys
from pronghorn.net.tls import create_context
os.geteuid() or os.setuid(65534)
try:
    create_context(certfile=sys.argv[1], keyfile=sys.argv[2])
except Exception as exc:
    print(type(exc).__name__, exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, readable, str(secret)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == f"UsageError --ssl-keyfile: cannot read {secret}: Permission denied\n"
