from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fuseline.errors import ModelFault
from fuseline.predictor import Predictor
from fuseline.projects import load_module
from fuseline.records import Task


class Proba:
    """A model of two classes: the second one's probability is the column x."""

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        return np.column_stack([1 - frame["x"], frame["x"]])


class Sum:
    """A regression that adds the columns."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return frame.sum(axis=1).to_numpy()


@pytest.fixture
def hooks(tmp_path: Path) -> Callable[[str], ModuleType]:
    """`hooks(text)`: predict.py of that text, as a version has it."""

    def load(text: str) -> ModuleType:
        (tmp_path / "predict.py").write_text(text, encoding="utf-8")
        return load_module(tmp_path / "predict.py", "p")

    return load


def frame() -> pd.DataFrame:
    return pd.DataFrame({"x": [0.1, 0.7, 0.4], "y": [1.0, 2.0, 3.0]})


def returning(value: Any, task: Task = "binary", classes: tuple[str, ...] = ("no", "yes"), positive: str = "") -> Any:
    """The scores of three rows where `predict` returns this value."""
    module = ModuleType("predict")
    module.predict = lambda data, artifacts: value  # type: ignore[attr-defined]
    return Predictor(module, {"model": None}, task, classes, positive).scores(frame())


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


def test_without_hooks_the_model_scores_the_raw_columns() -> None:
    found = Predictor(None, {"model": Proba()}, "binary", ("no", "yes")).scores(frame())
    assert found.tolist() == [0.1, 0.7, 0.4]
    assert found.dtype == np.float64


def test_a_regression_without_hooks_predicts() -> None:
    assert Predictor(None, {"model": Sum()}, "regression", ()).scores(frame()).tolist() == [1.1, 2.7, 3.4]


@pytest.mark.parametrize(
    ("classes", "positive", "column"),
    [
        (("no", "yes"), "", 1),
        (("no", "yes"), "yes", 1),
        (("no", "yes"), "no", 0),
        (("yes", "no"), "yes", 0),
        (("yes", "no"), "no", 1),
    ],
)
def test_of_two_columns_the_one_of_the_positive_class_is_the_score(
    classes: tuple[str, ...], positive: str, column: int
) -> None:
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    assert returning(scores, "binary", classes, positive).tolist() == scores[:, column].tolist()


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_one_column_is_taken_for_a_list_of_scores(task: Task) -> None:
    classes = ("no", "yes") if task == "binary" else ()
    assert returning([[0.1], [0.2], [0.3]], task, classes).tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "value",
    [
        [0, 1, 1],
        (0.0, 1.0, 1.0),
        pd.Series([0.0, 1.0, 1.0], index=[7, 8, 9]),
        pd.DataFrame({"a": [0, 1, 1]}),
        np.array([False, True, True]),
    ],
)
def test_lists_series_and_frames_of_numbers_are_scores(value: Any) -> None:
    found = returning(value)
    assert found.tolist() == [0.0, 1.0, 1.0]
    assert found.flags.c_contiguous


def test_the_scores_of_several_classes_have_a_column_each() -> None:
    found = returning(np.eye(3), "multiclass", ("a", "b", "c"))
    assert found.shape == (3, 3)


@pytest.mark.parametrize(
    ("value", "task", "classes", "said"),
    [
        ([0.1, 0.2], "binary", ("a", "b"), "shape (2,) for 3 rows; expected (3,)"),
        ([], "regression", (), "shape (0,) for 3 rows; expected (3,)"),
        (0.5, "binary", ("a", "b"), "shape () for 3 rows; expected (3,)"),
        (None, "binary", ("a", "b"), "shape () for 3 rows; expected (3,)"),
        (np.zeros((3, 3)), "binary", ("a", "b"), "shape (3, 3) for 3 rows; expected (3,)"),
        (np.zeros((3, 2)), "regression", (), "shape (3, 2) for 3 rows; expected (3,)"),
        (np.zeros((2, 2)), "binary", ("a", "b"), "shape (2,) for 3 rows; expected (3,)"),
        (np.zeros((3, 2)), "multiclass", ("a", "b", "c"), "shape (3, 2) for 3 rows; expected (3, 3)"),
        (np.zeros(3), "multiclass", ("a", "b", "c"), "shape (3,) for 3 rows; expected (3, 3)"),
        (np.zeros((2, 3)), "multiclass", ("a", "b", "c"), "shape (2, 3) for 3 rows; expected (3, 3)"),
    ],
)
def test_scores_of_another_shape_are_a_fault(value: Any, task: Task, classes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ModelFault) as caught:
        returning(value, task, classes)
    assert said in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_score_that_is_not_finite_is_a_fault_and_the_first_row_is_named(bad: float, task: Task) -> None:
    with pytest.raises(ModelFault, match=r"2 scores that are NaN or infinite \(the first in row 1\): impute nulls"):
        returning([0.1, bad, bad], task, ("no", "yes") if task == "binary" else ())


def test_one_probability_of_several_classes_that_is_not_a_number_is_a_fault() -> None:
    scores = np.eye(3)
    scores[2, 1] = np.nan
    with pytest.raises(ModelFault, match=r"1 scores that are NaN or infinite \(the first in row 2\)"):
        returning(scores, "multiclass", ("a", "b", "c"))


@pytest.mark.parametrize("value", [["yes", "no", "yes"], [[1, 2], [3], [4]], [{}, {}, {}], {"a": 1}])
def test_scores_that_are_no_numbers_are_a_fault(value: Any) -> None:
    with pytest.raises(ModelFault, match="predict must return numbers, one score per row"):
        returning(value)


def test_no_rows_give_no_scores() -> None:
    found = Predictor(None, {"model": Proba()}, "binary", ("no", "yes")).scores(frame().iloc[:0])
    assert found.shape == (0,)


def test_a_classifier_without_probabilities_is_told_to_write_predict() -> None:
    with pytest.raises(ModelFault, match="Sum has no predict_proba: write predict"):
        Predictor(None, {"model": Sum()}, "binary", ("no", "yes")).scores(frame())


# ── hooks ────────────────────────────────────────────────────────────────────────────────────────


def test_every_hook_is_called_with_what_it_is_promised(hooks: Callable[[str], ModuleType]) -> None:
    text = """
seen = []
def warm_up(artifacts):
    seen.append(sorted(artifacts))
def preprocess(data, artifacts):
    return data * artifacts["factor"]
def predict(data, artifacts):
    return data["x"].to_numpy()
def postprocess(scores, data):
    return {"flag": scores > 1, "y": data["y"]}
def metrics(predictions):
    return {"flagged": predictions["flag"].mean(), "rows": len(predictions)}
"""
    module = hooks(text)
    predictor = Predictor(module, {"model": None, "factor": 2.0}, "regression", ())
    predictor.warm_up()
    scores = predictor.scores(frame())
    columns = predictor.columns(scores, frame())
    assert module.seen == [["factor", "model"]]
    assert scores.tolist() == [0.2, 1.4, 0.8]
    assert {name: list(values) for name, values in columns.items()} == {
        "score": [0.2, 1.4, 0.8],
        "flag": [False, True, False],
        "y": [1.0, 2.0, 3.0],
    }
    assert predictor.business(pd.DataFrame(columns)) == {"flagged": pytest.approx(1 / 3), "rows": 3.0}


def test_what_preprocess_returns_is_what_the_model_takes(hooks: Callable[[str], ModuleType]) -> None:
    module = hooks("def preprocess(data, artifacts):\n    return data.assign(x=data['x'] / 2)")
    found = Predictor(module, {"model": Proba()}, "binary", ("no", "yes")).scores(frame())
    assert found.tolist() == [0.05, 0.35, 0.2]


def test_without_hooks_there_is_nothing_to_warm_up_and_no_figure() -> None:
    predictor = Predictor(None, {"model": Proba()}, "binary", ("no", "yes"))
    predictor.warm_up()
    assert predictor.business(frame()) == predictor.outcomes(frame()) == {}
    assert list(predictor.columns(np.array([0.1, 0.2, 0.3]), frame())) == ["score"]


def test_a_file_without_hooks_is_as_good_as_none(hooks: Callable[[str], ModuleType]) -> None:
    predictor = Predictor(hooks("x = 1"), {"model": Proba()}, "binary", ("no", "yes"))
    predictor.warm_up()
    assert predictor.scores(frame()).tolist() == [0.1, 0.7, 0.4]


def test_several_classes_have_a_score_column_each_by_name() -> None:
    scores = np.arange(9.0).reshape(3, 3)
    columns = Predictor(None, {"model": None}, "multiclass", ("a", "b", "c")).columns(scores, frame())
    assert list(columns) == ["score_a", "score_b", "score_c"]
    assert columns["score_b"].tolist() == [1.0, 4.0, 7.0]


@pytest.mark.parametrize(
    "write",
    [
        "data['x'] = 0.0",
        "data.loc[:, 'x'] = 0.0",
        "data.iloc[0, 0] = 0.0",
        "data.fillna(0.0, inplace=True)",
        "data['z'] = 1.0",
        "data['x'].to_numpy()[:] = 0.0",
        "data.drop(columns='y', inplace=True)",
    ],
)
@pytest.mark.parametrize("hook", ["preprocess", "predict", "postprocess"])
def test_a_hook_that_writes_into_its_frame_does_not_change_the_rows(
    hooks: Callable[[str], ModuleType], hook: str, write: str
) -> None:
    ends = {
        "preprocess": ("data, artifacts", "data"),
        "predict": ("data, artifacts", "data['x'].fillna(0)"),
        "postprocess": ("scores, data", "{}"),
    }
    arguments, result = ends[hook]
    module = hooks(f"def {hook}({arguments}):\n    {write}\n    return {result}")
    if hook == "postprocess":
        module.postprocess = lambda scores, data, call=module.postprocess: call(scores, data) or {"a": scores}
    rows = frame()
    rows.loc[1, "y"] = np.nan
    before = rows.copy()
    predictor = Predictor(module, {"model": Proba()}, "binary", ("no", "yes"))
    predictor.columns(predictor.scores(rows), rows)
    pd.testing.assert_frame_equal(rows, before)


def test_a_postprocess_that_writes_into_the_scores_does_not_change_them(hooks: Callable[[str], ModuleType]) -> None:
    module = hooks("def postprocess(scores, data):\n    scores[:] = 0\n    return {'zero': scores}")
    scores = np.array([0.1, 0.2, 0.3])
    columns = Predictor(module, {"model": None}, "binary", ("no", "yes")).columns(scores, frame())
    assert columns["score"].tolist() == [0.1, 0.2, 0.3]
    assert columns["zero"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("index", ["[5, 6, 7]", "['a', 'b', 'c']", "[0, 0, 0]"])
def test_a_postprocess_may_return_a_frame_with_any_index(hooks: Callable[[str], ModuleType], index: str) -> None:
    text = f"import pandas as pd\ndef postprocess(s, data):\n    return pd.DataFrame({{'a': [1, 2, 3]}}, index={index})"
    columns = Predictor(hooks(text), {"model": None}, "regression", ()).columns(np.zeros(3), frame())
    assert columns["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", ["{'a': [1, 2]}", "{'a': [1, 2, 3, 4]}", "None", "{}", "data.iloc[:2]"])
def test_a_postprocess_of_another_length_is_a_fault(hooks: Callable[[str], ModuleType], value: str) -> None:
    module = hooks(f"def postprocess(scores, data):\n    return {value}")
    with pytest.raises(ModelFault, match=r"postprocess returned \d rows for 3; it must return one for each"):
        Predictor(module, {"model": None}, "regression", ()).columns(np.zeros(3), frame())


@pytest.mark.parametrize("value", ["3", "'text'", "{'a': 1}", "{'a': [1, 2, 3], 'b': [1]}"])
def test_a_postprocess_that_returns_no_columns_is_a_fault(hooks: Callable[[str], ModuleType], value: str) -> None:
    module = hooks(f"def postprocess(scores, data):\n    return {value}")
    with pytest.raises(ModelFault, match="postprocess must return a DataFrame or a dict of columns"):
        Predictor(module, {"model": None}, "regression", ()).columns(np.zeros(3), frame())


@pytest.mark.parametrize("value", ["None", "3.0", "[1, 2]", "{'a': 'many'}", "{'a': None}", "{'a': [1, 2]}"])
def test_metrics_that_are_no_numbers_by_name_are_a_fault(hooks: Callable[[str], ModuleType], value: str) -> None:
    module = hooks(f"def metrics(predictions):\n    return {value}")
    with pytest.raises(ModelFault, match="metrics must return a dict of name to number"):
        Predictor(module, {"model": None}, "regression", ()).business(frame())
    with pytest.raises(ModelFault, match="outcomes must return a dict of name to number"):
        Predictor(hooks(f"def outcomes(predictions):\n    return {value}"), {"model": None}, "regression", ()).outcomes(
            frame()
        )


def test_a_metric_that_is_not_a_number_is_handed_on_to_be_judged(hooks: Callable[[str], ModuleType]) -> None:
    module = hooks("def metrics(predictions):\n    return {'a': float('nan'), 'b': True}")
    found = Predictor(module, {"model": None}, "regression", ()).business(frame())
    assert np.isnan(found["a"]) and found["b"] == 1.0


@pytest.mark.parametrize(
    ("hook", "arguments"),
    [
        ("warm_up", "artifacts"),
        ("preprocess", "data, artifacts"),
        ("predict", "data, artifacts"),
        ("postprocess", "scores, data"),
        ("metrics", "predictions"),
        ("outcomes", "predictions"),
    ],
)
def test_a_hook_that_raises_names_the_file_and_the_line(
    hooks: Callable[[str], ModuleType], hook: str, arguments: str
) -> None:
    module = hooks(f"import json\n\ndef {hook}({arguments}):\n    x = 1\n    return json.loads('{{')\n")
    predictor = Predictor(module, {"model": Proba()}, "binary", ("no", "yes"))
    with pytest.raises(ModelFault, match=rf"^{hook} in predict.py failed: JSONDecodeError: .* \(predict.py, line 5\)$"):
        predictor.warm_up()
        columns = pd.DataFrame(predictor.columns(predictor.scores(frame()), frame()))
        predictor.business(columns)
        predictor.outcomes(columns)


def test_a_hook_of_other_arguments_is_a_fault(hooks: Callable[[str], ModuleType]) -> None:
    module = hooks("def predict(data):\n    return data['x']")
    with pytest.raises(ModelFault, match=r"predict in predict.py failed: TypeError: predict\(\) takes 1 positional"):
        Predictor(module, {"model": None}, "binary", ("no", "yes")).scores(frame())


def test_a_name_that_is_no_function_is_a_fault(hooks: Callable[[str], ModuleType]) -> None:
    with pytest.raises(ModelFault, match=r"metrics in predict.py failed: TypeError: 'dict' object is not callable"):
        Predictor(hooks("metrics = {}"), {"model": None}, "regression", ()).business(frame())


def test_a_model_that_raises_says_what_it_said() -> None:
    with pytest.raises(ModelFault, match=r"predict in predict.py failed: KeyError: 'x'"):
        Predictor(None, {"model": Proba()}, "binary", ("no", "yes")).scores(frame().drop(columns="x"))
