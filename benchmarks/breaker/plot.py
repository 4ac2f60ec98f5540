"""The picture of the benchmark, as SVG text: what each method halts of what should pass, and of what should not.

    python benchmarks/breaker/plot.py RESULTS.json PICTURE.svg

A method is a dot. To the right it halts more harmless changes, upwards it catches more harmful ones: the place to be
is the upper left corner. The horizontal axis is stretched near zero, where a few percent are a few alarms a month.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 700, 540
LEFT, RIGHT, TOP, BOTTOM = 58, 668, 104, 486  # the plot, in pixels
CEILING = 38  # texts may stand above the plot, up to here
BEND = 0.03  # the share at which the horizontal axis turns from linear to logarithmic
MARKS_X, MARKS_Y = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
OURS = "fuseline"  # methods whose name starts so are drawn in the strong colour
LETTER, LINE, DOT = 6.7, 15, 5.5  # pixels: of a letter at most, of a line of text, of a dot's radius
STYLE = """
text { font: 12px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
text { fill: #5b5e62; } .name { fill: #1b1c1d; font-weight: 600; } .title { font-size: 15px; font-weight: 640; }
.title { fill: #1b1c1d; } .halo { paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round; }
.grid { stroke: #e3e1dc; } .lead { stroke: #9a9ca0; } circle { fill: #8f9297; stroke: #ffffff; stroke-width: 1.5; }
.ours circle { fill: #2d5f9a; } .ours .name { fill: #2d5f9a; } .goal { fill: #eaf4ee; }
"""


@dataclass(frozen=True)
class Point:
    """A method's place in pixels, and what is written beside it."""

    x: float
    y: float
    name: str
    note: str

    @property
    def width(self) -> float:
        """Pixels that its text takes at most."""
        return LETTER * max(len(self.name), len(self.note))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have something in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    @property
    def inside(self) -> bool:
        """Whether it is within the picture, under the title and above the axis."""
        return self.left >= LEFT and self.right <= WIDTH - 4 and self.top >= CEILING and self.bottom <= BOTTOM


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw the methods of a result of `run.py` into an SVG file.

    Args:
        results: `methods`, by name: `clean`, `harmful` and `harmless`, each `[halted, asked]`. A method that was not
            asked about harmful or harmless batches has no place in the picture and is named under it.
    """
    found, left_out = [], []
    for name, counts in results["methods"].items():
        caught, halted = share(counts["harmful"]), share(counts["harmless"])
        if caught is None or halted is None:
            left_out.append(name)
        else:
            found.append(Point(across(halted), up(caught), name, false_halts(*counts["clean"])))
    under = f"Not measured: {', '.join(left_out)}" if left_out else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_picture(found, under), encoding="utf-8")


def share(counts: Sequence[int]) -> float | None:
    """The share that was halted; None if nothing was asked."""
    halted, asked = counts
    return halted / asked if asked else None


def false_halts(halted: int, asked: int) -> str:
    """What is said of clean batches.

    >>> false_halts(0, 96_000), false_halts(3, 96_000), false_halts(400, 1_000), false_halts(0, 0)
    ('0 of 96,000 clean halted', '1 clean in 32,000 halted', '40 % of clean halted', 'clean: not measured')
    """
    if not asked:
        return "clean: not measured"
    if not halted:
        return f"0 of {asked:,} clean halted"
    if halted / asked >= 0.05:
        return f"{halted / asked:.0%} of clean halted".replace("%", " %")
    return f"1 clean in {round(asked / halted):,} halted"


def across(value: float) -> float:
    """Pixels from the left of a share, stretched near zero.

    >>> across(0.0), across(1.0), round(across(0.1))
    (58.0, 668.0, 337)
    """
    return LEFT + (RIGHT - LEFT) * math.asinh(value / BEND) / math.asinh(1.0 / BEND)


def up(value: float) -> float:
    """Pixels from the top of a share.

    >>> up(0.0), up(1.0)
    (486.0, 104.0)
    """
    return BOTTOM - (BOTTOM - TOP) * value


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────


def _picture(points: Sequence[Point], under: str) -> str:
    label = "Harmful batches caught against harmless changes halted, by method"
    drawn = "".join(_drawn(point, box) for point, box in _placed(points))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{label}"><title>{label}</title><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        f'<text class="title" x="14" y="26">↑ Harmful batches caught</text>{_axes()}{drawn}'
        f'<text class="title" x="{RIGHT}" y="{HEIGHT - 14}" text-anchor="end">Harmless changes halted →</text>'
        f'<text x="14" y="{HEIGHT - 14}">{escape(under)}</text></svg>\n'
    )


def _axes() -> str:
    goal = f'<rect class="goal" x="{LEFT}" y="{TOP}" width="{across(0.1) - LEFT:.1f}" height="{up(0.8) - TOP:.1f}"/>'
    lines = "".join(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{up(v):g}" y2="{up(v):g}"/>' for v in MARKS_Y)
    lines += "".join(
        f'<line class="grid" x1="{across(v):.1f}" x2="{across(v):.1f}" y1="{TOP}" y2="{BOTTOM}"/>' for v in MARKS_X
    )
    marks = "".join(f'<text x="{LEFT - 8}" y="{up(v) + 4:g}" text-anchor="end">{100 * v:g} %</text>' for v in MARKS_Y)
    marks += "".join(
        f'<text x="{across(v):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{100 * v:g} %</text>' for v in MARKS_X
    )
    return goal + lines + marks


def _placed(points: Sequence[Point]) -> Iterator[tuple[Point, Box]]:
    """Each method with the place of its text: the nearest one that covers no dot and no other text."""
    taken = [Box(p.x - DOT, p.y - DOT, p.x + DOT, p.y + DOT) for p in points]
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        box = next((b for b in _places(point) if b.inside and not any(b.meets(t) for t in taken)), next(_places(point)))
        taken.append(box)
        yield point, box


def _places(point: Point) -> Iterator[Box]:
    """Places for its text: right, left, then further and further below and above."""
    for step in range(0, HEIGHT, 6):
        for away in (step, -step):
            for left in (point.x + 10, point.x - 10 - point.width):
                top = point.y - LINE + away
                yield Box(left, top, left + point.width, top + 2 * LINE)


def _drawn(point: Point, box: Box) -> str:
    right = box.left > point.x
    x, anchor = (box.left, "start") if right else (box.right, "end")
    kind = "ours" if point.name.lower().startswith(OURS) else "peer"
    middle = box.top + LINE
    lead = f'<line class="lead" x1="{point.x:.1f}" y1="{point.y:.1f}" x2="{x:.1f}" y2="{middle:.1f}"/>'
    return (
        f'<g class="{kind}">{lead if abs(middle - point.y) > LINE else ""}'
        f'<circle cx="{point.x:.1f}" cy="{point.y:.1f}" r="{DOT}"/>'
        f'<text class="name halo" x="{x:.1f}" y="{box.top + 12:.1f}" text-anchor="{anchor}">{escape(point.name)}</text>'
        f'<text class="halo" x="{x:.1f}" y="{box.top + 26:.1f}" text-anchor="{anchor}">{escape(point.note)}</text></g>'
    )


if __name__ == "__main__":
    plot(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
