"""Charts as SVG text, made from plain numbers.

The horizontal axis is in percent and the vertical one in pixels, so that a chart fills its place on a phone and on
a wide screen while text, marks and lines keep their size. Colours come from the page's CSS classes; a shape or a
position says the same. Every mark has a title.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fuseline.narrative import number

HEIGHT, TOP, BOTTOM = 190, 14, 26  # pixels: the whole, and the margins above and below the plot
GAP = 3  # readings that are further apart than so many batches are not joined by a line
AXIS = 46  # pixels for the labels of the vertical axis


@dataclass(frozen=True)
class Reading:
    """One batch of the metric's chart.

    Attributes:
        title: what a reader is told of it.
        version: readings of one version are joined by a line.
        value, se: the realised metric and its standard error; None where no labels came.
        reference: the version's metric on held-out rows.
        limit: the worst value that is tolerated.
    """

    title: str
    version: str
    value: float | None = None
    se: float | None = None
    reference: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Bar:
    """One batch of a chart of bars: `value` from the ground, `extra` on top; None where it is unknown."""

    title: str
    value: float | None
    extra: float = 0.0
    kind: str = "plain"


@dataclass(frozen=True)
class Scale:
    """Where `n` batches and the values `low` to `high` are in a plot."""

    n: int
    low: float
    high: float

    def x(self, index: float) -> str:
        """The middle of a batch, in percent of the width.

        >>> Scale(4, 0, 1).x(0)
        '12.5%'
        """
        return f"{self.across(index):.5g}%"

    def across(self, index: float) -> float:
        """The same as a bare number, 0 to 100."""
        return (index + 0.5) / self.n * 100

    def y(self, value: float) -> float:
        """Pixels from the top.

        >>> Scale(4, 0, 1).y(1.0), Scale(4, 0, 1).y(0.0)
        (14.0, 164.0)
        """
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values from at most `low` to at least `high`, about so many steps.

    >>> ticks(0.0, 0.05)
    [0.0, 0.02, 0.04, 0.06]
    """
    rough = max(high - low, 1e-6, 1e-4 * max(abs(low), abs(high))) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def ticked(marks: Sequence[float]) -> list[str]:
    """The labels of an axis, all with as many decimals as the finest of them needs.

    >>> ticked([0.88, 0.9, 0.92]), ticked([0.0, 2000.0])
    (['0.88', '0.90', '0.92'], ['0', '2,000'])
    """
    texts = [number(mark) for mark in marks]
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return texts if any("e" in text for text in texts) else [f"{mark:,.{decimals}f}" for mark in marks]


def metric_chart(name: str, readings: Sequence[Reading], ends: tuple[str, str]) -> str:
    """The realised metric with a band of one standard error, against its reference and its limit."""
    seen = [v for r in readings for v in (r.reference, r.limit) if v is not None]
    seen += [v for r in readings if r.value is not None for v in (r.value - (r.se or 0), r.value + (r.se or 0))]
    if not seen:
        return ""
    marks = ticks(min(seen), max(seen))
    scale = Scale(len(readings), marks[0], marks[-1])
    known = [(i, r) for i, r in enumerate(readings) if r.value is not None]
    bands = [_band(scale, run) for run in _runs(known)]
    lines = [_steps(scale, [r.reference for r in readings], "reference")]
    lines.append(_steps(scale, [r.limit for r in readings], "limit"))
    dots = [_dot(scale, i, r) for i, r in known]
    return _figure(f"{name} of each batch whose labels came", scale, marks, bands, [*lines, *dots], ends)


def bar_chart(name: str, bars: Sequence[Bar], ends: tuple[str, str], limit: float | None = None) -> str:
    """A bar for each batch, with a line at `limit`. Bars far beyond it are cut, with an arrow and their figure."""
    tallest = max((b.value + b.extra for b in bars if b.value is not None), default=0.0)
    if limit:
        tallest = min(max(tallest, limit * 1.25), limit * 6)
    marks = ticks(0.0, tallest or 1.0)
    scale = Scale(len(bars), 0.0, marks[-1])
    lines = [_steps(scale, [limit or None] * len(bars), "limit")]
    drawn = [_bar(scale, i, b) for i, b in enumerate(bars)]
    return _figure(name, scale, marks, [], [*drawn, *lines], ends)


def ratio_bar(observed: float | None, bound: float | None, fired: bool) -> str:
    """A small bar of a figure against its bound, which is the tick in the middle; empty where that says nothing."""
    if observed is None or bound is None or not math.isfinite(observed / bound if bound > 0 else math.nan):
        return ""
    width = max(0.0, min(observed / bound, 2.0)) * 50
    title = f"{number(observed)} against {number(bound)}: {'beyond the bound' if fired else 'within the bound'}"
    return (
        f'<svg class="ratio {"beyond" if fired else "within"}" role="img" aria-label="{title}"><title>{title}</title>'
        f'<rect class="track" width="100%" height="6" y="5" rx="3"/>'
        f'<rect class="fill" width="{width:.3g}%" height="6" y="5" rx="3"/>'
        f'<rect class="tick" x="50%" width="1.5" height="16"/></svg>'
    )


def share_bar(share: float, title: str) -> str:
    """A small bar of a share, 0 to 1."""
    width = max(0.0, min(share, 1.0)) * 100
    return (
        f'<svg class="ratio share" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<rect class="track" width="100%" height="6" y="5" rx="3"/>'
        f'<rect class="fill" width="{width:.3g}%" height="6" y="5" rx="3"/></svg>'
    )


def _figure(
    name: str,
    scale: Scale,
    marks: Sequence[float],
    stretched: Sequence[str],
    sized: Sequence[str],
    ends: tuple[str, str],
) -> str:
    """A chart of its parts: `stretched` ones in units of percent, `sized` ones in percent and pixels."""
    label, labels = escape(name), zip(marks, ticked(marks), strict=True)
    axis = "".join(f'<text x="{AXIS - 10}" y="{scale.y(v) + 4}" text-anchor="end">{text}</text>' for v, text in labels)
    grid = "".join(f'<line class="grid" x1="0" x2="100%" y1="{scale.y(v)}" y2="{scale.y(v)}"/>' for v in marks)
    dates = f'<text x="0" y="{HEIGHT - 6}">{escape(ends[0])}</text>'
    dates += f'<text x="100%" y="{HEIGHT - 6}" text-anchor="end">{escape(ends[1])}</text>'
    inner = f'<svg width="100%" height="{HEIGHT}" viewBox="0 0 100 {HEIGHT}" preserveAspectRatio="none">'
    return (
        f'<div class="plot"><svg class="axis" width="{AXIS}" height="{HEIGHT}" aria-hidden="true">{axis}</svg>'
        f'<svg class="chart" height="{HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>{grid}'
        f"{inner}{''.join(stretched)}</svg>{''.join(sized)}{dates}</svg></div>"
    )


def _steps(scale: Scale, values: Sequence[float | None], kind: str) -> str:
    """A level for each run of equal values, from the first batch's left edge to the last one's right edge."""
    drawn = []
    start = 0
    for i in range(1, len(values) + 1):
        if i < len(values) and values[i] == values[start]:
            continue
        level = values[start]
        if level is not None:
            x1, x2, y = scale.x(start - 0.5), scale.x(i - 0.5), scale.y(level)
            drawn.append(f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}"/>')
        start = i
    return "".join(drawn)


def _runs(known: Sequence[tuple[int, Reading]]) -> list[list[tuple[int, Reading]]]:
    """The readings in groups of one version, without long gaps between them."""
    runs: list[list[tuple[int, Reading]]] = []
    for item in known:
        last = runs[-1][-1] if runs else None
        if last and last[1].version == item[1].version and item[0] - last[0] <= GAP:
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _band(scale: Scale, run: Sequence[tuple[int, Reading]]) -> str:
    line, upper, lower = [], [], []
    for i, reading in run:
        assert reading.value is not None
        x, error = f"{scale.across(i):.5g}", reading.se or 0.0
        line.append(f"{x},{scale.y(reading.value)}")
        upper.append(f"{x},{scale.y(reading.value + error)}")
        lower.append(f"{x},{scale.y(reading.value - error)}")
    points = " ".join([*upper, *reversed(lower)])
    return f'<polygon class="band" points="{points}"/><polyline class="line" points="{" ".join(line)}"/>'


def _dot(scale: Scale, index: int, reading: Reading) -> str:
    assert reading.value is not None
    x, error = scale.x(index), reading.se or 0.0
    whisker = f'<line class="error" x1="{x}" x2="{x}" y1="{scale.y(reading.value - error)}" '
    whisker += f'y2="{scale.y(reading.value + error)}"/>'
    dot = f'<circle class="dot" cx="{x}" cy="{scale.y(reading.value)}" r="3.5"/>'
    return f"<g><title>{escape(reading.title)}</title>{whisker}{dot}</g>"


def _bar(scale: Scale, index: int, bar: Bar) -> str:
    ground, title = scale.y(0.0), f"<title>{escape(bar.title)}</title>"
    left, width = f"{scale.across(index - 0.36):.5g}%", f"{72 / scale.n:.5g}%"
    if bar.value is None:
        return (
            f'<g class="unknown">{title}<text x="{scale.x(index)}" y="{ground - 4}" text-anchor="middle">?</text></g>'
        )
    total = bar.value + bar.extra
    top = scale.y(min(bar.value, scale.high))
    shapes = _rect("value", left, width, top, max(ground - top, 1.5))
    if bar.extra:
        height = max(top - scale.y(min(total, scale.high)), 1.0)
        shapes += _rect("extra", left, width, round(top - height, 1), height)
    if total > scale.high:
        text = f"{number(total)} ↑"
        shapes += f'<text x="{scale.x(index)}" y="{TOP - 3}" text-anchor="middle">{text}</text>'
    return f'<g class="bar {bar.kind}">{title}{shapes}</g>'


def _rect(kind: str, left: str, width: str, top: float, height: float) -> str:
    return f'<rect class="{kind}" x="{left}" width="{width}" y="{top:g}" height="{round(height, 1):g}"/>'
