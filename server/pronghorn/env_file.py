"""The file of `--env-file`: variables for the application, none of which configures the server."""

from __future__ import annotations

from collections.abc import MutableMapping

from pronghorn.errors import UsageError


def load_env_file(path: str, environ: MutableMapping[str, str]) -> list[str]:
    """Add the variables of a .env file that are not set yet, and return the names of those that were added.

    Raises UsageError when python-dotenv is not installed or the file is not text.
    """
    try:
        from dotenv import dotenv_values  # noqa: PLC0415  # an extra
    except ImportError:
        raise UsageError(
            "reading it needs python-dotenv, which is not installed",
            option="--env-file",
            hint="Install pronghorn[dotenv]",
        ) from None
    try:
        found = dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path!r} cannot be read: {exc}", option="--env-file") from None
    added = {name: value for name, value in found.items() if value is not None and name not in environ}
    environ.update(added)
    return list(added)
