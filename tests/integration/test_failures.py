"""The application is gone, or hangs: a clear answer at once, and no memory of it when it is back."""

from __future__ import annotations

import pytest

from tests.integration.stack import Stack

pytestmark = pytest.mark.usefixtures("whole_again")


def test_502_while_the_application_is_stopped_and_200_when_it_is_back(stack: Stack) -> None:
    with stack.client() as client:
        assert client.get("/process").status_code == 200
        stack.run("stop", "app")

        gone = client.get("/process")
        assert gone.status_code == 502
        assert gone.headers["content-type"] == "application/json"
        assert gone.json()["request_id"] == gone.headers["x-request-id"]
        assert gone.headers["x-content-type-options"] == "nosniff"
        assert client.post("/upload", content=b"x").status_code == 502

        stack.run("up", "--detach", "--wait", "--no-build", "app")
        assert client.get("/process").status_code == 200


def test_502_after_a_crash_and_a_start_over_the_stale_socket(stack: Stack) -> None:
    """SIGKILL leaves the socket file behind; nothing but the new server may be in its way."""
    with stack.client() as client:
        stack.run("kill", "app")
        assert client.get("/process").status_code == 502

        stack.run("up", "--detach", "--wait", "--no-build", "app")
        assert client.get("/process").status_code == 200


def test_504_while_the_application_hangs_and_200_when_it_goes_on(stack: Stack) -> None:
    """Stopped by SIGSTOP: the socket still takes connections, and nobody answers them."""
    with stack.client() as client:
        server = client.get("/process").json()["pid"]
        stack.execute("app", "sh", "-c", f"kill -STOP {server}")
        try:
            late = client.get("/process")
        finally:
            stack.execute("app", "sh", "-c", f"kill -CONT {server}")
        assert late.status_code == 504
        assert late.json()["request_id"] == late.headers["x-request-id"]
        assert client.get("/process").status_code == 200


@pytest.mark.parametrize("status", [502, 504])
def test_an_error_of_the_applications_own_passes_as_it_is(stack: Stack, status: int) -> None:
    with stack.client() as client:
        answer = client.get(f"/own-error?status={status}")

    assert answer.status_code == status
    assert answer.json() == "the application's own error"
