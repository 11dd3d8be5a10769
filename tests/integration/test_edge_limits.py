"""A stack with every setting of the edge at work: limits for each client, whom a proxy names, the redirect to HTTPS, HSTS.

The test itself is the trusted proxy, so that each test is a client with an address of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import httpx
import pytest

from tests.integration.conftest import Built
from tests.integration.stack import Stack, new_name, project
from tests.integration.test_overload import SLOW

BURST, UNDER_WAY = 3, 2
ADDRESSES = (f"203.0.113.{number}" for number in count(1))


@pytest.fixture(scope="module")
def strict(images: Built, stack: Stack) -> Iterator[Stack]:
    """`stack` is what built the images."""
    settings = {
        # One request in 17 minutes would be less than nginx can say; one a second, which no test waits for.
        "RATE_LIMIT": "1",
        "RATE_BURST": str(BURST),
        "CONNECTION_LIMIT": str(UNDER_WAY),
        "HTTPS_REDIRECT": "on",
        "HSTS": "max-age=63072000; includeSubDomains",
        "HTTP3": "off",
        # The gateway of whatever network the engine gives it.
        "TRUSTED_PROXIES": "172.16.0.0/12,192.168.0.0/16,10.0.0.0/8",
    }
    with project(new_name(), {**images.variables, **settings}, build=False) as second:
        yield second


@pytest.fixture
def address() -> str:
    return next(ADDRESSES)


@pytest.fixture
def secure(strict: Stack, address: str) -> Iterator[httpx.Client]:
    headers = {"X-Forwarded-For": address}
    with httpx.Client(base_url=strict.tls_url, verify=strict.trust(), headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def plain(strict: Stack, address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=strict.url, headers={"X-Forwarded-For": address}, timeout=30) as client:
        yield client


# ---- Limits ---------------------------------------------------------------------------------------------------------


def test_a_client_over_its_rate_is_told_when_to_come_back(strict: Stack, secure: httpx.Client) -> None:
    answers = [secure.get("/scope") for _ in range(4 * BURST)]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert [answer.status_code for answer in answers[: BURST + 1]] == [200] * (BURST + 1)
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["error"] for answer in refused} == {"too many requests"}
    assert "x-content-type-options" in refused[0].headers
    # Another one is not.
    assert secure.get("/scope", headers={"X-Forwarded-For": next(ADDRESSES)}).status_code == 200


def test_a_client_has_so_many_requests_under_way(secure: httpx.Client) -> None:
    other = {"X-Forwarded-For": next(ADDRESSES)}
    with ExitStack() as under_way:
        begun = [
            under_way.enter_context(secure.stream("GET", "/download", params=SLOW)) for _ in range(UNDER_WAY)
        ]
        refused, another = secure.get("/scope"), secure.get("/scope", headers=other)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert another.status_code == 200
    assert [answer.status_code for answer in begun] == [200] * UNDER_WAY


# ---- A proxy in front -----------------------------------------------------------------------------------------------


def test_the_client_is_whom_the_trusted_proxy_names(secure: httpx.Client, address: str) -> None:
    seen = secure.get("/scope", headers={"X-Forwarded-For": f"198.51.100.7, {address}"}).json()

    assert seen["client"][0] == address
    assert dict(seen["headers"])["x-forwarded-for"] == address


def test_the_scheme_is_what_the_trusted_proxy_says(plain: httpx.Client) -> None:
    answer = plain.get("/scope", headers={"X-Forwarded-Proto": "https"})

    assert answer.json()["scheme"] == "https"
    assert "strict-transport-security" in answer.headers


# ---- HTTPS alone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_clear_text_is_sent_to_https(strict: Stack, plain: httpx.Client, method: str) -> None:
    answer = plain.request(method, "/a%20b?c=d")

    assert answer.status_code == 308
    assert answer.headers["location"] == f"{strict.tls_url}/a%20b?c=d"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "strict-transport-security" not in answer.headers


def test_the_authority_of_acme_is_not(plain: httpx.Client) -> None:
    assert plain.get("/.well-known/acme-challenge/none").status_code == 404


def test_hsts_is_said_over_https(secure: httpx.Client) -> None:
    assert secure.get("/scope").headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"


def test_without_http_3_nobody_is_sent_there(secure: httpx.Client) -> None:
    assert "alt-svc" not in secure.get("/scope").headers
