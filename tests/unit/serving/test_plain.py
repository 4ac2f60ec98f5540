from __future__ import annotations

import asyncio
import json
import sys
from types import ModuleType

import msgspec
import numpy as np
import pandas as pd
import pytest

from fuseline.errors import ModelFault
from fuseline.serving.bounds import Bounds
from fuseline.serving.hooks import find
from fuseline.serving.plain import Plain
from fuseline.serving.problem import Problem
from fuseline.serving.served import Asked, File, Tensor


@pytest.fixture
def serve(tmp_path):
    """`serve(code)`: a file of that code, served and warmed up."""

    def served(code: str, *named: str, kind=None) -> Plain:
        path = tmp_path / "model.py"
        path.write_text(code, encoding="utf-8")
        module = ModuleType("model")
        sys.modules["model"] = module
        exec(compile(code, str(path), "exec"), module.__dict__)
        plain = Plain("model", "0123456789ab", find(module, path.name, tmp_path, named), path, kind, Bounds(rows=100))
        plain.warm_up()
        return plain

    yield served
    sys.modules.pop("model", None)


def asked(body) -> Asked:
    return Asked(body if isinstance(body, bytes) else msgspec.json.encode(body))


def predictions(plain: Plain, body):
    return json.loads(plain.answer(asked(body)).body)["predictions"]


def refused(plain: Plain, body) -> Problem:
    with pytest.raises(Problem) as told:
        plain.answer(asked(body))
    return told.value


FULL = """
from __future__ import annotations
import pandas as pd
CALLS = []

def warm_up():
    CALLS.append("warm_up")
    return {"factor": 10}

def preprocess(data: pd.DataFrame):
    return data.fillna(0)

def predict(frame, artifacts):
    return frame["x"] * artifacts["factor"]

def postprocess(values, data):
    return [{"y": y, "was": x} for y, x in zip(values, data["x"])]
"""


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


def test_a_request_goes_through_all_hooks(serve):
    plain = serve(FULL)
    answer = plain.answer(asked([{"x": 1}, {"x": None}]))
    assert json.loads(answer.body) == {
        "model": "model",
        "version": "0123456789ab",
        "mode": "file",
        "predictions": [{"y": 10.0, "was": 1.0}, {"y": 0.0, "was": None}],
    }
    assert (answer.media_type, answer.rows, answer.rejected) == ("application/json", 2, 0)
    assert list(answer.stages) == ["read", "preprocess", "predict", "postprocess", "write"]
    assert all(seconds >= 0 for seconds in answer.stages.values())
    assert plain.hooks.subject.CALLS == ["warm_up"]


def test_the_start_tells_which_hooks_are_called_and_what_the_first_is_given(serve):
    assert serve(FULL).notes == (
        "model.py: warm_up → preprocess(data) → predict(frame, artifacts) → postprocess(values, data); "
        "preprocess is given a pandas DataFrame",
    )


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        ("def predict(data): return data", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("def predict(data): return data", [], []),
        ("def predict(data): return None", 1, None),
        ("def predict(data: dict) -> int: return data['a']", {"a": 2}, 2),
        ("import numpy as np\ndef predict(x: np.ndarray): return x.sum(axis=1)", [[1, 2], [3, 4]], [3, 7]),
        ("def predict(x: 'np.ndarray'): return x.mean()", [1, 2], 1.5),
        (
            "import pandas as pd\ndef predict(x: pd.DataFrame): return x",
            [{"a": 1}, {"b": 2}],
            [{"a": 1, "b": None}, {"a": None, "b": 2}],
        ),
        ("def predict(data, *more, **other): return len(more)", 1, 0),
        ("def predict(data, size=3): return size", 1, 3),
        ("class M:\n    def load(self): self.x = 7\n    def predict(self, data): return self.x", 1, 7),
    ],
)
def test_what_a_hook_is_given_and_what_it_returns(serve, code, body, expected):
    assert predictions(serve(code), body) == expected


SAID = [
    ("frame", [{"a": 1}], "DataFrame"),
    ("array", [1], "ndarray"),
    ("bytes", [1], "bytes"),
    ("json", [1], "list"),
]


@pytest.mark.parametrize(("kind", "body", "said"), SAID)
def test_what_the_first_hook_takes_can_be_said_from_outside(serve, kind, body, said):
    assert predictions(serve("def predict(data): return [type(data).__name__]", kind=kind), body) == [said]


def test_bytes_are_the_whole_answer(serve):
    plain = serve("def predict(data): return b'\\x89PNG\\r\\n\\x1a\\n' + data['more'].encode()")
    answer = plain.answer(asked({"more": "x"}))
    assert (answer.body, answer.media_type) == (b"\x89PNG\r\n\x1a\nx", "image/png")


def test_a_form_reaches_a_file_as_a_plain_dict(serve):
    plain = serve("def predict(form): return [sorted(form), len(form['image']), form['width']]")
    form = {"image": File(b"\x00" * 5, "a.png", "image/png")}
    answer = plain.answer(Asked(b"", "multipart/form-data", {"width": "3"}, form))
    assert json.loads(answer.body)["predictions"] == [["image", "width"], 5, "3"]


def test_a_hook_may_be_a_coroutine_and_keeps_the_loop_of_the_warm_up(serve):
    code = """
import asyncio
async def warm_up():
    return asyncio.get_running_loop()
async def predict(data, loop):
    await asyncio.sleep(0)
    return [data, loop is asyncio.get_running_loop()]
"""
    plain = serve(code)
    assert predictions(plain, 3) == [3, True]

    async def inside():  # a loop that runs already in the thread that asks
        return predictions(plain, 4)

    assert asyncio.run(inside()) == [4, True]


def test_the_threshold_of_a_project_means_nothing_to_a_file(serve):
    plain = serve("def predict(data): return data")
    assert json.loads(plain.answer(Asked(b"[0.1]", query={"threshold": "0.7"})).body)["predictions"] == [0.1]


def test_a_file_tells_nothing_of_its_columns(serve):
    plain = serve(FULL)
    assert (plain.contract, plain.quick, plain.mode, plain.example()) == (None, False, "file", None)
    assert (plain.inputs(), plain.outputs()) == ([], [("predictions", "FP64")])


# ── errors ──────────────────────────────────────────────────────────────────────────────────────

RAISES = """
def preprocess(x):
    if x == "pre": {error}
    return x
def predict(x):
    if x == "in": {error}
    return x
def postprocess(x):
    if x == "post": {error}
    return x
"""


@pytest.mark.parametrize("where", ["pre", "in", "post"])
def test_a_value_error_is_what_the_client_sent(serve, where):
    problem = refused(serve(RAISES.format(error="raise ValueError('width must be positive')")), where)
    assert (problem.kind, problem.status) == ("bad-input", 422)
    assert "process in model.py" in problem.detail or "predict in model.py" in problem.detail
    assert "failed: ValueError: width must be positive (model.py, line " in problem.detail


@pytest.mark.parametrize("error", ["1 / 0", "raise SystemExit(3)", "raise MemoryError"])
@pytest.mark.parametrize(("where", "kind"), [("pre", "bad-input"), ("in", "model-failed"), ("post", "model-failed")])
def test_any_other_error_is_the_clients_in_preprocess_and_the_models_after_it(serve, where, kind, error):
    assert refused(serve(RAISES.format(error=error)), where).kind == kind


def test_a_failing_hook_is_named_with_its_line(serve):
    problem = refused(serve("def predict(data):\n    return helper(data)\ndef helper(x):\n    return 1 / x"), 0)
    assert problem.detail == "predict in model.py failed: ZeroDivisionError: division by zero (model.py, line 4)"


@pytest.mark.parametrize(
    "code", ["def predict(data): return data['price']", "def predict(data): return [row['price'] for row in data]"]
)
def test_a_key_that_the_request_lacks_is_the_clients_fault(serve, code):
    problem = refused(serve(code), {"pirce": 1} if "row" not in code else [{"price": 1}, {}])
    assert problem.kind == "bad-input"
    assert problem.detail.endswith("KeyError: 'price' (model.py, line 1). The request has no 'price'")


def test_a_column_that_the_request_lacks_is_the_clients_fault(serve):
    plain = serve("def predict(data: 'pd.DataFrame'): return data['price']")
    assert refused(plain, [{"x": 1}]).kind == "bad-input"
    assert predictions(plain, [{"price": 1}]) == [1]


def test_a_key_that_the_request_has_but_the_model_lacks_is_the_models_failure(serve):
    assert refused(serve("def predict(data): return {}['price']"), {"price": 1}).kind == "model-failed"


def test_a_long_message_is_cut(serve):
    assert len(refused(serve("def predict(data): raise ValueError('x' * 100_000)"), 1).detail) < 1200


def test_what_has_no_json_names_the_hook_and_the_type(serve):
    problem = refused(serve("def predict(data): return object()"), 1)
    assert problem.kind == "model-failed"
    assert problem.detail == "predict returned what cannot become JSON: object has no JSON"


@pytest.mark.parametrize("returned", ["[1, 2, 3]", "np.zeros(3)", "pd.DataFrame({'y': [1, 2, 3]})", "[]"])
@pytest.mark.parametrize(("kind", "body"), [("frame", [{"x": 1}] * 5), ("array", [[1]] * 5)])
def test_another_number_of_values_than_of_rows_is_the_models_failure(serve, returned, kind, body):
    plain = serve(f"import numpy as np, pandas as pd\ndef predict(data): return {returned}", kind=kind)
    many = 0 if returned == "[]" else 3
    assert refused(plain, body).detail == f"predict returned {many} values for 5 rows"


@pytest.mark.parametrize("returned", ["1.5", "{'y': 1}", "'text'", "np.float64(1)", "np.array(1.0)", "b'x'"])
def test_what_has_no_length_of_rows_is_not_counted(serve, returned):
    plain = serve(f"import numpy as np\ndef predict(data): return {returned}", kind="frame")
    assert plain.answer(asked([{"x": 1}] * 5)).rows == 5


def test_postprocess_may_drop_rows(serve):
    plain = serve("def predict(data): return data['x']\ndef postprocess(y): return y[y > 1]", kind="frame")
    assert predictions(plain, [{"x": 1}, {"x": 2}]) == [2]


def test_more_rows_than_the_limit_are_refused(serve):
    assert refused(serve(FULL), [{"x": 1}] * 101).kind == "too-large"


# ── warm-up ─────────────────────────────────────────────────────────────────────────────────────


def test_a_warm_up_that_fails_is_told_with_its_line(serve):
    with pytest.raises(ModelFault, match=r"^load in model\.py failed: FileNotFoundError: .*\(model\.py, line 2\)$"):
        serve("def load():\n    return open('nowhere/model.bin')\ndef predict(data): return 1")


def test_a_warm_up_that_ends_the_program_is_an_error(serve):
    with pytest.raises(ModelFault, match="SystemExit"):
        serve("def load():\n    raise SystemExit(0)\ndef predict(data): return 1")


def test_a_hook_that_needs_what_warm_up_did_not_return_is_an_error(serve):
    with pytest.raises(ModelFault, match=r"predict\(data, model\) .* needs model, and warm-up returned nothing"):
        serve("def load(): pass\ndef predict(data, model): pass")


# ── estimators ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return pd.DataFrame({"price": rng.gamma(4, 25, 100), "colour": rng.choice(["red", "green"], 100)})


@pytest.fixture(scope="module")
def fitted(data):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    text = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((SimpleImputer(), ["price"]), (text, ["colour"]))
    return make_pipeline(columns, LogisticRegression()).fit(data, np.where(data["price"] > 100, "yes", "no"))


@pytest.fixture
def estimator(tmp_path):
    """`estimator(model)`: it is served and warmed up."""

    def served(model) -> Plain:
        path = tmp_path / "model.joblib"
        plain = Plain("model", "0123456789ab", find(model, path.name, tmp_path), path)
        plain.warm_up()
        return plain

    return served


def test_an_estimator_answers_with_scores_classes_and_what_it_does_not_know(estimator, fitted, data):
    plain = estimator(fitted)
    records = data[:3].assign(foo=1)[["foo", "colour", "price"]].to_dict("records")
    said = json.loads(plain.answer(asked(records)).body)
    assert said["classes"] == ["no", "yes"]
    assert said["extra"] == ["foo"]
    scores = [one["score"] for one in said["predictions"]]
    np.testing.assert_allclose(scores, fitted.predict_proba(data[:3])[:, 1], 1e-12)


def test_an_estimator_can_be_asked_by_its_own_example(estimator, fitted):
    plain = estimator(fitted)
    assert len(predictions(plain, plain.example())) == 1


NOT_TAKEN = [{"price": "cheap", "colour": "red"}, {"price": [1]}, {"price": {}}, {"foo": 1}, [[1]]]


@pytest.mark.parametrize("body", NOT_TAKEN)
def test_what_an_estimator_does_not_take_is_the_clients_fault(estimator, fitted, body):
    assert refused(estimator(fitted), body).status == 422


def test_an_estimator_without_names_takes_lists(estimator):
    from sklearn.linear_model import LinearRegression

    plain = estimator(LinearRegression().fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, 1.0, 2.0]))
    found = predictions(plain, [[1, 1], [0, 0]])
    assert [one["prediction"] for one in found] == pytest.approx([3, 0])
    assert refused(plain, [[1]]).kind == "bad-input"


def test_an_estimator_that_was_never_fitted_is_not_served(estimator, fitted):
    from sklearn.base import clone

    with pytest.raises(ModelFault, match=r"^model\.joblib was not fitted before it was saved"):
        estimator(clone(fitted))


def test_a_broken_pickle_fails_when_it_is_warmed_up(estimator, fitted):
    from copy import deepcopy

    broken = deepcopy(fitted)
    del broken[-1].coef_, broken[0].transformers_[0][1].statistics_
    with pytest.raises(ModelFault, match=r"model\.joblib (cannot predict|was not fitted)"):
        estimator(broken)


# ── the Open Inference Protocol ─────────────────────────────────────────────────────────────────


def test_tensors_go_through_the_hooks(serve):
    plain = serve("def predict(data: 'pd.DataFrame'): return data.assign(y=data['x'] * 2)[['y']]")
    (found,) = plain.infer([Tensor("x", np.array([1.0, 2.0]))])
    assert (found.name, found.values.tolist()) == ("y", [2.0, 4.0])


def test_tensors_are_lists_to_a_file_that_takes_json(serve):
    (found,) = serve("def predict(data): return [v + 1 for v in data['x']]").infer([Tensor("x", np.array([1, 2]))])
    assert (found.name, found.values.tolist()) == ("predictions", [2, 3])


def test_tensors_to_an_estimator_give_the_scores_of_records(estimator, fitted, data):
    plain = estimator(fitted)
    assert plain.inputs() == [("price", "FP64"), ("colour", "BYTES")]
    (found,) = plain.infer([Tensor("price", data["price"].to_numpy()), Tensor("colour", data["colour"].tolist())])
    assert found.name == "score"
    np.testing.assert_array_equal(found.values, fitted.predict_proba(data)[:, 1])


def test_errors_of_hooks_are_problems_there_too(serve):
    with pytest.raises(Problem, match="division by zero"):
        serve("def predict(data): return 1 / 0").infer([Tensor("x", np.array([1]))])
