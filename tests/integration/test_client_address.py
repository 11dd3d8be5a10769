"""Who the client is, is what nginx saw; nothing a client sends about itself reaches the application."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.stack import Stack, docker

FORGED = "203.0.113.66"


def gateway(stack: Stack) -> str:
    """The address from which requests of this machine reach nginx: its network's gateway."""
    found = docker(
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}",
        stack.container("nginx"),
    )
    return found.strip()


def test_the_client_is_the_peer_of_nginx(stack: Stack, client: httpx.Client) -> None:
    seen = client.get("/scope").json()

    assert seen["client"][0] == gateway(stack)
    assert seen["scheme"] == "http"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-For", FORGED),
        ("X-Forwarded-For", f"{FORGED}, 127.0.0.1"),
        ("X-Real-IP", FORGED),
        ("Forwarded", f"for={FORGED};proto=https"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", FORGED),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", f"/{FORGED}"),
        ("X-Client-IP", FORGED),
        ("True-Client-IP", FORGED),
        ("X_Forwarded_For", FORGED),
        ("Proxy", FORGED),
    ],
)
def test_a_client_can_not_forge_who_it_is(
    stack: Stack, client: httpx.Client, header: str, value: str
) -> None:
    seen = client.get("/scope", headers={header: value}).json()

    assert seen["client"][0] == gateway(stack)
    assert seen["scheme"] == "http"
    assert FORGED not in str(seen["headers"])
    assert "https" not in str(seen["headers"])


def test_the_same_header_twice_forges_nothing(stack: Stack, client: httpx.Client) -> None:
    twice = [("X-Forwarded-For", FORGED), ("X-Forwarded-For", FORGED)]
    seen = client.get("/scope", headers=twice).json()

    assert [value for name, value in seen["headers"] if name == "x-forwarded-for"] == [gateway(stack)]
    assert seen["client"][0] == gateway(stack)
