"""People who look at what there is, and sometimes buy: short requests for JSON on a connection that is kept."""

from __future__ import annotations

import random
from typing import Any

from locust import task

from loadtest.settings import WEIGHTS
from loadtest.user import HttpUser

#: Of examples/shop.
PRODUCTS, PAGES = 500, 25


class Browse(HttpUser):
    """Pages of the list, most of all."""

    weight = WEIGHTS["browse"]

    @task(6)
    def look(self) -> None:
        """A page of the list."""
        self.ask("GET", f"/api/products?page={random.randint(1, PAGES)}", "browse: list", "products")

    @task(3)
    def look_closer(self) -> None:
        """One product."""
        self.ask("GET", f"/api/products/{random.randint(1, PRODUCTS)}", "browse: detail", "price")

    @task(1)
    def buy(self) -> None:
        """An order, which is answered with its number."""
        order = {"product": random.randint(1, PRODUCTS), "quantity": random.randint(1, 3)}
        self.ask("POST", "/api/orders", "browse: order", "number", json=order)

    def ask(self, method: str, path: str, name: str, member: str, **more: Any) -> None:
        """An answer counts as right if it is JSON with this member."""
        with self.client.request(method, path, name=name, catch_response=True, **more) as answer:
            if not 200 <= answer.status_code < 300:
                return  # which is a failure already
            try:
                if member not in answer.json():
                    answer.failure(f"no {member} in the answer")
            except ValueError:
                answer.failure(f"no JSON but {answer.headers.get('content-type')}")
