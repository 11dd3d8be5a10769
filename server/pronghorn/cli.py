"""The command `pronghorn`, and `pronghorn.run` for programs.

Every flag is made from its declaration in `config`. This is the only module that ends the process: errors that are the user's to
mend arrive here as `UserError`, become one line on stderr, and their exit code is the process's (docs/reference/exit-codes.md).
The server itself is imported only when there is something to serve, so that `healthcheck` and `--help` stay quick.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pronghorn import importer
from pronghorn.agreement import check_supervised, supervisor_for
from pronghorn.config import OPTIONS, Config
from pronghorn.declare import Option
from pronghorn.errors import UsageError, UserError, did_you_mean
from pronghorn.flags import Command, misuse, sort
from pronghorn.kinds import Seconds, Text
from pronghorn.sources import Resolution, resolve

PROGRAM = "pronghorn"
_HELP = {"--help": "Show this message and exit."}
SERVE = Command(
    name=PROGRAM,
    operand="APP",
    options=OPTIONS.values(),
    switches={
        "--print-config": "Show every option's value and its source, and exit.",
        "--version": "Show the version and exit.",
        **_HELP,
    },
    summary="Serve an ASGI application. APP is module:attribute, such as main:app.",
    epilog="""\
Every option can also be set as PRONGHORN_<NAME> or UVICORN_<NAME> in the environment, or as a key of [tool.pronghorn] in the
pyproject.toml of the current folder: a flag wins over PRONGHORN_, that over UVICORN_, that over the table. --print-config shows
each value and where it came from. `pronghorn healthcheck` asks a running server whether it is ready, `pronghorn doctor` looks at the
whole of it.""",
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command with these arguments (the process's own by default) and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _exits():
        if words[:1] == ["healthcheck"]:
            _healthcheck(words[1:])
        elif words[:1] == ["doctor"]:
            _doctor(words[1:])
        else:
            _serve_words(_join_headers(words))
    sys.exit(0)


def run(app: str | Callable[..., Any], **options: Any) -> None:
    """Serve `app` until a signal stops the server; the options are those of `Config`.

    Returns after a clean stop. Where the command would exit with a code it raises SystemExit with that code, having written the
    same line to stderr. Raises TypeError for an option that does not exist.
    """
    for name in options:
        if name not in OPTIONS or name == "app":
            hint = did_you_mean(name, OPTIONS)
            raise TypeError(f"run() has no option {name!r}" + (f". {hint}" if hint else ""))
    with _exits():
        config = Config(app, **options)
        _serve(config)


def _serve(config: Config) -> None:
    # Imported here: see the module's docstring.
    values = {name: getattr(config, name) for name in OPTIONS}
    if supervisor_for(values) is not None:
        check_supervised(values, OPTIONS, code=False)
        from pronghorn.supervise.supervisor import Supervisor  # noqa: PLC0415

        Supervisor(config).run()
    else:
        from pronghorn.worker.server import Server  # noqa: PLC0415

        # Whom a server that is the only process answers to: a service manager, if one says that it is there.
        if "NOTIFY_SOCKET" not in os.environ:
            Server(config).run()
            return
        from pronghorn.supervise import notify  # noqa: PLC0415

        manager = notify.Notified(notify.from_environ(os.environ))
        try:
            Server(config, manager).run()
        except UserError as exc:
            manager.failed(str(exc))
            raise


# Errors and exit codes


@contextlib.contextmanager
def _exits() -> Iterator[None]:
    """Turn what the user has to mend into one line and an exit code."""
    try:
        yield
    except UserError as exc:
        cause = None if not exc.show_cause or exc.__cause__ is None else importer.cause_text(exc.__cause__)
        from pronghorn.observe import everything  # noqa: PLC0415  # as above

        if not everything.tell(str(exc), cause):
            if cause is not None:
                _write(cause, sys.stderr)
            _say("error", str(exc))
        raise SystemExit(exc.exit_code) from None
    except KeyboardInterrupt:
        # The server has stopped as it was asked to, or had not begun. Either way there is nothing to tell.
        return


def _say(kind: str, text: str) -> None:
    _write(f"{PROGRAM}: {kind}: {text}", sys.stderr)


def _write(text: str, stream: TextIO | None) -> None:
    # A process without a console has no streams.
    if stream is not None:
        stream.write(text + "\n")
        stream.flush()


# pronghorn


def _serve_words(words: Sequence[str]) -> None:
    flags, switches, others = sort(words, SERVE)
    if "--help" in switches:
        _help(SERVE)
        return
    if "--version" in switches:
        from pronghorn import usage  # noqa: PLC0415  # as for the help

        _write(usage.version(), sys.stdout)
        return
    if others:
        flags["app"] = others.pop(0)
    _refuse(others, SERVE)
    found = resolve(flags, os.environ, Path.cwd())
    for warning in found.warnings:
        _say("warning", warning)
    if "--print-config" in switches:
        _print_config(found)
        return
    try:
        config = found.config()
        if config.app in {"healthcheck", "doctor"}:
            raise UsageError(
                f"{config.app} comes before its options", hint=f"Write {PROGRAM} {config.app} --port 8000"
            )
        _serve(config)
    except UserError as exc:
        found.blame(exc)
        raise


def _help(command: Command) -> None:
    from pronghorn import usage  # noqa: PLC0415  # for those who ask

    _write(usage.help_of(command), sys.stdout)


def _refuse(others: Sequence[str], command: Command) -> None:
    """Complain about words that are neither flags nor wanted."""
    if others:
        plural = "s" if len(others) > 1 else ""
        raise misuse(command, f"got unexpected extra argument{plural} ({' '.join(others)})")


def _print_config(found: Resolution) -> None:
    rows = [(name, told.show(found.values[name]), found.sources[name]) for name, told in OPTIONS.items()]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    value_width = min(value_width, 40)
    _write(
        "\n".join(f"{name:<{name_width}}  {value:<{value_width}}  {source}" for name, value, source in rows),
        sys.stdout,
    )


def _join_headers(words: Sequence[str]) -> list[str]:
    """Make `--header NAME VALUE`, as Uvicorn has it, one value: `--header NAME:VALUE`."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*joined, word, *rest]
        joined.append(word)
        if word == "--header":
            name = next(rest, None)
            if name is not None and ":" not in name:
                value = next(rest, None)
                name = name if value is None else f"{name}:{value}"
            if name is not None:
                joined.append(name)
    return joined


# pronghorn healthcheck

_TIMEOUT = Option(
    name="timeout",
    kind=Seconds(zero=False),
    default=5,
    help="Seconds to wait for the answer.",
    group="This command",
    flag="--timeout",
)
_LIVE, _READY = "--live", "--ready"
# The question of a machine that starts the server anew if the answer is no, which a server that is only busy does not deserve.
_PATHS = {_LIVE: "/livez", _READY: "/readyz", None: "/readyz?exclude=limit"}
_PUBLIC = ("host", "port", "uds", "health_path")
HEALTHCHECK = Command(
    name=f"{PROGRAM} healthcheck",
    options=[OPTIONS["admin"], *(OPTIONS[name] for name in _PUBLIC), _TIMEOUT],
    switches={
        _LIVE: "Ask the admin listener whether the server is alive: it may not be ready, but will get there by itself.",
        _READY: "Ask whether to send requests now: a server that is at its limit is not ready either.",
        **_HELP,
    },
    summary="Ask a running server whether it is ready: exit code 0 if it is, 1 if not.",
    epilog="""\
It asks the admin listener where there is one, or else --health-path on the listener of the application, as any of --host, --port, --uds
and --health-path does too. The environment and pyproject.toml are read as the server reads them, so where both have the same no
option is needed.""",
)


def _healthcheck(words: Sequence[str]) -> None:
    flags, switches, others = sort(words, HEALTHCHECK)
    if "--help" in switches:
        _help(HEALTHCHECK)
        return
    _refuse(others, HEALTHCHECK)
    if _LIVE in switches and _READY in switches:
        raise misuse(HEALTHCHECK, f"{_LIVE} and {_READY} are two questions, ask one")
    question = _LIVE if _LIVE in switches else _READY if _READY in switches else None
    seconds = _TIMEOUT.read_text(flags.pop("timeout", "5"), None)
    chosen = "admin" not in flags and not flags.keys().isdisjoint(_PUBLIC)
    target = _target(resolve(flags, os.environ, Path.cwd()), flags, question, public=chosen)
    from pronghorn.observe.probe import probe  # noqa: PLC0415  # not before the arguments are known to be good

    ok, line = probe(**target, timeout=seconds)
    _write(line, sys.stdout if ok else sys.stderr)
    if not ok:
        raise SystemExit(1)


def _target(
    found: Resolution, flags: dict[str, Any], question: str | None, *, public: bool = False
) -> dict[str, Any]:
    """Where the server with these options answers the question; UsageError if that cannot be told. `public`: not on --admin."""
    admin = found.values["admin"]
    if admin is not None and not public:
        if not admin.uds and admin.port == 0:
            raise _any_port("--admin")
        return {"host": admin.host, "port": admin.port, "uds": admin.uds or None, "path": _PATHS[question]}
    if question == _LIVE:
        raise UsageError(
            "the admin listener alone tells",
            option=_LIVE,
            hint="Give --admin here or as PRONGHORN_ADMIN, to the server as well",
        )
    return _public_target(found, flags)


def _any_port(option: str) -> UsageError:
    return UsageError(
        "port 0 is a different one each time", option=option, hint="Give the port of the running server"
    )


def _public_target(found: Resolution, flags: dict[str, Any]) -> dict[str, Any]:
    values = found.values
    uds = values["uds"]
    if "uds" not in flags and not flags.keys().isdisjoint({"host", "port"}):
        uds = None
    elif uds is None and values["fd"] is not None:
        raise UsageError(
            "where that descriptor listens is not known here",
            option="--fd",
            source=found.sources["fd"],
            hint="Give --uds, or --host and --port",
        )
    if uds is None and values["port"] == 0:
        raise _any_port("--port")
    if values["health_path"] is None:
        raise UsageError(
            "there is nobody to ask: neither an admin listener nor a health path was given",
            option="--admin",
            hint="Give --admin here or as PRONGHORN_ADMIN, to the server as well; or --health-path",
        )
    return {
        "host": values["host"],
        "port": values["port"],
        "uds": uds,
        "path": values["health_path"],
        "tls": values["ssl_certfile"] is not None or values["ssl_context_factory"] is not None,
    }


# pronghorn doctor

_NGINX = Option(
    name="nginx",
    kind=Text(metavar="FILE"),
    default=None,
    help="The configuration of the nginx in front, as nginx -T prints it; - is standard input.",
    group="This command",
    flag="--nginx",
)
_STOP_GRACE = Option(
    name="stop_grace",
    kind=Seconds(),
    default=None,
    help="Seconds that whoever stops the server waits before it kills: stop_grace_period of Compose, TimeoutStopSec of systemd.",
    group="This command",
    flag="--stop-grace",
)
DOCTOR = Command(
    name=f"{PROGRAM} doctor",
    options=[*(told for told in OPTIONS.values() if told.flag), _NGINX, _STOP_GRACE, _TIMEOUT],
    switches={"--json": "Print one JSON array instead of lines.", **_HELP},
    summary="Look at a running deployment and say, line by line, what is wrong with it and the way out: exit code 1 if anything is bad.",
    epilog="Run it where the server runs, as the server's user or root, with the server's environment: `docker compose exec app pronghorn doctor`.",
)


def _doctor(words: Sequence[str]) -> None:
    flags, switches, others = sort(words, DOCTOR)
    if "--help" in switches:
        _help(DOCTOR)
        return
    _refuse(others, DOCTOR)
    own = {told.name: flags.pop(told.name, None) for told in (_NGINX, _STOP_GRACE, _TIMEOUT)}
    found = resolve(flags, os.environ, Path.cwd())
    # Imported here: see the module's docstring.
    from pronghorn.doctor import checks, finding  # noqa: PLC0415
    from pronghorn.doctor.nginx import Nginx  # noqa: PLC0415
    from pronghorn.doctor.patient import Patient  # noqa: PLC0415
    from pronghorn.observe.probe import probe  # noqa: PLC0415

    timeout = _TIMEOUT.read_text(own["timeout"] or "5", None)
    patient = Patient(
        values=found.values,
        ask=lambda: probe(**_target(found, flags, None), timeout=timeout),
        nginx=None if own["nginx"] is None else Nginx.parse(_text_of(own["nginx"])),
        stop_grace=None if own["stop_grace"] is None else _STOP_GRACE.read_text(own["stop_grace"], None),
        timeout=timeout,
    )
    findings = [finding.warning("options", text, "") for text in found.warnings] + checks.examine(patient)
    _write((finding.as_json if "--json" in switches else finding.as_text)(findings), sys.stdout)
    if any(one.verdict is finding.Verdict.BAD for one in findings):
        raise SystemExit(1)


def _text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8", errors="replace")
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}", option="--nginx") from None
