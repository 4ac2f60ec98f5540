from __future__ import annotations

import pytest

from fuseline.checkup import STAGES, examine
from fuseline.records import Finding


def wrong(found: list[Finding]) -> Finding:
    """The one that is wrong."""
    one = [f for f in found if not f.ok]
    assert len(one) == 1, found
    return one[0]


def test_a_project_that_is_well_has_a_finding_for_every_stage(tiny):
    assert [f.what for f in examine(tiny.line)] == [
        "project.toml: target bought",
        "rows: 1,200 labelled, 3 features",
        "train.py: returned model",
        "predict: finite scores for 32 rows",
        "predict again: the same scores",
        "predict one by one: the same scores",
        "postprocess: column score",
        "metrics: mean_score",
    ]
    assert all(f.ok and not f.fix for f in examine(tiny.line))
    assert list(tiny.store.list("")) == []


def test_stages_are_named_as_their_findings_begin(tiny):
    assert [f.what.split(":")[0] for f in examine(tiny.line)] == list(STAGES)


def test_scores_that_are_drawn_at_random_are_found(tiny):
    tiny.write("predict.py", "import numpy\ndef predict(data, artifacts): return numpy.random.rand(len(data))\n")
    again, alone = (f for f in examine(tiny.line) if not f.ok)
    assert again.what == "predict again: the same scores"
    assert "drawn at random" in again.fix
    assert alone.what == "predict one by one: the same scores"


def test_scores_that_depend_on_the_rows_beside_are_found(tiny):
    tiny.write("predict.py", "def predict(data, artifacts): return data['price'] - data['price'].mean()\n")
    finding = wrong(examine(tiny.line))
    assert finding.what == "predict one by one: the same scores"
    assert "must not depend on the rows beside it" in finding.fix


def test_rounding_in_another_order_is_no_dependence(tiny):
    text = "def predict(data, artifacts): return data['price'] * (1 + 1e-13 * len(data))\n"
    tiny.write("predict.py", text)
    assert all(f.ok for f in examine(tiny.line))


def test_nan_scores_are_found_and_end_the_look(tiny):
    tiny.write("predict.py", "def predict(data, artifacts): return data['age'] * float('nan')\n")
    found = examine(tiny.line)
    assert wrong(found) is found[-1]
    assert found[-1].what == "predict"
    assert "NaN" in found[-1].fix


def test_scores_of_another_length_are_found(tiny):
    tiny.write("predict.py", "def predict(data, artifacts): return data['price'][:-1]\n")
    finding = wrong(examine(tiny.line))
    assert finding.what == "predict"
    assert "(31,)" in finding.fix


def test_an_artifact_that_cannot_be_stored_is_found_by_name(tiny):
    tiny.write("train.py", "def train(data, target): return {'model': 1, 'scale': lambda x: x}\n")
    finding = wrong(examine(tiny.line))
    assert finding.what == "train.py"
    assert "'scale'" in finding.fix
    assert "no lambdas" in finding.fix


def test_a_train_py_that_fails_is_found_with_its_line(tiny):
    tiny.write("train.py", "def train(data, target):\n    return data['prize']\n")
    finding = wrong(examine(tiny.line))
    assert finding.what == "train.py"
    assert "train.py, line 2" in finding.fix


def test_a_bound_on_a_figure_that_metrics_does_not_return_is_found(tiny):
    tiny.setting("\n[business]\nrevenue = { min = 0 }\n")
    finding = wrong(examine(tiny.line))
    assert finding.what == "metrics: mean_score"
    assert "bounds revenue under [business]" in finding.fix


def test_a_bound_on_a_figure_that_outcomes_returns_is_well(tiny):
    sold = "def outcomes(predictions): return {'sold': (predictions['bought'] == 'yes').mean() / len(predictions)}\n"
    tiny.write("predict.py", sold)
    tiny.setting("\n[business]\nsold = { min = 0 }\n")
    found = examine(tiny.line)
    assert found[-1] == Finding(True, "metrics: none; with outcomes: sold")
    tiny.setting("\n[business]\nsolid = { min = 0 }\n")
    assert (
        "bounds solid under [business], which neither metrics() nor outcomes() returns" in wrong(examine(tiny.line)).fix
    )


def test_outcomes_that_fail_are_found(tiny):
    tiny.write("predict.py", "def outcomes(predictions): return {'sold': predictions['sale'].sum()}\n")
    finding = wrong(examine(tiny.line))
    assert finding.what == "metrics"
    assert "outcomes in predict.py failed: KeyError" in finding.fix


def test_a_source_that_is_not_there_is_found(tiny):
    (tiny.folder.parent.parent / "data" / "history.parquet").unlink()
    finding = wrong(examine(tiny.line))
    assert finding.what == "rows"
    assert "does not exist" in finding.fix


def test_a_postprocess_that_loses_rows_is_found(tiny):
    tiny.write("predict.py", "def postprocess(scores, data): return {'twice': scores[1:] * 2}\n")
    assert wrong(examine(tiny.line)).what == "postprocess"


def test_further_columns_are_told(tiny):
    tiny.write("predict.py", "def postprocess(scores, data): return {'twice': scores * 2}\n")
    assert examine(tiny.line)[6].what == "postprocess: columns score, twice"


def test_without_predict_py_the_model_scores(tiny):
    (tiny.folder / "predict.py").unlink()
    assert examine(tiny.line)[-1].what == "metrics: none"


def test_a_rare_class_is_in_the_handful_that_is_trained_on(tiny, rows):
    many = rows(12_000, 1)
    many["bought"] = "no"
    many.loc[many.index[-6:], "bought"] = "yes"
    many.to_parquet(tiny.folder.parent.parent / "data" / "history.parquet", index=False)
    assert all(f.ok for f in examine(tiny.line)), examine(tiny.line)


@pytest.mark.parametrize("target", ["price", "age"])
def test_a_regression_is_looked_at_as_well(target, tiny):
    tiny.write("project.toml", f'target = "{target}"\nid = "id"\n[sources.history]\npath = "data/history.parquet"\n')
    tiny.write(
        "train.py",
        "class Mean:\n    def predict(self, data): return [1.0] * len(data)\ndef train(data, target): return Mean()\n",
    )
    assert all(f.ok for f in examine(tiny.line)), examine(tiny.line)
