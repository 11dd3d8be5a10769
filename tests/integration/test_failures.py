"""The application is stopped: a clear answer at once, and no memory of it when it is back. Worse things are in tests/drills."""

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


@pytest.mark.parametrize("status", [502, 504])
def test_an_error_of_the_applications_own_passes_as_it_is(stack: Stack, status: int) -> None:
    with stack.client() as client:
        answer = client.get(f"/own-error?status={status}")

    assert answer.status_code == status
    assert answer.json() == "the application's own error"
