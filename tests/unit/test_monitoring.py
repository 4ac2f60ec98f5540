"""What the monitor says of batches: from clean ones to those that would do harm, and everything odd in between."""

from __future__ import annotations

import json
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from fuseline.breaker import HALTS
from fuseline.decide import verdict
from fuseline.monitoring import Monitoring
from fuseline.predictions import METRICS
from fuseline.profile import merge
from fuseline.records import Assessment, Cause


@pytest.fixture
def judge(trained):
    """`judge(rows)`: what the monitor says of a batch of these rows; nothing of it may be NaN in metrics.json."""
    return lambda batch: assessed(trained, batch)


def assessed(project, batch: pd.DataFrame) -> Assessment:
    project.deliver("day1", batch.drop(columns="bought", errors="ignore"))
    inference = project.line.inference("a1")
    plan = inference.plan()
    (job,) = plan.jobs
    done = inference.assess(job, [inference.score(job, piece) for _, piece in plan.pieces])
    finite(json.loads(project.store.get(project.line.batches.staged_key(job.batch, "a1", METRICS))))
    return done.assessment


def finite(value: object) -> None:
    match value:
        case dict():
            for inner in value.values():
                finite(inner)
        case list():
            for inner in value:
                finite(inner)
        case float():
            assert math.isfinite(value)


def kinds(found: Assessment) -> dict[str, str]:
    return {cause.kind: cause.level for cause in found.causes}


# ── change and harm ──────────────────────────────────────────────────────────────────────────────


def test_a_clean_batch_passes_without_causes(judge, rows):
    found = judge(rows(2_000, 2))
    assert (found.verdict, found.harm, found.causes) == ("pass", 0.0, ())
    assert {c.column for c in found.checks if c.name == "distance"} == {"price", "age", "colour"}
    assert not any(c.fired for c in found.checks)
    assert all(c.observed is not None and c.bound is not None for c in found.checks)


def test_the_reference_rows_themselves_pass(judge, rows):
    assert judge(rows(1_200, 1)).verdict == "pass"


@pytest.mark.parametrize("seed", range(3, 8))
def test_clean_batches_of_any_draw_do_not_halt(judge, rows, seed):
    assert judge(rows(400, seed)).verdict in ("pass", "warn")


def test_a_price_in_cents_halts_and_the_sentence_says_so_with_the_harm(judge, rows):
    batch = rows(2_000, 2)
    batch["price"] *= 100
    found = judge(batch)
    assert found.verdict == "halt"
    assert found.fault == "data"
    assert found.harm is not None
    assert found.harm > 0.02
    first = found.causes[0]
    assert (first.kind, first.column, first.level) == ("distance", "price", "halt")
    assert first.sentence.startswith("price looks multiplied by 100 (median ")
    assert "AUC would fall from " in first.sentence
    assert first.observed > first.bound
    assert first.harm == pytest.approx(found.harm)


def test_other_rows_of_a_column_that_the_model_hardly_uses_warn_at_most(judge, rows):
    batch = rows(2_000, 2)
    batch["age"] += 15  # the outcome does not depend on it
    found = judge(batch)
    assert found.verdict == "warn"
    assert [(c.column, c.level) for c in found.causes] == [("age", "warn")]
    assert "little harm" in found.sentence
    assert found.harm < 0.01


def test_a_harmless_shift_of_the_mix_of_rows_warns_at_most(judge, rows):
    batch = rows(6_000, 2)
    chosen = np.random.default_rng(0).random(len(batch)) < np.where(batch["price"] > 100, 1.0, 0.7)
    found = judge(batch[chosen])
    assert found.verdict in ("pass", "warn")
    assert found.harm < 0.02


def test_a_column_that_is_constant_halts_or_warns_by_its_harm(judge, rows):
    found = judge(rows(1_000, 2).assign(price=100.0))
    assert found.verdict == "halt"
    assert "price is 100 in every row" in found.sentence


def test_a_harmless_column_that_is_constant_warns(judge, rows):
    found = judge(rows(1_000, 2).assign(age=40.0))
    assert found.verdict == "warn"
    assert "age is" in found.sentence


def test_a_column_that_is_wholly_null_where_nulls_are_allowed_is_averdict(judge, rows):
    found = judge(rows(1_000, 2).assign(age=np.nan))
    assert found.verdict in ("warn", "halt")
    assert any("age is null in 100 % of rows" in c.sentence for c in found.causes)


def test_a_column_that_is_wholly_null_where_training_had_no_null_halts(judge, rows):
    found = judge(rows(1_000, 2).assign(price=np.nan))
    assert found.verdict == "halt"
    assert found.harm is None
    assert found.sentence == "all rows were rejected: price is null (1,000)"


def test_a_category_that_training_never_saw_is_named(judge, rows):
    batch = rows(1_000, 2)
    batch.loc[batch["colour"] == "red", "colour"] = "crimson"
    found = judge(batch)
    assert found.verdict == "halt"
    assert "colour has" in found.sentence
    assert "never seen (e.g. 'crimson')" in found.sentence


def test_one_row_is_judged(judge, rows):
    found = judge(rows(1, 2))
    assert found.verdict in ("pass", "warn")


def test_one_odd_row_is_judged(judge, rows):
    found = judge(rows(1, 2).assign(price=1e300, age=-1e300, colour="x"))
    assert found.verdict in ("warn", "halt", "inconclusive", "pass")


def test_changes_that_are_harmless_alone_halt_where_they_do_harm_together(trained, rows):
    batch, rng = rows(3_000, 2), np.random.default_rng(0)
    batch["price"] = np.where(rng.random(len(batch)) < 0.3, batch["price"] * 100, batch["price"])
    batch["colour"] = np.where(rng.random(len(batch)) < 0.7, "crimson", batch["colour"])
    costs = {c.column: c.harm for c in assessed(trained, batch).causes}
    together = assessed(trained, batch).harm
    assert costs.keys() == {"price", "colour"}
    assert together > max(costs.values())
    bound = (max(costs.values()) + together) / 2.0
    trained.setting(f"[checks]\ntolerance = {bound / HALTS}\n")
    found = assessed(trained, batch)
    assert found.verdict == "halt"
    assert "; together: AUC would fall from " in found.sentence
    assert [c.level for c in found.causes] == ["halt", "warn", "warn"]


def test_the_tolerance_of_the_project_decides_what_is_harm(trained, rows):
    batch = rows(1_000, 2)
    batch["price"] *= 100
    trained.setting("[checks]\ntolerance = 0.5\n")
    found = assessed(trained, batch)
    assert found.verdict == "warn"
    assert found.harm > 0.02


# ── exact checks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bad", "verdict"), [(0, "pass"), (1, "warn"), (50, "warn"), (51, "halt"), (999, "halt")])
def test_rejected_rows_warn_up_to_their_share_and_halt_beyond(judge, rows, bad, verdict):
    batch = rows(1_000, 2)
    batch.loc[batch.index[:bad], "price"] = np.nan
    found = judge(batch)
    assert kinds(found).get("rejected") == {"pass": None}.get(verdict, verdict)
    assert found.verdict == verdict
    check = next(c for c in found.checks if c.name == "rejected rows")
    assert (check.observed, check.bound) == (bad / 1_000, 0.05)
    if bad:
        cause = next(c for c in found.causes if c.kind == "rejected")
        assert cause.sentence == f"{bad} of 1,000 rows were rejected: price is null ({bad})"


@pytest.mark.parametrize(("twice", "verdict"), [(1, "warn"), (2, "halt")])
def test_repeated_ids_warn_up_to_their_share_and_halt_beyond(judge, rows, twice, verdict):
    batch = rows(1_000, 2)
    batch.loc[batch.index[1 : twice + 1], "id"] = batch["id"].iloc[0]
    found = judge(batch)
    assert found.verdict == verdict
    assert kinds(found)["duplicates"] == verdict
    cause = next(c for c in found.causes if c.kind == "duplicates")
    assert cause.sentence == f"0.{twice}0% of the rows repeat an id that was there before"


@pytest.mark.parametrize(("count", "halts"), [(499, True), (500, False), (1_000, False), (2_000, False), (2_001, True)])
def test_half_and_twice_the_expected_rows_are_the_bounds(trained, rows, count, halts):
    trained.setting("[checks]\nexpected_rows = 1000\n")
    found = assessed(trained, rows(count, 2))
    assert ("rows" in kinds(found)) == halts
    assert (found.verdict == "halt") == halts
    if halts:
        assert f"{count:,} rows where about 1,000 are usual" in {c.sentence for c in found.causes}


def test_rejected_rows_count_as_rows_of_the_batch(trained, rows):
    trained.setting("[checks]\nexpected_rows = 1000\nmax_rejected = 1.0\n")
    batch = rows(1_000, 2)
    batch.loc[batch.index[:600], "price"] = np.nan
    assert assessed(trained, batch).verdict == "warn"


def test_a_column_that_training_did_not_have_warns(judge, rows):
    found = judge(rows(500, 2).assign(size=1))
    assert found.verdict == "warn"
    assert found.sentence == "training did not have the column size; not used"


# ── business figures ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        ("{ min = 0.99 }", "mean_score is 0.55, below its bound of 0.99"),
        ("{ max = 0.01 }", "mean_score is 0.55, above its bound of 0.01"),
        ("{ min = 0.01, max = 0.99 }", ""),
        ("{ min = 0.01 }", ""),
    ],
)
def test_a_figure_out_of_its_bounds_halts(trained, rows, bounds, sentence):
    trained.setting(f"[business]\nmean_score = {bounds}\n")
    found = assessed(trained, rows(1_000, 2))
    assert 0.5 < found.business["mean_score"] < 0.6
    if not sentence:
        assert found.verdict == "pass"
        assert any(c.name == "mean_score" and not c.fired for c in found.checks)
        return
    assert found.verdict == "halt"
    start, _, end = sentence.partition("0.55")
    assert found.sentence.startswith(start)
    assert found.sentence.endswith(end)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {'revenue': float('nan')}", "revenue is nan"),
        ("return {'revenue': float('inf')}", "revenue is inf"),
        ("return {}", "revenue was not returned by metrics()"),
        ("raise ValueError('no rates')", "metrics in predict.py failed: ValueError: no rates (predict.py, line 2)"),
        ("return 7", "metrics must return a dict of name to number, not 7"),
    ],
)
def test_a_figure_that_cannot_be_told_is_inconclusive(trained, rows, body, said):
    trained.recode(f"def metrics(predictions):\n    {body}\n")
    trained.setting("[business]\nrevenue = { min = 0 }\n")
    found = assessed(trained, rows(300, 2))
    assert found.verdict == "inconclusive"
    assert found.sentence == said
    assert "revenue" not in found.business


def test_a_figure_without_bounds_that_is_not_finite_is_left_out(trained, rows):
    trained.recode("def metrics(predictions):\n    return {'a': float('nan'), 'b': 2}\n")
    found = assessed(trained, rows(300, 2))
    assert (found.verdict, found.business) == ("pass", {"b": 2.0})


def test_metrics_sees_the_features_the_scores_and_how_many_rows_there_were(trained, rows):
    code = (
        "def metrics(predictions):\n"
        "    rows = predictions.attrs['rows']\n"
        "    return {'rows': rows, 'sample': len(predictions), 'earned': float((predictions['price'] * "
        "predictions['score']).mean() * rows)}\n"
    )
    trained.recode(code)
    found = assessed(trained, rows(6_000, 2))
    assert found.business["rows"] == 6_000
    assert found.business["sample"] == 5_000
    assert 200_000 < found.business["earned"] < 600_000


def test_a_model_that_fails_on_changed_rows_makes_the_harm_inconclusive(trained, rows):
    code = (
        "def predict(data, artifacts):\n"
        "    if data['age'].isna().mean() > 0.3 and len(data) != 700:\n        raise ValueError('no ages')\n"
        "    return artifacts['model'].predict_proba(data)\n"
    )
    trained.recode(code)
    found = assessed(trained, rows(700, 2).assign(age=np.nan))
    assert found.verdict == "inconclusive"
    assert found.harm is None
    assert "the harm of the change in age cannot be estimated" in found.sentence


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def test_the_worst_level_decides_and_its_cause_comes_first():
    rank = {"halt": 0, "inconclusive": 1, "warn": 2}
    for levels in product(rank, repeat=3):
        causes = [Cause(str(i), level, level=level) for i, level in enumerate(levels)]
        found = verdict(causes, (), 0.0)
        assert found.verdict == min(levels, key=rank.__getitem__)
        ranked = [rank[c.level] for c in found.causes]
        assert ranked == sorted(ranked)
        for level in rank:  # of one level they stay in their order
            kept = [c.kind for c in found.causes if c.level == level]
            assert kept == sorted(kept)


def test_without_causes_the_verdict_is_pass():
    assert verdict((), (), 0.0) == Assessment("pass", 0.0)


# ── shards ───────────────────────────────────────────────────────────────────────────────────────


def test_shards_that_are_merged_already_are_judged_alike(trained, rows, tmp_path):
    line, path = trained.line, tmp_path / "day1.parquet"
    batch = rows(1_000, 2).drop(columns="bought").assign(age=40.0)
    batch.to_parquet(path, index=False, row_group_size=250)
    trained.store.upload("inbox/tiny/day1.parquet", path)
    inference = line.inference("a1")
    scores = [inference.score(job, piece) for job, piece in inference.plan().pieces]
    monitoring = Monitoring(line.project.config, line.models.open("v0001"))
    found = monitoring.assess(scores)
    assert (len(scores), found.verdict) == (4, "warn")
    assert monitoring.assess(scores, whole=merge([s.profile for s in scores])) == found
    assert monitoring.assess(scores[::-1]) == found
