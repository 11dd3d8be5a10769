"""Certificates that are replaced while the server runs: which one a handshake gets, and what a broken file changes."""

from __future__ import annotations

import functools
import logging
import os
import ssl
from pathlib import Path

import pytest
import trustme

from pronghorn.errors import UsageError
from pronghorn.net.tls import create_context
from pronghorn.net.tls_reload import ReloadingTls

LOGGER = logging.getLogger("pronghorn.error")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issue(folder: Path, authority: trustme.CA, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> bytes:
    """Put a new certificate and key in the place of the old ones, as one does it; returns the certificate."""
    issued = authority.issue_cert("localhost", key_type=kind)
    for name, pem in (("cert", issued.cert_chain_pems[0]), ("key", issued.private_key_pem)):
        pem.write_to_path(folder / f"{name}.new")
        os.replace(folder / f"{name}.new", folder / f"{name}.pem")  # noqa: PTH105
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def reloading(folder: Path) -> ReloadingTls:
    files = [folder / "cert.pem", folder / "key.pem"]
    make = functools.partial(create_context, certfile=files[0], keyfile=files[1])
    return ReloadingTls(make, files, LOGGER)


def shown(
    context: ssl.SSLContext,
    authority: trustme.CA,
    *,
    name: str | None = "localhost",
    ciphers: str | None = None,
) -> tuple[bytes | None, str | None]:
    """The certificate that a client gets in a handshake, and the protocol that was agreed on."""
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    client_context.set_alpn_protocols(["http/1.1"])
    if ciphers is not None:
        client_context.maximum_version = ssl.TLSVersion.TLSv1_2
        client_context.set_ciphers(ciphers)
    if name is None:
        client_context.check_hostname = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=name)
    server = context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True), client.selected_alpn_protocol()


def test_a_new_certificate_is_used_once_its_files_have_rested(tmp_path: Path, authority: trustme.CA) -> None:
    first = issue(tmp_path, authority)
    tls = reloading(tmp_path)
    tls.check()
    assert tls.context.sni_callback is None, "a handshake costs nothing more while nothing has changed"
    second = issue(tmp_path, authority)
    tls.check()
    assert shown(tls.context, authority)[0] == first, "they may still be being written"
    tls.check()
    assert shown(tls.context, authority) == (second, "http/1.1")
    third = issue(tmp_path, authority)
    tls.check()
    tls.check()
    assert shown(tls.context, authority)[0] == third


def test_a_client_that_sends_no_name_gets_it_too(tmp_path: Path, authority: trustme.CA) -> None:
    issue(tmp_path, authority)
    tls = reloading(tmp_path)
    second = issue(tmp_path, authority)
    tls.check()
    tls.check()
    assert shown(tls.context, authority, name=None)[0] == second


def test_a_key_of_another_kind_leaves_nothing_of_the_old_one(tmp_path: Path, authority: trustme.CA) -> None:
    issue(tmp_path, authority, trustme.KeyType.RSA)
    tls = reloading(tmp_path)
    second = issue(tmp_path, authority, trustme.KeyType.ECDSA)
    tls.check()
    tls.check()
    assert shown(tls.context, authority)[0] == second
    with pytest.raises(ssl.SSLError):
        shown(tls.context, authority, ciphers="ECDHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize("harm", ["text", "gone", "mismatch"])
def test_broken_files_change_nothing_and_are_told_once(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    first = issue(tmp_path, authority)
    tls = reloading(tmp_path)
    if harm == "text":
        (tmp_path / "cert.pem").write_text("nonsense\n")
    elif harm == "gone":
        (tmp_path / "key.pem").unlink()
    else:
        authority.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "key.pem")
    for _ in range(4):
        tls.check()
    assert shown(tls.context, authority)[0] == first
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("The new certificate cannot be used, the old one stays: --ssl-")
    assert len(record.getMessage().splitlines()) == 1
    last = issue(tmp_path, authority)
    with caplog.at_level(logging.INFO, "pronghorn.error"):
        tls.check()
        tls.check()
    assert caplog.messages[1:] == ["Loaded the new certificate."]
    assert shown(tls.context, authority)[0] == last


def test_files_that_cannot_be_used_at_the_start_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ssl-certfile"):
        reloading(tmp_path)
