"""The command `pronghorn`, and `pronghorn.run` for programs.

Every flag is made from its declaration in `config`. This is the only module that ends the process: errors that are the user's to
mend arrive here as `UserError`, become one line on stderr, and their exit code is the process's (docs/reference/exit-codes.md).
The server itself is imported only when there is something to serve, so that `healthcheck` and `--help` stay quick.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from pronghorn import importer
from pronghorn._version import __version__
from pronghorn.config import GROUPS, OPTIONS, Config
from pronghorn.declare import Option
from pronghorn.errors import UsageError, UserError, did_you_mean
from pronghorn.kinds import Seconds
from pronghorn.sources import Resolution, resolve

PROGRAM = "pronghorn"
EPILOG = """\
Every option can also be set as PRONGHORN_<NAME> or UVICORN_<NAME> in the environment, or as a key of [tool.pronghorn] in the
pyproject.toml of the current folder: a flag wins over PRONGHORN_, that over UVICORN_, that over the table. --print-config shows
each value and where it came from. `pronghorn healthcheck` asks a running server whether it is ready.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command with these arguments (the process's own by default) and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _exits():
        if words[:1] == ["healthcheck"]:
            _invoke(_healthcheck_command(), words[1:])
        else:
            _invoke(_serve_command(), _join_headers(words))
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
        OPTIONS["workers"].require_available(config.workers, code=True)
        _serve(config)


def _serve(config: Config) -> None:
    from pronghorn.worker.server import Server  # noqa: PLC0415  # see the module's docstring

    Server(config).run()


# Errors and exit codes


@contextlib.contextmanager
def _exits() -> Iterator[None]:
    """Turn what the user has to mend into one line and an exit code."""
    try:
        yield
    except UserError as exc:
        if exc.show_cause and exc.__cause__ is not None:
            _print_cause(exc.__cause__)
        _say("error", str(exc))
        raise SystemExit(exc.exit_code) from None
    except KeyboardInterrupt:
        # The server has stopped as it was asked to, or had not begun. Either way there is nothing to tell.
        return


def _say(kind: str, text: str) -> None:
    click.echo(f"{PROGRAM}: {kind}: {text}", err=True)


def _print_cause(cause: BaseException) -> None:
    """The application's traceback, from the first line that is the application's."""
    trace = cause.__traceback__
    while trace is not None and importer.is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(cause), cause, trace))
    click.echo(text.rstrip("\n"), err=True)


def _invoke(command: click.Command, words: list[str]) -> None:
    """Run a click command; its complaints become ours, so that each is one line too.

    Not by `command.main`, which has opinions of its own on exit codes and on an interrupt.
    """
    try:
        with command.make_context(command.name, words) as ctx:
            command.invoke(ctx)
    except click.exceptions.Exit as exc:
        raise SystemExit(exc.exit_code) from None
    except click.exceptions.NoSuchOption as exc:
        known = [name for item in command.params for name in (*item.opts, *item.secondary_opts)]
        raise UsageError(
            f"there is no option {exc.option_name}", hint=did_you_mean(exc.option_name, known)
        ) from None
    except click.ClickException as exc:
        message = " ".join(exc.format_message().split()).rstrip(".")
        message = message[:1].lower() + message[1:]
        raise UsageError(message, hint=f"See {command.name} --help") from None


# Commands made from declarations


class _Command(click.Command):
    """A command whose help has the options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section a group, in their order; then what no group claims."""
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for item in self.get_params(ctx):
            record = item.get_help_record(ctx)
            if record is not None and isinstance(item, click.Option):
                told = OPTIONS.get(item.name or "")
                sections.setdefault(told.group if told else "This command", []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _click_option(told: Option) -> click.Option:
    """The flag of a declared option. Values stay text: what they mean is for the option's kind to say."""
    text = told.help
    if told.shown_default:
        text += f"  [default: {told.shown_default}]"
    if told.later is not None:
        text += f"  ({told.later})"
    if told.switch:
        return click.Option([f"{told.flag}/{told.negative}", told.name], default=None, help=text)
    return click.Option(
        [str(told.flag), told.name],
        multiple=told.kind.repeatable,
        metavar=told.kind.metavar,
        type=str,
        help=text,
    )


def _flags(ctx: click.Context) -> dict[str, Any]:
    """What was given on the command line, as `resolve` takes it."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in ctx.params.items()
        if name in OPTIONS and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def _resolve(ctx: click.Context) -> Resolution:
    found = resolve(_flags(ctx), os.environ, Path.cwd())
    for warning in found.warnings:
        _say("warning", warning)
    return found


def _serve_command() -> click.Command:
    def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            implementation, version = platform.python_implementation(), platform.python_version()
            click.echo(
                f"Running {PROGRAM} {__version__} with {implementation} {version} on {platform.system()}"
            )
            ctx.exit()

    @click.pass_context
    def serve(ctx: click.Context, /, **_: Any) -> None:
        found = _resolve(ctx)
        if ctx.params["print_config"]:
            _print_config(found)
            return
        try:
            config = found.config()
            if config.app == "healthcheck":
                raise UsageError(
                    "healthcheck comes before its options", hint=f"Write {PROGRAM} healthcheck --port 8000"
                )
            _serve(config)
        except UserError as exc:
            found.blame(exc)
            raise

    options: list[click.Parameter] = [_click_option(told) for told in OPTIONS.values() if told.flag]
    return _Command(
        PROGRAM,
        callback=serve,
        params=[
            click.Argument(["app"], required=False, metavar="APP"),
            *options,
            click.Option(
                ["--print-config"], is_flag=True, help="Show every option's value and its source, and exit."
            ),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=print_version,
                help="Show the version and exit.",
            ),
        ],
        context_settings={"max_content_width": 100},
        help="Serve an ASGI application. APP is module:attribute, such as main:app.",
        epilog=EPILOG,
        options_metavar="[OPTIONS]",
    )


def _print_config(found: Resolution) -> None:
    rows = [(name, told.show(found.values[name]), found.sources[name]) for name, told in OPTIONS.items()]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    value_width = min(value_width, 40)
    click.echo(
        "\n".join(f"{name:<{name_width}}  {value:<{value_width}}  {source}" for name, value, source in rows)
    )


def _join_headers(words: Sequence[str]) -> list[str]:
    """Make `--header NAME VALUE`, two words, what click takes: `--header NAME:VALUE`."""
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

_PROBED = ("host", "port", "uds", "health_path")


def _healthcheck_command() -> click.Command:
    @click.pass_context
    def healthcheck(ctx: click.Context, /, timeout: str, **_: Any) -> None:
        try:
            seconds = Seconds(zero=False).from_text(timeout)
        except ValueError as exc:
            raise UsageError(str(exc), option="--timeout") from None
        found = _resolve_probe(ctx)
        values = found.values
        from pronghorn.observe.health import probe  # noqa: PLC0415  # not before the arguments are known to be good

        ok, line = probe(
            host=values["host"],
            port=values["port"],
            uds=values["uds"],
            path=values["health_path"],
            timeout=seconds,
            tls=values["ssl_certfile"] is not None or values["ssl_context_factory"] is not None,
        )
        click.echo(line, err=not ok)
        if not ok:
            ctx.exit(1)

    return _Command(
        f"{PROGRAM} healthcheck",
        callback=healthcheck,
        params=[
            *(_click_option(OPTIONS[name]) for name in _PROBED),
            click.Option(
                ["--timeout"],
                default="5",
                metavar="SECONDS",
                help="Seconds to wait for the answer.  [default: 5]",
            ),
        ],
        context_settings={"max_content_width": 100},
        help="Ask a running server whether it is ready: exit code 0 if it is, 1 if not.",
        epilog="The environment and pyproject.toml are read as the server reads them, so where both have the same no option is needed.",
    )


def _resolve_probe(ctx: click.Context) -> Resolution:
    """Where the server with this environment is to be found; UsageError if that cannot be told."""
    found = resolve(_flags(ctx), os.environ, Path.cwd())
    values, flags = found.values, _flags(ctx)
    if "uds" not in flags and not flags.keys().isdisjoint({"host", "port"}):
        values["uds"] = None
    elif values["uds"] is None and values["fd"] is not None:
        raise UsageError(
            "where that descriptor listens is not known here",
            option="--fd",
            source=found.sources["fd"],
            hint="Give --uds, or --host and --port",
        )
    if values["uds"] is None and values["port"] == 0:
        raise UsageError(
            "port 0 is a different one each time", option="--port", hint="Give the port of the running server"
        )
    if values["health_path"] is None:
        raise UsageError(
            "no path was given",
            option="--health-path",
            hint="Give it here or as PRONGHORN_HEALTH_PATH, to the server as well",
        )
    return found
