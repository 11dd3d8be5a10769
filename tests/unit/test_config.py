"""Config as a program makes it: what is there is valid, and what is not is said."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.config import OPTIONS, Config
from pronghorn.errors import StartupError, UsageError, UserError, did_you_mean
from pronghorn.headings import GROUPS

# The keywords of uvicorn.run and uvicorn.Config, with the defaults that those have (version 0.54). Left out is
# callback_notify, which a worker of Gunicorn is told by.
UVICORN: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8000,
    "uds": None,
    "fd": None,
    "loop": "auto",
    "http": "auto",
    "http2": False,
    "ws": "auto",
    "ws_max_size": 16777216,
    "ws_max_queue": 32,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
    "ws_per_message_deflate": True,
    "lifespan": "auto",
    "interface": "auto",
    "reload": False,
    "reload_dirs": None,
    "reload_includes": None,
    "reload_excludes": None,
    "reload_delay": 0.25,
    "workers": None,
    "env_file": None,
    "log_level": None,
    "access_log": True,
    "proxy_headers": True,
    "server_header": True,
    "date_header": True,
    "forwarded_allow_ips": None,
    "root_path": "",
    "limit_concurrency": None,
    "backlog": 2048,
    "limit_max_requests": None,
    "limit_max_requests_jitter": 0,
    "timeout_keep_alive": 5,
    "timeout_notify": 30,
    "timeout_graceful_shutdown": None,
    "timeout_worker_healthcheck": 5,
    "ssl_keyfile": None,
    "ssl_certfile": None,
    "ssl_keyfile_password": None,
    "ssl_version": 17,
    "ssl_cert_reqs": 0,
    "ssl_ca_certs": None,
    "ssl_ciphers": None,
    "ssl_context_factory": None,
    "headers": None,
    "use_colors": None,
    "app_dir": None,
    "factory": False,
    "h11_max_incomplete_event_size": None,
    "reset_contextvars": False,
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody calls here."""


def make(**options: Any) -> Config:
    return Config("main:app", environ={}, **options)


def test_uvicorn_s_keywords_and_defaults_are_accepted() -> None:
    # There it is False, or on; here it is on over TLS as well where nobody says anything.
    assert make(**UVICORN) == make(http2=False)
    assert make().http2 is None


def test_it_is_immutable_and_has_no_other_attributes() -> None:
    config = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.port = 1  # type: ignore[misc]
    assert not hasattr(config, "__dict__")


def test_the_app_may_come_first_or_by_name_and_may_be_the_application_itself() -> None:
    assert Config(app="main:app", environ={}) == make()
    assert Config(app, environ={}).app is app
    with pytest.raises(TypeError):
        Config("main:app", "127.0.0.1")  # type: ignore[call-arg]


def test_no_logging_configuration_is_another_thing_than_the_server_s_own() -> None:
    assert (make().log_config, make(log_config="").log_config, make(log_config=None).log_config) == (
        "",
        "",
        None,
    )


def test_forwarding_headers_are_a_list_in_any_spelling() -> None:
    spelt = (
        "X-Forwarded-For, X-FORWARDED-PREFIX,",
        ["x-forwarded-for", "x-forwarded-prefix", "x-forwarded-for"],
    )
    assert {make(forwarded_headers=value).forwarded_headers for value in spelt} == {
        "x-forwarded-for,x-forwarded-prefix"
    }


def test_lists_are_not_shared() -> None:
    make().headers.append(("x", "y"))
    assert make().headers == []


def test_every_option_is_in_a_group_and_explained() -> None:
    assert {told.group for told in OPTIONS.values()} == set(GROUPS)
    for told in OPTIONS.values():
        assert told.help.endswith("."), told.name


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_default_is_a_value_of_its_kind(name: str) -> None:
    told = OPTIONS[name]
    assert told.read_code(None) == (None if told.nullable else told.default)
    if told.default is not None:
        assert told.kind.from_data(told.default) == told.default
        assert told.read_code(told.default) == told.default


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "x"}, "port: 'x' is not a whole number"),
        ({"port": 65536}, "port: 65536 is out of range, it must be between 0 and 65535"),
        ({"workers": 0}, "workers: 0 is out of range, it must be at least 1"),
        ({"access_log": "maybe"}, "access_log: 'maybe' is neither true nor false"),
        (
            {"log_level": "inof"},
            "log_level: 'inof' is not critical, error, warning, info, debug or trace. Did you mean info?",
        ),
        ({"timeout_body": 0}, "timeout_body: 0 is out of range, it must be more than 0 seconds"),
        ({"headers": ["X"]}, "headers: 'X' has no colon, write Name:Value"),
        ({"ssl_certfile": "/no/such.pem"}, "ssl_certfile: no such file: '/no/such.pem'"),
        ({"env_file": "/no/such.env"}, "env_file: no such file: '/no/such.env'"),
        ({"uds": "/run/a.sock", "fd": 3}, "fd: cannot be given together with uds, listen on one of them"),
        (
            {"uds": "/run/a.sock", "reuse_port": True},
            "reuse_port: is for a host and a port, and cannot be given together with uds",
        ),
        (
            {"fd": 3, "reuse_port": True},
            "reuse_port: is for a host and a port, and cannot be given together with fd",
        ),
        ({"ssl_keyfile": __file__}, "ssl_keyfile: a key is of no use without ssl_certfile"),
        ({"ssl_min_version": "1.1"}, "ssl_min_version: '1.1' is not 1.2 or 1.3"),
        ({"ssl_min_version": 1.3, "ssl_version": 5}, "ssl_min_version: 1.3 contradicts ssl_version 5"),
        (
            {"forwarded_headers": []},
            "forwarded_headers: no header is named, --no-proxy-headers believes none",
        ),
        (
            {"forwarded_headers": "x-forwarded-fro"},
            "forwarded_headers: 'x-forwarded-fro' is not one of forwarded, x-forwarded-for, ",
        ),
        (
            {"forwarded_headers": "forwarded,x-forwarded-proto"},
            "forwarded_headers: forwarded and x-forwarded-proto say the same, and a client can forge",
        ),
        ({"forwarded_hops": 0}, "forwarded_hops: 0 is out of range, it must be at least 1"),
    ],
)
def test_a_bad_value_names_its_parameter(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(**options)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_no_application_is_an_error() -> None:
    with pytest.raises(UsageError, match="app: there is no application"):
        Config(None, environ={})  # type: ignore[arg-type]


def test_a_codec_may_be_named_or_given() -> None:
    assert make(ws="none").ws == "none"
    assert make(ws="my.module:Codec").ws == "my.module:Codec"
    assert make(ws=dict).ws is dict


def test_origins_are_compared_as_browsers_write_them() -> None:
    given = ["https://Example.com,https://example.com", "http://localhost:5173", "null", "https://[::1]:8443"]
    assert make(ws_origins=given).ws_origins == [
        "https://example.com",
        "http://localhost:5173",
        "null",
        "https://[::1]:8443",
    ]


@pytest.mark.parametrize(
    "origin", ["example.com", "https://example.com/", "https://", "https://a b", "*", ""]
)
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(UsageError, match=r"^ws_origins: .* is not an origin such as https://example\.com"):
        make(ws_origins=[origin])


def test_workers_are_accepted_here_because_serve_is_one_process() -> None:
    assert make(workers=4).workers == 4
    assert Config(app, workers=4, environ={}).app is app
    assert make(workers="AUTO").workers == "auto"


def test_the_platform_s_variables_stand_in_for_what_was_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setenv("PRONGHORN_PORT", "1")
    config = Config("main:app")
    assert (config.workers, config.forwarded_allow_ips, config.port) == (3, "*", 8000)
    monkeypatch.setenv("WEB_CONCURRENCY", "auto")
    assert Config("main:app").workers == "auto"
    config = Config("main:app", workers=2, forwarded_allow_ips="::1")
    assert (config.workers, config.forwarded_allow_ips) == (2, "::1")


def test_a_bad_variable_of_the_platform_is_named() -> None:
    with pytest.raises(UsageError, match=r"'many' is not a whole number \(from WEB_CONCURRENCY\)"):
        Config("main:app", environ={"WEB_CONCURRENCY": "many"})


def test_an_empty_variable_of_the_platform_is_not_set() -> None:
    assert Config("main:app", environ={"WEB_CONCURRENCY": ""}).workers == 1


def test_the_env_file_is_loaded_before_the_platform_s_variables_are_read(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("WEB_CONCURRENCY=3\nSECRET_KEY='a b'\nPATH=/nowhere\n")
    environ = {"PATH": "/bin"}
    config = Config("main:app", env_file=str(file), environ=environ)
    assert config.workers == 3
    assert environ == {"PATH": "/bin", "WEB_CONCURRENCY": "3", "SECRET_KEY": "a b"}


def test_an_env_file_needs_python_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\n")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(UsageError, match=r"^--env-file: .*python-dotenv.*Install pronghorn\[dotenv\]$"):
        make(env_file=str(file))


def test_an_env_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(UsageError, match=r"--env-file: .*cannot be read"):
        make(env_file=str(file))


def test_the_password_is_in_no_representation() -> None:
    assert "hunter2" not in repr(make(ssl_keyfile_password="hunter2"))


# Errors


@given(st.text(), st.none() | st.text(), st.none() | st.text(), st.none() | st.text())
def test_an_error_is_one_printable_line_whatever_is_in_it(
    message: str, option: str | None, source: str | None, hint: str | None
) -> None:
    text = str(UserError(message, option=option, source=source, hint=hint))
    assert text.isprintable()
    assert len(text.splitlines()) <= 1


def test_an_error_says_option_message_source_and_hint() -> None:
    error = UsageError("is bad", option="--port", source="PRONGHORN_PORT", hint="Try another")
    assert str(error) == "--port: is bad (from PRONGHORN_PORT). Try another"
    assert str(UsageError("is bad")) == "is bad"
    assert (UsageError("").exit_code, StartupError("").exit_code) == (2, 3)


def test_a_near_word_is_suggested_and_a_far_one_is_not() -> None:
    assert did_you_mean("prot", ["port", "host"]) == "Did you mean port?"
    assert did_you_mean("zzzzzz", ["port", "host"]) is None
