"""Pictures of figures: a chart of characters for the terminal, and the same as SVG, drawn by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Series = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 64, 14
_LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 60, 50, 520, 260
# Okabe and Ito's, for readers who do not tell every colour apart; as in scripts/bench/chart.py.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLE = """text { font: 12px system-ui, sans-serif; fill: #24292f; } .title { font-weight: 600; }
.axis { stroke: #8c959f; stroke-width: 1; } .limit { stroke: #24292f; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .limit { stroke: #e6edf3; } }"""


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The powers of ten around them, since latencies span several."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return float(low), float(max(high, low + 1))


def chart(points: Series, x_title: str, y_title: str, limit: float) -> str:
    """One series, logarithmic upwards, with a line at the limit."""
    low, high = _scale([y for _, y in points] + [limit])
    right = max([x for x, _ in points], default=1.0) or 1.0

    def line(y: float) -> int:
        share = (math.log10(max(y, 10**low)) - low) / (high - low)
        return round((1 - min(1.0, share)) * (_HEIGHT - 1))

    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    grid[line(limit)] = ["-"] * _WIDTH
    for x, y in points:
        grid[line(y)][min(_WIDTH - 1, int(x / right * (_WIDTH - 1)))] = "o"
    labels = {line(10.0**power): f"{10.0**power:g}" for power in range(int(low), int(high) + 1)}
    labels[line(limit)] = f"{limit:g}"
    rows = [f"{labels.get(number, ''):>8} |{''.join(cells).rstrip()}" for number, cells in enumerate(grid)]
    foot = f"{'':8} +{'-' * _WIDTH}\n{'0':>10}{right:>{_WIDTH - 1}.0f} {x_title}"
    return "\n".join([f"{y_title:>8}", *rows, foot])


def svg(
    series: Mapping[str, Series], title: str, limit: float | None = None, *, from_zero: bool = False
) -> str:
    """Lines with a mark at each point; readable on light and dark pages. Logarithmic upwards, unless it is to begin at zero."""
    every = [point for points in series.values() for point in points]
    right = max([x for x, _ in every], default=1.0) or 1.0
    values = [y for _, y in every] + ([limit] if limit is not None else [])
    low, high = (0.0, max([*values, 1e-9])) if from_zero else _scale(values)

    def place(x: float, y: float) -> tuple[float, float]:
        level = y if from_zero else math.log10(max(y, 10**low))
        share = min(1.0, max(0.0, (level - low) / (high - low)))
        return _LEFT + x / right * _PLOT_WIDTH, _TOP + (1 - share) * _PLOT_HEIGHT

    bottom = _TOP + _PLOT_HEIGHT
    parts = [f'<text class="title" x="0" y="16">{escape(title)}</text>']
    ticks = (
        [high * part / 4 for part in range(5)]
        if from_zero
        else [10.0**p for p in range(int(low), int(high) + 1)]
    )
    for tick in ticks:
        y = place(0, tick)[1]
        parts.append(f'<line class="axis" x1="{_LEFT - 4}" y1="{y:.1f}" x2="{_LEFT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for part in range(5):
        x = _LEFT + part / 4 * _PLOT_WIDTH
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{right * part / 4:.0f}</text>'
        )
    parts.append(f'<path class="axis" fill="none" d="M{_LEFT} {_TOP} V{bottom} H{_LEFT + _PLOT_WIDTH}"/>')
    if limit is not None:
        y = place(0, limit)[1]
        parts.append(
            f'<line class="limit" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _PLOT_WIDTH}" y2="{y:.1f}"/>'
        )
    legend = _LEFT
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places[:200]]
        parts.append(f'<text x="{legend}" y="36" style="fill:{colour}">{escape(name)}</text>')
        legend += 24 + 7 * len(name)
    width, height = _LEFT + _PLOT_WIDTH + 30, bottom + 30
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return "\n".join(
        [head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", *parts, "</svg>", ""]
    )
