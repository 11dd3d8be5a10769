"""What the command tells about itself: every flag, under its heading, with its default, within the terminal's width."""

from __future__ import annotations

import pytest

from pronghorn import cli, usage
from pronghorn.headings import GROUPS

# The tables of the handbook, as they are there: flag and default.
HANDBOOK = {
    "--host": "127.0.0.1",
    "--port": "8000",
    "--uds": None,
    "--fd": None,
    "--workers": "1",
    "--loop": "auto",
    "--http": "auto",
    "--ws": "auto",
    "--lifespan": "auto",
    "--limit-concurrency": None,
    "--backlog": "2048",
    "--reload": "false",
    "--reload-dir": "current folder",
    "--reload-include": "*.py",
    "--reload-exclude": None,
    "--reload-delay": "0.25",
    "--log-level": "info",
    "--log-config": None,
    "--access-log": "true",
    "--no-access-log": "true",
    "--use-colors": "on a terminal",
    "--no-use-colors": "on a terminal",
    "--timeout-keep-alive": "5",
    "--timeout-notify": "30",
    "--timeout-graceful-shutdown": "no limit",
    "--limit-max-requests": None,
    "--header": None,
}

# The flags that docs and users of Uvicorn know beyond the handbook's tables.
OTHERS = """
    --interface --factory --app-dir --env-file --root-path --proxy-headers --no-proxy-headers --forwarded-allow-ips
    --server-header --no-server-header --date-header --no-date-header --limit-max-requests-jitter
    --timeout-worker-healthcheck --ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout --ws-per-message-deflate
    --h11-max-incomplete-event-size --ssl-keyfile --ssl-certfile --ssl-keyfile-password --ssl-version --ssl-cert-reqs
    --ssl-ca-certs --ssl-ciphers --http2 --reset-contextvars --version --help --print-config --uds-mode --uds-group
    --log-format --health-path --limit-request-line --limit-request-headers --limit-request-header-bytes
    --limit-request-body --timeout-header --timeout-body --wsgi-threads --send-after-disconnect --early-hints --ssl-min-version --forwarded-headers
    --forwarded-hops --ssl-context-factory --reuse-port --supervise --preload --limit-worker-memory --limit-worker-lifetime
    --limit-worker-lifetime-jitter --admin --metrics --no-metrics --metrics-dir
""".split()  # noqa: SIM905  # one item a line would be a page


@pytest.fixture
def help_text(monkeypatch: pytest.MonkeyPatch) -> str:
    """The help of the command on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return usage.help_of(cli.SERVE)


def section(help_text: str, flag: str) -> str:
    """What --help says about a flag, in one line."""
    lines = help_text.splitlines()
    starts = [
        number for number, line in enumerate(lines) if line.startswith("  --") and flag in line.split()[:6]
    ]
    assert len(starts) == 1, flag
    end = next(number for number in range(starts[0] + 1, len(lines)) if not lines[number].startswith("   "))
    return " ".join(" ".join(lines[starts[0] : end]).split())


def test_every_flag_of_the_handbook_is_there_with_its_default(help_text: str) -> None:
    for flag, default in HANDBOOK.items():
        text = section(help_text, flag)
        if default is None:
            assert "[default:" not in text
        elif flag == "--workers":
            assert "[default: $WEB_CONCURRENCY or 1]" in text
        else:
            assert f"[default: {default}]" in text


@pytest.mark.parametrize("flag", [flag for flag in OTHERS if flag != "--help"])
def test_the_other_flags_are_there(help_text: str, flag: str) -> None:
    assert section(help_text, flag)


def test_help_has_a_heading_for_each_group(help_text: str) -> None:
    headings = [
        line.rstrip(":") for line in help_text.splitlines() if line.endswith(":") and not line.startswith(" ")
    ]
    assert headings == [*GROUPS, "This command"]


@pytest.mark.parametrize(("columns", "width"), [("20", 50), ("80", 78), ("300", 98)])
def test_lines_are_as_wide_as_the_terminal_within_reason(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    # What stands in the left column is not broken.
    widest = max(len(line) for line in usage.help_of(cli.SERVE).splitlines() if not line.startswith("  --"))
    assert width - 12 < widest <= width


def test_the_help_of_a_command_has_its_own_options_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = usage.help_of(cli.HEALTHCHECK)
    assert text.startswith("Usage: pronghorn healthcheck [OPTIONS]\n\n  Ask a running server")
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  --")] == [
        *(
            "--host",
            "--port",
            "--uds",
            "--admin",
            "--health-path",
            "--timeout",
            "--live",
            "--ready",
            "--help",
        ),
    ]
