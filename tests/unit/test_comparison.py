from __future__ import annotations

import pytest

from fuseline import records as r
from fuseline.comparison import closeness, compare, sentence
from fuseline.opinion import Column, Opinion


def theirs(name: str, drifted: bool | None, method: str = "Wasserstein distance (normed)") -> Column:
    return Column(name, method, None if drifted is None else 0.2, 0.1, drifted)


def opinion(*drifted: str, of: tuple[str, ...] = ("price", "age", "colour", "score")) -> Opinion:
    return Opinion(tuple(theirs(name, name in drifted) for name in of), {}, len(drifted) / len(of), 400, 300)


def checks(*changed: str) -> tuple[r.Check, ...]:
    return (
        r.Check("rejected rows", 0.01, 0.05),
        *(r.Check("distance", 0.9 if c in changed else 0.01, 0.04, c) for c in ("price", "age", "colour")),
        *(r.Check("nulls", 0.02, 0.05, c) for c in ("price", "age", "colour")),
        r.Check("score distance", 0.9 if "score" in changed else 0.01, 0.04),
        r.Check("mean_score", 0.4, 0.2, at_least=True),
    )


def cause(text: str, harm: float, level: r.Level, column: str | None = "price", kind: str = "distance") -> r.Cause:
    return r.Cause(kind, text, column, harm, 0.01, harm, level=level)


PASS = r.Assessment("pass", 0.0, (), checks())
HALT = r.Assessment(
    "halt",
    0.18,
    (cause("price looks multiplied by 100: AUC would fall from 0.912 to 0.732", 0.18, "halt"),),
    checks("price", "score"),
)


def warn(harm: float | None = 0.004, kind: str = "distance") -> r.Assessment:
    return r.Assessment("warn", harm, (cause("age is older", harm or 0.0, "warn", "age", kind),), checks("age"))


def said(assessment: r.Assessment, second: Opinion, metric: str | None = "auc") -> str:
    return sentence(assessment, second, compare(assessment, second), metric)


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────


def test_what_changed_comes_first_and_the_dearest_before_the_others():
    rows = compare(HALT, opinion("colour"))
    assert [row.column for row in rows] == ["price", "score", "colour", "age"]
    assert [row.ours for row in rows] == [True, True, False, False]
    assert [row.differs for row in rows] == [True, True, True, False]
    assert [row.quiet for row in rows] == [False, False, False, True]
    assert [row.harm for row in rows] == [0.18, None, None, None]


def test_of_several_figures_of_a_column_the_one_furthest_beyond_or_nearest_to_its_bound_is_shown():
    named = {row.column: row.check.name for row in compare(HALT, opinion()) if row.check}
    assert named == {"price": "distance", "age": "nulls", "colour": "nulls", "score": "score distance"}


def test_a_fired_check_is_shown_before_one_that_cannot_fire():
    found = r.Assessment("halt", 0.1, (), (r.Check("nulls", 0.0, 0.0, "a"), r.Check("unseen", 0.5, 0.0, "a")))
    (row,) = compare(found, opinion(of=("a",)))
    assert row.check is not None and row.check.name == "unseen" and row.ours


def test_a_column_that_was_left_out_says_why():
    second = Opinion((theirs("age", False),), {"price": "the batch has no value in it"}, 0.0)
    rows = {row.column: row for row in compare(HALT, second)}
    assert rows["price"].left_out == "the batch has no value in it"
    assert rows["price"].theirs is None and not rows["price"].differs and not rows["price"].quiet


def test_what_only_we_look_at_is_shown_where_it_is_beyond_its_bound():
    pair = (r.Check("dependence", 0.9, 0.1, "price and age"), r.Check("dependence", 0.01, 0.1, "age and colour"))
    rows = compare(r.Assessment("halt", 0.1, (), (*checks(), *pair)), opinion())
    assert [row.column for row in rows if row.theirs is None] == ["price and age"]


def test_a_column_without_a_figure_of_theirs_is_no_difference():
    second = Opinion((theirs("price", None),), {}, 0.0)
    (row,) = compare(PASS, second)
    assert not row.differs


def test_a_figure_of_a_project_is_not_taken_for_a_score():
    assert {row.column for row in compare(PASS, opinion(of=("price",)))} == {"price"}


@pytest.mark.parametrize(
    ("check", "ratio"),
    [
        (r.Check("a", 2.0, 1.0), 2.0),
        (r.Check("a", 2.0, 1.0, at_least=True), 0.5),
        (r.Check("a", None, 1.0), 0.0),
        (r.Check("a", 1.0, None), 0.0),
        (r.Check("a", 1.0, 0.0), 0.0),
    ],
)
def test_closeness_is_the_share_of_the_bound_that_is_used(check, ratio):
    assert closeness(check) == ratio


# ── the sentence ─────────────────────────────────────────────────────────────────────────────────


def test_both_may_be_quiet():
    assert said(PASS, opinion()) == (
        "Both are quiet: Evidently calls none of 4 columns drifted, and every figure of Fuseline's is within its bound."
    )


def test_one_halts_where_the_other_sees_no_drift_of_the_data_set():
    assert said(HALT, opinion("price")) == (
        "Evidently calls 1 of 4 columns drifted, and not the data set as a whole; Fuseline halts: price looks "
        "multiplied by 100: AUC would fall from 0.912 to 0.732. Only Fuseline sees a change in score."
    )


def test_one_calls_the_data_set_drifted_where_the_other_finds_no_cost():
    assert said(warn(), opinion("price", "age", "colour")) == (
        "Evidently calls 3 of 4 columns drifted, and so the whole data set; Fuseline warns and publishes: age is "
        "older. All of it together is estimated to cost 0.004 AUC. Only Evidently calls price and colour drifted."
    )


def test_each_may_see_what_the_other_does_not():
    assert said(HALT, opinion("age", "colour")).endswith(
        "Only Evidently calls age and colour drifted; only Fuseline sees a change in price and score."
    )


def test_drift_without_a_figure_beyond_its_bound_is_chance_to_us():
    assert said(PASS, opinion("age")) == (
        "Evidently calls 1 of 4 columns drifted, and not the data set as a whole; Fuseline sees nothing beyond what "
        "chance does in so many rows. Only Evidently calls age drifted."
    )


def test_a_cost_too_small_for_a_figure_is_said_to_be_less():
    assert "None of it is estimated to cost 0.001 AUC." in said(warn(0.0), opinion("age"))
    assert "None of it is estimated to raise the RMSE by 0.1 %." in said(warn(4e-6), opinion("age"), "rmse")


def test_a_cost_in_rmse_is_a_share():
    assert "is estimated to raise the RMSE by 1.25 %." in said(warn(0.0125), opinion("age"), "rmse")
    assert "is estimated to cost 0.013 of the metric." in said(warn(0.0125), opinion("age"), None)


@pytest.mark.parametrize("assessment", [warn(None), warn(0.02, kind="drift"), HALT])
def test_no_cost_is_told_that_is_unknown_or_told_already(assessment):
    assert "All of it together" not in said(assessment, opinion("age"))


def test_an_inconclusive_verdict_is_told_too():
    lost = r.Assessment("inconclusive", None, (r.Cause("harm", "it cannot be estimated.", level="inconclusive"),))
    assert said(lost, opinion()) == (
        "Evidently calls none of 4 columns drifted; Fuseline cannot judge and holds it back: it cannot be estimated."
    )


def test_many_columns_are_counted_and_not_listed():
    names = tuple("abcdefgh")
    assert said(PASS, opinion(*names, of=names)).endswith("Only Evidently calls a, b, c and 5 more drifted.")
