"""Under constant load: a reload of nginx, and a certificate that ACME renews, cost nobody a request. The authority is pebble."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection

import pytest
import trustme
from cryptography import x509

from tests.integration.conftest import Built
from tests.integration.curl import Curl
from tests.integration.edge_load import Row, constant_load
from tests.integration.nginx_workers import reload
from tests.integration.stack import Stack, docker, new_name, project
from tests.support.waiting import until

NAME = "edge.example"
TIMES = 3

#: By itself, pebble draws: it refuses every twentieth nonce (certbot tries a second one, and no third), takes up to 15 s for a
#: challenge, and leaves out every second one of those that a client has met before.
SAME_EVERY_TIME = tuple(
    f"--env=PEBBLE_{name}" for name in ("WFE_NONCEREJECT=0", "VA_NOSLEEP=1", "AUTHZREUSE=0")
)


def report(what: str, rows: list[Row]) -> None:
    """The table, which pytest -s shows; and nothing failed."""
    sys.stdout.write(f"\n{what}\n" + "".join(f"{row}\n" for row in rows))
    assert {row.kind: row.failures for row in rows if row.failures} == {}


async def test_reloads_cost_nobody_a_request(stack: Stack) -> None:
    async with constant_load(stack, stack.trust()) as rows:
        for _ in range(TIMES):
            await asyncio.to_thread(reload, stack)
    report(f"{TIMES} reloads of nginx", rows)


# ---- ACME -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(images: Built, stack: Stack) -> Iterator[Stack]:
    """A stack that asks for a certificate of its own; `stack` is what built the images."""
    settings = {"ACME_DOMAINS": NAME, "ACME_DIRECTORY": "https://pebble:14000/dir"}
    with project(new_name(), {**images.variables, **settings}, build=False) as second:
        yield second


@pytest.fixture
def authority(named: Stack, curl: Curl, tmp_path: Path) -> Iterator[Path]:
    """pebble, on the stack's network, where the name is nginx's; and what its own certificate is checked with."""
    ca = trustme.CA()
    own = ca.issue_cert("pebble")
    tmp_path.chmod(0o755)
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/pebble/cert.pem",
        "privateKey": "/pebble/key.pem",
        # The port of the container, which is published as 80 where this runs for real.
        "httpPort": 8080,
        "tlsPort": 8443,
    }
    (tmp_path / "config.json").write_text(json.dumps({"pebble": settings}))
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    names = f"pebble-challtestsrv -defaultIPv4 {named.address('nginx')} -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 '' -doh ''"
    script = f"{names} & exec pebble -config /pebble/config.json -dnsserver 127.0.0.1:8053"
    container = docker(
        *("run", "--detach", "--network", f"{named.project}_stack", "--network-alias", "pebble"),
        *("--volume", f"{tmp_path}:/pebble:ro", *SAME_EVERY_TIME, curl.image, "sh", "-c", script),
    ).strip()
    try:
        until(lambda: "Listening on" in logs(container), "pebble")
        yield tmp_path / "ca.pem"
    finally:
        docker("rm", "--force", "--volumes", container)


def logs(container: str) -> str:
    return docker("logs", container, check=False)


def ask(named: Stack, ca: Path, *options: str) -> str:
    """One certificate, as the service does it; the authority is not one of the public ones, so its certificate is given."""
    trust = ("--volume", f"{ca}:/ca.pem:ro", "--env", "REQUESTS_CA_BUNDLE=/ca.pem")
    return named.run(
        "--profile", "acme", "run", "--rm", "--no-deps", *trust, "acme", "acme-client", "once", *options
    )


def anybody() -> ssl.SSLContext:
    """TLS for clients that take any certificate: which one it is, is looked at here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def presented(named: Stack) -> x509.Certificate:
    """The certificate that a new connection gets."""
    with (
        create_connection(("127.0.0.1", named.tls_port), timeout=10) as plain,
        anybody().wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found)


def issued(named: Stack, instead_of: x509.Certificate | None = None) -> x509.Certificate | None:
    """The certificate of a new connection, if it is pebble's, and another one: while nginx reloads, an old worker may still answer."""
    found = presented(named)
    return found if "Pebble" in found.issuer.rfc4514_string() and found != instead_of else None


async def test_acme_brings_a_certificate_and_renews_it_under_load(named: Stack, authority: Path) -> None:
    named.run("--profile", "acme", "build", "acme")
    assert "development" in presented(named).issuer.rfc4514_string()
    async with constant_load(named, anybody()) as rows:
        await asyncio.to_thread(ask, named, authority)
        first = await asyncio.to_thread(until, lambda: issued(named), "the certificate of pebble", 120)
        await asyncio.to_thread(ask, named, authority, "--force-renewal")
        await asyncio.to_thread(until, lambda: issued(named, instead_of=first), "the renewed one", 120)
    report("a first certificate and its renewal", rows)
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
