"""Options that depend on each other, looked at without a Config: what is refused, what is idle, and who needs a supervisor."""

from __future__ import annotations

from typing import Any

import pytest

from pronghorn.agreement import check_supervised, check_together, supervisor_for, without_effect
from pronghorn.config import OPTIONS
from pronghorn.errors import UsageError


def values(**given: Any) -> dict[str, Any]:
    return {name: told.fresh_default() for name, told in OPTIONS.items()} | {"app": "main:app"} | given


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody calls here."""


def test_preload_and_reload_contradict_each_other() -> None:
    with pytest.raises(
        UsageError, match=r"^--preload: cannot be given together with --reload, which imports"
    ):
        check_together(values(preload=True, reload=True), OPTIONS, code=False)
    check_together(values(preload=True), OPTIONS, code=False)


@pytest.mark.parametrize(
    ("admin", "given", "other"),
    [
        (":8000", {}, "port"),
        ("0.0.0.0:8000", {}, "port"),
        ("127.0.0.1:8000", {"host": "0.0.0.0"}, "port"),
        ("unix:/run/app.sock", {"uds": "/run/app.sock"}, "uds"),
    ],
)
def test_the_admin_listener_is_never_the_public_one(admin: str, given: dict[str, Any], other: str) -> None:
    address = OPTIONS["admin"].read_text(admin, None)
    with pytest.raises(
        UsageError, match=rf"^--admin: that is where the application is: --{other} has it already$"
    ):
        check_together(values(admin=address, **given), OPTIONS, code=False)


@pytest.mark.parametrize(
    ("admin", "given"),
    [
        (":8001", {}),
        (":8000", {"host": "192.0.2.1"}),
        (":8000", {"uds": "/run/app.sock"}),
        (":8000", {"fd": 3}),
        (":0", {"port": 0}),
        ("unix:/run/admin.sock", {"uds": "/run/app.sock"}),
        ("unix:/run/admin.sock", {}),
    ],
)
def test_an_admin_listener_elsewhere_is_fine(admin: str, given: dict[str, Any]) -> None:
    check_together(values(admin=OPTIONS["admin"].read_text(admin, None), **given), OPTIONS, code=False)


def test_workers_beside_reload_are_idle_as_with_uvicorn() -> None:
    assert ("workers", "beside --reload, which has one worker process") in without_effect(
        values(reload=True, workers=4), OPTIONS
    )
    assert "workers" not in dict(without_effect(values(workers=4), OPTIONS))


def test_options_of_websockets_are_idle_where_there_are_none() -> None:
    named = {name for name in OPTIONS if name.startswith("ws_")}
    for idle in (
        without_effect(values(ws="none"), OPTIONS),
        without_effect(values(interface="wsgi"), OPTIONS),
    ):
        assert named <= {name for name, _ in idle}
    assert ("ws", "beside --interface wsgi") in without_effect(values(interface="wsgi"), OPTIONS)
    assert not named & {name for name, _ in without_effect(values(), OPTIONS)}
    assert ("ws_ping_timeout", "without --ws-ping-interval") in without_effect(
        values(ws_ping_interval=0), OPTIONS
    )


def test_a_jitter_of_no_lifetime_is_idle() -> None:
    assert "limit_worker_lifetime_jitter" in dict(without_effect(values(), OPTIONS))
    assert "limit_worker_lifetime_jitter" not in dict(
        without_effect(values(limit_worker_lifetime=1), OPTIONS)
    )


SUPERVISED: list[dict[str, Any]] = [
    {"workers": 2},
    {"workers": "auto"},
    {"reload": True},
    {"preload": True},
    {"supervise": True},
    {"limit_worker_memory": 2**29},
    {"limit_worker_lifetime": 3600},
]


@pytest.mark.parametrize("given", SUPERVISED, ids=str)
def test_who_needs_a_supervisor(given: dict[str, Any]) -> None:
    (name,) = given
    assert supervisor_for(values(**given)) == name
    check_supervised(values(**given), OPTIONS, code=True, posix=True)
    with pytest.raises(UsageError, match=rf"^{name}: worker processes need fork"):
        check_supervised(values(**given), OPTIONS, code=True, posix=False)
    with pytest.raises(
        UsageError, match=rf"^{OPTIONS[name].flag}: other processes import the application: give"
    ):
        check_supervised(values(app=app, **given), OPTIONS, code=False, posix=True)


def test_one_process_needs_none_of_it() -> None:
    assert supervisor_for(values(limit_max_requests=1, reuse_port=True)) is None
    check_supervised(values(app=app), OPTIONS, code=True, posix=False)
