"""The picture: a bar for each server, its figure divided by uvicorn's, drawn by hand as SVG.

Readable on light and dark pages: nothing is drawn behind it, and its text follows the reader's colour scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from scripts.bench.report import SUBJECT, Row

BASELINE = "uvicorn"
LEFT, SCALE, RIGHT = 230, 300, 70
BAR, GAP, TITLE = 12, 14, 26
MOST = 1.6  # Times the baseline; a longer bar is cut, and its number tells.

# Of an eight-colour palette made for readers who do not tell every colour apart (Okabe and Ito).
COLOURS = ("#0072b2", "#999999", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")

_STYLE = """text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; } .small { font-size: 10px; }
.line { stroke: #24292f; stroke-width: 1; } .target { stroke: #24292f; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .line, .target { stroke: #e6edf3; }
}"""


def draw(rows: Sequence[Row], servers: Sequence[str], caption: str) -> str:
    """The SVG of all rows that have the baseline."""
    shown = [row for row in rows if BASELINE in row.ratios]
    names = [name for name in servers if any(name in row.ratios[BASELINE] for row in shown)]
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    parts, y = _legend(names, colours, caption)
    top, bars = y, []
    for row in shown:
        drawn, y = _row(row, names, colours, y)
        bars += drawn
    one = f"{LEFT + SCALE / MOST:.1f}"
    # Before the bars, so that it lies behind them and their numbers.
    parts.append(
        f'<line class="line" stroke-dasharray="3 3" x1="{one}" y1="{top}" x2="{one}" y2="{y - GAP}"/>'
    )
    parts += bars
    width = LEFT + SCALE + RIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img">'
    return "\n".join(
        [head, f"<title>{escape(caption)}</title>", f"<style>{_STYLE}</style>", *parts, "</svg>", ""]
    )


def _legend(names: Sequence[str], colours: dict[str, str], caption: str) -> tuple[list[str], int]:
    parts = [
        f'<text class="title" x="0" y="16">Relative to {BASELINE} (1.00, dashed); shorter is better. The mark is our target.</text>',
        f'<text class="small" x="0" y="32">{escape(caption)}</text>',
    ]
    x = 0
    for name in names:
        parts.append(f'<rect x="{x}" y="44" width="{BAR}" height="{BAR}" fill="{colours[name]}"/>')
        parts.append(f'<text x="{x + 17}" y="54">{escape(name)}</text>')
        x += 32 + 7 * len(name)
    return parts, 56 + TITLE


def _row(row: Row, names: Sequence[str], colours: dict[str, str], y: int) -> tuple[list[str], int]:
    ratios = row.ratios[BASELINE]
    parts = [f'<text x="0" y="{y + 11}">{escape(row.workload.title)}</text>']
    first = y
    for name in names:
        ratio = row.ratio(BASELINE, name)
        if ratio is None:
            continue
        length = min(ratio, MOST) / MOST * SCALE
        weight = ' class="small title"' if name == SUBJECT else ' class="small"'
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colours[name]}"/>'
            f'<text{weight} x="{LEFT + length + 5:.1f}" y="{y + 9}">{ratio:.2f}</text>'
        )
        y += BAR
    target = row.workload.targets.get(BASELINE)
    if target is not None and SUBJECT in ratios:
        x = LEFT + target / MOST * SCALE
        offset = first + BAR * [name for name in names if name in ratios].index(SUBJECT)
        parts.append(
            f'<line class="target" x1="{x:.1f}" y1="{offset - 2}" x2="{x:.1f}" y2="{offset + BAR}">'
            f"<title>target {target:.2f}</title></line>"
        )
    return parts, y + GAP
