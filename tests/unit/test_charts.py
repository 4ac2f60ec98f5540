from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.charts import HEIGHT, Bar, Reading, bar_chart, metric_chart, ratio_bar, ticks

ENDS = ("1 Mar", "8 Mar")
SMALL = st.floats(min_value=0, max_value=1e6)


def heights(svg: str, kind: str) -> list[float]:
    return [float(h) for h in re.findall(rf'class="{kind}" [^>]*height="([\d.]+)"', svg)]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_even_and_hold_both_ends(low: float, width: float) -> None:
    marks = ticks(low, low + width)
    slack = 1e-6 * max(abs(low), width, 1e-3)
    assert marks[0] <= low + slack and marks[-1] >= low + width - slack
    assert 2 <= len(marks) <= 8
    assert marks == sorted(set(marks))


@given(st.lists(st.builds(Bar, st.just("b"), st.none() | SMALL, SMALL), min_size=1, max_size=70), st.none() | SMALL)
def test_bars_stay_in_the_plot(bars: list[Bar], limit: float | None) -> None:
    svg = bar_chart("rows", bars, ENDS, limit)
    ElementTree.fromstring(svg)
    for top, height in re.findall(r'<rect class="(?:value|extra)" [^>]*y="([-\d.]+)" height="([\d.]+)"', svg):
        assert float(top) >= 0
        assert float(top) + float(height) <= HEIGHT


def test_taller_bars_are_higher() -> None:
    one, two = heights(bar_chart("rows", [Bar("a", 1.0), Bar("b", 2.0)], ENDS), "value")
    assert two == pytest.approx(2 * one, rel=0.02)


def test_a_bar_far_beyond_the_limit_is_cut_and_says_its_figure() -> None:
    svg = bar_chart("harm", [Bar("a", 0.01), Bar("b", 0.5, kind="halt")], ENDS, 0.02)
    assert "0.5 ↑" in svg
    assert "0.01 ↑" not in svg
    assert 'class="limit"' in svg


def test_an_unknown_figure_is_a_question_mark() -> None:
    assert ">?</text>" in bar_chart("harm", [Bar("a", None)], ENDS, 0.02)


def test_a_metric_without_any_figure_is_no_chart() -> None:
    assert metric_chart("AUC", [Reading("a", "v1")], ENDS) == ""


def test_readings_of_another_version_or_far_apart_are_not_joined() -> None:
    def reading(version: str, value: float | None) -> Reading:
        return Reading("<a>", version, value, 0.01 if value else None, 0.9, 0.88)

    near = [reading("v1", 0.9), reading("v1", None), reading("v1", 0.89)]
    far = [reading("v1", None)] * 4 + [reading("v1", 0.9), reading("v2", 0.92)]
    svg = metric_chart("AUC", near + far, ENDS)
    ElementTree.fromstring(svg)
    assert svg.count("<polyline") == 3
    assert svg.count("<circle") == 4
    assert svg.count("&lt;a&gt;") == 4


def test_a_reading_without_a_standard_error_is_a_point() -> None:
    svg = metric_chart("AUC", [Reading("a", "v1", 0.9)], ENDS)
    assert svg.count("<circle") == 1
    assert "reference" not in svg


@pytest.mark.parametrize(
    ("observed", "bound", "width"), [(0.5, 1.0, "25%"), (1.0, 1.0, "50%"), (9.0, 1.0, "100%"), (-1.0, 1.0, "0%")]
)
def test_the_bound_is_the_middle_of_a_ratio(observed: float, bound: float, width: float) -> None:
    assert f'<rect class="fill" width="{width}"' in ratio_bar(observed, bound, observed > bound)


@pytest.mark.parametrize(("observed", "bound"), [(None, 1.0), (1.0, None), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_ratio_that_says_nothing_is_not_drawn(observed: float | None, bound: float | None) -> None:
    assert ratio_bar(observed, bound, False) == ""


def test_a_ratio_says_in_words_whether_it_is_beyond() -> None:
    assert "0.47 against 0.041: beyond the bound" in ratio_bar(0.47, 0.041, True)
    assert "0.01 against 0.041: within the bound" in ratio_bar(0.01, 0.041, False)
