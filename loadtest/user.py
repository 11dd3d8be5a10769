"""What users of every kind have in common: where they go, and how long a person looks at what came before they go on."""

from __future__ import annotations

import os
from functools import cached_property

from locust import FastHttpUser, User, between

from loadtest import settings
from loadtest.target import Target

#: Seconds between two things that a person does.
THINK = between(0.5, 1.5)


class TargetUser(User):
    """A user who connects without Locust's own clients."""

    abstract = True
    wait_time = THINK

    @cached_property
    def target(self) -> Target:
        """The host of this test, which the web UI may have changed."""
        return Target(str(self.host), settings.insecure(os.environ))


class HttpUser(FastHttpUser):
    """A user with requests and answers, on connections that are kept."""

    abstract = True
    wait_time = THINK
    insecure = settings.insecure(os.environ)
    default_headers = {"Accept": "application/json"}  # noqa: RUF012 - Locust declares it so
