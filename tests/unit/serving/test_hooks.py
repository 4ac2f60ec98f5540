from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from fuseline.errors import ProjectError, SettingsError
from fuseline.serving.hooks import NAMES, find


@pytest.fixture
def load(tmp_path):
    """`load(code)`: a module made of a file of that code."""
    made = []

    def loaded(code: str, name: str = "model") -> ModuleType:
        path = tmp_path / f"{name}.py"
        path.write_text(code, encoding="utf-8")
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        made.append(name)
        exec(compile(code, str(path), "exec"), module.__dict__)
        return module

    yield loaded
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def hooks(load, tmp_path):
    """`hooks(code)`: what is found in a file of that code."""
    return lambda code, *named: find(load(code), "model.py", tmp_path, named)


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, names in NAMES.items() for name in names])
def test_every_common_name_is_recognised(hooks, stage, name):
    argument = "" if stage == "warm_up" else "data"
    predict = "" if stage == "predict" else "def predict(data): pass\n"
    found = getattr(hooks(f"{predict}def {name}({argument}): pass"), stage)
    assert (found.stage, found.name) == (stage, name)


def test_a_file_needs_no_hook_but_predict(hooks):
    found = hooks("def predict(data): return data")
    assert (found.warm_up, found.preprocess, found.postprocess) == (None, None, None)
    assert found.first is found.predict
    assert found.notes == ()


def test_of_two_names_the_first_is_called_and_that_is_said(hooks):
    found = hooks("def custom_predict(data): pass\ndef predict(data): pass")
    assert found.predict.name == "predict"
    assert found.notes == (
        "predict is called, and not custom_predict; --hook predict=custom_predict would change that",
    )


def test_what_a_class_defines_comes_before_what_it_inherits_from_a_library(hooks):
    code = "from sklearn.dummy import DummyClassifier as D\nclass Mine(D):\n    def custom_predict(self, data): pass\n"
    assert hooks(code).predict.name == "custom_predict"


def test_a_loader_of_a_library_is_no_warm_up_hook(hooks):
    found = hooks("from joblib import load\nfrom pickle import load as setup\ndef predict(data): pass")
    assert found.warm_up is None


def test_an_own_helper_called_load_is_no_warm_up_hook_if_it_needs_arguments(hooks):
    found = hooks("def load(path): pass\ndef setup(): pass\ndef predict(data): pass")
    assert found.warm_up.name == "setup"
    assert found.notes == ("load(path) is not taken for a warm-up hook, because it needs arguments",)


def test_a_hook_that_is_imported_from_a_file_beside_it_counts(load, tmp_path):
    load("def warm_up(): pass\ndef predict(data): pass", "beside")
    found = find(load("from beside import warm_up, predict"), "model.py", tmp_path)
    assert (found.warm_up.name, found.predict.name) == ("warm_up", "predict")


def test_a_method_of_an_object_that_the_file_made_is_a_hook(hooks):
    found = hooks("class M:\n    def go(self, rows): return rows\npredict = M().go")
    assert found.predict.call(3) == 3
    assert found.predict.takes == ("rows",)


# ── --hook ──────────────────────────────────────────────────────────────────────────────────────


def test_another_name_can_be_given(hooks):
    found = hooks("def predict(data): pass\ndef guess(rows): pass", "predict=guess")
    assert str(found.predict) == "guess(rows)"


def test_a_name_can_be_dotted(hooks):
    code = "class M:\n    def guess(self, rows): return rows\nmodel = M()"
    assert hooks(code, "predict=model.guess").predict.call(1) == 1


def test_a_stage_may_be_said_by_any_of_its_names(hooks):
    found = hooks("def begin(): pass\ndef predict(data): pass", "warmup=begin")
    assert found.warm_up.name == "begin"


def test_an_empty_name_leaves_a_stage_out(hooks):
    code = "def preprocess(data, columns): pass\ndef predict(data): pass"
    assert hooks(code, "preprocess=").preprocess is None


def test_a_missing_name_is_an_error_that_lists_the_file_and_suggests_the_nearest(hooks):
    with pytest.raises(SettingsError, match=r"predict=gues: model\.py .* Did you mean 'guess'\? It has guess, other"):
        hooks("def guess(rows): pass\ndef other(): pass", "predict=gues")
    with pytest.raises(SettingsError, match=r"postprocess=finnish: .* Did you mean 'finish'\? It has predict, finish"):
        hooks("def predict(rows): pass\ndef finish(rows): pass", "postprocess=finnish")


@pytest.mark.parametrize("text", ["predcit=guess", "predict", "=guess"])
def test_an_unknown_stage_is_an_error_that_lists_the_stages(hooks, text):
    with pytest.raises(SettingsError, match="STAGE=NAME with one of the stages warm_up, preprocess, predict, postp"):
        hooks("def predict(rows): pass", text)


def test_the_nearest_stage_is_suggested(hooks):
    with pytest.raises(SettingsError, match="Did you mean 'predict'"):
        hooks("def predict(rows): pass", "predcit=guess")


def test_a_stage_that_is_named_twice_is_an_error(hooks):
    with pytest.raises(SettingsError, match="names predict twice: 'a' and 'b'"):
        hooks("def a(x): pass\ndef b(x): pass", "predict=a", "predict=b")


# ── classes and objects ─────────────────────────────────────────────────────────────────────────

CLASS = "class Model:\n    def __init__(self, x=1): self.x = x\n    def predict(self, data): return self.x\n"


def test_the_only_class_with_a_predict_hook_is_taken_and_that_is_said(hooks):
    found = hooks(CLASS + "class Other: pass\n")
    assert found.predict.call(0) == 1
    assert found.notes == ("model.py has no predict of its own: the class Model is served",)


def test_a_class_is_found_by_a_hook_of_another_name(hooks):
    assert hooks("class M:\n    def guess(self, x): return x\n", "predict=guess").predict.call(2) == 2


def test_of_a_class_and_its_base_the_class_is_taken(hooks):
    assert hooks(CLASS + "class Better(Model):\n    def predict(self, data): return 2\n").predict.call(0) == 2


def test_two_classes_are_an_error_that_names_both(hooks):
    with pytest.raises(ProjectError, match=r"there are several\. Serve one of model\.py:Model, model\.py:Rival"):
        hooks(CLASS + CLASS.replace("Model", "Rival"))


def test_a_class_whose_constructor_needs_arguments_is_an_error(load, tmp_path):
    module = load("class Model:\n    def __init__(self, path, *, size): pass\n    def predict(self, x): pass\n")
    with pytest.raises(ProjectError, match=r"Model of model\.py:Model is made without .* needs path, size\. Give them"):
        find(module.Model, "model.py:Model", tmp_path)


def test_a_constructor_that_fails_is_told_with_its_line(load, tmp_path):
    module = load("class Model:\n    def __init__(self):\n        1 / 0\n    def predict(self, x): pass\n")
    with pytest.raises(ProjectError, match=r"Model\(\) of model\.py:Model failed: ZeroDiv.*model.py, line 3"):
        find(module.Model, "model.py:Model", tmp_path)


def test_any_object_has_hooks(tmp_path):
    class Thing:
        def setup(self):
            return None

        def predict(self, data):
            return data

    found = find(Thing(), "thing.joblib", Path(__file__).parent)
    assert (found.warm_up.name, found.predict.name, found.estimator) == ("setup", "predict", False)


def test_a_fitted_estimator_is_known(tmp_path):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert find(model, "model.joblib", tmp_path).estimator
    assert not find(model, "model.joblib", tmp_path, ["predict=predict_proba"]).estimator


def test_an_object_with_probabilities_alone_is_served_by_them(tmp_path):
    class Thing:
        def predict_proba(self, data):
            return [0.5]

    assert str(find(Thing(), "thing.joblib", tmp_path).predict) == "predict_proba(data)"


def test_a_class_that_is_written_in_c_is_made_too(hooks):
    found = hooks("class Model(dict):\n    def predict(self, data): return len(self)\n")
    assert found.predict.call(1) == 0


def test_a_missing_hook_of_an_object_lists_its_methods(load, tmp_path):
    module = load("class M:\n    def guess(self, x): pass\n    def _hidden(self): pass\n")
    with pytest.raises(ProjectError, match=r"no predict hook: .*, and it has guess\. Name yours: --hook predict=NAME"):
        find(module.M(), "model.py:m", tmp_path)


# ── what cannot be served ───────────────────────────────────────────────────────────────────────


def test_a_file_without_predict_is_an_error_that_names_what_it_has(hooks):
    with pytest.raises(
        ProjectError, match="no predict hook: expected predict or custom_predict, and it has score, Tool"
    ):
        hooks("from math import floor\ndef score(x): pass\nclass Tool: pass\ndef _hidden(): pass")


def test_an_object_that_could_be_served_is_suggested(hooks):
    with pytest.raises(ProjectError, match=r"Serve one of the objects that have it: model\.py:model"):
        hooks("class _M:\n    pass\nmodel = _M()\nmodel.predict = len")


def test_a_pickled_dict_suggests_its_models(tmp_path):
    from sklearn.dummy import DummyRegressor

    with pytest.raises(ProjectError, match=r"Serve one of the objects that have it: m\.joblib:model"):
        find({"model": DummyRegressor(), "scaler": 1}, "m.joblib", tmp_path)
    with pytest.raises(ProjectError, match="it is a dict of weights, bias"):
        find({"weights": [1], "bias": 1}, "m.joblib", tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def predict(): pass", r"predict\(\) of model\.py takes no argument: expected one, the data"),
        ("def predict(data, *, by): pass", "needs by by name"),
        ("def predict(data, artifacts): pass", "needs artifacts besides the data.* there is none"),
        ("def predict(data, a, b): pass\ndef warm_up(): pass", "needs a, b besides the data"),
        (
            "def warm_up(artifacts): pass\ndef predict(data): pass",
            r"warm_up\(artifacts\) .* the project by its name",
        ),
    ],
)
def test_a_hook_that_nobody_can_call_is_an_error(hooks, code, said):
    with pytest.raises(ProjectError, match=said):
        hooks(code)


@pytest.mark.parametrize("code", ["def predict(*rows): pass", "def predict(data, size=3): pass", "predict = max"])
def test_a_hook_that_can_be_called_with_one_argument_is_well(hooks, code):
    assert len(hooks(code).predict.takes) <= 1


def test_a_further_argument_is_what_warm_up_returned_or_the_input_by_its_name(hooks):
    code = "def warm_up(): pass\ndef predict(image, model): pass\ndef postprocess(found, image, tools): pass"
    found = hooks(code)
    assert found.warmed(found.predict) == ("model",)
    assert found.warmed(found.postprocess) == ("tools",)
