"""Bodies that take more than one packet, in both directions; what came is compared with what was sent."""

from __future__ import annotations

import random
from typing import Any, Final

from locust import task

from loadtest.settings import WEIGHTS
from loadtest.user import HttpUser

#: nginx keeps the small one in memory, and writes the large one to a file (client_body_buffer_size, nginx/includes/limits.conf).
SMALL: Final = random.randbytes(50_000)
LARGE: Final = random.randbytes(2_000_000)
#: What examples/shop has at /files/catalogue.bin.
CATALOGUE: Final = 1_048_576


class Uploads(HttpUser):
    """Photographs, and now and then a video."""

    weight = WEIGHTS["uploads"]

    @task(4)
    def small(self) -> None:
        """One that is read at once."""
        self.send("uploads: 50 KB", SMALL)

    @task(1)
    def large(self) -> None:
        """One that is not."""
        self.send("uploads: 2 MB", LARGE)

    def send(self, name: str, body: bytes) -> None:
        """The application says how much it got."""
        # Locust declares that it takes text, and takes bytes as well.
        data: Any = body
        with self.client.post("/uploads", name=name, data=data, catch_response=True) as answer:
            if answer.status_code != 200:
                return  # which is a failure already
            try:
                length = answer.json()["length"]
            except (ValueError, LookupError, TypeError):
                length = None
            if length != len(body):
                answer.failure(f"{length} bytes came of {len(body)}")


class Downloads(HttpUser):
    """The whole catalogue."""

    weight = WEIGHTS["downloads"]

    @task
    def catalogue(self) -> None:
        """1 MiB."""
        with self.client.get("/files/catalogue.bin", name="downloads: 1 MB", catch_response=True) as answer:
            if answer.status_code == 200 and len(answer.content) != CATALOGUE:
                answer.failure(f"{len(answer.content)} bytes came of {CATALOGUE}")
